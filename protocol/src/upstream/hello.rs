//! The beginning of a connection: what the gateway has, and what the hub has (SPEC 15.4, 15.5).

use super::whole;
use crate::EpochId;
use crate::limits::{EARLIER_EPOCHS_MAX, POSITION_ENTRIES_MAX};
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// Earlier epochs of a gateway, newest first; at most [`EARLIER_EPOCHS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    epochs: [EpochId; EARLIER_EPOCHS_MAX],
    len: usize,
}

impl Default for Earlier {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Earlier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

impl Earlier {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { epochs: [EpochId(0); EARLIER_EPOCHS_MAX], len: 0 }
    }

    /// Adds the next older one.
    ///
    /// # Errors
    /// [`NoRoom`] when there are [`EARLIER_EPOCHS_MAX`] already.
    pub fn push(&mut self, epoch: EpochId) -> Result<(), NoRoom> {
        *self.epochs.get_mut(self.len).ok_or(NoRoom)? = epoch;
        self.len += 1;
        Ok(())
    }

    /// They, newest first.
    #[must_use]
    pub fn as_slice(&self) -> &[EpochId] {
        self.epochs.get(..self.len).unwrap_or_default()
    }
}

/// What the gateway has. 65 bytes and 8 for each earlier epoch (SPEC 15.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The building.
    pub building: u32,
    /// The gateway's present epoch.
    pub epoch: EpochId,
    /// The last number durable at the gateway; 0 in an epoch without events.
    pub last: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// The oldest number of this epoch that the gateway still holds.
    pub oldest: u64,
    /// Generation of the snapshot in force; 0 for none.
    pub generation: u32,
    /// Earlier epochs, of which the gateway holds events or has a loss of unknown end.
    pub earlier: Earlier,
}

impl Hello {
    /// The hello that `body` is. No epoch stands in it twice.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "hello", |cursor| {
            let building = cursor.u32_from_1("building")?;
            let epoch = EpochId(cursor.u64_from_1("epoch")?);
            let last = cursor.u64("last number")?;
            let hash = cursor.array("hash")?;
            let oldest = cursor.u64("oldest number")?;
            let generation = cursor.u32("snapshot generation")?;
            let mut earlier = Earlier::new();
            for _ in 0..cursor.u8("earlier epochs")? {
                let next = EpochId(cursor.u64_from_1("earlier epoch")?);
                if next == epoch || earlier.as_slice().contains(&next) {
                    return Err(Malformed::Value("earlier epoch"));
                }
                earlier.push(next).map_err(|NoRoom| Malformed::Value("earlier epochs"))?;
            }
            Ok(Self { building, epoch, last, hash, oldest, generation, earlier })
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.building.to_le_bytes())?;
        out.put(&self.epoch.0.to_le_bytes())?;
        out.put(&self.last.to_le_bytes())?;
        out.put(&self.hash)?;
        out.put(&self.oldest.to_le_bytes())?;
        out.put(&self.generation.to_le_bytes())?;
        out.put(&[u8::try_from(self.earlier.len).map_err(|_| NoRoom)?])?;
        self.earlier.as_slice().iter().try_for_each(|epoch| out.put(&epoch.0.to_le_bytes()))
    }
}

/// What the hub has of one epoch. 48 bytes (SPEC 15.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionEntry {
    /// The epoch.
    pub epoch: EpochId,
    /// The last number that the hub keeps of it; 0 for none.
    pub last: u64,
    /// Its hash; zero for none.
    pub hash: [u8; 32],
}

impl PositionEntry {
    /// Nothing of `epoch`.
    #[must_use]
    pub const fn nothing(epoch: EpochId) -> Self {
        Self { epoch, last: 0, hash: [0; 32] }
    }

    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let epoch = EpochId(cursor.u64_from_1("epoch")?);
        let last = cursor.u64("last number")?;
        let hash = cursor.array("hash")?;
        if last == 0 && hash != [0; 32] {
            return Err(Malformed::Value("hash"));
        }
        Ok(Self { epoch, last, hash })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.epoch.0.to_le_bytes())?;
        out.put(&self.last.to_le_bytes())?;
        out.put(&self.hash)
    }
}

/// What the hub has, in answer to a hello: an entry for each of its epochs, the present one first. 4 bytes and 48 for
/// each (SPEC 15.5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Position {
    entries: [PositionEntry; POSITION_ENTRIES_MAX],
    len: usize,
}

impl core::fmt::Debug for Position {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

impl Position {
    /// The position that begins with the present epoch's entry.
    #[must_use]
    pub const fn new(present: PositionEntry) -> Self {
        Self { entries: [present; POSITION_ENTRIES_MAX], len: 1 }
    }

    /// Adds the entry of the next epoch of the hello.
    ///
    /// # Errors
    /// [`NoRoom`] when there are [`POSITION_ENTRIES_MAX`] already.
    pub fn push(&mut self, entry: PositionEntry) -> Result<(), NoRoom> {
        *self.entries.get_mut(self.len).ok_or(NoRoom)? = entry;
        self.len += 1;
        Ok(())
    }

    /// The entries, the present epoch's first; never empty.
    #[must_use]
    pub fn as_slice(&self) -> &[PositionEntry] {
        self.entries.get(..self.len).unwrap_or_default()
    }

    /// Whether it answers `hello`: entries for its epochs, in its order.
    #[must_use]
    pub fn answers(&self, hello: &Hello) -> bool {
        let asked = core::iter::once(&hello.epoch).chain(hello.earlier.as_slice());
        self.as_slice().iter().map(|entry| &entry.epoch).eq(asked)
    }

    /// The position that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "position", |cursor| {
            let count = cursor.u8("entries")?;
            cursor.reserved(3, "position reserved")?;
            if count == 0 {
                return Err(Malformed::Value("entries"));
            }
            let mut position = Self::new(PositionEntry::parse(cursor)?);
            for _ in 1..count {
                let entry = PositionEntry::parse(cursor)?;
                position.push(entry).map_err(|NoRoom| Malformed::Value("entries"))?;
            }
            Ok(position)
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&[u8::try_from(self.len).map_err(|_| NoRoom)?, 0, 0, 0])?;
        self.as_slice().iter().try_for_each(|entry| entry.emit(out))
    }
}
