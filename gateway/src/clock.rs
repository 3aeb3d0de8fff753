//! The only file of the gateway that reads clocks, and asks whether they can be believed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kalitka_core::{ClockQuality, Reading, Reckoned, UnixSeconds, Word};
use rtime_clock::adjtime::{Timex, adjtimex};

/// Of the kernel's status of its clock: nobody keeps it.
const STA_UNSYNC: i32 = 0x40;
/// There when the system's own time service has heard of the time since the machine was started.
const SYNCHRONISED_ONCE: &str = "/run/systemd/timesync/synchronized";

/// When something happened, by the time that is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Microseconds since 1970, as reckoned.
    pub(crate) wall_us: i64,
    pub(crate) monotonic: Duration,
    /// How well the former is known.
    pub(crate) quality: ClockQuality,
    /// How often time had jumped so far; it wraps.
    pub(crate) jumps: u8,
}

impl Moment {
    /// The whole second since 1970.
    pub(crate) const fn seconds(&self) -> UnixSeconds {
        UnixSeconds(self.wall_us.div_euclid(1_000_000))
    }
}

/// The process's clocks: monotonic time counts from when this was made, and the time to decide by is that plus what is
/// reckoned, which all copies share.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    start: Instant,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// [`pack`]ed.
    reckoned: AtomicU64,
    /// When the newest durable event happened, once that was read.
    committed_us: AtomicI64,
}

impl Clock {
    /// Starts monotonic time. What time it is nobody has reckoned yet.
    pub(crate) fn start() -> Self {
        let shared =
            Shared { reckoned: AtomicU64::new(pack(Reckoned::NONE, 0)), committed_us: AtomicI64::new(i64::MIN) };
        Self { start: Instant::now(), shared: Arc::new(shared) }
    }

    /// Time since the start; never goes back.
    pub(crate) fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// The moment at which the monotonic clock was at `monotonic`. Costs no look at a clock.
    pub(crate) fn at(&self, monotonic: Duration) -> Moment {
        let (reckoned, jumps) = unpack(self.shared.reckoned.load(Ordering::Acquire));
        Moment { wall_us: reckoned.wall_us(monotonic), monotonic, quality: reckoned.quality, jumps }
    }

    /// This moment.
    pub(crate) fn now(&self) -> Moment {
        self.at(self.monotonic())
    }

    /// From now on time is as `reckoned`; what was published before is seen by whoever sees this.
    pub(crate) fn reckon(&self, reckoned: Reckoned, jumps: u64) {
        self.shared.reckoned.store(pack(reckoned, jumps), Ordering::Release);
    }

    /// The newest durable event happened at `wall_us`, which whoever reckons is to know.
    pub(crate) fn committed(&self, wall_us: i64) {
        self.shared.committed_us.fetch_max(wall_us, Ordering::Relaxed);
    }

    /// What [`committed`](Self::committed) has said, once.
    pub(crate) fn take_committed(&self) -> Option<i64> {
        Some(self.shared.committed_us.swap(i64::MIN, Ordering::Relaxed)).filter(|&wall_us| wall_us > i64::MIN)
    }

    /// Both clocks, and who vouches for the wall clock; always somebody when the configuration does.
    pub(crate) fn read(&self, vouched: bool) -> Reading {
        let word = if vouched { Word::Vouched } else { word_of_the_kernel() };
        Reading { monotonic: self.monotonic(), wall_us: Self::wall_us(), word }
    }

    /// Microseconds since 1970 by the wall clock, which may be anything.
    fn wall_us() -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        }
    }

    /// Who vouches for the wall clock now, by the kernel.
    pub(crate) fn word() -> Word {
        word_of_the_kernel()
    }

    /// Whole seconds since 1970 by the wall clock, which may be anything: for commands that decide nothing.
    pub(crate) fn wall_seconds() -> i64 {
        Self::wall_us().div_euclid(1_000_000)
    }
}

