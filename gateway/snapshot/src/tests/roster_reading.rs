//! What a sound roster means.

use kalitka_protocol::credential::Credential;

use super::*;

fn slot_of<'a>(snapshot: &'a Snapshot, uid: &str) -> &'a ArchivedSlot {
    snapshot.probe(&Credential::from_uid(&hex::decode(uid).unwrap()).unwrap()).unwrap()
}

fn built(building: &str, people: &str, cards: &str) -> Snapshot {
    let roster = read(building, people, cards).unwrap_or_else(|errors| panic!("{errors}"));
    verified(&sign(crate::build(&roster, 5, CREATED, 0).unwrap().0, &secret()).unwrap()).unwrap()
}

#[test]
fn the_same_roster_gives_the_same_bytes_whatever_the_order_of_its_rows() {
    let reversed = |text: &str| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines[1..].reverse();
        lines.join("\n")
    };
    let one = crate::build(&small_roster(), 5, CREATED, 0).unwrap();
    assert!(one == crate::build(&small_roster(), 5, CREATED, 0).unwrap());
    let other = read(BUILDING, &reversed(PEOPLE), &reversed(CARDS)).unwrap();
    assert!(one == crate::build(&other, 5, CREATED, 0).unwrap());
    assert!(one.0 != crate::build(&other, 6, CREATED, 0).unwrap().0);
}

#[test]
fn a_byte_order_mark_line_ends_quotes_and_column_order_do_not_matter() {
    let plain = crate::build(&small_roster(), 5, CREATED, 0).unwrap();
    let people = format!("\u{feff}{}", PEOPLE.replace("teachers", "\"teachers\"")).replace('\n', "\r\n");
    let cards: String = CARDS
        .lines()
        .map(|line| {
            let mut fields: Vec<&str> = line.split(',').collect();
            fields.rotate_left(1);
            fields.join(",") + "\n"
        })
        .collect();
    let building = format!("\u{feff}{}", BUILDING.replace('\n', "\r\n"));
    assert!(plain == crate::build(&read(&building, &people, &cards).unwrap(), 5, CREATED, 0).unwrap());
}

#[test]
fn local_dates_become_seconds() {
    const MOSCOW: u32 = 3 * 3_600;
    let snapshot = built(BUILDING, PEOPLE, CARDS);
    let temporary = slot_of(&snapshot, "04a1b2c3");
    // 2026-09-01 and the midnight after 2027-05-31; 2026-11-20 08:00 and a day later.
    assert_eq!(
        (temporary.holder_from, temporary.holder_to),
        ((1_788_220_800 - MOSCOW).into(), (1_811_808_000 - MOSCOW).into())
    );
    let from = 1_795_161_600 - MOSCOW;
    assert_eq!((temporary.credential_from, temporary.credential_to), (from.into(), (from + 86_400).into()));
    let blocked = slot_of(&snapshot, "04a1b2c4");
    assert_eq!(blocked.blocked_until, 1_796_083_200 - MOSCOW);
    let pupil = slot_of(&snapshot, "04a1b2c3d4e5f6");
    assert_eq!((pupil.credential_from, pupil.credential_to, pupil.holder_from), (0.into(), NO_END.into(), 0.into()));
    let stock = slot_of(&snapshot, "00112233445566778899");
    assert_eq!((stock.holder, stock.holder_state), (NOBODY.into(), HolderState::Deleted as u8));
}

/// Berlin skips 02:00 to 03:00 on 2026-03-29 and repeats it on 2026-10-25; Beirut skipped a midnight on 2020-03-29.
#[test]
fn times_that_a_change_of_clocks_skips_or_repeats_are_read_compatibly() {
    let at = |zone: &str, from: &str| {
        let building = BUILDING.replace("Europe/Moscow", zone);
        let cards =
            format!("card,holder,state,valid_from,valid_to,blocked_until\nuid:01020304,p0001,issued,{from},,\n");
        let snapshot = built(&building, PEOPLE, &cards);
        slot_of(&snapshot, "01020304").credential_from.to_native()
    };
    assert_eq!(at("Europe/Berlin", "2026-03-29T02:30"), 1_774_747_800); // 03:30 CEST
    assert_eq!(at("Europe/Berlin", "2026-10-25T02:30:01"), 1_792_888_201); // the first, CEST
    assert_eq!(at("Asia/Beirut", "2020-03-29"), 1_585_432_800); // 01:00 EEST
    assert_eq!(at("Europe/Moscow", "1970-01-01"), 0);
}

