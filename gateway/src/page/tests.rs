//! The page and its JSON: whole in both languages, bounded, and nothing in them but what is meant to be.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use kalitka_protocol::ReaderId;
use kalitka_protocol::reason::Denial;
use kalitka_snapshot::Refused;

use super::doors::{Known, listed, readers};
use super::html::page;
use super::matter::{Level, Matter};
use super::overview::{Line, Outbox, Overview, Portal, Refusal, Snapshot, State, Uplink, Way};
use super::words::{Language, Words, told};
use super::{POLICY, SCRIPT, STYLE, base64, hash};
use crate::limits::{PAGE_PORTALS_MAX, PAGE_READERS_MAX};
use crate::metrics::ReaderStanding;

/// The runbook, by [`Language::ALL`].
const RUNBOOKS: [&str; 2] = [include_str!("../../../deploy/RUNBOOK.md"), include_str!("../../../deploy/RUNBOOK.ru.md")];
const DOCS: &str = include_str!("../../../docs/status.md");
/// Bytes of a page, whatever the building.
const PAGE_MAX: usize = 96 * 1024;
/// What somebody may have called a portal, a port, or anything else that is not ours.
const HOSTILE: &str = "</td><script>alert(1)</script>\"'&<!--\u{202e}\u{7}";

fn standing(reader: u32, heard: Option<u64>) -> ReaderStanding {
    ReaderStanding {
        reader: ReaderId(reader),
        up: heard.is_some_and(|seconds| seconds < 5),
        heard_ago: heard.map(Duration::from_secs),
        has_session: heard.is_some(),
        asks: 1,
        repeats: 0,
        drift_ppm: None,
        reports_waiting: 0,
        falling_back: false,
    }
}

/// A building of so many readers, one in seven of them away, in which all is well but for that.
fn building(count: u32, name: &str) -> Overview {
    let known = (1..=count).map(|reader| {
        let heard = if reader.is_multiple_of(7) { 3600 } else { 1 };
        Known::of(reader, Some(0), Some(standing(reader, Some(heard))), None)
    });
    let portal = |number: u32| Portal {
        portal: format!("{name}{number}"),
        mode: Some("normal"),
        is_ordered: number == 1,
        readers: 1,
        readers_up: usize::from(!number.is_multiple_of(7)),
    };
    Overview {
        version: "1.2.3",
        building: 17,
        running_seconds: 3700,
        is_beginning: false,
        level: Level::Well,
        matters: Vec::new(),
        workers_stuck: 0,
        clock: "good",
        readers: readers(known.collect(), |_| Some(name.to_owned())),
        lines: vec![Line { port: format!("/dev/{name}"), way: Way::Serial, is_up: true, is_unreadable: false }],
        portals: listed((1..=count).map(portal).collect()),
        snapshot: Snapshot {
            generation: 5,
            age_seconds: Some(90_000),
            entries: 16_000,
            refused: Some("unsigned".into()),
            refused_seconds_ago: Some(7200),
            ..Snapshot::default()
        },
        outbox: Outbox { is_taking: true, oldest_seconds: Some(5), disk_percent: 40, ..Outbox::default() },
        uplink: Uplink { state: "up", since_seconds: 100, round_trip_us: Some(12_345), code: None },
        refusals: Vec::new(),
    }
}

fn judged(mut overview: Overview) -> Overview {
    overview.matters = Matter::of(&overview);
    overview.level = overview.matters.iter().map(|matter| matter.level()).max().unwrap_or_default();
    overview
}

/// What a browser would show of `html`: no markup, no style, no script.
fn seen(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<').skip(1) {
        let Some((tag, words)) = part.split_once('>') else { continue };
        if !tag.starts_with("style") && !tag.starts_with("script") {
            text += words;
        }
        text += " ";
    }
    text
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let hostile = judged(building(3, HOSTILE));
    let harmless = judged(building(3, "x"));
    let tags =
        |html: &str| html.split('<').map(|part| part.split(['>', ' ']).next().unwrap().to_owned()).collect::<Vec<_>>();
    for language in Language::ALL {
        let (hostile, harmless) = (page(&hostile, language), page(&harmless, language));
        assert_eq!(tags(&hostile), tags(&harmless));
        assert!(hostile.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;&lt;!--\\u{202e}\\u{7}"));
        assert!(!hostile.contains("<script>alert") && !hostile.contains('\u{202e}') && !hostile.contains('\u{7}'));
    }
}

