//! What is asked of the store.

use std::collections::BTreeMap;

use kalitka_protocol::EpochId;
use redb::ReadableTable;

use super::purge::{Purge, purged_behind};
use super::record::{Place, Record};
use super::tables::{BUILDING_ORDERS, EPOCHS, FORKS, Head, NOTES, ORDERS, RECORDS, newest_of};
use super::{Store, StoreError};

/// An identity that came with another hash than the one kept, and was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForkSeen {
    pub(crate) epoch: EpochId,
    pub(crate) number: u64,
    /// How often it came.
    pub(crate) times: u64,
    /// When last, microseconds since 1970.
    pub(crate) last_us: i64,
    /// The hash that was refused.
    pub(crate) hash: [u8; 32],
}

impl Store {
    /// The order number of the newest event; 0 when there is none.
    ///
    /// # Errors
    /// What the store says, as of every call here.
    pub(crate) fn newest(&self) -> Result<u64, StoreError> {
        self.read(newest_of)
    }

    /// What is kept of an epoch; `None` when it is not known.
    pub(crate) fn head(&self, building: u32, epoch: EpochId) -> Result<Option<Head>, StoreError> {
        self.read(|transaction| {
            let row = transaction.open_table(EPOCHS)?.get((building, epoch.0))?;
            Ok(row.map(|row| Head::from_row(row.value())))
        })
    }

    /// What is kept of each epoch of `building`, in the order in which they came.
    pub(crate) fn epochs(&self, building: u32) -> Result<Vec<(EpochId, Head)>, StoreError> {
        self.read(|transaction| {
            let mut epochs = Vec::new();
            for row in transaction.open_table(EPOCHS)?.range((building, 0)..=(building, u64::MAX))? {
                let (key, row) = row?;
                epochs.push((EpochId(key.value().1), Head::from_row(row.value())));
            }
            epochs.sort_by_key(|(_, head)| head.ordinal);
            Ok(epochs)
        })
    }

    /// The single value of this name.
    pub(crate) fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(NOTES)?.get(name)?.map(|bytes| bytes.value().to_vec())))
    }

    /// Keeps a single value in the place of the one of this name.
    pub(crate) fn set_note(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(NOTES)?.insert(name, bytes)?;
            Ok(())
        })
    }

    /// How many events of each building are kept.
    pub(crate) fn buildings(&self) -> Result<BTreeMap<u32, u64>, StoreError> {
        self.read(|transaction| {
            let mut buildings = BTreeMap::new();
            for row in transaction.open_table(EPOCHS)?.iter()? {
                let (key, row) = row?;
                *buildings.entry(key.value().0).or_default() += Head::from_row(row.value()).count;
            }
            Ok(buildings)
        })
    }

    /// The records with events of order numbers above `after`, in order: some `bytes_max` of events, and at least one
    /// record unless there are none. The first one may begin before. With them goes what is not there any more.
    pub(crate) fn page(&self, after: u64, building: Option<u32>, bytes_max: usize) -> Result<Page, StoreError> {
        self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let from = after.saturating_add(1);
            let mut page = Gathered { records: &records, after, bytes_max, found: Vec::new(), bytes: 0 };
            if let Some(building) = building {
                let orders = transaction.open_table(BUILDING_ORDERS)?;
                let at = |order: u64| (building, order);
                let start =
                    orders.range(at(0)..=at(from))?.next_back().transpose()?.map_or(from, |row| row.0.value().1);
                for row in orders.range(at(start)..=at(u64::MAX))? {
                    let (epoch, first) = row?.1.value();
                    if !page.take((building, epoch, first))? {
                        break;
                    }
                }
            } else {
                let orders = transaction.open_table(ORDERS)?;
                let start = orders.range(..=from)?.next_back().transpose()?.map_or(from, |row| row.0.value());
                for row in orders.range(start..)? {
                    if !page.take(row?.1.value())? {
                        break;
                    }
                }
            }
            Ok(Page { records: page.found, purged: purged_behind(transaction, after, building)? })
        })
    }

    /// The record that holds `number`; `None` when it is not kept.
    pub(crate) fn holding(&self, building: u32, epoch: EpochId, number: u64) -> Result<Option<Record>, StoreError> {
        self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let mut up_to = records.range((building, epoch.0, 0)..=(building, epoch.0, number))?;
            let Some(row) = up_to.next_back() else { return Ok(None) };
            let (place, bytes) = row?;
            let record = Record::decode(place.value(), bytes.value())?;
            Ok((record.last() >= number).then_some(record))
        })
    }

    /// The records of an epoch whose first number is `from` or above, by number: some `bytes_max` of events.
    pub(crate) fn history(
        &self,
        building: u32,
        epoch: EpochId,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            for row in records.range((building, epoch.0, from)..=(building, epoch.0, u64::MAX))? {
                let (place, value) = row?;
                let record = Record::decode(place.value(), value.value())?;
                bytes += record.events.len();
                found.push(record);
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// The identities of `building` that came with another hash, as far as they are remembered.
    pub(crate) fn forks(&self, building: u32) -> Result<Vec<ForkSeen>, StoreError> {
        self.read(|transaction| {
            let mut forks = Vec::new();
            let table = transaction.open_table(FORKS)?;
            for row in table.range((building, 0, 0)..=(building, u64::MAX, u64::MAX))? {
                let (key, row) = row?;
                let ((_, epoch, number), (times, last_us, hash)) = (key.value(), row.value());
                forks.push(ForkSeen { epoch: EpochId(epoch), number, times, last_us, hash });
            }
            Ok(forks)
        })
    }
}

/// What stands behind an order number.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
    /// Of each epoch of which events behind that number have been purged, the newest record of a purge.
    pub(crate) purged: Vec<Purge>,
}

struct Gathered<'a, T> {
    records: &'a T,
    after: u64,
    bytes_max: usize,
    found: Vec<Record>,
    bytes: usize,
}

impl<T: ReadableTable<Place, &'static [u8]>> Gathered<'_, T> {
    /// Takes the record at `place`; says whether there is room for more.
    fn take(&mut self, place: Place) -> Result<bool, StoreError> {
        let bytes = self.records.get(place)?.ok_or_else(|| StoreError::Damaged(format!("{place:?} is missing")))?;
        let record = Record::decode(place, bytes.value())?;
        if record.last_order() > self.after {
            self.bytes += record.events.len();
            self.found.push(record);
        }
        Ok(self.bytes < self.bytes_max)
    }
}
