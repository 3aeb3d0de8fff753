//! Nothing is lost or doubled over a bad network, through a changed address, and with a hub that is gone, full or set back.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fastrand::Rng;
use kalitka_loadgen::relay::{BOTH, Dropped, Heading, Line, Relay};
use kalitka_tests::city::City;
use kalitka_tests::crowd::{Crowd, Identified, Reported};
use kalitka_tests::disk::Disk;
use kalitka_tests::random::{number_from_environment, seed};
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::wait::until;
use kalitka_tests::wire::{FAR, Wire};

const HOLDERS: u32 = 300;
/// Between two happenings at one reader.
const EVERY: Duration = Duration::from_millis(20);

fn crowd(city: &City, seed: u64) -> Crowd {
    Crowd::start(city.site.udp(), &city.site.path("keys.json"), EVERY, seed)
}

fn await_receipts(crowd: &Crowd, more: u64) {
    crowd.await_receipts(more, BOUND * 2);
}

fn connections(city: &City) -> f64 {
    city.site.metric("kalitka_uplink_connections_total", "")
}

/// A city whose gateway reaches its hub through a relay with the chance of `seed`.
fn city_behind(line: Line, seed: u64) -> (City, Relay) {
    let mut city = City::of(Site::new(HOLDERS));
    city.start_hub();
    city.enrol();
    let relay = Relay::start(city.quic().parse().unwrap(), line, seed).unwrap();
    city.site.configure_also(&format!("[uplink]\nhub = \"{}\"\n", relay.address()));
    serve(&mut city);
    (city, relay)
}

fn serve(city: &mut City) {
    city.site.start();
    city.site.enrol();
    city.site.offer(&city.site.build(1));
    city.site.await_generation(1);
}

/// Something happens to the line.
fn strike(relay: &Relay, rng: &mut Rng) {
    let ways: &[Heading] = [&BOTH[..], &[Heading::Up], &[Heading::Down]][rng.usize(..3)];
    match rng.u8(..6) {
        0 => relay.cut(ways, Some(Duration::from_millis(rng.u64(50..2000)))),
        1 => relay.move_clients(),
        2 => relay.become_like(Line::POOR),
        3 => relay.become_like(Line::PERFECT),
        4 => relay.change(ways, |line| line.loss_millionths = 300_000),
        _ => relay.become_like(Line::AWFUL),
    }
}

#[test]
fn uplink_over_a_line_on_which_nothing_is_as_it_should_be_brings_everything_once() {
    let mut rng = Rng::with_seed(seed());
    let (city, relay) = city_behind(Line::AWFUL, rng.u64(..));
    let crowd = crowd(&city, rng.u64(..));
    await_receipts(&crowd, 200);
    for _ in 0..number_from_environment("KALITKA_STRIKES", 12, 500) {
        strike(&relay, &mut rng);
        let more = rng.u64(1..300);
        await_receipts(&crowd, more);
    }
    relay.become_like(Line::AWFUL);
    city.settle_and_judge(crowd);
    let up = relay.totals().up;
    println!("{}", relay.totals());
    let dropped = [Dropped::Lost, Dropped::Cut].map(|why| up.dropped(why));
    assert!(up.copied > 0 && up.held_back > 0 && dropped.iter().all(|&count| count > 0), "the line was too good: {up}");
}

#[test]
fn connection_survives_moves_and_cuts_that_are_shorter_than_its_patience() {
    let (city, relay) = city_behind(Line::POOR, 3);
    let crowd = crowd(&city, 3);
    city.await_uplink();
    for time in [500, 1000, 4000] {
        relay.move_clients();
        await_receipts(&crowd, 100);
        relay.cut(&BOTH, Some(Duration::from_millis(time)));
        await_receipts(&crowd, 100);
    }
    city.settle_and_judge(crowd);
    assert_eq!(connections(&city), 1.0, "{}", relay.totals());
    assert_eq!(relay.totals().moves, 3);
}

