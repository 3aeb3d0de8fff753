//! Keeps what lines learn of devices, on a thread of its own: no line waits for a disk.

use std::fmt;
use std::sync::mpsc::Receiver;

use kalitka_protocol::osdp::reply::Capabilities;

use super::keys::DeviceKeys;

/// Something that is to outlive the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Learnt {
    pub(super) reader: u32,
    pub(super) what: Fact,
}

/// What was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// The device has shown that it has its key.
    HasKey,
    /// What it can do.
    Capabilities(Capabilities),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HasKey => "the device has its key",
            Self::Capabilities(_) => "its capabilities are pinned",
        })
    }
}

/// Keeps what comes through `learnt`, in its order, until all lines are gone.
pub(super) fn run(learnt: &Receiver<Learnt>, keys: &DeviceKeys) {
    for Learnt { reader, what } in learnt {
        let kept = match what {
            Fact::HasKey => keys.set(reader),
            Fact::Capabilities(capabilities) => keys.pin(reader, capabilities),
        };
        match kept {
            Ok(()) => tracing::info!(reader, "{what}"),
            Err(error) => not_kept(Learnt { reader, what }, &error.to_string()),
        }
    }
}

/// Says that something could not be kept, and what to do.
pub(super) fn not_kept(Learnt { reader, what }: Learnt, error: &str) {
    tracing::error!(reader, error, "{what}, and that could not be kept: open an install window again");
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn what_waits_when_the_lines_end_is_kept_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("osdp.keys");
        let keys = DeviceKeys::open(path.clone()).unwrap();
        let key = keys.for_window(101).unwrap();
        let capabilities = Capabilities::parse(&[9, 1, 1]).unwrap();
        let (lines, learnt) = sync_channel(2);
        for what in [Fact::HasKey, Fact::Capabilities(capabilities)] {
            lines.send(Learnt { reader: 101, what }).unwrap();
        }
        drop(lines);
        run(&learnt, &keys);
        let (kept, pinned) = DeviceKeys::open(path).unwrap().of(101);
        assert!(kept.unwrap().is(&key) && pinned == Some(capabilities));
    }
}
