use std::time::Duration;

use kalitka_protocol::BootId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::reader::Happening;
use kalitka_protocol::reason::Direction;

use super::*;

const READERS: [u32; 2] = [101, 102];
const REPORTS: u32 = 4;

fn log_of(reader: u32) -> u64 {
    0x00ab_cdef_0000_0000 + u64::from(reader)
}

/// Two readers with four reports each, of which the first three are receipted.
fn book() -> Book {
    let mut book = Book::default();
    for reader in READERS {
        let place = book.open(ReaderId(reader), LogId(log_of(reader)));
        for request in 1..=REPORTS {
            let happening = Happening {
                kind: ReportKind::Passed,
                direction: Some(Direction::Entry),
                request: Some(request),
                input: 0,
                unasked: false,
                card: CardRead::from_uid(&[4, 5, 6, 7]),
            };
            book.keep(place, Words::of(&happening, BootId(9)), Duration::ZERO);
        }
        book.receipt(place, 3, Duration::ZERO);
    }
    book
}

fn line(reader: u32, number: u32) -> String {
    let card = hex::encode(CardRead::from_uid(&[4, 5, 6, 7]).unwrap().to_bytes());
    format!(
        r#""kind":"report","building":17,"reader":{reader},"generation":5,"portal":0,"log":"{:016x}","report":{number},"boot":"{:016x}","request":{number},"age_ms":3,"count":0,"report_kind":"passed","direction":"entry","input":0,"unasked":false,"oldest":true,"card":"{card}"}}"#,
        log_of(reader),
        9
    )
}

/// What the hub holds when all is well: what is receipted, and other things.
fn well() -> Vec<String> {
    let mut lines = vec![r#""kind":"epoch_begun","before":null,"last":0}"#.to_owned()];
    lines.extend(READERS.iter().flat_map(|&reader| (1..4).map(move |number| line(reader, number))));
    lines.push(r#""kind":"decision","reader":101,"request":1}"#.to_owned());
    lines
}

fn found(lines: &[String], is_alone: bool) -> Found {
    let book = book();
    let mut comparison = Comparison::new(&book, is_alone);
    for (place, line) in lines.iter().enumerate() {
        comparison.take(&format!(r#"{{"order":{},{line}"#, place * 3 + 1)).unwrap();
    }
    assert_eq!(comparison.missing(), comparison_lost(lines, is_alone));
    comparison.finish()
}

/// `missing` on the way is `lost` at the end.
fn comparison_lost(lines: &[String], is_alone: bool) -> u64 {
    let book = book();
    let mut comparison = Comparison::new(&book, is_alone);
    for (place, line) in lines.iter().enumerate() {
        comparison.take(&format!(r#"{{"order":{},{line}"#, place + 1)).unwrap();
    }
    comparison.finish().lost
}

#[test]
fn every_receipted_report_once_and_as_told_is_good() {
    let found = found(&well(), true);
    assert_eq!(found, Found { receipted: 6, at_hub: 6, ..Found::default() });
    assert!(found.is_good());
}

#[test]
fn receipted_report_that_is_not_there_is_lost() {
    let mut lines = well();
    lines.remove(2);
    let found = found(&lines, true);
    assert_eq!((found.receipted, found.at_hub, found.lost, found.duplicated), (6, 5, 1, 0));
    assert!(!found.is_good() && found.shown[0].starts_with("report 2 of reader 101, log 00abcdef00000065: "));
}

#[test]
fn empty_hub_has_lost_everything() {
    let found = found(&[], true);
    assert_eq!((found.at_hub, found.lost), (0, 6));
}

#[test]
fn report_that_is_there_twice_is_doubled() {
    let mut lines = well();
    lines.push(line(102, 1));
    lines.push(line(102, 1));
    let found = found(&lines, true);
    assert_eq!((found.at_hub, found.lost, found.duplicated), (6, 0, 2));
    assert!(!found.is_good() && found.shown[0].contains("report 1 of reader 102"), "{:?}", found.shown);
}

#[test]
fn every_changed_field_is_an_altered_report_and_its_original_is_lost() {
    for (from, to) in [
        (r#""report_kind":"passed""#, r#""report_kind":"turned_back""#),
        (r#""direction":"entry""#, r#""direction":"exit""#),
        (r#""direction":"entry""#, r#""direction":null"#),
        (r#""boot":"0000000000000009""#, r#""boot":"000000000000000a""#),
        (r#""request":2"#, r#""request":3"#),
        (r#""count":0"#, r#""count":1"#),
        (r#""input":0"#, r#""input":1"#),
        (r#""unasked":false"#, r#""unasked":true"#),
        (r#""card":"0120"#, r#""card":"0138"#),
    ] {
        let mut lines = well();
        lines[2] = lines[2].replace(from, to);
        assert!(lines[2].contains(to), "{to}");
        let found = found(&lines, true);
        assert_eq!((found.at_hub, found.altered, found.lost, found.duplicated), (6, 1, 1, 0), "{to}");
        assert!(!found.is_good() && found.shown[0].contains("the hub holds"), "{:?}", found.shown);
    }
}

#[test]
fn age_and_generation_are_not_compared() {
    let mut lines = well();
    lines[2] =
        lines[2].replace(r#""age_ms":3"#, r#""age_ms":4294967295"#).replace(r#""oldest":true"#, r#""oldest":false"#);
    assert!(found(&lines, true).is_good());
}

#[test]
fn report_above_the_last_of_its_memory_is_nobodys() {
    let mut lines = well();
    lines.push(line(101, REPORTS + 1));
    lines.push(line(101, 0));
    for is_alone in [true, false] {
        let found = found(&lines, is_alone);
        assert_eq!((found.at_hub, found.foreign, found.lost), (8, 2, 0));
        assert!(!found.is_good());
    }
}

#[test]
fn report_of_an_unknown_memory_is_nobodys_at_a_hub_of_its_own_and_another_runs_elsewhere() {
    let mut lines = well();
    lines.push(line(103, 1));
    lines.push(line(101, 1).replace("00abcdef00000065", "00abcdef00000066"));
    let alone = found(&lines, true);
    assert_eq!((alone.foreign, alone.others, alone.is_good()), (2, 0, false));
    let shared = found(&lines, false);
    assert_eq!((shared.foreign, shared.others, shared.is_good()), (0, 2, true));
}

#[test]
fn report_at_the_hub_without_a_receipt_is_there_and_not_equal() {
    let mut lines = well();
    lines.push(line(101, 4));
    let found = found(&lines, true);
    assert_eq!((found.receipted, found.at_hub, found.lost, found.foreign), (6, 7, 0, 0));
    assert!(!found.is_good());
}

#[test]
fn line_that_is_no_record_is_named() {
    let book = book();
    let whole = format!(r#"{{"order":1,{}"#, line(101, 1));
    for bad in [
        "",
        "[]",
        "{}",
        &whole[..whole.len() - 1],
        &whole.replace(r#""request":1,"#, ""),
        &whole.replace("00ab", "00xy"),
    ] {
        let error = Comparison::new(&book, true).take(bad).unwrap_err().to_string();
        assert!(error.starts_with("line 1 of the hub's events"), "{error}");
    }
}

#[test]
fn records_out_of_the_hubs_order_are_refused() {
    let book = book();
    let mut comparison = Comparison::new(&book, true);
    let line = |order| format!(r#"{{"order":{order},{}"#, line(101, 1));
    comparison.take(&line(7)).unwrap();
    assert_eq!(comparison.order(), 7);
    for order in [7, 6] {
        assert!(comparison.take(&line(order)).unwrap_err().to_string().contains("follows order 7"));
    }
}
