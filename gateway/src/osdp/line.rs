//! The task of one line: bytes to and from its port, datagrams to and from the gateway's own sockets.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use kalitka_core::{Entropy, Keys};
use kalitka_protocol::LogId;
use kalitka_protocol::limits::{DATAGRAM_MAX, OSDP_DEVICES_MAX};
use kalitka_protocol::osdp::bus::{Event, Exchange};
use kalitka_protocol::osdp::{Address, Alarm, Bus, Device, Fault, Line as Speed, State, Step, What};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_serial::SerialStream;

use super::commands::LastCommands;
use super::keeper::{self, Fact, Learnt};
use super::keys::DeviceKeys;
use super::seat::{Outcome, Seat, Start};
use super::settings::Settings;
use super::words;
use super::{Boots, Shown};
use crate::clock::Clock;
use crate::entropy::SystemEntropy;
use crate::failure::Failure;
use crate::limits::{LINE_WRITE_PATIENCE, OSDP_PORT_RETRY, OSDP_READ_MAX, OSDP_READS_A_LOOK, OSDP_TICK, OSDP_WAIT_MAX};
use crate::metrics::{OsdpTally, names, show_line};
use crate::published::Published;
use crate::serial::port::{self, Parity, Speed as PortSpeed};

/// What a line is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Open an install window for the device at a place.
    Install { place: usize, key: kalitka_protocol::osdp::Scbk, time: Duration },
}

/// A command of the reader at a place, whose number is on the disk or could not be put there.
struct Kept {
    place: usize,
    id: u64,
    is_kept: bool,
}

/// What all lines look at.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) gateway: SocketAddr,
    pub(super) keys: Arc<Published<Keys>>,
    /// Who keeps what is learnt of devices.
    pub(super) keeper: SyncSender<Learnt>,
    pub(super) last_commands: Arc<LastCommands>,
    pub(super) boots: Boots,
    pub(super) tally: Arc<OsdpTally>,
}

/// One line.
pub(super) struct Line {
    shared: Arc<Shared>,
    path: PathBuf,
    baud: u32,
    port: Option<SerialStream>,
    is_open: Arc<AtomicBool>,
    port_due: Duration,
    /// What was last said of the port, so that it is said once.
    port_trouble: Option<port::NotOpened>,
    bus: Bus<Vec<Device>>,
    seats: Vec<Seat>,
    socket: UdpSocket,
    orders: mpsc::Receiver<Order>,
    /// Where commands come back whose numbers were to be put on the disk.
    kept: (mpsc::Sender<Kept>, mpsc::Receiver<Kept>),
    entropy: SystemEntropy,
    shown: watch::Sender<Vec<Shown>>,
    faults: [u64; Fault::ALL.len()],
    next_tick: Duration,
}

impl Line {
    /// # Errors
    /// [`Failure::Environment`] when the system gives no socket or no random bytes. Must be called in a runtime's context.
    pub(super) fn new(
        settings: Settings,
        shared: Arc<Shared>,
        device_keys: &DeviceKeys,
        orders: mpsc::Receiver<Order>,
        shown: watch::Sender<Vec<Shown>>,
    ) -> Result<Self, Failure> {
        let socket = socket_to(shared.gateway)
            .map_err(|error| Failure::Environment(format!("cannot reach the gateway's own socket: {error}")))?;
        let Settings { port: path, baud, devices } = settings;
        let device = |of: &super::settings::DeviceSettings| {
            let (key, pinned) = device_keys.of(of.reader);
            // Checked with the configuration.
            Address::new(of.address).map(|address| Device::new(address, key, pinned))
        };
        let bus = Bus::new(Speed { baud }, devices.iter().filter_map(device).collect());
        show_line(&path.display().to_string(), devices.iter().map(|of| of.reader));
        let mut entropy = SystemEntropy::new()?;
        let seat = |of: super::settings::DeviceSettings| {
            let (last_command, mut log) = (shared.last_commands.of(of.reader), [0; 8]);
            entropy.fill(&mut log);
            Seat::new(of, last_command, LogId(u64::from_le_bytes(log)), shared.clock.monotonic())
        };
        let seats = devices.into_iter().map(seat).collect();
        Ok(Self {
            shared,
            path,
            baud,
            port: None,
            is_open: Arc::default(),
            port_due: Duration::ZERO,
            port_trouble: None,
            bus,
            seats,
            socket,
            orders,
            kept: mpsc::channel(OSDP_DEVICES_MAX),
            entropy,
            shown,
            faults: [0; Fault::ALL.len()],
            next_tick: Duration::ZERO,
        })
    }

