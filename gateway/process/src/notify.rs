//! What the service manager is told (`sd_notify(3)`). Without one nobody is told, and nothing fails.

use sd_notify::NotifyState;

/// The process does what it is there for.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The process is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// All that has to move moves; said again and again, before the unit's `WatchdogSec=` is over.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the service manager how matters stand");
    }
}
