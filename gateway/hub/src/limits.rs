//! Every limit of the hub, in one place.

use std::time::Duration;

use kalitka_protocol::limits::{BODY_MAX, PACE_BYTES_MIN};

/// Publishers' keys that gateways are given: the present one and the next.
pub(crate) const PUBLISHERS_MAX: usize = 2;
/// Operators' keys that gateways are given.
pub(crate) const OPERATORS_MAX: usize = 32;

/// Connections of gateways at a time, those that are still shaking hands included.
pub(crate) const CONNECTIONS_MAX: usize = 10_000;
/// Connections shaking hands at a time from which on an address has to prove itself first.
pub(crate) const HANDSHAKES_UNPROVED_MAX: usize = 64;
/// Connections shaking hands at a time, beyond which a new one is refused.
pub(crate) const HANDSHAKES_MAX: usize = 512;
/// Connections shaking hands at a time from one address, or one IPv6 network of 64 bits, from which on that has to prove
/// itself first.
pub(crate) const HANDSHAKES_OF_ONE_UNPROVED_MAX: usize = 8;
/// The same, beyond which a new one is refused: a city behind one address comes in by turns.
pub(crate) const HANDSHAKES_OF_ONE_MAX: usize = 128;
/// How long after a batch its wait counts as the gateway's lag.
pub(crate) const LAG_LIFE: Duration = Duration::from_secs(60);
/// How long a handshake may take.
pub(crate) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may stay silent before it counts as gone.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(20);
/// How often an idle connection is asked for a sign of life.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long a connection may stay without a sign of life once another one of its building has come.
pub(crate) const LIFE_PATIENCE: Duration = Duration::from_secs(5);
/// How often one looks for it.
pub(crate) const LIFE_LOOK: Duration = Duration::from_millis(100);
/// How often one looks whether a gateway's address has changed.
pub(crate) const ADDRESS_LOOK: Duration = Duration::from_millis(500);
/// How long a gateway may take from its connection to its hello.
pub(crate) const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// Bidirectional streams that a gateway may open: its record stream, and a renewal.
pub(crate) const STREAMS_MAX: u32 = 2;
/// Batches of one connection that wait for the writer.
pub(crate) const BATCHES_WAITING_MAX: usize = 8;

/// Bytes of one stream that wait to be read.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Bytes of one connection that wait to be read, before its gateway is told its pace.
pub(crate) const RECEIVE_WINDOW_BYTES: u32 = 128 << 10;
/// Bytes of events that all gateways together may have sent and not acknowledged: each is told its part (SPEC 15.16).
pub(crate) const PACED_BYTES: u32 = 64 << 20;
/// The most that one gateway is told.
pub(crate) const PACE_BYTES_MAX: u32 = 2 << 20;
/// Bytes of batches of all connections that are read and not yet durable.
pub(crate) const BATCH_BYTES_MAX: usize = 64 << 20;
/// How long a batch may take from its head to its end, once there is room for it.
pub(crate) const BATCH_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of live datagrams of one connection that wait to be read; older ones are lost.
pub(crate) const LIVE_BUFFER_BYTES: usize = 64 << 10;
/// How often a building's history is countersigned.
pub(crate) const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(3600);

/// Works that wait for the writer, of all connections.
pub(crate) const WRITER_WAITING_MAX: usize = 1024;
/// Bytes of batches that are written in one commit, but for the last one.
pub(crate) const GROUP_BYTES_MAX: usize = 8 << 20;
/// Bytes of a record of the store: with what redb puts before it, it fills a page of 64 KiB.
pub(crate) const RECORD_BYTES_MAX: usize = 65_000;
/// Identities with another hash that are remembered, of each building.
pub(crate) const FORKS_MAX: usize = 1000;
/// Bytes of memory for pages of the store.
pub(crate) const STORE_CACHE_BYTES: usize = 256 << 20;
/// Pause before the store is opened again after an error, at first and at most.
pub(crate) const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(250);
/// See [`REOPEN_PAUSE_MIN`].
pub(crate) const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often one looks whether a step that writes has come to its end.
pub(crate) const STORE_LOOK: Duration = Duration::from_millis(500);
/// How long such a step may take before it is an alarm.
pub(crate) const STORE_STUCK_AFTER: Duration = Duration::from_secs(2);
/// Bytes of the store's file that are read and written again at a time.
pub(crate) const REWRITE_BYTES: usize = 1 << 20;
/// Bytes that stay free on the store's file system: below, nothing is taken.
pub(crate) const DISK_RESERVE_BYTES: u64 = 16 << 20;