#[test]
fn reasons_that_are_not_known_are_shown_as_what_they_are() {
    let mut overview = building(1, "x");
    overview.snapshot.refused = Some(HOSTILE.into());
    overview.uplink.state = "<b>";
    for language in Language::ALL {
        let html = page(&overview, language);
        assert!(html.contains("&lt;b&gt;") && !html.contains("<b>") && !html.contains("<script>alert"));
    }
}

#[test]
fn page_of_the_largest_building_is_bounded_and_names_the_worst() {
    // Names as long as a roster lets them be, of what takes the most bytes.
    let name = "&".repeat(64);
    let mut overview = building(4096, &name);
    let refusal = |reason: &Denial| Refusal {
        reason: reason.label(),
        last_15_minutes: u64::MAX,
        since_start: u64::MAX,
        newest_seconds_ago: 900,
    };
    overview.refusals = Denial::ALL.iter().map(refusal).collect();
    overview.lines = (0..32).map(|_| overview.lines[0].clone()).collect();
    let readers = &overview.readers;
    assert_eq!((readers.known, readers.up, readers.away), (4096, 3511, 585));
    assert_eq!((readers.listed.len(), readers.unlisted), (PAGE_READERS_MAX, 4096 - PAGE_READERS_MAX));
    assert!(readers.listed.iter().all(|reader| reader.state == State::Away));
    assert_eq!(overview.portals.listed.len(), PAGE_PORTALS_MAX);
    assert!(overview.portals.listed.iter().all(|portal| portal.readers_up == 0));
    overview.matters = Matter::ALL.to_vec();
    for language in Language::ALL {
        let html = page(&overview, language);
        assert!(html.len() < PAGE_MAX, "{}", html.len());
        assert!(html.contains("4032") && html.contains("4064"), "what is not listed is counted");
    }
    assert!(serde_json::to_string(&overview).unwrap().len() < PAGE_MAX);
}

#[test]
fn ordinary_building_is_one_small_page() {
    for language in Language::ALL {
        let html = page(&judged(building(12, "turnstile-")), language);
        assert!(html.len() < 24 * 1024, "{}", html.len());
        // Nothing is fetched from anywhere.
        assert!(!html.contains("http:") || !html.replace("http://www.w3.org/2000/svg", "").contains("http"), "{html}");
        assert!(
            !html.contains(" src=")
                && !html.contains("url(")
                && !html.contains(" style=")
                && !html.contains(" onclick")
        );
    }
}

fn keys(table: &[(&'static str, &'static str)]) -> BTreeSet<&'static str> {
    let keys: BTreeSet<_> = table.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), table.len(), "a key stands twice in {table:?}");
    keys
}

#[test]
fn every_reason_state_and_mode_has_a_word_in_both_languages() {
    let reasons: BTreeSet<&str> = Denial::ALL.iter().map(|reason| reason.label()).collect();
    let refused: BTreeSet<&str> =
        Refused::LABELS.into_iter().chain(["generation", "unreadable", "not_kept", "in_force"]).collect();
    let modes = BTreeSet::from(["normal", "closed", "free", "entry_only", "exit_only", "differs"]);
    let (uplinks, clocks) =
        (BTreeSet::from(["off", "connecting", "up", "down"]), BTreeSet::from(["good", "held", "none"]));
    for language in Language::ALL {
        let words = language.words();
        assert_eq!(keys(words.reasons), reasons);
        assert_eq!(keys(words.refused_why), refused);
        assert_eq!(keys(words.modes), modes);
        assert_eq!(keys(words.uplinks), uplinks);
        assert_eq!(keys(words.clocks), clocks);
    }
}

/// Everything that is said in a language but its tables' values.
fn said(words: &Words) -> Vec<&'static str> {
    let pairs = words.matters.iter().chain([&words.well, &words.lost]).flat_map(|(what, todo)| [*what, *todo]);
    let tables = [words.modes, words.refused_why, words.uplinks, words.reasons, words.clocks];
    pairs.chain(tables.into_iter().flatten().map(|(_, words)| *words)).chain(words.states).chain(words.levels).collect()
}

