//! Metrics: through the `metrics` facade, served as text. Nothing here names a person or a card.

pub(crate) mod names;

use kalitka_process::figures;
use kalitka_protocol::upstream::CommandOutcome;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::alarms::AlarmKind;
use crate::failure::Failure;
use crate::feed::End;

/// Renders everything.
pub(crate) struct Collector {
    exporter: PrometheusHandle,
}

impl Collector {
    /// Makes the exporter the process's recorder.
    ///
    /// # Errors
    /// [`Failure::Defect`] when the process has one.
    pub(crate) fn install() -> Result<Self, Failure> {
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
        metrics::describe_histogram!(
            names::COMMIT_SECONDS,
            names::unit(names::COMMIT_SECONDS),
            "From a group of batches to its durable commit"
        );
        metrics::gauge!(names::CONNECTIONS).set(0.0);
        for name in [
            names::FEEDS,
            names::WORST_LAG,
            names::STORE_FAILED,
            names::STORE_HELD_UP,
            names::OLDEST_EVENT,
            names::RETENTION_WAITING,
        ] {
            metrics::gauge!(name).set(0.0);
        }
        // Registered at 0, so that a first raise is seen as one.
        for name in [names::EVENTS_KEPT, names::EVENTS_PURGED, names::COMMITS, names::STORE_REOPENED] {
            metrics::counter!(name).absolute(0);
        }
        for kind in AlarmKind::ALL {
            metrics::counter!(names::ALARMS, "kind" => kind.label()).absolute(0);
        }
        for reason in names::REFUSALS {
            metrics::counter!(names::CONNECTIONS_REFUSED, "reason" => reason).absolute(0);
        }
        for outcome in names::SNAPSHOT_OUTCOMES {
            metrics::counter!(names::SNAPSHOTS, "outcome" => outcome).absolute(0);
        }
        for outcome in CommandOutcome::ALL {
            metrics::counter!(names::COMMANDS, "outcome" => outcome.label()).absolute(0);
        }
        for end in End::ALL {
            metrics::counter!(names::FEEDS_ENDED, "why" => end.label()).absolute(0);
        }
        Ok(Self { exporter })
    }

    /// Keeps the exporter's memory bounded.
    pub(crate) fn upkeep(&self) {
        self.exporter.run_upkeep();
    }

    /// All metrics of now in the Prometheus text format.
    pub(crate) fn render(&self) -> String {
        let mut text = self.exporter.render();
        figures::render(&mut text);
        text
    }
}
