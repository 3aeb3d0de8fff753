//! What a worker asks of the kernel while it answers: one call in, one call out, and nothing else. Needs strace, and the
//! right to trace a process of one's own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kalitka_protocol::reason::{Grant, Verdict};
use support::reader::TestReader;
use support::{CARD, Gateway, PATIENCE, READER, Site};

/// Asks before those that count: by then nothing sleeps that a first ask would wake.
const WARMING: usize = 50;
const ASKS: usize = 200;
/// Runs of which one must be clean: on a busy machine a pause between two asks may let the journal fall asleep, and the next
/// ask then wakes it.
const RUNS: usize = 5;

/// strace on one thread. Dropped, it lets go.
struct Trace {
    strace: Child,
    file: PathBuf,
}

impl Trace {
    fn of(task: &Path, file: PathBuf) -> Self {
        let thread = task.file_name().unwrap().to_str().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", file.to_str().unwrap(), "-p", thread]).stdin(Stdio::null());
        let strace = strace.spawn().expect("strace must be installed; deploy/setup-debian does it");
        let trace = Self { strace, file };
        let deadline = Instant::now() + PATIENCE;
        while fs::read_to_string(task.join("status")).unwrap().contains("TracerPid:\t0\n") {
            assert!(Instant::now() < deadline, "strace does not come to trace the worker");
            std::thread::yield_now();
        }
        trace
    }

    /// The names of the calls so far.
    fn calls(&self) -> Vec<String> {
        let traced = fs::read_to_string(&self.file).unwrap();
        traced.lines().filter_map(|line| Some(line.split_once('(')?.0.to_owned())).collect()
    }

    /// The calls after the first `before`, once there are `sends` sendings among them.
    fn await_sends(&self, before: usize, sends: usize) -> BTreeMap<String, usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut counts = BTreeMap::new();
            for call in self.calls().into_iter().skip(before) {
                *counts.entry(call).or_insert(0) += 1;
            }
            if counts.get("sendmmsg").is_some_and(|&count| count >= sends) {
                return counts;
            }
            assert!(Instant::now() < deadline, "{counts:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// The folder of the first worker's thread in /proc.
fn worker(gateway: &Gateway) -> PathBuf {
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.id())).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    tasks.find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "udp-0")).unwrap()
}

#[test]
fn worker_makes_two_calls_for_an_answer_and_no_others() {
    let site = Site::with_snapshot(1);
    let gateway = site.start();
    gateway.await_metric("kalitka_snapshot_generation", 1.0);
    let psk = gateway.add_reader(READER);
    let mut reader = TestReader::new(gateway.udp, READER, psk);
    while !reader.shake_hands_within(1, Duration::from_millis(150)) {}
    let trace = Trace::of(&worker(&gateway), site.path("trace"));
    let mut ask = |times| (0..times).for_each(|_| assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel)));
    let mut sends = 0;
    let mut run = || {
        ask(WARMING);
        sends += WARMING;
        trace.await_sends(0, sends);
        let before = trace.calls().len();
        ask(ASKS);
        sends += ASKS;
        trace.await_sends(before, ASKS)
    };
    let runs: Vec<_> = (0..RUNS).map(|_| run()).collect();
    let is_clean = |counts: &&BTreeMap<String, usize>| {
        counts.keys().all(|call| ["recvmmsg", "sendmmsg"].contains(&call.as_str()))
            && counts["sendmmsg"] == ASKS
            // The wait for the first or behind the last may fall on either side of the border, and a wait may run out.
            && (ASKS - 1..ASKS + 3).contains(&counts["recvmmsg"])
    };
    assert!(runs.iter().find(is_clean).is_some(), "{runs:#?}");
}

#[test]
fn worker_takes_many_datagrams_by_one_call_and_answers_them_by_one() {
    let site = Site::with_snapshot(1);
    let gateway = site.start();
    let psk = gateway.add_reader(READER);
    let mut reader = TestReader::new(gateway.udp, READER, psk);
    while !reader.shake_hands_within(1, Duration::from_millis(150)) {}
    let pings: Vec<_> = (0..ASKS).map(|token| reader.ping(u32::try_from(token).unwrap())).collect();
    let trace = Trace::of(&worker(&gateway), site.path("trace"));
    let before = trace.calls().len();
    for ping in &pings {
        reader.socket.send(ping).unwrap();
    }
    assert!(pings.iter().all(|_| reader.receive(&mut [0; 1200], PATIENCE).is_some()));
    let counts = trace.await_sends(before, 1);
    // Traced, a call takes longer than the sending of many datagrams; 32 are the most that one can take.
    assert!(counts["sendmmsg"] <= ASKS / 2 && counts["recvmmsg"] <= ASKS / 2 + 3, "{counts:?}");
}
