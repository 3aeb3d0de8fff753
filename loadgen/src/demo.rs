//! The whole in one go: a school is signed, a hub and a gateway started, the box enrolled, the morning played against it,
//! gateway and hub killed in the middle of the crowd, cards blocked, every answer checked, and every report looked for at
//! the hub.

mod drama;
mod folder;
mod hub;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kalitka_protocol::ReaderId;
use kalitka_protocol::osdp::Address;

use crate::arrivals::Profile;
use crate::fleet::wall_seconds;
use crate::hub::Hub as Records;
use crate::keys;
use crate::limits::{AT_HUB_WITHIN, RECEIPTS_WITHIN};
use crate::oracle::Oracle;
use crate::osdp::{self, Bus};
use crate::output::say;
use crate::play::Plan;
use crate::roster::{self, DEMO_HOLDERS, DEMO_SEED};
use crate::run::{Files, Target, run};
use crate::serial::{Line, Noise, Passed, Setup};
use crate::site::child::Child;
use crate::site::gateway::{Gateway, Settings};
use crate::site::{self, zone};
use crate::summary::Summary;
use crate::tally::{Judges, Marked, Tally};
use drama::{Cast, Drama};
use folder::Passing;
use hub::Hub;

pub use crate::site::programs;

/// Asks a second in the demo.
pub const RATE: u32 = 100;
/// The turnstiles' readers that speak our protocol.
const TURNSTILES: [u32; 6] = [101, 102, 103, 104, 107, 108];
/// Those of them that hang on serial lines.
const ON_LINES: [u32; 2] = [107, 108];
/// The turnstiles' readers that are OSDP devices, at addresses from 0 on of one line.
const ON_BUS: [u32; 2] = [105, 106];
/// How the lines run, and how bad they are.
const LINE_BAUD: u32 = 115_200;
const LINE_NOISE: Noise = Noise { hits: 50, crackle_every: Duration::from_millis(500) };

/// What the demo is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long cards are shown.
    pub duration: Duration,
    /// Whether gateway and hub are left running.
    pub keep: bool,
    /// The roster, or `None` to invent the default one.
    pub roster: Option<PathBuf>,
    /// Where `kalitka-gateway`, `kalitka-hub` and `kalitka-snapshot` are; `None` for beside this executable.
    pub binaries: Option<PathBuf>,
}

/// What was set up.
struct Scene {
    folder: PathBuf,
    gateway: Gateway,
    hub: Hub,
    building: u32,
    judges: Judges,
    first_snapshot: PathBuf,
    next_snapshot: PathBuf,
    /// The card that the next snapshot blocks, and the one that a command blocks.
    blocked: [Passing; 2],
}

/// Plays the demo. Gives whether all is as it should be; `stop` ends it early, and every child with it.
///
/// # Errors
/// What the file system, the sockets or the children say; [`io::ErrorKind::Interrupted`] when stopped.
pub fn demo(options: &Options, stop: &AtomicBool) -> io::Result<bool> {
    let scene = set_up(options)?;
    let Scene { folder, gateway, hub, building, judges, first_snapshot, next_snapshot, blocked } = scene;
    let lines = plug(&folder)?;
    let mut buses = [plug_bus(&folder)?];
    let (gateway_child, hub_child) = bring_up(&gateway, &hub, &first_snapshot, stop)?;
    let keys = TURNSTILES.into_iter().map(|reader| gateway.add_reader(reader)).collect::<io::Result<Vec<_>>>()?;
    enrol(&gateway)?;
    keys::write(&folder.join("readers.json"), &keys)?;
    let on_lines = lines.len();
    say(&format!(
        "readers    {} turnstiles, {on_lines} of them on noisy serial lines, {} OSDP devices on another; keys in {}/readers.json",
        keys.len() + ON_BUS.len(),
        ON_BUS.len(),
        folder.display()
    ));
    let [by_snapshot, by_command] = blocked.map(|card| ((card.place, card.show), card.uid));
    let cast = Cast {
        gateway: gateway_child,
        hub: hub_child,
        site: hub.clone(),
        next_snapshot,
        by_snapshot: by_snapshot.0,
        by_command: by_command.0,
        uid: by_command.1,
    };
    let mut drama = Drama::new(cast, options.duration);
    let plan = Plan {
        profile: Profile::Morning,
        rate: RATE,
        duration: options.duration,
        seed: DEMO_SEED,
        receipts_within: RECEIPTS_WITHIN,
    };
    let files = Files { json: Some(folder.join("summary.json")), hdr: Some(folder.join("latency.hdr")), svg: None };
    let (program, socket) = (hub.service.program.clone(), hub.socket.clone());
    let records = Records { program, socket, building, is_alone: true, within: AT_HUB_WITHIN };
    let ways: Vec<_> = lines.iter().map(|(reader, line)| (*reader, line.address)).collect();
    let (gateway, hub_of) = (gateway.udp, Some(&records));
    let target = Target { gateway, keys: &keys, ways: &ways, buses: &mut buses, turnstiles: true, hub: hub_of };
    say(&format!("playing    {RATE} cards a second for {} s", options.duration.as_secs()));
    let (summary, tally) = run(target, judges, plan, &mut drama, &files, stop)?;
    if stop.load(Ordering::Relaxed) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    drama.gateway.check_alive()?;
    drama.hub.check_alive()?;
    let is_good = tell(&summary, &tally, &drama, &hub.verify()?);
    for (ReaderId(reader), line) in &lines {
        let Passed { sent, received, faults, spoilt } = line.passed();
        let said = format!("{sent} frames up, {received} down, {faults} spoilt down; noise hit {spoilt} bytes");
        say(&row(&format!("line of reader {reader}"), &said));
    }
    leave(drama, options.keep, &folder)?;
    say(&summary.result_line());
    Ok(is_good)
}

