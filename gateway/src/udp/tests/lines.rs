//! Serial lines: what comes over one is answered over it, whatever comes over the network.

use std::net::UdpSocket;

use kalitka_protocol::{LogId, ReaderId};

use super::rig::{FIRST, Rig, ask};
use crate::udp::Post;
use crate::udp::lines::Inlet;
use crate::udp::worker::Door;

fn inlet(rig: &Rig) -> Inlet {
    Inlet::new(&[Door { door: rig.door.clone(), bell: rig.bell.clone() }], 0)
}

#[test]
fn answer_and_receipt_go_to_the_line_that_the_reader_was_heard_on_last() {
    let mut rig = Rig::new();
    let mut reader = rig.connected(FIRST);
    let inlet = inlet(&rig);
    let sent = rig.tally().sent.get();
    assert!(inlet.hand_in(&ask(&mut reader, 1)));
    rig.turn();
    let answer = rig.outlet.try_recv().expect("the answer waits for its line");
    assert!(answer.bytes().len() > 60);
    rig.posts.send_all([Post::Receipt { reader: ReaderId(FIRST), log: LogId(1), number: 1 }].into_iter());
    rig.turn();
    assert!(rig.outlet.try_recv().is_ok() && rig.outlet.try_recv().is_err());
    assert_eq!(rig.tally().sent.get(), sent, "nothing went to the socket");
    // Heard over the network again, it is answered there.
    rig.serve(|| assert!(reader.pong_within(7, super::PATIENCE)));
    assert!(rig.outlet.try_recv().is_err());
}

#[test]
fn flood_at_the_socket_leaves_a_line_its_share_of_the_next_turn() {
    let mut rig = Rig::new();
    let mut reader = rig.connected(FIRST);
    let inlet = inlet(&rig);
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..200 {
        flood.send_to(&[3; 64], rig.wire.socket().local_addr().unwrap()).unwrap();
    }
    for request in 1..=3 {
        assert!(inlet.hand_in(&ask(&mut reader, request)));
        rig.turn();
        assert!(rig.outlet.try_recv().is_ok(), "ask {request} was answered in the turn after it came");
    }
}

#[test]
fn line_that_hands_in_too_much_is_told_so() {
    let rig = Rig::new();
    let inlet = inlet(&rig);
    let taken = (0..1000).take_while(|_| inlet.hand_in(&[3; 64])).count();
    assert_eq!(taken, crate::limits::HAND_OVER_MAX);
}
