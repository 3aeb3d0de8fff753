//! `kalitka-gateway outbox` by the real program, on outboxes damaged in many ways: what it says is true, what it writes is whole, and it
//! changes nothing in what it looks at.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kalitka_outbox::{Begun, Bounds, Opening, Outbox};
use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, ClockQuality, EpochBegun, Event, EventHeader, Events};
use kalitka_protocol::limits::EVENT_LEN_MAX;
use kalitka_protocol::wire::Writer;
use serde_json::Value;
use tempfile::TempDir;

const BUILDING: u32 = 7;
const EVENTS: u64 = 600;
const BLOCK: u64 = 10;
const FIRST_EPOCH: &str = "0000000000000001";

fn gateway(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kalitka-gateway")).arg("outbox").args(words).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn emitted(epoch: EpochId, number: u64, body: Body<'_>) -> Vec<u8> {
    let header = EventHeader {
        building: BUILDING,
        epoch,
        number,
        wall_us: 1_800_000_000_000_000,
        monotonic_us: number,
        gateway_boot: 1,
        quality: ClockQuality::Held,
        jumped: false,
    };
    let mut bytes = [0; EVENT_LEN_MAX];
    let mut out = Writer::new(&mut bytes);
    Event { header, body }.emit(&mut out).unwrap();
    let len = out.len();
    bytes[..len].to_vec()
}

fn open(folder: &Path, fresh: u64) -> (Outbox, Begun) {
    let limits = Bounds { events_max: 1 << 40, bytes_max: 1 << 40, keep_acknowledged: 1 << 40 };
    let (machine, fresh_epoch) = ([1; 16], EpochId(fresh));
    Outbox::open(Opening { folder, building: BUILDING, machine, fresh_epoch, known: None, earlier: &[], limits })
        .unwrap()
}

/// Closes the outbox, and waits until the threads of its store have let go of it.
fn close(outbox: Outbox, store: &Path) {
    drop(outbox);
    let data = fs::File::open(store.join("db")).unwrap();
    rustix::fs::flock(&data, rustix::fs::FlockOperation::LockShared).unwrap();
}

/// Appends up to number `last` of the present epoch, which this begins when it is new.
fn fill(outbox: &mut Outbox, last: u64) {
    while outbox.head().number < last {
        let head = outbox.head();
        let next = (head.number / BLOCK + 1) * BLOCK;
        let events: Vec<u8> = (head.number + 1..=next.min(last))
            .flat_map(|number| match number {
                1 => emitted(head.epoch, 1, Body::EpochBegun(EpochBegun { before: None, last: 0, hash: [0; 32] })),
                _ => emitted(head.epoch, number, Body::Unknown { kind: 200, bytes: number.to_string().as_bytes() }),
            })
            .collect();
        outbox.append(&events).unwrap();
    }
}

/// An outbox's folder, and a copy from when half of it was there.
struct Kept {
    folder: TempDir,
    old: TempDir,
}

