//! `doctor`: what is well with this box, what is not, and what to do; for whoever stands before the cupboard.
//!
//! Each check looks at one thing from outside, whether the gateway runs or stands, and starts none that stands. It keeps nothing: a lock
//! or an address is held for the moment in which it is tried. A running gateway is asked over its control socket and its metrics
//! as anybody asks it.

mod certificates;
mod clock;
mod disk;
mod hub;
mod kernel;
mod outbox;
mod permissions;
mod ports;
mod readers;
mod running;
mod scrape;
mod snapshot;

use std::fmt::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::config::Config;
use crate::control::{Reply, Request, Status, client};
use crate::failure::Failure;
use crate::osdp::Shown;
use scrape::Scrape;

/// Exit status when something is wrong.
pub(crate) const SOMETHING_WRONG: u8 = 6;

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// Nothing is refused or lost by it today.
    Notice,
    /// Somebody must do something.
    Wrong,
}

impl Verdict {
    const fn label(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Notice => "notice",
            Self::Wrong => "wrong",
        }
    }
}

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) found: String,
    /// What to do, unless it is good.
    pub(crate) remedy: Option<String>,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, found: found.into(), remedy: None }
    }

    fn notice(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Notice, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn wrong(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Wrong, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// A failure whose text says after a semicolon what to do, as all of this program's do.
    fn of(check: &'static str, failure: &Failure) -> Self {
        let text = failure.to_string();
        let (found, remedy) = text.split_once("; ").unwrap_or((&text, "see the runbook"));
        Self::wrong(check, found, remedy)
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Report(Vec<Finding>);

impl Report {
    /// 0, or [`SOMETHING_WRONG`].
    pub(crate) fn exit_status(&self) -> u8 {
        let is_wrong = self.0.iter().any(|finding| finding.verdict == Verdict::Wrong);
        if is_wrong { SOMETHING_WRONG } else { 0 }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { check, verdict, found, remedy } in &self.0 {
            writeln!(f, "{:<7} {check:<13} {found}", verdict.label())?;
            if let Some(remedy) = remedy {
                writeln!(f, "{:<21} → {remedy}", "")?;
            }
        }
        let count = |verdict| self.0.iter().filter(|finding| finding.verdict == verdict).count();
        let (wrong, notices) = (count(Verdict::Wrong), count(Verdict::Notice));
        writeln!(f, "{} looked at: {wrong} wrong, {notices} to be noticed", self.0.len())
    }
}

/// What the checks look at.
struct Case<'a> {
    config: &'a Config,
    running: Option<Running>,
}

/// What a running gateway says of itself.
struct Running {
    status: Box<Status>,
    devices: Vec<Shown>,
    metrics: Scrape,
}

impl Running {
    /// # Errors
    /// Why nobody answers on the control socket.
    fn ask(config: &Config) -> Result<Self, Failure> {
        if running::stands(config) {
            return Err(Failure::Environment("no gateway has the state folder; start it".into()));
        }
        let unexpected = || Failure::Environment("the gateway answers something else; update the older program".into());
        let Reply::Status(status) = client::ask(&config.control.socket, &Request::Status {})? else {
            return Err(unexpected());
        };
        let Reply::Devices { devices } = client::ask(&config.control.socket, &Request::OsdpStatus {})? else {
            return Err(unexpected());
        };
        let metrics = Scrape::of(status.http);
        Ok(Self { status, devices, metrics })
    }
}

/// Looks at everything that the configuration at `file` names.
pub(crate) fn examine(file: &Path) -> Report {
    let config = match Config::read(file) {
        Ok(config) => config,
        Err(failure) => return Report(vec![Finding::of("configuration", &failure)]),
    };
    let mut findings = vec![Finding::good("configuration", file.display().to_string())];
    let asked = Running::ask(&config);
    findings.push(running::look(&config, &asked));
    let case = Case { config: &config, running: asked.ok() };
    let checks: [fn(&Case<'_>) -> Vec<Finding>; 10] = [
        permissions::look,
        disk::look,
        clock::look,
        ports::look,
        kernel::look,
        snapshot::look,
        readers::look,
        outbox::look,
        certificates::look,
        hub::look,
    ];
    findings.extend(checks.iter().flat_map(|look| look(&case)));
    Report(findings)
}

/// The first of `items`, and how many more there are.
fn listed(items: &[impl fmt::Display]) -> String {
    const SHOWN: usize = 8;
    let mut text = String::new();
    for (place, item) in items.iter().take(SHOWN).enumerate() {
        // Writing to a string does not fail.
        let _ = write!(text, "{}{item}", if place == 0 { "" } else { ", " });
    }
    match items.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A configuration whose state lies in `folder`, with `more` behind it.
    pub(super) fn config(folder: &Path, more: &str) -> Config {
        let folder = folder.display();
        let publisher = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
        let text = format!(
            "building = 17\nstate = \"{folder}\"\n[snapshots]\ninbox = \"{folder}/inbox\"\npublishers = [\"{publisher}\"]\n\
             [udp]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n[control]\nsocket = \"{folder}/control\"\n{more}"
        );
        toml::from_str(&text).unwrap()
    }

    /// The worst verdict among `findings`, and all that they say.
    pub(super) fn judged(findings: &[Finding]) -> (Verdict, String) {
        let worst = [Verdict::Wrong, Verdict::Notice].into_iter().find(|&v| findings.iter().any(|f| f.verdict == v));
        let all = findings.iter().map(|f| format!("{}: {} → {:?}", f.check, f.found, f.remedy));
        (worst.unwrap_or(Verdict::Good), all.collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn whatever_is_not_good_says_what_to_do_and_what_is_wrong_is_told_by_the_exit_status() {
        let report = Report(vec![Finding::good("clock", "kept"), Finding::notice("kernel", "small", "raise it")]);
        assert_eq!(report.exit_status(), 0);
        let text = report.to_string();
        assert!(text.contains("good    clock         kept\nnotice  kernel        small\n"), "{text}");
        assert!(text.contains("→ raise it\n") && text.ends_with("2 looked at: 0 wrong, 1 to be noticed\n"), "{text}");
        let failure = Failure::Environment("disk: full; make room; and more".into());
        let report = Report(vec![Finding::of("disk", &failure)]);
        assert_eq!(report.exit_status(), SOMETHING_WRONG);
        assert_eq!(report.0[0].remedy.as_deref(), Some("make room; and more"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json[0]["verdict"], "wrong");
        assert_eq!(json[0]["check"], "disk");
    }

    #[test]
    fn wrong_configuration_is_all_that_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let report = examine(&folder.path().join("none.toml"));
        assert_eq!((report.0.len(), report.exit_status()), (1, SOMETHING_WRONG));
        assert_eq!(report.0[0].check, "configuration");
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        assert_eq!(listed(&[1, 2]), "1, 2");
        assert_eq!(listed(&(1..=10).collect::<Vec<_>>()), "1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
    }
}
