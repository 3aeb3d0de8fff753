//! Tests of the whole crate, and the small building that they share.

mod accept;
mod aliases;
mod format;
mod inconsistent;
mod roster_errors;
mod roster_reading;
mod table;

use std::fs;
use std::path::Path;

use ed25519_dalek::SigningKey;
use tempfile::TempDir;

use crate::model::*;
use crate::pack::{Edition, build_model};
use crate::roster::{Roster, RosterErrors};
use crate::{AlignedBytes, PublisherKey, Refused, Snapshot, sign};

pub(super) const BUILDING: &str = r#"
[building]
number = 17
organisation = 3
name = "School 17"
time_zone = "Europe/Moscow"

[[area]]
name = "street"

[[area]]
name = "hall"

[[portal]]
name = "turnstile-1"
from = "street"
to = "hall"
modes = [ { schedule = "before_lessons", mode = "entry_only" } ]

[[reader]]
number = 102
portal = "turnstile-1"
shapes = ["uid", "w26"]

[[reader]]
number = 101
portal = "turnstile-1"
shapes = ["uid-reversed"]
directions = ["exit"]

[[schedule]]
name = "before_lessons"
intervals = [ { days = ["mon", "tue"], from = "07:30", to = "08:30" } ]

[[access_level]]
name = "pupil"
grants = [ { portals = ["*"], schedule = "before_lessons", directions = ["entry"] } ]

[[access_level]]
name = "staff"
grants = [ { portals = ["turnstile-1"] } ]
"#;

pub(super) const PEOPLE: &str = "\
holder,kind,group,state,access_levels,valid_from,valid_to
p0002,staff,teachers,active,staff;pupil,2026-09-01,2027-05-31
p0001,pupil,1A,active,pupil,,
p0003,visitor,,blocked,,,
";

pub(super) const CARDS: &str = "\
card,holder,state,valid_from,valid_to,blocked_until
uid:04a1b2c3d4e5f6,p0001,issued,,,
uid:04A1B2C3,p0002,issued_temporarily,2026-11-20T08:00,,
w26:12-34567,p0003,issued,,,
uid:00112233445566778899,,in_stock,,,
uid:04a1b2c4,p0002,blocked_for_a_time,,,2026-12-01
";

pub(super) const CREATED: i64 = 1_790_000_000;

pub(super) fn folder(building: &str, people: &str, cards: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("building.toml"), building).unwrap();
    fs::write(folder.path().join("people.csv"), people).unwrap();
    fs::write(folder.path().join("cards.csv"), cards).unwrap();
    folder
}

pub(super) fn read(building: &str, people: &str, cards: &str) -> Result<Roster, RosterErrors> {
    let folder = folder(building, people, cards);
    Roster::read(Path::new(folder.path()))
}

pub(super) fn small_roster() -> Roster {
    read(BUILDING, PEOPLE, CARDS).unwrap()
}

pub(super) fn secret() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(super) fn publisher() -> PublisherKey {
    PublisherKey::from_bytes(secret().verifying_key().to_bytes())
}

pub(super) const EDITION: Edition =
    Edition { building: 17, organisation: 3, generation: 5, created: CREATED, last_command: 0 };

pub(super) fn verified(file: &[u8]) -> Result<Snapshot, Refused> {
    Snapshot::verify(AlignedBytes::from(file), &[publisher()], 17)
}

pub(super) fn small_file() -> Vec<u8> {
    sign(crate::build(&small_roster(), 5, CREATED, 0).unwrap().0, &secret()).unwrap()
}

/// A model of one portal, one holder and no card.
pub(super) fn model() -> Model {
    Model {
        name: "School 17".into(),
        time_zone: "Europe/Moscow".into(),
        offsets: vec![Offset { from: i64::MIN, seconds: 10_800 }, Offset { from: 1_000, seconds: 14_400 }],
        areas: vec!["street".into(), "hall".into()],
        portals: vec![Portal {
            name: "turnstile-1".into(),
            from: 0,
            to: 1,
            mode: PortalMode::Normal as u8,
            modes: vec![ModeRule { schedule: 0, mode: PortalMode::EntryOnly as u8 }],
            hold_open_ms: 5_000,
            fall_back: 0,
        }],
        readers: vec![
            Reader { number: 101, portal: 0, shapes: 1 << 1, directions: ENTRY },
            Reader { number: 102, portal: 0, shapes: 1 << 2 | 1 << 3, directions: ENTRY | EXIT },
        ],
        schedules: vec![Schedule {
            name: "lessons".into(),
            intervals: vec![Interval { from: 0, to: 60 }, Interval { from: 120, to: 10_080 }],
        }],
        access_levels: vec![AccessLevel {
            name: "pupil".into(),
            grants: vec![LevelGrant { portal: 0, schedule: ALWAYS, directions: ENTRY }],
        }],
        profiles: vec![vec![], vec![0]],
        groups: vec![String::new(), "1A".into()],
        holders: vec![*b"p0001\0\0\0\0\0\0\0\0\0\0\0", *b"p0002\0\0\0\0\0\0\0\0\0\0\0"],
        hash_seeds: [0; 2],
        homes: 0,
        slots: Vec::new(),
    }
}

/// The entry of a sound card.
pub(super) fn entry(key: [u8; 16]) -> Slot {
    Slot {
        key,
        holder: 1,
        profile: 1,
        group: 1,
        credential_state: CredentialState::Issued as u8,
        holder_state: HolderState::Active as u8,
        credential_to: NO_END,
        holder_to: NO_END,
        ..Slot::EMPTY
    }
}

pub(super) fn signed(model: Model) -> Vec<u8> {
    sign(build_model(&EDITION, model).unwrap(), &secret()).unwrap()
}
