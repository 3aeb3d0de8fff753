//! `kalitka-loadgen` run as a process: what it says of bad input, and how it exits.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what is not there fails as it should")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in `folder`; gives its exit status and all that it said.
fn said(folder: &Path, line: &str) -> (i32, String) {
    let command =
        Command::new(env!("CARGO_BIN_EXE_kalitka-loadgen")).args(line.split_whitespace()).current_dir(folder).output();
    let Output { status, stdout, stderr } = command.unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn a_roster_that_is_there_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let (status, words) = said(folder.path(), "roster --holders 60 --out school");
    assert!(status == 0 && words.contains("60 holders") && words.contains("school"), "{words}");
    for name in ["building.toml", "people.csv", "cards.csv"] {
        let school = tempfile::tempdir_in(folder.path()).unwrap();
        fs::write(school.path().join(name), "mine").unwrap();
        let out = school.path().to_str().unwrap();
        let (status, words) = said(folder.path(), &format!("roster --holders 60 --out {out}"));
        assert!(status == 4 && words.contains(name) && words.contains("--force"), "{words}");
        assert_eq!(fs::read_dir(school.path()).unwrap().count(), 1, "{name} was there, and others were written");
        assert_eq!(fs::read_to_string(school.path().join(name)).unwrap(), "mine");
        assert_eq!(said(folder.path(), &format!("roster --force --holders 60 --out {out}")).0, 0);
        assert_ne!(fs::read_to_string(school.path().join(name)).unwrap(), "mine");
    }
}

#[test]
fn a_key_file_that_cannot_be_used_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = |keys| said(folder.path(), &format!("run --gateway 127.0.0.1:9 --roster nowhere --keys {keys}"));
    let bad = [("short", r#"[{"reader":101,"psk":"abc"}]"#, 0o600), ("text", "abc", 0o600), ("open", "[]", 0o644)];
    for (name, text, mode) in bad {
        fs::write(folder.path().join(name), text).unwrap();
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).unwrap();
        let (status, words) = run(name);
        assert!(
            status == 3 && words.contains(&format!("{name}: ")) && words.contains("reader add N --json"),
            "{words}"
        );
    }
    assert!(run("short").1.contains("the key of reader 101 is not 64 hex digits"), "{}", run("short").1);
    let (status, words) = run("nokeys");
    assert!(status == 4 && words.contains("nokeys: ") && words.contains("reader add N --json"), "{words}");
}

#[test]
fn loads_that_cannot_be_are_refused_with_what_can() {
    let cases = [
        ("--window 0", "8192"),
        ("--window 8193", "8192"),
        ("--sockets 65", "64"),
        ("--asks-per-datagram 33", "32"),
        ("--junk garbage", "mixed, or some of unknown-session, wrong-length, wrong-tag, replayed"),
        ("--junk wrong-tag,", "mixed, or some of"),
        ("--junk-rate 0", "1000000"),
        ("--profile surge", "saturate, rate, flood"),
        ("--cards trumps", "uniform"),
    ];
    for (option, remedy) in cases {
        let (status, words) = said(Path::new("."), &format!("run --gateway 127.0.0.1:9 --roster x --keys x {option}"));
        assert!(status == 2 && words.contains(remedy), "{option}: {status}\n{words}");
    }
}

#[test]
fn help_says_how_it_exits_and_gives_an_example() {
    let (status, words) = said(Path::new("."), "--help");
    assert!(
        status == 0 && words.contains("Exit status: 0") && words.contains("kalitka-loadgen run --gateway"),
        "{words}"
    );
}
