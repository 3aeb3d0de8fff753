//! `[[osdp]]` of the configuration: which lines there are, and which devices hang on each.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use kalitka_protocol::ReaderId;
use kalitka_protocol::limits::{OSDP_DEVICES_MAX, OSDP_POINTS_MAX};
use kalitka_protocol::osdp::Address;
use kalitka_protocol::reason::Direction;
use serde::Deserialize;

use crate::limits::{OSDP_BAUDS, OSDP_BUSES_MAX};

/// A line with OSDP devices on it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Best a name under `/dev/serial/by-id`, which stays the same wherever the adapter is plugged in.
    pub(crate) port: PathBuf,
    #[serde(default = "baud")]
    pub(crate) baud: u32,
    pub(crate) devices: Vec<DeviceSettings>,
}

/// A device, and what hangs on it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceSettings {
    pub(crate) address: u8,
    /// The number that the snapshot knows its reader by.
    pub(crate) reader: u32,
    #[serde(default)]
    pub(crate) direction: Way,
    /// The output that releases the portal, if the device has it.
    pub(crate) release: Option<u8>,
    #[serde(default)]
    pub(crate) inputs: Inputs,
    /// Whether nobody may go the other way, by this device or another: whoever does has forced the portal.
    #[serde(default)]
    pub(crate) one_way: bool,
    /// Seconds after which an open door is reported.
    #[serde(default = "held_open_s")]
    pub(crate) held_open_s: u16,
    /// Whether it has a display for texts.
    #[serde(default)]
    pub(crate) display: bool,
}

/// Which way whoever shows a card wants to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    #[default]
    Entry,
    Exit,
}

/// What the device's inputs mean; those that are not named are reported when they change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Inputs {
    pub(crate) rotation_entry: Option<u8>,
    pub(crate) rotation_exit: Option<u8>,
    /// Active while the door is open.
    pub(crate) door: Option<u8>,
    pub(crate) exit_button: Option<u8>,
    pub(crate) tamper: Option<u8>,
}

impl Inputs {
    const fn all(&self) -> [Option<u8>; 5] {
        [self.rotation_entry, self.rotation_exit, self.door, self.exit_button, self.tamper]
    }

    /// The input that closes when somebody goes through in `direction`.
    pub(crate) const fn rotation(&self, direction: Direction) -> Option<u8> {
        match direction {
            Direction::Entry => self.rotation_entry,
            Direction::Exit => self.rotation_exit,
        }
    }

    pub(crate) const fn has_rotation(&self) -> bool {
        self.rotation_entry.is_some() || self.rotation_exit.is_some()
    }

    /// Whether input `number` has a meaning.
    pub(crate) fn has(&self, number: u8) -> bool {
        self.all().contains(&Some(number))
    }
}

impl DeviceSettings {
    pub(crate) const fn reader(&self) -> ReaderId {
        ReaderId(self.reader)
    }

    pub(crate) const fn direction(&self) -> Direction {
        match self.direction {
            Way::Entry => Direction::Entry,
            Way::Exit => Direction::Exit,
        }
    }

    /// Whether it ever lets anybody pass in `direction`: in its reader's, and out where there is a button.
    pub(crate) fn serves(&self, direction: Direction) -> bool {
        direction == self.direction() || (direction == Direction::Exit && self.inputs.exit_button.is_some())
    }

    /// Whether it sees people go a way in which it lets nobody pass, and so would have each of them force the portal.
    fn sees_what_it_does_not_serve(&self) -> bool {
        let unserved = [Direction::Entry, Direction::Exit].into_iter().filter(|direction| !self.serves(*direction));
        unserved.into_iter().any(|way| self.inputs.rotation(way).is_some() || self.inputs.door.is_some())
    }

    pub(crate) const fn held_open_after(&self) -> Duration {
        Duration::from_secs(self.held_open_s as u64)
    }
}

const fn baud() -> u32 {
    9600
}

const fn held_open_s() -> u16 {
    15
}

/// Checks all lines together.
///
/// # Errors
/// The key that is wrong, and what to write.
pub(crate) fn check(lines: &[Settings]) -> Result<(), String> {
    if lines.len() > OSDP_BUSES_MAX {
        return Err(format!("osdp: {} lines are listed; list {OSDP_BUSES_MAX} at most", lines.len()));
    }
    let mut readers = BTreeSet::new();
    for (place, line) in lines.iter().enumerate() {
        let name = line.port.display();
        if !line.port.is_absolute() {
            return Err(format!("osdp.port: `{name}` is not an absolute path; write the whole of it, from `/` on"));
        }
        if lines[..place].iter().any(|other| other.port == line.port) {
            return Err(format!("osdp.port: `{name}` is listed twice; list all its devices in one place"));
        }
        if !OSDP_BAUDS.contains(&line.baud) {
            return Err(format!("osdp.baud: {} is no speed of OSDP; give one of {OSDP_BAUDS:?}", line.baud));
        }
        if !(1..=OSDP_DEVICES_MAX).contains(&line.devices.len()) {
            let listed = line.devices.len();
            return Err(format!("osdp.devices: {listed} devices at `{name}`; list from 1 to {OSDP_DEVICES_MAX}"));
        }
        let mut addresses = BTreeSet::new();
        for device in &line.devices {
            check_device(device, &mut addresses, &mut readers)?;
        }
    }
    Ok(())
}

