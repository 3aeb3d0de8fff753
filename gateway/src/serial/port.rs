//! Opening a serial port: raw, ours alone, and with a word for the person when it cannot be had.
//!
//! Modem lines are raised where there are any, since some controllers look at them; ports without them, and there are many,
//! are as good. RS-485 adapters that turn the line round by themselves need nothing; a port whose driver must be told to is
//! set up by the machine (`rs485conf`), not here.

use std::fmt;
use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Deserialize;
use tokio_serial::{
    ClearBuffer, DataBits, Error, ErrorKind, FlowControl, SerialPort, SerialPortBuilder, SerialStream, StopBits,
};

use crate::limits::{BAUD_MAX, BAUD_MIN, LOCKS_BYTES_MAX};

/// What a byte's parity bit is. Ours and OSDP's lines have none; some radio bridges insist on one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Parity {
    /// No parity bit
    #[default]
    None,
    /// Even
    Even,
    /// Odd
    Odd,
}

/// How a line runs: eight bits and one stop bit a byte, no flow control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speed {
    pub(crate) baud: u32,
    pub(crate) parity: Parity,
}

impl Speed {
    /// Whether any port could run so.
    pub(crate) const fn is_possible(baud: u32) -> bool {
        baud >= BAUD_MIN && baud <= BAUD_MAX
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} baud 8{parity}1", self.baud)
    }
}

/// Who has a port that we wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// Why a port was not opened: each is a different thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// Nothing of this name is there: pulled out, or not plugged in yet.
    Missing,
    /// Another process has it.
    InUse(Option<Holder>),
    /// We may not.
    Forbidden,
    /// There is something, and it is no serial port.
    NotSerial,
    /// The port cannot run so.
    Speed(Speed),
    /// What else the system says.
    System(String),
}

impl NotOpened {
    /// The label of its metric.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::InUse(_) => "in_use",
            Self::Forbidden => "forbidden",
            Self::NotSerial => "not_serial",
            Self::Speed(_) => "speed",
            Self::System(_) => "system",
        }
    }

    /// Every label.
    pub(crate) const LABELS: [&'static str; 6] = ["missing", "in_use", "forbidden", "not_serial", "speed", "system"];
}

impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such port; plug it in, or see `kalitka-gateway serial list`"),
            Self::InUse(Some(Holder { pid, name })) => {
                write!(f, "process {pid} ({name}) has it; stop that, or give it another port")
            }
            Self::InUse(None) => f.write_str("another process has it; `fuser` says which"),
            Self::Forbidden => {
                f.write_str("this user may not use it; add the user to the port's group, which is mostly dialout")
            }
            Self::NotSerial => f.write_str("this is no serial port; see `kalitka-gateway serial list`"),
            Self::Speed(speed) => write!(f, "the port cannot run at {speed}; give another speed"),
            Self::System(error) => {
                write!(f, "{error}; look at the kernel's log, pull the adapter and plug it in again")
            }
        }
    }
}

impl std::error::Error for NotOpened {}

/// Opens the port at `path`, for this process alone. Bytes that came before are gone. Must be called in a runtime's context.
///
/// To be read by `AsyncRead`: the stream's own `readable` never forgets that it was ready once, and `try_read` after it turns
/// in circles. A read of no bytes means that the port is hung up.
///
/// # Errors
/// [`NotOpened`]; trying again later may help whatever it is.
pub(crate) fn open(path: &Path, speed: Speed) -> Result<SerialStream, NotOpened> {
    look_at(path)?;
    if !Speed::is_possible(speed.baud) {
        return Err(NotOpened::Speed(speed));
    }
    let mut port = SerialStream::open(&builder(path, speed)).map_err(|error| why(path, speed, error))?;
    // Not every port has modem lines, and those that have none say so in many ways.
    let _ = port.write_data_terminal_ready(true);
    let _ = port.write_request_to_send(true);
    // What came at the speed that the port had before is of no use.
    let _ = port.clear(ClearBuffer::All);
    Ok(port)
}

/// Closes a port, and drops what has not left through it: closing one that takes nothing would wait for that for half a minute,
/// on the thread of all lines.
pub(crate) fn let_go(port: SerialStream) {
    // A port that is gone has nothing to drop.
    let _ = port.clear(ClearBuffer::Output);
    drop(port);
}

/// Looks whether there is something at `path` that can be a port, and leaves it alone.
///
/// # Errors
/// [`NotOpened`], as far as it can be seen from outside.
pub(crate) fn look_at(path: &Path) -> Result<(), NotOpened> {
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NotOpened::Missing,
        io::ErrorKind::PermissionDenied => NotOpened::Forbidden,
        _ => NotOpened::System(error.to_string()),
    })?;
    if found.file_type().is_char_device() { Ok(()) } else { Err(NotOpened::NotSerial) }
}

fn builder(path: &Path, speed: Speed) -> SerialPortBuilder {
    let parity = match speed.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    tokio_serial::new(path.to_string_lossy(), speed.baud)
        .data_bits(DataBits::Eight)
        .stop_bits(StopBits::One)
        .flow_control(FlowControl::None)
        .parity(parity)
}

