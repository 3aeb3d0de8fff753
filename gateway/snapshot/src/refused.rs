//! Why a file is not adopted.

use thiserror::Error;

use crate::flaw::Flaw;
use crate::header::{FORMAT, HEADER_LEN};
use crate::keys::PublisherKey;
use crate::limits::SNAPSHOT_BYTES_MAX;

/// Why bytes are no snapshot for this building. In the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Beyond [`SNAPSHOT_BYTES_MAX`].
    #[error("the file has {bytes} bytes, but a snapshot has at most {SNAPSHOT_BYTES_MAX}; give the right file")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Shorter than a header.
    #[error("the file has {bytes} bytes, fewer than a snapshot's header of {HEADER_LEN}; copy it again, whole")]
    TooShort {
        /// Its size.
        bytes: u64,
    },
    /// The first eight bytes are others.
    #[error("the file is no snapshot (its first bytes are others); give what `kalitka-snapshot build` wrote")]
    NotASnapshot,
    /// Of another format.
    #[error("the snapshot has format {found}, this program reads format {FORMAT}; build it with a matching version")]
    Format {
        /// The format that it has.
        found: u16,
    },
    /// The header's length is not what the format says.
    #[error("the snapshot's header says that it has {found} bytes instead of {HEADER_LEN}; build and publish it anew")]
    HeaderLength {
        /// The length that it gives.
        found: u16,
    },
    /// Something stands where zeros belong.
    #[error("the snapshot's header has something where zeros belong; build and publish it anew")]
    HeaderReserved,
    /// Header and archive alone.
    #[error("the snapshot is not signed; sign it with `kalitka-snapshot sign`")]
    Unsigned,
    /// The file's length is not what the header says.
    #[error("the file has {found} bytes, its header says {expected}: cut short or run on; copy it again, whole")]
    Length {
        /// The length that follows from the header.
        expected: u64,
        /// The length that the file has.
        found: u64,
    },
    /// For another building.
    #[error("the snapshot is for building {found}, not for {expected}; give this building's own")]
    Building {
        /// This building.
        expected: u32,
        /// The snapshot's.
        found: u32,
    },
    /// Signed by somebody whose key is not configured.
    #[error("the snapshot's publisher {found} is not one of ours; sign it with our key, or configure that publisher")]
    PublisherUnknown {
        /// Who signed it.
        found: PublisherKey,
    },
    /// The signature does not match the header.
    #[error("the snapshot's signature is wrong: header or signature were changed; fetch it again from its publisher")]
    SignatureWrong,
    /// The archive does not match its hash.
    #[error("the snapshot's archive does not match its checksum: it was damaged; fetch it again from its publisher")]
    ChecksumWrong,
    /// The archive is no archive of a model.
    #[error(
        "the snapshot's archive is malformed, though properly signed; build it with a right version and publish it"
    )]
    ArchiveMalformed,
    /// The archive says something that cannot be.
    #[error("the snapshot is inconsistent, though properly signed: {flaw} (place {place}); build and publish it anew")]
    Inconsistent {
        /// What is wrong.
        flaw: Flaw,
        /// Where in its list, from 0.
        place: usize,
    },
}

impl Refused {
    /// Every name that [`label`](Self::label) gives, in the order of the variants.
    pub const LABELS: [&'static str; 14] = [
        "too_large",
        "too_short",
        "not_a_snapshot",
        "format",
        "header_length",
        "header_reserved",
        "unsigned",
        "length",
        "building",
        "publisher_unknown",
        "signature_wrong",
        "checksum_wrong",
        "archive_malformed",
        "inconsistent",
    ];

    /// The name in metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        let [
            too_large,
            too_short,
            not_a_snapshot,
            format,
            header_length,
            header_reserved,
            unsigned,
            length,
            building,
            publisher_unknown,
            signature_wrong,
            checksum_wrong,
            archive_malformed,
            inconsistent,
        ] = Self::LABELS;
        match self {
            Self::TooLarge { .. } => too_large,
            Self::TooShort { .. } => too_short,
            Self::NotASnapshot => not_a_snapshot,
            Self::Format { .. } => format,
            Self::HeaderLength { .. } => header_length,
            Self::HeaderReserved => header_reserved,
            Self::Unsigned => unsigned,
            Self::Length { .. } => length,
            Self::Building { .. } => building,
            Self::PublisherUnknown { .. } => publisher_unknown,
            Self::SignatureWrong => signature_wrong,
            Self::ChecksumWrong => checksum_wrong,
            Self::ArchiveMalformed => archive_malformed,
            Self::Inconsistent { .. } => inconsistent,
        }
    }
}
