//! `kalitka-snapshot` run as a process: what it prints, what it writes and how it exits.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const BUILDING: &str = r#"
[building]
number = 17
organisation = 3
name = "School 17"
time_zone = "Europe/Moscow"
[[area]]
name = "street"
[[area]]
name = "hall"
[[portal]]
name = "turnstile-1"
from = "street"
to = "hall"
[[reader]]
number = 101
portal = "turnstile-1"
shapes = ["uid"]
[[reader]]
number = 102
portal = "turnstile-1"
shapes = ["w26"]
[[access_level]]
name = "pupil"
grants = [ { portals = ["*"] } ]
"#;
const PEOPLE: &str = "holder,kind,group,state,access_levels,valid_from,valid_to\n\
    p0001,pupil,1A,active,pupil,,\np0002,staff,,active,pupil,,\n";
const CARDS: &str = "card,holder,state,valid_from,valid_to,blocked_until\n\
    uid:04010203aabbcc,p0001,issued,,,\nuid:04090909aabbcc,p0002,issued,,,\n";

struct Desk {
    folder: TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(desk.path("roster")).unwrap();
        for (name, text) in [("building.toml", BUILDING), ("people.csv", PEOPLE), ("cards.csv", CARDS)] {
            fs::write(desk.path("roster").join(name), text).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the tool in the folder with the words of `line`.
    fn run(&self, line: &str) -> Said {
        let command = Command::new(env!("CARGO_BIN_EXE_kalitka-snapshot"))
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .output();
        let Output { status, stdout, stderr } = command.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }

    /// Runs it and gives what it printed.
    fn done(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, 0, "{line}: {}", said.err);
        said.out.trim_end().to_owned()
    }

