use std::time::Duration;

use fastrand::Rng;

use super::order::{BadOrder, Change, Deed, ORDERS, Order};
use super::{BOTH, Cuts, Heading, Line};

fn changes(text: &str) -> Change {
    match text.parse() {
        Ok(Order { ways, deed: Deed::Change(change) }) if ways == BOTH => change,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn orders_mean_what_they_say() {
    let [s, ms] = [Duration::from_secs, Duration::from_millis];
    for (text, change) in [
        ("loss 0.1", Change::Loss(100_000)),
        ("loss 10%", Change::Loss(100_000)),
        ("loss 0", Change::Loss(0)),
        ("loss 1", Change::Loss(1_000_000)),
        ("delay 25ms", Change::Delay(ms(25))),
        ("  jitter   1.5s ", Change::Jitter(ms(1500))),
        ("held 250us", Change::Held(Duration::from_micros(250))),
        ("duplicate 5%", Change::Duplicate(50_000)),
        ("reorder 0.000001", Change::Reorder(1)),
        ("rate 10M", Change::Rate(Some(10_000_000))),
        ("rate 9600", Change::Rate(Some(9600))),
        ("rate none", Change::Rate(None)),
        ("queue 125k", Change::Queue(125_000)),
        ("cuts 10s 2s", Change::Cuts(Some(Cuts { whole: s(10), cut: s(2) }))),
        ("cuts none", Change::Cuts(None)),
        ("like poor", Change::Like(Line::POOR)),
    ] {
        assert_eq!(changes(text), change, "{text}");
    }
    let order = |text: &str| text.parse::<Order>().unwrap();
    assert_eq!(order("cut"), Order { ways: &BOTH, deed: Deed::Cut(None) });
    assert_eq!(order("up cut 2s"), Order { ways: &[Heading::Up], deed: Deed::Cut(Some(s(2))) });
    assert_eq!(order("down mend"), Order { ways: &[Heading::Down], deed: Deed::Mend });
    assert_eq!(order("move").deed, Deed::Move);
    assert_eq!(order("show").deed, Deed::Show);
}

#[test]
fn every_change_changes_its_field_alone() {
    let mut line = Line::PERFECT;
    for text in ["loss 1%", "delay 1ms", "jitter 2ms", "duplicate 2%", "reorder 3%", "held 3ms", "rate 1M", "queue 4k"]
    {
        let before = line;
        changes(text).apply(&mut line);
        assert_ne!(line, before, "{text}");
    }
    let expected = Line {
        rate: Some(1_000_000),
        queue: 4000,
        delay: Duration::from_millis(1),
        jitter: Duration::from_millis(2),
        loss_millionths: 10_000,
        duplicate_millionths: 20_000,
        reorder_millionths: 30_000,
        held: Duration::from_millis(3),
        cuts: None,
    };
    assert_eq!(line, expected);
}

#[test]
fn what_is_no_order_is_refused_with_what_would_be() {
    for (text, remedy) in [
        ("", "orders are loss"),
        ("lose 0.1", "orders are loss"),
        ("up", "orders are loss"),
        ("up move", "orders are loss"),
        ("down show", "orders are loss"),
        ("up down cut", "orders are loss"),
        ("loss", "needs a share"),
        ("loss 1.1", "share from 0 to 1"),
        ("loss -0.1", "share from 0 to 1"),
        ("loss nan", "share from 0 to 1"),
        ("loss 1e-3", "share from 0 to 1"),
        ("delay 5", "with its unit"),
        ("delay ms", "with its unit"),
        ("delay 61m", "an hour"),
        ("rate 0", "bits a second"),
        ("rate 10Mb", "bits a second"),
        ("queue 2G", "1G at most"),
        ("cuts 5s", "cuts needs"),
        ("cuts 5s none", "with its unit"),
        ("like dreadful", "perfect, poor or awful"),
        ("cut soon", "with its unit"),
        ("mend now", "nothing may stand behind"),
        ("loss 0.1 0.2", "nothing may stand behind"),
    ] {
        let error: BadOrder = text.parse::<Order>().unwrap_err();
        assert!(error.to_string().contains(remedy), "{text}: {error}");
    }
}

#[test]
fn every_order_that_help_names_is_one() {
    for row in ORDERS.lines().filter(|row| row.starts_with("  ")) {
        let word = row.split_whitespace().next().unwrap();
        let known = !matches!(word.parse::<Order>(), Err(BadOrder::Unknown(_)));
        assert!(known, "{row}");
    }
}

#[test]
fn random_text_is_refused_or_an_order() {
    let mut rng = Rng::with_seed(3);
    let words =
        ["up", "down", "loss", "cut", "cuts", "rate", "1", "0.5", "10%", "2s", "999999999999G", ".", "%", "é", "s"];
    let mut orders = 0;
    for _ in 0..200_000 {
        let text: Vec<&str> = (0..rng.usize(..5)).map(|_| words[rng.usize(..words.len())]).collect();
        orders += u32::from(text.join(" ").parse::<Order>().is_ok());
    }
    assert!(orders > 100, "{orders}");
}
