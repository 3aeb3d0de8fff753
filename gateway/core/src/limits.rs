//! Every limit of the core, in one place; relations between them are asserted when the crate is compiled.

use core::time::Duration;

use kalitka_protocol::limits::{
    ANSWER_LEN, COMMAND_AGE_MAX, DATAGRAM_MAX, HANDSHAKE_LEN, INITIATION_INTERVAL_MIN, MESSAGE_HEADER_LEN,
    MESSAGES_MAX, OLD_SESSION_LIFE, PING_INTERVAL, SESSION_AGE_MAX, TEXT_MAX,
};

/// Bits of a session's number that name its worker: the lowest.
pub const WORKER_BITS: u32 = 6;
/// Bits of a session's number above those, that name the reader's place at its worker.
pub const PLACE_BITS: u32 = 12;
/// Random bits of a session's number: the rest.
pub const RANDOM_BITS: u32 = u32::BITS - WORKER_BITS - PLACE_BITS;
/// Workers of one gateway, at most.
pub const WORKERS_MAX: u8 = 1 << WORKER_BITS;
/// Readers of one gateway, at most.
pub const READERS_MAX: usize = 1 << PLACE_BITS;
/// Sessions of one reader: pending, current, old.
pub const SESSIONS_OF_A_READER: usize = 3;

/// Bytes of the longest answer message that is kept to be repeated.
pub const ANSWER_LEN_MAX: usize = MESSAGE_HEADER_LEN + ANSWER_LEN + TEXT_MAX;
/// Effects of one datagram: one a message, and [`SessionOpened`](crate::Effect::SessionOpened),
/// [`NoRoom`](crate::Effect::NoRoom) and [`Skipped`](crate::Effect::Skipped) besides.
pub const EFFECTS_MAX: usize = MESSAGES_MAX + 3;

/// Commands that wait for one reader at most, the one under way among them.
pub const COMMANDS_MAX: usize = 4;
/// How long after a command was sent it is sent again.
pub const COMMAND_REPEAT: Duration = Duration::from_millis(250);

/// Credentials that operators have blocked or unblocked and that no snapshot contains yet, at most.
pub const OVERLAY_MAX: usize = 65_536;
/// Readers whose portal's mode operators have set, at most; besides the mode set for all.
pub const OVERLAY_MODES_MAX: usize = READERS_MAX;

/// Logs remembered of a reader: those of which reports were taken last.
pub const LOGS_OF_A_READER: usize = 8;
/// Readers whose logs are remembered: those of which reports were taken last. More than have keys at any one time, so that
/// a reader that was taken away and comes back is known.
pub const READERS_REMEMBERED: usize = 4 * READERS_MAX;

/// How often a worker looks for sessions whose time is over.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Portals at which decisions are counted one by one: the first of the snapshot's list. Those beyond are counted together.
pub const PORTALS_COUNTED_MAX: usize = 128;
/// Pauses between pings of which the mean says how fast a reader's clock runs: of half a minute in which nobody comes.
pub const PULSES: u32 = 30;
/// A shorter pause before a ping is none that a reader's clock has made: a datagram was late before it.
pub const PULSE_MIN: Duration = Duration::from_millis(400);
/// A longer one likewise: a ping was lost in it.
pub const PULSE_MAX: Duration = Duration::from_millis(1600);
/// Age at which a session's keys are forgotten: until then its datagrams are refused by name.
pub const SESSION_KEPT_MAX: Duration = SESSION_AGE_MAX.saturating_add(OLD_SESSION_LIFE);

/// Seconds that a plan is in force at most, on either side of the moment it is made for. A schedule repeats each week.
pub const PLAN_SECONDS_MAX: i64 = WEEK_SECONDS;
/// Seconds of a week of local time.
pub const WEEK_SECONDS: i64 = 7 * 24 * 3600;

/// Before this moment, the beginning of 2026, no clock can be right: there was no such software. Microseconds since 1970.
pub const PLAUSIBLE_FROM_US: i64 = 1_767_225_600_000_000;
/// Microseconds by which wall and monotonic clock move apart from one reading to the next, from which on the wall clock
/// counts as having jumped.
pub const CLOCK_JUMP_US: i64 = 1_000_000;
/// Microseconds that a wall clock may lie behind what is known to have passed, and be believed: clocks of publishers and
/// gateways differ, and who keeps a clock sets it back a little now and then.
pub const CLOCK_BACK_US: i64 = 60_000_000;
/// How long somebody must vouch without a break, and the wall clock not jump, to be believed further back.
pub const CLOCK_CONFIRM: Duration = Duration::from_secs(600);
/// How long time that was good stays so when nobody vouches any more: a poor clock goes wrong by two minutes in it.
pub const CLOCK_COAST: Duration = Duration::from_secs(30 * 24 * 3600);

const _: () = {
    assert!(CLOCK_BACK_US > CLOCK_JUMP_US);
    assert!(RANDOM_BITS >= 12 && WORKER_BITS + PLACE_BITS + RANDOM_BITS == u32::BITS);
    assert!(SESSIONS_OF_A_READER < 1 << RANDOM_BITS);
    assert!(ANSWER_LEN_MAX < u8::MAX as usize);
    assert!(HANDSHAKE_LEN <= DATAGRAM_MAX);
    assert!(SWEEP_INTERVAL.as_millis() <= OLD_SESSION_LIFE.as_millis());
    assert!(INITIATION_INTERVAL_MIN.as_millis() < OLD_SESSION_LIFE.as_millis());
    assert!(SESSION_KEPT_MAX.as_secs() > SESSION_AGE_MAX.as_secs());
    assert!(COMMANDS_MAX <= EFFECTS_MAX);
    assert!(COMMAND_REPEAT.as_millis() < COMMAND_AGE_MAX.as_millis());
    assert!(PLAN_SECONDS_MAX >= WEEK_SECONDS);
    assert!(READERS_REMEMBERED >= 2 * READERS_MAX);
    assert!(PULSE_MIN.as_millis() < PING_INTERVAL.as_millis() && PULSE_MAX.as_millis() < 2 * PING_INTERVAL.as_millis());
};
