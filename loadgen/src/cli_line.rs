//! What `run` is asked for about serial lines.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use kalitka_loadgen::limits::{LINE_BAUD_MAX, LINE_BAUD_MIN};
use kalitka_loadgen::serial::{Line, Noise, Setup};
use kalitka_protocol::ReaderId;

#[derive(Args)]
#[command(next_help_heading = "Serial lines")]
pub(crate) struct LineArgs {
    /// Play this reader on a serial line instead of the network: a pty that the gateway finds as PATH. May be repeated
    #[arg(long = "line", value_name = "READER=PATH", value_parser = reader_and_path)]
    lines: Vec<(u32, PathBuf)>,
    /// Bits a second of every line
    #[arg(long, default_value_t = 115_200, value_name = "BAUD",
        value_parser = value_parser!(u32).range(i64::from(LINE_BAUD_MIN)..=i64::from(LINE_BAUD_MAX)))]
    line_baud: u32,
    /// Of a million bytes on a line, so many are hit: a bit turned, the byte swallowed, another put in
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = value_parser!(u32).range(..=100_000))]
    line_hits: u32,
    /// Milliseconds from one crackle on a line to the next, on the average: some random bytes; 0 for none
    #[arg(long, default_value_t = 0, value_name = "MS")]
    line_crackle_every: u32,
}

fn reader_and_path(text: &str) -> Result<(u32, PathBuf), String> {
    let parts = text.split_once('=').and_then(|(reader, path)| Some((reader.parse().ok()?, path)));
    match parts {
        Some((reader @ 1.., path)) if !path.is_empty() => Ok((reader, path.into())),
        _ => Err("write it like 101=/run/line-101".into()),
    }
}

impl LineArgs {
    /// The noise of every line.
    pub(crate) fn noise(&self) -> Noise {
        Noise { hits: self.line_hits, crackle_every: Duration::from_millis(self.line_crackle_every.into()) }
    }

    /// Plugs the lines in.
    pub(crate) fn plug(&self, seed: u64) -> io::Result<Vec<(ReaderId, Line)>> {
        let noise = self.noise();
        let plug = |(reader, port): &(u32, PathBuf)| {
            let (port, seed) = (port.clone(), seed.wrapping_add(u64::from(*reader)));
            let line = Line::plug(Setup { port: port.clone(), baud: self.line_baud, noise, seed });
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", port.display()));
            Ok((ReaderId(*reader), line.map_err(named)?))
        };
        self.lines.iter().map(plug).collect()
    }
}

/// Where each line's reader finds its gateway.
pub(crate) fn ways(lines: &[(ReaderId, Line)]) -> Vec<(ReaderId, SocketAddr)> {
    lines.iter().map(|(reader, line)| (*reader, line.address)).collect()
}

/// A row of the table for each line.
pub(crate) fn rows(lines: &[(ReaderId, Line)]) -> Vec<String> {
    let row = |(reader, line): &(ReaderId, Line)| {
        let passed = line.passed();
        format!(
            "  {:<26} {} frames to the gateway, {} from it, {} spoilt on the way; noise hit {} bytes",
            format!("line of reader {}", reader.0),
            passed.sent,
            passed.received,
            passed.faults,
            passed.spoilt
        )
    };
    lines.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_a_reader_and_a_path() {
        assert_eq!(reader_and_path("101=/run/a=b"), Ok((101, "/run/a=b".into())));
        for wrong in ["", "101", "=/a", "0=/a", "x=/a", "101="] {
            assert!(reader_and_path(wrong).is_err(), "{wrong}");
        }
    }
}
