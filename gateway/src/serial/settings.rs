//! `[[serial]]` of the configuration: which ports there are, and how their lines run.

use std::path::PathBuf;

use serde::Deserialize;

use super::port::{Parity, Speed};
use crate::limits::{BAUD_MAX, BAUD_MIN, SERIAL_PORTS_MAX};

/// A port at which one reader speaks our protocol in frames.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    /// Best a name under `/dev/serial/by-id`, which stays the same wherever the adapter is plugged in.
    pub(crate) port: PathBuf,
    #[serde(default = "baud")]
    pub(crate) baud: u32,
    #[serde(default)]
    pub(crate) parity: Parity,
}

const fn baud() -> u32 {
    115_200
}

impl Port {
    pub(crate) const fn speed(&self) -> Speed {
        Speed { baud: self.baud, parity: self.parity }
    }
}

/// Checks all of them together.
///
/// # Errors
/// The key that is wrong, and what to write.
pub(crate) fn check(ports: &[Port]) -> Result<(), String> {
    if ports.len() > SERIAL_PORTS_MAX {
        let listed = ports.len();
        return Err(format!("serial: {listed} ports are listed; list {SERIAL_PORTS_MAX} at most"));
    }
    for (place, Port { port, baud, .. }) in ports.iter().enumerate() {
        let name = port.display();
        if !port.is_absolute() {
            return Err(format!("serial.port: `{name}` is not an absolute path; write the whole of it, from `/` on"));
        }
        if ports[..place].iter().any(|other| other.port == *port) {
            return Err(format!("serial.port: `{name}` is listed twice; one reader hangs on each port"));
        }
        if !Speed::is_possible(*baud) {
            return Err(format!("serial.baud: {baud} is out of range; give one from {BAUD_MIN} to {BAUD_MAX}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Result<Vec<Port>, String> {
        #[derive(Deserialize)]
        struct Config {
            serial: Vec<Port>,
        }
        let Config { serial } = toml::from_str(text).map_err(|error| error.to_string())?;
        check(&serial).map(|()| serial)
    }

    #[test]
    fn ports_have_defaults_and_every_key_is_checked() {
        let read = ports(
            "[[serial]]\nport = \"/dev/ttyS0\"\n[[serial]]\nport = \"/dev/ttyS1\"\nbaud = 9600\nparity = \"even\"",
        );
        let speeds: Vec<_> = read.unwrap().iter().map(|port| port.speed().to_string()).collect();
        assert_eq!(speeds, ["115200 baud 8N1", "9600 baud 8E1"]);
        for (text, word) in [
            ("[[serial]]\nport = \"ttyS0\"", "absolute"),
            ("[[serial]]\nport = \"/a\"\n[[serial]]\nport = \"/a\"", "twice"),
            ("[[serial]]\nport = \"/a\"\nbaud = 0", "out of range"),
            ("[[serial]]\nport = \"/a\"\nparity = \"mark\"", "parity"),
            ("[[serial]]\nport = \"/a\"\nspeed = 9600", "speed"),
            ("[[serial]]\nbaud = 9600", "port"),
        ] {
            let refused = ports(text).map(|_| ()).unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
        let many: String = (0..=SERIAL_PORTS_MAX).map(|n| format!("[[serial]]\nport = \"/dev/ttyS{n}\"\n")).collect();
        assert!(ports(&many).map(|_| ()).unwrap_err().contains("at most"));
    }
}
