//! The relay is as bad as it says, and no worse.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::{BOTH, Dropped, Heading, Line, Relay, Setup, Totals, obey_lines};

/// How long a far end listens for more.
const PATIENCE: Duration = Duration::from_millis(400);

struct Ends {
    near: UdpSocket,
    far: UdpSocket,
    relay: Relay,
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

impl Ends {
    fn new(line: Line) -> Self {
        Self::with(line, |_| {})
    }

    fn with(line: Line, change: impl FnOnce(&mut Setup)) -> Self {
        let (near, far) = (socket(), socket());
        let mut setup = Setup::new(far.local_addr().unwrap(), line, 1);
        change(&mut setup);
        let relay = Relay::set_up(setup).unwrap();
        near.connect(relay.address()).unwrap();
        Self { near, far, relay }
    }

    /// Datagrams that arrive at the far end, by their first byte.
    fn arrive(&self) -> Vec<u8> {
        let mut buffer = [0; 2000];
        std::iter::from_fn(|| self.far.recv(&mut buffer).ok().map(|_| buffer[0])).collect()
    }

    fn await_totals(&self, is_so: impl Fn(&Totals) -> bool) {
        let since = Instant::now();
        while !is_so(&self.relay.totals()) {
            assert!(since.elapsed() < Duration::from_secs(20), "{}", self.relay.totals());
            std::thread::yield_now();
        }
    }
}

#[test]
fn datagrams_arrive_in_order_not_before_the_delay_and_the_rate_allow() {
    let ends = Ends::new(Line { rate: Some(1_000_000), delay: Duration::from_millis(50), ..Line::PERFECT });
    let since = Instant::now();
    for number in 0..20 {
        // 1,250 bytes with the headers: 10 ms each.
        ends.near.send(&[number; 1222]).unwrap();
    }
    let mut buffer = [0; 2000];
    for number in 0..20 {
        assert_eq!((ends.far.recv(&mut buffer).unwrap(), buffer[0]), (1222, number));
    }
    assert!(since.elapsed() >= Duration::from_millis(249), "{:?}", since.elapsed());
}

#[test]
fn what_is_lost_is_counted_by_its_reason_and_the_rest_arrives() {
    let ends = Ends::new(Line { rate: Some(1_000_000), queue: 5000, loss_millionths: 200_000, ..Line::PERFECT });
    for number in 0..100 {
        ends.near.send(&[number; 1222]).unwrap();
    }
    let kept = ends.arrive().len() as u64;
    let up = ends.relay.totals().up;
    let (lost, full) = (up.dropped(Dropped::Lost), up.dropped(Dropped::QueueFull));
    assert!(lost > 5 && full > 50 && kept >= 4, "{up}");
    assert_eq!((up.came, kept + lost + full, up.dropped_in_all()), (100, 100, lost + full));
}

#[test]
fn cut_line_loses_all_and_a_mended_one_nothing_each_direction_for_itself() {
    let ends = Ends::new(Line::PERFECT);
    let mut buffer = [0; 10];
    ends.near.send(&[1]).unwrap();
    let (_, from) = ends.far.recv_from(&mut buffer).unwrap();
    for ways in [&[Heading::Down][..], &BOTH] {
        ends.relay.cut(ways, None);
        ends.far.send_to(&[9], from).unwrap();
        assert!(ends.near.recv(&mut buffer).is_err());
        ends.near.send(&[2]).unwrap();
        let expected: &[u8] = if ways.len() == 1 { &[2] } else { &[] };
        assert_eq!(ends.arrive(), expected);
        ends.relay.mend(ways);
    }
    ends.far.send_to(&[3], from).unwrap();
    assert_eq!(ends.near.recv(&mut buffer).unwrap(), 1);
    let totals = ends.relay.totals();
    assert_eq!((totals.up.dropped(Dropped::Cut), totals.down.dropped(Dropped::Cut)), (1, 2));
}

#[test]
fn moved_client_comes_from_another_address_and_answers_find_the_way_back() {
    let ends = Ends::new(Line::PERFECT);
    let mut buffer = [0; 10];
    let mut seen = Vec::new();
    for _ in 0..2 {
        ends.near.send(&[1]).unwrap();
        let (_, from) = ends.far.recv_from(&mut buffer).unwrap();
        ends.far.send_to(&[7], from).unwrap();
        assert_eq!(ends.near.recv(&mut buffer).unwrap(), 1);
        seen.push(from);
        ends.relay.move_clients();
    }
    assert_ne!(seen[0], seen[1]);
    ends.await_totals(|totals| totals.moves == 2);
}

#[test]
fn each_client_has_an_address_of_its_own_and_gets_its_own_answers() {
    let ends = Ends::new(Line::PERFECT);
    let clients: Vec<UdpSocket> = (0..50).map(|_| socket()).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send_to(&[u8::try_from(number).unwrap()], ends.relay.address()).unwrap();
    }
    let mut buffer = [0; 10];
    let mut addresses = std::collections::BTreeSet::new();
    for _ in &clients {
        let (len, from) = ends.far.recv_from(&mut buffer).unwrap();
        addresses.insert(from);
        ends.far.send_to(&buffer[..len], from).unwrap();
    }
    assert_eq!(addresses.len(), 50);
    for (number, client) in clients.iter().enumerate() {
        assert_eq!((client.recv(&mut buffer).unwrap(), usize::from(buffer[0])), (1, number));
    }
    assert_eq!((ends.relay.totals().clients, ends.relay.totals().clients_seen), (50, 50));
}

