//! The comparison of the gateway with a bare echo, by the real programs, as small as can be: that it works, not what it finds.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::UdpSocket;

use kalitka_tests::process::{self, Process, run};
use kalitka_tests::site::{BOUND, text};
use kalitka_tests::wait::until;

const FIELDS: [&str; 11] = [
    "ratio",
    "ratio_min",
    "ratio_max",
    "burn_ns_equal",
    "worker_cpu_over_echo_us",
    "process_cpu_over_echo_us",
    "rtt_ratio",
    "p99_ratio",
    "wrong",
    "lost",
    "journal_dropped",
];

/// What junk is refused for.
const REFUSED: [(&str, &str); 6] = [
    ("unknown-session", "unknown_session"),
    ("wrong-length", "malformed"),
    ("wrong-tag", "forged"),
    ("replayed", "replayed"),
    ("forged-initiation", "handshake_forged"),
    ("repeated-initiation", "handshake_stamp_repeated"),
];

/// Compares with tiny slices; gives the table's lines and the fields of the line `RESULT`, which must be the last.
fn compare(args: &[&str]) -> (Vec<String>, BTreeMap<String, String>) {
    let folder = tempfile::tempdir().unwrap();
    let binaries = process::program("kalitka-gateway").parent().unwrap().to_owned();
    let tiny = ["compare", "--slice-ms", "30", "--alternations", "2", "--entries", "600", "--entries-large", "2000"];
    let mut command = std::process::Command::new(process::program("kalitka-loadgen"));
    command.args(tiny).args(["--binaries", text(&binaries)]).args(args).env("TMPDIR", folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    let rows = said.lines().filter(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect();
    let result = said.lines().last().unwrap().strip_prefix("RESULT ").unwrap();
    let fields: Vec<_> = result.split(' ').map(|field| field.split_once('=').unwrap()).collect();
    assert_eq!(fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), FIELDS);
    (rows, fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[test]
fn every_setting_is_played_and_no_answer_is_wrong() {
    let (rows, result) = compare(&[]);
    assert_eq!((&*result["wrong"], &*result["journal_dropped"]), ("0", "0"), "{rows:#?}");
    for (name, value) in result {
        // Slices as short as these need not tell which burn it is.
        let is_untold = name == "burn_ns_equal" && value == "-";
        assert!(is_untold || value.parse::<f64>().is_ok_and(f64::is_finite), "{name} is {value}: {rows:#?}");
    }
    let settings =
        ["as slow as an echo that burns", "whole process", "8 a datagram", "16 a datagram", "both block", "both spin"];
    for words in
        settings.iter().chain(&["p99.9", "two workers", "unknown-session", "repeated-initiation", "honest asks"])
    {
        assert!(rows.iter().any(|row| row.contains(words)), "no row of {words}: {rows:#?}");
    }
    for (kind, reason) in REFUSED {
        let row = rows.iter().find(|row| row.contains(&format!("datagram of junk, {kind} |")));
        let row = row.unwrap_or_else(|| panic!("no row of {kind}: {rows:#?}"));
        assert!(row.contains(&format!("dropped for {reason}")) && !row.contains("| - |"), "{row}");
    }
}

#[test]
fn what_is_not_asked_for_is_not_measured() {
    let (rows, result) = compare(&["--only", "round-trip"]);
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert!(rows.iter().all(|row| row.contains("| ≤ 1.150 | ≤ 1.100 |")), "in both modes: {rows:#?}");
    assert!(result["rtt_ratio"].parse::<f64>().unwrap() > 0.0);
    assert_eq!((&*result["ratio"], &*result["p99_ratio"], &*result["wrong"]), ("-", "-", "0"));
}

#[test]
fn an_echo_of_its_own_gives_back_what_it_gets_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("echo.log");
    let args = ["echo", "--listen", "127.0.0.1:0", "--burn-ns", "1000", "--spin-us", "20"];
    let mut echo = Process::start("kalitka-loadgen", args, &output);
    let address = until("the echo", BOUND, || {
        let printed = echo.printed();
        printed.lines().find_map(|line| Some(line.strip_prefix("listening ")?.to_owned()))
    });
    assert!(echo.printed().contains("burning 1000 ns"), "{}", echo.printed());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut buffer = [0; 16];
    for byte in 0..100 {
        socket.send_to(&[byte, 7, 9], &address).unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap(), 3);
        assert_eq!(buffer[..3], [byte, 7, 9]);
    }
    echo.terminate();
    let wrong = run("kalitka-loadgen", ["echo", "--listen", "127.0.0.1:0", "--core", "1000000"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("core 1000000"));
}
