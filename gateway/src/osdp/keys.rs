//! The devices' keys: in a file of the state folder that nobody but the gateway's user may read.
//!
//! A title, then a line for each reader: its number, its key as 32 hexadecimal digits, `new` until the device has shown that it
//! has the key and then `set`, what the device could do when it was given the key that it has, three bytes for each capability, or
//! `-`, and the key in force while another waits to be set, or `-`. A key is in the file before it is said to a device: one that a
//! device has and nobody else would have to be undone by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kalitka_protocol::osdp::Scbk;
use kalitka_protocol::osdp::reply::Capabilities;
use zeroize::Zeroizing;

use crate::durable;
use crate::entropy;
use crate::failure::Failure;
use crate::keys::refuse_what_is_no_private_file;
use crate::limits::STATE_FILE_BYTES_MAX;

/// Name of the key file in the state folder.
pub(crate) const FILE_NAME: &str = "osdp.keys";
const TITLE: &str = "kalitka osdp keys 1";

/// What is kept of one device.
#[derive(Clone, Debug)]
struct Kept {
    key: Scbk,
    is_set: bool,
    pinned: Option<Capabilities>,
    /// The key in force while another waits to be set.
    former: Option<Scbk>,
}

/// The keys and their file. Every change is on the disk before it is in force.
pub(crate) struct DeviceKeys {
    path: PathBuf,
    kept: Mutex<BTreeMap<u32, Kept>>,
}

