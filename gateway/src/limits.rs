//! Every limit of the shell, in one place.

use std::time::Duration;

use kalitka_core::limits::READERS_MAX;
use kalitka_protocol::limits::{COMMAND_BODY_MAX, EVENT_LEN_MAX};

/// Publishers' keys that are configured at a time: the present one and the next.
pub(crate) const PUBLISHERS_MAX: usize = 2;
/// Operators' keys that are configured.
pub(crate) const OPERATORS_MAX: usize = 32;
/// Access levels that may be configured as essential.
pub(crate) const ESSENTIAL_LEVELS_MAX: usize = 64;
/// Days after which a snapshot may be configured to be stale: ten years.
pub(crate) const STALE_AFTER_DAYS_MAX: u16 = 3650;
/// Seconds of a day.
pub(crate) const DAY_SECONDS: i64 = 24 * 3600;
/// Bytes of the key file and of the stamp file: a line of each is under 128 bytes.
pub(crate) const STATE_FILE_BYTES_MAX: u64 = READERS_MAX as u64 * 128 + 4096;
/// Datagrams that a worker takes under one view of the world.
pub(crate) const BATCH_MAX: usize = 32;
/// Datagrams that wait for a worker to which others hand them over.
pub(crate) const HAND_OVER_MAX: usize = 64;
/// Handshakes with authentic readers for which a worker has time before it answers what has come in between: each takes up
/// to 0.3 ms.
pub(crate) const HANDSHAKES_A_TURN: usize = 4;
/// Bytes of the kernel's receive buffer that a worker's socket asks for if nothing else is configured: room for some
/// 10,000 asks, because the kernel grants twice as much and counts its own overhead.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Bytes of it that may be asked for.
pub(crate) const RECEIVE_BUFFER_BYTES_MAX: usize = 1 << 30;
/// Bytes of it that must be asked for: two batches of the longest datagrams.
pub(crate) const RECEIVE_BUFFER_BYTES_MIN: usize = 1 << 16;
/// How long a worker may be told to look for the next datagram before it sleeps.
pub(crate) const SPIN_US_MAX: u32 = 10_000;
/// Number of the last core that the kernel's sets have room for.
pub(crate) const CORE_MAX: u16 = 1023;
/// How long an idle worker sleeps before it shows that it lives.
pub(crate) const WORKER_HEARTBEAT: Duration = Duration::from_millis(200);
/// How long an idle worker sleeps that cannot be called.
pub(crate) const UNCALLED_PATIENCE: Duration = Duration::from_millis(2);
/// How long a worker lets its socket be after a receive call that failed.
pub(crate) const RECEIVE_PAUSE: Duration = Duration::from_millis(10);
/// Bytes of the kernel's list of UDP sockets that are read for our sockets' drops: some 65,000 sockets.
pub(crate) const PROC_NET_UDP_MAX: u64 = 8 << 20;
/// Age of a heartbeat at which a worker counts as stuck.
pub(crate) const WORKER_STUCK_AFTER: Duration = Duration::from_secs(2);
/// How long a reader that has a key may be silent before it counts as down: it speaks each second (SPEC 10.4).
pub(crate) const READER_SILENT_AFTER: Duration = Duration::from_secs(5);
/// Readers that metrics show one by one: the lowest numbers. Those beyond are shown together.
pub(crate) const READERS_SHOWN_MAX: usize = 128;
/// Stamps on their way to the keeper.
pub(crate) const STAMPS_WAITING_MAX: usize = 1024;
/// Least time between two writings of the stamp file.
pub(crate) const STAMPS_WRITE_INTERVAL: Duration = Duration::from_millis(200);
/// Files in the inbox that are looked at: the newest. Older ones beyond are not.
pub(crate) const INBOX_FILES_MAX: usize = 64;
/// How often time and the schedule are followed, at the latest.
pub(crate) const SCHEDULE_TICK: Duration = Duration::from_millis(500);
/// After how long a file is tried again that only the machine kept from adoption: a full disk, a file that cannot be read.
pub(crate) const ADOPT_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Orders that wait for the adopter.
pub(crate) const ADOPTIONS_WAITING_MAX: usize = 8;
/// Bytes of a request on the control socket, its newline counted.
pub(crate) const CONTROL_LINE_MAX: u64 = 8 * 1024;
/// Bytes of a reply on the control socket: a list of [`READERS_MAX`] readers fits.
pub(crate) const CONTROL_REPLY_MAX: u64 = 256 * 1024;
/// How long either end of the control socket waits for the other.
pub(crate) const CONTROL_PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection to the control socket may stay without asking.
pub(crate) const CONTROL_IDLE_MAX: Duration = Duration::from_secs(5);
/// HTTP connections at a time.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 32;
/// How long an HTTP connection lives, whatever is said on it.
pub(crate) const HTTP_CONNECTION_LIFE: Duration = Duration::from_secs(5);
/// How often the workers' counters are copied to where they are served from.
pub(crate) const COLLECT_INTERVAL: Duration = Duration::from_secs(1);
/// Of a file with an enrolment token: far more than the token and what the hub prints below it.
pub(crate) const TOKEN_BYTES_MAX: usize = 4096;
/// How long the end of the process waits for connections that are being served.
pub(crate) const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(1);
/// How long the end of the process lets workers answer while the journal settles.
pub(crate) const SETTLE_PATIENCE: Duration = Duration::from_secs(1);
/// How long the end of the process waits for what is being written: a disk that hangs does not keep it.
pub(crate) const WRITTEN_PATIENCE: Duration = Duration::from_secs(10);
/// Records of one worker that wait for the journal if nothing else is configured: at 100,000 decisions a second more than half a second of a disk that hangs.
pub(crate) const JOURNAL_RING: usize = 65_536;
/// The least that may be configured.
pub(crate) const JOURNAL_RING_MIN: usize = 4096;
/// The most that may be configured, some 700 MiB.
pub(crate) const JOURNAL_RING_MAX: usize = 4 << 20;
/// What waits for the journal of others than workers.
pub(crate) const JOURNAL_DOOR_MAX: usize = 1024;
/// Records that are taken of one worker before it is another's turn.
pub(crate) const JOURNAL_TURN: usize = 64;
/// How long the journal lets things come together while they keep coming: a report waits for its commit so long at most.
pub(crate) const JOURNAL_NAP: Duration = Duration::from_millis(2);
/// Naps in which nothing comes before the journal sleeps and must be woken.
pub(crate) const JOURNAL_NAPS: u32 = 10;
/// How long decisions wait for others to share their commit.
pub(crate) const COMMIT_DELAY: Duration = Duration::from_millis(25);
/// Events of one commit.
pub(crate) const COMMIT_EVENTS_MAX: usize = 1024;
/// Bytes of one commit at which it is full: with the event that fills it, one block of the outbox.
pub(crate) const COMMIT_BYTES_MAX: usize = 120 * 1024;
/// Bytes of events that are kept in memory while the store takes nothing; what is beyond is counted.
pub(crate) const KEPT_BYTES_MAX: usize = 4 << 20;
/// How often the journal looks after itself: deadlines, attempts that are due, its status.
pub(crate) const JOURNAL_TICK: Duration = Duration::from_millis(250);
/// First pause before the store is opened anew; it doubles.
pub(crate) const STORE_AGAIN_MIN: Duration = Duration::from_millis(500);
/// Longest such pause.
pub(crate) const STORE_AGAIN_MAX: Duration = Duration::from_secs(5);
/// Failed openings, one after the other, for which what the disk does not give is awaited, some 12 s with their pauses; then
/// it is taken for lost.
pub(crate) const UNREADABLE_OPENINGS_MAX: u32 = 5;
/// How long a turn of the journal may take before it counts as held up by the disk.
pub(crate) const JOURNAL_STUCK_AFTER: Duration = Duration::from_secs(2);
/// Events after which a checkpoint is written, if the newest has some age.
pub(crate) const CHECKPOINT_EVENTS: u64 = 10_000;
/// That age.
pub(crate) const CHECKPOINT_PAUSE: Duration = Duration::from_secs(1);
/// Whatever its age, a checkpoint is written after one part in so many of what the outbox may hold: nothing behind the older
/// one gives way to the bound.
pub(crate) const CHECKPOINT_PART: u64 = 16;
/// Age of the newest checkpoint at which another is written, if anything has happened.
pub(crate) const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// How often, while the outbox is at its bound, a loss says how many decisions were not taken: each of them takes room.
pub(crate) const CROWDED_LOSS_PAUSE: Duration = Duration::from_secs(600);
/// From how much of the outbox's bound, and of its disk, in percent, they count as nearly full.
pub(crate) const FULL_PERCENT: u8 = 80;
/// Below how much that is over.
pub(crate) const FULL_PERCENT_OVER: u8 = 75;
/// Bytes of events that are read at a time when the fold is made anew.
pub(crate) const REPLAY_BYTES: usize = 1 << 20;
/// Commits whose events wait for the live lane: a slower one misses some.
pub(crate) const LIVE_COMMITS_MAX: usize = 256;
/// Receipts and commands that wait for a worker.
pub(crate) const POSTS_WAITING_MAX: usize = 4096;
/// Commands under way to readers, or waiting for the disk.
pub(crate) const COMMANDS_UNDER_WAY_MAX: usize = 64;
/// Bytes that an operator signs, at most (SPEC 15.8).
pub(crate) const COMMAND_SIGNED_MAX: usize = 17 + 54 + COMMAND_BODY_MAX;
/// How long a command to readers is tried at most, whatever its *not after* says.
pub(crate) const COMMAND_PATIENCE: Duration = Duration::from_secs(60);
/// How long after a command's end its readers' results are waited for.
pub(crate) const COMMAND_RESULT_PATIENCE: Duration = Duration::from_secs(2);

