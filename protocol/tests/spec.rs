//! SPEC.md against the code: its worked examples are recomputed, its clauses all have a test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::datagram::{self, Datagram};
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys, Welcome, prologue};
use kalitka_protocol::limits::{DATAGRAM_MAX, SEALED_HEADER_LEN};
use kalitka_protocol::message::{Answer, Ask, Message};
use kalitka_protocol::reason::{Direction, FallBack, Grant, Tone, Verdict};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, ReaderId, SessionId, Stamp};
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
    items.push(("answer, sealed with counter 258", datagram));
    let wiegand = CardRead::from_wiegand(24, 0x5b_9c61).unwrap();
    items.push(("card, Wiegand 26 of facility 91, number 40033", wiegand.to_bytes().to_vec()));
    items
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
const ELSEWHERE: [(&str, &str, &str); 14] = [
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
    ("13.1", "../gateway/core/tests/sessions.rs", "oversized_and_foreign_datagrams_are_dropped_by_name"),
];

#[test]
fn every_clause_has_a_test() {
    let clauses = clauses(&spec());
    assert!(clauses.len() > 50, "the clauses of SPEC.md are found: {clauses:?}");
    let mut tested = BTreeSet::new();
    named(&here("tests"), &mut tested);
    for (clause, file, test) in ELSEWHERE {
        let source = std::fs::read_to_string(here(file)).unwrap();
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "SPEC {clause}: no test {test} in {file}");
        tested.insert(clause.to_owned());
    }
    let untested: Vec<_> = clauses.difference(&tested).collect();
    assert!(untested.is_empty(), "clauses without a test: {untested:?}");
    let unknown: Vec<_> = tested.difference(&clauses).collect();
    assert!(unknown.is_empty(), "tests name clauses that SPEC.md does not have: {unknown:?}");
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

/// The clauses that code cites as `SPEC 6.3` are there.
#[test]
fn citations_name_clauses_that_exist() {
    let clauses = clauses(&spec());
    let mut sources = vec![here("src")];
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for citation in source.split("SPEC ").skip(1) {
            let end = citation.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(citation.len());
            let number = citation[..end].trim_end_matches('.');
            let is_clause = !number.contains('.') || clauses.contains(number);
            assert!(is_clause, "{} cites SPEC {number}, which does not exist", path.display());
        }
    }
}
