//! The programs behind the bars of their units: every system call that they make is one that the unit lets through.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use kalitka_tests::process::{Process, run_well};
use kalitka_tests::service_manager::{ServiceManager, kept_site, lone_hub, run_by};
use kalitka_tests::site::{BOUND, text};
use kalitka_tests::tree::root;
use kalitka_tests::wait::until;

const HOLDERS: u32 = 100;

/// What is let through by the lines `SystemCallFilter=` of `unit`, one after the other: each adds, or takes away after `~`.
fn let_through(unit: &str) -> BTreeSet<String> {
    let setup = root().join("deploy/setup-debian");
    assert!(Command::new(setup).arg("systemd-analyze").status().unwrap().success());
    let unit = fs::read_to_string(root().join("deploy").join(unit)).unwrap();
    let mut calls = members("@default");
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (takes, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        for call in names.split(' ').flat_map(members) {
            if takes {
                calls.remove(&call)
            } else {
                calls.insert(call)
            };
        }
    }
    calls
}

/// The calls of a set, with those of the sets in it; a call by itself is its own.
fn members(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let output = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", name]).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let inside = said.lines().filter_map(|line| line.strip_prefix("    "));
    inside.filter(|line| !line.starts_with('#')).flat_map(members).collect()
}

/// `strace` in whose place the program runs: its name is another process's, which writes to `out` at the end what was called.
fn traced(out: &Path) -> [&str; 6] {
    ["strace", "-D", "-f", "-c", "-o", text(out)]
}

/// Ends the program; gives all that it has called.
fn called(mut traced: Process, out: &Path) -> BTreeSet<String> {
    assert!(traced.terminate().success());
    let table = until("the list of calls", BOUND, || {
        fs::read_to_string(out).ok().filter(|table| table.trim_end().ends_with("total"))
    });
    let lines = table.lines().skip(2).take_while(|line| !line.starts_with("---"));
    lines.map(|line| line.split_whitespace().last().unwrap().to_owned()).collect()
}

fn are_let_through(calls: &BTreeSet<String>, unit: &str) {
    let allowed = let_through(unit);
    let shut_out: Vec<&String> = calls.difference(&allowed).collect();
    assert!(shut_out.is_empty(), "{unit} forbids {shut_out:?}");
}

#[test]
fn units_show_the_programs_what_they_read_of_the_machine() {
    for unit in ["kalitka-gateway.service", "kalitka-hub.service"] {
        let unit = fs::read_to_string(root().join("deploy").join(unit)).unwrap();
        // It hides /proc/stat, where the machine's start is, and the number of its boot.
        assert!(!unit.lines().any(|line| line.starts_with("ProcSubset=")), "{unit}");
    }
}

#[test]
fn unit_of_the_gateway_forbids_nothing_that_it_does() {
    let (site, manager) = kept_site(HOLDERS);
    // The kernel is asked who keeps the clock, and threads are given cores.
    let config = site.configured("[time]\n[journal]\ncore = 0\n");
    let page = fs::read_to_string(&config).unwrap();
    fs::write(&config, page.replace("[snapshots]", "cores = [0]\n[snapshots]")).unwrap();
    let calls = site.path("calls");
    let gateway = manager.start_under(&traced(&calls), "kalitka-gateway", &run_by(&config));
    manager.await_state("READY=1");
    site.enrol();
    site.offer(&site.build(10));
    site.await_generation(10);
    let (summary, _) = site.play(&["--profile", "steady", "--rate", "20", "--duration", "1"]);
    assert!(summary["answered"].as_u64() > Some(0), "{summary:#}");
    assert_eq!(site.get("/metrics").0, 200);
    manager.await_state("WATCHDOG=1");
    let calls = called(gateway, &calls);
    for needed in ["clock_adjtime", "sched_setaffinity", "setpriority", "recvmmsg", "fdatasync"] {
        assert!(calls.contains(needed), "it was not seen to do all that it does: {calls:?}");
    }
    are_let_through(&calls, "kalitka-gateway.service");
}

#[test]
fn unit_of_the_hub_forbids_nothing_that_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let config = lone_hub(folder.path());
    let manager = ServiceManager::new(Vec::new(), folder.path());
    let calls = folder.path().join("calls");
    let hub = manager.start_under(&traced(&calls), "kalitka-hub", &run_by(&config));
    manager.await_state("READY=1");
    run_well("kalitka-hub", ["status", "--config", text(&config)]);
    manager.await_state("WATCHDOG=1");
    are_let_through(&called(hub, &calls), "kalitka-hub.service");
}
