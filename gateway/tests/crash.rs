//! Ends that nobody asked for: a killed process, and a thread that panics.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use support::reader::TestReader;
use support::{BINARY, Site, gateway, snapshot};

const GENERATION: &str = "kalitka_snapshot_generation";

/// Adds readers from `first` on until the gateway is gone; how many it was told are added.
fn add_readers(site: &Site, first: usize) -> usize {
    let add = |number: usize| gateway(&["reader", "add", &number.to_string(), "--config", &site.config()]);
    (first..first + 400).take_while(|&number| add(number).status.success()).count()
}

/// Puts newer and newer snapshots into the inbox until `gone`; the newest one's generation.
fn publish(site: &Site, mut newest: u32, gone: &AtomicBool) -> u32 {
    while !gone.load(Ordering::Relaxed) {
        newest += 1;
        site.put(&format!("s{}", newest % 3), &snapshot(newest));
    }
    newest
}

#[test]
fn kill_in_the_middle_of_adoptions_and_key_changes_leaves_no_half_state() {
    let site = Site::with_snapshot(1);
    let mut random = fastrand::Rng::with_seed(5);
    let (mut newest, mut known, mut readers) = (1, 1.0, 0);
    for _ in 0..20 {
        let running = site.start();
        let in_force = running.metric(GENERATION);
        assert!((known..=f64::from(newest)).contains(&in_force), "{in_force} is not within {known} to {newest}");
        let listed = running.ask(r#"{"verb":"reader_list"}"#)["readers"].as_array().unwrap().len();
        // One more when the kill came between the key's writing and its telling.
        assert!((readers..=readers + 1).contains(&listed), "{listed} readers of {readers}");
        let gone = AtomicBool::new(false);
        (readers, newest) = std::thread::scope(|scope| {
            let added = scope.spawn(|| add_readers(&site, listed + 1));
            let published = scope.spawn(|| publish(&site, newest, &gone));
            // The kill falls anywhere: some looks after somebody was heard to be added.
            while running.metric("kalitka_reader_keys") < f64::from(u32::try_from(listed).unwrap() + 1) {}
            for _ in 0..=random.u32(0..60) {
                known = running.metric(GENERATION);
            }
            running.kill();
            gone.store(true, Ordering::Relaxed);
            (listed + added.join().unwrap(), published.join().unwrap())
        });
        let checked = gateway(&["check", "--config", &site.config()]);
        assert!(checked.status.success(), "{checked:?}");
    }
    assert!(newest > 20 && readers > 20, "{newest} snapshots and {readers} readers are no test");
}

/// Makes the system refuse random bytes to the workers, and to nobody else, once a file is there.
const NO_ENTROPY: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
ssize_t getrandom(void *bytes, size_t len, unsigned flags) {
  if (len == 1024 && access(getenv("NO_ENTROPY"), F_OK) == 0) { errno = EIO; return -1; }
  return syscall(SYS_getrandom, bytes, len, flags);
}
"#;

#[test]
fn worker_that_panics_ends_the_process_with_1_and_says_so() {
    let site = Site::with_snapshot(1);
    let (source, library, switch) = (site.path("no_entropy.c"), site.path("no_entropy.so"), site.path("no_entropy"));
    fs::write(&source, NO_ENTROPY).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(compiled.success());
    let mut command = Command::new(BINARY);
    let mut running = site.start_by(command.env("LD_PRELOAD", &library).env("NO_ENTROPY", &switch));
    let readers: Vec<_> =
        (1..=40).map(|number| TestReader::new(running.udp, number, running.add_reader(number))).collect();
    assert_eq!(running.get("/healthz").0, 200);
    fs::write(&switch, "").unwrap();
    for reader in &readers {
        reader.socket.send(&reader.initiation(1).1).unwrap();
    }
    let log = running.log_to_the_end();
    assert_eq!(running.wait().code(), Some(1), "{log:?}");
    assert!(log.iter().any(|line| line.contains("udp-0") && line.contains("panicked")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("ended by itself")), "{log:?}");
    assert!(!site.path("control").exists(), "the socket was left");
}
