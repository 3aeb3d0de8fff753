//! The relay is as bad as it says, and no worse.

use std::net::UdpSocket;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::relay::{Line, Relay};

struct Ends {
    near: UdpSocket,
    far: UdpSocket,
    relay: Relay,
}

impl Ends {
    fn new(line: Line) -> Self {
        let [near, far] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        }
        let relay = Relay::start(far.local_addr().unwrap(), line);
        near.connect(relay.address()).unwrap();
        Self { near, far, relay }
    }

    /// Datagrams that arrive at the far end, by their first byte, and when the last did.
    fn arrive(&self, since: Instant) -> (Vec<u8>, Duration) {
        let mut buffer = [0; 2000];
        let (mut numbers, mut last) = (Vec::new(), Duration::ZERO);
        while let Ok(len) = self.far.recv(&mut buffer) {
            assert!(len > 0);
            numbers.push(buffer[0]);
            last = since.elapsed();
        }
        (numbers, last)
    }
}

#[test]
fn datagrams_arrive_in_order_after_the_delay_and_at_the_rate() {
    let line = Line { rate: Some(1_000_000), delay: Duration::from_millis(50), loss_millionths: 0, ..Line::POOR };
    let ends = Ends::new(line);
    let since = Instant::now();
    for number in 0..20 {
        // 1,250 bytes with the headers: 10 ms each.
        ends.near.send(&[number; 1222]).unwrap();
    }
    let (numbers, last) = ends.arrive(since);
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert!(last >= Duration::from_millis(249), "{last:?}");
}

#[test]
fn full_queue_and_seeded_chance_lose_what_they_say() {
    let ends = Ends::new(Line { rate: Some(1_000_000), queue: 5000, loss_millionths: 0, ..Line::POOR });
    for number in 0..40 {
        ends.near.send(&[number; 1222]).unwrap();
    }
    let kept = ends.arrive(Instant::now()).0.len();
    assert!((4..=8).contains(&kept), "{kept}");
    assert_eq!(ends.relay.passed().overflowed.load(Relaxed), 40 - kept as u64);

    let ends = Ends::new(Line { loss_millionths: 200_000, ..Line::PERFECT });
    for _ in 0..100 {
        ends.near.send(&[1; 10]).unwrap();
    }
    let kept = ends.arrive(Instant::now()).0.len();
    assert!((65..=95).contains(&kept), "{kept}");
    assert_eq!(ends.relay.passed().lost.load(Relaxed), 100 - kept as u64);
}

#[test]
fn cut_line_loses_all_and_a_mended_one_nothing() {
    let ends = Ends::new(Line::PERFECT);
    ends.relay.cut(true);
    ends.near.send(&[1]).unwrap();
    assert!(ends.arrive(Instant::now()).0.is_empty());
    ends.relay.cut(false);
    ends.near.send(&[2]).unwrap();
    assert_eq!(ends.arrive(Instant::now()).0, [2]);
}

#[test]
fn moved_flow_comes_from_another_address_and_answers_find_the_way_back() {
    let ends = Ends::new(Line::PERFECT);
    let mut buffer = [0; 10];
    let mut seen = Vec::new();
    for _ in 0..2 {
        ends.near.send(&[1]).unwrap();
        let (_, from) = ends.far.recv_from(&mut buffer).unwrap();
        ends.far.send_to(&[7], from).unwrap();
        assert_eq!(ends.near.recv(&mut buffer).unwrap(), 1);
        seen.push(from);
        ends.relay.move_flows();
    }
    assert_ne!(seen[0], seen[1]);
}
