//! A city whose hub was away comes back: hundreds of real uplinks, each with a backlog, resume on one real hub at once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "../gateway/uplink/tests/support/journal.rs"]
#[allow(dead_code)]
mod journal;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use journal::Journal;
use kalitka_protocol::EpochId;
use kalitka_tests::city::City;
use kalitka_tests::random::{is_soak, number_from_environment};
use kalitka_tests::site::Site;
use kalitka_tests::wait::until;
use kalitka_uplink::{Congestion, Options, Port, State, Tally, run};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ED25519, SanType};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Each gateway's events while the hub is away.
const BACKLOG: usize = 2000;
/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(300);
/// Memory of a hub beside what each connection has: pages of its store, batches, works.
const HUB_MIB_MAX: u64 = 640;

/// What is claimed of a machine that does nothing else.
const CLAIMED: Duration = Duration::from_secs(60);
const CLAIMED_OF_MEDIAN: f64 = 3.0;

struct Gateway {
    building: u32,
    journal: Arc<Journal>,
    tally: Arc<Tally>,
    state: watch::Receiver<State>,
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// What the hub's authority gives the gateway of `building`, in a folder of its own.
fn identity(city: &City, issuer: &Issuer<'_, KeyPair>, building: u32) -> PathBuf {
    let folder = city.site.path(&format!("gateway-{building}"));
    fs::create_dir(&folder).unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(format!("urn:kalitka:building:{building}").try_into().unwrap())];
    let certificate = params.signed_by(&key, issuer).unwrap();
    let pins = format!(
        "building = {building}\nhub = \"{}\"\nhub_key = \"{}\"\npublishers = []\noperators = []\n",
        city.quic(),
        "11".repeat(32)
    );
    let ca = fs::read_to_string(city.site.path("hub/pki/ca.crt")).unwrap();
    let files =
        [("gateway.key", key.serialize_pem()), ("gateway.crt", certificate.pem()), ("ca.crt", ca), ("pins.toml", pins)];
    files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    folder
}

impl Gateway {
    fn start(identity: &Path, building: u32, down: watch::Receiver<bool>) -> Self {
        let journal = Arc::new(Journal::new(building, EpochId(u64::from(building))));
        let (shown, state) = watch::channel(State::Off);
        let asked = Arc::clone(&journal);
        let port = Port {
            requests: Box::new(move |request| asked.take(request)),
            head: journal.head.subscribe(),
            live: journal.live.clone(),
            state: shown,
        };
        let options = Options {
            building,
            hub: None,
            identity: identity.to_path_buf(),
            snapshots: identity.join("snapshots"),
            congestion: Congestion::default(),
            wall,
        };
        let tally = Arc::new(Tally::default());
        let since = Instant::now();
        tokio::spawn(run(options, port, Arc::clone(&tally), move || since.elapsed(), down));
        Self { building, journal, tally, state }
    }

    /// Waits until the hub has acknowledged `number`.
    async fn acknowledged(&self, number: u64) {
        self.journal.until(|book| book.acknowledged.iter().any(|of| of.1 >= number).then_some(())).await;
    }
}

/// The most memory that the hub ever had, in MiB.
fn peak(city: &mut City) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", city.hub().id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Hundreds of gateways in this process.
struct Fleet {
    gateways: Vec<Arc<Gateway>>,
    runtime: Runtime,
    _up: watch::Sender<bool>,
}

impl Fleet {
    fn start(city: &City, count: u32) -> Self {
        let ca = |name: &str| fs::read_to_string(city.site.path(&format!("hub/pki/{name}"))).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&ca("ca.crt"), KeyPair::from_pem(&ca("ca.key")).unwrap()).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (up, down) = watch::channel(false);
        let entered = runtime.enter();
        let start = |building| {
            let identity = identity(city, &issuer, building);
            Arc::new(Gateway::start(&identity, building, down.clone()))
        };
        let gateways = (1..=count).map(start).collect();
        drop(entered);
        Self { gateways, runtime, _up: up }
    }

    /// How long after `since` the hub has acknowledged `number` of the median and of the slowest gateway, in seconds.
    fn acknowledged(&self, number: u64, since: Instant) -> (f64, f64) {
        let wait = |gateway: &Arc<Gateway>| {
            let gateway = Arc::clone(gateway);
            self.runtime.spawn(async move {
                gateway.acknowledged(number).await;
                since.elapsed()
            })
        };
        let waits: Vec<_> = self.gateways.iter().map(wait).collect();
        let mut times = Vec::new();
        for wait in waits {
            let waited = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, wait).await });
            times.push(waited.expect("everybody to be served in time").unwrap());
        }
        times.sort();
        (times[times.len() / 2].as_secs_f64(), times[times.len() - 1].as_secs_f64())
    }

    /// Commits the backlog while the hub is away, and waits until each has tried so often in vain.
    fn fall_behind(&self, failures: u64) {
        self.gateways.iter().for_each(|gateway| gateway.journal.commit_many(BACKLOG));
        until("every gateway to have failed", PATIENCE, || {
            self.gateways.iter().all(|gateway| gateway.tally.failures.load(Relaxed) >= failures).then_some(())
        });
    }
}

/// Every event of every gateway is at the hub once, and in its place.
fn assert_complete(city: &City, fleet: &Fleet, last: u64) {
    for gateway in &fleet.gateways {
        let said = city.ask(&["verify", "--building", &gateway.building.to_string(), "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["complete"], &said["events"]), (&true.into(), &last.into()), "{said}");
        let state = gateway.state.borrow();
        assert!(matches!(*state, State::Up { .. }), "building {}: {state:?}", gateway.building);
    }
}

/// SPEC 15.16. The long form, with 500 gateways that have failed often, is what docs/reliability.md claims.
#[test]
fn city_whose_hub_was_away_comes_back_at_once_and_none_is_starved() {
    let count = u32::try_from(number_from_environment("KALITKA_FLEET", 40, 500)).unwrap();
    let failures = number_from_environment("KALITKA_FLEET_FAILURES", 1, 4);
    let mut city = City::of(Site::new(50));
    city.start_hub();
    let fleet = Fleet::start(&city, count);
    let (median, slowest) = fleet.acknowledged(1, Instant::now());
    println!("{count} gateways connected for the first time: median {median:.2} s, slowest {slowest:.2} s");
    city.hub().terminate();
    fleet.fall_behind(failures);
    let since = Instant::now();
    city.start_hub();
    let last = 1 + BACKLOG as u64;
    let (median, slowest) = fleet.acknowledged(last, since);
    let ratio = slowest / median;
    let memory = peak(&mut city);
    let kept = city.metric("kalitka_hub_events_kept_total", "");
    assert_eq!(kept, f64::from(count) * BACKLOG as f64, "each event is kept once");
    assert_complete(&city, &fleet, last);
    println!(
        "RESULT gateways={count} events={kept} median_s={median:.2} slowest_s={slowest:.2} slowest_of_median={ratio:.2} \
         hub_peak_mib={memory} lost=0 doubled=0"
    );
    assert!(memory < HUB_MIB_MAX + u64::from(count), "the hub took {memory} MiB");
    // Of a machine that builds and tests other things meanwhile nothing is claimed.
    if is_soak() {
        assert!(Duration::from_secs_f64(slowest) < CLAIMED && ratio < CLAIMED_OF_MEDIAN, "{slowest} s, {ratio}");
    }
}
