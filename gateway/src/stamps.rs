//! The highest stamp of each reader, kept over restarts.
//!
//! Workers tell of each stamp that they take; a thread of its own writes them down, at most every
//! [`STAMPS_WRITE_INTERVAL`] and at the end. What a crash within that time means: an initiation that was recorded on the
//! network in it can be sent once more afterwards. It is authentic, so it gets a response and makes a session *pending*;
//! but only the reader that made it knows the ephemeral key, so nobody can send a sealed datagram under that session, and
//! a pending session replaces nothing.
//!
//! The file: a title, then a line for each reader: number, stamp, and a check of the key under which it was taken. A
//! stamp under another key than the reader's present one says nothing and is left out, so a reader whose flash was
//! replaced begins anew once it is rekeyed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use kalitka_core::Keys;
use kalitka_protocol::handshake::Psk;
use kalitka_protocol::{ReaderId, Stamp};

use crate::clock::Clock;
use crate::durable;
use crate::failure::Failure;
use crate::limits::{STAMPS_WRITE_INTERVAL, STATE_FILE_BYTES_MAX};
use crate::metrics::names;
use crate::published::Published;

/// Name of the stamp file in the state folder.
pub(crate) const FILE_NAME: &str = "readers.stamps";

const TITLE: &str = "kalitka reader stamps 1";
const CHECK_CONTEXT: &str = "kalitka 1 key of a stamp";

/// Tells keys apart without telling what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyCheck(u64);

impl KeyCheck {
    /// The check of `psk`.
    pub(crate) fn of(psk: &Psk) -> Self {
        let derived = blake3::derive_key(CHECK_CONTEXT, psk.as_bytes());
        Self(derived.iter().take(8).fold(0, |check, &byte| check << 8 | u64::from(byte)))
    }
}

/// A stamp that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) reader: ReaderId,
    pub(crate) stamp: Stamp,
    pub(crate) key: KeyCheck,
}

type Stamps = BTreeMap<ReaderId, (Stamp, KeyCheck)>;

/// Keeps the stamps; runs on its own thread until the last worker is gone.
pub(crate) struct Keeper {
    path: PathBuf,
    keys: Arc<Published<Keys>>,
    stamps: Stamps,
}

impl Keeper {
    /// Reads the stamp file at `path`; no file means no stamps yet.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read or a line is wrong. It is not passed over in silence: without it recorded
    /// initiations could be answered again.
    pub(crate) fn open(path: PathBuf, keys: Arc<Published<Keys>>) -> Result<Self, Failure> {
        let stamps = read(&path)?;
        Ok(Self { path, keys, stamps })
    }

    /// The stamps taken under the readers' present keys.
    pub(crate) fn current(&self) -> Vec<(ReaderId, Stamp)> {
        let keys = self.keys.load();
        let of_key = |reader, check| {
            keys.as_ref().and_then(|keys| keys.get(reader)).map(|k| KeyCheck::of(&k.psk)) == Some(check)
        };
        let stamps = self.stamps.iter().filter(|(reader, (_, check))| of_key(**reader, *check));
        stamps.map(|(reader, (stamp, _))| (*reader, *stamp)).collect()
    }

    /// Writes down what comes through `taken` until all senders are gone, then once more.
    pub(crate) fn run(mut self, taken: &Receiver<Taken>, clock: &Clock) {
        let mut due: Option<Duration> = None;
        loop {
            let patience = due.map_or(Duration::from_secs(3600), |due| due.saturating_sub(clock.monotonic()));
            match taken.recv_timeout(patience) {
                Ok(taken) => {
                    self.note(taken);
                    due = due.or(Some(clock.monotonic() + STAMPS_WRITE_INTERVAL));
                }
                Err(RecvTimeoutError::Timeout) if due.is_some() => due = self.write_or_retry(clock),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_or_retry(clock);
                    return;
                }
            }
            // Stamps that keep coming do not put the writing off.
            if due.is_some_and(|due| due <= clock.monotonic()) {
                due = self.write_or_retry(clock);
            }
        }
    }

    fn note(&mut self, taken: Taken) {
        let known = self.stamps.entry(taken.reader).or_insert((taken.stamp, taken.key));
        if known.1 != taken.key || known.0 < taken.stamp {
            *known = (taken.stamp, taken.key);
        }
    }

    /// Writes the stamps of readers that have a key; gives the moment to try again after a failure.
    fn write_or_retry(&mut self, clock: &Clock) -> Option<Duration> {
        let keys = self.keys.load();
        self.stamps.retain(|reader, _| keys.as_ref().is_some_and(|keys| keys.get(*reader).is_some()));
        match durable::replace(&self.path, emit(&self.stamps).as_bytes()) {
            Ok(()) => {
                metrics::counter!(names::STAMPS_WRITES).increment(1);
                None
            }
            Err(error) => {
                metrics::counter!(names::STAMPS_WRITE_FAILURES).increment(1);
                tracing::error!(file = %self.path.display(), %error, "cannot keep the readers' stamps; trying again");
                Some(clock.monotonic() + STAMPS_WRITE_INTERVAL * 5)
            }
        }
    }
}

fn read(path: &Path) -> Result<Stamps, Failure> {
    let bytes = durable::read_if_there(path, STATE_FILE_BYTES_MAX)
        .map_err(|error| Failure::at(path, "read the readers' stamps", &error, durable::READ_REMEDY))?;
    let Some(bytes) = bytes else { return Ok(Stamps::new()) };
    parse(&bytes).map_err(|line| {
        let path = path.display();
        Failure::Input(format!("{path}: line {line} is wrong; restore the file, or remove it and rekey every reader"))
    })
}

/// The stamps, or the number of the first wrong line.
fn parse(bytes: &[u8]) -> Result<Stamps, usize> {
    let mut stamps = Stamps::new();
    let mut titled = false;
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or(index + 1)?;
        if index == 0 {
            titled = line == TITLE;
            if titled { continue } else { return Err(1) }
        }
        let (reader, kept) = parse_line(line).ok_or(index + 1)?;
        if stamps.last_key_value().is_some_and(|(last, _)| *last >= reader) {
            return Err(index + 1);
        }
        stamps.insert(reader, kept);
    }
    if titled { Ok(stamps) } else { Err(1) }
}

fn parse_line(line: &str) -> Option<(ReaderId, (Stamp, KeyCheck))> {
    let mut words = line.split(' ');
    let reader = ReaderId(words.next()?.parse().ok()?);
    let stamp = Stamp(words.next()?.parse().ok()?);
    let check = KeyCheck(u64::from_str_radix(words.next()?, 16).ok()?);
    // The one way of writing a line.
    (words.next().is_none() && line == emit_line(reader, stamp, check)).then_some((reader, (stamp, check)))
}

fn emit(stamps: &Stamps) -> String {
    let mut text = format!("{TITLE}\n");
    for (reader, (stamp, check)) in stamps {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", emit_line(*reader, *stamp, *check));
    }
    text
}

fn emit_line(reader: ReaderId, stamp: Stamp, check: KeyCheck) -> String {
    format!("{} {} {:016x}", reader.0, stamp.0, check.0)
}

#[cfg(test)]
#[path = "stamps_tests.rs"]
mod tests;
