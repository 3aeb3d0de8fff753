//! Every limit of the load generator, in one place.

use std::time::Duration;

/// Fewest holders of an invented school: room for the two whose cards collide.
pub const HOLDERS_MIN: u32 = 50;
/// Most holders of an invented school.
pub const HOLDERS_MAX: u32 = 1_000_000;
/// Readers that one run plays.
pub const READERS_MAX: usize = 256;
/// Asks a second that an open-loop run may want.
pub const RATE_MAX: u32 = 500_000;
/// Seconds of one run.
pub const DURATION_MAX: u32 = 7 * 24 * 3600;
/// Asks of one reader that wait for it or for their answer; one more is given up and counted.
pub const QUEUE_MAX: usize = 1024;
/// Asks outstanding at each reader of a closed-loop run.
pub const WINDOW_MAX: usize = 64;
/// Wrong answers that are written out; more are only counted.
pub const WRONG_SHOWN: usize = 20;
/// Reports of one run; readers that have made so many report no more.
pub const REPORTS_MAX: u64 = 20_000_000;
/// Bytes of a key file.
pub const KEYS_BYTES_MAX: u64 = 1 << 20;

/// An ask not answered so long after the card was shown never will be: its reader no longer acts on the answer.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(2);
/// An ask unanswered at the gateway's end may have been on its way if it is younger; both its resends have gone by then.
pub const IN_FLIGHT: Duration = Duration::from_millis(150);
/// How often a card is shown while a run only waits for something to happen.
pub const ENCORE_EVERY: Duration = Duration::from_millis(100);
/// The loop stops sleeping so long before something is due, and spins.
pub const SPIN: Duration = Duration::from_micros(60);
/// The loop looks about at least so often.
pub const TURN_MAX: Duration = Duration::from_millis(20);
/// Highest latency that the histograms tell apart.
pub const LATENCY_MAX: Duration = Duration::from_secs(10);
/// How long readers may take to get their sessions before a run begins.
pub const WARM_UP_MAX: Duration = Duration::from_secs(5);
/// How long a child process may take to be ready or to end.
pub const CHILD_PATIENCE: Duration = Duration::from_secs(15);
/// How long a run waits for receipts of its last reports.
pub const RECEIPTS_WITHIN: Duration = Duration::from_secs(30);
/// How long the hub may take to hold all that is receipted: a lost connection is noticed and made anew in that time.
pub const AT_HUB_WITHIN: Duration = Duration::from_secs(90);
/// How long to wait between two looks at a hub.
pub const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a command or snapshot may take from the hub to the gateway and its answer back.
pub const HAND_DOWN_WITHIN: Duration = Duration::from_secs(60);
