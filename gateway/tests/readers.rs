//! Readers over UDP: what is answered, what is dropped and counted, what a crash does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use kalitka_protocol::SessionId;
use kalitka_protocol::datagram::sealed_header;
use kalitka_protocol::message::{Message, Pong};
use kalitka_protocol::reason::{Grant, Verdict};
use rustix::process::Signal;
use support::reader::TestReader;
use support::{CARD, PATIENCE, READER, Site};

fn dropped(reason: &str) -> String {
    format!("kalitka_udp_dropped_total{{reason=\"{reason}\"}}")
}

#[test]
fn junk_of_each_kind_is_counted_by_reason_and_never_answered() {
    let site = Site::with_snapshot(1);
    let running = site.start();
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    let stranger = TestReader::new(running.udp, 999, [1; 32]);
    let forger = TestReader::new(running.udp, READER, [2; 32]);
    let (_, repeated) = reader.initiation(5);
    reader.shake_hands(7);
    assert!(reader.pong_within(1, PATIENCE));
    let good = reader.ping(2);
    let mut forged = reader.ping(3);
    *forged.last_mut().unwrap() ^= 1;
    let mut version = good.clone();
    version[1] = 9;
    let mut kind = good.clone();
    kind[0] = 77;
    let mut response = repeated;
    response[0] = 2;
    let unknown = [&sealed_header(SessionId(u32::MAX), 0)[..], &[0; 40]].concat();
    reader.socket.send(&good).unwrap();
    assert!(reader.receive(&mut [0; 1200], PATIENCE).is_some());
    let junk: [(&str, Vec<u8>); 13] = [
        ("oversized", vec![3; 1201]),
        ("malformed", vec![]),
        ("malformed", good[..20].to_vec()),
        ("version", version),
        ("unknown_type", kind),
        ("not_for_gateway", response.to_vec()),
        ("handshake_unknown_reader", stranger.initiation(1).1.to_vec()),
        ("handshake_forged", forger.initiation(9).1.to_vec()),
        ("handshake_stamp_repeated", repeated.to_vec()),
        ("unknown_session", unknown),
        ("replayed", good.clone()),
        ("forged", forged),
        ("malformed_message", reader.seal_bytes(&[1, 0, 255])),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (reason, datagram) in junk {
        reader.socket.send(&datagram).unwrap();
        let count = counts.entry(reason).or_insert(0.0);
        *count += 1.0;
        running.await_metric(&dropped(reason), *count);
    }
    let wrong_way = reader.seal(&[Message::Pong(Pong { token: 1 })]);
    reader.socket.send(&wrong_way).unwrap();
    running.await_metric(&dropped("wrong_direction_message"), 1.0);
    assert!(reader.receive(&mut [0; 1200], Duration::from_millis(50)).is_none(), "junk was answered");
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel), "junk harmed an honest session");
    let log = running.log_so_far();
    assert!(log.len() < 10, "junk is logged: {log:?}");
}

#[test]
fn random_bytes_are_never_answered_and_harm_nothing() {
    let site = Site::with_snapshot(1);
    let running = site.start();
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    reader.shake_hands(1);
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..2000_u32 {
        let mut bytes = vec![0; random.usize(0..1300)];
        random.fill(&mut bytes);
        if let [kind, version, low, high, ..] = &mut bytes[..] {
            (*kind, *version, *low, *high) = (random.u8(0..5), 1, 0, 0);
        }
        reader.socket.send(&bytes).unwrap();
        // The pong shows that all of it has been taken, so the next burst finds an empty buffer.
        assert!(!round.is_multiple_of(100) || reader.pong_within(round, PATIENCE), "something else than the pong came");
    }
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
}

#[test]
fn gateway_that_ends_takes_leave_of_each_of_its_readers() {
    let site = Site::with_workers(2);
    let mut running = site.start();
    let readers: Vec<_> = (READER..READER + 40)
        .map(|number| {
            let mut reader = TestReader::new(running.udp, number, running.add_reader(number));
            reader.shake_hands(1);
            assert!(reader.pong_within(1, PATIENCE));
            reader
        })
        .collect();
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    assert!(readers.iter().all(TestReader::is_left), "a reader has to find out by itself");
}

#[test]
fn killed_gateway_answers_again_by_the_same_snapshot_and_refuses_a_replayed_initiation() {
    let site = Site::with_snapshot(5);
    let running = site.start();
    let reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    let (_, recorded) = reader.initiation(1);
    reader.socket.send(&recorded).unwrap();
    assert!(reader.receive(&mut [0; 1200], PATIENCE).is_some());
    running.await_metric("kalitka_stamps_writes_total", 1.0);
    running.kill();
    std::fs::remove_file(site.path("inbox/first")).unwrap();
    let running = site.start();
    let mut reader = reader.moved(running.udp);
    reader.socket.send(&recorded).unwrap();
    running.await_metric(&dropped("handshake_stamp_repeated"), 1.0);
    assert!(reader.receive(&mut [0; 1200], Duration::from_millis(50)).is_none(), "a replayed initiation was answered");
    reader.shake_hands(2);
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
    assert_eq!(running.metric("kalitka_snapshot_generation"), 5.0);
}

#[test]
fn sigterm_keeps_the_stamps_removes_the_socket_and_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::with_snapshot(5);
        let mut running = site.start();
        let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
        reader.shake_hands(3);
        running.signal(signal);
        let begun = Instant::now();
        assert!(running.wait().success());
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(!site.path("control").exists());
        let stamps = std::fs::read_to_string(site.path("state/readers.stamps")).unwrap();
        assert!(stamps.contains("\n101 3 "), "{stamps}");
    }
}

#[test]
fn every_reader_reaches_its_worker_without_a_hand_over() {
    let site = Site::with_workers(3);
    site.put("first", &support::snapshot(1));
    let running = site.start();
    for number in 101..=102 {
        let psk = running.add_reader(number);
        // Each from another port: by its hash alone the kernel would spread them over all sockets.
        for stamp in 1..=8 {
            let mut reader = TestReader::new(running.udp, number, psk);
            let deadline = Instant::now() + PATIENCE;
            let mut count = stamp * 1000;
            while !reader.shake_hands_within(count, Duration::from_millis(150)) {
                assert!(Instant::now() < deadline, "no session");
                count += 1;
            }
            assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
        }
    }
    assert_eq!(running.metric("kalitka_udp_handed_over_total"), 0.0);
    assert_eq!(running.metric("kalitka_udp_hand_over_lost_total"), 0.0);
}
