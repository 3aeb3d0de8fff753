//! A snapshot in use: the bytes that were verified, looked up as they lie.
//!
//! The crate's one `unsafe` is here: the archive is checked once, in the constructor, and read unchecked from then on.
//! Checking it at each look would cost five milliseconds with a million entries.
#![allow(unsafe_code)]

use kalitka_protocol::credential::Credential;
use rkyv::rancor;

use crate::file::AlignedBytes;
use crate::header::{HEADER_LEN, Header, SIGNATURE_LEN};
use crate::index::Index;
use crate::model::{ArchivedModel, ArchivedSlot};
use crate::refused::Refused;

/// A snapshot, verified and immutable. Owns its bytes.
pub struct Snapshot {
    bytes: AlignedBytes,
    header: Header,
}

impl core::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Snapshot").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// A snapshot of bytes whose archive is safe to read. [`verify`](Self::verify) checks all the rest.
    pub(crate) fn of_checked_archive(bytes: AlignedBytes, header: Header) -> Result<Self, Refused> {
        rkyv::access::<ArchivedModel, rancor::Failure>(archive(&bytes)).map_err(|_| Refused::ArchiveMalformed)?;
        Ok(Self { bytes, header })
    }

    /// What the snapshot says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The file as it was verified, to be kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it holds.
    #[must_use]
    pub fn model(&self) -> &ArchivedModel {
        // SAFETY: `of_checked_archive`, the only place that makes a `Snapshot`, found `archive(&self.bytes)` to be a valid
        // `ArchivedModel`. Those bytes have not changed since: the buffer is private to `AlignedBytes`, which gives shared
        // references only, has no interior mutability and is on the heap, so that moving the `Snapshot` moves no byte
        // of it; its length, and so what `archive` cuts out, is fixed as well.
        unsafe { rkyv::access_unchecked::<ArchivedModel>(archive(&self.bytes)) }
    }

    /// The slot of `credential`, if it is known. One or two cache lines as a rule, at most
    /// [`LONGEST_RUN_MAX`](crate::limits::LONGEST_RUN_MAX).
    #[must_use]
    pub fn probe(&self, credential: &Credential) -> Option<&ArchivedSlot> {
        self.index().probe(credential)
    }

    pub(crate) fn index(&self) -> Index<'_> {
        let model = self.model();
        Index {
            seeds: [model.hash_seeds[0].to_native(), model.hash_seeds[1].to_native()],
            homes: model.homes.to_native(),
            longest_run: self.header.longest_run as usize,
            slots: &model.slots,
        }
    }
}

/// The archive in a signed file.
fn archive(file: &[u8]) -> &[u8] {
    file.get(HEADER_LEN..file.len().saturating_sub(SIGNATURE_LEN)).unwrap_or(&[])
}
