//! Every metric: its name, what it is and what it means. `deploy/RUNBOOK.md` says the same for people; a test compares them.

use metrics::Unit;

pub(crate) const BUILD_INFO: &str = "kalitka_build_info";
pub(crate) const UDP_DATAGRAMS: &str = "kalitka_udp_datagrams_total";
pub(crate) const UDP_DROPPED: &str = "kalitka_udp_dropped_total";
pub(crate) const UDP_KERNEL_DROPPED: &str = "kalitka_udp_kernel_dropped_total";
pub(crate) const UDP_SENT: &str = "kalitka_udp_sent_total";
pub(crate) const UDP_SEND_FAILURES: &str = "kalitka_udp_send_failures_total";
pub(crate) const UDP_RECEIVE_FAILURES: &str = "kalitka_udp_receive_failures_total";
pub(crate) const UDP_HANDED_OVER: &str = "kalitka_udp_handed_over_total";
pub(crate) const UDP_HAND_OVER_LOST: &str = "kalitka_udp_hand_over_lost_total";
pub(crate) const UDP_RECEIVE_BUFFER: &str = "kalitka_udp_receive_buffer_bytes";
pub(crate) const SESSION_INITIATIONS: &str = "kalitka_session_initiations_total";
pub(crate) const SESSION_OPENED: &str = "kalitka_session_opened_total";
pub(crate) const SESSIONS: &str = "kalitka_sessions";
pub(crate) const READER_UP: &str = "kalitka_reader_up";
pub(crate) const READER_ASKS: &str = "kalitka_reader_asks_total";
pub(crate) const READER_ASKS_REPEATED: &str = "kalitka_reader_asks_repeated_total";
pub(crate) const READER_CLOCK_DRIFT: &str = "kalitka_reader_clock_drift_ratio";
pub(crate) const PORTAL_ASKS: &str = "kalitka_portal_asks_total";
pub(crate) const ASK_GRANTED: &str = "kalitka_ask_granted_total";
pub(crate) const ASK_DENIED: &str = "kalitka_ask_denied_total";
pub(crate) const ASK_REPEATED: &str = "kalitka_ask_repeated_total";
pub(crate) const ASK_SERVICE_SECONDS: &str = "kalitka_ask_service_seconds";
pub(crate) const REPORT_RECEIVED: &str = "kalitka_report_received_total";
pub(crate) const REPORT_TAKEN: &str = "kalitka_report_taken_total";
pub(crate) const REPORT_PASSED: &str = "kalitka_report_passed_total";
/// What a pass followed that a reader let through by itself.
pub(crate) const UNASKED: &str = "unasked";
pub(crate) const REPORT_RECEIPTED: &str = "kalitka_report_receipts_total";
pub(crate) const REPORT_REPEATED: &str = "kalitka_report_repeated_total";
pub(crate) const REPORT_OUT_OF_ORDER: &str = "kalitka_report_out_of_order_total";
pub(crate) const REPORT_DROPPED: &str = "kalitka_report_dropped_total";
pub(crate) const COMMANDS: &str = "kalitka_command_total";
pub(crate) const COMMAND_DONE: &str = "kalitka_command_done_total";
pub(crate) const COMMAND_DONE_AGAIN: &str = "kalitka_command_done_again_total";
pub(crate) const JOURNAL_COMMIT_SECONDS: &str = "kalitka_journal_commit_seconds";
pub(crate) const JOURNAL_COMMIT_FAILURES: &str = "kalitka_journal_commit_failures_total";
pub(crate) const JOURNAL_CHECKPOINT_FAILURES: &str = "kalitka_journal_checkpoint_failures_total";
pub(crate) const JOURNAL_EVENTS: &str = "kalitka_journal_events_total";
pub(crate) const JOURNAL_LOST: &str = "kalitka_journal_lost_total";
pub(crate) const JOURNAL_WAITING: &str = "kalitka_journal_waiting";
pub(crate) const OUTBOX_DEPTH: &str = "kalitka_outbox_depth_events";
pub(crate) const OUTBOX_OLDEST: &str = "kalitka_outbox_oldest_unacknowledged_seconds";
pub(crate) const OUTBOX_EVENTS: &str = "kalitka_outbox_events";
pub(crate) const OUTBOX_BYTES: &str = "kalitka_outbox_bytes";
pub(crate) const OUTBOX_BOUND: &str = "kalitka_outbox_bound_ratio";
pub(crate) const OUTBOX_AT_BOUND: &str = "kalitka_outbox_at_bound";
pub(crate) const OUTBOX_DISK: &str = "kalitka_outbox_disk_ratio";
pub(crate) const OUTBOX_RESERVE: &str = "kalitka_outbox_reserve";
pub(crate) const OUTBOX_POISONED: &str = "kalitka_outbox_poisoned";
pub(crate) const OUTBOX_ON_REFUGE: &str = "kalitka_outbox_on_refuge";
pub(crate) const OUTBOX_REOPENS: &str = "kalitka_outbox_reopens_total";
pub(crate) const OUTBOX_QUARANTINED: &str = "kalitka_outbox_quarantined_stores";
pub(crate) const OUTBOX_QUARANTINE_BYTES: &str = "kalitka_outbox_quarantine_bytes";
pub(crate) const OUTBOX_ERRORS: &str = "kalitka_outbox_errors_total";
pub(crate) const OUTBOX_EPOCHS: &str = "kalitka_outbox_epochs_total";
pub(crate) const OUTBOX_EPOCH: &str = "kalitka_outbox_epoch_info";
pub(crate) const OUTBOX_LOSS_RECORDS: &str = "kalitka_outbox_loss_records_total";
pub(crate) const OUTBOX_SYNC_SECONDS: &str = "kalitka_outbox_sync_seconds";
pub(crate) const JOURNAL_BUSY: &str = "kalitka_journal_busy_seconds";
pub(crate) const JOURNAL_COMMIT_AGE: &str = "kalitka_journal_commit_age_seconds";
pub(crate) const OUTBOX_REISSUED: &str = "kalitka_outbox_reissued_total";
pub(crate) const OUTBOX_PURGED: &str = "kalitka_outbox_purged_total";
pub(crate) const OUTBOX_RENEWALS: &str = "kalitka_outbox_renewals_total";
pub(crate) const OUTBOX_OLDEST_EVENT: &str = "kalitka_outbox_oldest_event_seconds";
pub(crate) const RETENTION_WAITING: &str = "kalitka_retention_waiting";
pub(crate) const SAFETY_DAMAGED: &str = "kalitka_safety_state_damaged";
pub(crate) const SAFETY_WRITE_FAILURES: &str = "kalitka_safety_write_failures_total";
pub(crate) const UPLINK_UP: &str = "kalitka_uplink_up";
pub(crate) const UPLINK_ROUND_TRIP: &str = "kalitka_uplink_round_trip_seconds";
pub(crate) const UPLINK_IN_FLIGHT: &str = "kalitka_uplink_in_flight_bytes";
pub(crate) const UPLINK_CONNECTIONS: &str = "kalitka_uplink_connections_total";
pub(crate) const UPLINK_FAILURES: &str = "kalitka_uplink_failures_total";
pub(crate) const UPLINK_CLOSED: &str = "kalitka_uplink_closed_total";
pub(crate) const UPLINK_BATCHES: &str = "kalitka_uplink_batches_total";
pub(crate) const UPLINK_EVENTS: &str = "kalitka_uplink_events_total";
pub(crate) const UPLINK_BYTES: &str = "kalitka_uplink_bytes_total";
pub(crate) const UPLINK_RESENT: &str = "kalitka_uplink_resent_total";
pub(crate) const UPLINK_ACKNOWLEDGEMENTS: &str = "kalitka_uplink_acknowledgements_total";
pub(crate) const UPLINK_FORKS: &str = "kalitka_uplink_forks_total";
pub(crate) const UPLINK_LIVE: &str = "kalitka_uplink_live_total";
pub(crate) const UPLINK_LIVE_LEFT_OUT: &str = "kalitka_uplink_live_left_out_total";
pub(crate) const UPLINK_COMMANDS: &str = "kalitka_uplink_commands_total";
pub(crate) const UPLINK_SNAPSHOTS: &str = "kalitka_uplink_snapshots_total";
pub(crate) const UPLINK_SNAPSHOT_BYTES: &str = "kalitka_uplink_snapshot_bytes_total";
pub(crate) const UPLINK_CHECKPOINTS_REFUSED: &str = "kalitka_uplink_checkpoints_refused_total";
pub(crate) const CLOCK_QUALITY: &str = "kalitka_clock_quality";
pub(crate) const CLOCK_JUMPS: &str = "kalitka_clock_jumps_total";
pub(crate) const CLOCK_OFFSET: &str = "kalitka_clock_offset_seconds";
pub(crate) const UPLINK_RENEWALS: &str = "kalitka_uplink_renewals_total";
pub(crate) const UPLINK_PACE: &str = "kalitka_uplink_pace_bytes";
pub(crate) const CERTIFICATE_EXPIRES: &str = "kalitka_certificate_expires_seconds";
pub(crate) const MESSAGE_SKIPPED: &str = "kalitka_message_skipped_total";
pub(crate) const MESSAGE_NO_ROOM: &str = "kalitka_message_no_room_total";
pub(crate) const SNAPSHOT_GENERATION: &str = "kalitka_snapshot_generation";
pub(crate) const SNAPSHOT_CREATED: &str = "kalitka_snapshot_created_seconds";
pub(crate) const SNAPSHOT_STALE: &str = "kalitka_snapshot_stale";
pub(crate) const SNAPSHOT_ENTRIES: &str = "kalitka_snapshot_entries";
pub(crate) const SNAPSHOT_ADOPTED: &str = "kalitka_snapshot_adopted_total";
pub(crate) const SNAPSHOT_REFUSED: &str = "kalitka_snapshot_refused_total";
pub(crate) const SNAPSHOT_PLANS: &str = "kalitka_snapshot_plans_total";
pub(crate) const SNAPSHOT_PLAN_SECONDS: &str = "kalitka_snapshot_plan_seconds";
pub(crate) const PERMISSIONS_AGE: &str = "kalitka_permissions_age_seconds";
pub(crate) const READER_KEYS: &str = "kalitka_reader_keys";
pub(crate) const KEYS_WRITE_FAILURES: &str = "kalitka_keys_write_failures_total";
pub(crate) const STAMPS_LOST: &str = "kalitka_stamps_lost_total";
pub(crate) const STAMPS_WRITES: &str = "kalitka_stamps_writes_total";
pub(crate) const STAMPS_WRITE_FAILURES: &str = "kalitka_stamps_write_failures_total";
pub(crate) const SERIAL_UP: &str = "kalitka_serial_up";
pub(crate) const SERIAL_UNREADABLE: &str = "kalitka_serial_unreadable";
pub(crate) const SERIAL_OPENED: &str = "kalitka_serial_opened_total";
pub(crate) const SERIAL_NOT_OPENED: &str = "kalitka_serial_not_opened_total";
pub(crate) const SERIAL_FRAMES: &str = "kalitka_serial_frames_total";
pub(crate) const SERIAL_BYTES: &str = "kalitka_serial_bytes_total";
pub(crate) const SERIAL_DROPPED: &str = "kalitka_serial_dropped_total";
pub(crate) const CONTROL_REQUESTS: &str = "kalitka_control_requests_total";
pub(crate) const OSDP_BUS_SECONDS: &str = "kalitka_osdp_bus_seconds";
pub(crate) const OSDP_DECISION_SECONDS: &str = "kalitka_osdp_decision_seconds";
pub(crate) const OSDP_CARDS: &str = "kalitka_osdp_cards_total";
pub(crate) const OSDP_CARDS_UNKNOWN: &str = "kalitka_osdp_cards_unknown_total";
pub(crate) const OSDP_CARDS_UNANSWERED: &str = "kalitka_osdp_cards_unanswered_total";
pub(crate) const OSDP_KEYPADS: &str = "kalitka_osdp_keypads_total";
pub(crate) const OSDP_FAULTS: &str = "kalitka_osdp_faults_total";
pub(crate) const OSDP_ALARMS: &str = "kalitka_osdp_alarms_total";
pub(crate) const OSDP_DEVICE_STATE: &str = "kalitka_osdp_device_state";
pub(crate) const OSDP_POWER_FAILED: &str = "kalitka_osdp_power_failed";
pub(crate) const OSDP_PORT_UP: &str = "kalitka_osdp_port_up";

