//! Metrics: the workers' plain counters, copied once a second into the `metrics` facade and served as text.
//!
//! What happens seldom and off the workers (adoptions, control requests) goes through the facade at once. Nothing here
//! names a person or a card.

mod histogram;
pub(crate) mod names;
mod tally;

use std::sync::Arc;

use kalitka_core::DropReason;
use kalitka_protocol::reason::{Denial, Grant, Verdict};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::failure::Failure;
pub(crate) use tally::Tally;

const SERVICE_HELP: &str = "From a datagram's receipt to its answer's sending, for datagrams that ask";

/// Copies the workers' counters and renders everything.
pub(crate) struct Collector {
    exporter: PrometheusHandle,
    tallies: Arc<[Tally]>,
    copies: Vec<Copy>,
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
    pub(crate) fn install(tallies: Arc<[Tally]>) -> Result<Self, Failure> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let exporter = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|error| Failure::Defect(format!("metrics: {error}")))?;
        for (name, help) in names::COUNTERS {
            metrics::describe_counter!(*name, *help);
        }
        for (name, help) in names::GAUGES {
            metrics::describe_gauge!(*name, *help);
        }
        metrics::gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        // Registered at 0, so that a first raise is seen as one.
        for name in [names::SNAPSHOT_ADOPTED, names::SNAPSHOT_PLANS, names::STAMPS_WRITES, names::STAMPS_WRITE_FAILURES]
        {
            metrics::counter!(name).absolute(0);
        }
        Ok(Self { exporter, tallies, copies: copies() })
    }

    /// Copies the workers' counters, and keeps the exporter's memory bounded.
    pub(crate) fn collect(&self) {
        for copy in &self.copies {
            copy.to.absolute(self.tallies.iter().map(&copy.from).sum());
        }
        self.exporter.run_upkeep();
    }

    /// All metrics of now in the Prometheus text format.
    pub(crate) fn render(&self) -> String {
        self.collect();
        let mut text = self.exporter.render();
        let service = self.tallies.iter().map(|tally| &tally.service);
        histogram::render(&mut text, (names::ASK_SERVICE_SECONDS, SERVICE_HELP), service);
        text
    }

    /// The workers' counters.
    pub(crate) fn tallies(&self) -> &[Tally] {
        &self.tallies
    }
}

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
        from: Box::new(move |tally| tally.verdict(Verdict::Grant(rule)).get()),
    }));
    copies.extend(Denial::ALL.iter().map(|&reason| Copy {
        to: metrics::counter!(names::ASK_DENIED, "reason" => reason.label()),
        from: Box::new(move |tally| tally.verdict(Verdict::Deny(reason)).get()),
    }));
    copies
}

/// Picks one of a worker's counters.
type Read = fn(&Tally) -> &tally::Count;

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
    (names::REPORT_UNRECEIPTED, |tally| &tally.reports_unreceipted),
    (names::COMMAND_DONE, |tally| &tally.commands_done),
    (names::MESSAGE_SKIPPED, |tally| &tally.messages_skipped),
    (names::MESSAGE_NO_ROOM, |tally| &tally.messages_no_room),
    (names::STAMPS_LOST, |tally| &tally.stamps_lost),
];
