//! What can go wrong, by whose fault it is.

use std::path::PathBuf;

use kalitka_protocol::wire::Malformed;

use crate::sled_store::is_full;

/// The store failed. After any of these but `Beyond` it is poisoned: nothing is taken or told until it is reopened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or sled about the disk.
    #[error("the store's disk: {0}")]
    Io(#[from] std::io::Error),
    /// The disk did not confirm what was written; what of it is there cannot be known.
    #[error("the store's disk did not confirm a sync: {0}")]
    NotSynced(std::io::Error),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store's own code came to an end.
    #[error("the store's code panicked: {0}")]
    Panicked(String),
    /// An error came before; the store must be reopened.
    #[error("the store has failed before and has not been reopened")]
    Poisoned,
    /// The number is above the highest held of that epoch: the asker is wrong, the store is well.
    #[error("number {number} is above {last}, the last of its epoch")]
    Beyond {
        /// What was named.
        number: u64,
        /// What there is.
        last: u64,
    },
}

impl StoreError {
    /// Whether opening the store anew cures it, and nothing need be waited for.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Panicked(_))
    }

    /// The metric's label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Io(error) | Self::NotSynced(error) if error.kind() == std::io::ErrorKind::StorageFull => FULL,
            Self::Io(_) => "io",
            Self::NotSynced(_) => "not_synced",
            Self::Damaged(_) => "damaged",
            Self::Panicked(_) => "panicked",
            Self::Poisoned | Self::Beyond { .. } => "other",
        }
    }
}

/// The label of a disk that is full.
const FULL: &str = "full";

/// Events were not taken; nothing of them is durable, or will be after the store is reopened.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Bytes that are no events of this building, or none at all: the caller's fault.
    #[error("no events: {0}")]
    Malformed(#[from] Malformed),
    /// Not the next number of the present epoch: the caller's fault.
    #[error("number {found} comes where {expected} is next")]
    Numbering {
        /// The head's successor.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Too little is free on the disk. The store is well: the same events can be appended again later.
    #[error("only {free} bytes are free on the store's disk, and {needed} stay free; make room")]
    DiskFull {
        /// Bytes free.
        free: u64,
        /// Bytes that must stay free.
        needed: u64,
    },
    /// The bound is reached, nothing gives way, and what may be said beyond it has been. The store is well: the same events
    /// can be appended again when the hub has taken some.
    #[error("the store holds {held} events that the hub does not have, and its bound is {max}; let the hub be reached")]
    AtBound {
        /// Events held.
        held: u64,
        /// The bound.
        max: u64,
    },
    /// Only events of an epoch that has ended can get new identities: the caller's fault.
    #[error("the present epoch's events cannot get new identities")]
    Present,
    /// The store failed and must be reopened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppendError {
    /// The metric's label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::DiskFull { .. } => FULL,
            Self::Store(error) => error.label(),
            Self::Malformed(_) | Self::Numbering { .. } | Self::AtBound { .. } | Self::Present => "other",
        }
    }
}

/// The outbox cannot be opened or reopened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system.
    #[error("{path}: cannot {what}: {error}; let it be a folder that the gateway's user owns, on a disk that works")]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: std::io::Error,
    },
    /// Another process has it open.
    #[error("{path}: another process has this outbox open; stop it first")]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// The folder is another building's.
    #[error("{path}: these are events of building {found}, not of {wanted}; give each building its own state folder")]
    Building {
        /// Where.
        path: PathBuf,
        /// Whose events they are.
        found: u32,
        /// Who asked.
        wanted: u32,
    },
    /// The disk is full; try again when it is not.
    #[error("{path}: only {free} bytes are free and {needed} are needed; make room")]
    StillFull {
        /// Where.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// Neither the store nor one in its place can be used.
    #[error("{path}: {error}")]
    Store {
        /// Where.
        path: PathBuf,
        /// What was found.
        error: StoreError,
    },
}

impl OpenError {
    /// All that [`label`](Self::label) says.
    pub const LABELS: [&'static str; 6] = ["io", "not_synced", "damaged", "panicked", FULL, "other"];

    /// Whether the disk had no room for what was to be written.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Io { error, .. } | Self::Store { error: StoreError::Io(error), .. } => is_full(error),
            _ => false,
        }
    }

    /// The metric's label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Io { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => FULL,
            Self::Io { .. } => "io",
            Self::StillFull { .. } => FULL,
            Self::Store { error, .. } => error.label(),
            Self::Locked { .. } | Self::Building { .. } => "other",
        }
    }
}