const _: () = {
    assert!(COMMIT_BYTES_MAX + EVENT_LEN_MAX <= 128 * 1024);
    assert!(KEPT_BYTES_MAX >= COMMIT_BYTES_MAX * 2);
    assert!(JOURNAL_NAP.as_millis() * 2 <= COMMIT_DELAY.as_millis());
    assert!(JOURNAL_TICK.as_millis() * 2 <= STORE_AGAIN_MIN.as_millis());
    assert!(CORE_MAX as usize + 1 == rustix::thread::CpuSet::MAX_CPU);
    assert!(WORKER_HEARTBEAT.as_millis() * 4 < WORKER_STUCK_AFTER.as_millis());
    assert!(CONTROL_IDLE_MAX.as_millis() < CONTROL_PATIENCE.as_millis());
    assert!(CONTROL_REPLY_MAX > READERS_MAX as u64 * 32);
};

/// Bits a second of the slowest and of the fastest serial line.
pub(crate) const BAUD_MIN: u32 = 300;
/// See [`BAUD_MIN`].
pub(crate) const BAUD_MAX: u32 = 4_000_000;
/// Serial ports that are configured.
pub(crate) const SERIAL_PORTS_MAX: usize = 32;
/// Datagrams that wait for a serial line: at 115,200 baud 16 answers take 0.2 s.
pub(crate) const LINE_WAITING_MAX: usize = 16;
/// Bytes of a serial line that are read at a time.
pub(crate) const LINE_READ_BYTES: usize = 1024;
/// How long a serial port may take nothing before it is opened anew.
pub(crate) const LINE_WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// First pause before a serial port is opened again; it doubles.
pub(crate) const REOPEN_MIN: Duration = Duration::from_millis(100);
/// Longest such pause.
pub(crate) const REOPEN_MAX: Duration = Duration::from_secs(1);
/// Bytes without a frame, and since when at least, from which on a serial line counts as not understood.
pub(crate) const UNREADABLE_BYTES: u64 = 32;
/// See [`UNREADABLE_BYTES`]. A reader without a session speaks every 2.5 s.
pub(crate) const UNREADABLE_AFTER: Duration = Duration::from_secs(5);
/// How often it is said that a line is not understood.
pub(crate) const UNREADABLE_SAID_EVERY: Duration = Duration::from_secs(60);
/// Ports that are looked at for a list of them.
pub(crate) const PORTS_LISTED_MAX: usize = 1024;
/// Seconds for which a line is monitored.
pub(crate) const MONITOR_SECONDS_MAX: i64 = 7 * 86_400;
/// Bytes of the kernel's list of locks that are looked at for who has a port.
pub(crate) const LOCKS_BYTES_MAX: u64 = 1 << 20;

