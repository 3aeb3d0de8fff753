//! The checkpoint: the fold at one event, so that a start need not read the whole outbox.
//!
//! Two generations lie in the state folder. The bytes: version 1 ‖ reserved 3 ‖ epochs n 4 ‖ epoch 8 ‖ number 8 ‖ hash 32, then n
//! times epoch 8 ‖ acknowledged 8 (2^64 - 1 for one that has ended and is at the hub as a whole), then the fold.

use std::path::{Path, PathBuf};

use kalitka_core::Fold;
use kalitka_outbox::two_generations::{self, Found};
use kalitka_outbox::{EpochSummary, Head};
use kalitka_protocol::EpochId;
use kalitka_protocol::wire::{Cursor, Malformed};

const NAME: &str = "checkpoint";
const VERSION: u8 = 1;
/// Stands for all of an epoch that has ended.
const ALL: u64 = u64::MAX;
/// Epochs that a checkpoint names at most: more than an outbox holds at a time.
const EPOCHS_MAX: u32 = 4096;

/// The fold at `head`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) head: Head,
    /// Of each epoch, up to where the hub has acknowledged.
    pub(super) acknowledged: Vec<(EpochId, u64)>,
    pub(super) fold: Fold,
}

/// Up to where the hub has acknowledged each of `epochs`, of which `present` has not ended.
pub(super) fn acknowledged(epochs: &[EpochSummary], present: EpochId) -> Vec<(EpochId, u64)> {
    let is_through = |of: &EpochSummary| of.epoch != present && of.acknowledged >= of.last && of.loss_open.is_none();
    epochs.iter().map(|of| (of.epoch, if is_through(of) { ALL } else { of.acknowledged })).collect()
}

impl Checkpoint {
    /// Epochs that have ended, and that the hub did not have all of.
    pub(super) fn earlier(&self) -> Vec<EpochId> {
        let earlier = self.acknowledged.iter().filter(|(epoch, number)| *epoch != self.head.epoch && *number != ALL);
        earlier.map(|(epoch, _)| *epoch).collect()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, 0, 0, 0];
        out.extend_from_slice(&u32::try_from(self.acknowledged.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.head.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.head.number.to_le_bytes());
        out.extend_from_slice(&self.head.hash);
        for (epoch, number) in &self.acknowledged {
            out.extend_from_slice(&epoch.0.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.fold.to_bytes(&mut out);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let at = &mut cursor;
        if at.u8("checkpoint version")? != VERSION {
            return Err(Malformed::Version);
        }
        at.reserved(3, "checkpoint reserved")?;
        let epochs = at.u32("epochs")?;
        if epochs > EPOCHS_MAX {
            return Err(Malformed::Value("epochs"));
        }
        let epoch = EpochId(at.u64_from_1("epoch")?);
        let head = Head { epoch, number: at.u64("number")?, hash: at.array("hash")? };
        let mut acknowledged = Vec::new();
        for _ in 0..epochs {
            acknowledged.push((EpochId(at.u64_from_1("epoch")?), at.u64("acknowledged")?));
        }
        let read = 56 + 16 * acknowledged.len();
        Ok(Self { head, acknowledged, fold: Fold::from_bytes(bytes.get(read..).unwrap_or_default())? })
    }
}

/// Where checkpoints lie.
#[derive(Debug)]
pub(super) struct Checkpoints {
    folder: PathBuf,
    sequence: u64,
    /// Where the one before the newest stands: deletion never passes it.
    pub(super) older: Option<Head>,
    newest: Option<Head>,
    /// Whether a generation could not be read at the start, and none has been written since.
    pub(super) is_damaged: bool,
}

impl Checkpoints {
    /// Those in `folder`, which are not read yet: that waits for the disk.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), sequence: 0, older: None, newest: None, is_damaged: false }
    }

    /// The newest checkpoint that can be read, if any.
    ///
    /// # Errors
    /// When the disk does not give one that is there, unless it `is_given_up` what is not given.
    pub(super) fn read(&mut self, is_given_up: bool) -> std::io::Result<Option<Checkpoint>> {
        let Found { newest, older, damaged, unreadable } = two_generations::read(&self.folder, NAME);
        if unreadable > 0 && !is_given_up {
            return Err(std::io::Error::other("the disk does not give a checkpoint that is there"));
        }
        if damaged > 0 {
            tracing::warn!(damaged, "a checkpoint cannot be read; the other or the whole outbox is used");
        }
        let sequence = newest.as_ref().map_or(0, |(sequence, _)| *sequence);
        let parse = |found: Option<(u64, Vec<u8>)>| found.and_then(|(_, bytes)| Checkpoint::from_bytes(&bytes).ok());
        let (newest, older) = (parse(newest), parse(older));
        self.sequence = sequence;
        self.older = older.as_ref().map(|checkpoint| checkpoint.head);
        self.newest = newest.as_ref().map(|checkpoint| checkpoint.head);
        self.is_damaged = damaged > 0 || unreadable > 0;
        Ok(newest.or(older))
    }

    /// Writes the next checkpoint.
    ///
    /// # Errors
    /// What the file system says; the ones before are still there.
    pub(super) fn write(&mut self, checkpoint: &Checkpoint) -> std::io::Result<()> {
        two_generations::write(&self.folder, NAME, self.sequence + 1, &checkpoint.to_bytes())?;
        self.sequence += 1;
        self.is_damaged = false;
        self.older = self.newest.replace(checkpoint.head);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(number: u64) -> Checkpoint {
        let head = Head { epoch: EpochId(5), number, hash: [number.to_le_bytes()[0]; 32] };
        Checkpoint { head, acknowledged: vec![(EpochId(5), 3), (EpochId(4), 9)], fold: Fold::default() }
    }

    #[test]
    fn checkpoint_comes_back_and_no_part_of_one_is_one() {
        let bytes = checkpoint(7).to_bytes();
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), checkpoint(7));
        for end in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }

