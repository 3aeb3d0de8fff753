//! Each reason alone, and of each two reasons the one that comes first.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{GATE, GATE_PORTAL, GENERATION, SUNDAY_NOON, ask, building, profile, slot, snapshot, uid};
use kalitka_core::{ClockQuality, Decision, Overlay, Time, UnixSeconds, View, decide};
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::{CardFormat, CardRead, Credential};
use kalitka_protocol::message::Ask;
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_snapshot::model::{CredentialState, ENTRY, EXIT, HolderState, Model, NOBODY, PortalMode, Slot};

/// Everything that a decision depends on; as made, a grant.
struct Case {
    model: Model,
    slot: Option<Slot>,
    overlay: Overlay,
    adopted: bool,
    reader: u32,
    ask: Ask,
    now: Time,
    essential: Vec<String>,
    stale_from: UnixSeconds,
}

impl Case {
    fn new() -> Self {
        let (model, slot) = (building(), Some(slot(1, profile::ALWAYS)));
        let (overlay, ask) = (Overlay::default(), ask(1, 1, Direction::Entry));
        Self {
            model,
            slot,
            overlay,
            adopted: true,
            reader: GATE,
            ask,
            now: Time::good(SUNDAY_NOON),
            essential: Vec::new(),
            stale_from: UnixSeconds(i64::MAX),
        }
    }

    fn of(changes: &[fn(&mut Self)]) -> Self {
        let mut case = Self::new();
        changes.iter().for_each(|change| change(&mut case));
        case
    }

    fn slot(&mut self) -> &mut Slot {
        self.slot.get_or_insert_with(|| slot(1, profile::ALWAYS))
    }

    fn credential(&mut self, state: CredentialState) {
        self.slot().credential_state = state as u8;
        if state == CredentialState::BlockedForATime {
            self.slot().blocked_until = u32::MAX;
        }
        if state == CredentialState::Ambiguous {
            // As adoption wants them: nobody's slot could not grant whatever its state.
            let slot = self.slot();
            (slot.holder, slot.holder_state, slot.profile) = (NOBODY, HolderState::Deleted as u8, profile::NOTHING);
        }
    }

    fn mode(&mut self, mode: PortalMode) {
        self.model.portals[GATE_PORTAL].mode = mode as u8;
    }

    fn decide(mut self) -> Decision {
        // Somebody else's card, so that the table is never empty.
        self.model.slots = vec![slot(999, profile::NOTHING)];
        self.model.slots.extend(self.slot);
        let view = View::build(snapshot(self.model, GENERATION), SUNDAY_NOON)
            .with_essential(&self.essential)
            .stale_from(self.stale_from);
        decide(self.adopted.then_some(&view), &self.overlay, ReaderId(self.reader), &self.ask, self.now)
    }

    fn verdict(self) -> Verdict {
        self.decide().verdict
    }
}

/// A change that makes the grant a denial. Changes of the same thing exclude each other.
struct Fault {
    thing: &'static str,
    reason: Denial,
    make: fn(&mut Case),
}

const fn fault(thing: &'static str, reason: Denial, make: fn(&mut Case)) -> Fault {
    Fault { thing, reason, make }
}

/// The card of the ask.
fn card() -> Credential {
    Credential::from_uid(&uid(1)).unwrap()
}

fn wiegand_34() -> CardRead {
    CardRead::from_wiegand(32, 12345).unwrap()
}

/// A Wiegand frame of zeros: its second parity bit is wrong.
fn bad_parity() -> CardRead {
    CardRead::new(CardFormat::Wiegand, 26, [0; 14]).unwrap()
}

