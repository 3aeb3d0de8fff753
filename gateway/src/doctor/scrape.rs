//! What a running gateway's metrics say, read as any other program reads them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::limits::{SCRAPE_BYTES_MAX, SCRAPE_PATIENCE};

/// The text of `/metrics`; empty when it was not to be had.
pub(super) struct Scrape(String);

impl Scrape {
    /// What is served at `address`.
    pub(super) fn of(address: SocketAddr) -> Self {
        Self(get(address).unwrap_or_default())
    }

    #[cfg(test)]
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The value of the one series `name`, labels and all.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The values of `label` of those series of `name` that have no other label and whose value is `value`.
    pub(super) fn labelled(&self, name: &str, label: &str, value: f64) -> Vec<&str> {
        let begin = format!("{name}{{{label}=\"");
        let series = self.0.lines().filter_map(|line| line.strip_prefix(begin.as_str())?.split_once("\"} "));
        series.filter(|(_, text)| text.parse() == Ok(value)).map(|(label, _)| label).collect()
    }
}

fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, SCRAPE_PATIENCE).ok()?;
    stream.set_read_timeout(Some(SCRAPE_PATIENCE)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.take(SCRAPE_BYTES_MAX).read_to_string(&mut reply).ok()?;
    Some(reply.split_once("\r\n\r\n")?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_name_and_label() {
        let scrape = Scrape::new("# HELP a b\na 5\nab 6\nup{reader=\"7\"} 0\nup{reader=\"8\"} 1\nup{reader=\"9\"} 0\n");
        assert_eq!((scrape.value("a"), scrape.value("ab"), scrape.value("c")), (Some(5.0), Some(6.0), None));
        assert_eq!(scrape.labelled("up", "reader", 0.0), ["7", "9"]);
    }

    #[test]
    fn nobody_there_is_nothing_said() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(Scrape::of(free).0.is_empty());
    }
}
