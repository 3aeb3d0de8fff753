//! Every metric: its name, what it is and what it means. `docs/metrics.md` says the same for people; a test compares them.

pub(crate) const BUILD_INFO: &str = "kalitka_build_info";
pub(crate) const UDP_DATAGRAMS: &str = "kalitka_udp_datagrams_total";
pub(crate) const UDP_DROPPED: &str = "kalitka_udp_dropped_total";
pub(crate) const UDP_SENT: &str = "kalitka_udp_sent_total";
pub(crate) const UDP_SEND_FAILURES: &str = "kalitka_udp_send_failures_total";
pub(crate) const UDP_RECEIVE_FAILURES: &str = "kalitka_udp_receive_failures_total";
pub(crate) const UDP_HANDED_OVER: &str = "kalitka_udp_handed_over_total";
pub(crate) const UDP_HAND_OVER_LOST: &str = "kalitka_udp_hand_over_lost_total";
pub(crate) const UDP_RECEIVE_BUFFER: &str = "kalitka_udp_receive_buffer_bytes";
pub(crate) const SESSION_INITIATIONS: &str = "kalitka_session_initiations_total";
pub(crate) const SESSION_OPENED: &str = "kalitka_session_opened_total";
pub(crate) const ASK_GRANTED: &str = "kalitka_ask_granted_total";
pub(crate) const ASK_DENIED: &str = "kalitka_ask_denied_total";
pub(crate) const ASK_REPEATED: &str = "kalitka_ask_repeated_total";
pub(crate) const ASK_SERVICE_SECONDS: &str = "kalitka_ask_service_seconds";
pub(crate) const REPORT_UNRECEIPTED: &str = "kalitka_report_unreceipted_total";
pub(crate) const COMMAND_DONE: &str = "kalitka_command_done_total";
pub(crate) const MESSAGE_SKIPPED: &str = "kalitka_message_skipped_total";
pub(crate) const MESSAGE_NO_ROOM: &str = "kalitka_message_no_room_total";
pub(crate) const SNAPSHOT_GENERATION: &str = "kalitka_snapshot_generation";
pub(crate) const SNAPSHOT_CREATED: &str = "kalitka_snapshot_created_seconds";
pub(crate) const SNAPSHOT_ENTRIES: &str = "kalitka_snapshot_entries";
pub(crate) const SNAPSHOT_ADOPTED: &str = "kalitka_snapshot_adopted_total";
pub(crate) const SNAPSHOT_REFUSED: &str = "kalitka_snapshot_refused_total";
pub(crate) const SNAPSHOT_PLANS: &str = "kalitka_snapshot_plans_total";
pub(crate) const READER_KEYS: &str = "kalitka_reader_keys";
pub(crate) const STAMPS_LOST: &str = "kalitka_stamps_lost_total";
pub(crate) const STAMPS_WRITES: &str = "kalitka_stamps_writes_total";
pub(crate) const STAMPS_WRITE_FAILURES: &str = "kalitka_stamps_write_failures_total";
pub(crate) const CONTROL_REQUESTS: &str = "kalitka_control_requests_total";

/// The metrics that the exporter serves, with their help texts; [`ASK_SERVICE_SECONDS`] is rendered beside it.
pub(crate) const COUNTERS: &[(&str, &str)] = &[
    (UDP_DATAGRAMS, "Datagrams received"),
    (UDP_DROPPED, "Datagrams dropped and never answered, by reason"),
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
    (REPORT_UNRECEIPTED, "Reports read and left without a receipt, because nothing durable holds them"),
    (COMMAND_DONE, "Commands of which a reader said what became"),
    (MESSAGE_SKIPPED, "Messages of unknown kinds skipped"),
    (MESSAGE_NO_ROOM, "Replies that did not fit in one datagram"),
    (SNAPSHOT_ADOPTED, "Snapshots adopted"),
    (SNAPSHOT_REFUSED, "Snapshots refused, by reason; the old one was kept"),
    (SNAPSHOT_PLANS, "Plans built, at adoption and at schedule borders"),
    (STAMPS_LOST, "Stamps that did not reach their keeper"),
    (STAMPS_WRITES, "Writings of the stamp file"),
    (STAMPS_WRITE_FAILURES, "Writings of the stamp file that failed"),
    (CONTROL_REQUESTS, "Requests on the control socket, by verb"),
];

/// The gauges, with their help texts.
pub(crate) const GAUGES: &[(&str, &str)] = &[
    (BUILD_INFO, "Always 1; the version is in the label"),
    (UDP_RECEIVE_BUFFER, "Kernel receive buffer of a worker's socket, the smallest, as granted"),
    (SNAPSHOT_GENERATION, "Generation of the snapshot in force; 0 when there is none"),
    (SNAPSHOT_CREATED, "When the snapshot in force was built, in seconds since 1970; 0 when there is none"),
    (SNAPSHOT_ENTRIES, "Credentials and aliases in the snapshot in force"),
    (READER_KEYS, "Readers that have a key"),
];