    /// Runs it and gives what it complained of, having left nothing new behind.
    fn refused(&self, line: &str, code: i32) -> String {
        let before = self.files();
        let said = self.run(line);
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{line}: {}", said.err);
        assert_eq!(self.files(), before, "{line} left something behind");
        said.err
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_snapshot_is_built_signed_verified_and_described() {
    let desk = Desk::new();
    let publisher = desk.done("keygen --secret key");
    assert_eq!((publisher.len(), mode(&desk.path("key"))), (64, 0o600));
    let said = desk.run("build --roster roster --out a.snapshot --generation 7 --key key");
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(said.err.starts_with("warning: w26:170-48076 is ambiguous"), "{}", said.err);
    assert!(said.err.contains("p0001") && said.err.contains("p0002"), "{}", said.err);
    assert_eq!(mode(&desk.path("a.snapshot")) & 0o600, 0o600);
    assert_eq!(desk.done(&format!("verify a.snapshot --publisher {publisher} --building 17")), "ok");
    assert_eq!(desk.done(&format!("verify a.snapshot --publisher {publisher}")), "ok");

    let info = desk.done("info a.snapshot");
    for part in [
        "17 (School 17), organisation 3",
        "generation     7",
        &publisher,
        "entries        3 (1 ambiguous)",
        "2 readers",
        "warning        1 cut",
    ] {
        assert!(info.contains(part), "{part} in\n{info}");
    }
    let json: serde_json::Value = serde_json::from_str(&desk.done("info a.snapshot --json")).unwrap();
    assert_eq!((&json["building"], &json["generation"], &json["holders"]), (&17.into(), &7.into(), &2.into()));
    assert_eq!(json["publisher"], publisher.as_str());
    assert_eq!(json["bytes"], fs::metadata(desk.path("a.snapshot")).unwrap().len());
}

#[test]
fn last_command_stands_in_the_snapshot_and_is_0_unless_given() {
    let desk = Desk::new();
    for (given, expected) in [("", 0), ("--last-command 41", 41), ("--last-command 18446744073709551615", u64::MAX)] {
        desk.done(&format!("build --roster roster --out a.snapshot {given}"));
        let json: serde_json::Value = serde_json::from_str(&desk.done("info a.snapshot --json")).unwrap();
        assert_eq!(json["last_command"], expected);
        assert!(desk.done("info a.snapshot").contains(&format!("last command   {expected}\n")));
    }
}

#[test]
fn signing_afterwards_gives_a_sound_file() {
    let desk = Desk::new();
    let publisher = desk.done("keygen --secret key");
    desk.done("build --roster roster --out a.snapshot");
    assert!(desk.done("info a.snapshot").contains("warning        not signed"));
    assert!(desk.refused(&format!("verify a.snapshot --publisher {publisher}"), 3).contains("is not signed"));
    desk.done("sign a.snapshot --key key");
    assert_eq!(desk.done(&format!("verify a.snapshot --publisher {publisher}")), "ok");
    assert!(desk.refused("sign a.snapshot --key key", 3).contains("signed already"));
    let json: serde_json::Value = serde_json::from_str(&desk.done("info a.snapshot --json")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(json["generation"].as_u64().unwrap().abs_diff(now) < 600);
}

#[test]
fn a_wrong_roster_is_told_in_full_and_nothing_written() {
    let desk = Desk::new();
    fs::write(desk.path("roster/people.csv"), PEOPLE.replace("pupil,1A", "child,1A").replace("staff", "stuff"))
        .unwrap();
    fs::write(desk.path("roster/cards.csv"), CARDS.replace("p0002", "p0003")).unwrap();
    let said = desk.refused("build --roster roster --out a.snapshot", 3);
    for part in
        ["people.csv:2:2 (kind) `child`", "people.csv:3:2 (kind) `stuff`", "cards.csv:3:2 (holder) `p0003`", "3 errors"]
    {
        assert!(said.contains(part), "{part} in\n{said}");
    }
}

#[test]
fn a_failed_build_keeps_the_old_file() {
    let desk = Desk::new();
    desk.done("build --roster roster --out a.snapshot --generation 1");
    let old = fs::read(desk.path("a.snapshot")).unwrap();
    fs::write(desk.path("roster/cards.csv"), "card\n").unwrap();
    desk.refused("build --roster roster --out a.snapshot --generation 2", 3);
    assert!(fs::read(desk.path("a.snapshot")).unwrap() == old);
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let desk = Desk::new();
    desk.done("keygen --secret key");
    desk.done("build --roster roster --out a.snapshot");
    for open in [0o640, 0o604, 0o610, 0o660] {
        fs::set_permissions(desk.path("key"), fs::Permissions::from_mode(open)).unwrap();
        assert!(desk.refused("sign a.snapshot --key key", 3).contains("others may read"));
        assert!(desk.refused("build --roster roster --out b.snapshot --key key", 3).contains("others may read"));
    }
}

#[test]
fn a_key_is_never_overwritten_and_a_wrong_one_never_used() {
    let desk = Desk::new();
    desk.done("keygen --secret key");
    let key = fs::read(desk.path("key")).unwrap();
    assert!(desk.refused("keygen --secret key", 3).contains("not overwritten"));
    assert!(fs::read(desk.path("key")).unwrap() == key);
    desk.done("build --roster roster --out a.snapshot");
    for wrong in ["", "abc", &"g".repeat(64), &"a".repeat(66)] {
        fs::write(desk.path("key"), wrong).unwrap();
        let said = desk.refused("sign a.snapshot --key key", 3);
        assert!(said.contains("is no key file") && (wrong.is_empty() || !said.contains(wrong)), "{said}");
    }
}

#[test]
fn a_foreign_snapshot_is_refused() {
    let desk = Desk::new();
    let publisher = desk.done("keygen --secret key");
    let other = desk.done("keygen --secret other");
    desk.done("build --roster roster --out a.snapshot --key key");
    assert!(desk.refused(&format!("verify a.snapshot --publisher {other}"), 3).contains(&publisher));
    assert!(
        desk.refused(&format!("verify a.snapshot --publisher {publisher} --building 18"), 3).contains("building 17")
    );
    assert_eq!(desk.done(&format!("verify a.snapshot --publisher {other} --publisher {publisher}")), "ok");
    let mut file = fs::read(desk.path("a.snapshot")).unwrap();
    file[300] ^= 1;
    fs::write(desk.path("a.snapshot"), file).unwrap();
    for line in [format!("verify a.snapshot --publisher {publisher}"), "info a.snapshot".to_owned()] {
        assert!(desk.refused(&line, 3).contains("checksum"));
    }
    fs::write(desk.path("a.snapshot"), "no snapshot").unwrap();
    assert!(desk.refused("info a.snapshot", 3).contains("a.snapshot: the file has 11 bytes"));
}

#[test]
fn what_the_system_refuses_exits_with_4_and_wrong_usage_with_2() {
    let desk = Desk::new();
    let cases = [
        ("info none", 4),
        ("build --roster none --out a.snapshot", 4),
        ("build --roster roster --out none/a.snapshot", 4),
        ("build --roster roster --out a.snapshot --key none", 4),
        ("keygen --secret none/key", 4),
        ("build --roster roster", 2),
        ("build --roster roster --out a.snapshot --generation x", 2),
        ("build --roster roster --out a.snapshot --generation 0", 2),
        ("build --roster roster --out a.snapshot --last-command -1", 2),
        ("verify a.snapshot", 2),
        ("verify a.snapshot --publisher 12", 2),
        ("frobnicate", 2),
        ("", 2),
    ];
    for (line, code) in cases {
        assert!(!desk.refused(line, code).is_empty(), "{line}");
    }
}

#[test]
fn key_that_does_not_fit_on_the_disk_leaves_nothing_in_the_way() {
    let desk = Desk::new();
    let full =
        format!("trap '' XFSZ; ulimit -f 0; exec {} keygen --secret key", env!("CARGO_BIN_EXE_kalitka-snapshot"));
    let output = Command::new("sh").args(["-c", &full]).current_dir(desk.folder.path()).output().unwrap();
    assert!(!output.status.success() && !output.stderr.is_empty(), "{output:?}");
    assert!(!desk.path("key").exists());
    desk.done("keygen --secret key");
}

#[test]
fn reader_that_has_seen_enough_is_no_failure() {
    let desk = Desk::new();
    desk.done("build --roster roster --out a.snapshot");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut info = Command::new(env!("CARGO_BIN_EXE_kalitka-snapshot"));
    let status = info.args(["info", "a.snapshot"]).current_dir(desk.folder.path()).stdout(writer).status().unwrap();
    assert!(status.success());
}

#[test]
fn help_tells_every_verb_and_the_exit_status() {
    let help = Desk::new().done("--help");
    for part in ["keygen", "build", "sign", "verify", "info", "Exit status: 0 done; 2"] {
        assert!(help.contains(part), "{part} in\n{help}");
    }
}