    fn newest(folder: &Path) -> Option<Checkpoint> {
        Checkpoints::new(folder).read(false).unwrap()
    }

    #[test]
    fn one_that_the_disk_does_not_give_is_awaited_until_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        Checkpoints::new(folder.path()).write(&checkpoint(1)).unwrap();
        // A folder in its place stands for whatever cannot be read.
        std::fs::create_dir(folder.path().join("checkpoint.a")).unwrap();
        assert!(Checkpoints::new(folder.path()).read(false).is_err());
        assert_eq!(Checkpoints::new(folder.path()).read(true).unwrap().unwrap().head.number, 1);
    }

    #[test]
    fn older_one_stands_in_for_a_damaged_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoints = Checkpoints::new(folder.path());
        assert!(newest(folder.path()).is_none() && checkpoints.older.is_none());
        checkpoints.write(&checkpoint(1)).unwrap();
        assert_eq!(checkpoints.older, None);
        checkpoints.write(&checkpoint(2)).unwrap();
        assert_eq!(checkpoints.older, Some(checkpoint(1).head));
        assert_eq!(newest(folder.path()).unwrap().head.number, 2);
        // The newer of the two files is cut.
        let cut = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).find(|path| {
            let whole = std::fs::read(path).unwrap();
            std::fs::write(path, &whole[..whole.len() - 1]).unwrap();
            let newer = newest(folder.path()).unwrap().head.number == 1;
            if !newer {
                std::fs::write(path, &whole).unwrap();
            }
            newer
        });
        assert!(cut.is_some());
    }

    #[test]
    fn epochs_that_the_hub_has_not_all_of_are_known() {
        let of = |epoch, acknowledged, loss_open| EpochSummary {
            epoch: EpochId(epoch),
            oldest: 1,
            last: 9,
            hash: [0; 32],
            acknowledged,
            loss_open,
        };
        let acknowledged =
            acknowledged(&[of(5, 9, None), of(4, 9, None), of(3, 8, None), of(2, 9, Some(10))], EpochId(5));
        let known = [(5, 9), (4, ALL), (3, 8), (2, 9)].map(|(epoch, number)| (EpochId(epoch), number));
        assert_eq!(acknowledged, known);
        let checkpoint = Checkpoint { acknowledged, ..checkpoint(9) };
        assert_eq!(checkpoint.earlier(), [EpochId(3), EpochId(2)]);
        assert_eq!(Checkpoint::from_bytes(&checkpoint.to_bytes()).unwrap(), checkpoint);
    }
}
