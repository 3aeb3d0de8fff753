//! A building with its hub: the gateway enrolled there, its readers with keys, everything on free ports.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use kalitka_protocol::credential::CardRead;
use serde_json::Value;

use crate::crowd::{Crowd, Identified, Reported};
use crate::process::{Process, run, run_well};
use crate::site::{BOUND, Site, get, sum, text};
use crate::wait::{until, until_or};

/// The two ends of the way. Dropped, both are ended and their folders removed.
#[derive(Debug)]
pub struct City {
    /// The building.
    pub site: Site,
    hub: Option<Process>,
    quic: String,
    http: String,
}

impl City {
    /// A city of one school of `holders`, up and enrolled, its readers with keys and its first snapshot in force.
    ///
    /// # Panics
    /// When one of the programs fails; so do all functions here.
    #[must_use]
    pub fn new(holders: u32) -> Self {
        let mut city = Self::of(Site::new(holders));
        city.start_hub();
        city.enrol();
        city.site.start();
        city.site.enrol();
        city.site.offer(&city.site.build(1));
        city.site.await_generation(1);
        city
    }

    /// A hub with its keys made beside `site`; nothing runs yet.
    #[must_use]
    pub fn of(site: Site) -> Self {
        let city = Self { site, hub: None, quic: "127.0.0.1:0".into(), http: "127.0.0.1:0".into() };
        let config = city.configured();
        run_well("kalitka-hub", ["pki", "init", "--config", text(&config)]);
        city
    }

    /// From the next start on the hub listens to gateways at `address`.
    pub fn listen_at(&mut self, address: &str) {
        address.clone_into(&mut self.quic);
    }

    fn configured(&self) -> PathBuf {
        let (state, socket) = (self.site.path("hub"), self.site.path("hub-control"));
        let (quic, http, publisher) = (&self.quic, &self.http, self.site.publisher());
        let config = format!(
            "state = \"{}\"\n[quic]\nlisten = \"{quic}\"\n[http]\nlisten = \"{http}\"\n[control]\nsocket = \"{}\"\n\
             [gateways]\npublishers = [\"{publisher}\"]\n",
            state.display(),
            socket.display()
        );
        let path = self.site.path("hub.toml");
        fs::write(&path, config).unwrap();
        path
    }

    /// Starts the hub, and waits for nothing.
    pub fn spawn_hub(&mut self) {
        let config = self.configured();
        let log = self.site.path("hub.log");
        let args = ["run", "--config", text(&config)];
        self.hub = Some(Process::start_in(&self.site.environment, "kalitka-hub", args, &log));
    }

    /// Starts the hub, where it was before if it ran before, and waits until it serves.
    pub fn start_hub(&mut self) {
        self.spawn_hub();
        let socket = self.site.path("hub-control");
        let hub = self.hub.as_mut().unwrap();
        let status = until("the hub's control socket", BOUND, || {
            assert!(hub.ended().is_none(), "the hub has ended: {}", hub.printed());
            let output = run("kalitka-hub", ["status", "--json", "--socket", text(&socket)]);
            serde_json::from_slice::<Value>(&output.stdout).ok().filter(|_| output.status.success())
        });
        self.quic = status["quic"].as_str().unwrap().to_owned();
        self.http = status["http"].as_str().unwrap().to_owned();
    }

    /// Ends both programs at once, whatever they were doing.
    pub fn end(&mut self) {
        self.hub = None;
        self.site.end();
    }

    /// The running hub.
    pub fn hub(&mut self) -> &mut Process {
        self.hub.as_mut().unwrap()
    }

    /// Where the hub listens to gateways.
    #[must_use]
    pub fn quic(&self) -> &str {
        &self.quic
    }

