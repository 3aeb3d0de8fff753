use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, sync_channel};

use kalitka_core::{Now, Output, Overlay, Texts, UnixSeconds, Worker, World};
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::handshake::Psk;
use kalitka_protocol::limits::OSDP_REPLY_DELAY;
use kalitka_protocol::osdp::Act;
use kalitka_protocol::{ReaderId, osdp};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, tcflow};
use tokio::runtime::Runtime;

use super::*;

/// A line with one device, at address 0, whose reader is 101.
struct Rig {
    line: Line,
    /// What stands for the device.
    device: OwnedFd,
    /// What stands for the gateway's own socket.
    gateway: std::net::UdpSocket,
    learnt: Receiver<Learnt>,
    _orders: mpsc::Sender<Order>,
    _folder: tempfile::TempDir,
    runtime: Runtime,
}

fn rig() -> Rig {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let entered = runtime.enter();
    let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&device).unwrap();
    unlockpt(&device).unwrap();
    let port = ptsname(&device, Vec::new()).unwrap().into_string().unwrap();
    let settings = format!("port = \"{port}\"\n[[devices]]\naddress = 0\nreader = 101\nrelease = 0\n");
    let gateway = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let device_keys = DeviceKeys::open(folder.path().join("osdp.keys")).unwrap();
    let (keeper, learnt) = sync_channel(2);
    let shared = Shared {
        clock: Clock::start(),
        gateway: gateway.local_addr().unwrap(),
        keys: Arc::new(Published::new(None)),
        keeper,
        last_commands: Arc::new(LastCommands::open(folder.path().join("osdp.commands"), std::iter::once(101)).unwrap()),
        boots: Boots::of(&[]),
        tally: OsdpTally::new(),
    };
    let (orders, taken) = mpsc::channel(1);
    let (shown, _) = watch::channel(Vec::new());
    let line = Line::new(toml::from_str(&settings).unwrap(), Arc::new(shared), &device_keys, taken, shown).unwrap();
    drop(entered);
    Rig { line, device, gateway, learnt, _orders: orders, _folder: folder, runtime }
}

fn card() -> What {
    What::Card(CardRead::from_uid(&[1, 2, 3, 4]).unwrap())
}

impl Rig {
    fn advance(&mut self) {
        self.runtime.block_on(self.line.advance());
    }

    fn give_key(&self, byte: u8) {
        let keys = Keys::new(byte.into(), [(ReaderId(101), Psk::new([byte; 32]))]).unwrap();
        self.line.shared.keys.publish(Arc::new(keys));
    }

    /// The line's thread has not run for `time`.
    fn held_up(&mut self, time: Duration) {
        let shared = Arc::get_mut(&mut self.line.shared).unwrap();
        shared.clock = shared.clock.after(time);
    }

    /// What the device is told when `what` has happened there.
    fn told(&mut self, what: What) -> Vec<Act> {
        let mut out = Outcome::default();
        let now = self.line.shared.clock.monotonic();
        self.line.take(now, 0, what, &mut out);
        out.acts
    }
}

#[test]
fn first_card_behind_a_new_key_is_asked_about() {
    let mut rig = rig();
    rig.advance();
    assert!(!rig.told(card()).is_empty(), "without a key it is refused at once");
    for key in [1, 2] {
        rig.give_key(key);
        assert!(rig.told(card()).is_empty(), "nobody has answered yet");
        assert!(!rig.line.seats[0].needs(&Psk::new([key; 32])));
    }
}

#[test]
fn reply_that_lies_in_the_port_is_taken_however_late_it_is_looked_for() {
    let mut rig = rig();
    rig.advance();
    let mut asked = [0; 9];
    assert_eq!(rustix::io::read(&rig.device, &mut asked), Ok(asked.len()), "who it is");
    let identity = hex::decode("538014000445164268000C4C8FBCF4020A02C64C").unwrap();
    rustix::io::write(&rig.device, &identity).unwrap();
    rig.runtime.block_on(rig.line.port.as_ref().unwrap().readable()).unwrap();
    rig.held_up(OSDP_REPLY_DELAY * 5);
    rig.advance();
    assert_eq!(rig.line.bus.devices()[0].state(), State::Refused, "it answers, and has no key");
    assert_eq!(rig.line.bus.faults()[Fault::Unasked as usize], 0);
}

#[test]
fn datagrams_that_lie_in_the_socket_are_taken_at_the_next_look() {
    let mut rig = rig();
    let socket = rig.line.socket.local_addr().unwrap();
    for _ in 0..3 {
        rig.gateway.send_to(b"of nobody", socket).unwrap();
    }
    rig.line.look();
    assert_eq!(recv(&rig.line.socket, &mut [0; 16], RecvFlags::DONTWAIT), Err(Errno::WOULDBLOCK));
}

#[test]
fn what_is_said_to_a_reader_at_a_look_is_answered_at_once() {
    let mut rig = rig();
    rig.give_key(1);
    rig.told(card());
    rig.gateway.set_nonblocking(true).unwrap();
    rig.runtime.block_on(rig.line.socket.writable()).unwrap();
    let now = rig.line.shared.clock.monotonic();
    rig.line.transmit(now, 0);
    let (mut worker, mut out) = (Worker::new(0, 1, [], Box::new(SystemEntropy::new().unwrap())), Output::new());
    let (keys, overlay, texts) =
        ((*rig.line.shared.keys.load()).clone().unwrap(), Overlay::default(), Texts::default());
    let world = World { view: None, overlay: &overlay, keys: &keys, texts: &texts, fall_back_after_ms: 1000 };
    let mut heard = [0; DATAGRAM_MAX];
    let (len, reader) = rig.gateway.recv_from(&mut heard).unwrap();
    let told = worker.handle(&world, Now::good(now, UnixSeconds(0)), reader, &mut heard[..len], &mut out);
    assert!(matches!(told, kalitka_core::Outcome::Reply(_)), "{told:?}");
    rig.gateway.send_to(out.datagram(), reader).unwrap();
    rig.line.look();
    assert!(rig.gateway.recv(&mut heard).is_ok(), "the card waits for a session that is there");
}

#[test]
fn port_that_takes_nothing_is_let_go_and_opened_anew() {
    let mut rig = rig();
    let runtime = rig.runtime.handle().clone();
    let _entered = runtime.enter();
    let (_, is_open) = rig.line.lamp();
    let path = ptsname(&rig.device, Vec::new()).unwrap();
    let same = rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    rig.line.open_port(Duration::ZERO);
    tcflow(&same, Action::OOff).unwrap();
    rig.advance();
    assert!(rig.line.port.is_none() && is_open.load(Ordering::Relaxed), "it was open when it was last shown");
    rig.line.tick(Duration::ZERO);
    assert!(!is_open.load(Ordering::Relaxed));
    rig.held_up(OSDP_PORT_RETRY + OSDP_TICK);
    rig.line.tick(rig.line.shared.clock.monotonic());
    assert!(rig.line.port.is_some() && is_open.load(Ordering::Relaxed));
}

#[test]
fn what_is_learnt_of_a_device_goes_to_its_keeper_and_too_much_of_it_holds_up_nothing() {
    let mut rig = rig();
    let capabilities = osdp::reply::Capabilities::parse(&[9, 1, 1]).unwrap();
    for what in [What::KeySet, What::Pinned(capabilities), What::KeySet] {
        assert!(rig.told(what).is_empty());
    }
    let learnt: Vec<_> = rig.learnt.try_iter().map(|learnt| (learnt.reader, learnt.what)).collect();
    assert_eq!(learnt, [(101, Fact::HasKey), (101, Fact::Capabilities(capabilities))]);
}
