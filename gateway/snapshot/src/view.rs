//! A snapshot in use: the bytes that were verified, looked up as they lie.
//!
//! The crate's `unsafe` is here. The archive is checked once, in the constructor, and read unchecked from then on: checking
//! it at each look would cost five milliseconds with a million entries. The other two are hints, to the processor and to the
//! kernel: keys are looked up at random, so a look into a large table waits for memory, and for the pages' own table before.
#![allow(unsafe_code)]

use kalitka_protocol::credential::Credential;
use rkyv::rancor;
use rkyv::util::AlignedVec;

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

    /// Lets the processor fetch what [`probe`](Self::probe) of `credential` will read, without waiting for it. A hint:
    /// nothing depends on it but time.
    pub fn prefetch(&self, credential: &Credential) {
        self.index().run(credential).iter().take(SLOTS_AHEAD).for_each(fetch);
    }

    /// Lets the processor fetch the identity of `holder`, a dense number, likewise.
    pub fn prefetch_holder(&self, holder: u32) {
        if let Some(identity) = self.model().holders.get(holder as usize) {
            fetch(identity);
        }
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

/// Slots from a home on that are fetched ahead. At a load of 0.75 four of five known credentials stand in them.
const SLOTS_AHEAD: usize = 4;

/// Begins to bring the cache line of `row` near. Elsewhere than on x86-64 it is for the processor to guess.
fn fetch<T>(row: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the intrinsic needs SSE, which every x86-64 has. The instruction is a hint: it neither reads nor writes as
        // far as the program can tell, and raises no fault at any address; this one is a live reference's besides.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(row).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

/// Bytes of a large page.
const LARGE_PAGE: usize = 2 << 20;

/// Asks the kernel to give `buffer`, of which nothing has been written yet, large pages. It may refuse.
pub(crate) fn use_large_pages(buffer: &mut AlignedVec<64>) {
    let (start, len) = (buffer.as_mut_ptr(), buffer.capacity());
    let before = start.align_offset(LARGE_PAGE);
    let pages = len.saturating_sub(before) / LARGE_PAGE;
    #[cfg(target_os = "linux")]
    if pages > 0 {
        use rustix::mm::{Advice, madvise};
        // SAFETY: the range is whole pages inside the buffer's own allocation, `before + pages * LARGE_PAGE <= len`, so
        // the pointer stays in it and nothing else is in those pages. The advice changes how the kernel keeps them, and
        // neither what they hold nor whether they may be read and written.
        let _refused = unsafe { madvise(start.add(before).cast(), pages * LARGE_PAGE, Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = pages;
}

/// The archive in a signed file.
fn archive(file: &[u8]) -> &[u8] {
    file.get(HEADER_LEN..file.len().saturating_sub(SIGNATURE_LEN)).unwrap_or(&[])
}
