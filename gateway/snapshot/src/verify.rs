//! Accepting a file: everything is checked before anything is used (FORMAT 5 and 6).

mod plan;

mod table;

use ed25519_dalek::{Signature, VerifyingKey};

use crate::file::AlignedBytes;
use crate::flaw::Flaw;
use crate::header::{HEADER_LEN, Header, SIGNATURE_LEN};
use crate::keys::PublisherKey;
use crate::limits::SNAPSHOT_BYTES_MAX;
use crate::refused::Refused;
use crate::view::Snapshot;

pub(crate) use plan::{is_holder_byte, plan_is_small};

impl Snapshot {
    /// The snapshot of a file's `bytes`, for `building` and signed by one of `publishers`.
    ///
    /// Whether its generation may be adopted is for the gateway to say.
    ///
    /// # Errors
    /// [`Refused`], the first reason found.
    pub fn verify(bytes: AlignedBytes, publishers: &[PublisherKey], building: u32) -> Result<Self, Refused> {
        let header = Header::parse(&bytes)?;
        header.check(bytes.len() as u64, publishers, building)?;
        check_signature(&header, &bytes)?;
        if blake3::hash(&bytes[HEADER_LEN..bytes.len() - SIGNATURE_LEN]).as_bytes() != &header.archive_hash {
            return Err(Refused::ChecksumWrong);
        }
        let snapshot = Self::of_checked_archive(bytes, header)?;
        plan::check(snapshot.model()).and_then(|()| table::check(&snapshot)).map_err(Found::refused)?;
        Ok(snapshot)
    }
}

impl Header {
    /// Whether a file of `len` bytes that begins with this header can be a snapshot for `building` by one of `publishers`:
    /// all of [`Snapshot::verify`] that needs nothing but the header. It says nothing of who wrote the file.
    ///
    /// # Errors
    /// [`Refused`], the first reason found.
    pub fn check(&self, len: u64, publishers: &[PublisherKey], building: u32) -> Result<(), Refused> {
        check_length(self, len)?;
        if self.building != building {
            return Err(Refused::Building { expected: building, found: self.building });
        }
        let known = publishers.contains(&self.publisher);
        if known { Ok(()) } else { Err(Refused::PublisherUnknown { found: self.publisher }) }
    }
}

fn check_length(header: &Header, found: u64) -> Result<(), Refused> {
    if found > SNAPSHOT_BYTES_MAX {
        return Err(Refused::TooLarge { bytes: found });
    }
    let unsigned = header.archive_len.saturating_add(HEADER_LEN as u64);
    if found == unsigned {
        return Err(Refused::Unsigned);
    }
    let expected = unsigned.saturating_add(SIGNATURE_LEN as u64);
    if found == expected { Ok(()) } else { Err(Refused::Length { expected, found }) }
}

fn check_signature(header: &Header, bytes: &[u8]) -> Result<(), Refused> {
    let key = VerifyingKey::from_bytes(header.publisher.as_bytes()).map_err(|_| Refused::SignatureWrong)?;
    let signature = bytes.last_chunk::<SIGNATURE_LEN>().ok_or(Refused::SignatureWrong)?;
    key.verify_strict(&bytes[..HEADER_LEN], &Signature::from_bytes(signature)).map_err(|_| Refused::SignatureWrong)
}

/// A flaw and its place.
struct Found(Flaw, usize);

impl Found {
    fn refused(self) -> Refused {
        Refused::Inconsistent { flaw: self.0, place: self.1 }
    }
}

/// `Ok` when `sound`, else `flaw` at `place`.
fn ensure(sound: bool, flaw: Flaw, place: usize) -> Result<(), Found> {
    if sound { Ok(()) } else { Err(Found(flaw, place)) }
}
