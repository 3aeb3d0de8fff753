//! Snapshots handed down (SPEC 15.12).

use super::whole;
use crate::limits::SNAPSHOT_LEN_MAX;
use crate::wire::{Malformed, NoRoom, Writer};

/// What can become of a snapshot, beside refusals at steps 1 to 14 of its verification, which have the step's number.
pub mod snapshot_result {
    /// It was adopted, or is in force already.
    pub const ADOPTED: u8 = 0;
    /// Its generation is not above the highest adopted.
    pub const GENERATION_NOT_ABOVE: u8 = 32;
    /// It takes or gives more access than the configured shares.
    pub const SHARES: u8 = 33;
    /// The gateway could not write it; the hub may offer it again.
    pub const NOT_KEPT: u8 = 34;
}

/// A snapshot is there. 48 bytes (SPEC 15.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Its generation, from 1.
    pub generation: u32,
    /// Bytes of the signed file, 1 to [`SNAPSHOT_LEN_MAX`].
    pub len: u64,
    /// BLAKE3 of the signed file.
    pub hash: [u8; 32],
}

impl SnapshotHead {
    /// The snapshot message that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "snapshot", |cursor| {
            let generation = cursor.u32_from_1("snapshot generation")?;
            cursor.reserved(4, "snapshot reserved")?;
            let len = cursor.u64_from_1("snapshot length")?;
            if len > SNAPSHOT_LEN_MAX {
                return Err(Malformed::Value("snapshot length"));
            }
            Ok(Self { generation, len, hash: cursor.array("snapshot hash")? })
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.generation.to_le_bytes())?;
        out.put(&[0; 4])?;
        out.put(&self.len.to_le_bytes())?;
        out.put(&self.hash)
    }
}

/// The snapshot, please, from `offset` on. 16 bytes (SPEC 15.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotWanted {
    /// Its generation.
    pub generation: u32,
    /// What the gateway has already; the whole length when it wants nothing of it.
    pub offset: u64,
}

impl SnapshotWanted {
    /// The wish that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "snapshot wanted", |cursor| {
            let generation = cursor.u32_from_1("snapshot generation")?;
            cursor.reserved(4, "snapshot reserved")?;
            let offset = cursor.u64("snapshot offset")?;
            if offset > SNAPSHOT_LEN_MAX {
                return Err(Malformed::Value("snapshot offset"));
            }
            Ok(Self { generation, offset })
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.generation.to_le_bytes())?;
        out.put(&[0; 4])?;
        out.put(&self.offset.to_le_bytes())
    }
}

/// What became of a snapshot. 8 bytes (SPEC 15.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotResult {
    /// Its generation.
    pub generation: u32,
    /// What became of it: a step of the verification, or one of [`snapshot_result`].
    pub result: u8,
}

impl SnapshotResult {
    /// The result that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "snapshot result", |cursor| {
            let generation = cursor.u32_from_1("snapshot generation")?;
            let result = cursor.u8("snapshot result")?;
            cursor.reserved(3, "result reserved")?;
            Ok(Self { generation, result })
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.generation.to_le_bytes())?;
        out.put(&[self.result, 0, 0, 0])
    }
}
