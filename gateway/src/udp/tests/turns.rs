//! What one turn does, and what it leaves to the next.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::mpsc::TryRecvError;
use std::time::Instant;

use super::rig::{FIRST, READERS, Rig, ask};
use crate::limits::{BATCH_MAX, HANDSHAKES_A_TURN, RECEIVE_PAUSE};
use crate::udp::batch::{Datagram, Wire};
use kalitka_core::DropReason;

const BATCH: u64 = BATCH_MAX as u64;

#[test]
fn batch_is_answered_in_one_turn_and_recorded() {
    let mut rig = Rig::new();
    let mut reader = rig.connected(FIRST);
    for request in 1..=BATCH_MAX {
        let datagram = ask(&mut reader, u32::try_from(request).unwrap());
        reader.socket.send(&datagram).unwrap();
    }
    let (received, sent) = (rig.tally().received.get(), rig.tally().sent.get());
    rig.turn();
    assert_eq!((rig.tally().received.get() - received, rig.tally().sent.get() - sent), (BATCH, BATCH));
    assert_eq!(rig.ring.waiting(), BATCH_MAX);
    assert_eq!(rig.tally().service.count(), BATCH);
}

#[test]
fn flood_of_handed_datagrams_does_not_starve_the_socket_nor_the_reverse() {
    let mut rig = Rig::new();
    let flood = rig.reader(FIRST);
    let junk = |rig: &Rig| {
        rig.tally().dropped(DropReason::UnknownType).get() + rig.tally().dropped(DropReason::Malformed).get()
    };
    for _ in 0..2 * BATCH_MAX {
        rig.door.try_send(Datagram::EMPTY).unwrap();
        flood.socket.send(&[77, 1, 0, 0]).unwrap();
    }
    rig.turn();
    assert_eq!((rig.tally().received.get(), junk(&rig)), (BATCH / 2, BATCH));
    for _ in 0..3 {
        rig.turn();
    }
    assert_eq!((rig.tally().received.get(), junk(&rig)), (BATCH * 2, BATCH * 4));
    // And with nothing on the socket, what was handed over is still taken, in turns that do not wait.
    (0..BATCH_MAX).for_each(|_| rig.door.try_send(Datagram::EMPTY).unwrap());
    rig.turn();
    rig.turn();
    assert_eq!(junk(&rig), BATCH * 5);
}

#[test]
fn handshakes_are_put_off_behind_what_comes_in_between() {
    let mut rig = Rig::new();
    let mut asker = rig.connected(FIRST);
    let initiators: Vec<_> = (FIRST + 1..FIRST + 11).map(|number| rig.reader(number)).collect();
    for reader in &initiators {
        reader.socket.send(&reader.initiation(1).1).unwrap();
    }
    let taken = |rig: &Rig| rig.tally().initiations.get() - 1;
    rig.turn();
    assert_eq!((taken(&rig), rig.worker.desk.put_off), (HANDSHAKES_A_TURN as u64, 10 - HANDSHAKES_A_TURN));
    let datagram = ask(&mut asker, 1);
    asker.socket.send(&datagram).unwrap();
    rig.turn();
    assert_eq!((taken(&rig), rig.ring.waiting()), (2 * HANDSHAKES_A_TURN as u64, 1));
    rig.turn();
    assert_eq!((taken(&rig), rig.worker.desk.put_off), (10, 0));
    for reader in initiators {
        assert!(reader.receive(&mut [0; 1200], super::PATIENCE).is_some());
    }
    let counted = std::iter::from_fn(|| rig.taken.try_recv().ok()).count();
    assert_eq!((counted, rig.taken.try_recv().err()), (11, Some(TryRecvError::Empty)));
    assert_eq!(rig.tally().received.get(), 13);
}

#[test]
fn forged_initiations_do_not_hold_up_honest_ones() {
    let mut rig = Rig::new();
    let readers: Vec<_> = (FIRST..FIRST + READERS).map(|number| rig.reader(number)).collect();
    let forger = rig.reader(FIRST);
    for reader in readers.iter().take(BATCH_MAX - HANDSHAKES_A_TURN) {
        let (_, mut forged) = reader.initiation(1);
        forged[80] ^= 1;
        forger.socket.send(&forged).unwrap();
    }
    for reader in &readers[..HANDSHAKES_A_TURN] {
        reader.socket.send(&reader.initiation(1).1).unwrap();
    }
    rig.turn();
    assert_eq!(rig.tally().initiations.get(), HANDSHAKES_A_TURN as u64);
    assert_eq!(rig.tally().dropped(DropReason::HandshakeForged).get(), (BATCH_MAX - HANDSHAKES_A_TURN) as u64);
    assert_eq!(rig.worker.desk.put_off, 0);
}

#[test]
fn desk_full_of_handshakes_is_cleared() {
    let mut rig = Rig::new();
    let readers: Vec<_> = (FIRST..FIRST + READERS).map(|number| rig.reader(number)).collect();
    for reader in &readers {
        reader.socket.send(&reader.initiation(1).1).unwrap();
    }
    for _ in 0..READERS as usize / HANDSHAKES_A_TURN {
        rig.turn();
    }
    assert_eq!((rig.tally().initiations.get(), rig.tally().sent.get()), (u64::from(READERS), u64::from(READERS)));
    assert_eq!((rig.tally().received.get(), rig.worker.desk.put_off), (u64::from(READERS), 0));
}

#[test]
fn socket_that_always_fails_does_not_take_the_core() {
    let mut rig = Rig::new();
    let address = rig.wire.socket().local_addr().unwrap();
    let no_socket = OwnedFd::from(File::open("/dev/null").unwrap());
    rig.wire = Wire::new(UdpSocket::from(no_socket), address);
    let begun = Instant::now();
    (0..5).for_each(|_| rig.turn());
    assert!(begun.elapsed() >= RECEIVE_PAUSE * 4, "{:?}", begun.elapsed());
    assert_eq!((rig.tally().receive_failures.get(), rig.tally().received.get()), (5, 0));
}
