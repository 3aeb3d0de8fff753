//! Every limit of the core, in one place; relations between them are asserted when the crate is compiled.

use core::time::Duration;

use kalitka_protocol::limits::{
    ANSWER_LEN, DATAGRAM_MAX, HANDSHAKE_LEN, INITIATION_INTERVAL_MIN, MESSAGE_HEADER_LEN, MESSAGES_MAX,
    OLD_SESSION_LIFE, SESSION_AGE_MAX, TEXT_MAX,
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

/// How often a worker looks for sessions whose time is over.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Age at which a session's keys are forgotten: until then its datagrams are refused by name.
pub const SESSION_KEPT_MAX: Duration = SESSION_AGE_MAX.saturating_add(OLD_SESSION_LIFE);

/// Seconds that a plan is in force at most, on either side of the moment it is made for. A schedule repeats each week.
pub const PLAN_SECONDS_MAX: i64 = WEEK_SECONDS;
/// Seconds of a week of local time.
pub const WEEK_SECONDS: i64 = 7 * 24 * 3600;

const _: () = {
    assert!(RANDOM_BITS >= 12);
    assert!(SESSIONS_OF_A_READER < 1 << RANDOM_BITS);
    assert!(ANSWER_LEN_MAX < u8::MAX as usize);
    assert!(HANDSHAKE_LEN <= DATAGRAM_MAX);
    assert!(SWEEP_INTERVAL.as_millis() <= OLD_SESSION_LIFE.as_millis());
    assert!(INITIATION_INTERVAL_MIN.as_millis() < OLD_SESSION_LIFE.as_millis());
    assert!(SESSION_KEPT_MAX.as_secs() > SESSION_AGE_MAX.as_secs());
    assert!(PLAN_SECONDS_MAX >= WEEK_SECONDS);
};
