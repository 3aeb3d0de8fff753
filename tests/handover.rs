//! The gateway under a service manager that keeps its sockets: what it takes, what it says, and what a restart costs readers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use kalitka_tests::process::{Process, program};
use kalitka_tests::random::is_soak;
use kalitka_tests::service_manager::{Kept, ServiceManager, kept_site, lone_hub, run_by, udp_group};
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::wait::until;
use serde_json::Value;

const HOLDERS: u32 = 300;
/// In which a gateway that is well shows life twice.
const TICKS: Duration = Duration::from_millis(2500);
const ANY: &str = "127.0.0.1:0";

fn start(site: &Site, manager: &ServiceManager) -> Process {
    let gateway = manager.start("kalitka-gateway", &run_by(&site.configured("")));
    manager.await_state("READY=1");
    gateway
}

/// A gateway that decides, and whose readers have keys.
fn serving() -> (Site, ServiceManager, Process) {
    let (site, manager) = kept_site(HOLDERS);
    let gateway = start(&site, &manager);
    site.enrol();
    site.offer(&site.build(10));
    site.await_generation(10);
    (site, manager, gateway)
}

/// Restarts of the gateway while readers ask, half a second of answers apart, and what the load generator says of them.
fn restarted(rate: u32, seconds: &str, restarts: u32) -> Value {
    let (site, manager, mut gateway) = serving();
    let answered = || site.metric("kalitka_ask_granted_total", "") + site.metric("kalitka_ask_denied_total", "");
    let per_second = rate.to_string();
    let (summary, content) = thread::scope(|scope| {
        let played = scope.spawn(|| site.play(&["--profile", "steady", "--rate", &per_second, "--duration", seconds]));
        for _ in 0..restarts {
            until("answers", BOUND, || (answered() > f64::from(rate / 2)).then_some(()));
            assert!(gateway.terminate().success());
            gateway = start(&site, &manager);
        }
        played.join().unwrap()
    });
    assert!(content && summary["wrong"] == 0 && summary["unanswered"] == 0, "{summary:#}");
    let readers = site.ask(&["reader", "list"])["readers"].as_array().unwrap().len() as u64;
    assert!(summary["sessions"].as_u64() >= Some(readers * u64::from(restarts)), "{readers} readers: {summary:#}");
    summary
}

#[test]
fn restarts_under_load_leave_no_ask_unanswered() {
    restarted(500, "6", 2);
}

/// In the long form, on a machine with nothing else to do: what is said in docs/reliability.md.
#[test]
fn restarts_at_5000_a_second_cost_no_ask_more_than_one_resend() {
    if !is_soak() {
        return;
    }
    let summary = restarted(5000, "20", 5);
    let figures = ["asks", "unanswered_after_one_resend", "sessions", "latency_us", "lateness_us"];
    let said: Vec<String> = figures.iter().map(|name| format!("{name}={}", summary[name])).collect();
    println!("RESULT {}", said.join(" "));
    assert_eq!(
        (&summary["unanswered_after_one_resend"], &summary["fall_backs"]),
        (&0.into(), &0.into()),
        "{summary:#}"
    );
    assert!(summary["latency_us"]["max"].as_u64() < Some(300_000), "{summary:#}");
}

#[test]
fn commands_and_scrapes_that_come_while_no_gateway_is_there_wait_for_the_next() {
    let (site, manager, mut gateway) = serving();
    assert!(gateway.terminate().success());
    assert!(site.path("control").exists(), "the socket's file is the manager's");
    thread::scope(|scope| {
        let status = scope.spawn(|| site.ask(&["snapshot", "status"]));
        let healthy = scope.spawn(|| site.get("/healthz").0);
        gateway = start(&site, &manager);
        assert_eq!(status.join().unwrap()["snapshot"]["in_force"]["generation"], 10);
        assert_eq!(healthy.join().unwrap(), 200);
    });
}

#[test]
fn manager_is_told_of_readiness_of_life_and_of_the_end() {
    let (_site, manager, mut gateway) = serving();
    manager.await_state("WATCHDOG=1");
    manager.await_state("WATCHDOG=1");
    assert!(gateway.terminate().success());
    manager.await_state("STOPPING=1");
}

#[test]
fn manager_of_a_hub_is_told_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let config = lone_hub(folder.path());
    let manager = ServiceManager::new(Vec::new(), folder.path());
    let mut hub = manager.start("kalitka-hub", &run_by(&config));
    for state in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        manager.await_state(state);
    }
    assert!(hub.terminate().success());
    manager.await_state("STOPPING=1");
}