    /// Its port, and where it is seen whether that is open.
    pub(super) fn lamp(&self) -> (PathBuf, Arc<AtomicBool>) {
        (self.path.clone(), Arc::clone(&self.is_open))
    }

    /// Serves the line; never ends by itself.
    pub(super) async fn run(mut self) {
        let mut bytes = [0; OSDP_READ_MAX];
        let mut datagram = [0; DATAGRAM_MAX];
        loop {
            let wait = self.advance().await;
            let clock = self.shared.clock.clone();
            tokio::select! {
                biased;
                read = read(&mut self.port, &mut bytes) => self.take_bytes(clock.monotonic(), read, &bytes),
                received = self.socket.recv(&mut datagram) => {
                    // An error is of a datagram sent before: the gateway's sockets are gone or not there yet.
                    if let Ok(len) = received {
                        self.take_datagram(clock.monotonic(), &datagram[..len]);
                    }
                }
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some(kept) = self.kept.1.recv() => self.take_kept(&kept),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does all that is due; gives how long nothing is.
    async fn advance(&mut self) -> Duration {
        let mut now = self.look();
        if self.next_tick <= now {
            self.next_tick = now + OSDP_TICK;
            self.tick(now);
        }
        for place in 0..self.seats.len() {
            if self.seats[place].next_timeout() <= now {
                let mut out = Outcome::default();
                self.seats[place].handle_timeout(now, &mut out);
                self.settle(place, out);
            }
            self.transmit(now, place);
        }
        let bus_due = loop {
            now = self.look();
            let entropy = &mut self.entropy;
            let step = self.bus.poll(now, &mut |bytes| entropy.fill(bytes));
            let wait = match step {
                Step::Wait(until) => Some(until),
                Step::Send(frame) => {
                    let sent = match &mut self.port {
                        Some(port) => timeout(LINE_WRITE_PATIENCE, port.write_all(frame)).await,
                        None => Ok(Ok(())),
                    };
                    match sent {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => self.lose_port(&error.to_string()),
                        Err(_) => self.lose_port("it takes nothing"),
                    }
                    None
                }
            };
            self.take_exchange();
            self.take_events(now);
            if let Some(until) = wait {
                break until;
            }
        };
        // What has been taken meanwhile counts, too.
        let seats_due = self.seats.iter().map(Seat::next_timeout).min().unwrap_or(Duration::MAX);
        let due = bus_due.min(seats_due).min(self.next_tick);
        due.saturating_sub(self.shared.clock.monotonic()).min(OSDP_WAIT_MAX)
    }

    /// This moment, when all that had come by then has been taken: a thread that was held up gives nothing up of which the answer
    /// lies there.
    fn look(&mut self) -> Duration {
        let now = self.shared.clock.monotonic();
        let (mut bytes, mut datagram) = ([0; OSDP_READ_MAX], [0; DATAGRAM_MAX]);
        // Both are asked themselves: the runtime knows of nothing that has come since it last looked.
        for _ in 0..OSDP_READS_A_LOOK {
            let Some(port) = &mut self.port else { break };
            match port.try_read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                read => self.take_bytes(now, read, &bytes),
            }
        }
        for _ in 0..OSDP_READS_A_LOOK {
            match recv(&self.socket, &mut datagram, RecvFlags::DONTWAIT) {
                Ok((len, _)) => self.take_datagram(now, &datagram[..len]),
                Err(error) if error == Errno::WOULDBLOCK => break,
                Err(_) => {}
            }
        }
        now
    }

    fn tick(&mut self, now: Duration) {
        if self.port.is_none() && self.port_due <= now {
            self.open_port(now);
        }
        (0..self.seats.len()).for_each(|place| self.follow_key(place));
        for (place, fault) in Fault::ALL.iter().enumerate() {
            let count = self.bus.faults()[place];
            let before = std::mem::replace(&mut self.faults[place], count);
            metrics::counter!(names::OSDP_FAULTS, "reason" => fault.label()).increment(count.wrapping_sub(before));
        }
        self.show();
    }

    /// Has the reader at `place` speak by the key that it has now, if it has one.
    fn follow_key(&mut self, place: usize) {
        let Some(seat) = self.seats.get_mut(place) else { return };
        let keys = self.shared.keys.load();
        let Some(known) = keys.as_ref().and_then(|keys| keys.get(seat.reader())) else { return seat.end() };
        if seat.needs(&known.psk) {
            let mut random = [0; 16];
            self.entropy.fill(&mut random);
            let boot_counter = self.shared.boots.after(seat.reader()).max(seat.boot_counter().saturating_add(1));
            seat.begin(Start { psk: known.psk.clone(), boot_counter, random });
        }
    }

    fn show(&self) {
        self.is_open.store(self.port.is_some(), Ordering::Relaxed);
        let devices = self.bus.devices().iter().zip(&self.seats);
        let shown: Vec<_> = devices
            .map(|(device, seat)| Shown {
                reader: seat.reader().0,
                port: self.path.clone(),
                address: device.address().number(),
                state: device.state().label().into(),
                alarm: device.alarm().map(|alarm| alarm.label().into()),
                installing: device.is_installing(),
            })
            .collect();
        for (device, seat) in self.bus.devices().iter().zip(&self.seats) {
            let state = State::ALL.iter().position(|state| *state == device.state()).unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "one of four")]
            metrics::gauge!(names::OSDP_DEVICE_STATE, "reader" => seat.reader().0.to_string()).set(state as f64);
        }
        self.shown.send_if_modified(|before| {
            let is_new = *before != shown;
            *before = shown;
            is_new
        });
    }

