//! What is wrong with a roster is named with its file, line, column and value, all of it in one run.

use super::*;
use crate::limits::*;

/// What stands in the last row of `people.csv`, and the error.
const LENIENCIES: &[(&str, &str)] = &[
    ("p9,staff,,active,,,\"2030-01-01", "people.csv:4:7: a quote is opened here and never closed"),
    ("\"p\"9,staff,,active,,,\n", "people.csv:4:1: something stands behind a closing quote"),
    ("p9,staff,a\"b,active,,,\n", "people.csv:4:3: a quote stands inside a field without quotes"),
    ("p9,staff,,active,,,\r", "people.csv:4:7: a carriage return stands alone"),
    ("p9,staff,,active,,,\rp8,staff,,active,,,\n", "people.csv:4:7: a carriage return stands alone"),
];

#[test]
fn what_rfc_4180_forbids_is_an_error_though_a_lenient_reader_would_take_it() {
    for (row, wanted) in LENIENCIES {
        let people = format!(
            "holder,kind,group,state,access_levels,valid_from,valid_to\np1,staff,,active,,,\np2,staff,,active,,,\n{row}"
        );
        assert_one(&errors(BUILDING, &people, CARDS_HEADER), wanted);
    }
    let quoted = "\u{feff}\"holder\",kind,\"group\",state,access_levels,valid_from,valid_to\r\np1,staff,\"a \"\"b\"\", c\",active,,,\r\n";
    read(BUILDING, quoted, CARDS_HEADER).unwrap();
}

