//! What is said over the control socket.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::doors::DoorRequest;
use crate::failure::Failure;
use crate::show::Format;

/// What is asked for, beside what stands in [`DoorRequest`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// How do matters stand?
    Status {},
    /// What does a person have to look at?
    Alarms {},
    /// The events of a building behind the order number `after`; with `follow`, those that come later too.
    Events { building: u32, after: u64, follow: bool, format: Format },
    /// The events of a building as they come over the live lane.
    Live { building: u32, format: Format },
    /// Is a building's history complete?
    Verify { building: u32 },
    /// What has been purged, of all buildings or one?
    PurgeList { building: Option<u32> },
    /// Purge now what happened before a moment, microseconds since 1970.
    PurgeNow { building: Option<u32>, before_us: i64 },
}

impl Request {
    /// Every verb, as metrics and logs name them.
    pub(crate) const VERBS: [&'static str; 7] =
        ["status", "alarms", "events", "live", "verify", "purge_list", "purge_now"];

    /// Counted in the place of a verb for what is no request.
    pub(crate) const MALFORMED: &'static str = "malformed";

    /// The verb of this request.
    pub(crate) const fn verb(&self) -> &'static str {
        let [status, alarms, events, live, verify, purge_list, purge_now] = Self::VERBS;
        match self {
            Self::Status {} => status,
            Self::Alarms {} => alarms,
            Self::Events { .. } => events,
            Self::Live { .. } => live,
            Self::Verify { .. } => verify,
            Self::PurgeList { .. } => purge_list,
            Self::PurgeNow { .. } => purge_now,
        }
    }
}

/// Anything that is asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    Core(Request),
    Door(DoorRequest),
}

impl Asked {
    /// The request that `line` is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(line: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Verb {
            verb: String,
        }
        let Verb { verb } = serde_json::from_slice(line)?;
        if DoorRequest::VERBS.contains(&verb.as_str()) {
            serde_json::from_slice(line).map(Self::Door)
        } else {
            serde_json::from_slice(line).map(Self::Core)
        }
    }

    /// The verb of this request.
    pub(crate) const fn verb(&self) -> &'static str {
        match self {
            Self::Core(request) => request.verb(),
            Self::Door(request) => request.verb(),
        }
    }
}

/// What comes back: one of these. The lines of a list come before it, as they are; none of them begins as a reply does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Nothing new, but the hub is there.
    Waiting {},
    /// Something to be told beside what is listed.
    Note { text: String },
    /// It was done; what it gave.
    Done { value: Value },
    /// It was not done, by the fault of what was asked for.
    Refused { error: String },
    /// It was not done, by the fault of the machine or the hub.
    Failed { error: String },
}

impl Reply {
    /// What every reply begins with, and no line of a list.
    pub(super) const BEGINNING: &'static str = r#"{"reply":"#;
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
    fn requests_are_strict() {
        let right = [
            r#"{"verb":"status"}"#,
            r#"{"verb":"alarms"}"#,
            r#"{"verb":"events","building":7,"after":0,"follow":false,"format":"json"}"#,
            r#"{"verb":"live","building":7,"format":"text"}"#,
            r#"{"verb":"verify","building":7}"#,
            r#"{"verb":"purge_list","building":null}"#,
            r#"{"verb":"purge_now","building":7,"before_us":5}"#,
        ];
        for line in right {
            let Ok(Asked::Core(request)) = Asked::parse(line.as_bytes()) else { panic!("{line}") };
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert!(Request::VERBS.contains(&request.verb()) && line.contains(request.verb()));
            for end in 0..line.len() {
                assert!(Asked::parse(&line.as_bytes()[..end]).is_err());
            }
        }
        for line in [
            r#"{"verb":"open"}"#,
            r#"{"verb":"events","building":7}"#,
            r#"{"verb":"verify","building":-1}"#,
            r#"{"verb":"status","more":1}"#,
            "[]",
            "status",
        ] {
            assert!(Asked::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn verbs_are_one_row() {
        assert!(Request::VERBS.iter().all(|verb| !DoorRequest::VERBS.contains(verb)));
    }
}
