//! Events in the columns and codes of the existing system (docs/events.md): what somebody did or wanted at a portal.
//!
//! What that system knows and an event does not say is left empty: guardian and checker.

use kalitka_protocol::event::{Body, Decision, ReportTaken};
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reason::{Denial, Direction, Verdict};

use super::{Shown, text};

/// The names of the columns.
pub(crate) const HEADER: &str =
    "order,hash,time,building,entrance,device,direction,code,card,holder,guardian,checker_kind,checker\n";

/// Directions of the existing system.
mod direction {
    pub(super) const ENTRY: u16 = 0;
    pub(super) const EXIT: u16 = 1;
    pub(super) const PROHIBITED: u16 = 2;
    pub(super) const FORCED: u16 = 3;
    pub(super) const NO_PASS: u16 = 4;
    pub(super) const NO_TURN: u16 = 5;
    pub(super) const ENTRY_ASKED: u16 = 8;
    pub(super) const EXIT_ASKED: u16 = 9;
    pub(super) const WITHOUT_CARD: u16 = 112;
}

/// Event codes of the existing system.
mod code {
    pub(super) const UNKNOWN_ID: u16 = 1;
    pub(super) const PROHIBITED: u16 = 2;
    pub(super) const STOPPED: u16 = 3;
    pub(super) const EXPIRED: u16 = 4;
    pub(super) const CARD_PRESENTED: u16 = 5;
    pub(super) const PASSAGE_PROHIBITED: u16 = 8;
    pub(super) const DID_NOT_TURN: u16 = 0x10;
    pub(super) const PASSED_BY_ID: u16 = 0x11;
    pub(super) const FORCED: u16 = 0x72;
    pub(super) const NOT_FIXED: u16 = 100;
}

/// One line; `None` for what the existing system has no place for.
pub(super) fn line(shown: &Shown<'_>) -> Option<String> {
    let header = shown.raw.header;
    let (reader, portal, (direction, code), card, holder) = match shown.raw.event().ok()?.body {
        Body::Decision(it) => {
            let card = it.credential.map(|credential| hex::encode(credential.as_bytes()));
            (it.reader, it.portal, of_decision(&it), card, String::from_utf8_lossy(it.holder).into_owned())
        }
        Body::Report(it) => {
            let card = it.report.card.map(|card| hex::encode(card.to_bytes()));
            (it.reader, it.portal, of_report(&it), card, String::new())
        }
        _ => return None,
    };
    let order = shown.order.map(|order| order.to_string()).unwrap_or_default();
    let hash = shown.hash.map(hex::encode).unwrap_or_default();
    let portal = portal.map(|portal| portal.to_string()).unwrap_or_default();
    // Digits, hex and the letters of an opaque id: nothing that needs quotes.
    Some(format!(
        "{order},{hash},{time},{building},{portal},{reader},{direction},{code},{card},{holder},,,\n",
        time = text::time(header.wall_us),
        building = header.building,
        reader = reader.0,
        card = card.unwrap_or_default(),
    ))
}

pub(super) fn of_decision(it: &Decision<'_>) -> (u16, u16) {
    match (it.verdict, it.direction) {
        (Verdict::Grant(_), Direction::Entry) => (direction::ENTRY_ASKED, code::CARD_PRESENTED),
        (Verdict::Grant(_), Direction::Exit) => (direction::EXIT_ASKED, code::CARD_PRESENTED),
        (Verdict::Deny(reason), _) => (direction::PROHIBITED, of_denial(reason)),
    }
}

fn of_denial(reason: Denial) -> u16 {
    match reason {
        Denial::MalformedCard
        | Denial::ShapeNotDeclared
        | Denial::UnknownCredential
        | Denial::AmbiguousCredential
        | Denial::CredentialInStock => code::UNKNOWN_ID,
        Denial::CredentialBlockedForATime
        | Denial::CredentialBlocked
        | Denial::CredentialLost
        | Denial::CredentialReturned
        | Denial::CredentialDestroyed
        | Denial::HolderBlocked
        | Denial::HolderLeft
        | Denial::HolderDeleted => code::STOPPED,
        Denial::CredentialNotYetValid
        | Denial::CredentialExpired
        | Denial::HolderNotYetValid
        | Denial::HolderExpired => code::EXPIRED,
        Denial::NoAccess | Denial::WrongDirection | Denial::OutsideSchedule | Denial::PermissionsStale => {
            code::PROHIBITED
        }
        Denial::PortalClosed
        | Denial::DirectionClosed
        | Denial::Stale
        | Denial::NoSnapshot
        | Denial::ReaderUnknown
        | Denial::PlanMissing
        | Denial::TimeUnknown => code::PASSAGE_PROHIBITED,
    }
}

pub(super) fn of_report(it: &ReportTaken) -> (u16, u16) {
    let report = it.report;
    match (report.kind, report.direction) {
        (ReportKind::Passed, Some(way)) if report.card.is_some() || report.request != 0 => {
            let way = if way == Direction::Entry { direction::ENTRY } else { direction::EXIT };
            (way, code::PASSED_BY_ID)
        }
        (ReportKind::Passed, Some(Direction::Exit)) => (direction::EXIT, code::NOT_FIXED),
        (ReportKind::Passed, _) => (direction::WITHOUT_CARD, code::NOT_FIXED),
        (ReportKind::TurnedBack, _) => (direction::NO_TURN, code::DID_NOT_TURN),
        (ReportKind::Forced, _) => (direction::FORCED, code::FORCED),
        _ => (direction::NO_PASS, code::NOT_FIXED),
    }
}
