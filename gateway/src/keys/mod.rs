//! The readers' keys: in a file of the state folder, and in the table that the workers look into.

mod enrolment;
mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kalitka_core::Keys;
use kalitka_core::limits::READERS_MAX;
use kalitka_protocol::ReaderId;
use kalitka_protocol::handshake::Psk;

use crate::entropy;
use crate::failure::Failure;
use crate::metrics::names;
use crate::published::Published;

pub(crate) use enrolment::enrolment;
pub(crate) use file::refuse_what_is_no_private_file;

/// Name of the key file in the state folder.
pub(crate) const FILE_NAME: &str = "readers.keys";

/// The keys, their file and their published table. Every change is on the disk before it is in force.
pub(crate) struct KeyBook {
    path: PathBuf,
    keys: Mutex<Written>,
    published: Arc<Published<Keys>>,
}

struct Written {
    /// Version of the published table; grows with each change.
    version: u64,
    keys: BTreeMap<ReaderId, Psk>,
    /// Whether the file may hold other keys than those in force: a writing has failed, and not everything of it.
    is_unsettled: bool,
}

impl KeyBook {
    /// Reads the key file at `path`; no file means no readers yet.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read, others than its owner may read it, or a line is wrong.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Failure> {
        let keys = file::read(&path)?;
        let written = Written { version: 1, keys, is_unsettled: false };
        written.show();
        let published = Arc::new(Published::new(Some(Arc::new(written.table(1)?))));
        Ok(Self { path, keys: Mutex::new(written), published })
    }

    /// The table that the workers look into; never empty of a table.
    pub(crate) fn published(&self) -> Arc<Published<Keys>> {
        Arc::clone(&self.published)
    }

    /// The readers that have a key, ascending.
    pub(crate) fn readers(&self) -> Vec<u32> {
        // From the table and not from behind the lock, which is held while a change is written to the disk.
        let table = self.published.load();
        table.iter().flat_map(|keys| keys.iter()).map(|keys| keys.reader.0).collect()
    }

    /// Gives `reader` its first key.
    ///
    /// # Errors
    /// [`Failure::Input`] when it has one, is 0 or is one too many; [`Failure::Environment`] when it cannot be kept.
    pub(crate) fn add(&self, reader: u32) -> Result<Psk, Failure> {
        self.change(|keys| {
            if reader == 0 {
                return Err(Failure::Input("0 is no reader number; they begin at 1".into()));
            }
            if keys.contains_key(&ReaderId(reader)) {
                return Err(Failure::Input(format!("reader {reader} has a key; `reader rekey {reader}` replaces it")));
            }
            if keys.len() >= READERS_MAX {
                return Err(Failure::Input(format!("{READERS_MAX} readers have keys, which is the most; revoke one")));
            }
            draw(keys, reader)
        })
    }

    /// Replaces the key of `reader`; sessions under the old one end.
    ///
    /// # Errors
    /// [`Failure::Input`] when it has none; [`Failure::Environment`] when the new one cannot be kept.
    pub(crate) fn rekey(&self, reader: u32) -> Result<Psk, Failure> {
        self.change(|keys| {
            keys.remove(&ReaderId(reader)).ok_or_else(|| unknown(reader))?;
            draw(keys, reader)
        })
    }

    /// Takes the key of `reader` away; its sessions end.
    ///
    /// # Errors
    /// [`Failure::Input`] when it has none; [`Failure::Environment`] when the change cannot be kept.
    pub(crate) fn revoke(&self, reader: u32) -> Result<(), Failure> {
        self.change(|keys| keys.remove(&ReaderId(reader)).map(|_| ()).ok_or_else(|| unknown(reader)))
    }

    /// Applies `change` to a copy, writes the copy and only then publishes it.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<ReaderId, Psk>) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut written = self.lock();
        let mut keys = written.keys.clone();
        let made = change(&mut keys)?;
        if let Err(error) = file::write(&self.path, &keys) {
            metrics::counter!(names::KEYS_WRITE_FAILURES).increment(1);
            written.is_unsettled = true;
            return Err(error);
        }
        written.keys = keys;
        written.is_unsettled = false;
        written.version += 1;
        written.show();
        let table = written.table(written.version)?;
        let table = match self.published.load().as_deref() {
            Some(before) => table.with_tallies_of(before),
            None => table,
        };
        self.published.publish(Arc::new(table));
        Ok(made)
    }

    /// Writes the keys in force once more if a change of them has failed: it may have failed at its last step, and a restart
    /// would find keys that nobody was given. Tried until it is done.
    pub(crate) fn settle(&self) {
        // Who is writing now settles it himself.
        let Ok(mut written) = self.keys.try_lock() else { return };
        if written.is_unsettled && file::write(&self.path, &written.keys).is_ok() {
            written.is_unsettled = false;
            tracing::info!("the key file holds the keys in force again");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn show(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; there are at most READERS_MAX")]
        metrics::gauge!(names::READER_KEYS).set(self.keys.len() as f64);
    }

    fn table(&self, version: u64) -> Result<Keys, Failure> {
        let keys = self.keys.iter().map(|(reader, psk)| (*reader, psk.clone()));
        Keys::new(version, keys).map_err(|error| Failure::Input(error.to_string()))
    }
}

fn draw(keys: &mut BTreeMap<ReaderId, Psk>, reader: u32) -> Result<Psk, Failure> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    entropy::fill(&mut bytes[..])?;
    let psk = Psk::new(*bytes);
    keys.insert(ReaderId(reader), psk.clone());
    Ok(psk)
}

fn unknown(reader: u32) -> Failure {
    Failure::Input(format!("reader {reader} has no key; `reader list` names those that have"))
}