#[test]
fn a_building_with_very_many_errors_is_refused_at_once() {
    let keys: String = (0..100_000).map(|key| format!("k{key}=1\n")).collect();
    let begun = std::time::Instant::now();
    let errors = read(&format!("{keys}{BUILDING}"), PEOPLE, CARDS).unwrap_err();
    assert_eq!((errors.listed().len(), errors.unlisted()), (ERRORS_LISTED_MAX, 100_000 - ERRORS_LISTED_MAX));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

const CARDS_HEADER: &str = "card,holder,state,valid_from,valid_to,blocked_until\n";

/// The listed errors of a roster, one a line.
fn errors(building: &str, people: &str, cards: &str) -> Vec<String> {
    let errors = read(building, people, cards).unwrap_err();
    assert!(!errors.of_the_system() && errors.unlisted() == 0);
    errors.listed().iter().map(ToString::to_string).collect()
}

/// Whether exactly one error is found, and what it begins with.
fn assert_one(found: &[String], wanted: &str) {
    assert!(found.len() == 1 && found[0].starts_with(wanted), "wanted\n  {wanted}\nfound\n  {}", found.join("\n  "));
    assert!(found[0].contains("; "), "says what to do: {}", found[0]);
}

/// In `building.toml`: what is replaced, by what, and the error.
const BUILDING_CASES: &[(&str, &str, &str)] = &[
    ("number = 17", "number = 0", "building.toml:3:10 (building.number) `0`: the number must be 1 to"),
    ("number = 17", "number = -1", "building.toml:3:10 (building.number) `-1`: the number must be 1 to"),
    ("number = 17", "number = 4294967296", "building.toml:3:10 (building.number) `4294967296`: the number must"),
    ("number = 17", "number = \"17\"", "building.toml:3:10 (building.number) `17`: a whole number belongs here"),
    ("number = 17", "number = 1.5", "building.toml:3:10 (building.number) `1.5`: a whole number belongs here"),
    ("number = 17\n", "", "building.toml:2:1 (building.number) `[building]`: this key is missing"),
    ("organisation = 3\n", "", "building.toml:2:1 (building.organisation) `[building]`: this key is missing"),
    ("number = 17", "number = 17\nnumbr = 1", "building.toml:4:1 (building.numbr) `numbr`: this key is unknown"),
    ("number = 17", "number = 17\nnumber = 18", "building.toml:4:1 `number`: not TOML: duplicate key"),
    ("number = 17", "number = ", "building.toml:3:"),
    ("\"School 17\"", "\"\"", "building.toml:5:8 (building.name): a name has 1 to 64 bytes"),
    ("\"School 17\"", "\"a\\nb\"", "building.toml:5:8 (building.name) `a\\nb`: a name has 1 to 64 bytes"),
    ("Europe/Moscow", "Europe/Mosco", "building.toml:6:13 (building.time_zone) `Europe/Mosco`: no such time zone"),
    ("[[area]]\nname = \"hall\"", "[[aera]]\nname = \"hall\"", "building.toml:"),
    ("name = \"hall\"", "name = \"street\"", "building.toml:12:8 (area[2].name) `street`: another area has this name"),
    ("from = \"street\"", "from = \"yard\"", "building.toml:16:8 (portal[1].from) `yard`: no such area"),
    ("to = \"hall\"", "to = 3", "building.toml:17:6 (portal[1].to) `3`: a string belongs here"),
    ("to = \"hall\"", "to = \"hall\"\nmode = \"open\"", "building.toml:18:8 (portal[1].mode) `open`: unknown value"),
    (
        "to = \"hall\"",
        "to = \"hall\"\nfall_back = \"open\"",
        "building.toml:18:13 (portal[1].fall_back) `open`: unknown",
    ),
    (
        "to = \"hall\"",
        "to = \"hall\"\nhold_open_ms = 199",
        "building.toml:18:16 (portal[1].hold_open_ms) `199`: the num",
    ),
    (
        "to = \"hall\"",
        "to = \"hall\"\nhold_open_ms = 60001",
        "building.toml:18:16 (portal[1].hold_open_ms) `60001`: the",
    ),
    (
        "schedule = \"before_lessons\", mode",
        "schedule = \"x\", mode",
        "building.toml:18:24 (portal[1].modes[1].schedule) `x`",
    ),
    ("mode = \"entry_only\"", "mode = \"x\"", "building.toml:18:49 (portal[1].modes[1].mode) `x`: unknown value"),
    (
        "mode = \"entry_only\"",
        "made = \"x\", mode = \"free\"",
        "building.toml:18:42 (portal[1].modes[1].made) `made`: this key",
    ),
    ("number = 102", "number = 101", "building.toml:26:10 (reader[2].number) `101`: another reader has this number"),
    ("number = 102", "number = 0", "building.toml:21:10 (reader[1].number) `0`: the number must be 1 to"),
    (
        "portal = \"turnstile-1\"\nshapes = [\"uid\"",
        "portal = \"x\"\nshapes = [\"uid\"",
        "building.toml:22:10 (reader[1].portal) `x`",
    ),
    ("[\"uid\", \"w26\"]", "[]", "building.toml:23:10 (reader[1].shapes) `[]`: a reader sends at least one shape"),
    ("[\"uid\", \"w26\"]", "[\"uid\", \"w27\"]", "building.toml:23:18 (reader[1].shapes[2]) `w27`: unknown value"),
    (
        "[\"uid\", \"w26\"]",
        "[\"uid\", \"uid-reversed\"]",
        "building.toml:23:18 (reader[1].shapes[2]) `uid-reversed`: a reader",
    ),
    (
        "[\"uid\", \"w26\"]",
        "[\"w26-reversed\", \"w26\"]",
        "building.toml:23:27 (reader[1].shapes[2]) `w26`: a reader cannot",
    ),
    ("[\"uid\", \"w26\"]", "\"uid\"", "building.toml:23:10 (reader[1].shapes) `uid`: an array belongs here"),
    ("[\"exit\"]", "[]", "building.toml:29:14 (reader[2].directions) `[]`: at least one direction"),
    ("[\"exit\"]", "[\"out\"]", "building.toml:29:15 (reader[2].directions[1]) `out`: unknown value"),
    ("\"tue\"]", "\"tu\"]", "building.toml:33:32 (schedule[1].intervals[1].days[2]) `tu`: no such day"),
    ("[\"mon\", \"tue\"]", "[]", "building.toml:33:24 (schedule[1].intervals[1].days) `[]`: at least one day"),
    ("\"07:30\"", "\"7:30\"", "building.toml:33:47 (schedule[1].intervals[1].from) `7:30`: no time of day"),
    ("\"07:30\"", "\"24:00\"", "building.toml:33:47 (schedule[1].intervals[1].from) `24:00`: no time of day"),
    ("\"08:30\"", "\"24:01\"", "building.toml:33:61 (schedule[1].intervals[1].to) `24:01`: no time of day"),
    ("\"08:30\"", "\"+8:30\"", "building.toml:33:61 (schedule[1].intervals[1].to) `+8:30`: no time of day"),
    ("\"08:30\"", "08:30:00", "building.toml:33:61 (schedule[1].intervals[1].to) `08:30:00`: a string belongs here"),
    ("intervals = [", "x = [", "building.toml:"),
    ("[\"*\"]", "[\"*\", \"x\"]", "building.toml:37:30 (access_level[1].grants[1].portals[2]) `x`: no such portal"),
    (
        "schedule = \"before_lessons\", dir",
        "schedule = \"x\", dir",
        "building.toml:37:42 (access_level[1].grants[1].schedule) `x`",
    ),
    (
        "[ { portals = [\"turnstile-1\"] } ]",
        "[ { } ]",
        "building.toml:41:12 (access_level[2].grants[1].portals) `{ }`: this key",
    ),
    (
        "[ { portals = [\"turnstile-1\"] } ]",
        "[ 1 ]",
        "building.toml:41:12 (access_level[2].grants[1]) `1`: a table belongs",
    ),
    ("name = \"staff\"", "name = \"pupil\"", "building.toml:40:8 (access_level[2].name) `pupil`: another access_level"),
];

/// In `people.csv`.
const PEOPLE_CASES: &[(&str, &str, &str)] = &[
    ("p0001,", "p 001,", "people.csv:3:1 (holder) `p 001`: no holder's identity"),
    ("p0003,", ",", "people.csv:4:1 (holder): no holder's identity"),
    ("p0003,", "p0123456789012345,", "people.csv:4:1 (holder) `p0123456789012345`: no holder's identity"),
    ("p0003,visitor", "p0001,visitor", "people.csv:4:1 (holder) `p0001`: line 3 has this holder already"),
    ("pupil,1A", "child,1A", "people.csv:3:2 (kind) `child`: unknown value"),
    ("1A,active", "1A,Active", "people.csv:3:4 (state) `Active`: unknown value"),
    ("1A,active,pupil", "1A,active,pupils", "people.csv:3:5 (access_levels) `pupils`: no access level `pupils`"),
    ("1A,active,pupil", "1A,active,pupil;", "people.csv:3:5 (access_levels) `pupil;`: no access level ``"),
    (
        "1A,active,pupil",
        "1A,active,pupil;pupil",
        "people.csv:3:5 (access_levels) `pupil;pupil`: the access level `pupil` is",
    ),
    ("2026-09-01", "2026-9-1", "people.csv:2:6 (valid_from) `2026-9-1`: not a moment"),
    ("2026-09-01", "2026-02-29", "people.csv:2:6 (valid_from) `2026-02-29`: no such day"),
    ("2026-09-01", "2026-09-01T24:00", "people.csv:2:6 (valid_from) `2026-09-01T24:00`: no such time of day"),
    ("2026-09-01", "2026-09-01T10", "people.csv:2:6 (valid_from) `2026-09-01T10`: not a moment"),
    ("2026-09-01", "2026-09-01T10:00Z", "people.csv:2:6 (valid_from) `2026-09-01T10:00Z`: not a moment"),
    ("2026-09-01", "1969-12-31", "people.csv:2:6 (valid_from) `1969-12-31`: out of range"),
    ("2027-05-31", "2106-01-01", "people.csv:2:7 (valid_to) `2106-01-01`: out of range"),
    ("2027-05-31", "2026-08-31", "people.csv:2:7 (valid_to) `2026-08-31`: valid_to is not after valid_from"),
    (
        "2027-05-31",
        "2026-09-01T00:00",
        "people.csv:2:7 (valid_to) `2026-09-01T00:00`: valid_to is not after valid_from",
    ),
    (
        "pupil,1A,active,pupil,,",
        "pupil,1A,active,pupil,",
        "people.csv:3:7 (valid_to): the row has 6 fields, the header 7",
    ),
    ("pupil,1A,active,pupil,,", "pupil,1A,active,pupil,,,x", "people.csv:3:8 `x`: the row has 8 fields, the header 7"),
    ("holder,kind", "holder,kin", "people.csv:1:2 (kin) `kin`: this column is unknown"),
    ("1A", "1\u{7}A", "people.csv:3:3 (group) `1\\u{7}A`: the field has a line break"),
];

/// In `cards.csv`.
const CARD_CASES: &[(&str, &str, &str)] = &[
    ("uid:04a1b2c3d4e5f6,", "uid:04a1b2c3d4e5,", "cards.csv:2:1 (card) `uid:04a1b2c3d4e5`: no card's identifier"),
    ("uid:04a1b2c3d4e5f6,", "uid:04a1b2cg,", "cards.csv:2:1 (card) `uid:04a1b2cg`: no card's identifier"),
    ("uid:04a1b2c3d4e5f6,", "04a1b2c3d4e5f6,", "cards.csv:2:1 (card) `04a1b2c3d4e5f6`: no card's identifier"),
    ("uid:04a1b2c3d4e5f6,", "uid-reversed:04a1b2c3,", "cards.csv:2:1 (card) `uid-reversed:04a1b2c3`: no card's"),
    ("w26:12-34567", "w26:256-34567", "cards.csv:4:1 (card) `w26:256-34567`: no card's identifier"),
    ("w26:12-34567", "w26:12-65536", "cards.csv:4:1 (card) `w26:12-65536`: no card's identifier"),
    ("w26:12-34567", "w26:+12-34567", "cards.csv:4:1 (card) `w26:+12-34567`: no card's identifier"),
    ("w26:12-34567", "w34:4294967296", "cards.csv:4:1 (card) `w34:4294967296`: no card's identifier"),
    ("w26:12-34567", "w37:34359738368", "cards.csv:4:1 (card) `w37:34359738368`: no card's identifier"),
    ("w26:12-34567", "w37:99999999999999999999", "cards.csv:4:1 (card) `w37:99999999999999999999`: no card's"),
    ("p0003,issued", "p0009,issued", "cards.csv:4:2 (holder) `p0009`: no such holder"),
    ("p0003,issued", ",issued", "cards.csv:4:2 (holder): a card in this state needs a holder"),
    ("p0003,issued", ",lost", "cards.csv:4:2 (holder): a card in this state needs a holder"),
    ("p0003,issued", "p0003,given", "cards.csv:4:3 (state) `given`: unknown value"),
    ("2026-11-20T08:00", "", "cards.csv:3:4 (valid_from): a card issued temporarily needs valid_from"),
    (
        "2026-11-20T08:00,",
        "2026-11-20T08:00,2026-11-19",
        "cards.csv:3:5 (valid_to) `2026-11-19`: valid_to is not after",
    ),
    ("2026-12-01", "", "cards.csv:6:6 (blocked_until): a card blocked for a time needs blocked_until"),
    ("2026-12-01", "1970-01-01", "cards.csv:6:6 (blocked_until) `1970-01-01`: out of range"),
    (
        "in_stock,,,",
        "in_stock,,,2026-12-01",
        "cards.csv:5:6 (blocked_until) `2026-12-01`: only a card blocked for a time",
    ),
    (
        "uid:04a1b2c4",
        "uid:04A1B2C3D4E5F6",
        "cards.csv:6:1 (card) `uid:04a1b2c3d4e5f6`: holder p0001 has this card in line 2, holder p0002 in line 6",
    ),
    (
        "uid:04a1b2c4",
        "uid:00112233445566778899",
        "cards.csv:6:1 (card) `uid:00112233445566778899`: nobody has this card in line 5, holder p0002 in line 6",
    ),
    (
        "uid:04a1b2c4",
        "uid:04A1B2C3",
        "cards.csv:6:1 (card) `uid:04a1b2c3`: holder p0002 has the same card twice, in lines 3 and 6; delete one row",
    ),
];

#[test]
fn each_error_of_the_building_is_named() {
    let mut wrong = Vec::new();
    for (old, new, wanted) in BUILDING_CASES {
        assert!(BUILDING.contains(old), "{old}");
        let found = errors(&BUILDING.replacen(old, new, 1), PEOPLE, CARDS);
        if !found[0].starts_with(wanted) {
            wrong.push(format!("{old} -> {new}: wanted\n  {wanted}\nfound\n  {}", found.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_error_of_people_is_named() {
    for (old, new, wanted) in PEOPLE_CASES {
        assert!(PEOPLE.contains(old), "{old}");
        let found = errors(BUILDING, &PEOPLE.replacen(old, new, 1), CARDS);
        assert!(found[0].starts_with(wanted), "{old} -> {new}: wanted\n  {wanted}\nfound\n  {}", found.join("\n  "));
    }
}

#[test]
fn each_error_of_cards_is_named() {
    for (old, new, wanted) in CARD_CASES {
        assert!(CARDS.contains(old), "{old}");
        assert_one(&errors(BUILDING, PEOPLE, &CARDS.replacen(old, new, 1)), wanted);
    }
}

#[test]
fn errors_of_all_three_files_are_listed_in_one_run() {
    let building = BUILDING.replace("Europe/Moscow", "Moscow").replace("from = \"street\"", "from = \"yard\"");
    let people = PEOPLE.replace("pupil,1A,active", "child,1A,gone").replace("visitor,,blocked,", "visiter,,blocked,x");
    let cards = CARDS.replace("w26:12-34567", "w26:12").replace(",p0002,issued_t", ",p0009,issued_t");
    let found = errors(&building, &people, &cards);
    let wanted = [
        "building.toml:6",
        "building.toml:16",
        "people.csv:3:2",
        "people.csv:3:4",
        "people.csv:4:2",
        "people.csv:4:5",
        "cards.csv:3:2",
        "cards.csv:4:1",
    ];
    assert_eq!(found.len(), wanted.len(), "{}", found.join("\n"));
    assert!(found.iter().zip(wanted).all(|(found, wanted)| found.starts_with(wanted)), "{}", found.join("\n"));
}

#[test]
fn a_person_with_errors_does_not_make_cards_wrong() {
    let found = errors(BUILDING, &PEOPLE.replace("pupil,1A", "child,1A"), CARDS);
    assert_one(&found, "people.csv:3:2");
}

/// Of row 3, whose holder has a card: what is replaced by which bytes, and the error.
const SPOILT_ROWS: &[(&str, &[u8], &str)] = &[
    ("1A", b"\xffA", "people.csv:3:3 (group) `\u{fffd}A`: not UTF-8"),
    ("1A", b"1\x07A", "people.csv:3:3 (group)"),
    ("pupil,1A", b"1A", "people.csv:3:7 (valid_to): the row has 6 fields"),
    ("1A", b"1,A", "people.csv:3:8: the row has 8 fields"),
];

#[test]
fn a_row_that_is_no_plain_text_does_not_make_its_holders_cards_wrong() {
    for (old, new, wanted) in SPOILT_ROWS {
        let folder = folder(BUILDING, PEOPLE, CARDS);
        let at = PEOPLE.find(old).unwrap();
        let people = [&PEOPLE.as_bytes()[..at], new, &PEOPLE.as_bytes()[at + old.len()..]].concat();
        fs::write(folder.path().join("people.csv"), people).unwrap();
        let errors = Roster::read(folder.path()).unwrap_err();
        assert_one(&errors.listed().iter().map(ToString::to_string).collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn no_card_lacks_its_holder_where_people_cannot_be_read() {
    assert_one(&errors(BUILDING, "", CARDS), "people.csv: empty");
    let found = errors(BUILDING, &PEOPLE.replace("staff,teachers", "staff,\"teachers"), CARDS);
    assert!(found.iter().all(|error| error.starts_with("people.csv:2:")), "{}", found.join("\n"));
    assert_one(&errors(BUILDING, &PEOPLE.replace(",kind,", ","), CARDS), "people.csv:1 (kind): this column is missing");
    let folder = folder(BUILDING, PEOPLE, CARDS);
    fs::remove_file(folder.path().join("people.csv")).unwrap();
    let errors = Roster::read(folder.path()).unwrap_err();
    assert_one(&errors.listed().iter().map(ToString::to_string).collect::<Vec<_>>(), "people.csv: cannot be read");
}

#[test]
fn a_repeated_card_is_named_by_its_column_wherever_that_stands() {
    let reordered =
        "state,card,holder,valid_from,valid_to,blocked_until\nissued,w34:7,p0001,,,\nissued,w34:7,p0002,,,\n";
    assert_one(
        &errors(BUILDING, PEOPLE, reordered),
        "cards.csv:3:2 (card) `w34:7`: holder p0001 has this card in line 2",
    );
}

#[test]
fn columns_missing_doubled_and_unknown_are_all_named() {
    let people = PEOPLE.replace("holder,kind,group,state,", "holder,holder,group,name,");
    let found = errors(BUILDING, &people, CARDS_HEADER);
    let wanted = [
        "people.csv:1:2 (holder) `holder`: this column is there twice",
        "people.csv:1:4 (name) `name`: this column is unknown",
        "people.csv:1 (kind): this column is missing",
        "people.csv:1 (state): this column is missing",
    ];
    assert_eq!(found.len(), wanted.len(), "{}", found.join("\n"));
    assert!(found.iter().zip(wanted).all(|(found, wanted)| found.starts_with(wanted)), "{}", found.join("\n"));
}

#[test]
fn an_empty_table_lacks_its_header() {
    assert_one(&errors(BUILDING, PEOPLE, ""), "cards.csv: empty; begin it with the row card,holder,state");
}

#[test]
fn text_that_is_not_utf8_is_named() {
    let folder = folder(BUILDING, PEOPLE, CARDS);
    fs::write(folder.path().join("building.toml"), b"name = \"\xff\"").unwrap();
    let mut people = PEOPLE.as_bytes().to_vec();
    let at = PEOPLE.find("1A").unwrap();
    people[at] = 0xff;
    fs::write(folder.path().join("people.csv"), people).unwrap();
    let errors = Roster::read(folder.path()).unwrap_err();
    let found: Vec<String> = errors.listed().iter().map(ToString::to_string).collect();
    assert!(found[0].starts_with("building.toml: not UTF-8"), "{}", found.join("\n"));
    assert!(found[1].starts_with("people.csv:3:3 (group) `\u{fffd}A`: not UTF-8"), "{}", found.join("\n"));
}

#[test]
fn each_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let errors = Roster::read(folder.path()).unwrap_err();
    assert!(errors.of_the_system());
    let files: Vec<&str> = errors.listed().iter().map(|error| error.file).collect();
    assert_eq!(files, ["building.toml", "people.csv", "cards.csv"]);
    assert!(errors.to_string().ends_with("3 errors in the roster"), "{errors}");
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    for name in ["building.toml", "people.csv", "cards.csv"] {
        for device in ["/dev/zero", "/dev/tty", "."] {
            let folder = folder(BUILDING, PEOPLE, CARDS);
            fs::remove_file(folder.path().join(name)).unwrap();
            std::os::unix::fs::symlink(device, folder.path().join(name)).unwrap();
            let errors = Roster::read(folder.path()).unwrap_err();
            let said = errors.to_string();
            assert!(errors.of_the_system() && said.starts_with(name) && said.contains("no regular file"), "{said}");
        }
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let huge = |name: &str, bytes: u64| {
        let folder = folder(BUILDING, PEOPLE, CARDS);
        fs::File::options().write(true).open(folder.path().join(name)).unwrap().set_len(bytes).unwrap();
        Roster::read(folder.path()).unwrap_err().to_string()
    };
    assert!(huge("building.toml", BUILDING_BYTES_MAX + 1).starts_with("building.toml: larger than"));
    assert!(huge("people.csv", TABLE_BYTES_MAX + 1).starts_with("people.csv: larger than"));
    let areas = "[[area]]\nname = \"x\"\n".repeat(AREAS_MAX + 1);
    assert!(errors(&format!("{BUILDING}{areas}"), PEOPLE, CARDS)[0].contains("at most 1024 are allowed"));
    let group = "g".repeat(NAME_BYTES_MAX + 1);
    assert_one(&errors(BUILDING, &PEOPLE.replace("1A", &group), CARDS), "people.csv:3:3 (group)");
    let field = "g".repeat(FIELD_BYTES_MAX + 1);
    assert_one(&errors(BUILDING, &PEOPLE.replace("1A", &field), CARDS_HEADER), "people.csv:3:3 (group)");
    let grant = "{ portals = [\"*\"] },".repeat(GRANTS_MAX + 1);
    let building = BUILDING.replace("grants = [ { portals = [\"turnstile-1\"] } ]", &format!("grants = [{grant}]"));
    assert_one(&errors(&building, PEOPLE, CARDS), "building.toml:39:1 (access_level[2])");
    let rules = "{ schedule = \"before_lessons\", mode = \"free\" },".repeat(MODE_RULES_MAX + 1);
    let building = BUILDING.replace("modes = [", &format!("modes = [{rules}"));
    assert_one(&errors(&building, PEOPLE, CARDS), "building.toml:18:");
}

#[test]
fn errors_beyond_the_limit_are_counted() {
    let rows = "p0001,pupil,,active,,,\n".repeat(ERRORS_LISTED_MAX + 8);
    let errors = read(BUILDING, &format!("{PEOPLE}{rows}"), CARDS).unwrap_err();
    assert_eq!((errors.listed().len(), errors.unlisted()), (ERRORS_LISTED_MAX, 8));
    assert!(errors.to_string().ends_with("and 8 more\n1008 errors in the roster"));
}

#[test]
fn a_long_value_is_shortened() {
    let found = errors(BUILDING, &PEOPLE.replace("pupil,1A", &format!("{},1A", "я".repeat(500))), CARDS);
    assert!(found[0].contains(&format!("`{}…`", "я".repeat(60))), "{}", found[0]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
    /// Whatever the three files hold, reading them ends with a roster or with errors; and what is read can be built.
    #[test]
    fn a_roster_with_a_wrong_byte_never_panics(file in 0usize..3, at in 0usize..2_000, byte in proptest::prelude::any::<u8>()) {
        let folder = folder(BUILDING, PEOPLE, CARDS);
        let (name, text) = [("building.toml", BUILDING), ("people.csv", PEOPLE), ("cards.csv", CARDS)][file];
        let mut bytes = text.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        fs::write(folder.path().join(name), bytes).unwrap();
        if let Ok(roster) = Roster::read(folder.path()) {
            let file = sign(crate::build(&roster, 1, CREATED, 0).unwrap().0, &secret()).unwrap();
            let building = roster.building();
            let verified = Snapshot::verify(AlignedBytes::from(&file[..]), &[publisher()], building);
            proptest::prop_assert!(verified.is_ok(), "{:?}", verified.err());
        }
    }

    #[test]
    fn random_files_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let folder = folder(BUILDING, PEOPLE, CARDS);
        for name in ["building.toml", "people.csv", "cards.csv"] {
            fs::write(folder.path().join(name), &bytes).unwrap();
        }
        proptest::prop_assert!(Roster::read(folder.path()).is_err());
    }
}
