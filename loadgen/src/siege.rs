//! A flood of junk beside honest readers: it begins after a calm second, once somebody has asked, and goes on until the last
//! card is shown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fleet::Fleet;
use crate::limits::CALM;
use crate::play::Stage;
use crate::tally::Tally;
use crate::volley::{Flood, Junk, Prey, Slice};

/// A flood to come, under way, or over.
pub struct Siege {
    gateway: SocketAddr,
    kinds: Vec<Junk>,
    per_second: u32,
    seed: u64,
    duration: Duration,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Slice>>>,
}

impl Siege {
    /// `per_second` datagrams of `kinds` in turn against `gateway`, during a run of `duration`.
    #[must_use]
    pub fn new(gateway: SocketAddr, kinds: Vec<Junk>, per_second: u32, duration: Duration, seed: u64) -> Self {
        let duration = duration.saturating_sub(CALM);
        Self { gateway, kinds, per_second, seed, duration, stop: Arc::new(AtomicBool::new(false)), thread: None }
    }

    fn begin(&mut self, prey: Vec<Prey>) -> io::Result<()> {
        let (gateway, kinds, per_second) = (self.gateway, self.kinds.clone(), self.per_second);
        let (seed, duration, stop) = (self.seed, self.duration, Arc::clone(&self.stop));
        let flood = move || Flood::new(gateway, &kinds, &prey, seed)?.run(per_second, duration, &stop);
        self.thread = Some(std::thread::Builder::new().name("flood".into()).spawn(flood)?);
        Ok(())
    }

    /// Ends the flood, if it has begun; gives what was sent.
    ///
    /// # Errors
    /// What its sockets said, or that it never began.
    pub fn end(&mut self) -> io::Result<Slice> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(slice)) => slice,
            Some(Err(_)) => Err(io::Error::other("the flood's thread panicked")),
            None => Err(io::Error::other("there was no flood: the run was over before anybody had asked")),
        }
    }

    /// What the flood came to, a row of a table.
    #[must_use]
    pub fn row(&self, flood: &Slice) -> String {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.label()).collect();
        let (sent, wanted) = (flood.sent_per_second(), self.per_second);
        let short =
            if falls_short(sent, wanted) { format!(", not {wanted}: THE GENERATOR IS SHORT") } else { String::new() };
        let (count, back) = (flood.datagrams, flood.received);
        format!("{count} junk datagrams, {sent:.0} a second{short}; of {}; {back} came back", kinds.join(", "))
    }
}

/// Whether so many datagrams a second are not the flood that was wanted.
pub(crate) fn falls_short(sent_per_second: f64, wanted: u32) -> bool {
    sent_per_second < f64::from(wanted) * 0.99
}

impl Stage for Siege {
    fn turn(&mut self, at: Duration, _now: Duration, fleet: &mut Fleet, _tally: &mut Tally) -> io::Result<()> {
        if at < CALM || self.thread.is_some() {
            return Ok(());
        }
        let prey = fleet.prey();
        if prey.iter().any(Prey::has_asked) { self.begin(prey) } else { Ok(()) }
    }

    fn next(&self) -> Duration {
        if self.thread.is_none() { CALM } else { Duration::MAX }
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
