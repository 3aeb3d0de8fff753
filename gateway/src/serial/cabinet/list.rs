//! Which serial ports there are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::limits::PORTS_LISTED_MAX;

/// Names that stay the same wherever an adapter is plugged in: its maker, type and number.
const BY_ID: &str = "/dev/serial/by-id";
/// Each terminal; those that have a device behind them are serial ports.
const TTYS: &str = "/sys/class/tty";

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The name to write into the configuration.
    name: PathBuf,
    /// Where that leads, if it is another name.
    device: Option<PathBuf>,
}

/// The ports of this machine: those with a name that stays, then the others.
pub(super) fn ports() -> Vec<Found> {
    ports_of(Path::new(BY_ID), Path::new(TTYS))
}

fn ports_of(by_id: &Path, ttys: &Path) -> Vec<Found> {
    let mut found: Vec<_> =
        entries(by_id).into_iter().map(|name| Found { device: fs::canonicalize(&name).ok(), name }).collect();
    let is_port = |tty: &PathBuf| {
        // A UART that is not there has a device too, and no type.
        tty.join("device").exists() && fs::read_to_string(tty.join("type")).is_ok_and(|kind| kind.trim() != "0")
            || tty.join("device").exists() && !tty.join("type").exists()
    };
    let devices =
        entries(ttys).into_iter().filter(is_port).filter_map(|tty| Some(Path::new("/dev").join(tty.file_name()?)));
    let others: Vec<_> =
        devices.filter(|device| !found.iter().any(|port| port.device.as_ref() == Some(device))).collect();
    found.extend(others.into_iter().map(|name| Found { name, device: None }));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten().take(PORTS_LISTED_MAX);
    let mut paths: Vec<_> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// The list for a person.
pub(super) fn text(ports: &[Found]) -> String {
    if ports.is_empty() {
        return "this machine has no serial port; plug an adapter in\n".into();
    }
    let line = |Found { name, device }: &Found| match device {
        Some(device) => format!("{}  is {} now\n", name.display(), device.display()),
        None => format!("{}  has no name that stays: it may be another after a restart\n", name.display()),
    };
    ports.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn ports_are_listed_by_the_name_that_stays_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let (by_id, ttys) = (folder.path().join("by-id"), folder.path().join("tty"));
        fs::create_dir_all(&by_id).unwrap();
        symlink("/dev/null", by_id.join("usb-Maker_Type_1-if00")).unwrap();
        for (tty, device, kind) in [
            ("null", true, None),
            ("ttyS0", true, Some("4")),
            ("ttyS1", true, Some("0")),
            ("tty1", false, None),
            ("ttyUSB7", true, None),
        ] {
            fs::create_dir_all(ttys.join(tty)).unwrap();
            if device {
                fs::create_dir(ttys.join(tty).join("device")).unwrap();
            }
            kind.into_iter().for_each(|kind| fs::write(ttys.join(tty).join("type"), kind).unwrap());
        }
        let found = ports_of(&by_id, &ttys);
        let names: Vec<_> = found.iter().map(|port| port.name.display().to_string()).collect();
        assert_eq!(
            names,
            [&by_id.join("usb-Maker_Type_1-if00").display().to_string()[..], "/dev/ttyS0", "/dev/ttyUSB7"]
        );
        let text = text(&found);
        assert!(text.contains("is /dev/null now") && text.lines().count() == 3, "{text}");
        assert!(self::text(&[]).contains("plug an adapter in"));
        assert!(ports_of(&folder.path().join("none"), &folder.path().join("none")).is_empty());
    }
}