impl Kept {
    fn new() -> Self {
        let (folder, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut outbox, _) = open(&folder.path().join("outbox"), 1);
        fill(&mut outbox, EVENTS / 2);
        copy(&folder.path().join("outbox"), &old.path().join("outbox"));
        fill(&mut outbox, EVENTS);
        close(outbox, &folder.path().join("outbox/sled-1"));
        Self { folder, old }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Everything under a folder: names and bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            all.insert(path.clone(), Vec::new());
            all.extend(tree(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

fn store(outbox: &Path) -> PathBuf {
    outbox.join("sled-1")
}

/// Changes the bytes of the store's data.
fn change(outbox: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = store(outbox).join("db");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Where forms of the block that begins with event `first` lie.
fn places(bytes: &[u8], first: u64) -> Vec<usize> {
    let is_it = |at: &usize| bytes[*at..].starts_with(b"KLTB") && bytes[at + 24..at + 32] == first.to_le_bytes();
    (0..bytes.len() - 200).filter(is_it).collect()
}

/// Puts `with` into the blocks that begin with the events `firsts`.
fn spoil(outbox: &Path, firsts: &[u64], with: &[u8]) {
    change(outbox, |bytes| {
        for first in firsts {
            for at in places(bytes, *first) {
                bytes[at + 110..][..with.len()].copy_from_slice(with);
            }
        }
    });
}

/// A name, what is done, and the exit status of `verify`.
type Damage = (&'static str, fn(&Path, &Path), i32);

const DAMAGES: [Damage; 15] = [
    ("nothing", |_, _| (), 0),
    ("a flipped bit", |of, _| spoil(of, &[101], &[0x81]), 1),
    ("zeroed blocks", |of, _| spoil(of, &[11, 301, 311], &[0; 300]), 1),
    (
        "swapped blocks",
        |of, _| {
            change(of, |bytes| {
                let (one, other) = (places(bytes, 201)[0], places(bytes, 401)[0]);
                for at in 0..300 {
                    bytes.swap(one + at, other + at);
                }
            });
        },
        1,
    ),
    ("a cut tail", |of, _| change(of, |bytes| bytes.truncate(places(bytes, 451)[0])), 1),
    ("an emptied file", |of, _| change(of, Vec::clear), 1),
    ("a missing file", |of, _| fs::remove_file(store(of).join("db")).unwrap(), 1),
    ("a missing store", |of, _| fs::remove_dir_all(store(of)).unwrap(), 1),
    ("no name", |of, _| fs::remove_file(of.join("store.b")).unwrap(), 1),
    ("a name of rubbish", |of, _| fs::write(of.join("store.a"), "rubbish").unwrap(), 1),
    ("a configuration of rubbish", |of, _| fs::write(store(of).join("conf"), [b'x'; 100]).unwrap(), 1),
    ("a file in blobs", |of, _| fs::write(store(of).join("blobs/7"), "rubbish").unwrap(), 1),
    ("leftovers", |of, _| fs::write(store(of).join("snap.00000000000001.generating"), "half").unwrap(), 0),
    (
        "an older copy of the store",
        |of, old| {
            fs::remove_dir_all(store(of)).unwrap();
            copy(&store(old), &store(of));
        },
        1,
    ),
    ("a missing mark", |of, _| fs::remove_file(of.join("mark")).unwrap(), 0),
];

/// The numbers of the first epoch in raw bytes of events, each whole.
fn numbers(raw: &[u8]) -> BTreeSet<u64> {
    let events = Events::new(raw).map(|event| event.unwrap().header);
    events.filter(|header| header.epoch.0 == 1).map(|header| header.number).collect()
}

fn verified(folder: &Path) -> (Value, i32) {
    let output = gateway(&["verify", text(folder), "--json"]);
    (serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output))), code(&output))
}

/// The numbers that `verify` names as missing, of the first epoch.
fn holes(verdict: &Value, kind: &str) -> BTreeSet<u64> {
    let epochs = verdict["epochs"].as_array().unwrap().iter().filter(|of| of["epoch"] == FIRST_EPOCH);
    let ranges = epochs.flat_map(|of| of[kind].as_array().unwrap());
    ranges.flat_map(|range| range[0].as_u64().unwrap()..=range[1].as_u64().unwrap()).collect()
}

#[test]
fn every_damage_is_named_and_everything_whole_is_exported_and_salvaged() {
    let kept = Kept::new();
    let whole: BTreeSet<u64> = (1..=EVENTS).collect();
    let all = fs::read(exported(&kept.folder.path().join("outbox"), kept.folder.path(), 0)).unwrap();
    assert_eq!(numbers(&all), whole);
    for (name, damage, status) in &DAMAGES {
        let work = tempfile::tempdir().unwrap();
        let outbox = work.path().join("outbox");
        copy(&kept.folder.path().join("outbox"), &outbox);
        damage(&outbox, &kept.old.path().join("outbox"));
        let before = tree(&outbox);
        let (verdict, found) = verified(&outbox);
        assert_eq!((found, &verdict["whole"]), (*status, &Value::from(*status == 0)), "{name}: {verdict:#}");
        let missing = holes(&verdict, "holes");
        let nothing = verdict["epochs"][0]["events"] == 0;
        let raw = fs::read(exported(&outbox, work.path(), i32::from(!missing.is_empty()))).unwrap();
        let there = numbers(&raw);
        assert!(missing.is_disjoint(&there), "{name}: {missing:?}");
        assert_eq!(missing.union(&there).copied().collect::<BTreeSet<_>>(), whole, "{name}");
        let target = work.path().join("new");
        let output = gateway(&["salvage", text(&outbox), "--out", text(&target)]);
        assert_eq!(code(&output), i32::from(!missing.is_empty()), "{name}: {}", said(&output));
        assert_eq!(tree(&outbox), before, "{name}: what is looked at is never changed");
        let (verdict, found) = verified(&target);
        assert_eq!(found, 0, "{name}: {verdict:#}");
        let again = exported(&target, &work.path().join("new"), 0);
        assert_eq!(fs::read(&again).unwrap(), raw, "{name}: the same events, as they were");
        fs::remove_file(again).unwrap();
        goes_on(&target, &missing, nothing, name);
    }
}

/// The folder's events in a file, raw.
fn exported(outbox: &Path, folder: &Path, status: i32) -> PathBuf {
    let file = folder.join("events.raw");
    let output = gateway(&["export", text(outbox), "--format", "raw", "--out", text(&file)]);
    assert_eq!(code(&output), status, "{}", said(&output));
    file
}

/// A gateway that is given the folder tells what is missing, and goes on.
fn goes_on(folder: &Path, missing: &BTreeSet<u64>, nothing: bool, name: &str) {
    let (mut outbox, begun) = open(folder, 99);
    let Begun::NewEpoch { losses, .. } = &begun else { panic!("{name}: {begun:?}") };
    let told = |number: u64| losses.iter().any(|loss| loss.epoch.0 == 1 && (loss.first..=loss.last).contains(&number));
    assert!(missing.iter().all(|number| told(*number)), "{name}: {losses:?}");
    assert!(nothing || !(1..=EVENTS).any(|number| told(number) && !missing.contains(&number)), "{name}: {losses:?}");
    fill(&mut outbox, 5);
}

#[test]
fn exported_lines_are_the_events() {
    let kept = Kept::new();
    let outbox = kept.folder.path().join("outbox");
    let output = gateway(&["export", text(&outbox)]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, EVENTS);
    let raw = fs::read(exported(&outbox, kept.folder.path(), 0)).unwrap();
    for (line, event) in lines.iter().zip(Events::new(&raw)) {
        let event = event.unwrap();
        assert_eq!(line["event"], hex::encode(event.bytes));
        assert_eq!((line["number"].as_u64(), &line["epoch"]), (Some(event.header.number), &Value::from(FIRST_EPOCH)));
    }
    assert_eq!((&lines[0]["kind"], &lines[1]["kind"]), (&Value::from("epoch_begun"), &Value::from("unknown")));
    let (verdict, _) = verified(&outbox);
    assert_eq!(verdict["epochs"][0]["last"], EVENTS);
    let none = gateway(&["export", text(&outbox), "--epoch", "00000000000000ff"]);
    assert_eq!((code(&none), none.stdout.len()), (0, 0));
}

#[test]
fn quarantine_and_single_stores_can_be_looked_at() {
    let kept = Kept::new();
    let outbox = kept.folder.path().join("outbox");
    spoil(&outbox, &[101], &[0; 100]);
    // With this sled does not open, and leaves the rest as it is.
    fs::write(outbox.join("sled-1/conf"), [b'x'; 100]).unwrap();
    let (mut opened, begun) = open(&outbox, 2);
    assert!(matches!(begun, Begun::NewEpoch { .. }));
    fill(&mut opened, 20);
    // Also while the outbox is open: nobody writes there any more.
    for folder in [outbox.join("quarantine"), outbox.join("quarantine/sled-1")] {
        let (verdict, status) = verified(&folder);
        assert_eq!((status, holes(&verdict, "holes")), (1, (101..=110).collect()), "{verdict:#}");
    }
    close(opened, &outbox.join("sled-2"));
    let (verdict, status) = verified(&outbox);
    assert_eq!((status, holes(&verdict, "told")), (0, (101..=110).collect()), "it was told: {verdict:#}");
}

#[test]
fn what_cannot_be_done_is_said_with_its_own_status() {
    let kept = Kept::new();
    let (folder, outbox) = (kept.folder.path(), kept.folder.path().join("outbox"));
    let (opened, _) = open(&outbox, 2);
    for words in [vec!["verify"], vec!["export"], vec!["salvage", "--out", "/nowhere"]] {
        for of in [outbox.clone(), outbox.join("sled-1")] {
            let output = gateway(&[&[words[0], text(&of)], &words[1..]].concat());
            assert_eq!(code(&output), 2, "{words:?} {}", said(&output));
            assert!(
                said(&output).contains("another process has this outbox open; stop the gateway"),
                "{}",
                said(&output)
            );
        }
    }
    close(opened, &outbox.join("sled-1"));
    let empty = folder.join("empty");
    fs::create_dir(&empty).unwrap();
    let inside = outbox.join("inside");
    let before = tree(&outbox);
    let refused: [(&[&str], &str); 7] = [
        (&["verify", text(&empty)], "no whole block of events"),
        (&["verify", "/nowhere/at/all"], "No such file"),
        (&["verify"], "Usage"),
        (&["export", text(&outbox), "--format", "xml"], "invalid value"),
        (&["export", text(&outbox), "--epoch", "0"], "no epoch is 0"),
        (&["salvage", text(&outbox), "--out", text(folder)], "something here already"),
        (&["salvage", text(&outbox), "--out", text(&inside)], "outside the damaged one"),
    ];
    for (words, text) in refused {
        let output = gateway(words);
        assert!(code(&output) == 2 && said(&output).contains(text), "{words:?}: {}", said(&output));
    }
    assert_eq!(tree(&outbox), before);
    let file = folder.join("events");
    fs::write(&file, "mine").unwrap();
    assert_eq!(code(&gateway(&["export", text(&outbox), "--out", text(&file)])), 2);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let help = gateway(&["salvage", "--help"]);
    assert!(code(&help) == 0 && said(&help).contains("Exit status"), "{}", said(&help));
}
