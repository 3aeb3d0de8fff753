//! The whole in one go: a school is signed, a gateway started, the morning played against it, the gateway killed in the
//! middle of the crowd, a card blocked, and every answer checked.

mod folder;
mod gateway;
mod zone;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kalitka_protocol::ReaderId;

use crate::arrivals::Profile;
use crate::deck::Show;
use crate::fleet::{Fleet, wall_seconds};
use crate::keys;
use crate::oracle::Oracle;
use crate::output::say;
use crate::play::{Plan, Stage};
use crate::roster::{self, DEMO_HOLDERS, DEMO_SEED};
use crate::run::{Files, run};
use crate::summary::Summary;
use crate::tally::{Judges, Tally};
use gateway::{Gateway, Site};

/// Asks a second in the demo.
pub const RATE: u32 = 100;
/// The turnstiles' readers.
const TURNSTILES: std::ops::RangeInclusive<u32> = 101..=108;
/// One card in so many is the one that gets blocked.
const MARKED_SHARE: u32 = 20;
/// The building's number in the roster.
const BUILDING: u32 = 17;

/// What the demo is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long cards are shown.
    pub duration: Duration,
    /// Whether the gateway is left running.
    pub keep: bool,
    /// The roster, or `None` to invent the default one.
    pub roster: Option<PathBuf>,
    /// Where `kalitka-gateway` and `kalitka-snapshot` are; `None` for beside this executable.
    pub binaries: Option<PathBuf>,
}

/// What was set up.
struct Scene {
    folder: PathBuf,
    site: Site,
    judges: Judges,
    /// The next snapshot, finished, not yet where the gateway looks.
    next_snapshot: PathBuf,
    marked: (usize, Show),
}

/// Plays the demo. Gives whether all is as it should be; `stop` ends it early, and every child with it.
///
/// # Errors
/// What the file system, the sockets or the children say; [`io::ErrorKind::Interrupted`] when stopped.
pub fn demo(options: &Options, stop: &AtomicBool) -> io::Result<bool> {
    let scene = set_up(options)?;
    let mut gateway = Gateway::start(scene.site.clone(), stop)?;
    say(&format!(
        "gateway    {} (readers), http://{}/metrics, process {}",
        scene.site.udp,
        scene.site.http,
        shown(gateway.pid())
    ));
    let keys = TURNSTILES.map(|reader| scene.site.add_reader(reader)).collect::<io::Result<Vec<_>>>()?;
    keys::write(&scene.folder.join("readers.json"), &keys)?;
    say(&format!("readers    {} of them, keys in {}/readers.json", keys.len(), scene.folder.display()));
    let plan = Plan { profile: Profile::Morning, rate: RATE, duration: options.duration, window: 0, seed: DEMO_SEED };
    let mut drama = Drama::new(&mut gateway, &scene, options.duration);
    let (udp, log) = (scene.site.udp, scene.folder.join("latency.hdr"));
    let files = Files { json: Some(scene.folder.join("summary.json")), hdr: Some(log) };
    say(&format!("playing    {RATE} cards a second for {} s", options.duration.as_secs()));
    let played = run(udp, &keys, scene.judges, plan, &mut drama, &files, stop);
    let swapped_at = drama.swapped_at;
    let (summary, tally) = played?;
    if stop.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    gateway.check_alive()?;
    let is_good = tell(&summary, &tally, swapped_at);
    leave(gateway, options.keep, &scene.folder)?;
    say(&summary.result_line());
    Ok(is_good)
}

fn shown(pid: Option<u32>) -> String {
    pid.map_or_else(|| "?".into(), |pid| pid.to_string())
}

