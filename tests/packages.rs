//! The Debian packages: what is in them, what dpkg does with them, and how closed their units are.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kalitka_tests::fresh_root::FreshRoot;
use kalitka_tests::packages::{PACKAGES, brought, build, file};
use kalitka_tests::site::text;
use kalitka_tests::tree::root;

/// What `systemd-analyze security` may say at most, as SECURITY.md promises it: 0 is closed, 10 is open.
const EXPOSURE_MAX: [(&str, f64); 2] = [("kalitka-gateway.service", 1.8), ("kalitka-hub.service", 1.3)];
/// Of the upgrade.
const NEXT: &str = "99.0.0";

/// An empty folder of that name in the target folder: what tests share is dropped by nobody.
fn emptied(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Packages of the programs under test, in the folder `name`.
fn built(name: &str, version: Option<&str>) -> PathBuf {
    let out = emptied(name);
    build(&out, version);
    out
}

/// The packages that all tests look at.
fn packages() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("packages", None))
}

/// All packages, unpacked into one folder, where nothing of them is run.
fn unpacked() -> &'static Path {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        let folder = emptied("unpacked");
        for package in PACKAGES {
            let deb = file(packages(), package);
            assert!(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&folder).status().unwrap().success());
        }
        folder
    })
}

fn field(package: &str, name: &str) -> String {
    let output = Command::new("dpkg-deb").arg("-f").arg(file(packages(), package)).arg(name).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Files below `folder`.
fn below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[test]
fn two_builds_give_the_same_bytes() {
    let again = built("packages-again", None);
    for package in PACKAGES {
        let (one, other) = (file(packages(), package), file(&again, package));
        assert_eq!(one.file_name(), other.file_name());
        assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "{package} differs from build to build");
    }
}

#[test]
fn packages_say_what_they_are_and_need() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let version = manifest["workspace"]["package"]["version"].as_str().unwrap();
    for package in PACKAGES {
        assert_eq!(field(package, "Version"), format!("{version}-1"));
        assert!(field(package, "Maintainer").contains("contributors"));
        assert!(field(package, "Installed-Size").parse::<u32>().unwrap() > 100);
        assert!(field(package, "Description").lines().count() > 2);
        let doc = unpacked().join("usr/share/doc").join(package);
        assert!(doc.join("copyright").is_file() && doc.join("changelog.Debian.gz").is_file(), "{package}");
        let is_for_all = field(package, "Architecture") == "all";
        assert_eq!(is_for_all, package == "kalitka-doc");
        assert_eq!(field(package, "Depends").contains("libc6 (>="), !is_for_all, "{package}");
        assert_eq!(doc.join("third-party.gz").is_file(), !is_for_all, "{package}");
    }
    assert!(field("kalitka-gateway", "Depends").contains("adduser"));
    for path in below(unpacked()) {
        let (mode, owner) = (path.metadata().unwrap().permissions().mode() & 0o7777, path.metadata().unwrap().uid());
        let is_program = path.starts_with(unpacked().join("usr/bin"));
        assert_eq!((mode, owner), (if is_program { 0o755 } else { 0o644 }, 0), "{}", path.display());
    }
}

#[test]
fn every_page_renders_without_a_warning_and_every_completion_parses() {
    let share = unpacked().join("usr/share");
    let pages = below(&share.join("man/man1"));
    for page in &pages {
        let render = "gzip -dc \"$1\" | groff -Kutf8 -man -ww -Tutf8 2>&1 >/dev/null";
        let output = Command::new("sh").args(["-c", render, "sh", text(page)]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.is_empty(), "{}: {said}", page.display());
    }
    for name in ["kalitka-gateway", "kalitka-hub", "kalitka-snapshot", "kalitka-loadgen"] {
        assert!(pages.iter().any(|page| page.ends_with(format!("{name}.1.gz"))), "{name} has no page");
        let completions = share.join("bash-completion/completions").join(name);
        assert!(Command::new("bash").arg("-n").arg(&completions).status().unwrap().success());
        assert!(share.join(format!("zsh/vendor-completions/_{name}")).is_file());
        assert!(share.join(format!("fish/vendor_completions.d/{name}.fish")).is_file());
    }
    for page in ["kalitka-gateway-reader-add", "kalitka-hub-pki-token", "kalitka-snapshot-build", "kalitka-loadgen-run"]
    {
        assert!(pages.iter().any(|path| path.ends_with(format!("{page}.1.gz"))), "{page}");
    }
    let offered = fs::read_to_string(share.join("bash-completion/completions/kalitka-gateway")).unwrap();
    assert!(offered.contains("enrol") && !offered.contains("generate"));
}