/// A process that is ended when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The thread of the gateway's first worker.
fn worker(gateway: &Process) -> String {
    let mut tasks = fs::read_dir(format!("/proc/{}/task", gateway.id())).unwrap().map(|task| task.unwrap().path());
    let is_worker = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "udp-0");
    tasks.find(is_worker).unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn manager_is_told_nothing_of_life_while_a_worker_is_stuck() {
    let (site, manager, gateway) = serving();
    manager.await_state("WATCHDOG=1");
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-e", "trace=recvmmsg", "-e", "inject=recvmmsg:delay_enter=60s", "-p", &worker(&gateway)]);
    let stuck = Ended(strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("a worker that is stuck", BOUND, || (site.get("/healthz").0 == 503).then_some(()));
    manager.forget();
    assert_eq!(manager.state_within(TICKS), None, "systemd would go on believing in a worker that hangs");
    assert_eq!(site.get("/healthz").0, 503, "it was stuck all the time");
    drop(stuck);
    manager.await_state("WATCHDOG=1");
}

#[test]
fn sockets_for_readers_that_do_not_fit_the_configuration_are_refused_in_words() {
    let (site, manager) = kept_site(HOLDERS);
    let config = site.configured("");
    let page = fs::read_to_string(&config).unwrap();
    for (from, to, words) in [
        ("[snapshots]", "workers = 2\n[snapshots]", ["udp.listen", "2 workers"]),
        (&*site.udp().to_string(), "127.0.0.1:9", ["udp.listen", "127.0.0.1:9 is configured"]),
    ] {
        fs::write(&config, page.replace(from, to)).unwrap();
        let mut gateway = manager.start("kalitka-gateway", &run_by(&config));
        let status = until("the end of the gateway", BOUND, || gateway.ended());
        let said = manager.log();
        let said = said.lines().last().unwrap();
        assert_eq!(status.code(), Some(4), "{said}");
        assert!(words.iter().all(|word| said.contains(word)) && said.contains("systemctl edit"), "{words:?}: {said}");
    }
}

#[test]
fn no_reader_waits_because_another_socket_does_not_fit() {
    let (site, manager) = kept_site(HOLDERS);
    let config = site.configured("");
    let elsewhere = site.path("elsewhere");
    let page = fs::read_to_string(&config).unwrap().replace(text(&site.path("control")), text(&elsewhere));
    fs::write(&config, page.replace(site.http(), ANY)).unwrap();
    let mut gateway = manager.start("kalitka-gateway", &run_by(&config));
    manager.await_state("READY=1");
    let said = manager.log();
    for words in [format!("{ANY} is configured"), format!("{} is configured", elsewhere.display())] {
        assert!(said.lines().any(|line| line.contains("ERROR") && line.contains(&words)), "{words}: {said}");
    }
    assert!(elsewhere.exists(), "no command would reach it");
    assert!(gateway.terminate().success());
}

#[test]
fn several_workers_take_a_group_and_the_kernel_steers_it() {
    let mut site = Site::new(HOLDERS);
    let (udp, address) = udp_group(2);
    site.listen_at(address, ANY.parse().unwrap());
    let manager = ServiceManager::new(udp.into_iter().map(Kept::Udp).collect(), &site.path(""));
    let config = site.configured("");
    let page = fs::read_to_string(&config).unwrap().replace("[snapshots]", "workers = 2\n[snapshots]");
    fs::write(&config, page).unwrap();
    for turn in 0..2 {
        let mut gateway = manager.start("kalitka-gateway", &run_by(&config));
        manager.await_state("READY=1");
        if turn == 0 {
            site.enrol();
            site.offer(&site.build(10));
        }
        site.await_generation(10);
        let status = site.ask(&["snapshot", "status"]);
        site.listen_at(address, status["http"].as_str().unwrap().parse().unwrap());
        let (summary, content) = site.play(&["--profile", "steady", "--rate", "200", "--duration", "1"]);
        assert!(content, "{summary:#}");
        assert_eq!(site.metric("kalitka_udp_handed_over_total", ""), 0.0, "datagrams went astray");
        assert!(!manager.log().contains("does not steer"), "{}", manager.log());
        assert!(gateway.terminate().success());
    }
}

#[test]
fn systemd_hands_its_socket_over_as_it_does() {
    let setup = kalitka_tests::tree::root().join("deploy/setup-debian");
    assert!(Command::new(setup).arg("systemd-socket-activate").status().unwrap().success());
    let mut site = Site::new(HOLDERS);
    let (free, address) = udp_group(1);
    drop(free);
    site.listen_at(address, ANY.parse().unwrap());
    let (config, gateway) = (site.configured(""), program("kalitka-gateway"));
    let log = site.path("activated.log");
    let output = fs::File::create(&log).unwrap();
    let mut systemd = Command::new("systemd-socket-activate");
    systemd.stdout(output.try_clone().unwrap()).stderr(output);
    systemd.args(["--datagram", "--listen", &address.to_string(), text(&gateway)]).args(run_by(&config));
    let mut activated = Process::of(&mut systemd, &log);
    // It starts the gateway in its own place when something comes.
    let reader = std::net::UdpSocket::bind(ANY).unwrap();
    until("the gateway that a datagram starts", BOUND, || {
        assert!(activated.ended().is_none(), "{}", activated.printed());
        let _ = reader.send_to(&[0], address);
        activated.printed().contains("serving").then_some(())
    });
    assert_eq!(site.ask(&["snapshot", "status"])["udp"], address.to_string());
    assert!(activated.terminate().success());
}
