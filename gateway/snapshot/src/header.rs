//! The first 256 bytes of a snapshot (FORMAT 2).

use crate::keys::PublisherKey;
use crate::refused::Refused;

/// The format that this crate writes and reads. Any change of a byte's meaning raises it.
pub const FORMAT: u16 = 1;
/// Bytes of the header: a multiple of 64, so that the archive after it stays aligned.
pub const HEADER_LEN: usize = HEADER_LEN_FIELD as usize;
/// Bytes of the signature at the file's end.
pub const SIGNATURE_LEN: usize = 64;

const HEADER_LEN_FIELD: u16 = 256;
const MAGIC: [u8; 8] = *b"KALITKA\0";
const _: () = assert!(HEADER_LEN.is_multiple_of(64));

/// What a snapshot says of itself. All of it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The building that it is for.
    pub building: u32,
    /// The organisation that the building belongs to.
    pub organisation: u32,
    /// Its place in the sequence of the building's snapshots; grows.
    pub generation: u32,
    /// When it was built, in seconds since 1970.
    pub created: i64,
    /// The last command that it contains; 0 for none.
    pub last_command: u64,
    /// Bytes of the archive.
    pub archive_len: u64,
    /// Occupied slots of the table.
    pub entries: u64,
    /// Home slots of the table.
    pub homes: u64,
    /// Slots that a probe reads at most.
    pub longest_run: u32,
    /// Who signed it; zeros in an unsigned file.
    pub publisher: PublisherKey,
    /// BLAKE3 of the archive.
    pub archive_hash: [u8; 32],
}

impl Header {
    /// Reads the header at the beginning of `file`.
    ///
    /// # Errors
    /// [`Refused`] when the file is too short, is no snapshot, is of another format or has something where zeros belong.
    pub fn parse(file: &[u8]) -> Result<Self, Refused> {
        let bytes: &[u8; HEADER_LEN] = file.first_chunk().ok_or(Refused::TooShort { bytes: file.len() as u64 })?;
        if bytes[..8] != MAGIC {
            return Err(Refused::NotASnapshot);
        }
        let format = u16::from_le_bytes(field(bytes, 8));
        if format != FORMAT {
            return Err(Refused::Format { found: format });
        }
        let header_len = u16::from_le_bytes(field(bytes, 10));
        if header_len != HEADER_LEN_FIELD {
            return Err(Refused::HeaderLength { found: header_len });
        }
        if bytes[68..72].iter().chain(&bytes[136..]).any(|&byte| byte != 0) {
            return Err(Refused::HeaderReserved);
        }
        Ok(Self {
            building: u32::from_le_bytes(field(bytes, 12)),
            organisation: u32::from_le_bytes(field(bytes, 16)),
            generation: u32::from_le_bytes(field(bytes, 20)),
            created: i64::from_le_bytes(field(bytes, 24)),
            last_command: u64::from_le_bytes(field(bytes, 32)),
            archive_len: u64::from_le_bytes(field(bytes, 40)),
            entries: u64::from_le_bytes(field(bytes, 48)),
            homes: u64::from_le_bytes(field(bytes, 56)),
            longest_run: u32::from_le_bytes(field(bytes, 64)),
            publisher: PublisherKey::from_bytes(field(bytes, 72)),
            archive_hash: field(bytes, 104),
        })
    }

    /// The header's 256 bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &FORMAT.to_le_bytes());
        put(10, &HEADER_LEN_FIELD.to_le_bytes());
        put(12, &self.building.to_le_bytes());
        put(16, &self.organisation.to_le_bytes());
        put(20, &self.generation.to_le_bytes());
        put(24, &self.created.to_le_bytes());
        put(32, &self.last_command.to_le_bytes());
        put(40, &self.archive_len.to_le_bytes());
        put(48, &self.entries.to_le_bytes());
        put(56, &self.homes.to_le_bytes());
        put(64, &self.longest_run.to_le_bytes());
        put(72, self.publisher.as_bytes());
        put(104, &self.archive_hash);
        bytes
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}