#[test]
fn nothing_is_left_in_the_other_language() {
    for (en, ru) in said(Language::English.words()).into_iter().zip(said(Language::Russian.words())) {
        assert!(!en.is_empty() && en != ru, "{en}");
        assert!(!en.chars().any(|letter| ('а'..='я').contains(&letter)), "{en}");
        assert!(ru.chars().any(|letter| ('а'..='я').contains(&letter)), "{ru}");
    }
    let russian = page(&judged(building(12, "17-")), Language::Russian);
    for word in ["Readers", "Portal", "State", "ago", "Snapshot", "Disk", "Running"] {
        assert!(!seen(&russian).contains(word), "{word}");
    }
}

#[test]
fn language_is_the_links_or_else_the_browsers_or_else_english() {
    use Language::{English, Russian};
    for (query, accepts, language) in [
        (None, None, English),
        (Some("lang=ru"), None, Russian),
        (Some("lang=en"), Some("ru"), English),
        (Some("a=b&lang=RU"), Some("en"), Russian),
        (Some("lang=xx"), Some("ru-RU,ru;q=0.9,en;q=0.8"), Russian),
        (None, Some("de, en;q=0.5, ru;q=0.7"), Russian),
        (None, Some("en-GB,ru;q=0.9"), English),
        (None, Some("ru;q=0,en;q=0.1"), English),
        (None, Some("ru;q=0"), English),
        (None, Some("ru;q=nonsense, , ;;, fr"), English),
        (None, Some("ru,en"), Russian),
        (Some("lang"), Some("*"), English),
    ] {
        assert_eq!(Language::of(query, accepts), language, "{query:?} {accepts:?}");
    }
}

fn quoted(text: &str, open: char, close: char) -> &str {
    text.split_once(open).unwrap().1.split_once(close).unwrap().0
}

#[test]
fn every_matter_is_told_with_a_section_that_the_runbook_has() {
    let [english, russian] =
        RUNBOOKS.map(|runbook| -> Vec<&str> { runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect() });
    // The pages have the same sections in the same order.
    let both: Vec<(&str, &str)> = english.iter().copied().zip(russian.iter().copied()).collect();
    assert_eq!(english.len(), russian.len());
    let [in_english, in_russian] = Language::ALL.map(Language::words);
    for matter in Matter::ALL {
        let section = matter.runbook();
        let named = (told(in_english.sections, section), told(in_russian.sections, section));
        assert!(named.0 == section && both.contains(&named), "{named:?}");
        assert_ne!(matter.level(), Level::Well);
    }
    let sections: BTreeSet<&str> = Matter::ALL.iter().map(|matter| matter.runbook()).collect();
    assert_eq!(keys(in_russian.sections), sections);
    let levels: Vec<Level> = Matter::ALL.iter().map(|matter| matter.level()).collect();
    assert!(levels.is_sorted_by(|before, after| before >= after), "the worst stand first");
    // What it names when the gateway is gone.
    let gone = (quoted(in_english.lost.1, '“', '”'), quoted(in_russian.lost.1, '«', '»'));
    assert!(gone.0 == "The gateway does not start" && both.contains(&gone), "{gone:?}");
}

