//! The readers' keys, as `kalitka-gateway reader add --json` prints them, in a list.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use kalitka_protocol::ReaderId;
use kalitka_protocol::handshake::Psk;
use serde::{Deserialize, Serialize};

use crate::limits::{KEYS_BYTES_MAX, READERS_MAX};

/// One reader's key: `{"reader":101,"psk":"<64 hex digits>"}`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderKey {
    reader: u32,
    psk: String,
}

impl ReaderKey {
    /// The reader's number.
    #[must_use]
    pub const fn reader(&self) -> ReaderId {
        ReaderId(self.reader)
    }

    /// The reader's key.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when it is not 64 hex digits.
    pub fn psk(&self) -> io::Result<Psk> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.psk, &mut bytes)
            .map_err(|_| invalid(format!("the key of reader {} is not 64 hex digits", self.reader)))?;
        Ok(Psk::new(bytes))
    }
}

/// Reads a key file.
///
/// # Errors
/// What the file system says, or [`io::ErrorKind::InvalidData`] when others may read the file, it is too long, is not a
/// list of keys, or names no reader, too many, one twice, or one with a key that is none.
pub fn read(path: &Path) -> io::Result<Vec<ReaderKey>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(invalid("others than its owner may use it: chmod 600".into()));
    }
    let mut text = String::new();
    file.take(KEYS_BYTES_MAX).read_to_string(&mut text)?;
    let keys: Vec<ReaderKey> = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    let mut numbers: Vec<u32> = keys.iter().map(|key| key.reader).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() != keys.len() || !(1..=READERS_MAX).contains(&keys.len()) {
        return Err(invalid(format!("a key file names 1 to {READERS_MAX} readers, each once")));
    }
    keys.iter().try_for_each(|key| key.psk().map(drop))?;
    Ok(keys)
}

/// Writes a key file that only its owner can read.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::AlreadyExists`] when there is one.
pub fn write(path: &Path, keys: &[ReaderKey]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(serde_json::to_string_pretty(keys)?.as_bytes())
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