/// The counters that the exporter serves, with their help texts; [`ASK_SERVICE_SECONDS`] and [`JOURNAL_COMMIT_SECONDS`] are
/// rendered beside it.
pub(crate) const COUNTERS: &[(&str, &str)] = &[
    (UDP_DATAGRAMS, "Datagrams received"),
    (UDP_DROPPED, "Datagrams dropped and never answered, by reason"),
    (UDP_KERNEL_DROPPED, "Datagrams that the kernel dropped because a receive buffer was full"),
    (UDP_SENT, "Datagrams sent"),
    (UDP_SEND_FAILURES, "Datagrams that the kernel would not send"),
    (UDP_RECEIVE_FAILURES, "Receive calls that failed"),
    (UDP_HANDED_OVER, "Datagrams handed over to the worker that owns their reader"),
    (UDP_HAND_OVER_LOST, "Datagrams lost because the owning worker had too many waiting"),
    (SESSION_INITIATIONS, "Authentic initiations taken"),
    (SESSION_OPENED, "Sessions that carried their first sealed datagram"),
    (ASK_GRANTED, "Asks granted, by rule"),
    (ASK_DENIED, "Asks denied, by reason"),
    (ASK_REPEATED, "Repeated asks that got the answer kept"),
    (REPORT_RECEIVED, "Reports read, repeats and all"),
    (REPORT_TAKEN, "Reports taken, each once, by what they tell"),
    (REPORT_PASSED, "Passes reported, by what they followed"),
    (REPORT_RECEIPTED, "Receipts given, each for all reports of a log up to one"),
    (REPORT_REPEATED, "Reports that were durable already"),
    (REPORT_OUT_OF_ORDER, "Reports dropped unreceipted because others come before them"),
    (REPORT_DROPPED, "Reports or receipts dropped; the reader sends again"),
    (COMMANDS, "Commands of operators, by what became of them"),
    (COMMAND_DONE, "Orders that a reader has done"),
    (COMMAND_DONE_AGAIN, "Orders of which a reader said again what became"),
    (JOURNAL_COMMIT_FAILURES, "Commits that the store did not take"),
    (JOURNAL_CHECKPOINT_FAILURES, "Writings of the checkpoint that failed"),
    (JOURNAL_EVENTS, "Events made durable"),
    (JOURNAL_LOST, "Events lost, by cause; each loss is itself an event"),
    (OUTBOX_REOPENS, "Times that the store was opened anew after a failure"),
    (OUTBOX_ERRORS, "Errors of the store, its openings included, by kind"),
    (OUTBOX_EPOCHS, "Epochs begun, by reason"),
    (OUTBOX_LOSS_RECORDS, "Loss records made durable: each names events that are missing"),
    (OUTBOX_REISSUED, "Events that got a new identity because the hub has others under theirs"),
    (OUTBOX_PURGED, "Events purged by their age, by whether the hub had them or a record names them"),
    (OUTBOX_RENEWALS, "Times that the store was copied afresh, so that nothing removed stays on the disk"),
    (SAFETY_WRITE_FAILURES, "Writings of the safety file that failed"),
    (UPLINK_CONNECTIONS, "Connections on which the hub said its position"),
    (UPLINK_FAILURES, "Attempts and connections that ended unasked"),
    (UPLINK_CLOSED, "Connections that the hub closed, by code"),
    (UPLINK_BATCHES, "Batches sent"),
    (UPLINK_EVENTS, "Events sent in batches"),
    (UPLINK_BYTES, "Bytes of the events sent in batches"),
    (UPLINK_RESENT, "Events sent more than once by this process"),
    (UPLINK_ACKNOWLEDGEMENTS, "Acknowledgements received"),
    (UPLINK_FORKS, "Forks that the hub named"),
    (UPLINK_LIVE, "Events sent on the live lane"),
    (UPLINK_LIVE_LEFT_OUT, "Events left out of the live lane"),
    (UPLINK_COMMANDS, "Commands received"),
    (UPLINK_SNAPSHOTS, "Snapshots received whole"),
    (UPLINK_SNAPSHOT_BYTES, "Bytes of snapshots received"),
    (UPLINK_CHECKPOINTS_REFUSED, "Checkpoints that were not of the pinned hub or not of this building"),
    (CLOCK_JUMPS, "Times that the wall clock, or the time to decide by, has jumped"),
    (UPLINK_RENEWALS, "Renewals of the gateway's certificate, by what became of them"),
    (MESSAGE_SKIPPED, "Messages of unknown kinds skipped"),
    (MESSAGE_NO_ROOM, "Replies that did not fit in one datagram"),
    (SNAPSHOT_ADOPTED, "Snapshots adopted"),
    (SNAPSHOT_REFUSED, "Snapshots refused, by reason; the old one was kept"),
    (SNAPSHOT_PLANS, "Plans built, at adoption and at schedule borders"),
    (KEYS_WRITE_FAILURES, "Writings of the key file that failed; the keys before stay in force"),
    (STAMPS_LOST, "Stamps that did not reach their keeper"),
    (STAMPS_WRITES, "Writings of the stamp file"),
    (STAMPS_WRITE_FAILURES, "Writings of the stamp file that failed"),
    (SERIAL_OPENED, "Times that the serial port was opened"),
    (SERIAL_NOT_OPENED, "Attempts to open the serial port that failed, by reason"),
    (SERIAL_FRAMES, "Whole frames on the serial line, by direction"),
    (SERIAL_BYTES, "Bytes on the serial line, by direction"),
    (SERIAL_DROPPED, "What was on the serial line or on its way there and was dropped, by reason"),
    (CONTROL_REQUESTS, "Requests on the control socket, by verb"),
    (OSDP_CARDS, "Cards shown at OSDP devices"),
    (OSDP_CARDS_UNKNOWN, "Cards shown at OSDP devices whose number of bits no building can declare; refused"),
    (OSDP_CARDS_UNANSWERED, "Cards shown at OSDP devices that the core did not answer in time, by reason"),
    (OSDP_KEYPADS, "Times that keys were pressed at OSDP devices"),
    (OSDP_FAULTS, "What went wrong on OSDP lines, by reason"),
    (OSDP_ALARMS, "What somebody must look into at OSDP devices, by alarm"),
];