/// How often old events are looked for, unless what is kept is younger.
pub(crate) const PURGE_INTERVAL: Duration = Duration::from_secs(3600);
/// How often the outbox is copied afresh after removals, unless what is kept is younger.
pub(crate) const RENEWAL_INTERVAL: Duration = Duration::from_secs(86_400);

/// Lines with OSDP devices.
pub(crate) const OSDP_BUSES_MAX: usize = 8;
/// Bits a second that OSDP knows.
pub(crate) const OSDP_BAUDS: [u32; 6] = [9600, 19_200, 38_400, 57_600, 115_200, 230_400];
/// Reports of an OSDP device that wait for the journal.
pub(crate) const OSDP_REPORTS_MAX: usize = 256;
/// Passes at an OSDP device that are awaited at a time: with 30 people a minute and 5 s to go, three.
pub(crate) const OSDP_PASSES_AWAITED_MAX: usize = 4;
/// How soon after they are let pass most people are seen to go through, and before which the next is seldom let pass if they
/// have turned away.
pub(crate) const OSDP_WALK: Duration = Duration::from_millis(1500);
/// How long after it came a command to an OSDP reader is done at the latest: its number goes to the disk first.
pub(crate) const OSDP_COMMAND_AGE_MAX: Duration = Duration::from_secs(2);
/// Orders that wait for a line.
pub(crate) const OSDP_ORDERS_MAX: usize = 4;
/// Bytes that are taken from a line at a time.
pub(crate) const OSDP_READ_MAX: usize = 1024;
/// How often port and socket are asked for more in one look of a line: noise that never ends keeps nothing else waiting.
pub(crate) const OSDP_READS_A_LOOK: usize = 16;
/// What was learnt of devices and waits for the disk: each install window gives two of them.
pub(crate) const OSDP_LEARNT_MAX: usize = 64;
/// How often a line looks after what is not due by itself: keys, counters, a port that is gone.
pub(crate) const OSDP_TICK: Duration = Duration::from_millis(250);
/// How often a port that is not there is looked for.
pub(crate) const OSDP_PORT_RETRY: Duration = Duration::from_secs(1);
/// How long a line waits at most before it looks.
pub(crate) const OSDP_WAIT_MAX: Duration = Duration::from_millis(250);
/// The shortest install window.
pub(crate) const OSDP_WINDOW_MIN: Duration = Duration::from_secs(5);
/// The longest: who forgets it leaves no door open to whoever comes with a device of his own.
pub(crate) const OSDP_WINDOW_MAX: Duration = Duration::from_secs(600);

