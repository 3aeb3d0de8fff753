//! The house rules: what keeps the parts apart and the pages true, as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use kalitka_tests::source::{Source, lines_with};
use kalitka_tests::tree::{File, files, is_test, root};
use serde_json::Value;

/// Which of our crates each of our crates may use; benches and tests also see more in their dev-dependencies.
const EDGES: [(&str, &[&str], &[&str]); 13] = [
    ("kalitka-protocol", &[], &[]),
    ("kalitka-snapshot", &["kalitka-protocol"], &[]),
    ("kalitka-core", &["kalitka-protocol", "kalitka-snapshot"], &[]),
    ("kalitka-manual", &[], &[]),
    ("kalitka-tools", &["kalitka-core", "kalitka-manual", "kalitka-protocol", "kalitka-snapshot"], &[]),
    ("kalitka-outbox", &["kalitka-protocol"], &[]),
    ("kalitka-process", &[], &[]),
    ("kalitka-uplink", &["kalitka-protocol"], &["kalitka-loadgen"]),
    (
        "kalitka-gateway",
        &[
            "kalitka-core",
            "kalitka-manual",
            "kalitka-outbox",
            "kalitka-process",
            "kalitka-protocol",
            "kalitka-snapshot",
            "kalitka-uplink",
        ],
        &[],
    ),
    ("kalitka-hub", &["kalitka-manual", "kalitka-process", "kalitka-protocol"], &[]),
    ("kalitka-loadgen", &["kalitka-manual", "kalitka-protocol"], &[]),
    (
        "kalitka-benches",
        &["kalitka-core", "kalitka-protocol", "kalitka-snapshot", "kalitka-tests"],
        &["kalitka-loadgen", "kalitka-outbox"],
    ),
    (
        "kalitka-tests",
        &["kalitka-loadgen", "kalitka-protocol"],
        &["kalitka-core", "kalitka-snapshot", "kalitka-uplink"],
    ),
];

/// Crates that stand in one place, so that any can be replaced: who may link them, tests aside.
const CONFINED: [(&str, &[&str]); 32] = [
    ("aes-gcm", &["kalitka-protocol"]),
    ("arc-swap", &["kalitka-gateway"]),
    ("axum", &["kalitka-gateway", "kalitka-hub"]),
    ("clap_complete", &["kalitka-manual"]),
    ("clap_mangen", &["kalitka-manual"]),
    ("crc", &["kalitka-outbox", "kalitka-protocol"]),
    ("csv", &["kalitka-snapshot", "kalitka-loadgen"]),
    ("dashmap", &["kalitka-core"]),
    ("ed25519-dalek", &["kalitka-snapshot", "kalitka-tools"]),
    ("fuser", &["kalitka-tests"]),
    ("getrandom", &["kalitka-gateway", "kalitka-hub", "kalitka-tools", "kalitka-loadgen"]),
    ("jiff", &["kalitka-snapshot", "kalitka-hub", "kalitka-tools", "kalitka-loadgen", "kalitka-tests"]),
    ("listenfd", &["kalitka-process"]),
    ("metrics", &["kalitka-gateway", "kalitka-hub"]),
    ("metrics-exporter-prometheus", &["kalitka-gateway", "kalitka-hub"]),
    ("nix", &["kalitka-gateway", "kalitka-loadgen"]),
    ("quinn", &["kalitka-uplink", "kalitka-hub"]),
    ("quinn-proto", &["kalitka-uplink", "kalitka-hub"]),
    ("rcgen", &["kalitka-uplink", "kalitka-hub"]),
    ("redb", &["kalitka-hub"]),
    ("ring", &["kalitka-core", "kalitka-gateway", "kalitka-uplink", "kalitka-hub"]),
    ("rkyv", &["kalitka-snapshot"]),
    ("rtime-clock", &["kalitka-gateway"]),
    ("rtrb", &["kalitka-gateway"]),
    ("rustls", &["kalitka-uplink", "kalitka-hub"]),
    ("sled", &["kalitka-outbox"]),
    ("snow", &["kalitka-core"]),
    ("tokio", &["kalitka-gateway", "kalitka-process", "kalitka-uplink", "kalitka-hub"]),
    ("tokio-serial", &["kalitka-gateway"]),
    ("tracing", &["kalitka-gateway", "kalitka-outbox", "kalitka-process", "kalitka-uplink", "kalitka-hub"]),
    ("x509-parser", &["kalitka-uplink", "kalitka-hub"]),
    ("x25519-dalek", &["kalitka-protocol"]),
];

/// The files that may say `unsafe`.
const UNSAFE: [&str; 1] = ["gateway/snapshot/src/view.rs"];

