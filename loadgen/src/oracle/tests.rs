use std::fs;

use jiff::civil::DateTime;
use kalitka_protocol::credential::CardFormat;
use kalitka_protocol::reason::Denial as D;

use super::*;

const BUILDING: &str = r#"
[building]
number = 17
organisation = 3
name = "School 17"
time_zone = "Europe/Berlin"
[[area]]
name = "street"
[[area]]
name = "hall"
[[portal]]
name = "gate"
from = "street"
to = "hall"
modes = [
  { schedule = "crowd", mode = "entry_only" }, { schedule = "leaving", mode = "exit_only" },
  { schedule = "fair", mode = "free" }, { schedule = "night", mode = "closed" },
]
[[portal]]
name = "door"
from = "street"
to = "hall"
[[portal]]
name = "ramp"
from = "street"
to = "hall"
mode = "free"
[[reader]]
number = 1
portal = "gate"
shapes = ["uid"]
[[reader]]
number = 2
portal = "gate"
shapes = ["uid-reversed", "w34"]
[[reader]]
number = 3
portal = "door"
shapes = ["w26", "w37-reversed"]
directions = ["entry"]
[[reader]]
number = 4
portal = "ramp"
shapes = ["uid"]
directions = ["exit"]
[[reader]]
number = 5
portal = "door"
shapes = ["uid"]
[[schedule]]
name = "crowd"
intervals = [{ days = ["mon"], from = "07:30", to = "08:30" }]
[[schedule]]
name = "leaving"
intervals = [{ days = ["mon"], from = "18:00", to = "24:00" }]
[[schedule]]
name = "fair"
intervals = [{ days = ["sat"], from = "10:00", to = "12:00" }]
[[schedule]]
name = "night"
intervals = [{ days = ["sun"], from = "22:00", to = "06:00" }]
[[schedule]]
name = "lessons"
intervals = [{ days = ["mon", "tue", "sun"], from = "07:00", to = "20:00" }, { days = ["mon"], from = "19:00", to = "23:00" }]
[[access_level]]
name = "pupil"
grants = [{ portals = ["gate"], schedule = "lessons" }]
[[access_level]]
name = "in"
grants = [{ portals = ["door"], directions = ["entry"], schedule = "lessons" }]
[[access_level]]
name = "all"
grants = [{ portals = ["*"] }]
"#;

const PEOPLE: &str = "\
holder,kind,group,state,access_levels,valid_from,valid_to
good,pupil,1a,active,pupil;in,,
none,visitor,,active,,,
blocked,pupil,,blocked,pupil,,
left,pupil,,left,pupil,,
deleted,pupil,,deleted,pupil,,
new,pupil,,active,pupil,2026-11-24,
old,pupil,,active,pupil,,2026-11-23
hour,pupil,,active,all,2026-11-23T09:00,2026-11-23T10:00:30
";

const CARDS: &str = "\
card,holder,state,valid_from,valid_to,blocked_until
uid:04000001,good,issued,,,
uid:04000002,none,issued,,,
uid:04000003,blocked,issued,,,
uid:04000004,left,issued,,,
uid:04000005,deleted,issued,,,
uid:04000006,new,issued,,,
uid:04000007,old,issued,,,
uid:04000008,hour,issued,,,
uid:04000011,,in_stock,,,
uid:04000012,good,issued_temporarily,2026-11-22T12:00,,
uid:04000013,good,blocked_for_a_time,,,2026-11-23T12:00
uid:04000014,blocked,blocked,,,
uid:04000015,good,lost,,2020-01-01,
uid:04000016,good,returned,,,
uid:04000017,good,destroyed,,,
uid:04000018,good,issued,2026-11-24,,
uid:04000019,good,issued,,2026-11-22,
uid:04000021,left,issued,,2020-01-01,
uid:04000022,new,issued,,2020-01-01,
uid:0a000020,good,issued,,,
uid:0b000020,good,issued,,,
w26:3-5,good,issued,,,
uid:0c030006,good,issued,,,
w26:3-6,good,issued,,,
uid:04112233445566,good,issued,,,
";

fn oracle() -> Oracle {
    oracle_of(BUILDING, PEOPLE, CARDS).unwrap()
}

fn oracle_of(building: &str, people: &str, cards: &str) -> Result<Oracle, ReadError> {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in [("building.toml", building), ("people.csv", people), ("cards.csv", cards)] {
        fs::write(dir.path().join(file), text).unwrap();
    }
    Oracle::read(dir.path())
}

fn at(local: &str) -> i64 {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    local.parse::<DateTime>().unwrap().to_zoned(zone).unwrap().timestamp().as_second()
}

fn uid(hex: &str) -> CardRead {
    CardRead::from_uid(&hex::decode(hex).unwrap()).unwrap()
}

const LESSON: &str = "2026-11-23T09:30";
const GOOD: Result<Grant, D> = Ok(Grant::AccessLevel);
const IN: Direction = Direction::Entry;
const OUT: Direction = Direction::Exit;

/// Reader, UID, direction, local time, and what is right.
type Case = (u32, &'static str, Direction, &'static str, Result<Grant, D>);