/// The gauges, with their help texts.
pub(crate) const GAUGES: &[(&str, &str)] = &[
    (BUILD_INFO, "Always 1; the version is in the label"),
    (UDP_RECEIVE_BUFFER, "Kernel receive buffer of a worker's socket, the smallest, as granted"),
    (SNAPSHOT_GENERATION, "Generation of the snapshot in force; 0 when there is none"),
    (SNAPSHOT_CREATED, "When the snapshot in force was built, in seconds since 1970; 0 when there is none"),
    (SNAPSHOT_STALE, "1 while the snapshot in force is so old that only essential access levels count"),
    (
        PERMISSIONS_AGE,
        "Age of the permissions by which asks are answered, by the time that is decided by; 0 without any",
    ),
    (SNAPSHOT_ENTRIES, "Credentials and aliases in the snapshot in force"),
    (SERIAL_UP, "1 while the serial port is open"),
    (SERIAL_UNREADABLE, "1 while bytes come over the serial line and no frame: mostly another speed"),
    (READER_KEYS, "Readers that have a key"),
    (JOURNAL_WAITING, "What waits for the journal"),
    (JOURNAL_BUSY, "How long the journal's present turn has taken; a disk that hangs makes it long"),
    (JOURNAL_COMMIT_AGE, "How long ago the newest commit was durable; it grows while nothing happens"),
    (OUTBOX_DEPTH, "Events that the hub has not acknowledged"),
    (OUTBOX_OLDEST, "How long the oldest of them has waited"),
    (OUTBOX_EVENTS, "Events held, acknowledged or not"),
    (OUTBOX_BYTES, "Bytes of the outbox's files"),
    (OUTBOX_OLDEST_EVENT, "Age of the oldest event held, acknowledged or not, when it was last looked at"),
    (RETENTION_WAITING, "1 while the clock is not believed, and nothing is purged"),
    (OUTBOX_BOUND, "How much of the outbox's bound events take that the hub has not acknowledged, 1 for all of it"),
    (
        OUTBOX_AT_BOUND,
        "1 while the bound is reached and nothing gives way: decisions are not recorded, reports wait at their readers",
    ),
    (OUTBOX_DISK, "How full the disk of the outbox is, 1 for full"),
    (OUTBOX_RESERVE, "1 while the reserve is on the disk; 0 when it was given back to a disk that is full"),
    (OUTBOX_POISONED, "1 while events are not made durable: decisions go on, reports wait at their readers"),
    (OUTBOX_ON_REFUGE, "1 when the plain log stands in for the store: restart when convenient"),
    (OUTBOX_QUARANTINED, "Damaged stores that are kept for a look at them"),
    (OUTBOX_QUARANTINE_BYTES, "Bytes of damaged stores that are kept"),
    (SAFETY_DAMAGED, "1 when the blocks and modes in force could not be read"),
    (UPLINK_UP, "1 while the hub takes events"),
    (UPLINK_ROUND_TRIP, "Round trip to the hub; 0 while there is none"),
    (UPLINK_IN_FLIGHT, "Bytes of events sent and not acknowledged"),
    (CLOCK_QUALITY, "How well time is known: 0 good, 1 held, 2 none"),
    (CLOCK_OFFSET, "Wall clock less the time to decide by"),
    (UPLINK_PACE, "Bytes of events that the hub lets be sent and not acknowledged; 0 when it has not said"),
    (OSDP_DEVICE_STATE, "How an OSDP device stands: 0 offline, 1 opening its channel, 2 refused, 3 online"),
    (OSDP_POWER_FAILED, "1 while an OSDP device says that its power has failed, or has been away"),
    (OSDP_PORT_UP, "1 while an OSDP line's port is open"),
    (CERTIFICATE_EXPIRES, "When the gateway's certificate and its CA's expire, in seconds since 1970; 0 without them"),
];

/// What is rendered beside the exporter, with types and help texts.
pub(crate) const RENDERED: &[(&str, &str, &str)] = &[
    (SESSIONS, "gauge", "Readers that have a session in use"),
    (
        READER_UP,
        "gauge",
        "1 while the reader is heard and not in fall-back: it speaks each second, and counts as down after five",
    ),
    (READER_ASKS, "counter", "Asks decided, by reader"),
    (READER_ASKS_REPEATED, "counter", "Asks that came again because their reader had no answer, by reader"),
    (
        READER_CLOCK_DRIFT,
        "gauge",
        "How much longer the reader's second is than the gateway's, by its pings; 0 until measured",
    ),
    (OUTBOX_EPOCH, "gauge", "1 for the present epoch, which is in the label; 0 for none before the outbox is open"),
    (PORTAL_ASKS, "counter", "Asks decided, by the portal's place in the snapshot and by outcome"),
];

/// The unit of metric `name`, which its ending says.
pub(crate) fn unit(name: &str) -> Unit {
    match name.trim_end_matches("_total").rsplit('_').next() {
        Some("seconds") => Unit::Seconds,
        Some("bytes") => Unit::Bytes,
        _ => Unit::Count,
    }
}