/// In the order of precedence.
const FAULTS: &[Fault] = &[
    fault("age", Denial::Stale, |case| case.ask.age_ms = 2001),
    fault("snapshot", Denial::NoSnapshot, |case| case.adopted = false),
    fault("reader", Denial::ReaderUnknown, |case| case.reader = 999),
    fault("time", Denial::TimeUnknown, |case| case.now.quality = ClockQuality::None),
    fault("plan", Denial::PlanMissing, |case| case.now.seconds.0 += 100 * 24 * 3600),
    fault("card", Denial::MalformedCard, |case| case.ask.card = bad_parity()),
    fault("card", Denial::ShapeNotDeclared, |case| case.ask.card = wiegand_34()),
    fault("ordered mode", Denial::PortalClosed, |case| {
        case.overlay.set_mode(None, Some(PortalMode::Closed), 1).unwrap();
    }),
    fault("mode", Denial::PortalClosed, |case| case.mode(PortalMode::Closed)),
    fault("mode", Denial::DirectionClosed, |case| case.mode(PortalMode::ExitOnly)),
    fault("served", Denial::DirectionClosed, |case| case.model.readers[0].directions = EXIT),
    fault("known", Denial::UnknownCredential, |case| case.ask.card = CardRead::from_uid(&uid(2)).unwrap()),
    fault("ordered", Denial::CredentialBlocked, |case| case.overlay.block(card(), 2).unwrap()),
    fault("credential", Denial::AmbiguousCredential, |case| case.credential(CredentialState::Ambiguous)),
    fault("credential", Denial::CredentialInStock, |case| case.credential(CredentialState::InStock)),
    fault("credential", Denial::CredentialBlockedForATime, |case| case.credential(CredentialState::BlockedForATime)),
    fault("credential", Denial::CredentialBlocked, |case| case.credential(CredentialState::Blocked)),
    fault("credential", Denial::CredentialLost, |case| case.credential(CredentialState::Lost)),
    fault("credential", Denial::CredentialReturned, |case| case.credential(CredentialState::Returned)),
    fault("credential", Denial::CredentialDestroyed, |case| case.credential(CredentialState::Destroyed)),
    fault("holder", Denial::HolderBlocked, |case| case.slot().holder_state = HolderState::Blocked as u8),
    fault("holder", Denial::HolderLeft, |case| case.slot().holder_state = HolderState::Left as u8),
    fault("holder", Denial::HolderDeleted, |case| case.slot().holder_state = HolderState::Deleted as u8),
    fault("credential dates", Denial::CredentialNotYetValid, |case| case.slot().credential_from = u32::MAX - 1),
    fault("credential dates", Denial::CredentialExpired, |case| case.slot().credential_to = 1),
    fault("holder dates", Denial::HolderNotYetValid, |case| case.slot().holder_from = u32::MAX - 1),
    fault("holder dates", Denial::HolderExpired, |case| case.slot().holder_to = 1),
    fault("profile", Denial::NoAccess, |case| case.slot().profile = profile::ELSEWHERE),
    fault("profile", Denial::NoAccess, |case| case.slot().profile = profile::NOTHING),
    fault("profile", Denial::WrongDirection, |case| case.slot().profile = profile::EXIT_ONLY),
    fault("profile", Denial::OutsideSchedule, |case| case.slot().profile = profile::LESSONS),
    fault("snapshot's age", Denial::PermissionsStale, |case| case.stale_from = case.now.seconds),
];

#[test]
fn without_a_fault_it_is_a_grant() {
    let decision = Case::new().decide();
    let expected = Decision {
        verdict: Verdict::Grant(Grant::AccessLevel),
        credential: Some(card()),
        holder: Some(1),
        profile: Some(profile::ALWAYS),
        portal: Some(0),
        generation: GENERATION,
        hold_open_ms: 5000,
    };
    assert_eq!(decision, expected);
}

#[test]
fn every_fault_alone_is_its_denial() {
    for fault in FAULTS {
        let decision = Case::of(&[fault.make]).decide();
        assert_eq!(decision.verdict, Verdict::Deny(fault.reason), "{}", fault.reason.label());
        assert_eq!(decision.hold_open_ms, 0, "{}", fault.reason.label());
    }
}

#[test]
fn every_denial_reason_has_its_case() {
    for reason in Denial::ALL {
        assert!(FAULTS.iter().any(|fault| fault.reason == *reason), "{}", reason.label());
    }
}

#[test]
fn of_two_faults_the_first_in_precedence_decides() {
    for (place, first) in FAULTS.iter().enumerate() {
        for second in FAULTS[place + 1..].iter().filter(|second| second.thing != first.thing) {
            let excluded = ["card", "known"];
            if excluded.contains(&first.thing) && excluded.contains(&second.thing) {
                continue;
            }
            let pair = format!("{} before {}", first.reason.label(), second.reason.label());
            assert_eq!(Case::of(&[second.make, first.make]).verdict(), Verdict::Deny(first.reason), "{pair}");
        }
    }
}

#[test]
fn free_portal_lets_pass_whatever_comes_after_its_mode() {
    let free: fn(&mut Case) = |case| case.mode(PortalMode::Free);
    for fault in FAULTS.iter().filter(|fault| !fault.thing.ends_with("mode")) {
        let precedes = matches!(fault.thing, "age" | "snapshot" | "reader" | "time" | "plan" | "card" | "served");
        let expected = if precedes { Verdict::Deny(fault.reason) } else { Verdict::Grant(Grant::PortalFree) };
        assert_eq!(Case::of(&[free, fault.make]).verdict(), expected, "{}", fault.reason.label());
    }
    let decision = Case::of(&[free, |case| case.slot = None]).decide();
    assert_eq!((decision.holder, decision.hold_open_ms), (None, 5000));
}

