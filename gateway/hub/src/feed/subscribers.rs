//! Who may read the feeds.

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::ledger::{Ledger, SubscriberEntry};
use crate::limits::{SUBSCRIBER_BUILDINGS_MAX, SUBSCRIBER_NAME_MAX};

/// Gives a new subscriber its token; only its hash is kept.
///
/// # Errors
/// [`Failure::Input`] when the name is none or taken.
pub(crate) fn add(ledger: Ledger<'_>, name: &str, mut buildings: Vec<u32>, now: i64) -> Result<Value, Failure> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > SUBSCRIBER_NAME_MAX || !name.bytes().all(letter) {
        return Err(Failure::Input(format!(
            "`{name}`: a subscriber's name is 1 to {SUBSCRIBER_NAME_MAX} of a-z, 0-9, `-`, `_` and `.`"
        )));
    }
    buildings.sort_unstable();
    buildings.dedup();
    if buildings.len() > SUBSCRIBER_BUILDINGS_MAX || buildings.first() == Some(&0) {
        return Err(Failure::Input(format!("name at most {SUBSCRIBER_BUILDINGS_MAX} buildings, from 1 up")));
    }
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(|error| Failure::Environment(format!("no random bytes: {error}")))?;
    let token = Zeroizing::new(hex::encode(*secret));
    ledger.add_subscriber(&SubscriberEntry { name: name.into(), hash: hash(&token), buildings, made: now })?;
    Ok(json!({ "name": name, "token": token.as_str() }))
}

/// Takes a subscriber's token back.
///
/// # Errors
/// [`Failure::Input`] when there is no such subscriber.
pub(crate) fn remove(ledger: Ledger<'_>, name: &str) -> Result<Value, Failure> {
    if ledger.remove_subscriber(name)? {
        Ok(json!({ "name": name }))
    } else {
        Err(Failure::Input(format!("`{name}`: there is no such subscriber; see `feed list`")))
    }
}

/// All of them, without their tokens.
///
/// # Errors
/// What the store says.
pub(crate) fn list(ledger: Ledger<'_>) -> Result<Value, Failure> {
    let shown =
        |entry: &SubscriberEntry| json!({ "name": entry.name, "buildings": entry.buildings, "made": entry.made });
    Ok(ledger.subscribers()?.iter().map(shown).collect())
}

/// The subscriber whose token this is. How long it takes says nothing of any token.
///
/// # Errors
/// What the store says.
pub(crate) fn find(ledger: Ledger<'_>, token: &str) -> Result<Option<SubscriberEntry>, Failure> {
    let hash = hash(token);
    let mut found = None;
    for entry in ledger.subscribers()? {
        if bool::from(entry.hash.ct_eq(&hash)) {
            found = Some(entry);
        }
    }
    Ok(found)
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}
