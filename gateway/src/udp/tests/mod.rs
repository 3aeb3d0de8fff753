//! Workers with real sockets, driven by hand or by their own threads.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "a test's support; each test uses its part")]

mod lines;
#[path = "../../../tests/support/reader.rs"]
mod reader;
mod rig;
mod steady;
mod steered;
mod turns;
mod waking;

use std::time::Duration;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);
