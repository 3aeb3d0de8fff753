//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use kalitka_snapshot::PublisherKey;

/// Makes, signs and looks into snapshots: the signed file from which a gateway decides who may pass.
///
/// A publisher runs `keygen` once and gives the key that it prints to the gateways (configuration: snapshots.publishers).
/// Then, for each change: `build` a snapshot from the building's roster with `--key`, and put it into the gateway's
/// inbox.
///
/// Exit status: 0 done; 2 the command line is wrong; 3 the input is wrong (roster, snapshot or key file); 4 the system
/// refuses (file missing, permission, disk).
#[derive(Debug, Parser)]
#[command(version, name = "kalitka-snapshot")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a publisher's key: the secret goes to a new file, the public key is printed
    Keygen {
        /// Where the secret goes (mode 0600); a file that is there is never overwritten
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
    },
    /// Build a snapshot from a roster; every error of the roster is listed, and nothing written if there is one
    Build(Build),
    /// Sign an unsigned snapshot in place
    Sign {
        /// What `build` without --key wrote
        file: PathBuf,
        /// The publisher's secret key; refused when others may read it
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Check a snapshot as a gateway does before it adopts it; prints `ok`
    Verify {
        /// The snapshot
        file: PathBuf,
        /// A publisher's public key, 64 hex digits; may be given twice
        #[arg(long = "publisher", value_name = "HEX", required = true, value_parser = PublisherKey::from_hex)]
        publishers: Vec<PublisherKey>,
        /// The building that it must be for [default: whichever it is for]
        #[arg(long, value_name = "N")]
        building: Option<u32>,
    },
    /// Say what is in a snapshot. Trusts the publisher that the file names: to check it, `verify`
    Info {
        /// The snapshot, signed or not
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// The folder with building.toml, people.csv and cards.csv
    #[arg(long, value_name = "DIR")]
    pub(crate) roster: PathBuf,
    /// Where the snapshot goes; replaced as a whole or not at all
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Its place in the building's sequence; gateways refuse one that is not above the highest they had
    /// [default: seconds since 1970]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) generation: Option<u32>,
    /// The last command that the roster already contains; gateways forget the blocks and unblocks up to it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) last_command: u64,
    /// Sign it with this secret key; refused when others may read the file
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}
