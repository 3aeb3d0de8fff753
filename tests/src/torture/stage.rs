//! One city to be tortured: gateway and hub on disks of their own, a relay on each of the two networks, readers that report
//! and ask.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kalitka_loadgen::relay::{BOTH, Line, Relay};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::disks::Ground;
use super::fault::{Net, Sickness, Weather, Who};
use super::interrupt;
use super::judge::Forks;
use crate::city::City;
use crate::crowd::{Asking, Crowd};
use crate::process::Process;
use crate::site::{Site, text};
use crate::wait::until;

const HOLDERS: u32 = 300;
/// Between two happenings at one reader.
const REPORT_EVERY: Duration = Duration::from_millis(15);
/// Between two asks at one reader.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// The stage. Dropped, everything on it ends and is removed.
pub struct Stage {
    /// The readers.
    pub crowd: Option<Crowd>,
    readers: Relay,
    uplink: Relay,
    gateways: Ground,
    hubs: Ground,
    /// Gateway and hub.
    pub city: City,
    /// Where everything is kept when the stage falls down.
    keep: PathBuf,
}

impl Stage {
    /// A stage with everything up. Should its thread panic, stores and logs are kept in the folder `keep`.
    ///
    /// # Panics
    /// When the machine does not allow it; so do all functions here, and when a program has ended by itself.
    #[must_use]
    pub fn set(seed: u64, on_sick_disks: bool, keep: &Path) -> Self {
        let site = Site::new(HOLDERS);
        interrupt::stands_in(Some(site.path("")));
        let gateways = Ground::mount(&site.path("state"), on_sick_disks);
        let hubs = Ground::mount(&site.path("hub"), on_sick_disks);
        let mut city = City::of(site);
        city.start_hub();
        city.enrol();
        let uplink = Relay::start(city.quic().parse().unwrap(), Line::PERFECT, seed).unwrap();
        city.site.configure_also(&format!("[uplink]\nhub = \"{}\"\n", uplink.address()));
        city.site.start();
        city.site.enrol();
        city.site.offer(&city.site.build(1));
        city.site.await_generation(1);
        let readers = Relay::start(city.site.udp(), Line::PERFECT, !seed).unwrap();
        let asking = Asking::new(&city.site.path("roster"), ASK_EVERY, seed);
        let keys = city.site.path("keys.json");
        let crowd = Some(Crowd::start_asking(readers.address(), &keys, REPORT_EVERY, asking, seed));
        Self { crowd, readers, uplink, gateways, hubs, city, keep: keep.to_path_buf() }
    }

    /// The readers.
    pub const fn crowd(&self) -> &Crowd {
        self.crowd.as_ref().unwrap()
    }

    /// The gateway's state folder.
    pub fn state(&self) -> PathBuf {
        self.city.site.path("state")
    }

    /// SIGKILL.
    pub fn kill(&mut self, who: Who) {
        self.assert_alive();
        if who.is_gateway() {
            self.city.site.gateway().kill();
            self.crowd().forget_sessions();
        }
        if who.is_hub() {
            self.city.hub().kill();
        }
    }

    /// Starts what was killed, and waits for nothing.
    pub fn start(&mut self, who: Who) {
        if who.is_hub() {
            self.keep_log("hub");
            self.city.spawn_hub();
        }
        if who.is_gateway() {
            self.keep_log("gateway");
            self.city.site.spawn();
        }
    }

    /// Stops whoever is hit, keeps what their disks hold at that moment, kills them, and puts that in the place of the disks.
    pub fn cut_power(&mut self, who: Who) {
        self.assert_alive();
        if who.is_gateway() {
            stop(self.city.site.gateway());
        }
        if who.is_hub() {
            stop(self.city.hub());
        }
        if who.is_gateway() {
            self.gateways.freeze_frame();
        }
        if who.is_hub() {
            self.hubs.freeze_frame();
        }
        self.kill(who);
        if who.is_gateway() {
            self.gateways.cut_power();
        }
        if who.is_hub() {
            self.hubs.cut_power();
        }
    }

    /// Fills the disk but for `but_kib`.
    pub fn fill_disk(&self, who: Who, but_kib: u32) {
        self.disks(who, |disk| disk.fill(u64::from(but_kib) << 10));
    }

    /// Makes the disk ill.
    pub fn sicken_disk(&self, who: Who, how: Sickness) {
        self.disks(who, |disk| disk.fall_ill(how));
    }