impl DeviceKeys {
    /// Reads the key file at `path`; no file means that no device has a key.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read, others than its owner may read it, or a line is wrong. No error repeats what a line
    /// says: it may be a key.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Failure> {
        refuse_what_is_no_private_file(&path)?;
        let bytes = durable::read_if_there(&path, STATE_FILE_BYTES_MAX)
            .map_err(|error| Failure::at(&path, "read the devices' keys", &error, durable::READ_REMEDY))?;
        let kept = match bytes.map(Zeroizing::new) {
            None => BTreeMap::new(),
            Some(bytes) => parse(&bytes).map_err(|line| {
                Failure::Input(format!("{}: line {line} is none that was written; restore the file", path.display()))
            })?,
        };
        Ok(Self { path, kept: Mutex::new(kept) })
    }

    /// The key that the device of `reader` has shown that it has, and what it could do then.
    pub(crate) fn of(&self, reader: u32) -> (Option<Scbk>, Option<Capabilities>) {
        let kept = self.lock();
        match kept.get(&reader) {
            Some(Kept { key, is_set: true, pinned, .. }) => (Some(key.clone()), *pinned),
            Some(Kept { former, pinned, .. }) => (former.clone(), *pinned),
            None => (None, None),
        }
    }

    /// A key for the device of `reader`, on the disk: the one that it may have been given already, or a new one.
    ///
    /// # Errors
    /// [`Failure::Environment`] when there are no random bytes or the file cannot be written.
    pub(crate) fn for_window(&self, reader: u32) -> Result<Scbk, Failure> {
        if let Some(Kept { key, is_set: false, .. }) = self.lock().get(&reader) {
            return Ok(key.clone());
        }
        let mut bytes = Zeroizing::new([0; 16]);
        entropy::fill(&mut bytes[..])?;
        let key =
            Scbk::new(*bytes).ok_or_else(|| Failure::Environment("the random bytes are none; try again".into()))?;
        self.change(|kept| {
            // What the device could do with its former key holds as long as that does.
            let (former, pinned) = kept.remove(&reader).map_or((None, None), |kept| (Some(kept.key), kept.pinned));
            kept.insert(reader, Kept { key: key.clone(), is_set: false, pinned, former });
        })?;
        Ok(key)
    }

    /// The device of `reader` has shown that it has its key.
    ///
    /// # Errors
    /// [`Failure::Environment`] when that cannot be kept: the next window finds it out again.
    pub(crate) fn set(&self, reader: u32) -> Result<(), Failure> {
        self.change(|kept| {
            if let Some(kept) = kept.get_mut(&reader) {
                (kept.is_set, kept.former, kept.pinned) = (true, None, None);
            }
        })
    }

    /// Keeps what the device of `reader` can do.
    ///
    /// # Errors
    /// [`Failure::Environment`] when that cannot be kept: it is asked again at the next start.
    pub(crate) fn pin(&self, reader: u32, capabilities: Capabilities) -> Result<(), Failure> {
        self.change(|kept| {
            if let Some(kept) = kept.get_mut(&reader) {
                kept.pinned = Some(capabilities);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u32, Kept>)) -> Result<(), Failure> {
        let mut kept = self.lock();
        let mut changed = kept.clone();
        change(&mut changed);
        let text = Zeroizing::new(emit(&changed));
        durable::replace(&self.path, text.as_bytes()).map_err(|error| {
            let remedy = "make room on the disk, and let the state folder belong to the gateway's user";
            Failure::at(&self.path, "write the devices' keys", &error, remedy)
        })?;
        *kept = changed;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys in `bytes`, or the number of the line that is wrong.
fn parse(bytes: &[u8]) -> Result<BTreeMap<u32, Kept>, usize> {
    let text = std::str::from_utf8(bytes).map_err(|_| 1_usize)?;
    let mut lines = text.split_inclusive('\n').map(|line| line.strip_suffix('\n'));
    if lines.next().flatten() != Some(TITLE) {
        return Err(1);
    }
    let mut kept = BTreeMap::new();
    for (line, number) in lines.zip(2..) {
        let (reader, of) = line.and_then(parse_line).ok_or(number)?;
        let is_next = kept.last_key_value().is_none_or(|(last, _)| *last < reader);
        if !is_next {
            return Err(number);
        }
        kept.insert(reader, of);
    }
    Ok(kept)
}

fn parse_line(line: &str) -> Option<(u32, Kept)> {
    let mut words = line.split(' ');
    let (reader, key, state, pinned, former) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let number: u32 = reader.parse().ok().filter(|number| *number != 0)?;
    let is_set = match state {
        "set" => true,
        "new" => false,
        _ => return None,
    };
    let pinned = match pinned {
        "-" => None,
        hex => Some(Capabilities::parse(&hex::decode(hex).ok()?).ok()?),
    };
    let former = match former {
        "-" => None,
        hex => Some(parse_key(hex)?),
    };
    let kept = Kept { key: parse_key(key)?, is_set, pinned, former };
    (words.next().is_none() && reader == number.to_string()).then_some((number, kept))
}

fn parse_key(hex: &str) -> Option<Scbk> {
    let mut bytes = Zeroizing::new([0; 16]);
    hex::decode_to_slice(hex, &mut bytes[..]).ok()?;
    Scbk::new(*bytes)
}

fn emit(kept: &BTreeMap<u32, Kept>) -> String {
    // Room for all of it at once: a string that grows leaves copies of keys in freed memory.
    let mut text = String::with_capacity(TITLE.len() + 1 + kept.len() * (10 + 2 * 33 + 5 + 200));
    text.push_str(TITLE);
    text.push('\n');
    for (reader, Kept { key, is_set, pinned, former }) in kept {
        // Writing to a string does not fail.
        let _ = write!(text, "{reader} ");
        put_hex(&mut text, key.as_bytes());
        text.push_str(if *is_set { " set " } else { " new " });
        match pinned {
            Some(pinned) => pinned.entries().iter().for_each(|entry| put_hex(&mut text, entry)),
            None => text.push('-'),
        }
        text.push(' ');
        match former {
            Some(former) => put_hex(&mut text, former.as_bytes()),
            None => text.push('-'),
        }
        text.push('\n');
    }
    text
}

fn put_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn opened(folder: &std::path::Path) -> DeviceKeys {
        DeviceKeys::open(folder.join(FILE_NAME)).unwrap()
    }

    #[test]
    fn key_is_kept_before_it_is_given_and_is_the_same_until_it_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let key = opened(folder.path()).for_window(101).unwrap();
        let again = opened(folder.path());
        assert!(again.of(101).0.is_none(), "nobody has shown it");
        assert!(again.for_window(101).unwrap().is(&key));
        again.set(101).unwrap();
        let pinned = Capabilities::parse(&[9, 1, 1, 8, 1, 0]).unwrap();
        again.pin(101, pinned).unwrap();
        let (kept, capabilities) = opened(folder.path()).of(101);
        assert!(kept.unwrap().is(&key) && capabilities == Some(pinned));
    }

    #[test]
    fn key_in_force_holds_until_another_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let keys = opened(folder.path());
        let first = keys.for_window(101).unwrap();
        keys.set(101).unwrap();
        let second = keys.for_window(101).unwrap();
        assert!(!second.is(&first) && opened(folder.path()).of(101).0.unwrap().is(&first));
        keys.set(101).unwrap();
        assert!(opened(folder.path()).of(101).0.unwrap().is(&second));
    }

    #[test]
    fn window_that_ends_without_a_key_leaves_what_the_device_could_do() {
        let folder = tempfile::tempdir().unwrap();
        let keys = opened(folder.path());
        keys.for_window(101).unwrap();
        keys.set(101).unwrap();
        let pinned = Capabilities::parse(&[9, 1, 1]).unwrap();
        keys.pin(101, pinned).unwrap();
        keys.for_window(101).unwrap();
        assert_eq!(opened(folder.path()).of(101).1, Some(pinned));
        keys.set(101).unwrap();
        assert_eq!(opened(folder.path()).of(101).1, None, "by its new key it says anew what it can do");
    }

    #[test]
    fn file_is_private_and_one_that_is_not_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        opened(folder.path()).for_window(101).unwrap();
        let path = folder.path().join(FILE_NAME);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = DeviceKeys::open(path).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn damaged_file_is_refused_by_line_and_no_key_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let keys = opened(folder.path());
        keys.for_window(101).unwrap();
        keys.for_window(102).unwrap();
        let path = folder.path().join(FILE_NAME);
        let whole = std::fs::read_to_string(&path).unwrap();
        for end in 0..whole.len() {
            let cut = &whole[..end];
            let is_shorter = cut.ends_with('\n') && cut.starts_with(TITLE);
            assert_eq!(parse(cut.as_bytes()).is_ok(), is_shorter, "{end}");
        }
        let line = whole.lines().nth(1).unwrap();
        let key = line.split(' ').nth(1).unwrap();
        for wrong in [
            whole.replacen("101 ", "0101 ", 1),
            whole.replacen("101 ", "103 ", 1),
            whole.replacen(" new ", " old ", 1),
            whole.replacen(key, "303132333435363738393a3b3c3d3e3f", 1),
            whole.replacen(" - -", " - - -", 1),
            whole.replacen(" - -", " 01 -", 1),
        ] {
            std::fs::write(&path, &wrong).unwrap();
            let refused = DeviceKeys::open(path.clone()).map(|_| ()).unwrap_err().to_string();
            assert!(refused.contains("line") && !refused.contains(key), "{refused}");
        }
    }
}
