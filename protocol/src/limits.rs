//! Every limit of the protocol, in one place; relations between them are asserted when the crate is compiled.

use core::time::Duration;

/// Bytes of the longest datagram (SPEC 2.1).
pub const DATAGRAM_MAX: usize = 1200;
/// Bytes of the shortest datagram (SPEC 2.1).
pub const DATAGRAM_MIN: usize = SEALED_HEADER_LEN + TAG_LEN;
/// Bytes of a handshake datagram, in either direction (SPEC 4.2, 4.7).
pub const HANDSHAKE_LEN: usize = 96;
/// Bytes of a sealed datagram's clear header (SPEC 5.1).
pub const SEALED_HEADER_LEN: usize = 16;
/// Bytes of an authentication tag, of the seal and of a handshake datagram alike.
pub const TAG_LEN: usize = 16;
/// Bytes of the longest run of messages in one datagram.
pub const PLAINTEXT_MAX: usize = DATAGRAM_MAX - SEALED_HEADER_LEN - TAG_LEN;
/// Messages in one datagram, at most (SPEC 5.6).
pub const MESSAGES_MAX: usize = 32;
/// Bytes of a message's header: kind, flags, body length (SPEC 5.5).
pub const MESSAGE_HEADER_LEN: usize = 4;
/// Bytes of an ask (SPEC 6.3).
pub const ASK_LEN: usize = 24;
/// Bytes of an answer before its text (SPEC 6.4).
pub const ANSWER_LEN: usize = 16;
/// Bytes of a receipt (SPEC 7.4).
pub const RECEIPT_LEN: usize = 16;
/// Bytes of a pong (SPEC 10.4).
pub const PONG_LEN: usize = 8;
/// Bytes of a list page before its entries (SPEC 9.2).
pub const LIST_PAGE_LEN: usize = 12;
/// Bytes of a list entry before its text (SPEC 9.3).
pub const LIST_ENTRY_LEN: usize = 8;
/// Bytes of the text for the person in an answer (SPEC 6.4).
pub const TEXT_MAX: usize = 64;
/// Bytes of one entry's text on a list page (SPEC 9.3).
pub const LIST_TEXT_MAX: usize = 48;
/// Entries on one list page (SPEC 9.3).
pub const LIST_ENTRIES_MAX: usize = 16;
/// Pages of one list (SPEC 9.2).
pub const LIST_PAGES_MAX: u16 = 64;

/// Bytes of a frame's checksum (SPEC 18.2).
pub const CHECKSUM_LEN: usize = 4;
/// Bytes of the longest frame, both delimiters among them: a code byte for each 254 bytes begun (SPEC 18.3).
pub const FRAME_MAX: usize = 2 + DATAGRAM_MAX + CHECKSUM_LEN + (DATAGRAM_MAX + CHECKSUM_LEN).div_ceil(254);

/// Counters that the replay window remembers behind the highest (SPEC 5.4).
pub const REPLAY_WINDOW: u64 = 1024;
/// Datagrams sealed under one key, after which a new handshake is due (SPEC 4.12).
pub const SESSION_DATAGRAMS_MAX: u64 = 1 << 32;
/// Age of a session at which a new handshake is due (SPEC 4.12).
pub const SESSION_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Datagrams before the last that a key may seal at which a reader asks for the next session (SPEC 4.12).
pub const SESSION_DATAGRAMS_MARGIN: u64 = 1 << 16;
/// How long before the end of its session a reader asks for the next one (SPEC 4.12).
pub const SESSION_AGE_MARGIN: Duration = Duration::from_secs(60);
/// How long the gateway still opens datagrams of a session that has been replaced (SPEC 4.11).
pub const OLD_SESSION_LIFE: Duration = Duration::from_secs(10);
/// Least time between two authentic initiations that the gateway answers to one reader (SPEC 4.8).
pub const INITIATION_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Answers that the gateway keeps of each reader, to repeat them (SPEC 6.2).
pub const ASKS_KEPT: usize = 64;
/// Asks that a reader may have outstanding at a time (SPEC 6.8).
pub const ASKS_OUTSTANDING: usize = 64;
/// Age at which an ask is stale and an answer to it is not acted on (SPEC 6.5, 6.6).
pub const ASK_AGE_MAX: Duration = Duration::from_secs(2);
/// When a reader repeats an unanswered ask, counted from the first sending (SPEC 10.1).
pub const ASK_RESENDS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];
/// Reports sent and not yet receipted (SPEC 7.3).
pub const REPORTS_OUTSTANDING: usize = 64;
/// How long a reader waits for a receipt before it sends again from the oldest report (SPEC 10.3).
pub const REPORT_RESEND: Duration = Duration::from_millis(500);
/// Longest such wait: without progress it doubles up to this (SPEC 10.3).
pub const REPORT_RESEND_MAX: Duration = Duration::from_secs(4);
/// How old the datagram named by a command may be (SPEC 8.2).
pub const COMMAND_AGE_MAX: Duration = Duration::from_secs(3);
/// Grain of a reader's memory of when it sent what; a command may be dropped so much early (SPEC 8.2).
pub const COMMAND_AGE_GRAIN: Duration = Duration::from_millis(100);
/// How often an idle reader pings (SPEC 10.4).
pub const PING_INTERVAL: Duration = Duration::from_secs(1);
/// First wait between two initiations; doubles up to [`INITIATION_BACKOFF_MAX`] (SPEC 10.2).
pub const INITIATION_BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest wait between two initiations, before jitter (SPEC 10.2).
pub const INITIATION_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How long a reader goes unanswered before it falls back, unless the gateway has said otherwise (SPEC 11.1).
pub const FALL_BACK_AFTER: Duration = Duration::from_secs(1);