/// Makes rosters, keys, snapshots and the configuration.
fn set_up(options: &Options) -> io::Result<Scene> {
    let programs = match &options.binaries {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let (tool, program) = (programs.join("kalitka-snapshot"), programs.join("kalitka-gateway"));
    let folder = folder::make()?;
    say(&format!("folder     {}: everything made here, the gateway's log in gateway.log", folder.display()));
    let (first, next) = (folder.join("roster"), folder.join("roster-next"));
    let zone = zone::of_morning(wall_seconds());
    copy_or_invent(options.roster.as_deref(), &folder, &first, &zone)?;
    let oracle = Oracle::read(&first).map_err(io::Error::other)?;
    let readers: Vec<ReaderId> = TURNSTILES.map(ReaderId).collect();
    let (card, place, show) = folder::passing_card(&oracle, &readers)
        .ok_or_else(|| io::Error::other("no card of the roster may pass any turnstile this morning"))?;
    folder::block_card(&first, &next, card)?;
    say(&format!(
        "roster     {} cards; clock of the school in {zone}, so that it is morning there",
        oracle.cards().len()
    ));
    let secret = folder.join("publisher.key");
    let publisher = folder::make_key(&tool, &secret)?;
    let site = Site::new(program, &folder)?;
    folder::configure(&site, &folder, BUILDING, &publisher)?;
    let generation = u32::try_from(wall_seconds()).map_err(io::Error::other)?;
    let (snapshot, next_snapshot) = (folder.join("first.snapshot"), folder.join("next.snapshot"));
    folder::build(&tool, &first, &snapshot, generation, &secret)?;
    folder::build(&tool, &next, &next_snapshot, generation + 1, &secret)?;
    folder::publish(&snapshot, &folder)?;
    let after = Oracle::read(&next).map_err(io::Error::other)?;
    let judges = Judges::from(generation, oracle).then(generation + 1, after);
    Ok(Scene { folder, site, judges, next_snapshot, marked: (place, show) })
}

fn copy_or_invent(roster: Option<&Path>, folder: &Path, to: &Path, zone: &str) -> io::Result<()> {
    match roster {
        Some(from) => folder::copy_roster(from, to, zone),
        None => {
            let invented = folder.join("roster-invented");
            roster::write(&invented, DEMO_HOLDERS, DEMO_SEED)?;
            folder::copy_roster(&invented, to, zone)
        }
    }
}

/// Says how it went. Gives whether all is as it should be.
fn tell(summary: &Summary, tally: &Tally, swapped_at: Option<Duration>) -> bool {
    let marked = tally.marked;
    let in_force = swapped_at.zip(tally.last_snapshot_seen).map(|(swap, seen)| seen.saturating_sub(swap));
    say(&summary.table());
    say(&format!(
        "  {:<26} {}",
        "next snapshot",
        in_force.map_or_else(
            || "never in force".into(),
            |took| format!("answered by {} ms after it was put there", took.as_millis())
        )
    ));
    say(&format!(
        "  {:<26} granted {} times before; then refused {} times, granted {} times",
        "the card that it blocks", marked.granted_before, marked.refused_after, marked.granted_after
    ));
    let checks = [
        (summary.wrong == 0, "there are wrong answers"),
        (summary.unanswered == 0, "cards shown outside the outage were not answered"),
        (tally.came_back(), "the gateway did not come back after the kill"),
        (marked.refused_after > 0 && marked.granted_after == 0, "the blocked card was not refused"),
    ];
    for (_, complaint) in checks.iter().filter(|(is_good, _)| !is_good) {
        say(&format!("  BAD: {complaint}"));
    }
    checks.iter().all(|&(is_good, _)| is_good)
}

/// Ends the gateway, or says how to.
fn leave(mut gateway: Gateway, keep: bool, folder: &Path) -> io::Result<()> {
    if !keep {
        gateway.end()?;
        say(&format!("nothing is left running; {} can be deleted", folder.display()));
        return Ok(());
    }
    let pid = shown(gateway.keep()?);
    say(&format!("the gateway is left running as process {pid}; stop it with: kill {pid}"));
    Ok(())
}

/// The kill in the middle, the blocked card after three quarters.
struct Drama<'a> {
    gateway: &'a mut Gateway,
    kill_at: Option<Duration>,
    swap_at: Option<Duration>,
    swapped_at: Option<Duration>,
    next_snapshot: PathBuf,
    folder: PathBuf,
    marked: (usize, Show),
    shown: u32,
}

impl<'a> Drama<'a> {
    fn new(gateway: &'a mut Gateway, scene: &Scene, duration: Duration) -> Self {
        Self {
            gateway,
            kill_at: Some(duration / 2),
            swap_at: Some(duration / 4 * 3),
            swapped_at: None,
            next_snapshot: scene.next_snapshot.clone(),
            folder: scene.folder.clone(),
            marked: scene.marked,
            shown: 0,
        }
    }
}

impl Stage for Drama<'_> {
    fn turn(&mut self, at: Duration, now: Duration, fleet: &mut Fleet, tally: &mut Tally) -> io::Result<()> {
        if self.kill_at.take_if(|due| *due <= at).is_some() {
            self.gateway.kill_and_restart()?;
            tally.begin_outage(now, fleet.begin_outage(now));
        }
        if self.swap_at.take_if(|due| *due <= at).is_some() {
            folder::publish(&self.next_snapshot, &self.folder)?;
            self.swapped_at = Some(now);
            tally.promise_last(now);
        }
        self.gateway.check_alive()
    }

    fn next(&self) -> Duration {
        self.kill_at.or(self.swap_at).unwrap_or(Duration::MAX)
    }

    fn marked(&mut self) -> Option<(usize, Show)> {
        self.shown += 1;
        self.shown.is_multiple_of(MARKED_SHARE).then_some(self.marked)
    }
}
