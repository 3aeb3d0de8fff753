//! Readers and portals one by one, as Prometheus text: rendered beside the exporter, because a reader whose key is taken away
//! is not to be shown any more, and because there is a limit to how many are.

use std::fmt::{Display, Write as _};

use kalitka_core::Counted;
use kalitka_protocol::EpochId;

use super::names;
use super::standing::{PortalStanding, ReaderStanding};
use crate::limits::READERS_SHOWN_MAX;

/// Whose number a sample is that stands for all beyond the limit.
const OTHER: &str = "other";

/// Appends what is known of `readers`, by number. Those beyond [`READERS_SHOWN_MAX`] are one: up while all of them are, and with
/// the clock of the worst. What they have counted is not shown: a sum over readers falls when one of them goes.
pub(super) fn render_readers(text: &mut String, readers: &[ReaderStanding]) {
    let (shown, beyond) = readers.split_at(readers.len().min(READERS_SHOWN_MAX));
    let mut by_reader = |name, of: &dyn Fn(&ReaderStanding) -> f64, fold: Option<fn(f64, f64) -> f64>| {
        head(text, name);
        for standing in shown {
            sample(text, name, format_args!("reader=\"{}\"", standing.reader.0), of(standing));
        }
        if let Some(other) = fold.and_then(|fold| beyond.iter().map(of).reduce(fold)) {
            sample(text, name, format_args!("reader=\"{OTHER}\""), other);
        }
    };
    by_reader(names::READER_UP, &|standing| f64::from(u8::from(standing.up)), Some(f64::min));
    by_reader(names::READER_ASKS, &|standing| counted(standing.asks), None);
    by_reader(names::READER_ASKS_REPEATED, &|standing| counted(standing.repeats), None);
    by_reader(
        names::READER_CLOCK_DRIFT,
        &drift,
        Some(|worst, other| if other.abs() > worst.abs() { other } else { worst }),
    );
    head(text, names::SESSIONS);
    let sessions = readers.iter().filter(|standing| standing.has_session).count();
    let _ = writeln!(text, "{} {sessions}\n", names::SESSIONS);
}

/// Appends what was decided at `portals`.
pub(super) fn render_portals(text: &mut String, portals: &[PortalStanding]) {
    head(text, names::PORTAL_ASKS);
    for PortalStanding { portal, granted, denied } in portals {
        for (outcome, count) in [("granted", *granted), ("denied", *denied)] {
            let label = |portal: &dyn Display| format!("portal=\"{portal}\",outcome=\"{outcome}\"");
            let labels = match portal {
                Counted::Portal(number) => label(number),
                Counted::Others => label(&OTHER),
                Counted::Unknown => label(&"unknown"),
            };
            sample(text, names::PORTAL_ASKS, format_args!("{labels}"), counted(count));
        }
    }
    text.push('\n');
}

/// Appends which epoch is the present one.
pub(super) fn render_epoch(text: &mut String, epoch: Option<EpochId>) {
    head(text, names::OUTBOX_EPOCH);
    match epoch {
        Some(EpochId(epoch)) => sample(text, names::OUTBOX_EPOCH, format_args!("epoch=\"{epoch:016x}\""), 1.0),
        None => sample(text, names::OUTBOX_EPOCH, format_args!("epoch=\"none\""), 0.0),
    }
    text.push('\n');
}

fn drift(standing: &ReaderStanding) -> f64 {
    f64::from(standing.drift_ppm.unwrap_or(0)) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "samples are floats; counts stay far below 2^52")]
const fn counted(count: u64) -> f64 {
    count as f64
}

fn head(text: &mut String, name: &str) {
    for (_, kind, help) in names::RENDERED.iter().filter(|(known, ..)| *known == name) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}

fn sample(text: &mut String, name: &str, labels: std::fmt::Arguments<'_>, value: f64) {
    let _ = writeln!(text, "{name}{{{labels}}} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_protocol::ReaderId;

    fn standing(reader: usize) -> ReaderStanding {
        ReaderStanding {
            reader: ReaderId(u32::try_from(reader).unwrap()),
            up: true,
            heard_ago: None,
            has_session: true,
            asks: 10,
            repeats: 1,
            drift_ppm: None,
            reports_waiting: 0,
            falling_back: false,
        }
    }

    #[test]
    fn readers_beyond_the_limit_are_one_that_is_as_well_as_the_worst_of_them() {
        let mut readers: Vec<_> = (1..=READERS_SHOWN_MAX + 3).map(standing).collect();
        readers[READERS_SHOWN_MAX].up = false;
        readers[READERS_SHOWN_MAX + 1].drift_ppm = Some(-70_000);
        readers[READERS_SHOWN_MAX + 2].drift_ppm = Some(20_000);
        readers[1].drift_ppm = Some(1000);
        let mut text = String::new();
        render_readers(&mut text, &readers);
        for line in [
            "kalitka_reader_up{reader=\"1\"} 1",
            "kalitka_reader_up{reader=\"128\"} 1",
            "kalitka_reader_up{reader=\"other\"} 0",
            "kalitka_reader_asks_total{reader=\"2\"} 10",
            "kalitka_reader_clock_drift_ratio{reader=\"2\"} 0.001",
            "kalitka_reader_clock_drift_ratio{reader=\"other\"} -0.07",
            "kalitka_sessions 131",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("\"129\"") && !text.contains("asks_total{reader=\"other\"}"));
    }

    #[test]
    fn without_readers_every_family_is_declared_all_the_same() {
        let mut text = String::new();
        render_readers(&mut text, &[]);
        render_portals(&mut text, &[]);
        render_epoch(&mut text, None);
        for (name, kind, help) in names::RENDERED {
            assert!(text.contains(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")), "{name}");
        }
    }

    #[test]
    fn portals_are_shown_by_number_and_outcome() {
        let of = |portal, granted, denied| PortalStanding { portal, granted, denied };
        let mut text = String::new();
        let portals = [of(Counted::Portal(7), 1, 2), of(Counted::Others, 3, 4), of(Counted::Unknown, 0, 5)];
        render_portals(&mut text, &portals);
        let counted: Vec<_> = text.lines().filter(|line| line.starts_with("kalitka_")).collect();
        let expected = [
            "kalitka_portal_asks_total{portal=\"7\",outcome=\"granted\"} 1",
            "kalitka_portal_asks_total{portal=\"7\",outcome=\"denied\"} 2",
            "kalitka_portal_asks_total{portal=\"other\",outcome=\"granted\"} 3",
            "kalitka_portal_asks_total{portal=\"other\",outcome=\"denied\"} 4",
            "kalitka_portal_asks_total{portal=\"unknown\",outcome=\"granted\"} 0",
            "kalitka_portal_asks_total{portal=\"unknown\",outcome=\"denied\"} 5",
        ];
        assert_eq!(counted, expected);
    }
}
