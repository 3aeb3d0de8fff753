//! The report memory: what happened at the portal, kept until the gateway's disk has it.

use core::time::Duration;

use crate::credential::CardRead;
use crate::limits::{REPORT_RESEND, REPORT_RESEND_MAX, REPORTS_OUTSTANDING};
use crate::message::{Receipt, Report, ReportKind};
use crate::reason::Direction;
use crate::{BootId, LogId};

/// Something that happened at the portal, to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What happened.
    pub kind: ReportKind,
    /// Which way, if it has one.
    pub direction: Option<Direction>,
    /// The request of this boot that it follows, if any.
    pub request: Option<u32>,
    /// The input that changed, its new state in bit 7; told with [`ReportKind::InputChange`] only.
    pub input: u8,
    /// Whether the reader let the person pass by itself, in fall-back.
    pub unasked: bool,
    /// The card, if one was shown.
    pub card: Option<CardRead>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    happening: Happening,
    boot: BootId,
    count: u32,
    /// By this boot's clock; `None` when it happened in an earlier one.
    at: Option<Duration>,
}

/// The report memory of `N` reports, numbered without gaps from 1 (SPEC 7.1).
///
/// It outlives the power: a reader keeps it where it keeps, and gives it to its next boot. When it is full, what happens
/// is counted, and a [`ReportKind::ReportsLost`] with the count takes the first place that a receipt frees (SPEC 7.6).
#[derive(Clone, Debug)]
pub struct ReportMemory<const N: usize> {
    log: LogId,
    /// The highest number receipted; the memory holds the `len` that follow, number `n` at `n % N`.
    receipted: u64,
    len: usize,
    ring: [Option<Stored>; N],
    lost: u32,
    lost_since: Option<Duration>,
}

impl<const N: usize> ReportMemory<N> {
    const SIZE_IS_POSITIVE: () = assert!(N > 0, "a report memory holds at least one report");

    /// An empty memory. `log` is random and drawn once, when the memory is made.
    #[must_use]
    pub const fn new(log: LogId) -> Self {
        let () = Self::SIZE_IS_POSITIVE;
        Self { log, receipted: 0, len: 0, ring: [None; N], lost: 0, lost_since: None }
    }

    /// The memory's random number.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// Reports that no receipt covers.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.len
    }

    /// Reports that found the memory full and are not yet told of.
    #[must_use]
    pub const fn lost(&self) -> u32 {
        self.lost
    }

    /// The number of the newest report; 0 before the first.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.receipted + self.len as u64
    }

    /// A boot begins with what the one before has left: its clock is gone, so ages are no longer known.
    pub(super) fn begin_boot(&mut self) {
        self.ring.iter_mut().flatten().for_each(|stored| stored.at = None);
        self.lost_since = None;
    }

    /// Keeps `happening` and gives its number, or counts it as lost.
    pub(super) fn keep(&mut self, now: Duration, boot: BootId, happening: Happening) -> Option<u64> {
        if self.len == N {
            if self.lost == 0 {
                self.lost_since = Some(now);
            }
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        let input = if happening.kind == ReportKind::InputChange { happening.input } else { 0 };
        self.push(Stored { happening: Happening { input, ..happening }, boot, count: 0, at: Some(now) })
    }

    /// Takes a receipt; says whether it covers something new of this memory.
    pub(super) fn receipt(&mut self, boot: BootId, receipt: &Receipt) -> bool {
        if receipt.log != self.log || receipt.number <= self.receipted || receipt.number > self.last() {
            return false;
        }
        while self.receipted < receipt.number {
            self.receipted += 1;
            self.len -= 1;
            let place = self.place(self.receipted);
            self.ring[place] = None;
        }
        if self.lost > 0 {
            let happening = Happening {
                kind: ReportKind::ReportsLost,
                direction: None,
                request: None,
                input: 0,
                unasked: false,
                card: None,
            };
            self.push(Stored { happening, boot, count: self.lost, at: self.lost_since });
            self.lost = 0;
        }
        true
    }

    fn push(&mut self, stored: Stored) -> Option<u64> {
        self.len += 1;
        let number = self.last();
        let place = self.place(number);
        self.ring[place] = Some(stored);
        Some(number)
    }

    fn report(&self, number: u64, now: Duration) -> Option<Report> {
        let stored = self.ring[self.place(number)]?;
        let Happening { kind, direction, request, input, unasked, card } = stored.happening;
        let age = stored.at.and_then(|at| u32::try_from(now.saturating_sub(at).as_millis()).ok());
        Some(Report {
            log: self.log,
            number,
            boot: if request.is_some() { stored.boot } else { BootId(0) },
            request: request.unwrap_or(0),
            age_ms: age.unwrap_or(u32::MAX),
            count: stored.count,
            kind,
            direction,
            input,
            unasked,
            oldest: number == self.receipted + 1,
            card,
        })
    }

    const fn place(&self, number: u64) -> usize {
        // Smaller than N, which is a usize.
        #[allow(clippy::cast_possible_truncation, reason = "a remainder by a usize is one")]
        let place = (number % N as u64) as usize;
        place
    }
}

/// What is on its way of the memory: go-back-N (SPEC 7.3, 10.3).
#[derive(Debug)]
pub(super) struct Flight {
    /// The highest number sent since the last going back.
    sent: u64,
    resend_at: Option<Duration>,
    wait: Duration,
}

impl Flight {
    pub(super) const fn new() -> Self {
        Self { sent: 0, resend_at: None, wait: REPORT_RESEND }
    }

    /// The next report to send, if one may be sent.
    pub(super) fn next<const N: usize>(&self, memory: &ReportMemory<N>, now: Duration) -> Option<Report> {
        let number = self.sent.max(memory.receipted) + 1;
        let end = memory.last().min(memory.receipted + REPORTS_OUTSTANDING as u64);
        if number <= end { memory.report(number, now) } else { None }
    }

    pub(super) fn sent(&mut self, now: Duration, number: u64) {
        self.sent = number;
        self.resend_at.get_or_insert(now + self.wait);
    }

    /// A receipt has covered something new: what is still outstanding gets its full time.
    pub(super) fn receipted<const N: usize>(&mut self, memory: &ReportMemory<N>, now: Duration) {
        self.wait = REPORT_RESEND;
        self.resend_at = (self.sent > memory.receipted).then_some(now + self.wait);
    }

    /// Goes back to the oldest outstanding report when its time is over.
    pub(super) fn handle_timeout<const N: usize>(&mut self, memory: &ReportMemory<N>, now: Duration) {
        if self.resend_at.is_some_and(|at| at <= now) {
            self.sent = memory.receipted;
            self.resend_at = None;
            self.wait = (self.wait * 2).min(REPORT_RESEND_MAX);
        }
    }

    pub(super) const fn next_timeout(&self) -> Option<Duration> {
        self.resend_at
    }
}
