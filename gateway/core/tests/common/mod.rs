//! A small invented building, and readers played by the protocol crate's portable half.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test file uses a part of it")]

pub(crate) mod rig;

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use kalitka_core::UnixSeconds;
use kalitka_protocol::credential::{CardRead, Credential, Shape, ShapeSet};
use kalitka_protocol::message::{Ask, Report, ReportKind};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::{BootId, LogId};
use kalitka_snapshot::model::{
    ALWAYS, AccessLevel, CredentialState, ENTRY, EXIT, HolderState, Interval, LevelGrant, Model, NO_END, Offset,
    Portal, Reader, Schedule, Slot,
};
use kalitka_snapshot::{AlignedBytes, Edition, PublisherKey, Snapshot, build_model, sign};

pub(crate) const BUILDING: u32 = 17;
pub(crate) const GENERATION: u32 = 42;
/// The reader of the gate.
pub(crate) const GATE: u32 = 101;
/// 2026-11-22 12:00 in Moscow, a Sunday.
pub(crate) const SUNDAY_NOON: UnixSeconds = UnixSeconds(1_795_338_000);
/// The gate's mode and its reader's directions are the first of each list.
pub(crate) const GATE_PORTAL: usize = 0;

/// Profiles of [`building`], by what they may do at the gate.
pub(crate) mod profile {
    pub(crate) const ALWAYS: u16 = 0;
    pub(crate) const LESSONS: u16 = 1;
    pub(crate) const EXIT_ONLY: u16 = 2;
    pub(crate) const ELSEWHERE: u16 = 3;
    pub(crate) const NOTHING: u16 = 4;
    pub(crate) const SATURDAY: u16 = 5;
}

/// Report `number` of log 7: somebody passed.
pub(crate) const fn report(number: u64) -> Report {
    Report {
        log: LogId(7),
        number,
        boot: BootId(0),
        request: 0,
        age_ms: 0,
        count: 0,
        kind: ReportKind::Passed,
        direction: None,
        input: 0,
        unasked: false,
        oldest: false,
        card: None,
    }
}

/// Minutes of the week.
pub(crate) const fn at(day: u16, hour: u16, minute: u16) -> u16 {
    day * 1440 + hour * 60 + minute
}

pub(crate) fn lessons() -> Schedule {
    let intervals = (0..5).map(|day| Interval { from: at(day, 7, 30), to: at(day, 20, 0) }).collect();
    Schedule { name: "lessons".into(), intervals }
}

/// Two portals, the gate (reader 101) and a side door (readers 102 to 108); Moscow time; no credentials.
pub(crate) fn building() -> Model {
    let level = |name: &str, portal, schedule, directions| AccessLevel {
        name: name.into(),
        grants: vec![LevelGrant { portal, schedule, directions }],
    };
    let portal = |name: &str| Portal {
        name: name.into(),
        from: 0,
        to: 1,
        mode: 0,
        modes: vec![],
        hold_open_ms: 5000,
        fall_back: 1,
    };
    let shapes = ShapeSet::default().with(Shape::Uid).with(Shape::Wiegand26).bits();
    let reader = |number| Reader { number, portal: u16::from(number != GATE), shapes, directions: ENTRY | EXIT };
    let saturday = vec![Interval { from: at(5, 0, 0), to: at(6, 0, 0) }];
    Model {
        name: "School".into(),
        time_zone: "Europe/Moscow".into(),
        offsets: vec![Offset { from: i64::MIN, seconds: 3 * 3600 }],
        areas: vec!["street".into(), "hall".into()],
        portals: vec![portal("gate"), portal("side")],
        readers: (GATE..GATE + 8).map(reader).collect(),
        schedules: vec![lessons(), Schedule { name: "saturday".into(), intervals: saturday }],
        access_levels: vec![
            level("gate always", 0, ALWAYS, ENTRY | EXIT),
            level("gate in lessons", 0, 0, ENTRY | EXIT),
            level("gate out", 0, ALWAYS, EXIT),
            level("side door", 1, ALWAYS, ENTRY | EXIT),
            level("gate on saturday", 0, 1, ENTRY | EXIT),
        ],
        profiles: vec![vec![0], vec![1], vec![2], vec![3], vec![], vec![4]],
        groups: vec!["1A".into()],
        holders: vec![*b"p0000\0\0\0\0\0\0\0\0\0\0\0", *b"p0001\0\0\0\0\0\0\0\0\0\0\0"],
        hash_seeds: [0; 2],
        homes: 0,
        slots: vec![],
    }
}

/// The UID of card `number`.
pub(crate) fn uid(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Card `number`, issued to an active holder of `profile`, without an end.
pub(crate) fn slot(number: u32, profile: u16) -> Slot {
    Slot {
        key: *Credential::from_uid(&uid(number)).unwrap().as_bytes(),
        holder: 1,
        profile,
        group: 0,
        credential_state: CredentialState::Issued as u8,
        holder_state: HolderState::Active as u8,
        reserved: [0; 2],
        credential_from: 0,
        credential_to: NO_END,
        holder_from: 0,
        holder_to: NO_END,
        blocked_until: 0,
        reserved_more: [0; 16],
    }
}

/// `model`, built, signed and verified as generation `generation`.
pub(crate) fn snapshot(model: Model, generation: u32) -> Arc<Snapshot> {
    snapshot_after(model, generation, 0)
}

/// The same, with the commands up to `last_command` in it.
pub(crate) fn snapshot_after(model: Model, generation: u32, last_command: u64) -> Arc<Snapshot> {
    let secret = SigningKey::from_bytes(&[7; 32]);
    let publisher: String = secret.verifying_key().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let (building, organisation, created) = (BUILDING, 3, 1_795_000_000);
    let edition = Edition { building, organisation, generation, created, last_command };
    let signed = sign(build_model(&edition, model).unwrap(), &secret).unwrap();
    let publishers = [PublisherKey::from_hex(&publisher).unwrap()];
    Arc::new(Snapshot::verify(AlignedBytes::from(signed.as_slice()), &publishers, BUILDING).unwrap())
}

pub(crate) fn ask(request: u32, card: u32, direction: Direction) -> Ask {
    Ask { request, age_ms: 0, direction, card: CardRead::from_uid(&uid(card)).unwrap() }
}
