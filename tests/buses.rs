//! Several lines of OSDP devices at once, played by the load generator, with noise and through a kill of the gateway.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use kalitka_tests::city::City;
use kalitka_tests::process::Process;
use kalitka_tests::random::{is_soak, seed};
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::wait::until;
use serde_json::Value;

const HOLDERS: u32 = 300;
const BAUD: u32 = 38_400;
/// Devices of the lines, by their readers.
const LINES: [&[u32]; 2] = [&[101, 102], &[103]];
/// Seconds for which people come: long enough for the kill, the start and the handshakes behind it on a slow machine.
const DURATION: u32 = 40;
const DURATION_IN_SOAK: u32 = 600;

/// When lessons and working days are, as the roster has it: a test at night is to have people, too.
const HOURS: [&str; 3] =
    [r#"from = "07:00", to = "20:00""#, r#"from = "07:15", to = "16:00""#, r#"from = "06:00", to = "22:00""#];
const ALL_DAY: &str = r#"from = "00:00", to = "24:00""#;

fn open_at_all_hours(site: &Site) {
    let path = site.path("roster/building.toml");
    let page = fs::read_to_string(&path).unwrap();
    let opened = HOURS.iter().fold(page, |page, hours| {
        assert!(page.contains(hours), "no {hours} in {page}");
        page.replace(hours, ALL_DAY)
    });
    fs::write(path, opened).unwrap();
}

fn port(site: &Site, line: usize) -> PathBuf {
    site.path(&format!("bus-{line}"))
}

/// Every reader, with its line and its address there.
fn devices() -> impl Iterator<Item = (usize, usize, u32)> {
    LINES
        .iter()
        .enumerate()
        .flat_map(|(line, readers)| readers.iter().enumerate().map(move |(address, &reader)| (line, address, reader)))
}

fn configuration(site: &Site) -> String {
    let line = |line: usize| format!("[[osdp]]\nport = {:?}\nbaud = {BAUD}\n", port(site, line));
    let device = |(_, address, reader): (usize, usize, u32)| {
        format!(
            "[[osdp.devices]]\naddress = {address}\nreader = {reader}\nrelease = 0\ninputs = {{ rotation_entry = 0 }}\n\
             one_way = true\n"
        )
    };
    let with_devices = |number| {
        devices().filter(|(on, ..)| *on == number).map(device).fold(line(number), |page, device| page + &device)
    };
    (0..LINES.len()).map(with_devices).collect()
}

/// The load generator with all devices, and the other readers on the network.
fn people(city: &City, summary: &Path) -> Process {
    let site = &city.site;
    let (keys, roster, hub) = (site.path("keys.json"), site.path("roster"), site.path("hub-control"));
    let duration = if is_soak() { DURATION_IN_SOAK } else { DURATION }.to_string();
    let (gateway, seed, baud) = (site.udp().to_string(), seed().to_string(), BAUD.to_string());
    let mut args = vec!["run", "--gateway", &gateway, "--keys", text(&keys), "--roster", text(&roster), "--rate", "20"];
    args.extend(["--duration", &duration, "--seed", &seed, "--hub-socket", text(&hub), "--json", text(summary)]);
    args.extend(["--osdp-baud", &baud, "--line-hits", "100", "--line-crackle-every", "1000"]);
    let devices: Vec<String> = devices()
        .map(|(line, address, reader)| format!("--osdp={reader}={}@{address}", port(site, line).display()))
        .collect();
    Process::start(
        "kalitka-loadgen",
        args.into_iter().chain(devices.iter().map(String::as_str)),
        &site.path("people.log"),
    )
}

#[test]
fn noisy_buses_and_a_killed_gateway_open_to_nobody_wrongly_and_lose_and_double_no_pass() {
    let mut city = City::of(Site::new(HOLDERS));
    open_at_all_hours(&city.site);
    city.start_hub();
    city.enrol();
    city.site.configure_also(&configuration(&city.site));
    city.site.start();
    city.site.enrol();
    let readers: Vec<u32> = devices().map(|(.., reader)| reader).collect();
    city.site.set_keys_apart(&readers, "devices.json");
    city.site.offer(&city.site.build(1));
    city.site.await_generation(1);
    let summary = city.site.path("summary.json");
    let mut people = people(&city, &summary);
    for reader in &readers {
        city.site.ask(&["osdp", "enrol", "--reader", &reader.to_string(), "--for", "60s"]);
    }
    let cards = |city: &City| city.site.metric("kalitka_osdp_cards_total", "");
    until("cards at the devices", BOUND * 2, || (cards(&city) > 10.0).then_some(()));
    city.site.gateway().kill();
    city.site.start();
    until("cards after the kill", BOUND * 2, || (cards(&city) > 0.0).then_some(()));
    let ended = until("the end of the run", BOUND * if is_soak() { 30 } else { 4 }, || people.ended());
    let said = people.printed();
    assert!(ended.success(), "{said}");
    let summary: Value = serde_json::from_slice(&fs::read(summary).unwrap()).unwrap();
    let score = &summary["osdp"];
    let count = |of: &Value| of.as_u64().unwrap();
    assert_eq!((count(&score["wrong"]), count(&score["devices"])), (0, readers.len() as u64), "{said}");
    assert!(count(&score["passes"]) > 0 && count(&score["channels"]) > readers.len() as u64, "{said}");
    let at_hub = &score["at_hub"];
    assert_eq!((count(&at_hub["lost"]), count(&at_hub["doubled"])), (0, 0), "{said}");
    println!("{said}");
}
