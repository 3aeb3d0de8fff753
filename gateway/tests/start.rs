//! What the gateway does before it serves: every wrong thing is named, with the exit status that its class has.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use support::{Site, gateway, snapshot, status_and_error};

const INPUT: i32 = 3;
const ENVIRONMENT: i32 = 4;

fn run(site: &Site) -> (i32, String) {
    status_and_error(&gateway(&["run", "--config", &site.config()]))
}

#[track_caller]
fn assert_ends((status, error): &(i32, String), expected: i32, named: &[&str]) {
    assert_eq!(*status, expected, "{error}");
    for word in named {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn unknown_configuration_key_is_refused_by_name() {
    let site = Site::new();
    site.reconfigure("workers = 1", "workers = 1\nthreads = 4");
    assert_ends(&run(&site), INPUT, &["config.toml", "threads", "line"]);
    assert_ends(&status_and_error(&gateway(&["check", "--config", &site.config()])), INPUT, &["threads"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    for words in [&[][..], &["run"], &["reader", "add", "0", "--socket", "/s"], &["open"]] {
        assert_eq!(gateway(words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn missing_configuration_is_named() {
    let ended = status_and_error(&gateway(&["run", "--config", "/nonexistent/config.toml"]));
    assert_ends(&ended, ENVIRONMENT, &["/nonexistent/config.toml", "correct --config"]);
    let ended = status_and_error(&gateway(&["run", "--config", "/"]));
    assert_ends(&ended, ENVIRONMENT, &["/: cannot read", "regular file"]);
}

#[test]
fn port_in_use_is_named() {
    let site = Site::new();
    let (udp_holder, http_holder) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (udp, http) = (udp_holder.local_addr().unwrap().to_string(), http_holder.local_addr().unwrap().to_string());
    site.reconfigure("[udp]\nlisten = \"127.0.0.1:0\"", &format!("[udp]\nlisten = \"{udp}\""));
    assert_ends(&run(&site), ENVIRONMENT, &["udp.listen", &udp, "in use"]);
    site.reconfigure(&format!("[udp]\nlisten = \"{udp}\""), "[udp]\nlisten = \"127.0.0.1:0\"");
    site.reconfigure("[http]\nlisten = \"127.0.0.1:0\"", &format!("[http]\nlisten = \"{http}\""));
    assert_ends(&run(&site), ENVIRONMENT, &["http.listen", &http, "in use"]);
}

#[test]
fn key_file_readable_by_others_is_refused() {
    let site = Site::new();
    let gateway = site.start();
    gateway.add_reader(101);
    gateway.kill();
    let keys = site.path("state/readers.keys");
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        assert_ends(&run(&site), ENVIRONMENT, &["readers.keys", "chmod 600"]);
    }
}

#[test]
fn key_file_that_cannot_be_read_is_refused_and_nobody_is_told_to_open_it() {
    let site = Site::new();
    let keys = site.path("state/readers.keys");
    let assert_unreadable = || {
        for verb in ["run", "check"] {
            let ended = status_and_error(&gateway(&[verb, "--config", &site.config()]));
            assert_ends(&ended, ENVIRONMENT, &["readers.keys", "regular file", "restore it"]);
            assert!(!ended.1.contains("chmod"), "{}", ended.1);
        }
    };
    site.start().kill();
    fs::create_dir(&keys).unwrap();
    assert_unreadable();
    fs::remove_dir(&keys).unwrap();
    symlink("nowhere", &keys).unwrap();
    assert_unreadable();
}

#[test]
fn wrong_line_of_the_key_file_is_named_and_not_shown() {
    let site = Site::new();
    let gateway = site.start();
    let psk = hex::encode(gateway.add_reader(101));
    gateway.kill();
    let keys = site.path("state/readers.keys");
    let text = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, format!("{text}102 {}\n", &psk[1..])).unwrap();
    let ended = run(&site);
    assert_ends(&ended, INPUT, &["readers.keys", "line 3"]);
    assert!(!ended.1.contains(&psk[1..]));
}

#[test]
fn state_folder_is_used_by_one_gateway_at_a_time() {
    let site = Site::new();
    let _running = site.start();
    assert_ends(&run(&site), ENVIRONMENT, &["state", "another gateway"]);
}

#[test]
fn check_says_what_is_there_and_starts_nothing() {
    let site = Site::with_snapshot(5);
    let running = site.start();
    running.add_reader(101);
    running.kill();
    let checked = gateway(&["check", "--config", &site.config()]);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && said.contains("generation 5") && said.contains("keys: 1"), "{said}");
    let mut bytes = snapshot(5);
    bytes[300] ^= 1;
    fs::write(site.path("state/snapshot.kalitka"), bytes).unwrap();
    assert_ends(&status_and_error(&gateway(&["check", "--config", &site.config()])), INPUT, &["checksum"]);
}

#[test]
fn check_looks_at_the_stamps_too() {
    let site = Site::new();
    site.start().kill();
    fs::write(site.path("state/readers.stamps"), "x\n").unwrap();
    assert_ends(&run(&site), INPUT, &["readers.stamps", "line 1"]);
    assert_ends(&status_and_error(&gateway(&["check", "--config", &site.config()])), INPUT, &["readers.stamps"]);
}

#[test]
fn folder_of_others_is_not_taken_for_state_and_not_to_be_closed() {
    let site = Site::new();
    fs::set_permissions(site.path("inbox"), fs::Permissions::from_mode(0o755)).unwrap();
    site.reconfigure("/state\"", "/inbox\"");
    assert_ends(&run(&site), ENVIRONMENT, &["inbox", "folder of its own"]);
    assert_eq!(fs::read_dir(site.path("inbox")).unwrap().count(), 0);
}

#[test]
fn socket_path_that_the_kernel_does_not_take_is_named() {
    let site = Site::new();
    site.reconfigure("/control\"", &format!("/{}\"", "x".repeat(120)));
    assert_ends(&run(&site), INPUT, &["control.socket", "xxx", "shorter"]);
}

#[test]
fn missing_folder_of_the_control_socket_is_made_for_its_group() {
    let site = Site::new();
    site.reconfigure("/control\"", "/absent/control\"");
    assert_eq!(gateway(&["check", "--config", &site.config()]).status.code(), Some(0));
    assert!(!site.path("absent").exists(), "check made something");
    let _running = site.start();
    assert_eq!(fs::metadata(site.path("absent")).unwrap().permissions().mode() & 0o777, 0o750);
    let asked = gateway(&["reader", "list", "--config", &site.config()]);
    assert!(asked.status.success(), "{asked:?}");
}

#[test]
fn folder_that_cannot_be_made_is_named_by_run_and_check() {
    for (key, name) in [("state", "state"), ("snapshots.inbox", "inbox"), ("control.socket", "control")] {
        let site = Site::new();
        site.reconfigure(&format!("/{name}\""), &format!("/config.toml/a/{name}\""));
        assert_ends(&run(&site), ENVIRONMENT, &["config.toml/a", "make the folder for the gateway's user"]);
        let checked = status_and_error(&gateway(&["check", "--config", &site.config()]));
        assert_ends(&checked, ENVIRONMENT, &[key, "config.toml/a", "make the folder for the gateway's user"]);
    }
}

#[test]
fn damaged_kept_snapshot_is_replaced_from_the_inbox_and_never_by_an_older_one() {
    let site = Site::with_snapshot(5);
    site.start().kill();
    fs::write(site.path("state/snapshot.kalitka"), b"damaged").unwrap();
    fs::remove_file(site.path("inbox/first")).unwrap();
    site.put("older", &snapshot(4));
    let gateway = site.start();
    assert_eq!(gateway.get("/readyz").0, 503);
    gateway.await_metric("kalitka_snapshot_refused_total{reason=\"generation\"}", 1.0);
    site.put("same", &snapshot(5));
    gateway.await_metric("kalitka_snapshot_generation", 5.0);
    assert_eq!(gateway.get("/readyz").0, 200);
}

#[test]
fn damaged_commands_of_osdp_devices_stop_no_gateway_and_are_left_as_they_are_until_there_is_one() {
    let site = Site::with_snapshot(5);
    let commands = site.path("state/osdp.commands");
    site.start().kill();
    fs::write(&commands, b"damaged").unwrap();
    site.start().kill();
    let osdp = "[[osdp]]\nport = \"/dev/no-such-line\"\n[[osdp.devices]]\naddress = 0\nreader = 900\n";
    site.reconfigure("[snapshots]", &format!("{osdp}[snapshots]"));
    assert_eq!(gateway(&["check", "--config", &site.config()]).status.code(), Some(0));
    assert_eq!(site.start().get("/readyz").0, 200);
    assert_eq!(fs::read(&commands).unwrap(), b"damaged");
}

#[test]
fn help_says_what_the_exit_statuses_mean() {
    let help = String::from_utf8(gateway(&["--help"]).stdout).unwrap();
    for word in ["Exit status", "run", "check", "reader", "snapshot"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn start_takes_less_than_a_second() {
    let site = Site::with_snapshot(1);
    let begun = Instant::now();
    let gateway = site.start();
    assert_eq!(gateway.get("/readyz").0, 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