fn check(cases: &[Case]) {
    let oracle = oracle();
    for &(reader, card, direction, local, right) in cases {
        let verdict = oracle.judge(ReaderId(reader), &uid(card), direction, 2000, at(local));
        let right = right.map_or_else(Verdict::Deny, Verdict::Grant);
        assert_eq!(verdict, right, "reader {reader}, {card}, {direction:?}, {local}");
    }
}

#[test]
fn states_are_judged_credential_first_then_holder() {
    check(&[
        (1, "04000001", IN, LESSON, GOOD),
        (1, "ffffffff", IN, LESSON, Err(D::UnknownCredential)),
        (1, "04000011", IN, LESSON, Err(D::CredentialInStock)),
        (1, "04000013", IN, LESSON, Err(D::CredentialBlockedForATime)),
        (1, "04000013", IN, "2026-11-23T11:59:59", Err(D::CredentialBlockedForATime)),
        (1, "04000013", IN, "2026-11-23T12:00:00", GOOD),
        (1, "04000014", IN, LESSON, Err(D::CredentialBlocked)),
        (1, "04000015", IN, LESSON, Err(D::CredentialLost)),
        (1, "04000016", IN, LESSON, Err(D::CredentialReturned)),
        (1, "04000017", IN, LESSON, Err(D::CredentialDestroyed)),
        (1, "04000003", IN, LESSON, Err(D::HolderBlocked)),
        (1, "04000004", IN, LESSON, Err(D::HolderLeft)),
        (1, "04000005", IN, LESSON, Err(D::HolderDeleted)),
        (1, "04000021", IN, LESSON, Err(D::HolderLeft)),
        (1, "04000022", IN, LESSON, Err(D::CredentialExpired)),
    ]);
}

#[test]
fn validity_begins_and_ends_at_its_second() {
    check(&[
        (1, "04000018", IN, LESSON, Err(D::CredentialNotYetValid)),
        (1, "04000018", IN, "2026-11-24T07:00:00", GOOD),
        (1, "04000019", IN, "2026-11-22T19:59:59", GOOD),
        (1, "04000019", IN, LESSON, Err(D::CredentialExpired)),
        (1, "04000012", IN, "2026-11-22T11:59:59", Err(D::CredentialNotYetValid)),
        (1, "04000012", IN, "2026-11-22T12:00:00", GOOD),
        (1, "04000012", IN, "2026-11-23T11:59:59", GOOD),
        (1, "04000012", IN, "2026-11-23T12:00:00", Err(D::CredentialExpired)),
        (1, "04000006", IN, LESSON, Err(D::HolderNotYetValid)),
        (1, "04000007", IN, LESSON, GOOD),
        (1, "04000007", IN, "2026-11-24T07:00:00", Err(D::HolderExpired)),
        (5, "04000008", IN, "2026-11-23T08:59:59", Err(D::HolderNotYetValid)),
        (5, "04000008", IN, "2026-11-23T09:00:00", GOOD),
        (5, "04000008", OUT, "2026-11-23T10:00:29", GOOD),
        (5, "04000008", OUT, "2026-11-23T10:00:30", Err(D::HolderExpired)),
    ]);
}

#[test]
fn portal_modes_come_before_the_card() {
    check(&[
        (1, "04000001", OUT, "2026-11-23T08:29:59", Err(D::DirectionClosed)),
        (1, "04000001", OUT, "2026-11-23T08:30:00", GOOD),
        (1, "04000001", IN, "2026-11-23T07:30:00", GOOD),
        (1, "04000001", IN, "2026-11-23T18:00:00", Err(D::DirectionClosed)),
        (1, "04000001", OUT, "2026-11-23T22:59:59", GOOD),
        (1, "04000001", OUT, "2026-11-23T23:59:59", Err(D::OutsideSchedule)),
        (1, "ffffffff", IN, "2026-11-22T22:00:00", Err(D::PortalClosed)),
        (1, "ffffffff", IN, "2026-11-23T05:59:59", Err(D::PortalClosed)),
        (1, "ffffffff", IN, "2026-11-23T06:00:00", Err(D::UnknownCredential)),
        (1, "ffffffff", OUT, "2026-11-21T10:00:00", Ok(Grant::PortalFree)),
        (1, "ffffffff", OUT, "2026-11-21T12:00:00", Err(D::UnknownCredential)),
        (4, "04000014", OUT, LESSON, Ok(Grant::PortalFree)),
        (4, "04000001", IN, LESSON, Err(D::DirectionClosed)),
    ]);
}

#[test]
fn access_levels_name_portal_direction_and_hours_in_this_order() {
    check(&[
        (1, "04000002", IN, LESSON, Err(D::NoAccess)),
        (5, "04000007", IN, LESSON, Err(D::NoAccess)),
        (5, "04000001", OUT, LESSON, Err(D::WrongDirection)),
        (5, "04000001", IN, LESSON, GOOD),
        (5, "04000001", IN, "2026-11-23T06:59:59", Err(D::OutsideSchedule)),
        (5, "04000001", IN, "2026-11-23T22:59:59", GOOD),
        (5, "04000001", IN, "2026-11-25T09:30", Err(D::OutsideSchedule)),
    ]);
}