fn why(path: &Path, speed: Speed, error: Error) -> NotOpened {
    match error.kind {
        ErrorKind::NoDevice => NotOpened::InUse(holder(path)),
        ErrorKind::Io(io::ErrorKind::NotFound) => NotOpened::Missing,
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => NotOpened::Forbidden,
        ErrorKind::InvalidInput => NotOpened::Speed(speed),
        // The crate keeps the words alone of what it has no kind for.
        _ => match error.description.as_str() {
            "No such device" | "No such device or address" => NotOpened::Missing,
            "Inappropriate ioctl for device" | "Not a typewriter" => NotOpened::NotSerial,
            _ => NotOpened::System(error.description),
        },
    }
}

/// Who holds the lock on the port at `path`, if the kernel's list of locks says it.
fn holder(path: &Path) -> Option<Holder> {
    let inode = fs::metadata(path).ok()?.st_ino();
    let locks = read_at_most(Path::new("/proc/locks"), LOCKS_BYTES_MAX)?;
    let pid = locks.lines().find_map(|line| locked_by(line, inode))?;
    let name = read_at_most(&PathBuf::from(format!("/proc/{pid}/comm")), 64)?;
    Some(Holder { pid, name: name.trim_end().to_owned() })
}

/// The process that holds this lock, a line of `/proc/locks`, if it is on `inode`: `1: FLOCK  ADVISORY  WRITE 123 00:16:5 0 EOF`.
fn locked_by(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let (pid, file) = (words.nth(2)?, words.next()?);
    let locked: u64 = file.rsplit(':').next()?.parse().ok()?;
    (locked == inode).then(|| pid.parse().ok())?
}

fn read_at_most(path: &Path, bytes: u64) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    io::Read::read_to_string(&mut io::Read::take(file, bytes), &mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    const SPEED: Speed = Speed { baud: 115_200, parity: Parity::None };

    fn in_runtime<T>(body: impl FnOnce() -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        body()
    }

    /// A pty: what stands for the device, and the name of what stands for the port.
    fn pty() -> (OwnedFd, PathBuf) {
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&device).unwrap();
        unlockpt(&device).unwrap();
        let path = ptsname(&device, Vec::new()).unwrap().into_string().unwrap().into();
        (device, path)
    }

    #[test]
    fn port_without_modem_lines_opens_at_many_speeds() {
        in_runtime(|| {
            let (_device, path) = pty();
            for baud in [1200, 9600, 38_400, 115_200, 230_400, 250_000, 460_800] {
                for parity in [Parity::None, Parity::Even, Parity::Odd] {
                    let port = open(&path, Speed { baud, parity }).unwrap();
                    assert_eq!(port.baud_rate().unwrap(), baud);
                }
            }
        });
    }

    #[test]
    fn port_that_is_let_go_takes_with_it_what_has_not_left() {
        in_runtime(|| {
            let (device, path) = pty();
            let mut port = open(&path, SPEED).unwrap();
            let mut written = 0;
            while let Ok(len) = port.try_write(&[0xff; 512]) {
                written += len;
            }
            let_go(port);
            let (mut read, mut bytes) = (0, [0; 512]);
            while let Ok(len) = rustix::io::read(&device, &mut bytes) {
                read += len;
            }
            assert!(read < written, "{read} of {written}");
        });
    }

    #[test]
    fn who_has_the_port_is_named() {
        in_runtime(|| {
            let (_device, path) = pty();
            let first = open(&path, SPEED).unwrap();
            let refused = open(&path, SPEED).map(|_| ()).unwrap_err();
            let NotOpened::InUse(Some(holder)) = &refused else { panic!("{refused:?}") };
            assert_eq!(holder.pid, std::process::id());
            assert!(refused.to_string().contains(&format!("process {}", holder.pid)), "{refused}");
            drop(first);
            assert!(open(&path, SPEED).is_ok());
        });
    }

    #[test]
    fn what_is_no_port_is_refused_with_what_to_do() {
        in_runtime(|| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("file");
            fs::write(&file, "").unwrap();
            let (_device, path) = pty();
            let cases = [
                (folder.path().join("none"), SPEED, "missing"),
                (file, SPEED, "not_serial"),
                (PathBuf::from("/dev/null"), SPEED, "not_serial"),
                (path.clone(), Speed { baud: 0, ..SPEED }, "speed"),
                (path, Speed { baud: BAUD_MAX + 1, ..SPEED }, "speed"),
            ];
            for (path, speed, label) in cases {
                let refused = open(&path, speed).map(|_| ()).unwrap_err();
                assert_eq!(refused.label(), label, "{path:?}: {refused}");
                assert!(
                    NotOpened::LABELS.contains(&label) && refused.to_string().contains("; ") || label == "not_serial"
                );
            }
        });
    }

    #[test]
    fn lock_is_found_in_the_kernels_list() {
        for (line, found) in [
            ("1: FLOCK  ADVISORY  WRITE 1234 00:16:5 0 EOF", Some(1234)),
            ("1: FLOCK  ADVISORY  WRITE 1234 00:16:55 0 EOF", None),
            ("1: POSIX  ADVISORY  WRITE 1234 00:16:5 0 EOF", None),
            ("1: FLOCK  ADVISORY  WRITE", None),
            ("", None),
        ] {
            assert_eq!(locked_by(line, 5), found, "{line}");
        }
    }

    #[test]
    fn speed_is_named_as_engineers_name_it() {
        assert_eq!(SPEED.to_string(), "115200 baud 8N1");
        assert_eq!(Speed { baud: 9600, parity: Parity::Even }.to_string(), "9600 baud 8E1");
    }
}
