//! The container file: what it names is there, and the image that its steps make runs by itself, as its file says.
//!
//! No engine is needed: the steps are done in a root of the test's own, and the image is entered by `chroot`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use kalitka_tests::fresh_root::FreshRoot;
use kalitka_tests::process::{Process, program, well};
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::tree::root;
use kalitka_tests::wait::until;

const HOLDERS: u32 = 100;
/// Where the steps put what the image holds.
const IMAGE: &str = "/image";
const STATE: &str = "/var/lib/kalitka";

/// The steps of the file in their order, each on a line.
fn steps() -> Vec<String> {
    let page = fs::read_to_string(root().join("deploy/Containerfile")).unwrap().replace("\\\n", " ");
    page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// What stands behind `word` in the last step of that kind.
fn last(word: &str) -> String {
    steps().iter().rev().find_map(|step| Some(step.strip_prefix(word)?.trim_start().to_owned())).unwrap()
}

/// The words of a command that no shell sees.
fn words(list: &str) -> Vec<String> {
    serde_json::from_str(list).unwrap()
}

#[test]
fn container_is_built_from_what_there_is_and_runs_as_the_unit_does() {
    let steps = steps();
    for step in steps.iter().filter_map(|step| step.strip_prefix("COPY ")) {
        let words: Vec<&str> = step.split_whitespace().collect();
        let (sources, _) = words.split_at(words.len() - 1);
        if let Some(from) = words[0].strip_prefix("--from=") {
            let stage = format!(" AS {from}");
            assert!(steps.iter().any(|line| line.starts_with("FROM ") && line.ends_with(&stage)), "{step}");
            continue;
        }
        for source in sources {
            assert!(root().join(source).exists(), "COPY {source}");
        }
    }
    assert_eq!((last("COPY"), last("VOLUME")), (format!("--from=build {IMAGE} /"), STATE.to_owned()));
    let unit = fs::read_to_string(root().join("deploy/kalitka-gateway.service")).unwrap();
    let by_unit = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert_eq!([words(&last("ENTRYPOINT")), words(&last("CMD"))].concat().join(" "), by_unit);
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")).unwrap().trim_end_matches('"');
    assert!(steps[0].contains(&format!("rust:{channel}")), "the toolchain is {channel}: {}", steps[0]);
}

/// The image, with what an engine gives it that is told `--read-only`: `/proc`, a volume for the state, a folder in memory.
struct Container {
    machine: FreshRoot,
    /// User and group, as numbers.
    user: String,
}

impl Container {
    /// Built by the file's steps, from the program under test.
    fn built() -> Self {
        let container = Self { machine: FreshRoot::new(), user: last("USER") };
        container.machine.copy_in(&program("kalitka-gateway"), "/source/target/release/kalitka-gateway");
        for step in steps().iter().filter_map(|step| step.strip_prefix("RUN ")) {
            // The program is there already.
            if !step.starts_with("cargo ") {
                container.machine.well("sh", &["-ec", &format!("cd /source; {step}")]);
            }
        }
        container
    }

    /// Gives the image `config`, and all else that an engine gives it.
    fn mount(&self, config: &str) {
        fs::write(self.machine.path(&format!("{IMAGE}/etc/kalitka/gateway.toml")), config).unwrap();
        let image = self.machine.path(IMAGE);
        let (proc, run, volume) = (image.join("proc"), image.join("run/kalitka"), image.join(&STATE[1..]));
        fs::create_dir(&proc).unwrap();
        // Only what is mounted by itself can be made read-only.
        well("mount", &["--bind", text(&image), text(&image)]);
        well("mount", &["-t", "proc", "proc", text(&proc)]);
        for folder in [volume, run] {
            // An engine takes a new volume's owner and mode from the image; the other folder's are given on its command line.
            let as_made = folder.metadata().unwrap();
            let (owner, group, mode) = (as_made.uid(), as_made.gid(), as_made.mode() & 0o7777);
            let options = format!("uid={owner},gid={group},mode={mode:o}");
            well("mount", &["-t", "tmpfs", "tmpfs", "-o", &options, text(&folder)]);
        }
        well("mount", &["-o", "remount,ro,bind", text(&image)]);
    }

    /// `words` run in the image by its user.
    fn command(&self, words: &[String]) -> Command {
        let mut command = self.machine.command(&[]);
        command.args(["chroot", &format!("--userspec={}", self.user), IMAGE]).args(words).stdin(Stdio::null());
        command
    }
}

/// The names of all files below `folder`, without where they are.
fn names(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(names(&path));
        } else {
            found.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn image_holds_the_program_and_its_libraries_adopts_as_nobody_on_a_read_only_root_and_ends_when_told() {
    let container = Container::built();
    let held = names(&container.machine.path(IMAGE));
    let foreign: Vec<&String> =
        held.iter().filter(|name| *name != "kalitka-gateway" && !name.contains(".so")).collect();
    assert!(held.contains("kalitka-gateway") && foreign.is_empty(), "{foreign:?}");
    assert!(!container.user.split(':').any(|id| id.parse::<u32>().unwrap() == 0), "{}", container.user);

    let site = Site::new(HOLDERS);
    let config = fs::read_to_string(site.configured("")).unwrap();
    let config = config.replace(text(&site.path("state")), STATE);
    container.mount(&config.replace(text(&site.path("control")), "/run/kalitka/control"));

    let log = site.path("container.log");
    let mut gateway = container.command(&[words(&last("ENTRYPOINT")), words(&last("CMD"))].concat());
    let said = fs::File::create(&log).unwrap();
    gateway.stdout(said.try_clone().unwrap()).stderr(said);
    let mut gateway = Process::of(&mut gateway, &log);
    let asked = words(last("HEALTHCHECK").split_once("CMD ").unwrap().1);
    let healthy = || {
        let output = container.command(&asked).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    until("the gateway to say that it is healthy", BOUND, healthy);

    let inbox = container.machine.path(&format!("{IMAGE}{STATE}/inbox"));
    let snapshot = fs::read(site.build(1)).unwrap();
    let arriving = inbox.join(".arriving");
    fs::write(&arriving, snapshot).unwrap();
    let owner = inbox.metadata().unwrap();
    chown(&arriving, Some(owner.uid()), Some(owner.gid())).unwrap();
    fs::rename(&arriving, inbox.join("building.snapshot")).unwrap();
    until("the snapshot", BOUND, || healthy().filter(|said| said.contains("generation 1,")));
    assert!(last("STOPSIGNAL") == "SIGTERM" && gateway.terminate().success(), "{}", gateway.printed());
    assert!(healthy().is_none(), "who has ended is not healthy");
}
