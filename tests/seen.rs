//! What happens to a building is seen by the real Prometheus: the alarm that it is for fires, no other does, and all is silent again
//! when it is over.
//!
//! The rules are those that are shipped, hastened: nobody waits ten minutes here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use kalitka_loadgen::relay::{BOTH, Line, Relay};
use kalitka_tests::city::City;
use kalitka_tests::crowd::{Asking, Crowd};
use kalitka_tests::disk::Disk;
use kalitka_tests::prometheus::{Prometheus, hastened, rules_folder};
use kalitka_tests::random::seed;
use kalitka_tests::site::{BOUND, Site};
use kalitka_tests::wait::until;

const HOLDERS: u32 = 300;
const EVERY: Duration = Duration::from_millis(100);
/// How many times as fast as they are shipped the rules are. What the programs themselves take for lost they take after 20 s:
/// faster rules would fire before.
const HASTE: u32 = 30;
const DISK_MEBIBYTES: u32 = 256;
/// What is left of a disk that is full: less than the outbox leaves to others.
const LEFT: u64 = 4 << 20;
/// The reader that dies, and the file with its key.
const MORTAL: (u32, &str) = (101, "mortal.json");

/// What the crowd and a machine that is busy with other tests do by themselves, and no fault of a test: many of the cards
/// shown are made to be refused; answers, scrapes, disks, resends and pings may be slow. None of them is what a test looks for.
const BESIDES: [&str; 8] = [
    "KalitkaRefusalsJump",
    "KalitkaDown",
    "KalitkaSlowAnswers",
    "KalitkaReaderAsksAgain",
    "KalitkaReaderClockOff",
    "KalitkaDiskSlow",
    "KalitkaDiskHangs",
    "KalitkaHubDiskHangs",
];

/// A building in which readers ask, its hub behind a line that can be cut, and somebody who watches both. Its state is on a disk
/// of its own, so that it is full when the test says so and not when the machine's is.
struct Scene {
    prometheus: Prometheus,
    others: Crowd,
    mortal: Option<Crowd>,
    city: City,
    relay: Relay,
    disk: Disk,
}

impl Scene {
    /// All of it, well.
    fn new() -> Self {
        let site = Site::new(HOLDERS);
        let disk = Disk::mount(&site.path("state"), DISK_MEBIBYTES);
        let mut city = City::of(site);
        city.start_hub();
        city.enrol();
        let relay = Relay::start(city.quic().parse().unwrap(), Line::PERFECT, 1).unwrap();
        city.site.configure_also(&format!("[uplink]\nhub = \"{}\"\n", relay.address()));
        city.site.start();
        city.site.enrol();
        city.site.offer(&city.site.build(1));
        city.site.await_generation(1);
        city.await_uplink();
        city.site.set_keys_apart(&[MORTAL.0], MORTAL.1);
        let others = crowd(&city.site, "keys.json");
        let mortal = Some(crowd(&city.site, MORTAL.1));
        let rules = city.site.path("hastened.yml");
        fs::write(&rules, hastened(&fs::read_to_string(rules_folder().join("rules.yml")).unwrap(), HASTE)).unwrap();
        let targets = [city.site.http(), city.http()];
        let prometheus = Prometheus::start_with(&city.site.path(""), &targets, &rules);
        let scene = Self { prometheus, others, mortal, city, relay, disk };
        until("every rule to be looked at and every reader to be heard", BOUND * 2, || {
            let rules = scene.prometheus.rules();
            let all = !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok");
            let heard = !scene.prometheus.query("kalitka_reader_up").is_empty();
            let deaf = !scene.prometheus.query("kalitka_reader_up == 0").is_empty();
            (all && heard && !deaf && scene.firing().is_empty()).then_some(())
        });
        scene
    }

    /// The alarms that fire now.
    fn firing(&self) -> BTreeSet<String> {
        names(&self.prometheus, "ALERTS{alertstate=\"firing\"}")
    }

    /// Waits until all of `alarms` fire, and then, after `cure`, until none does. No others did meanwhile but perhaps
    /// `also`, which are of the same fact.
    fn assert_seen(
        &mut self,
        alarms: &[&str],
        also: &[&str],
        fault: impl FnOnce(&mut Self),
        cure: impl FnOnce(&mut Self),
    ) {
        let since = Instant::now();
        fault(self);
        until("the alarm", BOUND * 3, || alarms.iter().all(|alarm| self.firing().contains(*alarm)).then_some(()));
        println!("{alarms:?} after {:?}", since.elapsed());
        let cured = Instant::now();
        cure(self);
        until("silence", BOUND * 3, || self.firing().is_empty().then_some(()));
        println!("silent {:?} after the cure", cured.elapsed());
        let seconds = since.elapsed().as_secs() + 1;
        let fired = names(&self.prometheus, &format!("count_over_time(ALERTS{{alertstate=\"firing\"}}[{seconds}s])"));
        let mut others: Vec<&String> = fired.iter().filter(|alarm| !alarms.contains(&alarm.as_str())).collect();
        others.retain(|alarm| !also.contains(&alarm.as_str()));
        assert!(others.is_empty(), "others than {alarms:?} have fired: {others:?}");
        assert!(self.city.site.gateway().ended().is_none() && self.city.hub().ended().is_none());
        let fares = self.others.fares();
        assert!(fares.answers > 0 && fares.wrong == 0, "{:?}", fares.wrong_first);
    }
}

fn crowd(site: &Site, keys: &str) -> Crowd {
    let asking = Asking::new(&site.path("roster"), EVERY, seed());
    Crowd::start_asking(site.udp(), &site.path(keys), EVERY, asking, seed())
}

/// The names of the alerts that `expression` finds, but for those that may be there besides.
fn names(prometheus: &Prometheus, expression: &str) -> BTreeSet<String> {
    let found = prometheus.query(expression);
    let names = found.iter().map(|alert| alert["metric"]["alertname"].as_str().unwrap().to_owned());
    names.filter(|name| !BESIDES.contains(&name.as_str())).collect()
}

#[test]
fn dead_reader_and_a_full_disk_are_each_seen_and_nothing_else_is() {
    let mut scene = Scene::new();
    let dies = |scene: &mut Scene| drop(scene.mortal.take());
    let lives = |scene: &mut Scene| {
        let (reader, _) = MORTAL;
        let dead = scene.prometheus.query("ALERTS{alertname=\"KalitkaReaderDead\", alertstate=\"firing\"}");
        let dead: Vec<_> = dead.iter().map(|alert| alert["metric"]["reader"].as_str().unwrap()).collect();
        assert_eq!(dead, [reader.to_string()], "the alarm names the reader, and no other");
        scene.mortal = Some(crowd(&scene.city.site, MORTAL.1));
    };
    scene.assert_seen(&["KalitkaReaderDead"], &[], dies, lives);
    // That the reserve is given back, and that stamps of new sessions are not kept, is the same full disk: whether it comes to
    // that is a matter of what must be written meanwhile.
    let of_the_disk = ["KalitkaReserveGivenBack", "KalitkaStampsNotKept"];
    let full = ["KalitkaDiskNearlyFull", "KalitkaEventsNotKept"];
    scene.assert_seen(&full, &of_the_disk, |scene| scene.disk.fill(LEFT), |scene| scene.disk.make_room());
}

#[test]
fn cut_uplink_is_seen_and_nothing_else_is() {
    let mut scene = Scene::new();
    let cut = |scene: &mut Scene| scene.relay.cut(&BOTH, None);
    scene.assert_seen(&["KalitkaHubAway"], &[], cut, |scene| scene.relay.mend(&BOTH));
}