/// Files of the state folder whose permissions are looked at, and how deep it is gone into.
pub(crate) const DOCTOR_FILES_MAX: usize = 10_000;
/// See [`DOCTOR_FILES_MAX`].
pub(crate) const DOCTOR_DEPTH_MAX: usize = 4;
/// Processes that are looked through for who has a port.
pub(crate) const DOCTOR_PROCESSES_MAX: usize = 32_768;
/// From how full a disk counts as wrong, in percent.
pub(crate) const DISK_WRONG_PERCENT: u8 = 95;
/// From how long a confirmed write counts as slow.
pub(crate) const SYNC_SLOW: Duration = Duration::from_millis(100);
/// From how long it counts as wrong.
pub(crate) const SYNC_WRONG: Duration = Duration::from_secs(1);
/// Days from which a snapshot counts as old.
pub(crate) const SNAPSHOT_OLD_DAYS: i64 = 3;
/// Days before a gateway's certificate ends for which that is noticed: its renewal has been due for months.
pub(crate) const CERTIFICATE_ENDS_DAYS: i64 = 60;
/// The same of the CA's, after which every box must be enrolled again.
pub(crate) const CA_ENDS_DAYS: i64 = 180;
/// How long a running gateway's metrics are waited for.
pub(crate) const SCRAPE_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of them that are read.
pub(crate) const SCRAPE_BYTES_MAX: u64 = 4 << 20;

/// How much the adopter's thread gives way to the workers (`nice`, 0 to 19).
pub(crate) const ADOPTER_NICENESS: i32 = 10;
/// The same of the journal's, which nobody waits for but whoever wants a receipt.
pub(crate) const JOURNAL_NICENESS: i32 = 10;

/// Readers that the status page names; the rest is counted.
pub(crate) const PAGE_READERS_MAX: usize = 64;
/// Portals that it names.
pub(crate) const PAGE_PORTALS_MAX: usize = 32;
/// Reasons of refusals that it names.
pub(crate) const PAGE_REASONS_MAX: usize = 12;
/// For how long a refused snapshot and refused people count as of late there.
pub(crate) const PAGE_RECENT: Duration = Duration::from_secs(900);
/// After how long without the hub it says so: a connection that breaks comes back before that.
pub(crate) const PAGE_HUB_AWAY: Duration = Duration::from_secs(60);
