//! `enrol`: the box becomes the gateway of its building at a hub, with a token that is good once.

use std::path::Path;
use std::time::Duration;

use kalitka_uplink::{EnrolError, Enrolling, Identity};
use tokio::runtime::Builder;

use crate::clock::Clock;
use crate::config::Config;
use crate::failure::Failure;
use crate::state;
use crate::trust::identity_folder;

const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// Enrols the gateway; gives what was done and what to do next. A running gateway is not disturbed: it connects with the new
/// identity when it connects next.
///
/// # Errors
/// [`Failure::Input`] for a token, hub or building that is refused and for a box that is enrolled already;
/// [`Failure::Environment`] when the hub cannot be reached or the identity not be kept.
pub(crate) fn enrol(config: &Config, file: &Path, hub: &str, token: &str, again: bool) -> Result<String, Failure> {
    state::make(&config.state, crate::PROGRAM)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Environment(format!("no event loop for the enrolment: {error}")))?;
    let folder = identity_folder(&config.state);
    let enrolling = Enrolling {
        building: config.building,
        hub,
        token,
        folder: &folder,
        again,
        now: || Duration::from_secs(u64::try_from(Clock::wall_seconds()).unwrap_or(0)),
    };
    let identity = runtime.block_on(kalitka_uplink::enrol(enrolling)).map_err(|error| match error {
        EnrolError::Input(text) => Failure::Input(text),
        EnrolError::Environment(text) => Failure::Environment(text),
    })?;
    Ok(report(&identity, file, Clock::wall_seconds()))
}

fn report(identity: &Identity, file: &Path, now: i64) -> String {
    format!(
        "building   {}\nhub        {}\nvalid      {} days\npublishers {} pinned\noperators  {} pinned\n\
         next       kalitka-gateway run --config {}, or restart the gateway if it runs\n",
        identity.building(),
        identity.hub(),
        identity.expires().saturating_sub(now) / SECONDS_OF_A_DAY,
        identity.publishers().len(),
        identity.operators().len(),
        file.display(),
    )
}