#[test]
fn links_of_installed_pages_lead_somewhere() {
    let pages = below(&unpacked().join("usr/share/doc/kalitka"));
    let mut links = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|kind| kind == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") {
                links += 1;
                assert!(page.parent().unwrap().join(path).exists(), "{} → {link}", page.display());
            }
        }
    }
    assert!(links > 20, "{links}");
    for needed in ["doc/kalitka/RUNBOOK.md", "kalitka/prometheus/rules.yml", "kalitka/grafana/building.json"] {
        assert!(unpacked().join("usr/share").join(needed).is_file(), "{needed}");
    }
}

/// The configuration as it is installed.
fn example() -> String {
    fs::read_to_string(root().join("deploy/gateway.example.toml")).unwrap()
}

/// dpkg as it is, but for what other packages of the machine would do about ours.
fn dpkg(machine: &FreshRoot, action: &str, what: &[String]) -> String {
    let what: Vec<&str> = what.iter().map(String::as_str).collect();
    machine.well("dpkg", &[&["--no-triggers", "--force-unsafe-io", action], &*what].concat())
}

/// A machine over this one, below which nothing is installed any more.
fn machine() -> FreshRoot {
    packages();
    FreshRoot::new()
}

/// Configures `machine` before anything is installed: the example with a publisher, and `changes`.
fn configure(machine: &FreshRoot, changes: &[(&str, &str)]) {
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let page = example().replace("publishers = []", &format!("publishers = [\"{key}\"]"));
    let page = changes.iter().fold(page, |page, (from, to)| page.replace(from, to));
    fs::create_dir_all(machine.path("/etc/kalitka")).unwrap();
    fs::write(machine.path("/etc/kalitka/gateway.toml"), page).unwrap();
}

/// Whether the gateway and its sockets come with the next boot.
fn is_enabled(machine: &FreshRoot) -> bool {
    let wants = ["sockets.target.wants/kalitka-gateway.socket", "multi-user.target.wants/kalitka-gateway.service"];
    wants.map(|link| machine.path("/etc/systemd/system").join(link).is_symlink()) == [true; 2]
}

fn owner_and_mode(machine: &FreshRoot, path: &str) -> String {
    machine.well("stat", &["-c", "%U %a", path]).trim().to_owned()
}

#[test]
fn packages_are_installed_upgraded_removed_and_purged_by_dpkg() {
    let machine = machine();
    let debs = brought(&machine, packages());
    dpkg(&machine, "-i", &debs);
    assert_eq!(owner_and_mode(&machine, "/var/lib/kalitka"), "kalitka 700");
    assert_eq!(owner_and_mode(&machine, "/var/lib/kalitka-hub"), "kalitka-hub 700");
    assert_eq!(owner_and_mode(&machine, "/etc/kalitka/gateway.toml"), "root 644");
    let version = machine.well("kalitka-gateway", &["--version"]);
    assert!(version.starts_with("kalitka-gateway "), "{version}");
    assert!(!is_enabled(&machine), "tried in vain at each boot");
    units_are_sound_and_closed(&machine);

    // What an administrator has changed, and what the gateway has kept, stay through everything but a purge.
    fs::write(machine.path("/etc/kalitka/gateway.toml"), "building = 17\n").unwrap();
    fs::write(machine.path("/var/lib/kalitka/readers.keys"), "kept").unwrap();
    let next = built("packages-next", Some(NEXT));
    dpkg(&machine, "-i", &brought(&machine, &next));
    let versions = machine.well("dpkg-query", &["-W", "-f", "${Version} ", "kalitka-gateway", "kalitka-doc"]);
    assert_eq!(versions.trim(), format!("{NEXT}-1 {NEXT}-1"));
    let kept = || {
        let config = fs::read_to_string(machine.path("/etc/kalitka/gateway.toml")).unwrap();
        let state = fs::read_to_string(machine.path("/var/lib/kalitka/readers.keys")).unwrap();
        (config.as_str(), state.as_str()) == ("building = 17\n", "kept")
    };
    assert!(kept());
    let packages = PACKAGES.map(str::to_owned);
    dpkg(&machine, "-r", &packages);
    assert!(kept() && !machine.path("/usr/bin/kalitka-gateway").exists());
    let said = dpkg(&machine, "-P", &packages);
    assert!(said.contains("removing /var/lib/kalitka with readers' keys"), "{said}");
    for gone in ["/etc/kalitka", "/var/lib/kalitka", "/etc/kalitka-hub", "/var/lib/kalitka-hub"] {
        assert!(!machine.path(gone).exists(), "{gone} is left");
    }
    let left = machine.well("find", &["/etc/systemd", "-name", "*kalitka*"]);
    assert_eq!(left, "", "links to units that are gone");
}

