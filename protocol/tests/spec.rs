//! SPEC.md against the code: its worked examples are recomputed, its clauses all have a test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::datagram::{self, Datagram};
use kalitka_protocol::event::{self, Body, ClockQuality, EpochBegun, Event, EventHeader, ReportTaken};
use kalitka_protocol::frame;
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys, Welcome, prologue};
use kalitka_protocol::limits::{DATAGRAM_MAX, FRAME_MAX, SEALED_HEADER_LEN};
use kalitka_protocol::message::{Answer, Ask, Message, Report, ReportKind};
use kalitka_protocol::reason::{Direction, FallBack, Grant, Tone, Verdict};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::upstream::batch_signed;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId, SessionId, Stamp};
use support::respond;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn spec() -> String {
    std::fs::read_to_string(here("SPEC.md")).unwrap()
}

/// A named byte string of the worked example.
type Item = (&'static str, Vec<u8>);

fn sealed(key: &[u8; 32], session: SessionId, counter: u64, message: &Message<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut datagram = [0xa5; DATAGRAM_MAX];
    let mut writer = Writer::new(&mut datagram[SEALED_HEADER_LEN..]);
    message.emit(&mut writer).unwrap();
    let len = writer.len();
    let plaintext = datagram[SEALED_HEADER_LEN..SEALED_HEADER_LEN + len].to_vec();
    let len = SealKey::new(key).seal(session, counter, &mut datagram, len).unwrap();
    (plaintext, datagram[..len].to_vec())
}

fn tag_key(context: &str, psk: &[u8]) -> Vec<u8> {
    blake3::derive_key(context, psk).to_vec()
}

fn handshake_example(items: &mut Vec<Item>) -> ([u8; 32], [u8; 32]) {
    let psk: [u8; 32] = std::array::from_fn(|place| u8::try_from(place).unwrap());
    let ephemeral = [0x11; 32];
    let gateway_ephemeral = [0x22; 32];
    let (reader, stamp) = (ReaderId(101), Stamp::new(1, 0));
    let hello = Hello { boot: BootId(0x1122_3344_5566_7788), firmware: 7 };
    let welcome = Welcome { session: SessionId(0x4001_0040), fall_back_after_ms: 1000, fall_back: FallBack::ExitFree };
    let tags = TagKeys::new(&Psk::new(psk));
    let (initiator, mut initiation) = Initiator::new(reader, &Psk::new(psk), &tags, stamp, &hello, ephemeral);
    items.push(("psk", psk.to_vec()));
    items.push(("initiation tag key", tag_key("kalitka 1 initiation tag", &psk)));
    items.push(("response tag key", tag_key("kalitka 1 response tag", &psk)));
    items.push(("prologue", prologue(reader).to_vec()));
    items.push(("reader's ephemeral private key", ephemeral.to_vec()));
    items.push(("reader's ephemeral public key", initiation[16..48].to_vec()));
    items.push(("initiation's payload", hello.to_bytes().to_vec()));
    items.push(("initiation", initiation.to_vec()));
    let Ok(Datagram::Initiation(cut)) = Datagram::parse(&mut initiation) else { panic!() };
    let mut made = respond(&psk, &cut, &welcome, &gateway_ephemeral).unwrap();
    items.push(("gateway's ephemeral private key", gateway_ephemeral.to_vec()));
    items.push(("gateway's ephemeral public key", made.response[16..48].to_vec()));
    let public: [u8; 32] = made.response[16..48].try_into().unwrap();
    items.push(("shared secret", x25519_dalek::x25519(ephemeral, public).to_vec()));
    items.push(("response's payload", welcome.to_bytes().to_vec()));
    items.push(("response", made.response.to_vec()));
    let Ok(Datagram::Response(response)) = Datagram::parse(&mut made.response) else { panic!() };
    let (keys, welcomed) = initiator.finish(&tags, &response).unwrap();
    assert_eq!(welcomed, welcome);
    items.push(("key of the reader's datagrams", keys.reader.to_vec()));
    items.push(("key of the gateway's datagrams", keys.gateway.to_vec()));
    (keys.reader, keys.gateway)
}

fn example() -> Vec<Item> {
    let mut items = Vec::new();
    let (reader_key, gateway_key) = handshake_example(&mut items);
    let session = SessionId(0x4001_0040);
    let card = CardRead::from_uid(&[0x04, 0xa2, 0x24, 0x5b, 0x9c, 0x61, 0x80]).unwrap();
    let ask = Ask { request: 1, age_ms: 12, direction: Direction::Entry, card };
    let (plaintext, datagram) = sealed(&reader_key, session, 0, &Message::Ask(ask));
    items.push(("ask, plaintext", plaintext));
    items.push(("ask, nonce", datagram::nonce(0).to_vec()));
    items.push(("ask, sealed with counter 0", datagram));
    let answer = Answer {
        request: 1,
        generation: 3,
        hold_open_ms: 5000,
        verdict: Verdict::Grant(Grant::AccessLevel),
        tone: Tone::Welcome,
        text: "Проходите",
    };
    let (plaintext, datagram) = sealed(&gateway_key, session, 0x0102, &Message::Answer(answer));
    items.push(("answer, plaintext", plaintext));
    items.push(("answer, nonce", datagram::nonce(0x0102).to_vec()));
    let mut frame = [0xa5; FRAME_MAX];
    let len = frame::emit(&datagram, &mut frame).unwrap();
    items.push(("answer, sealed with counter 258", datagram));
    items.push(("answer, in a frame", frame[..len].to_vec()));
    let wiegand = CardRead::from_wiegand(24, 0x5b_9c61).unwrap();
    items.push(("card, Wiegand 26 of facility 91, number 40033", wiegand.to_bytes().to_vec()));
    event_example(&mut items, card);
    items
}

fn event_example(items: &mut Vec<Item>, card: CardRead) {
    let report = Report {
        log: LogId(0x1817_1615_1413_1211),
        number: 1,
        boot: BootId(0x1122_3344_5566_7788),
        request: 1,
        age_ms: 1500,
        count: 0,
        kind: ReportKind::Passed,
        direction: Some(Direction::Entry),
        input: 0,
        unasked: false,
        oldest: true,
        card: Some(card),
    };
    let taken = ReportTaken { reader: ReaderId(101), generation: 3, portal: Some(0), report };
    let header = |number| EventHeader {
        building: 7,
        epoch: EpochId(0x2827_2625_2423_2221),
        number,
        wall_us: 1_793_430_000_000_000,
        monotonic_us: 60_000_000,
        gateway_boot: 0x3433_3231,
        quality: ClockQuality::Good,
        jumped: false,
    };
    let event = |number, body| support::emitted(|out| Event { header: header(number), body }.emit(out));
    let begun = event(1, Body::EpochBegun(EpochBegun { before: None, last: 0, hash: [0; 32] }));
    let passed = event(2, Body::Report(taken));
    let first = event::chain(&[0; 32], &begun);
    let second = event::chain(&first, &passed);
    items.push(("event 1, the epoch has begun", begun));
    items.push(("h(1)", first.to_vec()));
    items.push(("event 2, a report", passed));
    items.push(("h(2)", second.to_vec()));
    items.push(("what is signed of a batch of both", batch_signed(7, header(2).epoch, 2, &second).to_vec()));
}

/// Lays items out as SPEC.md has them: a line with the name, then lines of at most 32 bytes.
fn laid_out(items: &[Item]) -> String {
    let mut text = String::new();
    for (name, bytes) in items {
        writeln!(text, "{name}:").unwrap();
        for line in bytes.chunks(32) {
            writeln!(text, "  {}", hex::encode(line)).unwrap();
        }
    }
    text
}

#[test]
fn worked_examples_are_what_the_code_computes() {
    let spec = spec();
    let block = spec.split("## 17. Worked examples").nth(1).unwrap();
    let block = block.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let computed = laid_out(&example());
    assert!(block == computed, "SPEC.md should have\n\n{computed}");
}

/// The numbers of the clauses of built sections.
fn clauses(spec: &str) -> BTreeSet<String> {
    let built = spec.split("\n## ").filter(|section| !section.lines().next().unwrap().contains("not built yet"));
    let clause = |line: &str| {
        let (number, _) = line.strip_prefix("**")?.split_once("** ")?;
        number.split_once('.').filter(|(section, _)| section.parse::<u8>().is_ok())?;
        Some(number.to_owned())
    };
    built.flat_map(str::lines).filter_map(clause).collect()
}

/// The clauses that test sources under `folder` name in lines `// SPEC 6.3 …`.
fn named(folder: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            named(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let marker = |line: &str| Some(line.trim().strip_prefix("// SPEC ")?.split(' ').next()?.to_owned());
            found.extend(source.lines().filter_map(marker));
        }
    }
}

