//! Several workers: with the kernel's steering no datagram strays, and without it every one finds its way.

use std::net::UdpSocket;

use kalitka_protocol::reason::{Grant, Verdict};

use super::reader::TestReader;
use super::rig::{CARD, FIRST, PSK, Running};
use crate::udp::steering;

const WORKERS: u8 = 3;
const ASKS: u64 = 5;

/// Nine readers shake hands and ask; gives what each worker has received and what it has handed over.
fn play(steer: fn(&UdpSocket, u8) -> bool) -> (Vec<u64>, Vec<u64>) {
    let running = Running::start(WORKERS, steer);
    for number in FIRST..FIRST + 9 {
        let mut reader = TestReader::new(running.address, number, PSK);
        reader.shake_hands(1);
        for _ in 0..ASKS {
            assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
        }
    }
    assert_eq!(running.of_all(|tally| tally.sessions_opened.get()), [3, 3, 3]);
    assert_eq!(running.of_all(|tally| tally.hand_over_lost.get()), [0, 0, 0]);
    let counted = (running.of_all(|tally| tally.received.get()), running.of_all(|tally| tally.handed_over.get()));
    running.pool.stop();
    counted
}

#[test]
fn each_worker_gets_its_readers_datagrams_and_no_others() {
    let each = 3 * (1 + ASKS);
    assert_eq!(play(steering::steer), (vec![each; 3], vec![0; 3]));
}

#[test]
fn without_steering_strays_are_handed_over_and_answered() {
    let (received, handed_over) = play(|_, _| false);
    assert_eq!(received.iter().sum::<u64>(), 9 * (1 + ASKS));
    assert!(handed_over.iter().sum::<u64>() > 0);
}
