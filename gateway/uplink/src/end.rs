//! Why a connection ends.

use kalitka_protocol::upstream::close;
use kalitka_protocol::wire::Malformed;
use quinn::{ConnectionError, ReadError, ReadExactError, TransportErrorCode, WriteError};

/// The end of a connection, by who or what wanted it.
#[derive(Debug)]
pub(crate) enum End {
    /// The process ends.
    Shutdown,
    /// The hub closed it, or refused it, with this code (SPEC 15.11).
    ClosedByHub { code: u64, text: String },
    /// The hub broke SPEC: it is closed with this code.
    Breach { code: u32, text: String },
    /// The network, the handshake or this machine.
    Lost(String),
    /// The journal did not reply, or could not.
    Journal(String),
    /// The journal has more epochs than were seen here or than one hello names: a new hello names them.
    EpochMissed,
    /// The certificate had expired, and there is a new one now.
    Renewed,
}

impl End {
    /// A message that SPEC does not allow.
    pub(crate) fn malformed(what: &str, why: impl std::fmt::Display) -> Self {
        Self::Breach { code: close::MALFORMED, text: format!("{what}: {why}") }
    }

    /// A message that does not parse.
    pub(crate) fn unparsed(what: &str, why: Malformed) -> Self {
        let code = if why == Malformed::Version { close::VERSION } else { close::MALFORMED };
        Self::Breach { code, text: format!("{what}: {why}") }
    }

    /// The code with which the connection is closed from this side.
    pub(crate) const fn code(&self) -> u32 {
        match self {
            Self::Breach { code, .. } => *code,
            _ => 0,
        }
    }

    /// Whether the hub says that the certificate has expired.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Self::ClosedByHub { code, .. } if *code == u64::from(close::EXPIRED))
    }

    /// What is wrong, and what to do.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Shutdown => "the gateway ends".into(),
            Self::ClosedByHub { code, text } => closed(*code, text),
            Self::Breach { text, .. } => format!("the hub sent what it may not: {text}; update the older of the two"),
            Self::Lost(text) | Self::Journal(text) => text.clone(),
            Self::EpochMissed => "the journal has further epochs; the next connection names them".into(),
            Self::Renewed => "the certificate had expired; the hub has renewed it".into(),
        }
    }
}

/// What a close code means to whoever runs the gateway.
fn closed(code: u64, text: &str) -> String {
    let meaning = match u32::try_from(code).unwrap_or(u32::MAX) {
        0 => "the hub ended the connection",
        close::MALFORMED => "the hub calls a message malformed; update the older of the two",
        close::VERSION => "the hub speaks another version; update the older of the two",
        close::BUILDING => {
            "the certificate is for another building than the configuration names; enrol anew for this one"
        }
        close::SECOND_CONNECTION => {
            "the building has another living connection; find the second box with this identity"
        }
        close::HISTORY => "the hub refuses this history; run `kalitka-hub verify` for the building",
        close::REVOKED => "the certificate is revoked; enrol anew with a new token",
        close::NO_BUILDING => "the certificate names no building; enrol anew with a new token",
        close::NOT_NOW => "the hub takes nothing now; look after its disk",
        close::EXPIRED => "the certificate has expired; it is being renewed",
        _ => "the hub closed the connection with a code of a newer version",
    };
    if text.is_empty() { format!("{meaning} (code {code})") } else { format!("{meaning} (code {code}: {text})") }
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(closed) => Self::ClosedByHub {
                code: closed.error_code.into_inner(),
                text: String::from_utf8_lossy(&closed.reason).into_owned(),
            },
            ConnectionError::TimedOut => {
                Self::Lost("the hub does not answer; see that its address is right and UDP passes".into())
            }
            ConnectionError::TransportError(error) => transport(error.code, &error),
            ConnectionError::ConnectionClosed(closed) => transport(closed.error_code, &closed),
            other => Self::Lost(format!("the connection failed: {other}")),
        }
    }
}

/// The end by `code` of QUIC itself, or of TLS (RFC 9001, section 4.8).
fn transport(code: TransportErrorCode, text: &dyn std::fmt::Display) -> End {
    let is_tls = (0x100..0x200).contains(&u64::from(code));
    let remedy = if is_tls {
        "; see that this machine's clock is right, that it is the hub which enrolled the gateway, and that neither \
         certificate has expired; one that has expired for longer than the hub allows needs a new enrolment"
    } else {
        ""
    };
    End::Lost(format!("the connection failed: {text}{remedy}"))
}

impl From<WriteError> for End {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            other => Self::malformed("a stream", other),
        }
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            other => Self::malformed("a stream", other),
        }
    }
}

impl From<ReadExactError> for End {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(error) => error.into(),
            ReadExactError::FinishedEarly(_) => Self::malformed("a stream", "it ends inside a message"),
        }
    }
}