#[test]
fn clients_are_bounded_and_idle_ones_forgotten() {
    let ends = Ends::with(Line::PERFECT, |setup| {
        (setup.clients_max, setup.idle) = (2, Duration::from_millis(300));
    });
    let clients: Vec<UdpSocket> = (0..4).map(|_| socket()).collect();
    for client in &clients {
        client.send_to(&[1], ends.relay.address()).unwrap();
    }
    ends.await_totals(|totals| totals.up.came == 4);
    assert_eq!(ends.relay.totals().up.dropped(Dropped::NoClient), 2);
    ends.await_totals(|totals| totals.clients == 0);
    assert_eq!(ends.relay.totals().clients_forgotten, 2);
    clients[3].send_to(&[1], ends.relay.address()).unwrap();
    ends.await_totals(|totals| totals.clients == 1 && totals.clients_seen == 3);
}

#[test]
fn server_that_is_not_there_is_no_end_of_the_relay() {
    let Ends { near, far, relay } = Ends::new(Line::PERFECT);
    let address = far.local_addr().unwrap();
    drop(far);
    for _ in 0..20 {
        near.send(&[1]).unwrap();
    }
    let far = UdpSocket::bind(address).unwrap();
    let ends = Ends { near, far, relay };
    ends.far.set_read_timeout(Some(PATIENCE)).unwrap();
    ends.await_totals(|totals| totals.up.came == 20);
    ends.arrive();
    ends.near.send(&[2]).unwrap();
    assert_eq!(ends.arrive(), [2]);
    assert!(ends.relay.fault().is_none());
}

#[test]
fn lines_of_orders_are_obeyed_and_answered_one_by_one() {
    let ends = Ends::new(Line::PERFECT);
    let mut said = Vec::new();
    obey_lines(&ends.relay, &b"# the worst\nloss 100%\n\nnonsense\nup cut 1m\nshow"[..], &mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (4, "ok", "ok"), "{said}");
    assert!(lines[1].starts_with("error: no order") && lines[3].starts_with("up: came=0 "), "{said}");
    ends.near.send(&[1]).unwrap();
    ends.await_totals(|totals| totals.up.dropped(Dropped::Cut) == 1);
    let endless = vec![b'x'; 10_000];
    assert!(obey_lines(&ends.relay, &endless[..], &mut Vec::new()).is_err());
}
