//! The command lines of `echo` and `compare`.

use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, value_parser};
use kalitka_loadgen::echo::{self, echo};
use kalitka_loadgen::limits::{
    ALTERNATIONS_MAX, BURN_NS_MAX, COMPARED_WINDOW, ENTRIES_MAX, ENTRIES_MIN, SLICE_MS_MAX, SLICE_MS_MIN, SPIN_US_MAX,
    WINDOW_MAX,
};
use kalitka_loadgen::versus::{self, Setting, versus};

#[derive(Args)]
pub(crate) struct EchoArgs {
    /// Where to listen; port 0 for any that is free
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddrV4,
    /// Nanoseconds of CPU time to burn for each answer
    #[arg(long, default_value_t = 0, value_name = "NS", value_parser = value_parser!(u64).range(..=BURN_NS_MAX))]
    burn_ns: u64,
    /// Microseconds to look for datagrams before blocking
    #[arg(long, default_value_t = 0, value_name = "US", value_parser = value_parser!(u64).range(..=SPIN_US_MAX))]
    spin_us: u64,
    /// Look at the first byte of each datagram, and answer nothing
    #[arg(long)]
    discard: bool,
    /// The core to stay on
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// Milliseconds that one server is asked before it is the other's turn
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = value_parser!(u32).range(SLICE_MS_MIN..=SLICE_MS_MAX))]
    slice_ms: u32,
    /// How often each has its turn
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = value_parser!(u32).range(1..=ALTERNATIONS_MAX))]
    alternations: u32,
    /// Datagrams outstanding when a server is to be always busy
    #[arg(long, default_value_t = COMPARED_WINDOW, value_name = "N", value_parser = value_parser!(u32).range(1..=WINDOW_MAX as i64))]
    window: u32,
    /// Compare only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SETTING")]
    only: Vec<Setting>,
    /// Least number of entries in the small index
    #[arg(long, default_value_t = 16_000, value_name = "N", value_parser = value_parser!(u32).range(ENTRIES_MIN..=ENTRIES_MAX))]
    entries: u32,
    /// Least number of entries in the great index
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = value_parser!(u32).range(ENTRIES_MIN..=ENTRIES_MAX))]
    entries_large: u32,
    /// Exit with status 1 also when a figure is not what it must be
    #[arg(long)]
    strict: bool,
    /// What is measured, for the table: a commit, a date
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Leave the folder with everything made for it
    #[arg(long)]
    keep: bool,
    /// Where kalitka-gateway and kalitka-snapshot are, if not beside this program
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// Gives datagrams back until `stop`.
pub(crate) fn serve(args: &EchoArgs, stop: &AtomicBool) -> io::Result<bool> {
    let options = echo::Options {
        listen: args.listen,
        burn: Duration::from_nanos(args.burn_ns),
        spin: Duration::from_micros(args.spin_us),
        discards: args.discard,
        core: args.core,
    };
    echo(&options, stop).map(|()| true)
}

/// Compares; gives whether no answer was wrong and, if that is asked for, every figure is what it must be.
pub(crate) fn compare(args: CompareArgs, stop: &AtomicBool) -> io::Result<bool> {
    let CompareArgs { slice_ms, alternations, window, only, entries, entries_large, strict, label, keep, binaries } =
        args;
    let options = versus::Options {
        slice: Duration::from_millis(slice_ms.into()),
        alternations: usize::try_from(alternations).unwrap_or(usize::MAX),
        window: usize::try_from(window).unwrap_or(usize::MAX),
        only,
        entries: [entries, entries_large],
        binaries,
        label,
        keep,
    };
    let report = versus(&options, stop)?;
    Ok(report.result.wrong == 0 && (!strict || report.holds()))
}
