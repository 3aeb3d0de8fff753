//! The key file: a title, then a line for each reader: its number, a space, its key as 64 hexadecimal digits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kalitka_core::limits::READERS_MAX;
use kalitka_protocol::ReaderId;
use kalitka_protocol::handshake::Psk;
use zeroize::Zeroizing;

use crate::durable;
use crate::failure::Failure;
use crate::limits::STATE_FILE_BYTES_MAX;

const TITLE: &str = "kalitka reader keys 1";

/// Reads `path`; no file means no keys.
///
/// # Errors
/// [`Failure::Environment`] when it cannot be read or others than its owner may read it, [`Failure::Input`] naming the
/// line that is wrong. No error repeats what a line says: it may be a key.
pub(super) fn read(path: &Path) -> Result<BTreeMap<ReaderId, Psk>, Failure> {
    refuse_what_is_no_private_file(path)?;
    let bytes = durable::read_if_there(path, STATE_FILE_BYTES_MAX).map_err(|error| unreadable(path, &error))?;
    let Some(bytes) = bytes.map(Zeroizing::new) else { return Ok(BTreeMap::new()) };
    parse(&bytes).map_err(|error| Failure::Input(format!("{}: {error}; restore the file", path.display())))
}

/// Writes `keys` in the place of `path`, mode 0600.
///
/// # Errors
/// [`Failure::Environment`] when that fails; the old file is then untouched.
pub(super) fn write(path: &Path, keys: &BTreeMap<ReaderId, Psk>) -> Result<(), Failure> {
    let text = Zeroizing::new(emit(keys));
    durable::replace(path, text.as_bytes()).map_err(|error| {
        let remedy = "make room on the disk, and let the state folder belong to the gateway's user";
        Failure::at(path, "write the reader keys", &error, remedy)
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::at(path, "read the reader keys", error, durable::READ_REMEDY)
}

pub(crate) fn refuse_what_is_no_private_file(path: &Path) -> Result<(), Failure> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(path, &error)),
    };
    // The gateway makes no links: one that leads nowhere would mean no keys, and be replaced by a file.
    if !metadata.is_file() {
        return Err(unreadable(path, &io::Error::other("it is no regular file")));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::Environment(format!(
        "{path}: its mode is {mode:04o}, so others may read the keys in it; run `chmod 600 {path}`, and rekey the \
         readers if somebody may have read it",
        path = path.display()
    )))
}

/// Why a key file is refused. Lines count from 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum LineError {
    #[error("line {0} is not UTF-8")]
    NotText(usize),
    #[error("line 1 is not `{TITLE}`")]
    Title,
    #[error("line {0} is not a reader number from 1 on, one space and 64 lower-case hexadecimal digits")]
    Shape(usize),
    #[error("line {0} does not continue the ascending reader numbers")]
    Order(usize),
    #[error("line {0} does not end: the file is cut short")]
    Unfinished(usize),
    #[error("line {0} is one reader more than {READERS_MAX}")]
    TooMany(usize),
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<ReaderId, Psk>, LineError> {
    let mut keys = BTreeMap::new();
    let mut titled = false;
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix(b"\n").ok_or(LineError::Unfinished(number))?;
        let line = std::str::from_utf8(line).map_err(|_| LineError::NotText(number))?;
        if index == 0 {
            titled = line == TITLE;
            if titled { continue } else { return Err(LineError::Title) }
        }
        let (reader, psk) = parse_line(line).ok_or(LineError::Shape(number))?;
        if keys.last_key_value().is_some_and(|(last, _)| *last >= reader) {
            return Err(LineError::Order(number));
        }
        if keys.len() == READERS_MAX {
            return Err(LineError::TooMany(number));
        }
        keys.insert(reader, psk);
    }
    if titled { Ok(keys) } else { Err(LineError::Title) }
}

fn parse_line(line: &str) -> Option<(ReaderId, Psk)> {
    let (number, key) = line.split_once(' ')?;
    let reader: u32 = number.parse().ok()?;
    // The one way of writing a number and a key, so that a file is what the gateway wrote and nothing else.
    if reader == 0 || number != reader.to_string() || key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(key, &mut bytes[..]).ok()?;
    Some((ReaderId(reader), Psk::new(*bytes)))
}

fn emit(keys: &BTreeMap<ReaderId, Psk>) -> String {
    // Room for all of it at once: a string that grows leaves copies of keys in freed memory.
    let mut text = String::with_capacity(TITLE.len() + 1 + keys.len() * (10 + 1 + 64 + 1));
    text.push_str(TITLE);
    text.push('\n');
    for (reader, psk) in keys {
        // Writing to a string does not fail.
        let _ = write!(text, "{} ", reader.0);
        for byte in psk.as_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
