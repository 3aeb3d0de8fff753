//! What is said over the control socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kalitka_protocol::handshake::Psk;
use kalitka_uplink::State;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::adoption::{Standing, Summary};
use crate::failure::Failure;
use crate::journal::JournalStatus;
use crate::osdp::Shown;

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Give a reader its first key.
    ReaderAdd { reader: u32 },
    /// Replace a reader's key.
    ReaderRekey { reader: u32 },
    /// Take a reader's key away.
    ReaderRevoke { reader: u32 },
    /// Which readers have keys?
    ReaderList {},
    /// Put a file into force. The path is the gateway's: absolute.
    SnapshotAdopt { file: PathBuf },
    /// Give the OSDP device of a reader a key, if it comes within so many seconds.
    OsdpEnrol { reader: u32, seconds: u64 },
    /// How do the OSDP devices stand?
    OsdpStatus {},
    /// How do matters stand?
    Status {},
}

impl Request {
    /// Every verb, as metrics and logs name them.
    pub(crate) const VERBS: [&'static str; 8] = [
        "reader_add",
        "reader_rekey",
        "reader_revoke",
        "reader_list",
        "snapshot_adopt",
        "osdp_enrol",
        "osdp_status",
        "status",
    ];

    /// Counted in the place of a verb for what is no request.
    pub(crate) const MALFORMED: &'static str = "malformed";

    /// The verb of this request.
    pub(crate) const fn verb(&self) -> &'static str {
        let [add, rekey, revoke, list, adopt, osdp_enrol, osdp_status, status] = Self::VERBS;
        match self {
            Self::ReaderAdd { .. } => add,
            Self::ReaderRekey { .. } => rekey,
            Self::ReaderRevoke { .. } => revoke,
            Self::ReaderList {} => list,
            Self::SnapshotAdopt { .. } => adopt,
            Self::OsdpEnrol { .. } => osdp_enrol,
            Self::OsdpStatus {} => osdp_status,
            Self::Status {} => status,
        }
    }

    /// The reader that it is about.
    pub(crate) const fn reader(&self) -> Option<u32> {
        match self {
            Self::ReaderAdd { reader } | Self::ReaderRekey { reader } | Self::ReaderRevoke { reader } => Some(*reader),
            Self::OsdpEnrol { reader, .. } => Some(*reader),
            Self::ReaderList {} | Self::SnapshotAdopt { .. } | Self::OsdpStatus {} | Self::Status {} => None,
        }
    }
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The reader's new key, in hex; shown once.
    Key { reader: u32, psk: KeyText },
    /// The reader's key is gone.
    Revoked { reader: u32 },
    /// The readers that have keys.
    Readers { readers: Vec<u32> },
    /// The snapshot is in force.
    Adopted(Summary),
    /// The device of the reader may be given its key.
    WindowOpen { reader: u32, seconds: u64 },
    /// The OSDP devices.
    Devices { devices: Vec<Shown> },
    /// How matters stand.
    Status(Box<Status>),
    /// It was not done, by the fault of what was asked for.
    Refused { error: String },
    /// It was not done, by the fault of the machine or the gateway.
    Failed { error: String },
}

/// A key in hex: wiped when dropped, and not shown by [`Debug`](fmt::Debug).
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct KeyText(String);

impl KeyText {
    pub(crate) fn of(psk: &Psk) -> Self {
        Self(hex::encode(psk.as_bytes()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(secret)")
    }
}

impl Drop for KeyText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// How matters stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) building: u32,
    /// Where readers are listened to.
    pub(crate) udp: SocketAddr,
    /// Where metrics are served.
    pub(crate) http: SocketAddr,
    /// Readers that have keys.
    pub(crate) readers: usize,
    pub(crate) snapshot: Standing,
    pub(crate) journal: JournalStatus,
    pub(crate) uplink: UplinkStatus,
}

/// How the connection to the hub stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UplinkStatus {
    /// `off`, `connecting`, `up` or `down`.
    pub(crate) state: String,
    /// Where the hub is, while it is up.
    pub(crate) hub: Option<SocketAddr>,
    /// For how many seconds it has been up.
    pub(crate) up_seconds: Option<u64>,
    /// Why it is down, and what to do.
    pub(crate) trouble: Option<String>,
    /// The code with which the hub closed the connection (SPEC 15.11).
    pub(crate) code: Option<u64>,
}

impl UplinkStatus {
    /// `state` as it is at `now`.
    pub(crate) fn of(state: &State, now: Duration) -> Self {
        let named = |state: &str| Self { state: state.into(), ..Self::default() };
        match state {
            State::Off => named("off"),
            State::Connecting { .. } => named("connecting"),
            State::Up { since, hub } => {
                let up_seconds = Some(now.saturating_sub(*since).as_secs());
                Self { hub: Some(*hub), up_seconds, ..named("up") }
            }
            State::Down { code, text, .. } => Self { trouble: Some(text.clone()), code: *code, ..named("down") },
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Input(error) => Self::Refused { error },
            Failure::Environment(error) | Failure::Defect(error) => Self::Failed { error },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_shown_on_the_wire_and_nowhere_else() {
        let reply = Reply::Key { reader: 101, psk: KeyText::of(&Psk::new([0x5a; 32])) };
        assert!(serde_json::to_string(&reply).unwrap().contains(&"5a".repeat(32)));
        assert!(!format!("{reply:?}").contains("5a5a"));
    }

    #[test]
    fn requests_are_strict() {
        let right = [
            r#"{"verb":"reader_add","reader":101}"#,
            r#"{"verb":"reader_list"}"#,
            r#"{"verb":"snapshot_adopt","file":"/s"}"#,
            r#"{"verb":"osdp_enrol","reader":101,"seconds":60}"#,
            r#"{"verb":"osdp_status"}"#,
            r#"{"verb":"status"}"#,
        ];
        for line in right {
            let request: Request = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert!(Request::VERBS.contains(&request.verb()) && line.contains(request.verb()));
            for end in 0..line.len() {
                assert!(serde_json::from_str::<Request>(&line[..end]).is_err());
            }
        }
        for line in [
            r#"{"verb":"open"}"#,
            r#"{"verb":"reader_add"}"#,
            r#"{"verb":"reader_add","reader":-1}"#,
            r#"{"verb":"reader_add","reader":1,"psk":"00"}"#,
            r#"{"verb":"status","more":1}"#,
            "[]",
            "status",
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }
}
