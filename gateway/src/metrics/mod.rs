//! Metrics: the workers' plain counters, copied once a second into the `metrics` facade and served as text.
//!
//! What happens seldom and off the workers (adoptions, control requests) goes through the facade at once. Nothing here
//! names a person or a card.

mod histogram;
mod kernel;
mod line;
pub(crate) mod names;
mod osdp;
mod shown;
mod standing;
mod tally;
mod uplink;

use std::sync::Arc;
use std::time::Duration;

use kalitka_core::{DropReason, Follows};
use kalitka_outbox::{NewEpochWhy, OpenError};
use kalitka_process::figures;
use kalitka_protocol::event::LossCause;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reason::{Denial, Grant, Verdict};
use kalitka_protocol::upstream::CommandOutcome;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::failure::Failure;
use crate::journal::JournalTally;
use histogram::Grain;
pub(crate) use histogram::Histogram;
pub(crate) use kernel::KernelDrops;
pub(crate) use line::{LineLamp, LineMetrics};
pub(crate) use osdp::{OsdpTally, show_line, unanswered};
pub(crate) use standing::{PortalStanding, ReaderStanding, Standings};
pub(crate) use tally::{Count, Tally};
use uplink::UplinkCopies;

const COMMIT_HELP: &str = "From a commit's beginning until it is durable and told";
const BUS_HELP: &str =
    "From a command's first byte on an OSDP line to its reply's last, for commands that were answered";
const DECISION_HELP: &str = "From a card's coming off an OSDP line until its answer is there";
const SYNC_HELP: &str = "From handing a block to the store until its disk has confirmed it";
const PLAN_HELP: &str = "Time to build a view's plans, at adoption and at schedule borders";
const SERVICE_HELP: &str = "From a datagram's receipt to its answer's sending, for datagrams that ask";

/// What threads count and measure by themselves, each its own.
#[derive(Clone)]
pub(crate) struct Measured {
    pub(crate) workers: Arc<[Tally]>,
    pub(crate) journal: Arc<JournalTally>,
    /// How long it takes to build a view's plans, by the adopter.
    pub(crate) plans: Arc<Histogram>,
    pub(crate) osdp: Arc<OsdpTally>,
    pub(crate) uplink: Arc<kalitka_uplink::Tally>,
}

impl Measured {
    /// Nothing yet, for so many workers.
    pub(crate) fn new(workers: u8) -> Self {
        Self {
            workers: (0..workers).map(|_| Tally::new()).collect(),
            journal: Arc::new(JournalTally::new()),
            plans: Arc::new(Histogram::new()),
            osdp: OsdpTally::new(),
            uplink: Arc::default(),
        }
    }
}

/// Copies the workers' counters and renders everything.
pub(crate) struct Collector {
    exporter: PrometheusHandle,
    measured: Measured,
    uplink: UplinkCopies,
    copies: Vec<Copy>,
    kernel: Option<KernelDrops>,
    standings: Standings,
}

/// One number of the workers and where its sum goes.
struct Copy {
    to: metrics::Counter,
    from: Box<dyn Fn(&Tally) -> u64 + Send + Sync>,
}

