//! Every limit of the uplink, in one place.

use std::time::Duration;

use kalitka_protocol::limits::{BATCH_EVENTS_MAX, COMMAND_BODY_MAX, ENVELOPE_FRAME_LEN};

/// Bytes of a file of the identity folder.
pub(crate) const IDENTITY_FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long a request to a busy journal waits before it is made again.
pub(crate) const BUSY_AGAIN: Duration = Duration::from_millis(20);

/// How often an idle connection shows that it lives.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// After how long without a sign of life a connection is given up.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(20);
/// Addresses of the hub's name that are tried, one after the other.
pub(crate) const HUB_ADDRESSES_MAX: usize = 4;
/// How long the hub may be silent in an attempt, at most and at least.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(4);
/// See [`SILENCE_MAX`].
pub(crate) const SILENCE_MIN: Duration = Duration::from_millis(600);
/// Between the two it is one part in so many of the pause that would follow.
pub(crate) const SILENCE_PART: u32 = 20;
/// What a round trip is taken for before there was one: what is not answered is sent again after three of it, and then at
/// gaps that double. RFC 9002, section 6.2.2, gives 333 ms, by which a short attempt would be one packet.
pub(crate) const ROUND_TRIP_FIRST: Duration = Duration::from_millis(100);
/// How long a hub that has been heard may take for the rest of the handshake, and then up to its position.
pub(crate) const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// How long a hub that has been reached has to refuse: it looks at the certificate after the handshake.
pub(crate) const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
/// How long an enrolment may take.
pub(crate) const ENROL_PATIENCE: Duration = Duration::from_secs(20);
/// Of how many parts of a certificate's life how many go by before it is renewed (SPEC 15.15).
pub(crate) const RENEW_AFTER: (u32, u32) = (2, 3);
/// The renewal comes by up to one part in so many of the life later.
pub(crate) const RENEW_SPREAD: u32 = 12;
/// How often one looks whether a renewal is due.
pub(crate) const RENEW_LOOK: Duration = Duration::from_secs(60);
/// How long a renewal may take.
pub(crate) const RENEW_PATIENCE: Duration = Duration::from_secs(20);
/// How long after a renewal that failed the next one is tried, at most; half of it at least.
pub(crate) const RENEW_AGAIN: Duration = Duration::from_secs(2 * 3600);
/// How long sent batches may stay without any acknowledgement.
pub(crate) const ACKNOWLEDGEMENT_PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the hub to hear of it.
pub(crate) const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(1);
/// Streams that the hub may have open at a time: commands, one snapshot, and one that is just ending.
pub(crate) const STREAMS_MAX: u32 = 3;

/// The first pause between two attempts is at most this; each further one doubles it.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// No pause is longer.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The pause while only a person can help, at most; half of it at least.
pub(crate) const SOMEBODY_PAUSE: Duration = Duration::from_secs(60);
/// Nor longer than this while the hub takes another connection of the building for living.
pub(crate) const SECOND_CONNECTION_PAUSE_MAX: Duration = Duration::from_secs(4);
/// A connection that lived so long counts as a good one, though there was nothing to acknowledge.
pub(crate) const GOOD_AFTER: Duration = Duration::from_secs(30);

/// Bytes of events in a batch, unless one event has more.
pub(crate) const BATCH_EVENTS_BYTES: usize = 256 * 1024;
/// Bytes of events in a batch on the slowest line.
pub(crate) const BATCH_EVENTS_BYTES_MIN: usize = 16 * 1024;
/// Bytes of events that are sent and not acknowledged.
pub(crate) const WINDOW_BYTES: usize = 2 * 1024 * 1024;
/// Batches that are sent and not acknowledged.
pub(crate) const WINDOW_BATCHES: usize = 64;
/// Bytes of streams that QUIC holds to send and to send again.
pub(crate) const SEND_WINDOW_BYTES: u64 = 1024 * 1024;
/// Bytes that may always be under way on a line.
pub(crate) const CONGESTION_WINDOW_MIN: u64 = 32 * 1200;
/// How long the hub may hold back an acknowledgement (RFC 9000, section 18.2).
pub(crate) const ACK_DELAY_MAX: Duration = Duration::from_millis(25);
/// The shortest span over which the rate of arrival is taken.
pub(crate) const ARRIVED_EVERY: Duration = Duration::from_millis(50);
/// Such spans that are remembered.
pub(crate) const ARRIVED_KEPT: usize = 20;
/// Epochs that one connection sends events of.
pub(crate) const EPOCHS_MAX: usize = 64;

/// Bytes of live messages that wait for the line.
pub(crate) const DATAGRAM_BUFFER_BYTES: usize = 256 * 1024;
/// Live messages that wait to be sent once more.
pub(crate) const LIVE_REPEATS_MAX: usize = 256;
/// Of the line's rate, the live lane takes one part in so many: the record stream must go on.
pub(crate) const LIVE_SHARE: u64 = 4;
/// How long the live lane may save up its share.
pub(crate) const LIVE_SAVED_MAX: Duration = Duration::from_millis(500);
/// Bytes that the live lane may always save up: some commits' worth.
pub(crate) const LIVE_SAVED_BYTES: u64 = 16 * 1024;

/// Bytes of a command's envelope.
pub(crate) const ENVELOPE_BYTES_MAX: usize = ENVELOPE_FRAME_LEN + COMMAND_BODY_MAX;
/// Commands that wait for their result.
pub(crate) const COMMANDS_WAITING_MAX: usize = 16;
/// Bytes of a snapshot between two moments at which it is made durable, so that a power cut costs no more.
pub(crate) const SNAPSHOT_SYNC_BYTES: u64 = 4 * 1024 * 1024;
/// Free bytes that a snapshot on its way leaves on the disk: twice what the outbox needs.
pub(crate) const SNAPSHOT_DISK_RESERVE: u64 = 32 << 20;
/// Bytes of a snapshot that are read at a time.
pub(crate) const SNAPSHOT_PIECE_BYTES: usize = 64 * 1024;

const _: () = {
    assert!(RENEW_AFTER.0 < RENEW_AFTER.1 && RENEW_SPREAD > 1);
    // What is asked again is asked when there is still time for it.
    assert!(RENEW_AFTER.0 * RENEW_SPREAD + RENEW_AFTER.1 < RENEW_AFTER.1 * RENEW_SPREAD);
    assert!(KEEP_ALIVE.as_millis() * 3 < IDLE_MAX.as_millis());
    assert!(BATCH_EVENTS_BYTES * 2 <= WINDOW_BYTES);
    assert!(BATCH_EVENTS_BYTES <= BATCH_EVENTS_MAX);
    assert!(BATCH_EVENTS_BYTES_MIN <= BATCH_EVENTS_BYTES);
    assert!(BACKOFF_FIRST.as_millis() < BACKOFF_MAX.as_millis());
    assert!(SILENCE_MIN.as_millis() < SILENCE_MAX.as_millis());
    assert!(ROUND_TRIP_FIRST.as_millis() * 3 < SILENCE_MIN.as_millis());
    assert!(LIVE_SAVED_BYTES <= DATAGRAM_BUFFER_BYTES as u64);
};