/// Clauses that bind the gateway are tested where it is built: the clause, the file, a test in it.
const ELSEWHERE: [(&str, &str, &str); 32] = [
    ("2.4", "../gateway/core/tests/hostile.rs", "random_bytes_are_dropped"),
    ("4.8", "../gateway/core/tests/sessions.rs", "second_initiation_within_100_ms_is_too_soon_and_loses_no_stamp"),
    ("4.8", "../gateway/core/tests/sessions.rs", "highest_stamp_outlives_a_restart_of_the_gateway"),
    (
        "4.8",
        "../gateway/core/tests/sessions.rs",
        "noise_that_does_not_open_under_a_true_tag_is_dropped_and_its_stamp_used_up",
    ),
    ("4.9", "../gateway/core/tests/ownership.rs", "initiation_goes_to_its_readers_owner_and_its_session_names_it"),
    ("4.10", "../gateway/core/tests/sessions.rs", "pending_session_leaves_the_current_one_alone_until_it_is_used"),
    ("4.11", "../gateway/core/tests/sessions.rs", "old_session_is_opened_for_10_s_and_answered_in_the_new_one"),
    ("4.12", "../gateway/core/tests/sessions.rs", "session_expires_by_age_and_by_count"),
    ("5.6", "../gateway/core/tests/asks.rs", "a_malformed_message_takes_its_whole_datagram_with_it"),
    (
        "5.8",
        "../gateway/core/tests/sessions.rs",
        "address_moves_with_a_newer_datagram_and_an_overtaken_one_gets_no_reply",
    ),
    ("6.2", "../gateway/core/tests/asks.rs", "repeated_ask_gets_the_same_bytes_and_is_decided_once"),
    ("6.5", "../gateway/core/tests/decision.rs", "an_ask_of_two_seconds_is_not_stale"),
    ("6.9", "../gateway/core/tests/decision.rs", "free_portal_lets_pass_whatever_comes_after_its_mode"),
    (
        "7.3",
        "../gateway/core/tests/fold.rs",
        "report_is_taken_when_it_is_next_or_the_oldest_and_repeated_when_it_was_taken",
    ),
    ("7.7", "../gateway/core/tests/asks.rs", "report_is_told_with_what_became_of_its_ask"),
    ("7.8", "../gateway/tests/turnstiles.rs", "what_followed_each_release_is_kept_with_its_direction_and_its_ask"),
    ("7.9", "../gateway/core/tests/decision.rs", "one_way_portals_let_pass_their_way_only"),
    ("8.1", "../gateway/core/tests/commands.rs", "command_is_repeated_until_it_is_done_and_the_next_one_follows"),
    ("8.2", "../gateway/core/tests/commands.rs", "command_names_the_highest_counter_of_the_session_that_it_travels_in"),
    ("13.1", "../gateway/core/tests/sessions.rs", "oversized_and_foreign_datagrams_are_dropped_by_name"),
    ("15.3", "../gateway/hub/tests/refuse.rs", "what_is_no_message_in_its_place_ends_the_connection"),
    ("15.3", "../gateway/uplink/tests/streams.rs", "stream_that_the_hub_may_not_open_ends_the_connection"),
    ("15.5", "../gateway/hub/tests/keep.rs", "events_are_kept_once_and_the_position_says_so"),
    ("15.5", "../gateway/uplink/tests/record.rs", "sending_goes_on_where_the_hub_says_also_when_that_is_lower"),
    (
        "15.5",
        "../gateway/uplink/tests/record.rs",
        "earlier_epochs_go_first_and_a_new_one_follows_on_the_same_connection",
    ),
    (
        "15.8",
        "../gateway/core/tests/overlay.rs",
        "blocked_card_is_denied_until_it_is_unblocked_or_a_snapshot_contains_the_command",
    ),
    ("15.8", "../gateway/core/tests/overlay.rs", "newest_mode_of_a_reader_or_of_all_goes_before_the_plan"),
    ("15.9", "../gateway/core/tests/fold.rs", "command_of_several_readers_has_the_lowest_outcome_that_is_not_done"),
    ("15.13", "../gateway/hub/tests/forks.rs", "fork_names_the_first_number_and_keeps_nothing_of_the_batch"),
    ("15.13", "../gateway/hub/tests/forks.rs", "restored_store_is_told_that_its_hash_is_not_the_hubs"),
    ("15.13", "../gateway/uplink/tests/record.rs", "forked_epoch_is_told_and_no_longer_sent"),
    ("18.6", "../gateway/tests/serial.rs", "reader_that_moves_between_line_and_network_is_answered_where_it_is"),
];