/// Makes rosters, keys, snapshots and the configurations.
fn set_up(options: &Options) -> io::Result<Scene> {
    let programs = programs(options.binaries.as_deref())?;
    let tool = programs.join("kalitka-snapshot");
    let folder = site::folder::make("demo")?;
    say(&format!("folder     {}: everything made here, the logs in gateway.log and hub.log", folder.display()));
    let (first, ordered, next) = (folder.join("roster"), folder.join("roster-ordered"), folder.join("roster-next"));
    let zone = zone::of_morning(wall_seconds());
    copy_or_invent(options.roster.as_deref(), &folder, &first, &zone)?;
    let oracle = Oracle::read(&first).map_err(io::Error::other)?;
    let building = oracle.building();
    let readers = TURNSTILES.map(ReaderId);
    let blocked = folder::passing_cards(&oracle, &readers)
        .ok_or_else(|| io::Error::other("no two cards of the roster may pass the turnstiles this morning"))?;
    let [by_snapshot, by_command] = &blocked;
    folder::block_cards(&first, &ordered, &[by_command.card])?;
    // Whoever makes the next snapshot knows of the command.
    folder::block_cards(&first, &next, &[by_command.card, by_snapshot.card])?;
    say(&format!(
        "roster     {} cards; clock of the school in {zone}, so that it is morning there",
        oracle.cards().len()
    ));
    let secret = folder.join("publisher.key");
    let publisher = site::folder::make_key(&tool, &secret)?;
    let hub = Hub::new(programs.join("kalitka-hub"), &folder, building, &publisher)?;
    let port = |reader| format!("[[serial]]\nport = {:?}\nbaud = {LINE_BAUD}\n\n", port_of(&folder, reader));
    let also = ON_LINES.map(port).concat() + &bus(&folder);
    let gateway =
        Gateway::new(programs.join("kalitka-gateway"), &folder, &Settings { building, also, ..Settings::default() })?;
    let generation = u32::try_from(wall_seconds()).map_err(io::Error::other)?;
    let (first_snapshot, next_snapshot) = (folder.join("first.snapshot"), folder.join("next.snapshot"));
    site::folder::build(&tool, &first, &first_snapshot, generation, &secret)?;
    site::folder::build(&tool, &next, &next_snapshot, generation + 1, &secret)?;
    let read = |roster: &Path| Oracle::read(roster).map_err(io::Error::other);
    let judges = Judges::from(generation, oracle).ordered(read(&ordered)?).then(generation + 1, read(&next)?);
    Ok(Scene { folder, gateway, hub, building, judges, first_snapshot, next_snapshot, blocked })
}

/// The port of a reader on a line.
fn port_of(folder: &Path, reader: u32) -> PathBuf {
    folder.join(format!("line-{reader}"))
}

/// The line of the OSDP devices, as the gateway is told of it.
fn bus(folder: &Path) -> String {
    let device = |(address, reader)| {
        format!(
            "[[osdp.devices]]\naddress = {address}\nreader = {reader}\nrelease = 0\ninputs = {{ rotation_entry = 0 }}\n\n"
        )
    };
    let devices: String = (0..).zip(ON_BUS).map(|(address, reader): (u8, u32)| device((address, reader))).collect();
    format!("[[osdp]]\nport = {:?}\nbaud = {LINE_BAUD}\n{devices}", folder.join("bus"))
}

fn plug_bus(folder: &Path) -> io::Result<Bus> {
    let line = Setup { port: folder.join("bus"), baud: LINE_BAUD, noise: LINE_NOISE, seed: DEMO_SEED };
    let devices = (0..).zip(ON_BUS).filter_map(|(address, reader)| Some((ReaderId(reader), Address::new(address)?)));
    Bus::plug(osdp::Setup { line, devices: devices.collect() })
}

