use std::time::Duration;

use fastrand::Rng;

use super::counts::Dropped;
use super::line::{Cuts, Line};
use super::way::Way;
use crate::limits::{MILLION, RELAY_WAITING_BYTES_MAX};

const MS: Duration = Duration::from_millis(1);

/// Sends `count` datagrams of `len` bytes, one each `every`, over `line`; gives which arrive, and when.
fn sent(line: Line, seed: u64, count: u32, len: usize, every: Duration) -> (Way<u32>, Vec<(u32, Duration)>) {
    let mut way = Way::new(line, seed);
    let mut arrived = Vec::new();
    for number in 0..count {
        let now = every * number;
        take(&mut way, now, &mut arrived);
        way.put(now, len, number);
    }
    take(&mut way, Duration::from_secs(36_000), &mut arrived);
    (way, arrived)
}

/// Takes what arrives by `end`, each when it is due.
fn take(way: &mut Way<u32>, end: Duration, arrived: &mut Vec<(u32, Duration)>) {
    while let Some(due) = way.due().filter(|&due| due <= end) {
        arrived.extend(way.arrived(due).map(|number| (number, due)));
    }
}

fn numbers(arrived: &[(u32, Duration)]) -> Vec<u32> {
    arrived.iter().map(|(number, _)| *number).collect()
}

fn all(count: u32) -> Vec<u32> {
    (0..count).collect()
}

#[test]
fn perfect_line_hands_on_everything_at_once_and_in_order() {
    let (way, arrived) = sent(Line::PERFECT, 1, 1000, 1200, MS);
    assert_eq!(arrived, (0..1000).map(|number| (number, MS * number)).collect::<Vec<_>>());
    assert_eq!((way.counts().passed, way.counts().bytes, way.counts().dropped_in_all()), (1000, 1_200_000, 0));
}

#[test]
fn datagrams_take_their_time_by_their_length_and_arrive_after_the_delay() {
    // 1,250 bytes with the headers: 10 ms each.
    let line = Line { rate: Some(1_000_000), delay: MS * 50, ..Line::PERFECT };
    let (_, arrived) = sent(line, 1, 20, 1222, Duration::ZERO);
    assert_eq!(arrived, (0..20).map(|number| (number, MS * (60 + 10 * number))).collect::<Vec<_>>());
}

#[test]
fn full_queue_drops_what_comes_and_nothing_that_waits() {
    let line = Line { rate: Some(1_000_000), queue: 5000, ..Line::PERFECT };
    let (way, arrived) = sent(line, 1, 40, 1222, Duration::ZERO);
    assert_eq!(numbers(&arrived), all(5));
    assert_eq!(way.counts().dropped(Dropped::QueueFull), 35);
}

#[test]
fn chance_drops_doubles_and_holds_back_the_shares_that_it_is_told() {
    let shares = [0, 1, MILLION / 100, MILLION / 5, MILLION];
    for share in shares {
        let line = Line { loss_millionths: share, ..Line::PERFECT };
        near(sent(line, 7, 20_000, 10, MS).0.counts().dropped(Dropped::Lost), share);
        let line = Line { duplicate_millionths: share, ..Line::PERFECT };
        let (way, arrived) = sent(line, 7, 20_000, 10, MS);
        near(way.counts().copied, share);
        assert_eq!(arrived.len() as u64, 20_000 + way.counts().copied);
        let line = Line { reorder_millionths: share, ..Line::PERFECT };
        near(sent(line, 7, 20_000, 10, MS).0.counts().held_back, share);
    }
}

fn near(count: u64, share: u32) {
    let expected = 20_000 * u64::from(share) / u64::from(MILLION);
    let spread = if share.is_multiple_of(MILLION) { 0 } else { expected / 5 + 2 };
    assert!(count.abs_diff(expected) <= spread, "{count} instead of {expected}");
}

#[test]
fn held_back_datagrams_are_overtaken_and_all_arrive() {
    let line = Line { reorder_millionths: MILLION / 10, ..Line::PERFECT };
    let (_, arrived) = sent(line, 3, 1000, 10, MS);
    let mut order = numbers(&arrived);
    assert!(!order.is_sorted(), "nothing was overtaken");
    assert!(arrived.iter().all(|&(number, at)| (MS * number..=MS * (number + 20)).contains(&at)));
    order.sort_unstable();
    assert_eq!(order, all(1000));
}

#[test]
fn jitter_is_bounded_varies_and_keeps_the_order() {
    let line = Line { delay: MS * 10, jitter: MS * 8, ..Line::PERFECT };
    let (_, arrived) = sent(line, 3, 1000, 10, MS);
    assert_eq!(numbers(&arrived), all(1000));
    let waits: Vec<Duration> = arrived.iter().map(|&(number, at)| at - MS * number).collect();
    assert!(waits.iter().all(|wait| (MS * 10..=MS * 18).contains(wait)));
    assert!(waits.iter().any(|&wait| wait > MS * 14));
}

#[test]
fn the_same_seed_gives_the_same_fates_and_another_seed_others() {
    let fates = |seed| sent(Line::AWFUL, seed, 2000, 300, MS * 3).1;
    assert_eq!(fates(5), fates(5));
    assert_ne!(fates(5), fates(6));
}

