//! Subscribers of the feeds.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, Sheet, hex_bytes, len, open, put};
use crate::limits::SUBSCRIBERS_MAX;
use crate::store::StoreError;

/// By name.
const SUBSCRIBERS: Sheet<&str> = Sheet::new("subscribers");

/// Who may read the feeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubscriberEntry {
    pub(crate) name: String,
    /// SHA-256 of the token.
    #[serde(with = "hex_bytes")]
    pub(crate) hash: [u8; 32],
    /// Of which buildings; empty for every one.
    pub(crate) buildings: Vec<u32>,
    /// Seconds since 1970.
    pub(crate) made: i64,
}

impl Ledger<'_> {
    /// Keeps a new subscriber.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when the name is taken, or there are too many.
    pub(crate) fn add_subscriber(self, entry: &SubscriberEntry) -> Result<(), LedgerError> {
        self.change(|transaction| {
            let mut table = open(transaction, SUBSCRIBERS)?;
            let name = entry.name.as_str();
            if table.get(name).map_err(StoreError::from)?.is_some() {
                return Err(LedgerError::Refused(format!("{name}: has a token already; revoke it first")));
            }
            if len(&table)? >= SUBSCRIBERS_MAX {
                return Err(LedgerError::Refused(format!("{SUBSCRIBERS_MAX} subscribers are there; revoke one first")));
            }
            Ok(put(&mut table, name, entry)?)
        })
    }

    /// Takes a subscriber away; says whether there was one.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn remove_subscriber(self, name: &str) -> Result<bool, LedgerError> {
        self.change(|transaction| {
            let mut table = open(transaction, SUBSCRIBERS)?;
            let removed = table.remove(name).map_err(StoreError::from)?.is_some();
            Ok(removed)
        })
    }

    /// The one of this name.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn subscriber(self, name: &str) -> Result<Option<SubscriberEntry>, LedgerError> {
        self.get(SUBSCRIBERS, name)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn subscribers(self) -> Result<Vec<SubscriberEntry>, LedgerError> {
        self.all(SUBSCRIBERS, |_, entry| Some(entry))
    }
}
