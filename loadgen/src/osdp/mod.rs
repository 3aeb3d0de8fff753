//! OSDP devices on lines: several on each, on a pty, in the time that the line would take.
//!
//! The protocol's own device does the talking. Here are the line, and the people: one at a device at a time, because a light
//! does not say whom it is for. What the lights and releases were is judged when the run is over; whether those who passed
//! are known at the hub is looked up there, because their reports are made by the gateway.

mod line;
mod person;
mod score;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kalitka_protocol::ReaderId;
use kalitka_protocol::osdp::Address;

use crate::deck::{Deck, looks_of};
use crate::limits::{OSDP_CLOSING, OSDP_UNSURE, OSDP_WARM_UP_MAX, TURN_MAX};
use crate::oracle::Oracle;
use crate::serial;
use line::Wire;
pub use person::{Answer, Log, Pass};
pub use score::{AtHub, Score};
pub(crate) use score::{at_hub, newest};

/// What a bus is to be.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The line.
    pub line: serial::Setup,
    /// Whose devices hang on it, and where each answers. They have no keys yet.
    pub devices: Vec<(ReaderId, Address)>,
}

/// What is asked of the thread of a bus.
pub(crate) enum Order {
    /// People come, each device's with their own cards.
    Come(Vec<(Deck, Vec<crate::oracle::Look>)>),
    /// No more come.
    Close,
}

/// A bus that runs; unplugged when it is dropped.
#[derive(Debug)]
pub struct Bus {
    readers: Vec<ReaderId>,
    seed: u64,
    orders: Sender<Order>,
    /// Devices that are spoken to by their own keys.
    open: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Vec<Log>>>>,
}

impl Bus {
    /// Plugs a bus in.
    ///
    /// # Errors
    /// What the system says.
    pub fn plug(setup: Setup) -> io::Result<Self> {
        let (orders, taken) = channel();
        let (open, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let readers = setup.devices.iter().map(|&(reader, _)| reader).collect();
        let seed = setup.line.seed;
        let mut wire = Wire::plug(setup)?;
        let (shown, stopped) = (Arc::clone(&open), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("osdp".into()).spawn(move || {
            let (mut closing, mut quiet_since) = (None, None);
            while !stopped.load(Ordering::Relaxed) {
                for order in taken.try_iter() {
                    match order {
                        Order::Come(decks) => wire.come(decks),
                        Order::Close => {
                            wire.close();
                            closing = Some(Instant::now());
                        }
                    }
                }
                wire.turn(TURN_MAX)?;
                shown.store(wire.open(), Ordering::Relaxed);
                quiet_since = if closing.is_some() && wire.is_quiet() {
                    quiet_since.or_else(|| Some(Instant::now()))
                } else {
                    None
                };
                // What noise has spoilt of the last pass is asked for again.
                let is_over = quiet_since.is_some_and(|since| since.elapsed() > OSDP_UNSURE);
                if closing.is_some_and(|since: Instant| is_over || since.elapsed() > OSDP_CLOSING) {
                    break;
                }
            }
            Ok(wire.logs())
        })?;
        Ok(Self { readers, seed, orders, open, stop, thread: Some(thread) })
    }

    /// The readers that its devices are.
    #[must_use]
    pub fn readers(&self) -> &[ReaderId] {
        &self.readers
    }

    /// Waits until every device has its key and a channel.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when that takes too long, [`io::ErrorKind::Interrupted`] when `stop` is raised.
    pub fn await_open(&self, stop: &AtomicBool) -> io::Result<()> {
        let begun = Instant::now();
        while self.open.load(Ordering::Relaxed) < self.readers.len() {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if begun.elapsed() > OSDP_WARM_UP_MAX {
                let numbers: Vec<_> = self.readers.iter().map(|reader| reader.0.to_string()).collect();
                let what = format!(
                    "not every OSDP device of readers {} got its key and a channel: enrol each with `kalitka-gateway osdp \
                     enrol` while this waits, and compare port, speed and address with the gateway's configuration",
                    numbers.join(", ")
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// People come to the devices, with cards of `oracle`'s roster.
    pub fn come(&self, oracle: &Oracle) {
        let looks = looks_of(oracle, &self.readers);
        let deck = |(place, looks)| (Deck::new(oracle, 0, self.seed.wrapping_add(place)), looks);
        let _ = self.orders.send(Order::Come((0..).zip(looks).map(deck).collect()));
    }

    /// Nobody comes any more; waits until everybody has gone. Gives what has happened at each device.
    ///
    /// # Errors
    /// What the line has come to.
    pub fn close(&mut self) -> io::Result<Vec<Log>> {
        let _ = self.orders.send(Order::Close);
        let Some(thread) = self.thread.take() else { return Ok(Vec::new()) };
        thread.join().map_err(|_| io::Error::other("the thread of an OSDP bus broke off"))?
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
