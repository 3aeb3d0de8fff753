//! The small thing that the outbox asks of a store.

use std::fmt::Debug;
use std::ops::ControlFlow;

use crate::error::StoreError;

/// Where a value stands: the epoch's place in this store and a number in it. Keys are ordered so. Number 0 is the
/// epoch's record, every other one the block that begins with that event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) ordinal: u64,
    pub(crate) number: u64,
}

impl Key {
    /// Before every other.
    pub(crate) const FIRST: Self = Self { ordinal: 0, number: 0 };

    /// Sixteen bytes that are ordered as keys are.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ordinal) << 64 | u128::from(self.number)).to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ordinal, number) = bytes.split_first_chunk::<8>()?;
        let (ordinal, number) = (u64::from_be_bytes(*ordinal), u64::from_be_bytes(number.try_into().ok()?));
        Some(Self { ordinal, number })
    }
}

/// What visits the values of a store, in the order of their keys, until it breaks off.
pub(crate) type Visit<'a> = dyn FnMut(Key, &[u8]) -> ControlFlow<()> + 'a;

/// Values under keys. After a loss of power there are at least those that were there at the last [`sync`](Store::sync)
/// and perhaps later changes, the earlier ones first.
pub(crate) trait Store: Debug + Send {
    /// Puts `value` under `key`, in the place of what is there.
    fn put(&mut self, key: Key, value: &[u8]) -> Result<(), StoreError>;

    /// Takes away what is under `key`, if anything.
    fn remove(&mut self, key: Key) -> Result<(), StoreError>;

    /// Makes durable what was changed before; nothing is when it fails.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// The last value at `key` or before.
    fn at_or_before(&mut self, key: Key) -> Result<Option<(Key, Vec<u8>)>, StoreError>;

    /// Visits the values from `key` on.
    fn scan(&mut self, key: Key, visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Bytes of the store's files.
    fn disk_bytes(&self) -> u64;
}
