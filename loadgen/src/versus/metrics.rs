//! A gateway's metrics, read over HTTP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::limits::{METRICS_BYTES_MAX, METRICS_PATIENCE};

/// What a gateway counts, as it says.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    text: String,
}

impl Metrics {
    /// Asks the gateway whose metrics are served at `http`.
    pub(super) fn of(http: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&http, METRICS_PATIENCE)?;
        stream.set_read_timeout(Some(METRICS_PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: loadgen\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.take(METRICS_BYTES_MAX).read_to_string(&mut text)?;
        if !text.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("{http}/metrics: {}", text.lines().next().unwrap_or_default())));
        }
        Ok(Self { text })
    }

    /// The sum of all values of the metric `name`, whatever their labels.
    pub(super) fn sum(&self, name: &str) -> f64 {
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let is_whole = rest.starts_with('{') || rest.starts_with(' ');
            is_whole.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        };
        self.text.lines().filter_map(value).sum()
    }

    /// The reason for which most datagrams were dropped since `earlier`.
    pub(super) fn dropped_for(&self, earlier: &Self) -> Option<String> {
        let reasons = self.text.lines().filter_map(|line| line.strip_prefix("kalitka_udp_dropped_total{reason=\""));
        let since = |rest: &str| {
            let reason = rest.split('"').next()?;
            let name = format!("kalitka_udp_dropped_total{{reason=\"{reason}\"}}");
            Some((reason.to_owned(), self.sum(&name) - earlier.sum(&name)))
        };
        let most = reasons.filter_map(since).max_by(|a, b| a.1.total_cmp(&b.1));
        most.filter(|&(_, count)| count > 0.0).map(|(reason, _)| reason)
    }

    /// Decisions: each is an event.
    fn decided(&self) -> f64 {
        self.sum("kalitka_ask_granted_total") + self.sum("kalitka_ask_denied_total")
    }

    /// Events that the journal lost.
    pub(super) fn lost(&self) -> f64 {
        self.sum("kalitka_journal_lost_total")
    }

    /// Whether every decision is durable, or counted as lost.
    pub(super) fn is_committed(&self) -> bool {
        self.sum("kalitka_journal_events_total") + self.lost() >= self.decided()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TEXT: &str = "\
# HELP kalitka_ask_granted_total Asks granted
kalitka_ask_granted_total{rule=\"access_level\"} 70
kalitka_ask_granted_total{rule=\"portal_free\"} 20
kalitka_ask_granted_total_of_another 1000
kalitka_ask_denied_total{reason=\"left the school\"} 10
kalitka_journal_events_total 99
kalitka_journal_lost_total{cause=\"ring_full\"} 0
";

    fn metrics(text: &str) -> Metrics {
        Metrics { text: text.into() }
    }

    #[test]
    fn values_are_summed_over_labels_and_of_the_whole_name() {
        assert_eq!(metrics(TEXT).decided(), 100.0);
        assert_eq!(metrics(TEXT).sum("kalitka_none"), 0.0);
    }

    #[test]
    fn decisions_are_committed_when_events_and_losses_are_as_many() {
        assert!(!metrics(TEXT).is_committed());
        assert!(metrics(&TEXT.replace("events_total 99", "events_total 100")).is_committed());
        let lost = metrics(&TEXT.replace("ring_full\"} 0", "ring_full\"} 1"));
        assert!(lost.is_committed() && lost.lost() == 1.0);
    }

    #[test]
    fn datagrams_were_dropped_for_the_reason_that_grew_most() {
        let dropped = |tag: u32, session: u32| {
            let line = |reason: &str, count: u32| format!("kalitka_udp_dropped_total{{reason=\"{reason}\"}} {count}\n");
            metrics(&(line("tag", tag) + &line("unknown_session", session)))
        };
        assert_eq!(dropped(100, 7).dropped_for(&dropped(99, 2)).as_deref(), Some("unknown_session"));
        assert_eq!(dropped(100, 7).dropped_for(&dropped(90, 2)).as_deref(), Some("tag"));
        assert_eq!(dropped(100, 7).dropped_for(&dropped(100, 7)), None);
    }

    #[test]
    fn an_answer_that_is_not_200_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 12];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").unwrap();
        });
        let error = Metrics::of(http).unwrap_err();
        thread.join().unwrap();
        assert!(error.to_string().contains("503 Busy") || error.kind() == io::ErrorKind::ConnectionReset, "{error}");
    }
}
