//! Every limit of the shell, in one place.

use std::time::Duration;

use kalitka_core::limits::READERS_MAX;

/// Bytes of the configuration file.
pub(crate) const CONFIG_BYTES_MAX: u64 = 64 * 1024;
/// Publishers' keys that are configured at a time: the present one and the next.
pub(crate) const PUBLISHERS_MAX: usize = 2;
/// Bytes of the key file and of the stamp file: a line of each is under 128 bytes.
pub(crate) const STATE_FILE_BYTES_MAX: u64 = READERS_MAX as u64 * 128 + 4096;
/// Datagrams that a worker takes under one view of the world.
pub(crate) const BATCH_MAX: usize = 32;
/// Datagrams that wait for a worker to which others hand them over.
pub(crate) const HAND_OVER_MAX: usize = 64;
/// Bytes of the kernel's receive buffer that a worker's socket asks for: some 1,300 datagrams.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// How long an idle worker sleeps before it shows that it lives.
pub(crate) const WORKER_HEARTBEAT: Duration = Duration::from_millis(200);
/// Age of a heartbeat at which a worker counts as stuck.
pub(crate) const WORKER_STUCK_AFTER: Duration = Duration::from_secs(2);
/// Stamps on their way to the keeper.
pub(crate) const STAMPS_WAITING_MAX: usize = 1024;
/// Least time between two writings of the stamp file.
pub(crate) const STAMPS_WRITE_INTERVAL: Duration = Duration::from_millis(200);
/// Files in the inbox that are looked at: the newest. Older ones beyond are not.
pub(crate) const INBOX_FILES_MAX: usize = 64;
/// How often the schedule is followed, at the latest.
pub(crate) const SCHEDULE_TICK: Duration = Duration::from_millis(500);
/// After how long a file is tried again that only the machine kept from adoption: a full disk, a file that cannot be read.
pub(crate) const ADOPT_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Orders that wait for the adopter.
pub(crate) const ADOPTIONS_WAITING_MAX: usize = 8;
/// Bytes of a request on the control socket, its newline counted.
pub(crate) const CONTROL_LINE_MAX: u64 = 8 * 1024;
/// Bytes of a reply on the control socket: a list of [`READERS_MAX`] readers fits.
pub(crate) const CONTROL_REPLY_MAX: u64 = 256 * 1024;
/// Connections to the control socket at a time.
pub(crate) const CONTROL_CONNECTIONS_MAX: usize = 16;
/// How long either end of the control socket waits for the other.
pub(crate) const CONTROL_PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection to the control socket may stay without asking.
pub(crate) const CONTROL_IDLE_MAX: Duration = Duration::from_secs(5);
/// How long control waits after the system gave it no connection.
pub(crate) const CONTROL_ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// HTTP connections at a time.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 32;
/// How long an HTTP connection lives, whatever is said on it.
pub(crate) const HTTP_CONNECTION_LIFE: Duration = Duration::from_secs(5);
/// How often the workers' counters are copied to where they are served from.
pub(crate) const COLLECT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of the process waits for connections that are being served.
pub(crate) const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(1);

const _: () = {
    assert!(WORKER_HEARTBEAT.as_millis() * 4 < WORKER_STUCK_AFTER.as_millis());
    assert!(CONTROL_IDLE_MAX.as_millis() < CONTROL_PATIENCE.as_millis());
    assert!(CONTROL_REPLY_MAX > READERS_MAX as u64 * 32);
};

/// How much the adopter's thread gives way to the workers (`nice`, 0 to 19).
pub(crate) const ADOPTER_NICENESS: i32 = 10;