#[test]
fn the_time_zone_reaches_from_2000_to_fifteen_years_ahead() {
    let offsets = |zone: &str, created| {
        let roster = read(&BUILDING.replace("Europe/Moscow", zone), PEOPLE, CARDS).unwrap();
        crate::roster::offsets(&roster.building.head.zone, created)
    };
    let moscow = offsets("Europe/Moscow", CREATED);
    assert_eq!((moscow[0].from, moscow[0].seconds), (i64::MIN, 3 * 3_600));
    let last = moscow[moscow.len() - 1];
    assert_eq!((last.from, last.seconds), (1_414_274_400, 3 * 3_600)); // 2014-10-26
    let berlin = offsets("Europe/Berlin", CREATED);
    assert!(berlin.windows(2).all(|pair| pair[0].from < pair[1].from && pair[0].seconds != pair[1].seconds));
    assert!(berlin[berlin.len() - 1].from > CREATED + 14 * 366 * 86_400);
    assert_eq!(offsets("UTC", CREATED).len(), 1);
    assert!(offsets("Europe/Berlin", i64::MAX).len() <= crate::limits::OFFSETS_MAX);
    assert!(!offsets("Europe/Berlin", i64::MIN).is_empty());
}

#[test]
fn intervals_are_merged_and_wrap_round_the_week() {
    let cases: &[(&str, &[(u16, u16)])] = &[
        (r#"{ days = ["mon"], from = "07:30", to = "08:30" }"#, &[(450, 510)]),
        (r#"{ days = ["mon"], from = "00:00", to = "24:00" }"#, &[(0, 1_440)]),
        (r#"{ days = ["mon", "tue"], from = "00:00", to = "24:00" }"#, &[(0, 2_880)]),
        (r#"{ days = ["mon"], from = "22:00", to = "06:00" }"#, &[(1_320, 1_800)]),
        (r#"{ days = ["sun"], from = "22:00", to = "06:00" }"#, &[(0, 360), (9_960, 10_080)]),
        (r#"{ days = ["sun"], from = "08:00", to = "08:00" }"#, &[(0, 480), (9_120, 10_080)]),
        (
            r#"{ days = ["wed"], from = "10:00", to = "12:00" }, { days = ["wed"], from = "12:00", to = "13:00" },
               { days = ["wed"], from = "11:00", to = "11:30" }, { days = ["wed"], from = "13:01", to = "14:00" }"#,
            &[(3_480, 3_660), (3_661, 3_720)],
        ),
        (
            r#"{ days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "06:00", to = "06:00" }"#,
            &[(0, 10_080)],
        ),
        ("", &[]),
    ];
    for (text, wanted) in cases {
        let old = r#"{ days = ["mon", "tue"], from = "07:30", to = "08:30" }"#;
        let snapshot = built(&BUILDING.replace(old, text), PEOPLE, CARDS);
        let intervals = &snapshot.model().schedules[0].intervals;
        let found: Vec<_> =
            intervals.iter().map(|interval| (interval.from.to_native(), interval.to.to_native())).collect();
        assert_eq!(&found, wanted, "{text}");
    }
}

#[test]
fn defaults_are_those_documented() {
    let snapshot = built(BUILDING, PEOPLE, CARDS);
    let model = snapshot.model();
    let portal = &model.portals[0];
    assert_eq!((portal.mode, portal.hold_open_ms.to_native(), portal.fall_back), (0, 5_000, 0));
    assert_eq!((model.readers[0].number.to_native(), model.readers[0].directions), (101, EXIT));
    assert_eq!(model.readers[1].directions, ENTRY | EXIT);
    let [pupil, staff] = [0, 1].map(|at: usize| &model.access_levels[at].grants[0]);
    assert_eq!((pupil.schedule.to_native(), pupil.directions), (0, ENTRY));
    assert_eq!((staff.schedule.to_native(), staff.directions), (ALWAYS, ENTRY | EXIT));
}

#[test]
fn each_label_has_its_code() {
    for (label, code) in [("active", 1), ("blocked", 2), ("left", 3), ("deleted", 4)] {
        let snapshot = built(BUILDING, &PEOPLE.replace("1A,active", &format!("1A,{label}")), CARDS);
        assert_eq!(slot_of(&snapshot, "04a1b2c3d4e5f6").holder_state, code, "{label}");
    }
    let states =
        ["in_stock", "issued", "issued_temporarily", "blocked_for_a_time", "blocked", "lost", "returned", "destroyed"];
    for (code, label) in (1u8..).zip(states) {
        let until = if label == "blocked_for_a_time" { "2026-12-01" } else { "" };
        let row = format!(
            "card,holder,state,valid_from,valid_to,blocked_until\nuid:01020304,p0001,{label},2026-11-20,,{until}\n"
        );
        let snapshot = built(BUILDING, PEOPLE, &row);
        assert_eq!(slot_of(&snapshot, "01020304").credential_state, code, "{label}");
    }
    for (code, label) in (0u8..).zip(["normal", "closed", "free", "entry_only", "exit_only"]) {
        let building =
            BUILDING.replace("to = \"hall\"", &format!("to = \"hall\"\nmode = \"{label}\"\nfall_back = \"exit_free\""));
        let snapshot = built(&building, PEOPLE, CARDS);
        assert_eq!((snapshot.model().portals[0].mode, snapshot.model().portals[0].fall_back), (code, 1));
    }
}

#[test]
fn a_building_without_people_is_built() {
    let people = PEOPLE.lines().next().unwrap();
    let cards = CARDS.lines().next().unwrap();
    assert_eq!(built(BUILDING, people, cards).header().entries, 0);
}