#[test]
fn one_way_portals_let_pass_their_way_only() {
    let (entry, exit) = (Direction::Entry, Direction::Exit);
    let grant = Verdict::Grant(Grant::AccessLevel);
    let closed = Verdict::Deny(Denial::DirectionClosed);
    for (mode, direction, expected) in [
        (PortalMode::Normal, entry, grant),
        (PortalMode::Normal, exit, grant),
        (PortalMode::EntryOnly, entry, grant),
        (PortalMode::EntryOnly, exit, closed),
        (PortalMode::ExitOnly, entry, closed),
        (PortalMode::ExitOnly, exit, grant),
    ] {
        let mut case = Case::new();
        case.mode(mode);
        case.ask.direction = direction;
        assert_eq!(case.verdict(), expected, "{mode:?} {direction:?}");
    }
}

#[test]
fn access_elsewhere_is_none_in_either_direction() {
    for direction in [Direction::Entry, Direction::Exit] {
        for profile in [profile::ELSEWHERE, profile::NOTHING] {
            let mut case = Case::new();
            case.slot().profile = profile;
            case.ask.direction = direction;
            assert_eq!(case.verdict(), Verdict::Deny(Denial::NoAccess), "{direction:?} {profile}");
        }
    }
}

#[test]
fn access_in_one_direction_is_a_wrong_direction_in_the_other() {
    for (rights, granted, denied) in
        [(ENTRY, Direction::Entry, Direction::Exit), (EXIT, Direction::Exit, Direction::Entry)]
    {
        let verdict = |direction| {
            let mut case = Case::new();
            case.slot().profile = profile::EXIT_ONLY;
            case.model.access_levels[2].grants[0].directions = rights;
            case.ask.direction = direction;
            case.verdict()
        };
        assert_eq!(verdict(granted), Verdict::Grant(Grant::AccessLevel));
        assert_eq!(verdict(denied), Verdict::Deny(Denial::WrongDirection));
    }
}

#[test]
fn an_ask_of_two_seconds_is_not_stale() {
    assert_eq!(Case::of(&[|case| case.ask.age_ms = 2000]).verdict(), Verdict::Grant(Grant::AccessLevel));
}

#[test]
fn dates_hold_from_their_first_second_to_the_last_before_their_end() {
    let now = u32::try_from(SUNDAY_NOON.0).unwrap();
    let grant = Verdict::Grant(Grant::AccessLevel);
    let deny = Verdict::Deny;
    type Row = (fn(&mut Slot, u32), u32, Verdict);
    let rows: &[Row] = &[
        (|slot, at| slot.credential_from = at, now, grant),
        (|slot, at| slot.credential_from = at, now + 1, deny(Denial::CredentialNotYetValid)),
        (|slot, at| slot.credential_to = at, now + 1, grant),
        (|slot, at| slot.credential_to = at, now, deny(Denial::CredentialExpired)),
        (|slot, at| slot.holder_from = at, now, grant),
        (|slot, at| slot.holder_from = at, now + 1, deny(Denial::HolderNotYetValid)),
        (|slot, at| slot.holder_to = at, now + 1, grant),
        (|slot, at| slot.holder_to = at, now, deny(Denial::HolderExpired)),
    ];
    for (row, (set, at, expected)) in rows.iter().enumerate() {
        let mut case = Case::new();
        set(case.slot(), *at);
        assert_eq!(case.verdict(), *expected, "row {row}");
    }
}

#[test]
fn a_block_for_a_time_ends_at_its_second() {
    let now = u32::try_from(SUNDAY_NOON.0).unwrap();
    let expected =
        [(now, Verdict::Grant(Grant::AccessLevel)), (now + 1, Verdict::Deny(Denial::CredentialBlockedForATime))];
    for (until, expected) in expected {
        let mut case = Case::new();
        case.credential(CredentialState::BlockedForATime);
        case.slot().blocked_until = until;
        assert_eq!(case.verdict(), expected);
    }
}

#[test]
fn a_temporary_credential_passes() {
    let case = Case::of(&[|case| case.credential(CredentialState::IssuedTemporarily)]);
    assert_eq!(case.verdict(), Verdict::Grant(Grant::AccessLevel));
}

#[test]
fn a_denial_names_the_holder_once_the_card_was_looked_up() {
    let blocked = Case::of(&[|case| case.credential(CredentialState::Blocked)]).decide();
    assert_eq!((blocked.holder, blocked.portal, blocked.generation), (Some(1), Some(0), GENERATION));
    let ambiguous = Case::of(&[|case| case.credential(CredentialState::Ambiguous)]).decide();
    assert_eq!((ambiguous.holder, ambiguous.profile), (None, None));
    let closed = Case::of(&[|case| case.mode(PortalMode::Closed)]).decide();
    assert_eq!((closed.holder, closed.portal), (None, Some(0)));
    assert_eq!((blocked.credential, closed.credential), (Some(card()), Some(card())));
    let malformed = Case::of(&[|case| case.ask.card = bad_parity()]).decide();
    assert_eq!((malformed.credential, malformed.portal), (None, Some(0)));
    let none = Case::of(&[|case| case.adopted = false]).decide();
    assert_eq!((none.portal, none.generation), (None, 0));
}
