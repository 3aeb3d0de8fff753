//! What the hub keeps beside events: tokens, certificates, snapshots, commands, subscribers.
//!
//! They lie in tables of the store's database, each entry a JSON document. Every change is one durable transaction; all
//! calls block on the disk.

mod certificates;
mod commands;
mod renewals;
mod snapshots;
mod subscribers;

pub(crate) use certificates::{CertificateEntry, Redeemed, Standing};
pub(crate) use commands::{CommandEntry, CommandState};
pub(crate) use renewals::Renewal;
pub(crate) use snapshots::{SnapshotEntry, SnapshotOutcome};
pub(crate) use subscribers::SubscriberEntry;

use std::borrow::Borrow;
use std::sync::Arc;

use redb::{
    Key, ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, TableError, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::hub::Hub;
use crate::store::{Store, StoreError};

/// A table of documents.
type Sheet<K> = TableDefinition<'static, K, &'static [u8]>;

/// The tables, in the hub's store.
#[derive(Clone, Copy)]
pub(crate) struct Ledger<'a>(&'a Store);

/// Why the ledger did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// By the fault of what was asked for.
    #[error("{0}")]
    Refused(String),
    /// What was to be put in could not be made.
    #[error(transparent)]
    Unmade(Failure),
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Environment(error.to_string()),
            LedgerError::Refused(text) => Self::Input(text),
            LedgerError::Unmade(failure) => failure,
        }
    }
}

/// Does `work` with the running hub's ledger, away from the threads that serve.
///
/// # Errors
/// What `work` says.
pub(crate) async fn with<R: Send + 'static>(
    hub: &Arc<Hub>,
    work: impl FnOnce(&Hub, Ledger<'_>) -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    let hub = Arc::clone(hub);
    let done = tokio::task::spawn_blocking(move || work(&hub, Ledger::of(&hub.store))).await;
    done.map_err(|error| Failure::Defect(format!("the request was not finished: {error}")))?
}

impl<'a> Ledger<'a> {
    /// The ledger in `store`.
    pub(crate) const fn of(store: &'a Store) -> Self {
        Self(store)
    }

    /// One durable transaction. What is refused is refused before anything is changed.
    fn change<R>(self, work: impl FnOnce(&WriteTransaction) -> Result<R, LedgerError>) -> Result<R, LedgerError> {
        self.0.write(|transaction| match work(transaction) {
            Err(LedgerError::Store(error)) => Err(error),
            done => Ok(done),
        })?
    }

    fn look<R>(self, work: impl FnOnce(&ReadTransaction) -> Result<R, StoreError>) -> Result<R, LedgerError> {
        Ok(self.0.read(work)?)
    }

    fn get<K: Key + 'static, T: DeserializeOwned>(
        self,
        sheet: Sheet<K>,
        key: K::SelfType<'_>,
    ) -> Result<Option<T>, LedgerError> {
        self.look(|transaction| match transaction.open_table(sheet) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            table => get(&table?, key),
        })
    }

    /// Every entry that `choose` keeps, by key.
    fn all<K: Key + 'static, T: DeserializeOwned, R>(
        self,
        sheet: Sheet<K>,
        mut choose: impl FnMut(K::SelfType<'_>, T) -> Option<R>,
    ) -> Result<Vec<R>, LedgerError> {
        self.look(|transaction| {
            let table = match transaction.open_table(sheet) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut chosen = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                chosen.extend(choose(key.value(), decode(value.value())?));
            }
            Ok(chosen)
        })
    }
}

fn open<K: Key + 'static>(
    transaction: &WriteTransaction,
    sheet: Sheet<K>,
) -> Result<Table<'_, K, &'static [u8]>, StoreError> {
    Ok(transaction.open_table(sheet)?)
}

fn get<'k, K: Key + 'static, T: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
    key: impl Borrow<K::SelfType<'k>>,
) -> Result<Option<T>, StoreError> {
    table.get(key)?.map(|value| decode(value.value())).transpose()
}

fn put<'k, K: Key + 'static>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: impl Borrow<K::SelfType<'k>>,
    entry: &impl Serialize,
) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(entry).map_err(|error| StoreError::Damaged(format!("an entry: {error}")))?;
    table.insert(key, bytes.as_slice())?;
    Ok(())
}

fn len<K: Key + 'static>(table: &Table<'_, K, &'static [u8]>) -> Result<u64, StoreError> {
    Ok(table.len()?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged(format!("an entry of the ledger: {error}")))
}

/// A key, hash or envelope in a document: hex.
pub(crate) mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(from: D) -> Result<T, D::Error> {
        let bytes = hex::decode(String::deserialize(from)?).map_err(serde::de::Error::custom)?;
        T::try_from(bytes).map_err(|_| serde::de::Error::custom("another length"))
    }
}

#[cfg(test)]
#[path = "ledger/tests.rs"]
mod tests;