/// Where clocks are read: one file of the gateway, the tool's default generation, and what measures from outside.
const CLOCKS: [&str; 6] =
    ["gateway/src/clock.rs", "gateway/hub/src/clock.rs", "gateway/tools/", "loadgen/", "benches/", "tests/"];

/// What may stand at the top of the repository.
const TOP: [&str; 25] = [
    ".ci",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "README.ru.md",
    "SECURITY.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "docs",
    "gateway",
    "loadgen",
    "protocol",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "target",
    "tests",
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

fn sources() -> Vec<(File, Source)> {
    let taken_apart = |file: File| {
        let source = Source::new(&file.text);
        (file, source)
    };
    files(&[".rs"]).into_iter().map(taken_apart).collect()
}

fn metadata() -> Value {
    let told = |more: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version", "1", "--locked"]).args(more).current_dir(root()).output().unwrap()
    };
    // A build does not fetch what only other systems need, and this names that too.
    let mut output = told(&["--offline"]);
    if !output.status.success() {
        output = told(&[]);
    }
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ours(metadata: &Value) -> Vec<&Value> {
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|package| package["source"].is_null()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Fails with every breach at once.
fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

#[test]
fn crates_use_only_what_the_layers_allow() {
    let metadata = metadata();
    let mut breaches = Vec::new();
    for package in ours(&metadata) {
        let name = text(&package["name"]);
        let Some((_, normal, dev)) = EDGES.iter().find(|(of, ..)| *of == name) else {
            breaches.push(format!("{name} is not in the table of layers"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = text(&dependency["name"]);
            let is_dev = dependency["kind"] == "dev";
            let allowed = normal.contains(&other) || is_dev && dev.contains(&other);
            if other.starts_with("kalitka-") && !allowed {
                breaches.push(format!("{name} → {other}"));
            }
            let confined = CONFINED.iter().find(|(crate_name, _)| *crate_name == other);
            if confined.is_some_and(|(_, users)| !is_dev && !users.contains(&name)) {
                breaches.push(format!("{name} → {other}, which is kept to {:?}", confined.unwrap().1));
            }
        }
    }
    none("an edge between crates that the layers do not allow", &breaches);
    assert_eq!(ours(&metadata).len(), EDGES.len(), "the table of layers names a crate that is gone");
}

#[test]
fn unsafe_stands_only_in_the_named_files() {
    let mut breaches = Vec::new();
    for (file, source) in sources() {
        if !UNSAFE.contains(&file.path.as_str()) {
            breaches.extend(source.lines_with("unsafe").iter().map(|line| format!("{}:{line}", file.path)));
        }
    }
    none("unsafe outside the files that prove it", &breaches);
}

#[test]
fn the_core_the_protocol_and_the_snapshot_read_no_clock() {
    const READS: [&str; 7] =
        ["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "clock_gettime", "_rdtsc", "elapsed"];
    let mut breaches = Vec::new();
    for (file, source) in sources() {
        if is_test(&file.path) || CLOCKS.iter().any(|place| file.path.starts_with(place)) {
            continue;
        }
        let shipped = source.shipped();
        for read in READS {
            breaches.extend(lines_with(&shipped, read).iter().map(|line| format!("{}:{line} {read}", file.path)));
        }
    }
    none("a clock read outside gateway/src/clock.rs", &breaches);
}

#[test]
fn randomness_is_passed_in_to_the_core_the_protocol_and_the_snapshot() {
    let mut breaches = Vec::new();
    for (file, source) in sources() {
        let pure = ["protocol/", "gateway/core/", "gateway/snapshot/"].iter().any(|layer| file.path.starts_with(layer));
        if !pure || is_test(&file.path) {
            continue;
        }
        let shipped = source.shipped();
        for word in ["getrandom", "fastrand", "OsRng", "thread_rng", "SystemRandom", "UdpSocket", "TcpStream"] {
            breaches.extend(lines_with(&shipped, word).iter().map(|line| format!("{}:{line} {word}", file.path)));
        }
    }
    none("randomness or a socket where neither belongs", &breaches);
}

#[test]
fn nothing_unfinished_ignored_or_slept_through_is_left() {
    const NOWHERE: [&str; 5] = ["todo!", "unimplemented!", "dbg!", "allow(warnings", "allow(clippy::all"];
    // The one place that waits between two looks at a condition.
    const POLL: &str = "tests/src/wait.rs";
    const IGNORED: [&str; 3] = ["#[ignore", ", ignore)", ", ignore ="];
    const SLEEPS: [&str; 2] = ["thread::sleep", "park_timeout"];
    let mut breaches = Vec::new();
    for (file, source) in sources() {
        let mut look = |code: &str, word: &str| {
            for (place, _) in code.lines().enumerate().filter(|(_, line)| line.contains(word)) {
                breaches.push(format!("{}:{} {word}", file.path, place + 1));
            }
        };
        NOWHERE.iter().for_each(|word| look(&source.code, word));
        IGNORED.iter().for_each(|word| look(&source.code, word));
        if is_test(&file.path) && file.path != POLL {
            SLEEPS.iter().for_each(|word| look(&source.code, word));
        } else if source.tests_from.is_some() {
            let tests = source.code.replacen(&source.shipped(), "", 1);
            SLEEPS.iter().for_each(|word| look(&tests, word));
        }
        // A file that proves its unsafe code allows it for itself; that is the one lint allowed for a whole file.
        if !is_test(&file.path) && !file.path.starts_with("benches/") && !UNSAFE.contains(&file.path.as_str()) {
            look(&source.shipped(), "#![allow(");
        }
    }
    none("unfinished, ignored, slept through or allowed wholesale", &breaches);
}

#[test]
fn tests_stand_last_in_their_files() {
    let early = sources().into_iter().filter(|(file, source)| !is_test(&file.path) && !source.tests_come_last());
    let breaches: Vec<String> = early.map(|(file, _)| file.path).collect();
    none("code behind a test module, where the rules about shipped code do not look", &breaches);
}

#[test]
fn files_and_functions_are_short_or_on_the_shrinking_list() {
    let ratchet: toml::Table = fs::read_to_string(root().join("tests/ratchet.toml")).unwrap().parse().unwrap();
    let mut listed: BTreeMap<String, i64> = BTreeMap::new();
    for section in ["files", "functions"] {
        let entries = ratchet[section].as_table().unwrap();
        listed.extend(entries.iter().map(|(name, lines)| (name.clone(), lines.as_integer().unwrap())));
    }
    let mut long: BTreeMap<String, i64> = BTreeMap::new();
    for (file, source) in sources() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            long.insert(file.path.clone(), i64::try_from(lines).unwrap());
        }
        for function in source.functions().into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
            long.insert(format!("{}::{}", file.path, function.name), i64::try_from(function.lines).unwrap());
        }
    }
    assert_eq!(
        long, listed,
        "left: what is too long; right: tests/ratchet.toml, which must say the same and may only shrink"
    );
}

#[test]
fn the_top_of_the_repository_holds_nothing_unexpected() {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let breaches: Vec<String> = entries.filter(|name| !TOP.contains(&name.as_str())).collect();
    none("a thing at the top without a reason", &breaches);
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let places = [root().display().to_string(), concat!("/wo", "rk/").to_owned(), concat!("/ro", "ot/").to_owned()];
    let kinds =
        [".rs", ".md", ".toml", ".yml", ".service", ".socket", ".json", ".csv", "Makefile", "run", "Containerfile"];
    let scripts = ["-debian", "-deb", "inst", "rm", "debian/control", "debian/copyright"];
    let mut breaches = Vec::new();
    for file in files(&[&kinds[..], &scripts].concat()) {
        let found = places.iter().filter(|place| file.text.contains(place.as_str()));
        breaches.extend(found.map(|place| format!("{} names {place}", file.path)));
    }
    none("a path of one machine", &breaches);
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let deny: toml::Table = fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let list = |value: &toml::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|entry| entry.as_str().unwrap().to_owned()).collect()
    };
    let allowed = list(&deny["licenses"]["allow"]);
    let exceptions: BTreeMap<String, Vec<String>> = deny["licenses"]["exceptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["crate"].as_str().unwrap().to_owned(), list(&entry["allow"])))
        .collect();
    let metadata = metadata();
    let mut breaches = Vec::new();
    let mut names = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = text(&package["name"]);
        names.insert(name.to_owned());
        let more = exceptions.get(name).cloned().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or("none stated");
        if !satisfied(licence, &|id| allowed.iter().chain(&more).any(|allowed| allowed == id)) {
            breaches.push(format!("{name}: {licence}"));
        }
    }
    breaches.extend(
        exceptions.keys().filter(|name| !names.contains(*name)).map(|name| format!("{name} is not in the tree")),
    );
    none("a licence that deny.toml does not allow", &breaches);
}

/// Whether the SPDX `expression` holds. `/` is an old way to write OR; a WITH clause only gives more freedom.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut holds = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        holds |= all_of(words, allowed);
    }
    holds
}

fn all_of(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut holds = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        holds &= one(words, allowed);
    }
    holds
}

fn one(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> bool {
    let word = words.next().unwrap();
    if word == "(" {
        let holds = any_of(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return holds;
    }
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    allowed(word)
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let only_mit = |id: &str| id == "MIT";
    for (expression, holds) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND MIT", true),
        ("GPL-3.0 AND MIT OR MIT", true),
        ("(GPL-3.0 OR Apache-2.0 WITH LLVM-exception) AND MIT", false),
    ] {
        assert_eq!(satisfied(expression, &only_mit), holds, "{expression}");
    }
}