    /// Where the hub serves feeds and metrics.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The sum of the samples of the hub's metric `name` whose labels contain `labels`.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        sum(&get(&self.http, "/metrics").1, name, labels)
    }

    /// Runs a command of `kalitka-hub` against the running one.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Output {
        let socket = self.site.path("hub-control");
        run("kalitka-hub", words.iter().copied().chain(["--socket", text(&socket)]))
    }

    /// Such a command, which must succeed; gives what it printed.
    pub fn ask(&self, words: &[&str]) -> String {
        let output = self.command(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A token for the building, and the box enrolled with it.
    pub fn enrol(&self) {
        let building = self.site.building().to_string();
        let token: Value =
            serde_json::from_str(&self.ask(&["pki", "token", "--building", &building, "--json"])).unwrap();
        let config = self.site.configured("");
        let file = self.site.path("enrol-token");
        fs::write(&file, token["token"].as_str().unwrap()).unwrap();
        let args = ["enrol", "--config", text(&config), "--hub", &self.quic, "--token-file", text(&file)];
        run_well("kalitka-gateway", args);
    }

    /// The building's events at the hub, in their order there.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let building = self.site.building().to_string();
        let lines = self.ask(&["events", "--building", &building, "--json"]);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What `kalitka-hub verify` says, and whether it is content.
    #[must_use]
    pub fn verify(&self) -> (String, bool) {
        let output = self.command(&["verify", "--building", &self.site.building().to_string()]);
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    }

    /// Waits until the gateway has a connection to the hub.
    pub fn await_uplink(&self) {
        until("the uplink", BOUND * 4, || (self.site.metric("kalitka_uplink_up", "") > 0.0).then_some(()));
    }

    /// Waits until the hub has all that the gateway's store holds.
    pub fn await_drained(&self) {
        self.await_depth(0.0);
    }

    /// Waits until the hub lacks at most `events` of what the gateway's store holds.
    pub fn await_depth(&self, events: f64) {
        until("the hub to have nearly everything", BOUND * 4, || {
            (self.site.metric("kalitka_outbox_depth_events", "") <= events).then_some(())
        });
    }

    /// Lets the crowd come to rest, everything receipted within `bound` and at the hub; gives what was receipted.
    #[must_use]
    pub fn settle(&self, crowd: Crowd, bound: Duration) -> BTreeMap<Identified, Reported> {
        crowd.hush();
        until("every report to be receipted", bound, || (crowd.waiting() == 0).then_some(()));
        self.await_drained();
        let receipted = crowd.finish();
        // What a gauge shows may be older than the newest commit.
        self.await_reports(&receipted);
        receipted
    }

    /// Lets the crowd come to rest, and judges what it was receipted and the chain.
    ///
    /// # Panics
    /// When something is lost, doubled, otherwise than it was sent, or missing without a record.
    pub fn settle_and_judge(&self, crowd: Crowd) {
        let receipted = self.settle(crowd, BOUND * 4);
        println!("{} reports receipted", receipted.len());
        self.judge(&receipted);
        self.assert_complete();
    }

    /// # Panics
    /// When `kalitka-hub verify` is not content.
    pub fn assert_complete(&self) {
        let (said, complete) = self.verify();
        assert!(complete && said.contains("complete"), "{said}");
    }

    /// The reports at the hub, and those that are there twice.
    fn reports(&self) -> (BTreeMap<Identified, Value>, Vec<Identified>) {
        let mut kept: BTreeMap<Identified, Value> = BTreeMap::new();
        let mut doubled = Vec::new();
        for event in self.events().into_iter().filter(|event| event["kind"] == "report") {
            let reader = u32::try_from(event["reader"].as_u64().unwrap()).unwrap();
            let log = u64::from_str_radix(event["log"].as_str().unwrap(), 16).unwrap();
            let identity = (reader, log, event["report"].as_u64().unwrap());
            if kept.insert(identity, event).is_some() {
                doubled.push(identity);
            }
        }
        (kept, doubled)
    }

    /// The reports at the hub, and those that are there twice, as soon as all that were `receipted` are there: what got new
    /// identities may still be on its way though nothing waits.
    fn await_reports(
        &self,
        receipted: &BTreeMap<Identified, Reported>,
    ) -> (BTreeMap<Identified, Value>, Vec<Identified>) {
        let all = until_or(BOUND, || Some(self.reports()).filter(|(kept, _)| missing(receipted, kept).is_empty()));
        all.unwrap_or_else(|| self.reports())
    }

    /// Compares what readers were `receipted` with the reports at the hub, one by one.
    ///
    /// # Panics
    /// When one is missing there, there twice, or there otherwise than it was sent.
    pub fn judge(&self, receipted: &BTreeMap<Identified, Reported>) {
        let (kept, doubled) = self.await_reports(receipted);
        let lost = missing(receipted, &kept);
        let some = |of: &[Identified]| format!("{:?} and {} in all", of.iter().take(10).collect::<Vec<_>>(), of.len());
        assert!(lost.is_empty(), "of {} receipted are lost: {}\n{}", receipted.len(), some(&lost), self.verify().0);
        assert!(doubled.is_empty(), "doubled: {}\n{}", some(&doubled), self.verify().0);
        for (identity, reported) in receipted {
            let event = &kept[identity];
            assert_eq!(event["report_kind"], reported.kind.label(), "{identity:?}");
            assert_eq!(event["direction"], reported.direction.label(), "{identity:?}");
            assert_eq!(
                event["card"],
                hex::encode(CardRead::from_uid(&reported.uid).unwrap().to_bytes()),
                "{identity:?}"
            );
        }
    }
}

fn missing(receipted: &BTreeMap<Identified, Reported>, kept: &BTreeMap<Identified, Value>) -> Vec<Identified> {
    receipted.keys().filter(|identity| !kept.contains_key(identity)).copied().collect()
}
