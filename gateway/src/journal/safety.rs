//! The safety file: what operators have ordered, read before the first answer.
//!
//! It says again what the fold of the outbox says, but needs no outbox to be read. Two generations lie in the state folder. The
//! bytes: length 4 ‖ [`Safety`]'s bytes of that length ‖ the operator 32 and the body of the newest order, which a start records if
//! the outbox does not have its event.

use std::io;
use std::path::{Path, PathBuf};

use kalitka_core::Safety;
use kalitka_outbox::two_generations::{self, Found};
use kalitka_protocol::wire::{Cursor, Malformed};

const NAME: &str = "safety";

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) safety: Safety,
    /// Who gave the newest order, and its body.
    pub(super) newest: Option<([u8; 32], Vec<u8>)>,
}

impl Kept {
    fn to_bytes(&self) -> Vec<u8> {
        let mut safety = Vec::new();
        self.safety.to_bytes(&mut safety);
        let mut out = u32::try_from(safety.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        out.append(&mut safety);
        if let Some((operator, body)) = &self.newest {
            out.extend_from_slice(operator);
            out.extend_from_slice(body);
        }
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let len = usize::try_from(cursor.u32("safety length")?).unwrap_or(usize::MAX);
        let safety = Safety::from_bytes(cursor.bytes(len, "safety")?)?;
        let newest = if cursor.is_empty() {
            None
        } else {
            let operator = cursor.array("operator")?;
            Some((operator, bytes.get(4 + len + operator.len()..).unwrap_or_default().to_vec()))
        };
        Ok(Self { safety, newest })
    }
}

/// Where it lies.
#[derive(Debug)]
pub(crate) struct SafetyFile {
    folder: PathBuf,
    sequence: u64,
    /// Writings that failed since the last one that did not.
    failures: u32,
}

impl SafetyFile {
    /// What is kept in `folder`; nothing in a fresh one. `None` when a file is there and neither generation can be read.
    pub(crate) fn open(folder: &Path) -> (Self, Option<Kept>) {
        let Found { newest, older, damaged, .. } = two_generations::read(folder, NAME);
        let sequence = newest.as_ref().map_or(0, |(sequence, _)| *sequence);
        let is_fresh = newest.is_none() && older.is_none() && damaged == 0;
        let kept = [newest, older].into_iter().flatten().find_map(|(_, bytes)| Kept::from_bytes(&bytes).ok());
        if damaged > 0 {
            tracing::error!(damaged, readable = kept.is_some(), "a generation of the safety file cannot be read");
        }
        (Self { folder: folder.into(), sequence, failures: 0 }, kept.or(is_fresh.then(Kept::default)))
    }

    /// Keeps `kept`.
    ///
    /// # Errors
    /// What the file system says; what was kept before still is.
    pub(super) fn write(&mut self, kept: &Kept) -> io::Result<()> {
        self.failures = self.failures.saturating_add(1);
        two_generations::write(&self.folder, NAME, self.sequence + 1, &kept.to_bytes())?;
        self.sequence += 1;
        self.failures = 0;
        Ok(())
    }

    /// Whether the last writing's failure is to be told of: less and less often, so that a full disk's log stays small.
    pub(super) const fn is_news(&self) -> bool {
        self.failures.is_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_core::{OverlayEntry, Standing};
    use kalitka_protocol::credential::Shape;
    use kalitka_protocol::upstream::CommandOutcome;

    fn kept(number: u64) -> Kept {
        let mut safety = Safety::default();
        safety.settle(number, CommandOutcome::Done);
        let credential = Shape::Uid.credential_of_uid(&[1, 2, 3, 4]).unwrap();
        safety.order(OverlayEntry::Credential { credential, standing: Standing::Blocked, number }).unwrap();
        Kept { safety, newest: Some(([9; 32], vec![64; 24])) }
    }

    #[test]
    fn what_is_kept_comes_back_and_no_part_of_it_does() {
        let bytes = kept(3).to_bytes();
        assert_eq!(Kept::from_bytes(&bytes).unwrap(), kept(3));
        assert_eq!(Kept::from_bytes(&Kept::default().to_bytes()).unwrap(), Kept::default());
        let safety_end = bytes.len() - 24 - 32;
        for end in (0..safety_end).chain(safety_end + 1..safety_end + 32) {
            assert!(Kept::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn fresh_folder_keeps_nothing_and_a_damaged_one_is_not_taken_for_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, fresh) = SafetyFile::open(folder.path());
        assert_eq!(fresh, Some(Kept::default()));
        file.write(&kept(1)).unwrap();
        file.write(&kept(2)).unwrap();
        assert_eq!(SafetyFile::open(folder.path()).1, Some(kept(2)));
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::write(entry.unwrap().path(), "x").unwrap();
        }
        assert_eq!(SafetyFile::open(folder.path()).1, None);
    }

    #[test]
    fn writing_that_goes_on_failing_is_told_of_less_and_less_often() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = SafetyFile::open(&folder.path().join("missing"));
        let told = (0..1000).filter(|_| file.write(&kept(1)).is_err() && file.is_news()).count();
        assert_eq!(told, 10);
    }
}
