//! `kalitka-gateway`: the shell around [`kalitka_core`]. It moves bytes, reads clocks, draws random numbers, keeps files
//! and shows how it fares; the core decides.
//!
//! One thread a UDP worker ([`udp`]), one that makes events durable ([`journal`]), one that adopts snapshots ([`adoption`]),
//! one that keeps stamps ([`stamps`]), one for OSDP lines if there are any ([`osdp`]), and one for everything that may wait: the
//! uplink, metrics and the status page ([`http`], [`page`]), control ([`control`]), signals ([`run`]).
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use kalitka_process::{failure, logs, state};

mod adoption;
mod check;
mod cli;
mod clock;
mod config;
mod control;
mod doctor;
mod durable;
mod enrol;
mod entropy;
mod http;
mod journal;
mod keys;
mod limits;
mod metrics;
mod osdp;
mod outbox;
mod page;
mod published;
mod run;
mod serial;
mod stage;
mod stamps;
mod thread;
mod timekeeping;
mod trust;
mod udp;
mod uplink;

/// What texts call this program.
const PROGRAM: &str = "gateway";

fn main() -> ExitCode {
    kalitka_manual::made(cli::Cli::command).unwrap_or_else(|| ExitCode::from(cli::Cli::parse().run()))
}