/// Gives each OSDP device its key: what it asks is asked with a reader's key, which the gateway keeps for it.
fn enrol(gateway: &Gateway) -> io::Result<()> {
    ON_BUS.into_iter().try_for_each(|reader| {
        gateway.add_reader(reader)?;
        gateway.enrol_device(reader)
    })
}

/// Plugs the serial lines in.
fn plug(folder: &Path) -> io::Result<Vec<(ReaderId, Line)>> {
    let plug = |reader: u32| {
        let (port, seed) = (port_of(folder, reader), DEMO_SEED.wrapping_add(reader.into()));
        let line = Line::plug(Setup { port, baud: LINE_BAUD, noise: LINE_NOISE, seed })?;
        Ok((ReaderId(reader), line))
    };
    ON_LINES.into_iter().map(plug).collect()
}

fn copy_or_invent(roster: Option<&Path>, folder: &Path, to: &Path, zone: &str) -> io::Result<()> {
    match roster {
        Some(from) => site::folder::copy_roster(from, to, zone),
        None => {
            let invented = folder.join("roster-invented");
            roster::write(&invented, DEMO_HOLDERS, DEMO_SEED)?;
            site::folder::copy_roster(&invented, to, zone)
        }
    }
}

/// Starts the hub, enrols the box, starts the gateway, and hands the first snapshot down.
fn bring_up(gateway: &Gateway, hub: &Hub, snapshot: &Path, stop: &AtomicBool) -> io::Result<(Child, Child)> {
    let hub_child = hub.start(stop)?;
    say(&format!("hub        {} (gateways), http://{}/metrics, process {}", hub.quic, hub.http, hub_child.pid()));
    gateway.enrol(hub.quic, &hub.token()?)?;
    let mut gateway_child = gateway.start(stop)?;
    say(&format!(
        "gateway    {} (readers), http://{}/metrics, process {}, enrolled by a one-time token",
        gateway.udp,
        gateway.http,
        gateway_child.pid()
    ));
    hub.publish(snapshot)?;
    gateway_child
        .wait_until(stop, "does not decide by the snapshot that the hub has handed down", || gateway.is_ready())?;
    say("snapshot   published at the hub, in force at the gateway");
    Ok((gateway_child, hub_child))
}

/// Says how it went. Gives whether all is as it should be.
fn tell(summary: &Summary, tally: &Tally, drama: &Drama, (verified, is_complete): &(String, bool)) -> bool {
    say(&summary.table());
    say(&row("card blocked by command", &took(drama.command_took, &tally.by_command)));
    say(&row("card blocked by snapshot", &took(drama.publish_took, &tally.by_snapshot)));
    say(&row("kalitka-hub verify", &verified.replace('\n', "\n                             ")));
    let [by_command, by_snapshot] = [tally.by_command, tally.by_snapshot].map(is_refused);
    let checks = [
        (summary.wrong == 0, "there are wrong answers"),
        (summary.unanswered == 0, "cards shown outside the outage were not answered"),
        (tally.came_back(), "the gateway did not come back after the kill"),
        (by_command, "the card blocked by command was not refused"),
        (by_snapshot, "the card blocked by snapshot was not refused"),
        (summary.reports_waiting == 0, "reports were not receipted"),
        (summary.is_well_at_hub(), "the hub does not hold what was receipted, each report once and as it was told"),
        (*is_complete, "the hub's history does not hold"),
    ];
    for (_, complaint) in checks.iter().filter(|(is_good, _)| !is_good) {
        say(&format!("  BAD: {complaint}"));
    }
    checks.iter().all(|&(is_good, _)| is_good)
}

fn row(name: &str, value: &str) -> String {
    format!("  {name:<26} {value}")
}

fn took(took: Option<Duration>, marked: &Marked) -> String {
    let Marked { granted_before, refused_after, granted_after } = marked;
    let took = took.map_or_else(|| "never in force".into(), |took| format!("in force {} ms later", took.as_millis()));
    format!(
        "{took}; granted {granted_before} times before, then refused {refused_after} times, granted {granted_after} times"
    )
}

const fn is_refused(marked: Marked) -> bool {
    marked.refused_after > 0 && marked.granted_after == 0
}

/// Ends gateway and hub, or says how to.
fn leave(drama: Drama, keep: bool, folder: &Path) -> io::Result<()> {
    let Drama { mut gateway, mut hub, .. } = drama;
    if !keep {
        gateway.end()?;
        hub.end()?;
        say(&format!("nothing is left running; {} can be deleted", folder.display()));
        return Ok(());
    }
    let (gateway, hub) = (gateway.keep()?, hub.keep()?);
    say(&format!(
        "left running: the gateway, process {gateway}, and the hub, process {hub}; stop them with: kill {gateway} {hub}"
    ));
    Ok(())
}