fn has_test(source: &str, test: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let is_it = |line: &str| line.trim_start_matches("async ").starts_with(&format!("fn {test}("));
    lines.windows(2).any(|pair| pair[0].starts_with("#[") && pair[0].contains("test") && is_it(pair[1]))
}

#[test]
fn every_clause_has_a_test() {
    let clauses = clauses(&spec());
    assert!(clauses.len() > 50, "the clauses of SPEC.md are found: {clauses:?}");
    let mut tested = BTreeSet::new();
    named(&here("tests"), &mut tested);
    for (clause, file, test) in ELSEWHERE {
        let source = std::fs::read_to_string(here(file)).unwrap();
        assert!(has_test(&source, test), "SPEC {clause}: no test {test} in {file}");
        tested.insert(clause.to_owned());
    }
    let untested: Vec<_> = clauses.difference(&tested).collect();
    assert!(untested.is_empty(), "clauses without a test: {untested:?}");
    let unknown: Vec<_> = tested.difference(&clauses).collect();
    assert!(unknown.is_empty(), "tests name clauses that SPEC.md does not have: {unknown:?}");
}

// SPEC 18.5 the page names the deframer's labels, all of them
#[test]
fn faults_of_frames_are_the_deframers_labels() {
    let spec = spec();
    let named: BTreeSet<_> = rows(&spec, "18.5").iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let labels = frame::Fault::ALL.iter().map(|fault| fault.label().to_owned());
    assert_eq!(named, labels.chain(["reason".to_owned(), "---".to_owned()]).filter(|label| label != "---").collect());
}