#[test]
fn schedules_follow_the_local_clock_over_its_changes() {
    // In 2026 Berlin's clocks go forward on 29 March and back on 25 October.
    check(&[
        (5, "04000001", IN, "2026-03-23T06:59:59", Err(D::OutsideSchedule)),
        (5, "04000001", IN, "2026-03-30T06:59:59", Err(D::OutsideSchedule)),
        (5, "04000001", IN, "2026-03-30T07:00:00", GOOD),
        (5, "04000001", IN, "2026-10-26T06:59:59", Err(D::OutsideSchedule)),
        (5, "04000001", IN, "2026-10-26T07:00:00", GOOD),
    ]);
    assert_eq!(at("2026-03-30T07:00") - at("2026-03-23T07:00"), 7 * 86_400 - 3_600);
}

#[test]
fn an_ask_over_two_seconds_old_is_stale_whatever_it_asks() {
    let judge = |age| oracle().judge(ReaderId(9), &uid("04000001"), IN, age, at(LESSON));
    assert_eq!(judge(2001), Verdict::Deny(D::Stale));
    assert_eq!(judge(2000), Verdict::Deny(D::ReaderUnknown));
}

#[test]
fn a_card_is_the_same_at_readers_of_every_declared_shape() {
    let oracle = oracle();
    let frame = |bits, number| CardRead::from_wiegand(bits, number).unwrap();
    // 04112233445566: its low 24 bits, its low 32, and the low 35 of 66554433221104.
    let cases = [
        (1, uid("04112233445566"), GOOD),
        (2, uid("66554433221104"), GOOD),
        (1, uid("66554433221104"), Err(D::UnknownCredential)),
        (2, frame(32, 0x3344_5566), GOOD),
        (3, frame(24, 0x44_5566), GOOD),
        (3, frame(35, 0x4_3322_1104), GOOD),
        (3, frame(32, 0x3344_5566), Err(D::ShapeNotDeclared)),
        (3, uid("04112233445566"), Err(D::ShapeNotDeclared)),
        (1, frame(24, 0x44_5566), Err(D::ShapeNotDeclared)),
        (3, frame(24, 0x00_0020), Err(D::AmbiguousCredential)),
        (2, frame(32, 0x0a00_0020), GOOD),
        (3, frame(24, 0x03_0005), GOOD),
        (3, frame(24, 0x03_0006), Err(D::AmbiguousCredential)),
        (3, frame(24, 0x03_0007), Err(D::UnknownCredential)),
    ];
    for (reader, card, right) in cases {
        let verdict = oracle.judge(ReaderId(reader), &card, IN, 0, at(LESSON));
        assert_eq!(verdict, right.map_or_else(Verdict::Deny, Verdict::Grant), "reader {reader}, {card:?}");
    }
}

#[test]
fn every_single_bit_turned_in_a_wiegand_frame_is_noticed() {
    for (bits, number) in [(24, 0x03_0005), (32, 0x3344_5566), (35, 0x4_3322_1104)] {
        let good = CardRead::from_wiegand(bits, number).unwrap().to_bytes();
        for place in 0..usize::from(bits) + 2 {
            let mut bytes = good;
            bytes[2 + place / 8] ^= 0x80 >> (place % 8);
            let [_, len, data @ ..] = bytes;
            let card = CardRead::new(CardFormat::Wiegand, len, data).unwrap();
            let verdict = oracle().judge(ReaderId(3), &card, IN, 0, at(LESSON));
            // The bit in the middle of 37 counts in both halves.
            assert_eq!(verdict, Verdict::Deny(D::MalformedCard), "bit {place} of {len}");
        }
    }
}

#[test]
fn what_cannot_be_understood_is_named() {
    let wrong = [
        (BUILDING.replace("Europe/Berlin", "Europe/Nowhere"), PEOPLE, CARDS.to_owned(), "Europe/Nowhere"),
        (BUILDING.replace("\"w34\"", "\"w35\""), PEOPLE, CARDS.to_owned(), "w35"),
        (BUILDING.replace("07:30", "25:30"), PEOPLE, CARDS.to_owned(), "25:30"),
        (BUILDING.replace("[\"sat\"]", "[\"sab\"]"), PEOPLE, CARDS.to_owned(), "sab"),
        (BUILDING.to_owned(), PEOPLE, CARDS.replace("w26:3-5", "w26:3-x"), "w26:3-x"),
        (BUILDING.to_owned(), PEOPLE, CARDS.replace("lost", "found"), "found"),
        (BUILDING.to_owned(), PEOPLE, CARDS.replace("2026-11-24", "2026-11-31"), "2026-11-31"),
        (BUILDING.to_owned(), PEOPLE, CARDS.replace("blocked_until", "until"), "blocked_until"),
    ];
    for (building, people, cards, named) in wrong {
        let error = oracle_of(&building, people, &cards).err().unwrap().to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
}