impl Collector {
    /// Makes the exporter the process's recorder.
    ///
    /// # Errors
    /// [`Failure::Defect`] when the process has one.
    pub(crate) fn install(measured: Measured) -> Result<Self, Failure> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let exporter = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|error| Failure::Defect(format!("metrics: {error}")))?;
        for (name, help) in names::COUNTERS {
            metrics::describe_counter!(*name, names::unit(name), *help);
        }
        for (name, help) in names::GAUGES {
            metrics::describe_gauge!(*name, names::unit(name), *help);
        }
        metrics::gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        register();
        let uplink = UplinkCopies::of(Arc::clone(&measured.uplink));
        let (copies, standings) = (copies(), Standings::default());
        Ok(Self { exporter, measured, uplink, copies, kernel: None, standings })
    }

    /// Has the kernel's `drops` collected too, and shows readers and portals as they stand in `standings`.
    #[must_use]
    pub(crate) fn with(self, drops: KernelDrops, standings: Standings) -> Self {
        Self { kernel: Some(drops), standings, ..self }
    }

    /// Copies the workers' counters, and keeps the exporter's memory bounded.
    pub(crate) fn collect(&self, now: Duration) {
        for copy in &self.copies {
            copy.to.absolute(self.measured.workers.iter().map(&copy.from).sum());
        }
        if let Some(dropped) = self.kernel.as_ref().and_then(KernelDrops::count) {
            metrics::counter!(names::UDP_KERNEL_DROPPED).absolute(dropped);
        }
        metrics::gauge!(names::JOURNAL_BUSY).set(self.measured.journal.busy_for(now).as_secs_f64());
        metrics::gauge!(names::JOURNAL_COMMIT_AGE).set(self.measured.journal.since_commit(now).as_secs_f64());
        self.uplink.copy();
        self.exporter.run_upkeep();
    }

    /// All metrics of now in the Prometheus text format.
    pub(crate) fn render(&self, now: Duration) -> String {
        self.collect(now);
        let mut text = self.exporter.render();
        let Measured { workers, journal, plans, osdp, .. } = &self.measured;
        let service = workers.iter().map(|tally| &tally.service);
        histogram::render(&mut text, (names::ASK_SERVICE_SECONDS, SERVICE_HELP), Grain::Fine, service);
        for (name, help, measured) in [
            (names::JOURNAL_COMMIT_SECONDS, COMMIT_HELP, &journal.commit),
            (names::OUTBOX_SYNC_SECONDS, SYNC_HELP, &journal.sync),
            (names::SNAPSHOT_PLAN_SECONDS, PLAN_HELP, plans),
            (names::OSDP_BUS_SECONDS, BUS_HELP, &osdp.bus),
            (names::OSDP_DECISION_SECONDS, DECISION_HELP, &osdp.decision),
        ] {
            histogram::render(&mut text, (name, help), Grain::Coarse, std::iter::once(measured));
        }
        shown::render_epoch(&mut text, journal.epoch());
        shown::render_readers(&mut text, &self.readers(now));
        shown::render_portals(&mut text, &self.portals());
        figures::render(&mut text);
        text
    }

    /// How each reader stands that has a key, by number. Looked at for the caller: no worker is asked.
    pub(crate) fn readers(&self, now: Duration) -> Vec<ReaderStanding> {
        self.standings.readers(now)
    }

    /// What was decided at each portal of the snapshot in force, and besides.
    pub(crate) fn portals(&self) -> Vec<PortalStanding> {
        self.standings.portals(&self.measured.workers)
    }

    /// What the journal measures of itself.
    pub(crate) fn journal(&self) -> &JournalTally {
        &self.measured.journal
    }

    /// The workers' counters.
    pub(crate) fn tallies(&self) -> &[Tally] {
        &self.measured.workers
    }
}

/// Registers at 0 what is counted through the facade, so that a first raise is seen as one.
fn register() {
    for name in REGISTERED {
        metrics::counter!(*name).absolute(0);
    }
    for name in SHOWN_FROM_THE_START {
        metrics::gauge!(*name).set(0.0);
    }
    let labelled = |name: &'static str, label: &'static str, values: &mut dyn Iterator<Item = &'static str>| {
        values.for_each(|value| metrics::counter!(name, label => value).absolute(0));
    };
    labelled(names::REPORT_DROPPED, "reason", &mut ["ring", "store", "bound", "receipt"].into_iter());
    labelled(names::REPORT_TAKEN, "kind", &mut ReportKind::ALL.iter().map(|kind| kind.label()));
    labelled(
        names::REPORT_PASSED,
        "follows",
        &mut Follows::ALL.into_iter().map(Follows::label).chain([names::UNASKED]),
    );
    labelled(names::COMMANDS, "outcome", &mut CommandOutcome::ALL.iter().map(|outcome| outcome.label()));
    labelled(names::JOURNAL_LOST, "cause", &mut LossCause::ALL.iter().map(|cause| cause.label()));
    labelled(names::OUTBOX_PURGED, "told", &mut ["acknowledged", "recorded"].into_iter());
    labelled(names::OUTBOX_ERRORS, "kind", &mut OpenError::LABELS.into_iter());
    osdp::register();
    labelled(names::OUTBOX_EPOCHS, "reason", &mut EPOCHS_BEGUN.iter().map(|why| why.label()));
}