// SPEC 13.1 the page names the gateway's labels, all of them
#[test]
fn drop_reasons_are_the_gateways_labels() {
    let source = std::fs::read_to_string(here("../gateway/core/src/output.rs")).unwrap();
    let declared = source.split("\ndrop_reasons! {").nth(1).unwrap().split("\n}").next().unwrap();
    let labels: BTreeSet<_> = declared.split('"').skip(1).step_by(2).collect();
    let spec = spec();
    let table = spec.split("\n## 13. ").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: BTreeSet<_> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, labels);
}

/// The rows of the tables of `clause`, as cells.
fn rows<'a>(spec: &'a str, clause: &str) -> Vec<Vec<&'a str>> {
    let text = spec.split(&format!("\n**{clause}** ")).nth(1).unwrap().split("\n**").next().unwrap();
    let row = |line: &'a str| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect());
    text.lines().filter_map(row).collect()
}

// SPEC 15.2 the page's kinds are the code's, name by name
// SPEC 15.3 each travels on a stream that the page has
// SPEC 15.11 so are the codes
#[test]
fn upstream_kinds_and_close_codes_are_those_of_the_code() {
    let source = std::fs::read_to_string(here("src/upstream.rs")).unwrap();
    let constants = |module: &str| -> BTreeSet<(String, String)> {
        let text = source.split(&format!("pub mod {module} {{")).nth(1).unwrap().split("\n}").next().unwrap();
        let constant = |line: &str| {
            let (name, rest) = line.trim().strip_prefix("pub const ")?.split_once(": ")?;
            let code = rest.split_once(" = ")?.1.trim_end_matches(';');
            Some((code.to_owned(), name.to_lowercase().replace('_', " ")))
        };
        text.lines().filter_map(constant).collect()
    };
    let spec = spec();
    let table = rows(&spec, "15.2");
    let kinds: Vec<_> = table.iter().filter(|row| row.len() == 6 && row[0].parse::<u8>().is_ok()).collect();
    assert_eq!(
        kinds.iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect::<BTreeSet<_>>(),
        constants("kind")
    );
    let streams: BTreeSet<_> = rows(&spec, "15.3").into_iter().map(|row| row[0].to_owned() + " stream").collect();
    for row in kinds {
        let elsewhere = ["QUIC datagrams", "enrolment stream"].contains(&row[5]);
        assert!(streams.contains(row[5]) || elsewhere, "{row:?} travels nowhere");
    }
    let codes: BTreeSet<_> = rows(&spec, "15.11").iter().filter_map(|row| row[0].parse::<u32>().ok()).collect();
    let declared: BTreeSet<_> = constants("close").iter().map(|(code, _)| code.parse::<u32>().unwrap()).collect();
    assert_eq!(codes, declared);
}
