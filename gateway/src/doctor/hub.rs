//! Whether the hub is reached, by the box's own certificate.

use kalitka_uplink::{Identity, Reached};
use tokio::runtime::Builder;

use super::{Case, Finding};
use crate::trust::identity_folder;
use crate::uplink;

const CHECK: &str = "hub";

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    // Without one, or with one that cannot be read, the certificates' check has said so.
    let Ok(Some(identity)) = Identity::read(&identity_folder(&case.config.state)) else { return Vec::new() };
    let hub = case.config.uplink.hub.as_deref().unwrap_or(identity.hub());
    let runtime = Builder::new_current_thread().enable_all().build();
    let reached = runtime.map_err(|error| format!("no event loop: {error}"));
    let reached = reached.and_then(|runtime| runtime.block_on(kalitka_uplink::reach(&uplink::options(case.config))));
    let trouble = case.running.as_ref().and_then(|running| running.status.uplink.trouble.as_deref());
    vec![judge(hub, reached, trouble)]
}

/// The hub was `reached` or not; the running gateway says what `trouble` it has with it.
fn judge(hub: &str, reached: Result<Reached, String>, trouble: Option<&str>) -> Finding {
    match (reached, trouble) {
        (Ok(Reached { address, round_trip }), None) => {
            Finding::good(CHECK, format!("{hub} answers from {address} within {} ms", round_trip.as_millis()))
        }
        (Ok(_), Some(trouble)) => {
            let found = format!("{hub} answers, and the gateway has no connection: {trouble}");
            Finding::wrong(CHECK, found, "see the runbook, *No uplink*")
        }
        (Err(error), _) => {
            let found = format!("{hub}: {error}");
            let remedy =
                "see that its name and UDP port are let through, and that the hub runs; events wait here meanwhile";
            Finding::wrong(CHECK, found, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn hub_that_is_not_reached_and_one_that_refuses_the_gateway_are_wrong() {
        let reached = || Ok(Reached { address: "127.0.0.1:1".parse().unwrap(), round_trip: Duration::from_millis(7) });
        let good = judge("h:1", reached(), None);
        assert!(good.verdict == Verdict::Good && good.found.contains("7 ms"), "{}", good.found);
        assert_eq!(judge("h:1", Err("silent".into()), None).verdict, Verdict::Wrong);
        let refused = judge("h:1", reached(), Some("second box"));
        assert!(refused.verdict == Verdict::Wrong && refused.found.contains("second box"));
    }
}
