//! How a worker that waits is woken. Each of these workers would sleep longer than a test may take.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kalitka_protocol::{LogId, ReaderId};

use super::PATIENCE;
use super::rig::{FIRST, Rig, Running, ask};
use crate::udp::post::Post;
use crate::udp::wake::Bell;

/// Waits until the bell's worker is asleep or about to be.
fn await_sleep(bell: &Bell) {
    let begun = Instant::now();
    while !bell.is_asleep() {
        assert!(begun.elapsed() < PATIENCE, "the worker does not sleep");
        std::thread::yield_now();
    }
}

#[test]
fn bell_wakes_a_worker_that_waits_and_its_post_is_delivered() {
    let mut rig = Rig::new();
    let reader = rig.connected(FIRST);
    let (received, begun) = (rig.tally().received.get(), Instant::now());
    let (bell, posts) = (rig.bell.clone(), rig.posts.clone());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            await_sleep(&bell);
            let post = Post::Receipt { reader: ReaderId(FIRST), log: LogId(7), number: 5 };
            assert_eq!(posts.send_all([post].into_iter()), (1, 0));
        });
        rig.turn();
    });
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(reader.receipt_within(PATIENCE), Some(5));
    // The bell is no datagram of a reader.
    assert_eq!(rig.tally().received.get(), received);
}

#[test]
fn post_that_comes_while_the_worker_is_awake_keeps_it_from_sleeping() {
    let mut rig = Rig::new();
    let reader = rig.connected(FIRST);
    let post = |number| Post::Receipt { reader: ReaderId(FIRST), log: LogId(7), number };
    let begun = Instant::now();
    // More than one turn takes.
    rig.posts.send_all((1..=70).map(post));
    rig.turn();
    rig.turn();
    rig.turn();
    assert!(begun.elapsed() < PATIENCE);
    assert!((1..=70).all(|number| reader.receipt_within(PATIENCE) == Some(number)));
}

#[test]
fn stop_wakes_a_worker_that_waits() {
    let Rig { worker, wire, bell, .. } = Rig::new();
    let stopping = std::sync::Arc::clone(&worker.stopping);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            await_sleep(&bell);
            stopping.store(true, Ordering::Release);
            bell.ring();
        });
        worker.run(wire);
    });
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn worker_that_spins_hears_datagrams_and_calls_without_falling_asleep() {
    // It cannot be woken, only be found awake.
    let mut rig = Rig::with(PATIENCE * 2, false);
    let begun = Instant::now();
    let mut reader = rig.connected(FIRST);
    let datagram = ask(&mut reader, 1);
    reader.socket.send(&datagram).unwrap();
    rig.turn();
    let bell = rig.bell.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || bell.ring());
        rig.turn();
    });
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(rig.ring.waiting(), 1);
}

#[test]
fn worker_that_has_spun_in_vain_sleeps_and_is_woken() {
    let mut rig = Rig::with(Duration::from_micros(100), true);
    let begun = Instant::now();
    let bell = rig.bell.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            await_sleep(&bell);
            bell.ring();
        });
        rig.turn();
    });
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn waiting_worker_shows_that_it_lives() {
    let running = Running::start(1, |_, _| true);
    let alive = |running: &Running| running.of_all(|tally| tally.heartbeat_ms.get())[0];
    let (first, begun) = (alive(&running), Instant::now());
    while alive(&running) <= first + 400 {
        assert!(begun.elapsed() < PATIENCE, "no heartbeat");
        std::thread::yield_now();
    }
    running.pool.stop();
}
