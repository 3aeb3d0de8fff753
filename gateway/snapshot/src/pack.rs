//! Making a snapshot file: archive, header, signature.

use ed25519_dalek::{Signer, SigningKey};
use rkyv::rancor;
use rkyv::util::AlignedVec;
use thiserror::Error;

use crate::header::{HEADER_LEN, Header, SIGNATURE_LEN};
use crate::index::{self, Table};
use crate::keys::PublisherKey;
use crate::limits::{ENTRIES_MAX, LONGEST_RUN_MAX, PLAN_SIZE_MAX, SNAPSHOT_BYTES_MAX};
use crate::model::Model;
use crate::refused::Refused;

/// What a header says and a [`Model`] does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// The building's number.
    pub building: u32,
    /// The number of its organisation.
    pub organisation: u32,
    /// The snapshot's place in the building's sequence.
    pub generation: u32,
    /// When it is built, in seconds since 1970.
    pub created: i64,
    /// The last command that it contains; 0 for none.
    pub last_command: u64,
}

/// Why no snapshot can be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// Too many credentials and aliases.
    #[error("{found} credentials and aliases, but a snapshot holds at most {ENTRIES_MAX}; split the building")]
    TooManyEntries {
        /// How many there are.
        found: usize,
    },
    /// Two entries with one key.
    #[error("the credential {key} stands in the table twice; each must be there once")]
    RepeatedKey {
        /// The key, hexadecimal.
        key: String,
    },
    /// No seeds give a short longest run.
    #[error("no seeds keep every run within {LONGEST_RUN_MAX} slots; the credentials are not plausible")]
    NoSeeds,
    /// The rules would take too long to compile.
    #[error(
        "the rules are too many: profiles times portals, and the grants of all profiles together, may each be at most \
         {PLAN_SIZE_MAX}; give people fewer different sets of access levels"
    )]
    TooManyRules,
    /// The archive is too large.
    #[error("the snapshot would have {bytes} bytes, but at most {SNAPSHOT_BYTES_MAX} are allowed; name fewer things")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
}

/// Why a file is not signed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// It is no snapshot, or damaged.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It bears a signature.
    #[error("the file is signed already, by {publisher}; sign what `build` without --key wrote")]
    AlreadySigned {
        /// By whom.
        publisher: PublisherKey,
    },
}

/// The unsigned snapshot of `model`, whose `slots` are the entries in any order: their table is laid out here, and
/// `hash_seeds` and `homes` are set.
///
/// # Errors
/// [`BuildError`]. The model's meaning is checked when the file is verified, not here.
pub fn build_model(edition: &Edition, mut model: Model) -> Result<Vec<u8>, BuildError> {
    let entries = core::mem::take(&mut model.slots);
    if entries.len() > ENTRIES_MAX {
        return Err(BuildError::TooManyEntries { found: entries.len() });
    }
    let Table { seeds, homes, longest_run, slots } = index::lay_out(&entries)?;
    (model.hash_seeds, model.homes, model.slots) = (seeds, homes, slots);
    pack(edition, &model, entries.len() as u64, longest_run)
}

/// The unsigned snapshot of a model as it stands.
pub(crate) fn pack(edition: &Edition, model: &Model, entries: u64, longest_run: u32) -> Result<Vec<u8>, BuildError> {
    let archive = rkyv::api::high::to_bytes_in::<_, rancor::Failure>(model, AlignedVec::<64>::new())
        .map_err(|_| BuildError::TooLarge { bytes: u64::MAX })?;
    let bytes = (HEADER_LEN + archive.len() + SIGNATURE_LEN) as u64;
    if bytes > SNAPSHOT_BYTES_MAX {
        return Err(BuildError::TooLarge { bytes });
    }
    let header = Header {
        building: edition.building,
        organisation: edition.organisation,
        generation: edition.generation,
        created: edition.created,
        last_command: edition.last_command,
        archive_len: archive.len() as u64,
        entries,
        homes: model.homes,
        longest_run,
        publisher: PublisherKey::from_bytes([0; 32]),
        archive_hash: *blake3::hash(&archive).as_bytes(),
    };
    let mut file = Vec::with_capacity(HEADER_LEN + archive.len() + SIGNATURE_LEN);
    file.extend_from_slice(&header.emit());
    file.extend_from_slice(&archive);
    Ok(file)
}

/// Signs an unsigned snapshot: names the publisher in the header and appends the signature over it.
///
/// # Errors
/// [`SignError`] for a file that is damaged, no snapshot, or signed already.
pub fn sign(mut unsigned: Vec<u8>, secret: &SigningKey) -> Result<Vec<u8>, SignError> {
    let mut header = Header::parse(&unsigned)?;
    if header.publisher.as_bytes() != &[0; 32] {
        return Err(SignError::AlreadySigned { publisher: header.publisher });
    }
    let archive = &unsigned[HEADER_LEN..];
    if archive.len() as u64 != header.archive_len {
        let expected = header.archive_len.saturating_add(HEADER_LEN as u64);
        return Err(Refused::Length { expected, found: unsigned.len() as u64 }.into());
    }
    if blake3::hash(archive).as_bytes() != &header.archive_hash {
        return Err(Refused::ChecksumWrong.into());
    }
    header.publisher = PublisherKey::from_bytes(secret.verifying_key().to_bytes());
    let bytes = header.emit();
    unsigned[..HEADER_LEN].copy_from_slice(&bytes);
    unsigned.extend_from_slice(&secret.sign(&bytes).to_bytes());
    Ok(unsigned)
}
