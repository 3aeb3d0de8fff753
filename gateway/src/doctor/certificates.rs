//! Until when the box's certificates hold.

use kalitka_uplink::Identity;

use super::{Case, Finding};
use crate::clock::Clock;
use crate::limits::{CA_ENDS_DAYS, CERTIFICATE_ENDS_DAYS, DAY_SECONDS};
use crate::trust::identity_folder;

const CHECK: &str = "certificates";

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    let identity = match Identity::read(&identity_folder(&case.config.state)) {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            let remedy = "`kalitka-gateway enrol`, with a token that `kalitka-hub pki token` prints";
            return vec![Finding::notice(CHECK, "the box is not enrolled: its events stay on it", remedy)];
        }
        Err(error) => {
            let remedy = "run this as root or as the gateway's user; if the identity is damaged, `kalitka-gateway enrol --again`";
            return vec![Finding::wrong(CHECK, error.to_string(), remedy)];
        }
    };
    let now = Clock::wall_seconds();
    vec![of_gateway(identity.expires(), now), of_ca(identity.ca_expires(), now)]
}

/// Days until `expires`, and how to say it.
fn days(whose: &str, expires: i64, now: i64) -> (i64, String) {
    let days = expires.saturating_sub(now).div_euclid(DAY_SECONDS);
    let said = if days < 0 { format!("expired {} days ago", -days) } else { format!("holds {days} days more") };
    (days, format!("{whose} {said}"))
}

fn of_gateway(expires: i64, now: i64) -> Finding {
    let (days, found) = days("the gateway's", expires, now);
    let remedy = "it renews itself while the hub is reached, and up to `gateways.renew_expired_days` after its end; then `enrol --again`";
    match days {
        ..0 => Finding::wrong(CHECK, found, remedy),
        0..CERTIFICATE_ENDS_DAYS => Finding::notice(CHECK, found, remedy),
        _ => Finding::good(CHECK, found),
    }
}

fn of_ca(expires: i64, now: i64) -> Finding {
    let (days, found) = days("that of the hub's CA", expires, now);
    let remedy = "a new CA at the hub, and every box enrolled again; see the runbook, *Install a hub*";
    match days {
        ..0 => Finding::wrong(CHECK, found, remedy),
        0..CA_ENDS_DAYS => Finding::notice(CHECK, found, remedy),
        _ => Finding::good(CHECK, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::{config, judged};
    use super::*;

    #[test]
    fn certificates_that_end_soon_are_noticed_and_expired_ones_are_wrong() {
        let verdicts = |days: i64| {
            let expires = 1_000_000 + days * DAY_SECONDS;
            (of_gateway(expires, 1_000_000).verdict, of_ca(expires, 1_000_000).verdict)
        };
        assert_eq!(verdicts(CA_ENDS_DAYS), (Verdict::Good, Verdict::Good));
        assert_eq!(verdicts(CERTIFICATE_ENDS_DAYS), (Verdict::Good, Verdict::Notice));
        assert_eq!(verdicts(CERTIFICATE_ENDS_DAYS - 1), (Verdict::Notice, Verdict::Notice));
        assert_eq!(verdicts(0), (Verdict::Notice, Verdict::Notice));
        assert_eq!(verdicts(-1), (Verdict::Wrong, Verdict::Wrong));
    }

    #[test]
    fn box_without_a_hub_is_noticed_and_a_damaged_identity_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "");
        let case = Case { config: &config, running: None };
        assert_eq!(judged(&look(&case)).0, Verdict::Notice);
        std::fs::create_dir(identity_folder(folder.path())).unwrap();
        assert_eq!(judged(&look(&case)).0, Verdict::Wrong);
    }
}
