use super::*;
use crate::tally::{histogram, record};
use crate::volley::Waiting;

fn slice() -> Slice {
    let mut slice = Slice::new();
    (slice.datagrams, slice.asks, slice.answers, slice.judged) = (500, 1000, 998, 998);
    slice.sending = Duration::from_millis(1000);
    slice.elapsed = Duration::from_millis(1000);
    slice.ran_for = Duration::from_millis(1000);
    slice.generator_cpu = Duration::from_millis(500);
    slice.lost = 2;
    record(&mut slice.latency, Duration::from_micros(100));
    record(&mut slice.lateness, Duration::from_micros(5));
    slice
}

const SATURATE: Load = Load::Saturate { window: 64 };
const RATE: Load = Load::Rate { per_second: 500, waiting: Waiting::Spin };

#[test]
fn result_line_is_exactly_what_scripts_read() {
    let outcome = Outcome::new(SATURATE, &slice(), &[]);
    assert_eq!(
        outcome.result_line(),
        "RESULT asks=1000 answered=998 wrong=0 lost=2 per_second=998 p50_us=100 p99_us=100 p999_us=100 \
         generator_us=1000.00 generator_share=0.50 late_p99_us=5"
    );
    assert!(!outcome.is_well());
}

#[test]
fn server_is_told_by_its_threads() {
    let thread =
        |name: &str, cpu| Thread { name: name.into(), cpu: Duration::from_micros(cpu), kept_waiting: Duration::ZERO };
    let table = Outcome::new(SATURATE, &slice(), &[thread("udp", 1996), thread("journal", 998)]).table();
    for part in ["server's CPU               3.00 µs each", "    udp                      2.00 µs", "journal"] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
}

#[test]
fn generator_that_is_the_limit_is_said_to_be() {
    let said = |load, change: fn(&mut Slice)| {
        let mut slice = slice();
        change(&mut slice);
        Outcome::new(load, &slice, &[]).table()
    };
    let short = "THE GENERATOR IS SHORT";
    assert!(!said(SATURATE, |_| {}).contains(short) && !said(RATE, |_| {}).contains(short));
    assert!(said(SATURATE, |slice| slice.generator_cpu = Duration::from_millis(950)).contains("95 % of a core"));
    // Spinning costs a core and says nothing.
    assert!(!said(RATE, |slice| slice.generator_cpu = Duration::from_millis(1000)).contains(short));
    let slow = said(RATE, |slice| slice.sending = Duration::from_millis(1250));
    assert!(slow.contains("sent 400 datagrams a second, not 500"), "{slow}");
    let late = said(RATE, |slice| {
        slice.lateness = histogram();
        record(&mut slice.lateness, Duration::from_micros(60));
    });
    assert!(late.contains("its own lateness (p99 60 µs)"), "{late}");
}
