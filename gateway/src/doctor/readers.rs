//! Whether the readers of the permissions have keys and are heard, and whether anybody else has keys.

use std::collections::BTreeSet;

use super::{Case, Finding, Running, listed, snapshot};
use crate::config::Config;
use crate::keys::{self, KeyBook};
use crate::osdp::Shown;

const CHECK: &str = "readers";
/// Whether a reader is heard, of each that has a key.
const READER_UP: &str = "kalitka_reader_up";

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    let keys = match KeyBook::open(case.config.state.join(keys::FILE_NAME)) {
        Ok(keys) => keys.readers().into_iter().collect(),
        Err(failure) => return vec![Finding::of(CHECK, &failure)],
    };
    let mut findings = of_keys(&keys, known(case.config).as_ref());
    if let Some(Running { devices, metrics, .. }) = &case.running {
        findings.extend(of_silent(&metrics.labelled(READER_UP, "reader", 0.0)));
        findings.extend(of_devices(devices));
    }
    if findings.is_empty() {
        findings.push(Finding::good(CHECK, format!("{} with keys, as the snapshot names them", keys.len())));
    }
    findings
}

/// The readers of the kept snapshot, if there is one.
fn known(config: &Config) -> Option<BTreeSet<u32>> {
    let snapshot = snapshot::kept(config)?.ok()?;
    Some(snapshot.model().readers.iter().map(|reader| reader.number.to_native()).collect())
}

fn of_keys(keys: &BTreeSet<u32>, known: Option<&BTreeSet<u32>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if keys.is_empty() {
        let remedy = "`kalitka-gateway reader add N` for each; see the runbook, *Add a reader*";
        findings.push(Finding::wrong(CHECK, "no reader has a key, so none is answered", remedy));
    }
    let Some(known) = known else { return findings };
    let unknown: Vec<_> = keys.difference(known).collect();
    if !unknown.is_empty() {
        let found = format!("the snapshot does not know {}: whoever shows a card there is denied", listed(&unknown));
        findings.push(Finding::wrong(CHECK, found, "name them in the roster, or `kalitka-gateway reader revoke N`"));
    }
    let keyless: Vec<_> = known.difference(keys).collect();
    if !keyless.is_empty() && !keys.is_empty() {
        let found = format!("of the snapshot's readers {} have no key", listed(&keyless));
        findings.push(Finding::notice(CHECK, found, "`kalitka-gateway reader add N`, if they are of this gateway"));
    }
    findings
}

fn of_silent(silent: &[&str]) -> Option<Finding> {
    let found = format!("not heard: {}", listed(silent));
    let remedy = "see to their power, cable and key; see the runbook, *A reader is silent*";
    (!silent.is_empty()).then(|| Finding::wrong(CHECK, found, remedy))
}

fn of_devices(devices: &[Shown]) -> Option<Finding> {
    let ill = devices.iter().filter(|device| device.state != "online" || device.alarm.is_some());
    let ill: Vec<String> =
        ill.map(|device| format!("{} ({})", device.reader, device.alarm.as_ref().unwrap_or(&device.state))).collect();
    let found = format!("OSDP devices not in service: {}", listed(&ill));
    (!ill.is_empty()).then(|| Finding::wrong(CHECK, found, "see the runbook, *An OSDP device is not in service*"))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::judged;
    use super::*;

    #[test]
    fn readers_without_keys_and_keys_without_readers_are_found() {
        let set = |numbers: &[u32]| numbers.iter().copied().collect::<BTreeSet<u32>>();
        let known = set(&[101, 102]);
        for (keys, known, verdict, word) in [
            (set(&[101, 102]), Some(&known), Verdict::Good, ""),
            (set(&[101]), None, Verdict::Good, ""),
            (set(&[]), Some(&known), Verdict::Wrong, "no reader has a key"),
            (set(&[101]), Some(&known), Verdict::Notice, "102 have no key"),
            (set(&[101, 102, 999]), Some(&known), Verdict::Wrong, "does not know 999"),
        ] {
            let (judged, text) = judged(&of_keys(&keys, known));
            assert!(judged == verdict && text.contains(word), "{text}");
        }
    }

    #[test]
    fn silent_readers_and_devices_out_of_service_are_named() {
        assert_eq!((of_silent(&[]), of_devices(&[])), (None, None));
        assert!(of_silent(&["101"]).unwrap().found.ends_with("101"));
        let device = |state: &str, alarm: Option<&str>| Shown {
            reader: 201,
            port: "/dev/x".into(),
            address: 0,
            state: state.into(),
            alarm: alarm.map(str::to_owned),
            installing: false,
        };
        assert_eq!(of_devices(&[device("online", None)]), None);
        assert!(of_devices(&[device("offline", None)]).unwrap().found.contains("201 (offline)"));
        assert!(of_devices(&[device("online", Some("wrong_key"))]).unwrap().found.contains("201 (wrong_key)"));
    }
}