/// Bytes of an event before its body (SPEC 14.2).
pub const EVENT_HEADER_LEN: usize = 48;
/// Bytes of the longest event (SPEC 14.2).
pub const EVENT_LEN_MAX: usize = 4096;
/// Bytes of a holder's identity in an event (SPEC 14.5).
pub const HOLDER_MAX: usize = 16;
/// Bytes of a command's body, in an event and in an envelope (SPEC 14.10, 15.8).
pub const COMMAND_BODY_MAX: usize = 1024;
/// Bytes of the shortest command's body in an envelope (SPEC 15.8).
pub const COMMAND_BODY_MIN: usize = 8;
/// Bytes of the software's version in an event (SPEC 14.12).
pub const SOFTWARE_VERSION_MAX: usize = 64;
/// Bytes of an upstream message before its body (SPEC 15.2).
pub const MESSAGE_HEAD_LEN: usize = 8;
/// Bytes of the longest body of an upstream message (SPEC 15.2).
pub const BODY_MAX: usize = 1_048_576;
/// Earlier epochs in a hello (SPEC 15.4).
pub const EARLIER_EPOCHS_MAX: usize = 15;
/// Epochs in a position: the present one and the earlier ones (SPEC 15.5).
pub const POSITION_ENTRIES_MAX: usize = EARLIER_EPOCHS_MAX + 1;
/// Bytes of a batch around its events (SPEC 15.6).
pub const BATCH_FRAME_LEN: usize = 152;
/// Bytes of the events of one batch (SPEC 15.6).
pub const BATCH_EVENTS_MAX: usize = BODY_MAX - BATCH_FRAME_LEN;
/// Bytes of a command envelope around its body (SPEC 15.8).
pub const ENVELOPE_FRAME_LEN: usize = 118;
/// Bytes of a live message, head and events (SPEC 15.10).
pub const LIVE_LEN_MAX: usize = 1200;
/// When an event travels live for the second and last time, counted from the first (SPEC 15.10).
pub const LIVE_REPEAT: Duration = Duration::from_millis(150);
/// Bytes of the longest snapshot file (SPEC 15.12).
pub const SNAPSHOT_LEN_MAX: u64 = 1 << 30;
/// Bytes of a certificate or of a request for one (SPEC 15.14).
pub const CERTIFICATE_LEN_MAX: usize = 4096;
/// Keys of publishers, and keys of operators, that an enrolment pins (SPEC 15.14).
pub const PINNED_KEYS_MAX: usize = 32;
/// Bytes on their way that a hub lets a gateway have at the least (SPEC 15.16).
pub const PACE_BYTES_MIN: u32 = 32 * 1024;

const _: () = {
    assert!(DATAGRAM_MIN < HANDSHAKE_LEN);
    assert!(HANDSHAKE_LEN < DATAGRAM_MAX);
    assert!(REPLAY_WINDOW.is_multiple_of(64));
    // A repeated ask must still be among those that the gateway keeps.
    assert!(ASKS_OUTSTANDING <= ASKS_KEPT);
    assert!(OLD_SESSION_LIFE.as_millis() > ASK_AGE_MAX.as_millis());
    assert!(ASK_RESENDS[1].as_millis() < FALL_BACK_AFTER.as_millis());
    assert!(FALL_BACK_AFTER.as_millis() < ASK_AGE_MAX.as_millis());
    assert!(LIST_ENTRIES_MAX * (LIST_ENTRY_LEN + LIST_TEXT_MAX) + LIST_PAGE_LEN + MESSAGE_HEADER_LEN <= PLAINTEXT_MAX);
    assert!(EVENT_LEN_MAX <= u16::MAX as usize);
    assert!(EVENT_LEN_MAX <= BATCH_EVENTS_MAX);
    assert!(EVENT_HEADER_LEN + 48 + COMMAND_BODY_MAX <= EVENT_LEN_MAX);
    assert!(BODY_MAX <= u32::MAX as usize);
};
