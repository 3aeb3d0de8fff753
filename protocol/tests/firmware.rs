//! The reader half needs neither the standard library nor an allocator: a firmware is built of it, and its archive is
//! looked through for what it leaves to others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a bare-metal C library gives.
const GIVEN: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];

/// Builds the firmware; without the network if all it needs is there.
fn archive() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("firmware");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/firmware/Cargo.toml");
    let build = |more: &[&str]| {
        Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&target)
            .args(more)
            .output()
            .unwrap()
    };
    if !build(&["--offline"]).status.success() {
        let output = build(&[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    target.join("release/libkalitka_firmware.a")
}

/// What one member of the archive defines and needs.
#[derive(Default)]
struct Member {
    defined: BTreeSet<String>,
    needed: BTreeSet<String>,
}

fn members(archive: &Path) -> BTreeMap<String, Member> {
    let output = Command::new("nm").args(["--print-file-name", "--portability"]).arg(archive).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut members = BTreeMap::<String, Member>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (Some(member), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) else { continue };
        let member = members.entry(member.to_owned()).or_default();
        let names = if kind == "U" { &mut member.needed } else { &mut member.defined };
        names.insert(name.to_owned());
    }
    members
}

/// All symbols that a linker would take in for `main`, and those of them that nobody in the archive defines.
fn linked(members: &BTreeMap<String, Member>, main: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut taken, mut missing) = (BTreeSet::new(), BTreeSet::new());
    let mut wanted = vec![main.to_owned()];
    while let Some(name) = wanted.pop() {
        if taken.contains(&name) {
            continue;
        }
        match members.values().find(|member| member.defined.contains(&name)) {
            Some(member) => {
                taken.extend(member.defined.iter().cloned());
                wanted.extend(member.needed.iter().cloned());
            }
            None => drop(missing.insert(name)),
        }
    }
    (taken, missing)
}

#[test]
fn firmware_needs_neither_std_nor_an_allocator() {
    let members = members(&archive());
    let (taken, missing) = linked(&members, "kalitka_firmware_main");
    assert!(taken.contains("kalitka_firmware_main"), "the firmware is in the archive");
    let missing: Vec<_> = missing.iter().filter(|name| !GIVEN.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "needed and not there: {missing:?}");
    let alien =
        |name: &&String| ["__rust_alloc", "__rg_alloc", "3std", "5alloc"].iter().any(|part| name.contains(part));
    let aliens: Vec<_> = taken.iter().filter(alien).collect();
    assert!(aliens.is_empty(), "std or alloc: {aliens:?}");
}
