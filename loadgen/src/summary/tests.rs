use super::*;

fn summary() -> Summary {
    Summary {
        profile: "morning",
        seconds: 20.0,
        asks: 2000,
        answered: 1990,
        unanswered: 0,
        unanswered_in_outage: 10,
        unanswered_after_one_resend: 0,
        abandoned: 0,
        wrong: 1,
        latency_us: Quantiles { p50: 85, p99: 310, p999: 900, max: 1200 },
        latency_in_outage_us: Quantiles::default(),
        lateness_us: Quantiles::default(),
        generator_share: 0.1,
        outage_ms: 140,
        sessions: 16,
        fall_backs: 0,
        dropped: 0,
        report_memory: REPORT_MEMORY,
        reports_waiting: 0,
        reports_lost: 0,
        reports: 1401,
        reports_receipted: 1400,
        reports_per_second: 70.0,
        receipt_us: Quantiles::default(),
        commands: 0,
        at_hub: None,
        osdp: None,
        verdicts: vec![("access_level", 1500)],
        wrong_shown: vec!["reader 101".into()],
        asked: Count { outside: 1980, during: 20 },
        answers: Count { outside: 1980, during: 10 },
    }
}

#[test]
fn result_line_is_exactly_what_scripts_read() {
    let found = Found { receipted: 1400, at_hub: 1398, lost: 3, duplicated: 4, ..Found::default() };
    let summary = Summary { at_hub: Some(found), ..summary() };
    assert_eq!(
        summary.result_line(),
        "RESULT asks=2000 answered=1990 wrong=1 passes_receipted=1400 passes_at_hub=1398 lost=3 duplicated=4 \
         p50_us=85 p99_us=310 outage_ms=140"
    );
    assert!(!summary.is_well_at_hub());
}

#[test]
fn result_line_says_nothing_of_a_hub_that_was_not_asked() {
    let line = summary().result_line();
    assert!(line.contains(" passes_receipted=1400 passes_at_hub=- lost=- duplicated=- p50_us=85 "), "{line}");
}

#[test]
fn table_tells_what_is_wrong_at_the_hub() {
    let found = Found { lost: 3, shown: vec!["report 9 of reader 101".into()], ..Found::default() };
    let table = Summary { at_hub: Some(found), ..summary() }.table();
    for part in ["1401, of them 1400 receipted", "3 lost", "AT THE HUB", "report 9 of reader 101"] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
}

#[test]
fn table_says_both_latencies_and_every_wrong_answer() {
    let table = summary().table();
    for part in ["p50 85 µs", "shown in the outage", "140 ms from the kill", "WRONG", "access_level"] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
}

#[test]
fn json_holds_the_same_numbers() {
    let file = tempfile::NamedTempFile::new().unwrap();
    summary().write_json(file.path()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    assert_eq!((&json["asks"], &json["wrong"]), (&2000.into(), &1.into()));
    assert_eq!(json["latency_us"]["p99"], 310);
}

#[test]
fn nanoseconds_are_rounded_to_the_nearest_microsecond() {
    assert_eq!([0, 499, 500, 1499, 1500].map(micros), [0, 0, 1, 1, 2]);
}
