//! Proof that a building's history is complete: identities, hashes, signatures and the links between epochs.
//!
//! Every event that the building's gateway ever made durable has a number in an epoch, and each epoch names the one
//! before. What is kept is walked from the first event on: whatever is missing between two numbers, behind a link, or not
//! vouched for by a signature is found, and named unless the gateway itself has recorded its loss.

mod walk;

use std::collections::BTreeMap;

use kalitka_protocol::EpochId;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, LedgerError};
use crate::limits::FINDINGS_MAX;
use crate::store::{Purge, Store};
use walk::{Notes, Walk};

/// What was found.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verified {
    pub(crate) building: u32,
    /// Whether something is kept and nothing is wrong: no findings.
    pub(crate) complete: bool,
    /// How many events were walked.
    pub(crate) events: u64,
    /// In the order in which they came.
    pub(crate) epochs: Vec<EpochSpan>,
    /// What the gateway has recorded as lost, and what is missing because of it: known, and still lost.
    pub(crate) losses: Vec<String>,
    /// What the gateway has recorded as purged by its age before it came here.
    #[serde(default)]
    pub(crate) purged_before: Vec<String>,
    /// The newest record of a purge of each epoch: the history is walked from there on.
    #[serde(default)]
    pub(crate) purges: Vec<Purge>,
    /// Each gap, fork and forged record; the first [`FINDINGS_MAX`].
    pub(crate) findings: Vec<Finding>,
    /// How many findings there are.
    pub(crate) findings_total: u64,
    /// Identities that came with another hash and were refused: nothing of them is in the history.
    pub(crate) refused: Vec<String>,
}

/// An epoch, from its first event to its last.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpochSpan {
    pub(crate) epoch: String,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) events: u64,
    /// h of the last one.
    pub(crate) hash: String,
    /// Wall clock of the first and the last, microseconds since 1970.
    pub(crate) from_us: i64,
    pub(crate) to_us: i64,
}

/// What is wrong with a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingKind {
    /// Numbers are missing, and no loss that the gateway recorded names them.
    Gap,
    /// Two histories of one epoch: what stands behind does not continue what stands before.
    Fork,
    /// A record is not what the gateway's key signed.
    Forged,
    /// An event is not what an event of its identity may be.
    Malformed,
    /// An epoch names one before of which something else is kept, or nothing.
    Link,
    /// A loss has no known end.
    OpenLoss,
    /// The record of a purge is not by this hub's key.
    Purge,
}

/// One thing that is wrong, and where.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) kind: FindingKind,
    pub(crate) epoch: String,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) text: String,
}

impl Verified {
    fn find(&mut self, kind: FindingKind, epoch: EpochId, (first, last): (u64, u64), text: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { kind, epoch: name(epoch), first, last, text });
        }
    }
}

impl Verified {
    /// Looks at who has signed the record of a purge.
    fn signed(&mut self, purge: &Purge, key: &[u8; 32]) {
        let by = UnparsedPublicKey::new(&ED25519, key);
        if purge.key != *key || by.verify(&purge.signed(), &purge.signature).is_err() {
            let text = "the record of this purge is not signed by this hub's checkpoint key".to_owned();
            self.find(FindingKind::Purge, purge.epoch, (purge.first, purge.through), text);
        }
    }
}

fn name(epoch: EpochId) -> String {
    format!("{:016x}", epoch.0)
}

/// Walks the whole history of `building`, of which purges are recorded by `key`. Blocks, for as long as that takes.
///
/// # Errors
/// What the store says when it cannot be read.
pub(crate) fn verify(store: &Store, building: u32, key: &[u8; 32]) -> Result<Verified, LedgerError> {
    let mut verified = Verified { building, ..Verified::default() };
    let epochs = store.epochs(building)?;
    let purges: BTreeMap<_, _> =
        store.purged_behind(0, Some(building))?.into_iter().map(|purge| (purge.epoch, purge)).collect();
    for purge in store.purges(Some(building))? {
        verified.signed(&purge, key);
    }
    let mut notes = Notes::default();
    let mut gaps: BTreeMap<EpochId, Vec<(u64, u64)>> = BTreeMap::new();
    for (epoch, head) in &epochs {
        let walk = Walk::new(building, *epoch, purges.get(epoch), &mut verified, &mut notes);
        gaps.insert(*epoch, walk.all(store, head)?);
    }
    for (epoch, gaps) in &gaps {
        for &gap in gaps {
            notes.explain(&mut verified, *epoch, gap);
        }
    }
    notes.links(store, gaps.keys().copied(), &purges, &mut verified)?;
    notes.thinned(&mut verified);
    notes.open_losses(&mut verified);
    // Read behind the walk: whoever has written meanwhile is among them.
    notes.signers(&Ledger::of(store).keys(building)?, &mut verified);
    for fork in store.forks(building)? {
        let (epoch, number, times) = (name(fork.epoch), fork.number, fork.times);
        verified.refused.push(format!("epoch {epoch} number {number}, {times} times"));
    }
    // Where nothing was ever kept, nothing is complete.
    verified.complete = verified.findings_total == 0 && (verified.events > 0 || !purges.is_empty());
    verified.purges = epochs.iter().filter_map(|(epoch, _)| purges.get(epoch).cloned()).collect();
    Ok(verified)
}
