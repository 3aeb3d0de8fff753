//! The table of readers' keys: made whole by the shell, replaced whole when a reader is added, rekeyed or revoked.

use std::sync::Arc;

use kalitka_protocol::ReaderId;
use kalitka_protocol::handshake::{Psk, TagKeys};

use crate::limits::READERS_MAX;
use crate::tally::ReaderTally;

/// What is known of one reader's key. The keys of its tags are derived once, so that a forged initiation costs one hash.
#[derive(Debug)]
pub struct ReaderKeys {
    /// The reader.
    pub reader: ReaderId,
    /// Its own key.
    pub psk: Psk,
    /// The keys of its handshake tags.
    pub tags: TagKeys,
    /// What is counted of the reader: it goes on under its next key.
    pub tally: Arc<ReaderTally>,
}

/// The keys of all readers, immutable. A change is a new table with another version.
#[derive(Debug, Default)]
pub struct Keys {
    version: u64,
    readers: Vec<ReaderKeys>,
}

/// Why a table of keys cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A reader stands in it twice.
    #[error("reader {} has two keys", .0.0)]
    Twice(ReaderId),
    /// Reader numbers begin at 1.
    #[error("0 is no reader number")]
    Zero,
    /// More than [`READERS_MAX`] readers.
    #[error("{0} readers are more than {READERS_MAX}")]
    TooMany(usize),
}

impl Keys {
    /// The table of `keys`, in any order. `version` differs from that of every other table shown to the same worker.
    ///
    /// # Errors
    /// [`KeysError`] when a reader stands in it twice or is number 0, or there are too many.
    pub fn new(version: u64, keys: impl IntoIterator<Item = (ReaderId, Psk)>) -> Result<Self, KeysError> {
        let mut readers: Vec<ReaderKeys> = keys
            .into_iter()
            .map(|(reader, psk)| {
                let tags = TagKeys::new(&psk);
                ReaderKeys { reader, psk, tags, tally: Arc::default() }
            })
            .collect();
        readers.sort_unstable_by_key(|keys| keys.reader);
        if readers.len() > READERS_MAX {
            return Err(KeysError::TooMany(readers.len()));
        }
        if readers.first().is_some_and(|keys| keys.reader.0 == 0) {
            return Err(KeysError::Zero);
        }
        match readers.windows(2).find(|pair| pair[0].reader == pair[1].reader) {
            Some(pair) => Err(KeysError::Twice(pair[0].reader)),
            None => Ok(Self { version, readers }),
        }
    }

    /// The same table, in which what is counted of the readers that `before` has too goes on.
    #[must_use]
    pub fn with_tallies_of(mut self, before: &Self) -> Self {
        for keys in &mut self.readers {
            if let Some(known) = before.get(keys.reader) {
                keys.tally = Arc::clone(&known.tally);
            }
        }
        self
    }

    /// The table's version. An empty default table has version 0.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The keys of `reader`.
    #[must_use]
    pub fn get(&self, reader: ReaderId) -> Option<&ReaderKeys> {
        let place = self.readers.binary_search_by_key(&reader, |keys| keys.reader).ok()?;
        self.readers.get(place)
    }

    /// All readers, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ReaderKeys> {
        self.readers.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(readers: impl IntoIterator<Item = u32>) -> Result<Keys, KeysError> {
        Keys::new(1, readers.into_iter().map(|reader| (ReaderId(reader), Psk::new([1; 32]))))
    }

    #[test]
    fn readers_are_found_whatever_their_order() {
        let keys = table([9, 1, 5]).unwrap();
        assert!([1, 5, 9].iter().all(|&reader| keys.get(ReaderId(reader)).is_some_and(|of| of.reader.0 == reader)));
        assert!([0, 2, 10].iter().all(|&reader| keys.get(ReaderId(reader)).is_none()));
    }

    #[test]
    fn what_is_counted_of_a_reader_goes_on_in_the_next_table_and_under_another_key() {
        let before = table([1, 5]).unwrap();
        let other = [1, 2].map(|reader| (ReaderId(reader), Psk::new([2; 32])));
        let after = Keys::new(2, other).unwrap().with_tallies_of(&before);
        let tally = |keys: &Keys, reader| Arc::clone(&keys.get(ReaderId(reader)).unwrap().tally);
        assert!(Arc::ptr_eq(&tally(&before, 1), &tally(&after, 1)));
        assert!(!Arc::ptr_eq(&tally(&before, 5), &tally(&after, 2)));
    }

    #[test]
    fn tables_that_name_nobody_for_sure_are_refused() {
        assert_eq!(table([3, 1, 3]).unwrap_err(), KeysError::Twice(ReaderId(3)));
        assert_eq!(table([1, 0]).unwrap_err(), KeysError::Zero);
        let max = u32::try_from(READERS_MAX).unwrap();
        assert!(table(1..=max).is_ok());
        assert_eq!(table(1..=max + 1).unwrap_err(), KeysError::TooMany(READERS_MAX + 1));
    }
}