/// Changes that make one matter so, in the order of [`Matter::ALL`].
fn spoil(matter: Matter, overview: &mut Overview) {
    let Overview { readers, lines, snapshot, outbox, uplink, .. } = overview;
    match matter {
        Matter::WorkerStuck => overview.workers_stuck = 1,
        Matter::NoSnapshot => snapshot.generation = 0,
        Matter::TimeUnknown => overview.clock = "none",
        Matter::TimeHeld => overview.clock = "held",
        Matter::OrdersUnknown => outbox.is_safety_state_damaged = true,
        Matter::NoReaders => (readers.keyed, readers.up) = (0, 0),
        Matter::AllAway => readers.up = 0,
        Matter::Away => readers.away = 1,
        Matter::DeviceRefused => readers.refused = 1,
        Matter::NotInSnapshot => readers.not_in_snapshot = 1,
        Matter::NoneInSnapshot => readers.not_in_snapshot = readers.up,
        Matter::NoKey => readers.without_key = 1,
        Matter::PortGone => lines[0].is_up = false,
        Matter::OsdpPortGone => (lines[0].way, lines[0].is_up) = (Way::Osdp, false),
        Matter::LineUnreadable => lines[0].is_unreadable = true,
        Matter::NotKept => outbox.is_taking = false,
        Matter::DiskHangs => outbox.busy_seconds = 2,
        Matter::AtBound => (outbox.is_at_bound, outbox.bound_percent) = (true, 100),
        Matter::NearBound => outbox.bound_percent = 80,
        Matter::DiskNearlyFull => outbox.disk_percent = 80,
        Matter::OnRefuge => outbox.is_on_refuge = true,
        Matter::Quarantined => outbox.quarantined_stores = 1,
        Matter::Stale => snapshot.is_stale = true,
        Matter::SnapshotRefused => (snapshot.is_refusal_open, snapshot.refused_seconds_ago) = (true, Some(10)),
        Matter::HubAway => (uplink.state, uplink.since_seconds) = ("down", 60),
    }
}

#[test]
fn a_building_in_which_all_is_well_says_so_and_each_matter_is_told_alone_in_large_letters() {
    let well = building(6, "x");
    assert_eq!(Matter::of(&well), []);
    for language in Language::ALL {
        let words = language.words();
        let html = page(&judged(well.clone()), language);
        assert!(html.contains(&format!("<h1>{}</h1>", words.well.0)) && html.contains("class=\"verdict well\""));
        for matter in Matter::ALL {
            let mut spoilt = well.clone();
            spoil(matter, &mut spoilt);
            let spoilt = judged(spoilt);
            assert_eq!(spoilt.matters, [matter]);
            let html = page(&spoilt, language);
            let (what, _) = words.matter(matter);
            let what = what.replace('\'', "&#39;");
            // Whoever only has to look is told first that doors answer.
            let first = if matter.level() == Level::Look { format!("{} ", words.well.0) } else { String::new() };
            assert!(html.contains(&format!("<h1>{first}{what}</h1>")), "{what}");
            assert!(html.contains(&format!("<cite>{}</cite>", told(words.sections, matter.runbook()))));
            assert!(html.contains(&format!("class=\"verdict {}\"", spoilt.level.label())));
        }
    }
}

#[test]
fn worst_matter_stands_first_and_the_others_are_told_besides() {
    let mut overview = building(6, "x");
    for matter in [Matter::DiskNearlyFull, Matter::NoSnapshot, Matter::Away] {
        spoil(matter, &mut overview);
    }
    let overview = judged(overview);
    assert_eq!(
        (overview.level, &overview.matters[..]),
        (Level::Bad, &[Matter::NoSnapshot, Matter::Away, Matter::DiskNearlyFull][..])
    );
    let html = page(&overview, Language::English);
    let at = |matter| html.find(Language::English.words().matter(matter).0).unwrap();
    assert!(at(Matter::NoSnapshot) < at(Matter::Away) && at(Matter::Away) < at(Matter::DiskNearlyFull));
}

#[test]
fn refusal_is_told_for_a_quarter_of_an_hour_and_not_after_the_next_adoption() {
    let mut overview = building(6, "x");
    for (is_refusal_open, ago, is_told) in [(true, 0, true), (true, 899, true), (true, 900, false), (false, 0, false)] {
        (overview.snapshot.is_refusal_open, overview.snapshot.refused_seconds_ago) = (is_refusal_open, Some(ago));
        assert_eq!(!Matter::of(&overview).is_empty(), is_told, "{is_refusal_open} {ago}");
    }
}

#[test]
fn a_gateway_that_has_just_started_does_not_call_anybody_to_readers_that_were_not_heard_yet() {
    for matter in [Matter::AllAway, Matter::Away, Matter::NotKept] {
        let mut overview = building(6, "x");
        spoil(matter, &mut overview);
        assert_eq!(Matter::of(&overview), [matter]);
        overview.is_beginning = true;
        assert_eq!(Matter::of(&overview), []);
        // What is wrong from the start on is told from the start on.
        spoil(Matter::NoSnapshot, &mut overview);
        assert_eq!(Matter::of(&overview), [Matter::NoSnapshot]);
    }
}