/// Records of events that one step of a purge removes: some 30 MB.
pub(crate) const PURGE_RECORDS_MAX: usize = 512;
/// Records of purges that are kept in all, beside the newest one of each epoch.
pub(crate) const PURGES_KEPT_MAX: u64 = 100_000;
/// How often old events are purged, unless what is kept is younger.
pub(crate) const PURGE_INTERVAL: Duration = Duration::from_secs(86_400);
/// How long after its start a hub first purges, unless what is kept is younger.
pub(crate) const PURGE_FIRST: Duration = Duration::from_secs(600);
/// How much older than what is kept the oldest event may be before somebody has to look.
pub(crate) const PURGE_SLACK: Duration = Duration::from_secs(2 * 86_400);
/// Pause between two steps of a purge or a scrubbing, in which batches are written.
pub(crate) const PURGE_PAUSE: Duration = Duration::from_millis(20);
/// Bytes of a value that fills 16 pages of the store, with what redb puts before it.
pub(crate) const SCRUB_LARGE_BYTES: usize = 61_440;
/// How many of them one step fills at most.
pub(crate) const SCRUB_LARGE_MAX: u64 = 128;
/// Bytes of a value of which one fills a page.
pub(crate) const SCRUB_SMALL_BYTES: usize = 3000;
/// How many of them one step fills at most.
pub(crate) const SCRUB_SMALL_MAX: u64 = 2048;
/// And at least: so many pages are left for the filling's own removal.
pub(crate) const SCRUB_SMALL_MIN: u64 = 64;

/// Bytes of the store's file up to which it is made compact after a purge.
pub(crate) const COMPACT_BYTES_MAX: u64 = 256 << 20;

/// Live events on their way to the slowest listener; older ones are left out for it.
pub(crate) const LIVE_WAITING_MAX: usize = 4096;
/// Identities of live events that are remembered, of each building, so that a repeat is dropped.
pub(crate) const LIVE_SEEN_MAX: usize = 1024;
/// How often metrics are tidied up and new alarms are kept.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Alarms that are kept: the newest.
pub(crate) const ALARMS_MAX: usize = 1000;
/// How long a repeated alarm is counted onto the one before.
pub(crate) const ALARM_REPEAT: Duration = Duration::from_secs(60);

/// Bytes of a request on the control socket, its newline counted: an envelope in hex fits.
pub(crate) const CONTROL_LINE_MAX: u64 = 16 * 1024;
/// Bytes of a line of a reply on the control socket.
pub(crate) const CONTROL_REPLY_MAX: u64 = 1 << 20;
/// How long either end of the control socket waits for the other.
pub(crate) const CONTROL_PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection to the control socket may stay without asking.
pub(crate) const CONTROL_IDLE_MAX: Duration = Duration::from_secs(5);
/// Findings of a verification that are named; more are counted.
pub(crate) const FINDINGS_MAX: usize = 1000;
/// Bytes of events that are read from the store at a time.
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 20;
/// How long the end of the process waits for connections that are being served.
pub(crate) const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// How long the CA's certificate holds: ten years.
pub(crate) const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long the hub's certificate holds: two years.
pub(crate) const HUB_CERTIFICATE_LIFE: Duration = Duration::from_secs(2 * 365 * 86_400);
/// How long a gateway's certificate holds: a year.
pub(crate) const GATEWAY_CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// The latest second since 1970 from which on a certificate is issued, in the year 2200: a clock beyond it is wrong.
pub(crate) const WALL_SECONDS_MAX: u64 = 7_258_118_400;
/// Bytes of a file of keys or certificates, and of a certificate request.
pub(crate) const PKI_FILE_BYTES_MAX: u64 = 16 * 1024;
/// Hours for which a token is good, at most.
pub(crate) const TOKEN_HOURS_MAX: u32 = 24 * 30;
/// Tokens that are kept, used and expired ones included.
pub(crate) const TOKENS_MAX: u64 = 10_000;
/// How long after a token's use the same request gets the same certificate again.
pub(crate) const ENROL_AGAIN: Duration = Duration::from_secs(600);
/// How long a token is remembered after it expired, so that who comes late hears why.
pub(crate) const TOKEN_REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// Enrolments at a time: whoever has no certificate does not keep gateways out.
pub(crate) const ENROLMENTS_MAX: usize = 64;
/// How long an enrolment may take.
pub(crate) const ENROL_PATIENCE: Duration = Duration::from_secs(20);
/// Renewals at a time of gateways whose certificates have expired.
pub(crate) const RENEWALS_MAX: usize = 64;
/// How long a renewal may take.
pub(crate) const RENEW_PATIENCE: Duration = Duration::from_secs(20);
/// How long after a renewal the same request gets the same certificate again.
pub(crate) const RENEW_AGAIN: Duration = Duration::from_secs(86_400);
/// How long after a renewal a building gets no other certificate by one.
pub(crate) const RENEW_PAUSE: Duration = Duration::from_secs(3600);
/// For how many days an expired certificate may be good for its renewal, at most.
pub(crate) const RENEW_EXPIRED_DAYS_MAX: u32 = 10 * 365;
/// How often one looks which certificate expires first.
pub(crate) const EXPIRY_LOOK: Duration = Duration::from_secs(3600);
/// Of how many parts of the hub's certificate's life how many go by before a start renews it.
pub(crate) const HUB_RENEW_AFTER: (i64, i64) = (2, 3);
/// Certificates that are kept, revoked and expired ones included.
pub(crate) const CERTIFICATES_MAX: u64 = 1_000_000;

