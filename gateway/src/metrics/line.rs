//! What is counted of one serial line, by the name of its port.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use kalitka_protocol::frame::Fault;
use metrics::{Counter, Gauge, counter, gauge};

use super::names;
use crate::serial::port::NotOpened;

/// A line's counters, registered when they are made.
pub(crate) struct LineMetrics {
    port: String,
    up: Gauge,
    unreadable: Gauge,
    opened: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    faults: [Counter; Fault::ALL.len()],
    /// Datagrams for which the worker that owns their reader had no room.
    pub(crate) worker_full: Counter,
    /// Datagrams for which the line had no room, and those for which it was not up.
    pub(crate) line_full: Counter,
    pub(crate) line_down: Counter,
    lamp: Arc<LineLamp>,
}

/// How a line stands, for whoever looks.
#[derive(Debug, Default)]
pub(crate) struct LineLamp {
    is_up: AtomicBool,
    is_unreadable: AtomicBool,
    /// The reader that wanted a session over it last; 0 for none.
    reader: AtomicU32,
}

impl LineLamp {
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    pub(crate) fn is_unreadable(&self) -> bool {
        self.is_unreadable.load(Ordering::Relaxed)
    }

    pub(crate) fn reader(&self) -> Option<u32> {
        Some(self.reader.load(Ordering::Relaxed)).filter(|&reader| reader > 0)
    }
}

impl LineMetrics {
    pub(crate) fn of(port: &Path) -> Self {
        let port = port.display().to_string();
        let by = |name: &'static str, label: &'static str, value: &'static str| {
            let counter = counter!(name, "port" => port.clone(), label => value);
            counter.absolute(0);
            counter
        };
        for label in NotOpened::LABELS {
            let _ = by(names::SERIAL_NOT_OPENED, "reason", label);
        }
        let opened = counter!(names::SERIAL_OPENED, "port" => port.clone());
        opened.absolute(0);
        let (up, unreadable) = (
            gauge!(names::SERIAL_UP, "port" => port.clone()),
            gauge!(names::SERIAL_UNREADABLE, "port" => port.clone()),
        );
        up.set(0.0);
        unreadable.set(0.0);
        Self {
            up,
            unreadable,
            opened,
            received: by(names::SERIAL_FRAMES, "direction", "received"),
            sent: by(names::SERIAL_FRAMES, "direction", "sent"),
            received_bytes: by(names::SERIAL_BYTES, "direction", "received"),
            sent_bytes: by(names::SERIAL_BYTES, "direction", "sent"),
            faults: Fault::ALL.map(|fault| by(names::SERIAL_DROPPED, "reason", fault.label())),
            worker_full: by(names::SERIAL_DROPPED, "reason", "worker_full"),
            line_full: by(names::SERIAL_DROPPED, "reason", "line_full"),
            line_down: by(names::SERIAL_DROPPED, "reason", "line_down"),
            port,
            lamp: Arc::default(),
        }
    }

    /// Where it is seen how the line stands.
    pub(crate) fn lamp(&self) -> Arc<LineLamp> {
        Arc::clone(&self.lamp)
    }

    /// `reader` wants a session over the line.
    pub(crate) fn heard(&self, reader: u32) {
        self.lamp.reader.store(reader, Ordering::Relaxed);
    }

    /// The port has been opened.
    pub(crate) fn up(&self) {
        self.opened.increment(1);
        self.up.set(1.0);
        self.lamp.is_up.store(true, Ordering::Relaxed);
    }

    /// It is gone; whether it is understood is not known any more.
    pub(crate) fn down(&self) {
        self.up.set(0.0);
        self.unreadable.set(0.0);
        self.lamp.is_up.store(false, Ordering::Relaxed);
        self.lamp.is_unreadable.store(false, Ordering::Relaxed);
    }

    /// It could not be opened.
    pub(crate) fn not_opened(&self, why: &NotOpened) {
        counter!(names::SERIAL_NOT_OPENED, "port" => self.port.clone(), "reason" => why.label()).increment(1);
    }

    /// Whether bytes come and no frame.
    pub(crate) fn unreadable(&self, is_unreadable: bool) {
        self.unreadable.set(f64::from(u8::from(is_unreadable)));
        self.lamp.is_unreadable.store(is_unreadable, Ordering::Relaxed);
    }

    /// Something between two delimiters was no datagram.
    pub(crate) fn fault(&self, fault: Fault) {
        self.faults[fault as usize].increment(1);
    }
}
