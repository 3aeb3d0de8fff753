//! What the state folder holds of snapshots: the adopted one's bytes, and the highest generation ever adopted.

use std::io;
use std::path::{Path, PathBuf};

use kalitka_snapshot::{AlignedBytes, PublisherKey, Refused, Snapshot};

use crate::durable;
use crate::failure::Failure;

const COPY_NAME: &str = "snapshot.kalitka";
const FLOOR_NAME: &str = "snapshot.floor";
/// Bytes of the floor's file: a number and a newline.
const FLOOR_BYTES_MAX: u64 = 16;

/// The two files. The copy is written before the floor, so a whole copy is never below it: a crash or a full disk between
/// them leaves a copy above the floor, which counts as the floor when it is read again.
#[derive(Debug)]
pub(crate) struct Shelf {
    copy: PathBuf,
    floor_file: PathBuf,
    /// Highest generation adopted; 0 when none has been.
    pub(crate) floor: u32,
    /// What the floor's file says, as far as this process knows.
    floor_written: u32,
    /// Whether the last attempt at writing the floor failed.
    floor_failed: bool,
}

impl Shelf {
    /// The shelf in the state folder.
    ///
    /// # Errors
    /// [`Failure`] when the floor cannot be read: without it an older snapshot could come back into force.
    pub(crate) fn open(state: &Path) -> Result<Self, Failure> {
        let floor_file = state.join(FLOOR_NAME);
        let text = durable::read_if_there(&floor_file, FLOOR_BYTES_MAX).map_err(|error| {
            Failure::at(&floor_file, "read the highest generation adopted", &error, durable::READ_REMEDY)
        })?;
        let floor = text.map_or(Some(0), |text| parse_floor(&text)).ok_or_else(|| {
            let path = floor_file.display();
            Failure::Input(format!("{path}: no generation and nothing else; write the highest one adopted into it"))
        })?;
        Ok(Self { copy: state.join(COPY_NAME), floor_file, floor, floor_written: floor, floor_failed: false })
    }

    /// The kept copy, verified anew; `None` when nothing has been kept.
    ///
    /// # Errors
    /// The reason why the copy cannot be used.
    pub(crate) fn load(&mut self, publishers: &[PublisherKey], building: u32) -> Option<Result<Snapshot, Unusable>> {
        let snapshot = match AlignedBytes::read(&self.copy) {
            Ok(bytes) => Snapshot::verify(bytes, publishers, building).map_err(Unusable::Refused),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(Unusable::Unreadable(error)),
        };
        Some(snapshot.and_then(|snapshot| {
            let found = snapshot.header().generation;
            if found < self.floor {
                return Err(Unusable::Older { found, floor: self.floor });
            }
            self.floor = found;
            Ok(snapshot)
        }))
    }

    /// Keeps `snapshot` as the one to start with, and its generation as the floor.
    ///
    /// # Errors
    /// What the file system says; what was kept before is then still kept.
    pub(crate) fn keep(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        durable::replace(&self.copy, snapshot.bytes())?;
        self.floor = snapshot.header().generation;
        self.settle();
        Ok(())
    }

    /// Writes the floor's file if it is behind. Until that succeeds the copy stands for the floor.
    pub(crate) fn settle(&mut self) {
        if self.floor_written == self.floor {
            return;
        }
        match durable::replace(&self.floor_file, format!("{}\n", self.floor).as_bytes()) {
            Ok(()) => (self.floor_written, self.floor_failed) = (self.floor, false),
            Err(error) if !self.floor_failed => {
                self.floor_failed = true;
                tracing::error!(file = %self.floor_file.display(), %error, "cannot keep the highest generation; trying again");
            }
            Err(_) => {}
        }
    }
}

/// Why the kept copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// It is damaged, or no longer signed by a configured publisher.
    #[error(transparent)]
    Refused(Refused),
    /// The file system does not give it.
    #[error("it cannot be read: {0}; let it be a regular file that the gateway's user may read, or remove it")]
    Unreadable(io::Error),
    /// Somebody has put an older one in its place.
    #[error("its generation {found} is below {floor}, the highest adopted; publish a newer one")]
    Older { found: u32, floor: u32 },
}

impl Unusable {
    /// The metric's label.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Refused(refused) => refused.label(),
            Self::Unreadable(_) => super::adopter::UNREADABLE,
            Self::Older { .. } => super::adopter::GENERATION,
        }
    }
}

fn parse_floor(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.strip_suffix('\n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_is_a_number_and_a_newline() {
        let cases: [(&[u8], Option<u32>); 6] =
            [(b"7\n", Some(7)), (b"7", None), (b"", None), (b"\n", None), (b"4294967296\n", None), (b"7\n8\n", None)];
        for (text, floor) in cases {
            assert_eq!(parse_floor(text), floor);
        }
    }

    #[test]
    fn damaged_floor_is_an_error_and_not_zero() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Shelf::open(folder.path()).unwrap().floor, 0);
        std::fs::write(folder.path().join(FLOOR_NAME), "x").unwrap();
        assert!(matches!(Shelf::open(folder.path()), Err(Failure::Input(_))));
    }
}