fn units_are_sound_and_closed(machine: &FreshRoot) {
    let units = ["kalitka-gateway.service", "kalitka-gateway.socket", "kalitka-hub.service"];
    let paths = units.map(|unit| format!("/usr/lib/systemd/system/{unit}"));
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let said = machine.well("systemd-analyze", &[&["verify", "--man=no"], &*paths].concat());
    assert!(!said.contains("kalitka"), "{said}");
    let promised = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    for (unit, max) in EXPOSURE_MAX {
        let said = machine.well("systemd-analyze", &["security", "--offline=yes", "--no-pager", unit]);
        let level = said.rsplit(&format!("exposure level for {unit}: ")).next().unwrap();
        let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
        assert!(level <= max, "{said}");
        assert!(promised.contains(&format!("`{unit}` {max:.1}")), "SECURITY.md promises something else than {max}");
    }
}

#[test]
fn upgrade_restarts_what_runs_and_an_installation_starts_what_is_configured() {
    let machine = machine();
    machine.pretend_systemd();
    configure(&machine, &[]);
    let debs = brought(&machine, packages());
    let mine = [&["--force-confold".to_owned()], &*debs].concat();
    let said = dpkg(&machine, "-i", &mine);
    let told = machine.systemctl();
    assert!(told.contains(&"daemon-reload".into()), "{told:?}");
    assert!(told.contains(&"start kalitka-gateway.socket kalitka-gateway.service".into()), "{told:?}");
    for unit in ["kalitka-gateway.socket", "kalitka-gateway.service"] {
        assert!(told.iter().any(|line| line.ends_with(&format!(" preset {unit}"))), "{unit} is not enabled: {told:?}");
    }
    // The hub has no certificate authority yet.
    assert!(said.contains("now edit /etc/kalitka-hub/hub.toml"), "{said}");
    assert!(!told.iter().any(|line| line.starts_with("start") && line.contains("hub")), "{told:?}");

    let of_old = machine.path("/etc/systemd/system/kalitka-gateway.service");
    fs::write(&of_old, "[Service]\n").unwrap();
    let said = dpkg(&machine, "-i", &debs);
    assert!(said.contains("kalitka-gateway.service hides the unit of this package"), "{said}");
    fs::remove_file(of_old).unwrap();
    let told = machine.systemctl();
    assert!(told.contains(&"try-restart kalitka-gateway.service".into()), "{told:?}");
    let stops = told.iter().any(|line| line.contains("stop"));
    assert!(!stops, "sockets and service go on until the new one is there: {told:?}");

    dpkg(&machine, "-r", &PACKAGES.map(str::to_owned));
    let told = machine.systemctl();
    assert!(told.contains(&"stop kalitka-gateway.socket kalitka-gateway.service".into()), "{told:?}");
}

#[test]
fn sockets_that_do_not_fit_the_configuration_are_not_enabled_by_an_installation() {
    let machine = machine();
    configure(&machine, &[("workers = 1 ", "workers = 2 ")]);
    let debs = brought(&machine, packages());
    let said = dpkg(&machine, "-i", &[&["--force-confold".to_owned()], &*debs].concat());
    assert!(said.contains("socket unit binds other addresses") && !is_enabled(&machine), "{said}");
}

#[test]
fn socket_unit_binds_what_the_configuration_has_as_it_is_installed() {
    let unit = fs::read_to_string(root().join("deploy/kalitka-gateway.socket")).unwrap();
    let binds = |kind: &str| -> Vec<String> {
        unit.lines().filter_map(|line| Some(line.strip_prefix(kind)?.strip_prefix('=')?.to_owned())).collect()
    };
    let page: toml::Table = example().parse().unwrap();
    let says = |table: &str, key: &str| page[table][key].as_str().unwrap().to_owned();
    assert_eq!(binds("ListenDatagram"), [says("udp", "listen")]);
    assert_eq!(page["udp"]["workers"].as_integer(), Some(1));
    assert_eq!(binds("ListenStream"), [says("http", "listen"), says("control", "socket")]);
}