/// How long what goes down waits after a failure of the store.
pub(crate) const STORE_AGAIN: Duration = Duration::from_secs(5);
/// Bytes of a snapshot's file (SPEC 15.12).
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a snapshot's file that are read and sent at a time.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 64 * 1024;
/// How long a gateway may take to say what it wants of a snapshot, and what became of it.
pub(crate) const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(120);
/// How long the hub waits before it offers a snapshot again that the gateway could not write.
pub(crate) const SNAPSHOT_AGAIN: Duration = Duration::from_secs(60);
/// Commands of one building that wait for their results.
pub(crate) const COMMANDS_WAITING_MAX: usize = 1_000;
/// Commands of one building that are kept, with their results: the newest.
pub(crate) const COMMANDS_KEPT_MAX: usize = 10_000;
/// Commands under way on one connection.
pub(crate) const COMMANDS_UNDER_WAY_MAX: usize = 64;
/// Bytes of a file with a command envelope, in hex.
pub(crate) const COMMAND_FILE_BYTES_MAX: u64 = 4 * 1024;
/// Bytes of a command's envelope (SPEC 15.8), and of what its signature covers.
pub(crate) const ENVELOPE_BYTES_MAX: usize = 54 + 1024 + 64;
/// Room for a message's head.
pub(crate) const MESSAGE_HEAD_ROOM: usize = 8;
/// For how long a command may be good.
pub(crate) const COMMAND_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Entries of a list that the control socket gives at a time.
pub(crate) const LIST_PAGE: usize = 500;
/// Subscribers of the feeds.
pub(crate) const SUBSCRIBERS_MAX: u64 = 256;
/// Characters of a subscriber's name.
pub(crate) const SUBSCRIBER_NAME_MAX: usize = 32;
/// Buildings that one subscriber may be kept to.
pub(crate) const SUBSCRIBER_BUILDINGS_MAX: usize = 256;
/// HTTP connections at a time.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 128;
/// How long an HTTP connection may stay without asking.
pub(crate) const HTTP_IDLE_MAX: Duration = Duration::from_secs(10);
/// Feeds that are open at a time, of all subscribers.
pub(crate) const FEEDS_MAX: usize = 64;
/// Feeds that one subscriber may have open at a time.
pub(crate) const FEEDS_OF_ONE_MAX: usize = 4;
/// Bytes of events that a feed reads from the store at a time.
pub(crate) const FEED_PAGE_BYTES: usize = 64 * 1024;
/// Bytes of lines that are sent together.
pub(crate) const FEED_PIECE_BYTES: usize = 64 * 1024;
/// Pieces of a feed that wait for a slow reader.
pub(crate) const FEED_WAITING_MAX: usize = 2;
/// How long a feed's reader may take nothing while there is something to take, before it is cut.
pub(crate) const FEED_PATIENCE: Duration = Duration::from_secs(30);
/// How often an idle feed sends an empty line, so that both ends know that it lives.
pub(crate) const FEED_HEARTBEAT: Duration = Duration::from_secs(15);

const _: () = {
    assert!(HANDSHAKES_OF_ONE_UNPROVED_MAX < HANDSHAKES_OF_ONE_MAX && HANDSHAKES_OF_ONE_MAX < HANDSHAKES_MAX);
    assert!(PACE_BYTES_MIN.is_power_of_two() && PACE_BYTES_MAX.is_power_of_two() && PACE_BYTES_MIN < PACE_BYTES_MAX);
    assert!(BATCH_BYTES_MAX > BODY_MAX + GROUP_BYTES_MAX && BATCH_BYTES_MAX < u32::MAX as usize);
    assert!(RENEW_PAUSE.as_secs() < RENEW_AGAIN.as_secs());
    assert!(KEEP_ALIVE.as_millis() * 2 < LIFE_PATIENCE.as_millis());
    assert!(LIFE_PATIENCE.as_millis() < IDLE_MAX.as_millis());
    assert!(LIFE_PATIENCE.as_millis() < HELLO_PATIENCE.as_millis());
    assert!(CONTROL_IDLE_MAX.as_millis() < CONTROL_PATIENCE.as_millis());
};
