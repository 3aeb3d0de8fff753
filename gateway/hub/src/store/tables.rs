//! The tables of events.

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::StoreError;
use super::purge::{PURGES, purged_order};
use super::record::Place;

/// Records by place.
pub(super) const RECORDS: TableDefinition<'_, Place, &[u8]> = TableDefinition::new("records");
/// Places by the order number of the first event.
pub(super) const ORDERS: TableDefinition<'_, u64, Place> = TableDefinition::new("orders");
/// Places (epoch, first number) by building and order number.
pub(super) const BUILDING_ORDERS: TableDefinition<'_, (u32, u64), (u64, u64)> = TableDefinition::new("building_orders");
/// What is kept of each building's epochs.
pub(super) const EPOCHS: TableDefinition<'_, (u32, u64), Row> = TableDefinition::new("epochs");
/// Identities that came with another hash.
pub(super) const FORKS: TableDefinition<'_, Place, Came> = TableDefinition::new("forks");

/// Single values, by name.
pub(super) const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");

/// Of an epoch: its ordinal, its highest number, that number's hash, how many events are kept.
pub(super) type Row = (u64, u64, [u8; 32], u64);

/// Of an identity that came with another hash: how often, when last (microseconds since 1970), the other hash.
pub(super) type Came = (u64, i64, [u8; 32]);

/// What is kept of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The place among its building's epochs, by when their first events came, from 1.
    pub(crate) ordinal: u64,
    /// The highest number.
    pub(crate) last: u64,
    /// h of that number.
    pub(crate) hash: [u8; 32],
    /// How many events: less than `last` when there are gaps.
    pub(crate) count: u64,
}

impl Head {
    pub(super) const fn from_row((ordinal, last, hash, count): Row) -> Self {
        Self { ordinal, last, hash, count }
    }

    pub(super) const fn row(self) -> Row {
        (self.ordinal, self.last, self.hash, self.count)
    }
}

/// The tables, open for a change.
pub(super) struct Tables<'t> {
    pub(super) records: Table<'t, Place, &'static [u8]>,
    pub(super) orders: Table<'t, u64, Place>,
    pub(super) building_orders: Table<'t, (u32, u64), (u64, u64)>,
    pub(super) epochs: Table<'t, (u32, u64), Row>,
    pub(super) forks: Table<'t, Place, Came>,
    pub(super) purges: Table<'t, Place, &'static [u8]>,
    pub(super) notes: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Tables<'t> {
    /// Opens them, and makes those that are missing.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            orders: transaction.open_table(ORDERS)?,
            building_orders: transaction.open_table(BUILDING_ORDERS)?,
            epochs: transaction.open_table(EPOCHS)?,
            forks: transaction.open_table(FORKS)?,
            purges: transaction.open_table(PURGES)?,
            notes: transaction.open_table(NOTES)?,
        })
    }

    /// The order number of the newest event; 0 when there is none.
    pub(super) fn newest(&self) -> Result<u64, StoreError> {
        Ok(newest(&self.orders, &self.records)?.max(purged_order(&self.notes)?))
    }
}

/// The order number of the newest event that is kept; 0 when there is none.
fn newest(
    orders: &impl ReadableTable<u64, Place>,
    records: &impl ReadableTable<Place, &'static [u8]>,
) -> Result<u64, StoreError> {
    let Some((_, place)) = orders.last()? else { return Ok(0) };
    let place = place.value();
    let bytes = records.get(place)?.ok_or_else(|| StoreError::Damaged(format!("{place:?} is missing")))?;
    Ok(super::Record::decode(place, bytes.value())?.last_order())
}

/// The newest order number of one state of the store, also when its event has been purged.
pub(super) fn newest_of(transaction: &ReadTransaction) -> Result<u64, StoreError> {
    let kept = newest(&transaction.open_table(ORDERS)?, &transaction.open_table(RECORDS)?)?;
    Ok(kept.max(purged_order(&transaction.open_table(NOTES)?)?))
}