#[test]
fn readers_over_a_bad_line_get_no_wrong_answer_and_no_report_is_lost_or_doubled() {
    let mut city = City::of(Site::new(HOLDERS));
    city.start_hub();
    city.enrol();
    serve(&mut city);
    let relay = Relay::start(city.site.udp(), Line { rate: None, ..Line::AWFUL }, seed()).unwrap();
    city.site.set_keys_apart(&[101], "one-key.json");
    let alone = Crowd::start(relay.address(), &city.site.path("one-key.json"), EVERY, 5);
    let hub = city.site.path("hub-control");
    let seconds = number_from_environment("KALITKA_SECONDS", 8, 120).to_string();
    let play = |profile: &[&str]| {
        let always = ["--duration", &seconds, "--hub-socket", text(&hub)];
        let (summary, _) = city.site.play_at(relay.address(), &[&always, profile].concat());
        for wrong in ["lost", "duplicated", "altered", "foreign"] {
            assert_eq!(summary["at_hub"][wrong], 0, "{wrong}: {summary:#}");
        }
        summary
    };
    let answers = play(&["--profile", "steady", "--rate", "40"]);
    // With one datagram in five lost there and back some readers may have to decide by themselves; none may be told wrong.
    assert_eq!(answers["wrong"], 0, "{answers:#}");
    assert!(answers["answered"].as_u64().unwrap() * 100 > answers["asks"].as_u64().unwrap() * 90, "{answers:#}");
    let reports = play(&["--profile", "reports"]);
    assert!(reports["at_hub"]["receipted"].as_u64().unwrap() > 50, "{reports:#}");
    city.settle_and_judge(alone);
    let totals = relay.totals();
    println!("{totals}");
    assert!(totals.clients_seen >= 10, "each reader has an address of its own: {totals}");
    assert!(totals.up.dropped(Dropped::Lost) > 20 && totals.down.copied > 5, "{totals}");
}

/// A city whose gateway is at `address` on a wire to its hub.
fn city_on_a_wire(address: &str) -> (Wire, City) {
    let mut city = City::of(Site::new(HOLDERS));
    let wire = Wire::lay(address);
    city.listen_at(&format!("{FAR}:0"));
    wire.at_far_end(|| city.start_hub());
    city.enrol();
    serve(&mut city);
    city.await_uplink();
    (wire, city)
}

fn await_moves(wire: &Wire, city: &City, moves: u32) {
    until("the hub to count the move", BOUND, || {
        let counted = wire.at_far_end(|| city.metric("kalitka_hub_addresses_changed_total", ""));
        (counted == f64::from(moves)).then_some(())
    });
}

#[test]
fn changed_address_of_the_gateway_costs_neither_the_connection_nor_an_event() {
    let (wire, city) = city_on_a_wire("10.99.0.2");
    let crowd = crowd(&city, 7);
    await_receipts(&crowd, 100);
    let before = connections(&city);
    for (moves, address) in (1..).zip(["10.99.0.3", "10.99.0.4", "10.99.0.2"]) {
        let since = Instant::now();
        wire.move_to(address);
        await_receipts(&crowd, 50);
        city.await_depth(50.0);
        println!("at {address}: events are at the hub again after {:?}", since.elapsed());
        await_moves(&wire, &city, moves);
    }
    city.settle_and_judge(crowd);
    // The same when there is nothing to say: the connection's own signs of life tell the hub.
    let since = Instant::now();
    wire.move_to("10.99.0.5");
    await_moves(&wire, &city, 4);
    println!("at rest: the hub has the new address after {:?}", since.elapsed());
    assert_eq!(connections(&city), before, "the connection was made anew");
}

#[test]
fn gateway_without_an_address_for_a_while_goes_on_from_another_one() {
    let (wire, city) = city_on_a_wire("10.99.0.2");
    let crowd = crowd(&city, 8);
    await_receipts(&crowd, 100);
    wire.lose_address();
    // Longer than a connection lives without a sign of life.
    until("the uplink to be given up", BOUND * 2, || (city.site.metric("kalitka_uplink_up", "") == 0.0).then_some(()));
    await_receipts(&crowd, 100);
    wire.take_address("10.99.0.9");
    city.settle_and_judge(crowd);
    assert!(connections(&city) > 1.0);
}

#[test]
fn hub_that_is_restarted_again_and_again_gets_everything_once() {
    let mut city = City::new(HOLDERS);
    let crowd = crowd(&city, 9);
    for _ in 0..4 {
        await_receipts(&crowd, 200);
        assert!(city.hub().terminate().success());
        await_receipts(&crowd, 100);
        city.start_hub();
        city.await_uplink();
    }
    city.settle_and_judge(crowd);
}