/// The kernel's clock is kept by whoever clears its mark *unsynchronised* (chrony, ntpd, systemd-timesyncd alike) and has
/// gone on doing so: the kernel sets the mark again when the clock is set, and some hours after nobody has kept it. To ask
/// takes no privilege.
fn word_of_the_kernel() -> Word {
    let mut status = Timex::new();
    match adjtimex(&mut status) {
        Ok(_) if status.0.status & STA_UNSYNC == 0 => Word::Vouched,
        _ if Path::new(SYNCHRONISED_ONCE).exists() => Word::Earlier,
        _ => Word::Nobody,
    }
}

/// Bits of the offset: 2^53 microseconds are 285 years.
const OFFSET_BITS: u32 = 54;
/// Bits of the quality.
const QUALITY_BITS: u32 = 2;

/// Offset, quality and the low bits of the jumps in one word, so that nobody sees half of a change.
fn pack(reckoned: Reckoned, jumps: u64) -> u64 {
    const MOST: i64 = (1 << (OFFSET_BITS - 1)) - 1;
    let offset = reckoned.offset_us.clamp(-MOST, MOST).cast_unsigned();
    offset << (u64::BITS - OFFSET_BITS) | u64::from(reckoned.quality.code()) << (u8::BITS) | jumps & 0xff
}

fn unpack(packed: u64) -> (Reckoned, u8) {
    let [jumps, quality, ..] = packed.to_le_bytes();
    let quality = ClockQuality::from_code(quality & ((1 << QUALITY_BITS) - 1)).unwrap_or(ClockQuality::None);
    (Reckoned { offset_us: packed.cast_signed() >> (u64::BITS - OFFSET_BITS), quality }, jumps)
}

const _: () = assert!(OFFSET_BITS + QUALITY_BITS + u8::BITS == u64::BITS);

#[cfg(test)]
impl Clock {
    /// This clock after `time` in which nobody has done anything.
    pub(crate) fn after(&self, time: Duration) -> Self {
        Self { start: self.start - time, ..self.clone() }
    }

    /// A clock whose wall clock is good, read once.
    pub(crate) fn good() -> Self {
        let clock = Self::start();
        let reckoned = Reckoned { offset_us: Self::wall_us(), quality: ClockQuality::Good };
        clock.reckon(reckoned, 0);
        clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reckoned_comes_through_one_word() {
        const MOST: i64 = (1 << 53) - 1;
        for offset_us in [0, 1, -1, 1_795_890_371_404_554, MOST, -MOST] {
            for &quality in ClockQuality::ALL {
                for jumps in [0, 1, 255, 256, u64::MAX] {
                    let reckoned = Reckoned { offset_us, quality };
                    assert_eq!(unpack(pack(reckoned, jumps)), (reckoned, jumps.to_le_bytes()[0]));
                }
            }
        }
    }

    #[test]
    fn the_kernel_is_asked_without_privilege_and_a_vouching_configuration_goes_before() {
        let clock = Clock::start();
        assert_eq!(clock.read(true).word, Word::Vouched);
        let mut status = Timex::new();
        adjtimex(&mut status).unwrap();
        let is_kept = status.0.status & STA_UNSYNC == 0;
        assert_eq!(clock.read(false).word == Word::Vouched, is_kept);
    }

    #[test]
    fn moment_is_reckoned_from_the_monotonic_clock() {
        let clock = Clock::start();
        assert_eq!(clock.at(Duration::from_secs(7)).quality, ClockQuality::None);
        clock.reckon(Reckoned { offset_us: 5_000_000, quality: ClockQuality::Held }, 3);
        let moment = clock.at(Duration::from_millis(2500));
        assert_eq!((moment.wall_us, moment.seconds(), moment.jumps), (7_500_000, UnixSeconds(7), 3));
        assert_eq!(moment.quality, ClockQuality::Held);
    }
}