    /// Ends [`fill_disk`](Self::fill_disk) and [`sicken_disk`](Self::sicken_disk).
    pub fn heal_disk(&self, who: Who) {
        self.disks(who, Ground::heal);
    }

    fn disks(&self, who: Who, act: impl Fn(&Ground)) {
        if who.is_gateway() {
            act(&self.gateways);
        }
        if who.is_hub() {
            act(&self.hubs);
        }
    }

    /// Makes the network `net` as `weather` says. A cut is over when this returns.
    pub fn weather(&self, net: Net, weather: Weather) {
        let relay = self.relay(net);
        let fair = Line::PERFECT;
        match weather {
            Weather::Fair => relay.become_like(fair),
            Weather::Lossy(thousandths) => {
                let some = u32::from(thousandths) * 1000;
                relay.become_like(Line { loss_millionths: some, duplicate_millionths: some, ..fair });
            }
            Weather::Shuffled(thousandths) => {
                relay.become_like(Line { reorder_millionths: u32::from(thousandths) * 1000, ..fair });
            }
            Weather::Slow(ms) => relay.become_like(Line { delay: Duration::from_millis(ms.into()), ..fair }),
            Weather::Narrow(kbit) => {
                let rate = u64::from(kbit) * 1000;
                relay.become_like(Line { rate: Some(rate), queue: rate / 16, ..fair });
            }
            Weather::Cut(ms) => {
                let (since, ms) = (Instant::now(), Duration::from_millis(ms.into()));
                relay.cut(&BOTH, Some(ms));
                until("the end of a cut", ms * 10, || (since.elapsed() >= ms).then_some(()));
            }
            Weather::Awful => relay.become_like(Line::AWFUL),
            Weather::Moved => relay.move_clients(),
        }
    }

    /// Cuts the uplink, or mends it.
    pub fn cut_uplink(&self, is_cut: bool) {
        let uplink = self.relay(Net::Uplink);
        if is_cut { uplink.cut(&BOTH, None) } else { uplink.mend(&BOTH) }
    }

    const fn relay(&self, net: Net) -> &Relay {
        match net {
            Net::Readers => &self.readers,
            Net::Uplink => &self.uplink,
        }
    }

    /// Both programs run; whoever has ended has done so by itself.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.city.site.gateway().ended() {
            panic!("the gateway has ended by itself, {status}: {}", self.city.site.gateway().printed());
        }
        if let Some(status) = self.city.hub().ended() {
            panic!("the hub has ended by itself, {status}: {}", self.city.hub().printed());
        }
    }

    /// Identities that the hub has refused, as `verify` names them.
    pub fn forks(&self) -> Forks {
        let building = self.city.site.building().to_string();
        let output = self.city.command(&["verify", "--building", &building, "--json"]);
        let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
        let place = |line: &Value| {
            // `epoch 0123456789abcdef number 7, 1 times`
            let words: Vec<&str> = line.as_str().unwrap().split([' ', ',']).collect();
            (u64::from_str_radix(words[1], 16).unwrap(), words[3].parse().unwrap())
        };
        verified["refused"].as_array().unwrap().iter().map(place).collect()
    }

    /// The log of a run that is over goes behind those of earlier ones.
    fn keep_log(&self, name: &str) {
        let log = fs::read(self.city.site.path(&format!("{name}.log"))).unwrap_or_default();
        let all = OpenOptions::new().create(true).append(true).open(self.city.site.path(&format!("{name}.all.log")));
        all.unwrap().write_all(&log).unwrap();
    }

    /// Keeps stores and logs for a look at them, if nothing is kept there yet.
    pub fn keep(&self) {
        if self.keep.exists() {
            return;
        }
        fs::create_dir_all(&self.keep).unwrap();
        for name in ["state", "hub", "gateway.log", "gateway.all.log", "hub.log", "hub.all.log"] {
            let (from, to) = (self.city.site.path(name), self.keep.join(name));
            // What is not there is not kept.
            let _ = Command::new("cp").args(["-a", "--sparse=always", text(&from), text(&to)]).status();
        }
        println!("  stores and logs are kept in {}", self.keep.display());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() && !interrupt::is_stopped() {
            self.keep();
        }
        self.city.end();
        interrupt::stands_in(None);
    }
}

fn stop(process: &Process) {
    let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
}
