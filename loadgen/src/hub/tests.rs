use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reader::Happening;
use kalitka_protocol::reason::Direction;
use kalitka_protocol::{BootId, LogId, ReaderId};

use super::*;
use crate::book::Words;

/// A list of one receipted report, number 1 of log 7.
fn book() -> Book {
    let mut book = Book::default();
    let place = book.open(ReaderId(101), LogId(7));
    let (kind, direction) = (ReportKind::TurnedBack, Some(Direction::Exit));
    let card = CardRead::from_uid(&[1; 4]);
    let happening = Happening { kind, direction, request: None, input: 0, unasked: true, card };
    book.keep(place, Words::of(&happening, BootId(1)), Duration::ZERO);
    book.receipt(place, 1, Duration::ZERO);
    book
}

/// A program that stands for `kalitka-hub` and does `what`, with `$record` at hand.
fn hub(folder: &Path, what: &str) -> Hub {
    let card = hex::encode(CardRead::from_uid(&[1; 4]).unwrap().to_bytes());
    let record = format!(
        r#"{{"order":1,"kind":"report","reader":101,"log":"0000000000000007","report":1,"boot":"0000000000000000","request":0,"count":0,"report_kind":"turned_back","direction":"exit","input":0,"unasked":true,"card":"{card}"}}"#
    );
    let (text, program) = (folder.join("hub.txt"), folder.join("hub"));
    fs::write(&text, format!("#!/bin/sh\nset -e\nrecord='{record}'\ncd '{}'\n{what}\n", folder.display())).unwrap();
    fs::set_permissions(&text, Permissions::from_mode(0o700)).unwrap();
    // Copied by another process: a program that somebody has open for writing, a test that forks at the wrong moment
    // among them, cannot be run.
    assert!(Command::new("cp").args([&text, &program]).status().unwrap().success());
    Hub { program, socket: folder.join("control"), building: 17, is_alone: true, within: Duration::from_secs(20) }
}

fn compare(what: &str) -> (io::Result<Found>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let found = hub(folder.path(), what).compare(&book(), &[], &AtomicBool::new(false));
    (found, folder)
}

#[test]
fn hub_is_asked_for_the_building_at_its_socket() {
    let (found, folder) = compare(r#"echo "$*" > words; echo "$record""#);
    assert!(found.unwrap().is_good());
    let words = fs::read_to_string(folder.path().join("words")).unwrap();
    let socket = folder.path().join("control");
    assert_eq!(words.trim_end(), format!("events --building 17 --after 0 --json --socket {}", socket.display()));
}

#[test]
fn hub_is_asked_again_until_it_has_all() {
    let (found, _folder) = compare(r#"echo >> times; test $(wc -l < times) -lt 3 || echo "$record""#);
    assert!(found.unwrap().is_good());
}

#[test]
fn hub_that_is_just_starting_is_asked_again() {
    let (found, _folder) = compare(r#"test -e up || { touch up; exit 4; }; echo "$record""#);
    assert!(found.unwrap().is_good());
}

#[test]
fn what_comes_late_and_twice_is_seen() {
    // The second copy appears only when the whole is read anew.
    let second = r#"echo "$record" | sed 's/"order":1/"order":2/'"#;
    let (found, _folder) = compare(&format!(r#"echo "$record"; test ! -e once || {second}; touch once"#));
    let found = found.unwrap();
    assert_eq!((found.lost, found.duplicated), (0, 1));
}

#[test]
fn hub_that_refuses_ends_it_with_its_words() {
    let (found, _folder) = compare("echo 'no such building' >&2; exit 3");
    assert!(found.unwrap_err().to_string().contains("no such building"));
}

#[test]
fn line_that_cannot_be_understood_ends_it() {
    let (found, _folder) = compare("echo what; exec cat /dev/zero");
    assert!(found.unwrap_err().to_string().contains("line 1"));
}

#[test]
fn stop_ends_the_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let found = hub(folder.path(), "true").compare(&book(), &[], &AtomicBool::new(true)).unwrap();
    assert_eq!((found.lost, found.at_hub), (1, 0));
}
