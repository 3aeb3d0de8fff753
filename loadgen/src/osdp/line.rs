//! Moves frames between devices and a pty, in the time that a line would take.

use std::io;
use std::time::{Duration, Instant};

use kalitka_protocol::limits::{OSDP_GAP_MAX, OSDP_SENT_MAX};
use kalitka_protocol::osdp::Deframer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Setup;
use super::person::{Device, Log};
use crate::deck::Deck;
use crate::limits::OSDP_TURNAROUND;
use crate::oracle::Look;
use crate::serial::{Pty, Way};

/// A line with devices on it.
pub(super) struct Wire {
    pty: Pty,
    baud: u32,
    start: Instant,
    /// Away from the control panel, and to it.
    down: Way,
    up: Way,
    deframer: Deframer,
    heard_at: Duration,
    devices: Vec<Device>,
}

impl Wire {
    pub(super) fn plug(setup: Setup) -> io::Result<Self> {
        let Setup { line, devices } = setup;
        let device = |(place, (reader, address))| Device::new(reader, address, line.seed.wrapping_add(place));
        Ok(Self {
            pty: Pty::plug(&line.port)?,
            baud: line.baud,
            start: Instant::now(),
            down: Way::new(&line, 1),
            up: Way::new(&line, 0),
            deframer: Deframer::new(),
            heard_at: Duration::ZERO,
            devices: (0..).zip(devices).map(device).collect::<io::Result<_>>()?,
        })
    }

    pub(super) fn come(&mut self, decks: Vec<(Deck, Vec<Look>)>) {
        self.devices.iter_mut().zip(decks).for_each(|(device, deck)| device.come(deck));
    }

    pub(super) fn close(&mut self) {
        self.devices.iter_mut().for_each(Device::close);
    }

    /// Whether nobody is at a device.
    pub(super) fn is_quiet(&self) -> bool {
        self.devices.iter().all(Device::is_quiet)
    }

    /// Devices that are spoken to by their own keys.
    pub(super) fn open(&self) -> usize {
        self.devices.iter().filter(|device| device.is_open()).count()
    }

    pub(super) fn logs(self) -> Vec<Log> {
        self.devices.into_iter().map(Device::into_log).collect()
    }

    /// Waits at most `patience` for something to do, and does it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn turn(&mut self, patience: Duration) -> io::Result<()> {
        self.wait(patience)?;
        let now = self.start.elapsed();
        let is_understood = self.pty.baud().is_none_or(|baud| baud == self.baud);
        let mut bytes = [0; 1024];
        while let Some(len @ 1..) = self.pty.read(&mut bytes)? {
            let spoilt = self.down.spoil(&bytes[..len], is_understood);
            self.down.put(now, spoilt);
        }
        self.hear(now);
        while let Some(bytes) = self.up.arrived(now) {
            self.pty.write(&self.up.spoil(&bytes, is_understood))?;
        }
        self.devices.iter_mut().for_each(|device| device.turn(now));
        Ok(())
    }

    fn wait(&self, patience: Duration) -> io::Result<()> {
        let people = self.devices.iter().map(Device::next).min().unwrap_or(Duration::MAX);
        let due = self.up.next().min(self.down.next()).min(people);
        let timeout = Timespec::try_from(due.saturating_sub(self.start.elapsed()).min(patience));
        let timeout = timeout.map_err(io::Error::other)?;
        let mut polled = [PollFd::new(&self.pty.device, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        // A port that nobody has open is always ready.
        if polled[0].revents() == PollFlags::HUP {
            let _ = poll(&mut [], Some(&timeout));
        }
        Ok(())
    }

    /// Lets the devices hear what has arrived, and puts what they say on the line.
    fn hear(&mut self, now: Duration) {
        let Self { down, up, deframer, devices, heard_at, .. } = self;
        while let Some(bytes) = down.arrived(now) {
            *heard_at = now;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                rest = deframer.push(rest);
                answer(deframer, devices, up, now);
            }
        }
        // What noise has left of a frame does not swallow the next.
        if deframer.is_within() && now > *heard_at + OSDP_GAP_MAX {
            while deframer.give_up_front() {
                answer(deframer, devices, up, now);
            }
        }
    }
}

fn answer(deframer: &mut Deframer, devices: &mut [Device], up: &mut Way, now: Duration) {
    let mut out = [0; OSDP_SENT_MAX];
    while let Some(frame) = deframer.next() {
        for device in &mut *devices {
            if let Some(len) = device.hear(now, &frame, &mut out) {
                up.put(now + OSDP_TURNAROUND, out[..len].to_vec());
            }
        }
    }
}