#[test]
fn another_line_meets_the_same_chance() {
    let of = |line| numbers(&sent(line, 9, 2000, 100, MS).1);
    let lossy = Line { loss_millionths: MILLION / 10, ..Line::PERFECT };
    let arrived = of(lossy);
    assert_eq!(of(Line { delay: MS * 5, jitter: MS, ..lossy }), arrived);
    let doubled = of(Line { duplicate_millionths: MILLION / 10, ..lossy });
    let mut once = doubled.clone();
    once.sort_unstable();
    once.dedup();
    assert!(doubled.len() > once.len());
    assert_eq!(once, arrived);
}

#[test]
fn cut_drops_what_comes_and_what_arrives_meanwhile_and_ends_by_itself() {
    let mut way = Way::new(Line { delay: MS * 10, ..Line::PERFECT }, 1);
    let mut arrived = Vec::new();
    way.put(MS, 10, 1);
    way.put(MS * 4, 10, 2);
    take(&mut way, MS * 11, &mut arrived);
    way.cut(MS * 12, Some(MS * 20));
    way.put(MS * 20, 10, 3);
    way.put(MS * 31, 10, 4);
    take(&mut way, MS * 31, &mut arrived);
    way.put(MS * 32, 10, 5);
    take(&mut way, MS * 100, &mut arrived);
    assert_eq!(numbers(&arrived), [1, 5]);
    assert_eq!(way.counts().dropped(Dropped::Cut), 3);
    way.cut(MS * 100, None);
    way.put(MS * 9000, 10, 6);
    way.mend();
    way.put(MS * 9000, 10, 7);
    take(&mut way, MS * 9100, &mut arrived);
    assert_eq!(numbers(&arrived), [1, 5, 7]);
}

#[test]
fn cuts_by_the_clock_count_from_their_order() {
    let mut way = Way::<u32>::new(Line::PERFECT, 1);
    way.change(MS * 500, |line| line.cuts = Some(Cuts { whole: MS * 30, cut: MS * 10 }));
    // Another change does not begin them anew.
    way.change(MS * 515, |line| line.delay = MS);
    let cut: Vec<u32> = (500..620).filter(|&at| way.is_cut(MS * at)).collect();
    let expected: Vec<u32> = [530..540, 570..580, 610..620].into_iter().flatten().collect();
    assert_eq!(cut, expected);
    way.change(MS * 620, |line| line.cuts = None);
    assert!((620..700).all(|at| !way.is_cut(MS * at)));
    way.change(MS * 620, |line| line.cuts = Some(Cuts { whole: Duration::ZERO, cut: Duration::ZERO }));
    assert!(!way.is_cut(MS * 700), "a round of no time is no cut");
}

#[test]
fn faster_line_is_not_kept_waiting_by_the_queue_of_the_slower() {
    let mut way = Way::new(Line { rate: Some(8000), queue: 1_000_000, ..Line::PERFECT }, 1);
    (0..100).for_each(|number| way.put(Duration::ZERO, 972, number));
    way.change(MS, |line| (line.rate, line.queue) = (Some(8_000_000), 10_000));
    way.put(MS, 972, 100);
    let mut arrived = Vec::new();
    take(&mut way, MS * 20, &mut arrived);
    assert_eq!(numbers(&arrived), [100]);
    take(&mut way, MS * 100_000, &mut arrived);
    assert_eq!(arrived.len(), 101);
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut way = Way::new(Line { delay: Duration::from_secs(100), ..Line::PERFECT }, 1);
    let len = 65_000;
    let room = RELAY_WAITING_BYTES_MAX / len;
    (0..room + 10).for_each(|_| way.put(MS, len, ()));
    assert_eq!((way.under_way(), way.counts().dropped(Dropped::RelayFull)), (room, 10));
}

#[test]
fn every_datagram_is_handed_on_dropped_for_one_reason_or_under_way() {
    let mut rng = Rng::with_seed(11);
    let mut way = Way::new(Line::AWFUL, 11);
    let mut now = Duration::ZERO;
    for number in 0..50_000u32 {
        now += Duration::from_micros(rng.u64(..4000));
        match rng.u8(..200) {
            0 => way.cut(now, Some(MS * rng.u32(..100))),
            1 => way.mend(),
            2 => way.change(now, |line| line.rate = Some(rng.u64(1..4_000_000))),
            3 => way.change(now, |line| line.cuts = Some(Cuts { whole: MS * rng.u32(..9), cut: MS * rng.u32(..9) })),
            4 => way.change(now, |line| (line.cuts, line.rate) = (None, None)),
            5 => way.change(now, |line| line.delay = MS * rng.u32(..200)),
            6..60 => while way.arrived(now).is_some() {},
            _ => way.put(now, rng.usize(..1500), number),
        }
        let counts = way.counts();
        let told = counts.passed + counts.dropped_in_all() + way.under_way() as u64;
        assert_eq!(counts.came + counts.copied, told, "{counts}");
    }
    assert!(way.counts().passed > 5000 && way.counts().dropped(Dropped::Cut) > 100, "{}", way.counts());
}