fn check_device(
    device: &DeviceSettings,
    addresses: &mut BTreeSet<u8>,
    readers: &mut BTreeSet<u32>,
) -> Result<(), String> {
    let DeviceSettings { address, reader, release, inputs, .. } = device;
    if Address::new(*address).is_none() {
        return Err(format!("osdp.devices.address: {address} is out of range; give one from 0 to 126"));
    }
    if !addresses.insert(*address) {
        return Err(format!("osdp.devices.address: {address} is listed twice at one port; each device has its own"));
    }
    if *reader == 0 {
        return Err("osdp.devices.reader: 0 is no reader number; they begin at 1".into());
    }
    if !readers.insert(*reader) {
        return Err(format!("osdp.devices.reader: {reader} is listed twice; each device is a reader of its own"));
    }
    let points: Vec<_> = inputs.all().into_iter().flatten().collect();
    if let Some(point) = points.iter().chain(release).find(|point| usize::from(**point) >= OSDP_POINTS_MAX) {
        return Err(format!("osdp.devices: input or output {point} is out of range; they go from 0 to 31"));
    }
    let distinct: BTreeSet<_> = points.iter().collect();
    if distinct.len() != points.len() {
        return Err("osdp.devices.inputs: one input has two meanings; give each its own".into());
    }
    if device.sees_what_it_does_not_serve() && !device.one_way {
        return Err(format!(
            "osdp.devices.inputs: reader {reader} would report everybody who goes the other way as having forced the portal; \
             let the device that serves that way have its rotation input, leave a door with two readers without `door`, or \
             write `one_way = true` if nobody may go that way"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<Settings>, String> {
        #[derive(Deserialize)]
        struct Config {
            osdp: Vec<Settings>,
        }
        let Config { osdp } = toml::from_str(text).map_err(|error| error.to_string())?;
        check(&osdp).map(|()| osdp)
    }

    const DEVICE: &str = "[[osdp.devices]]\naddress = 0\nreader = 101\n";

    #[test]
    fn lines_have_defaults() {
        let read = lines(&format!("[[osdp]]\nport = \"/dev/ttyS0\"\n{DEVICE}")).unwrap();
        let device = &read[0].devices[0];
        assert_eq!((read[0].baud, device.direction(), device.held_open_s), (9600, Direction::Entry, 15));
        assert_eq!((device.release, device.inputs, device.display), (None, Inputs::default(), false));
        assert!(!device.one_way);
    }

    #[test]
    fn device_that_would_report_everybody_who_goes_the_other_way_as_forced_is_refused() {
        for (settings, is_taken) in [
            ("inputs = { rotation_entry = 0 }", true),
            ("inputs = { rotation_entry = 0, rotation_exit = 1 }", false),
            ("inputs = { rotation_entry = 0, rotation_exit = 1, exit_button = 2 }", true),
            ("inputs = { rotation_entry = 0, rotation_exit = 1 }\none_way = true", true),
            ("direction = \"exit\"\ninputs = { rotation_exit = 0 }", true),
            ("direction = \"exit\"\ninputs = { rotation_entry = 0 }", false),
            ("direction = \"exit\"\ninputs = { rotation_entry = 0, exit_button = 2 }", false),
            ("inputs = { door = 0, exit_button = 1 }", true),
            ("inputs = { door = 0 }", false),
            ("inputs = { door = 0 }\none_way = true", true),
            ("direction = \"exit\"\ninputs = { door = 0, exit_button = 1 }", false),
        ] {
            let read = lines(&format!("[[osdp]]\nport = \"/a\"\n{DEVICE}{settings}\n"));
            match read {
                Ok(_) => assert!(is_taken, "{settings}"),
                Err(error) => assert!(!is_taken && error.contains("one_way"), "{settings}: {error}"),
            }
        }
    }

    #[test]
    fn every_key_is_checked_by_name() {
        let port = "[[osdp]]\nport = \"/a\"\n";
        for (text, word) in [
            (format!("[[osdp]]\nport = \"a\"\n{DEVICE}"), "absolute"),
            (format!("{port}{DEVICE}{port}[[osdp.devices]]\naddress = 1\nreader = 102\n"), "osdp.port"),
            (format!("{port}baud = 4800\n{DEVICE}"), "osdp.baud"),
            (format!("{port}devices = []\n"), "from 1 to 32"),
            (format!("{port}{DEVICE}[[osdp.devices]]\naddress = 0\nreader = 102\n"), "0 is listed twice"),
            (format!("{port}{DEVICE}[[osdp.devices]]\naddress = 1\nreader = 101\n"), "101 is listed twice"),
            (format!("{port}[[osdp.devices]]\naddress = 127\nreader = 101\n"), "from 0 to 126"),
            (format!("{port}[[osdp.devices]]\naddress = 1\nreader = 0\n"), "begin at 1"),
            (format!("{port}{DEVICE}release = 32\n"), "out of range"),
            (format!("{port}{DEVICE}inputs = {{ door = 1, tamper = 1 }}\n"), "two meanings"),
            (format!("{port}{DEVICE}inputs = {{ window = 1 }}\n"), "window"),
            (format!("{port}{DEVICE}key = \"00\"\n"), "key"),
            (format!("[[osdp]]\n{DEVICE}"), "port"),
        ] {
            let refused = lines(&text).map(|_| ()).unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
    }
}