    fn open_port(&mut self, now: Duration) {
        self.port_due = now + OSDP_PORT_RETRY;
        let port = self.path.display();
        match port::open(&self.path, PortSpeed { baud: self.baud, parity: Parity::None }) {
            Ok(opened) => {
                tracing::info!(%port, baud = self.baud, "an OSDP line is open");
                (self.port, self.port_trouble) = (Some(opened), None);
                metrics::gauge!(names::OSDP_PORT_UP, "port" => port.to_string()).set(1.0);
            }
            Err(error) => {
                metrics::gauge!(names::OSDP_PORT_UP, "port" => port.to_string()).set(0.0);
                if self.port_trouble.as_ref() != Some(&error) {
                    tracing::error!(%port, %error, "an OSDP line cannot be opened; trying again each second");
                    self.port_trouble = Some(error);
                }
            }
        }
    }

    fn lose_port(&mut self, error: &str) {
        let port = self.path.display();
        tracing::error!(%port, error, "an OSDP line is gone; waiting for it to come back");
        metrics::gauge!(names::OSDP_PORT_UP, "port" => port.to_string()).set(0.0);
        if let Some(port) = self.port.take() {
            port::let_go(port);
        }
        self.port_trouble = None;
        self.port_due = self.shared.clock.monotonic() + OSDP_PORT_RETRY;
    }

    fn take_bytes(&mut self, now: Duration, read: io::Result<usize>, bytes: &[u8]) {
        match read {
            // A line that hangs up reads as its end, and for ever.
            Ok(0) => self.lose_port("it has hung up"),
            Ok(len) => {
                self.bus.received(now, &bytes[..len]);
                self.take_exchange();
                self.take_events(now);
            }
            Err(error) => self.lose_port(&error.to_string()),
        }
    }

    fn take_datagram(&mut self, now: Duration, datagram: &[u8]) {
        for place in 0..self.seats.len() {
            let mut out = Outcome::default();
            let is_for_it = self.seats[place].datagram(now, datagram, &mut out);
            self.settle(place, out);
            if is_for_it {
                self.transmit(now, place);
                break;
            }
        }
    }

    fn take_exchange(&mut self) {
        if let Some(Exchange { took, is_answered: true, .. }) = self.bus.take_exchange() {
            self.shared.tally.bus.record(took);
        }
    }

    fn take_events(&mut self, now: Duration) {
        while let Some(Event { device: place, what }) = self.bus.take_event() {
            let mut out = Outcome::default();
            self.take(now, place, what, &mut out);
            self.settle(place, out);
            self.transmit(now, place);
        }
    }