/// Gauges that are set once there is something to show.
const SHOWN_FROM_THE_START: &[&str] = &[
    names::CLOCK_QUALITY,
    names::CLOCK_OFFSET,
    names::SNAPSHOT_STALE,
    names::PERMISSIONS_AGE,
    names::JOURNAL_WAITING,
    names::OUTBOX_DEPTH,
    names::OUTBOX_OLDEST,
    names::OUTBOX_EVENTS,
    names::OUTBOX_BYTES,
    names::OUTBOX_BOUND,
    names::OUTBOX_AT_BOUND,
    names::OUTBOX_DISK,
    names::OUTBOX_RESERVE,
    names::OUTBOX_POISONED,
    names::OUTBOX_ON_REFUGE,
    names::OUTBOX_QUARANTINED,
    names::OUTBOX_QUARANTINE_BYTES,
    names::OUTBOX_OLDEST_EVENT,
    names::RETENTION_WAITING,
    names::SAFETY_DAMAGED,
    names::UPLINK_UP,
];

/// Why epochs begin.
const EPOCHS_BEGUN: [NewEpochWhy; 7] = [
    NewEpochWhy::Blank,
    NewEpochWhy::Missing,
    NewEpochWhy::Older,
    NewEpochWhy::Damaged,
    NewEpochWhy::OtherMachine,
    NewEpochWhy::HubAhead,
    NewEpochWhy::HubOther,
];

/// Counters without labels that are raised where it happens.
const REGISTERED: &[&str] = &[
    names::UDP_KERNEL_DROPPED,
    names::CLOCK_JUMPS,
    names::SNAPSHOT_ADOPTED,
    names::SNAPSHOT_PLANS,
    names::KEYS_WRITE_FAILURES,
    names::STAMPS_WRITES,
    names::STAMPS_WRITE_FAILURES,
    names::REPORT_RECEIPTED,
    names::REPORT_REPEATED,
    names::REPORT_OUT_OF_ORDER,
    names::JOURNAL_COMMIT_FAILURES,
    names::JOURNAL_CHECKPOINT_FAILURES,
    names::JOURNAL_EVENTS,
    names::OUTBOX_REOPENS,
    names::OUTBOX_LOSS_RECORDS,
    names::OUTBOX_REISSUED,
    names::OUTBOX_RENEWALS,
    names::SAFETY_WRITE_FAILURES,
    names::OSDP_CARDS,
    names::OSDP_CARDS_UNKNOWN,
    names::OSDP_KEYPADS,
];

fn copies() -> Vec<Copy> {
    let mut copies: Vec<Copy> = PLAIN
        .iter()
        .map(|&(name, read)| Copy { to: metrics::counter!(name), from: Box::new(move |tally| read(tally).get()) })
        .collect();
    copies.extend(DropReason::ALL.iter().map(|&reason| Copy {
        to: metrics::counter!(names::UDP_DROPPED, "reason" => reason.label()),
        from: Box::new(move |tally| tally.dropped(reason).get()),
    }));
    copies.extend(Grant::ALL.iter().map(|&rule| Copy {
        to: metrics::counter!(names::ASK_GRANTED, "rule" => rule.label()),
        from: Box::new(move |tally| tally.decisions.verdict(Verdict::Grant(rule)).get()),
    }));
    copies.extend(Denial::ALL.iter().map(|&reason| Copy {
        to: metrics::counter!(names::ASK_DENIED, "reason" => reason.label()),
        from: Box::new(move |tally| tally.decisions.verdict(Verdict::Deny(reason)).get()),
    }));
    copies
}

/// Picks one of a worker's counters.
type Read = fn(&Tally) -> &Count;

/// The counters without labels.
const PLAIN: &[(&str, Read)] = &[
    (names::UDP_DATAGRAMS, |tally| &tally.received),
    (names::UDP_SENT, |tally| &tally.sent),
    (names::UDP_SEND_FAILURES, |tally| &tally.send_failures),
    (names::UDP_RECEIVE_FAILURES, |tally| &tally.receive_failures),
    (names::UDP_HANDED_OVER, |tally| &tally.handed_over),
    (names::UDP_HAND_OVER_LOST, |tally| &tally.hand_over_lost),
    (names::SESSION_INITIATIONS, |tally| &tally.initiations),
    (names::SESSION_OPENED, |tally| &tally.sessions_opened),
    (names::ASK_REPEATED, |tally| &tally.asks_repeated),
    (names::REPORT_RECEIVED, |tally| &tally.reports),
    (names::COMMAND_DONE, |tally| &tally.commands_done),
    (names::COMMAND_DONE_AGAIN, |tally| &tally.commands_done_again),
    (names::MESSAGE_SKIPPED, |tally| &tally.messages_skipped),
    (names::MESSAGE_NO_ROOM, |tally| &tally.messages_no_room),
    (names::STAMPS_LOST, |tally| &tally.stamps_lost),
];
