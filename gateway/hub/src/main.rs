//! `kalitka-hub`: receives what gateways recorded, keeps each event once, proves that none is missing, and hands it on.
//!
//! One task a connection ([`receive`]), one thread that writes ([`store`]); the command line reaches both over a Unix
//! socket ([`control`]). Certificates, enrolment, what goes down to gateways and the feeds stand beside ([`pki`],
//! [`enrol`], [`handdown`], [`feed`]).
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use kalitka_process::{failure, logs, state};

mod alarms;
mod check;
mod cli;
mod cli_command;
mod cli_pki;
mod clock;
mod config;
mod connections;
mod control;
mod doors;
mod durable;
mod enrol;
mod feed;
mod handdown;
mod hub;
mod ledger;
mod limits;
mod metrics;
mod operator;
mod pki;
mod publish;
mod receive;
mod renew;
mod retention;
mod run;
mod show;
mod store;
mod verify;

/// What texts call this program.
const PROGRAM: &str = "hub";

fn main() -> ExitCode {
    if let Some(made) = kalitka_manual::made(cli::Cli::command) {
        return made;
    }
    match cli::Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "kalitka-hub: {failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}
