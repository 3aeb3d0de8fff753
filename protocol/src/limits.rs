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

/// Bytes of an OSDP frame before its block or code (IEC 60839-11-5, 5.9).
pub const OSDP_HEADER_LEN: usize = 5;
/// Bytes of the longest OSDP frame that a bus is listened to for.
pub const OSDP_FRAME_MAX: usize = 1440;
/// Bytes of the longest OSDP frame that is sent: every device has room for so many.
pub const OSDP_SENT_MAX: usize = 128;
/// Bytes of the data of a secured frame that is sent, before they are padded.
pub const OSDP_DATA_MAX: usize = 95;
/// Bytes of the longest reply that a bus waits for; no reply that is understood is longer.
pub const OSDP_REPLY_MAX: usize = 256;
/// Bytes of a text on a device's display.
pub const OSDP_TEXT_MAX: usize = 32;
/// Capabilities of one device that are looked at.
pub const OSDP_CAPABILITIES_MAX: usize = 32;
/// Inputs, or outputs, of one device that are looked at.
pub const OSDP_POINTS_MAX: usize = 32;
/// Digits in one keypad reply.
pub const OSDP_DIGITS_MAX: usize = 32;
/// Acts that wait for one device.
pub const OSDP_ACTS_MAX: usize = 8;
/// Age at which an act that waits is no longer sent: whoever it was for has gone (as [`ASK_AGE_MAX`]).
pub const OSDP_ACT_AGE_MAX: Duration = Duration::from_secs(2);
/// Events that wait to be taken from one bus: a cable that is cut may take all devices at once, each with a release.
pub const OSDP_EVENTS_MAX: usize = 4 * OSDP_DEVICES_MAX;
/// Devices on one bus.
pub const OSDP_DEVICES_MAX: usize = 32;
/// How long a device has to begin its reply, at most (IEC 60839-11-5, 5.7).
pub const OSDP_REPLY_DELAY: Duration = Duration::from_millis(200);
/// The least that a device is waited for that has missed a reply, however quick it has been.
pub const OSDP_REPLY_DELAY_MIN: Duration = Duration::from_millis(60);
/// Silence within a reply that ends it.
pub const OSDP_GAP_MAX: Duration = Duration::from_millis(20);
/// Silence after which a device is offline (IEC 60839-11-5, 5.7).
pub const OSDP_OFFLINE_AFTER: Duration = Duration::from_secs(8);
/// How often an offline device is looked for, while no other is in use.
pub const OSDP_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How often even while others are in use.
pub const OSDP_PROBE_INTERVAL_MAX: Duration = Duration::from_millis(1250);
/// Every so many probes wait as long as any device may take.
pub const OSDP_PATIENT_PROBES: u32 = 8;
/// How often an idle device is polled, at most.
pub const OSDP_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a device that was used counts as in use: it is polled as often as the bus allows.
pub const OSDP_IN_USE: Duration = Duration::from_secs(2);
/// So many times what an exchange took its device is left alone, unless it has acts waiting or took little.
pub const OSDP_SLOW_FACTOR: u32 = 4;
/// What an exchange may take without its device being called slow.
pub const OSDP_SLOW_AFTER: Duration = Duration::from_millis(30);
/// Slots that acts may take before a poll that is due gets one.
pub const OSDP_ACTS_IN_A_ROW: u32 = 3;
/// Pause before a secure channel that was refused is tried again.
pub const OSDP_SECURE_RETRY: Duration = Duration::from_secs(5);
/// How long a device may say *busy* before its channel is begun anew.
pub const OSDP_BUSY_MAX: Duration = Duration::from_secs(8);
/// Pause before a busy device is asked again.
pub const OSDP_BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Handshakes in a row in which a device has not shown its key, before it is held for a wrong one: a hit on the line spoils one, and
/// so does a device that answers anew to each copy of a challenge.
pub const OSDP_DOUBTS_MAX: u8 = 3;
/// Handshakes in a row that come to nothing before a device is left alone for a while.
pub const OSDP_OPENINGS_MAX: u8 = 5;
/// How often a command of a handshake is sent before the handshake is begun anew.
pub const OSDP_TRIES_MAX: u8 = 3;

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
    assert!(OSDP_DATA_MAX < (OSDP_SENT_MAX - OSDP_HEADER_LEN - 2 - 1 - 4 - 2) / 16 * 16);
    assert!(OSDP_TEXT_MAX + 6 <= OSDP_DATA_MAX);
    assert!(OSDP_CAPABILITIES_MAX * 3 + 14 <= OSDP_REPLY_MAX && OSDP_REPLY_MAX <= OSDP_FRAME_MAX);
    assert!(OSDP_POINTS_MAX <= u32::BITS as usize);
    // A device that has come back is seen within 2 s, whatever others do.
    assert!(OSDP_PROBE_INTERVAL_MAX.as_millis() + OSDP_REPLY_DELAY.as_millis() < 2000);
    assert!(OSDP_REPLY_DELAY.as_millis() * (1 + OSDP_SLOW_FACTOR as u128) < OSDP_OFFLINE_AFTER.as_millis());
};