    fn take(&mut self, now: Duration, place: usize, what: What, out: &mut Outcome) {
        // A reader that has its key since the last tick is asked for already: its first card would be refused unasked.
        self.follow_key(place);
        let Some(seat) = self.seats.get_mut(place) else { return };
        let reader = seat.reader().0;
        match what {
            What::Card(card) => {
                metrics::counter!(names::OSDP_CARDS).increment(1);
                seat.card(now, card, out);
            }
            What::UnknownCard => {
                metrics::counter!(names::OSDP_CARDS_UNKNOWN).increment(1);
                seat.unknown_card(out);
            }
            What::Inputs { points, changed } => seat.inputs(now, points.active, changed, out),
            What::Local { tamper, power } => {
                if tamper {
                    seat.tampered(now);
                }
                power_failed(reader, power);
                tracing::info!(reader, tamper, power, "an OSDP device says how it is");
            }
            What::ReaderTamper(is_tampered) => {
                if is_tampered {
                    seat.tampered(now);
                }
                tracing::info!(reader, tamper = is_tampered, "an OSDP device says how its readers are");
            }
            What::Alarm(alarm) => {
                metrics::counter!(names::OSDP_ALARMS, "alarm" => alarm.label()).increment(1);
                tracing::error!(reader, alarm = alarm.label(), "{}", words::remedy(alarm));
                if alarm != Alarm::NotEnrolled {
                    seat.tampered(now);
                }
            }
            What::KeySet => self.keep(Learnt { reader, what: Fact::HasKey }),
            What::Pinned(capabilities) => self.keep(Learnt { reader, what: Fact::Capabilities(capabilities) }),
            What::InstallOver => tracing::warn!(reader, "the install window is over and the device has no key"),
            What::Online => tracing::info!(reader, "an OSDP device is in service"),
            What::Offline => tracing::warn!(reader, "an OSDP device does not answer"),
            What::Identity(identity) => tracing::debug!(reader, ?identity, "an OSDP device answers"),
            // No rule asks for a number yet; digits are nobody's to keep.
            What::Keypad(_) => metrics::counter!(names::OSDP_KEYPADS).increment(1),
            What::Outputs { .. } => {}
            What::ReleaseLost { since, may_be_done } => seat.release_lost(now, since, may_be_done, out),
        }
        if matches!(what, What::KeySet | What::InstallOver | What::Online | What::Offline | What::Alarm(_)) {
            self.show();
        }
    }

    /// Has it kept, and waits for no disk.
    fn keep(&self, learnt: Learnt) {
        if let Err(lost) = self.shared.keeper.try_send(learnt) {
            let (TrySendError::Full(learnt) | TrySendError::Disconnected(learnt)) = lost;
            keeper::not_kept(learnt, "too much waits for the disk");
        }
    }

    fn take_kept(&mut self, kept: &Kept) {
        let (now, mut out) = (self.shared.clock.monotonic(), Outcome::default());
        let Some(seat) = self.seats.get_mut(kept.place) else { return };
        seat.kept(now, kept.id, kept.is_kept, &mut out);
        self.settle(kept.place, out);
    }

    /// Has the number of a command put on the disk, and waits for no disk.
    fn keep_command(&self, place: usize, id: u64) {
        let (commands, kept) = (Arc::clone(&self.shared.last_commands), self.kept.0.clone());
        let reader = self.seats[place].reader().0;
        tokio::task::spawn_blocking(move || {
            let is_kept = commands.keep(reader, id).inspect_err(|error| tracing::error!(reader, id, %error)).is_ok();
            // Nobody is there any more when the gateway ends.
            let _ = kept.blocking_send(Kept { place, id, is_kept });
        });
    }

    fn settle(&mut self, place: usize, out: Outcome) {
        if let Some(id) = out.command {
            self.keep_command(place, id);
        }
        out.decided.iter().for_each(|took| self.shared.tally.decision.record(*took));
        let now = self.shared.clock.monotonic();
        for act in out.acts {
            // Counted by the bus.
            let _ = self.bus.act(out.since.unwrap_or(now), place, act);
        }
    }

    fn transmit(&mut self, now: Duration, place: usize) {
        let mut buffer = [0; DATAGRAM_MAX];
        let entropy = &mut self.entropy;
        while let Some(len) = self.seats[place].poll_transmit(now, &mut buffer, &mut |bytes| entropy.fill(bytes)) {
            // What is not sent is sent again by the reader's half.
            let _ = self.socket.try_send(&buffer[..len]);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Install { place, key, time } => {
                let until = self.shared.clock.monotonic() + time;
                if let Some(device) = self.bus.device_mut(place) {
                    device.install(key, until);
                }
                self.show();
            }
        }
    }
}

/// Reads what has come; waits for ever without a port.
async fn read(port: &mut Option<SerialStream>, bytes: &mut [u8]) -> io::Result<usize> {
    match port {
        Some(port) => port.read(bytes).await,
        None => std::future::pending().await,
    }
}

/// A socket whose peer is the gateway itself.
fn socket_to(gateway: SocketAddr) -> io::Result<UdpSocket> {
    let ours = if gateway.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let ours = if gateway.ip().is_loopback() { ours.to_owned() } else { SocketAddr::new(gateway.ip(), 0).to_string() };
    let socket = std::net::UdpSocket::bind(ours)?;
    socket.connect(gateway)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

fn power_failed(reader: u32, has_failed: bool) {
    metrics::gauge!(names::OSDP_POWER_FAILED, "reader" => reader.to_string()).set(f64::from(u8::from(has_failed)));
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "line_commands_tests.rs"]
mod commands_tests;