#[test]
fn readers_stand_as_their_key_their_channel_and_the_snapshot_say() {
    let (here, gone, never) = (Some(standing(7, Some(1))), Some(standing(7, Some(9))), Some(standing(7, None)));
    for (portal, keyed, device, state) in [
        (Some(0), here, None, State::Up),
        (Some(0), here, Some("online"), State::Up),
        (None, here, None, State::NotInSnapshot),
        (Some(0), gone, None, State::Away),
        (Some(0), never, None, State::Away),
        (None, gone, None, State::Away),
        (Some(0), here, Some("offline"), State::Away),
        (Some(0), here, Some("opening"), State::Away),
        (Some(0), here, Some("refused"), State::Refused),
        (Some(0), None, None, State::NoKey),
        (Some(0), None, Some("refused"), State::Refused),
    ] {
        let known = Known::of(7, portal, keyed, device);
        assert_eq!((known.state, known.way), (state, device.map(|_| Way::Osdp)), "{portal:?} {keyed:?} {device:?}");
    }
}

/// The paths of all fields in `value`, list items by `[]`.
fn paths(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if !field.is_object() && !field.is_array() || field.as_array().is_some_and(Vec::is_empty) {
                    found.insert(path.clone());
                }
                paths(field, &path, found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{path}[]"), found)),
        _ => {}
    }
}

/// What stands in code in the first cells of a table's rows.
fn first_cells(table: &str) -> BTreeSet<String> {
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_field_of_the_json_is_in_the_docs_and_no_other() {
    let mut overview = building(3, "x");
    spoil(Matter::Away, &mut overview);
    overview.refusals =
        vec![Refusal { reason: "no_access", last_15_minutes: 1, since_start: 1, newest_seconds_ago: 1 }];
    let mut served = BTreeSet::new();
    paths(&serde_json::to_value(judged(overview)).unwrap(), "", &mut served);
    let (fields, matters) = DOCS.split_once("\nWhat may be wrong").unwrap();
    assert_eq!(served, first_cells(fields), "left: served; right: docs/status.md");
    let known: BTreeSet<String> = Matter::ALL.iter().map(|matter| matter.label().to_owned()).collect();
    let matters: BTreeSet<String> = first_cells(matters).into_iter().filter(|cell| cell != "matter").collect();
    assert_eq!(known, matters, "left: what may be wrong; right: docs/status.md");
}

#[test]
fn policy_allows_what_the_page_has_and_nothing_else() {
    let html = page(&building(1, "x"), Language::English);
    let between = |from: &str, to: &str| html.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    assert_eq!(hash(&between("<style>", "</style>")), hash(STYLE));
    assert_eq!(hash(&between("<script>", "</script>")), hash(SCRIPT));
    for allowed in ["style", "script"] {
        let source = POLICY.split("; ").find_map(|part| part.strip_prefix(&format!("{allowed}-src "))).unwrap();
        assert!(source == format!("'{}'", hash(if allowed == "style" { STYLE } else { SCRIPT })), "{source}");
    }
    assert!(POLICY.starts_with("default-src 'none'; ") && !POLICY.contains("unsafe"));
}

#[test]
fn base64_is_the_standards() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
    assert_eq!(base64(&[0xfb, 0xff, 0xbe]), "+/++");
}

#[test]
fn times_are_told_by_their_two_largest_units() {
    let [english, russian] = Language::ALL.map(Language::words);
    let mut told = String::new();
    for seconds in [0, 59, 60, 3599, 3600, 86_399, 86_400, 90_061] {
        write!(told, "{}|", english.time(seconds)).unwrap();
    }
    assert_eq!(told, "0 s|59 s|1 min|59 min|1 h 0 min|23 h 59 min|1 d 0 h|1 d 1 h|");
    assert_eq!((english.ago(5), russian.ago(90_061)), ("5 s ago".into(), "1 дн 1 ч назад".into()));
}