#[test]
fn full_disk_of_the_hub_makes_gateways_wait_and_is_gone_on_with_once_there_is_room() {
    let site = Site::new(HOLDERS);
    let _disk = Disk::mount(&site.path("hub"), 64);
    let mut city = City::of(site);
    city.start_hub();
    city.enrol();
    serve(&mut city);
    let crowd = crowd(&city, 10);
    await_receipts(&crowd, 200);
    let filler = city.site.path("hub/filler");
    fill(&filler);
    until("the hub to refuse", BOUND * 2, || {
        (city.site.metric("kalitka_uplink_closed_total", "not_now") > 0.0).then_some(())
    });
    // The building goes on: readers are receipted though nothing is taken upstream.
    await_receipts(&crowd, 300);
    assert!(city.site.metric("kalitka_outbox_depth_events", "") > 0.0);
    assert!(city.ask(&["alarms", "--json"]).contains("store"), "nobody was told");
    fs::remove_file(filler).unwrap();
    city.settle_and_judge(crowd);
    assert!(city.hub().ended().is_none(), "the hub has ended: {}", city.hub().printed());
}

fn fill(filler: &Path) {
    let mut file = File::create(filler).unwrap();
    for piece in [1 << 20, 4096, 64] {
        while file.write_all(&vec![1; piece]).is_ok() {}
    }
    // What a file system has promised to write and has no room for is no room either.
    drop(file.sync_all());
}

/// A hub that is stopped, set back to what it held earlier and started again, with a gateway that keeps `kept` events after
/// they are acknowledged and is itself restarted `restarts` times meanwhile. Gives the city, what readers were receipted, all of
/// which the hub had once, and how many events it had.
fn set_back(kept: u64, restarts: usize) -> (City, BTreeMap<Identified, Reported>, u64) {
    let mut city = City::of(Site::new(HOLDERS));
    city.start_hub();
    city.enrol();
    city.site.configure_also(&format!("[outbox]\nkeep_acknowledged = {kept}\n"));
    serve(&mut city);
    let crowd = crowd(&city, 11);
    await_receipts(&crowd, 300);
    // Readers may have their receipts before the uplink is up.
    until("what the hub is set back to", BOUND, || (!city.events().is_empty()).then_some(()));
    assert!(city.hub().terminate().success());
    let (folder, older) = (city.site.path("hub"), city.site.path("older"));
    copy(&folder, &older);
    city.start_hub();
    for _ in 0..restarts {
        await_receipts(&crowd, 500);
        assert!(city.site.gateway().terminate().success());
        city.site.start();
    }
    await_receipts(&crowd, 1000);
    let receipted = city.settle(crowd, BOUND * 4);
    city.assert_complete();
    let had = city.events().len() as u64;
    assert!(city.hub().terminate().success());
    fs::remove_dir_all(&folder).unwrap();
    copy(&older, &folder);
    city.start_hub();
    (city, receipted, had)
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-a", text(from), text(to)]).status().unwrap().success());
}

#[test]
fn hub_that_is_set_back_is_given_again_what_the_gateway_still_holds() {
    let (city, receipted, had) = set_back(100_000, 0);
    until("what the hub had", BOUND * 2, || (city.events().len() as u64 >= had).then_some(()));
    city.judge(&receipted);
    city.assert_complete();
    assert!(city.site.metric("kalitka_uplink_resent_total", "") > 1000.0);
    assert!(city.events().iter().all(|event| event["kind"] != "loss"), "nothing was lost");
}

#[test]
fn what_is_gone_at_the_hub_and_at_the_gateway_stands_in_a_loss_record_with_its_range() {
    // Nothing behind the older checkpoint is let go, and each end of the gateway writes one.
    let (city, receipted, had) = set_back(300, 3);
    let loss = until("the loss record at the hub", BOUND * 2, || {
        city.events().into_iter().find(|event| event["kind"] == "loss")
    });
    let [first, last] = ["first", "last"].map(|name| loss[name].as_u64().unwrap());
    let events = city.events();
    let numbers: BTreeSet<u64> = events.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    let missing: Vec<u64> = (1..=*numbers.last().unwrap()).filter(|number| !numbers.contains(number)).collect();
    assert_eq!(missing, (first..=last).collect::<Vec<_>>(), "the record names all that is missing and nothing else");
    assert_eq!(loss["count"].as_u64(), Some(last + 1 - first));
    assert!(last < had && first > 1 && last - first < receipted.len() as u64, "{loss}");
    let (said, complete) = city.verify();
    let told = format!("{first} to {last} are missing, and recorded as lost");
    assert!(complete && said.contains(&told), "{said}");
}
