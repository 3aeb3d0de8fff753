//! `kalitka-loadgen` run as a process: what it says of bad input, and how it exits.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what is not there fails as it should")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

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

#[test]
fn bad_order_to_a_relay_is_refused_with_what_would_be_one_and_help_lists_them() {
    let cases = [("--order lose", "orders are loss"), ("--clients 0", "16384"), ("--idle 0", "86400")];
    for (option, remedy) in cases {
        let line = format!("relay --listen 127.0.0.1:0 --to 127.0.0.1:9 {option}");
        let (status, words) = said(Path::new("."), &line);
        assert!(status == 2 && words.contains(remedy), "{option}: {status}\n{words}");
    }
    let (status, words) = said(Path::new("."), "relay --help");
    assert!(status == 0 && words.contains("cuts TIME TIME") && words.contains("--order 'like poor'"), "{words}");
    let (status, words) = said(Path::new("."), "relay --listen 192.0.2.1:9 --to 127.0.0.1:9");
    assert!(status == 4 && words.contains("192.0.2.1:9: "), "{status}\n{words}");
}

#[test]
fn relay_takes_orders_from_its_input_and_at_its_socket_and_tells_its_seed_and_its_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = server.local_addr().unwrap().to_string();
    let args = ["relay", "--listen", "127.0.0.1:0", "--to", &to, "--seed", "7", "--control", "control"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_kalitka-loadgen"));
    command.args(args).args(["--order", "delay 1ms", "--duration", "600", "--every", "0"]).current_dir(folder.path());
    let mut relay = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(relay.stdout.take().unwrap()).lines().map(Result::unwrap);
    let listening = out.next().unwrap();
    let address = listening.strip_prefix("listening ").unwrap().strip_suffix(" seed 7").unwrap();
    client.send_to(b"abc", address).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(server.recv(&mut buffer).unwrap(), 3);
    let mut input = relay.stdin.take().unwrap();
    input.write_all(b"cut\nup lose\n").unwrap();
    assert_eq!(out.next().unwrap(), "ok");
    assert!(out.next().unwrap().starts_with("error: no order"));
    drop(input);
    let socket = folder.path().join("control");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut control = UnixStream::connect(socket).unwrap();
    control.write_all(b"mend\nshow\n").unwrap();
    let mut answers = BufReader::new(control).lines().map(Result::unwrap);
    assert_eq!(answers.next().unwrap(), "ok");
    assert!(answers.next().unwrap().starts_with("up: came=1 copied=0 held_back=0 passed=1 bytes=3 "));
    client.send_to(b"abcd", address).unwrap();
    assert_eq!(server.recv(&mut buffer).unwrap(), 4, "it was mended over the socket");
    kill_process(Pid::from_child(&relay), Signal::TERM).unwrap();
    assert_eq!(relay.wait().unwrap().code(), Some(130));
    let told = out.next().unwrap();
    assert!(told.starts_with("seed 7: up: came=2 ") && told.ends_with("clients_forgotten=0 moves=0"), "{told}");
}
