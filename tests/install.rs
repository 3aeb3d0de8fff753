//! A building by the runbook's words and no others: packages, hub, enrolment, start, a reader, a card. systemd is played by the test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Instant;

use kalitka_tests::fresh_root::FreshRoot;
use kalitka_tests::packages::{BROUGHT, brought, build};
use kalitka_tests::process::{Process, well};
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::tree::root;
use kalitka_tests::wait::until;
use kalitka_tests::wire::Wire;

const HOLDERS: u32 = 100;

/// A machine that somebody installs by the runbook.
struct Machine {
    root: FreshRoot,
    services: Vec<Process>,
    token: String,
    /// What the last command has said.
    said: String,
}

impl Machine {
    /// A fresh Debian with the packages in a folder, and a name for the hub.
    fn new() -> Self {
        let built = tempfile::tempdir().unwrap();
        // May install what it needs: before another root lies over this one.
        build(built.path(), None);
        let root = FreshRoot::new();
        assert!(!brought(&root, built.path()).is_empty());
        well("mount", &["-t", "proc", "proc", text(&root.path("/proc"))]);
        let hosts = fs::read_to_string("/etc/hosts").unwrap();
        fs::write(root.path("/etc/hosts"), format!("{hosts}\n127.0.0.1 hub.example.org\n")).unwrap();
        Self { root, services: Vec::new(), token: String::new(), said: String::new() }
    }

    /// Does what the blocks of commands in section `title` of the runbook say, one command after the other.
    fn follow(&mut self, title: &str) {
        let runbook = fs::read_to_string(root().join("deploy/RUNBOOK.md")).unwrap();
        let section = runbook.split("\n## ").find_map(|section| section.strip_prefix(title)).unwrap();
        let blocks = section.split("```sh").skip(1).map(|block| block.split("```").next().unwrap());
        let joined = blocks.collect::<String>().replace("\\\n", " ");
        let commands: Vec<&str> = joined.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert!(commands.len() > 3, "{title}: {commands:?}");
        commands.into_iter().for_each(|command| self.obey(command));
    }

    fn obey(&mut self, command: &str) {
        println!("{command}");
        match command.split_once(' ').unwrap().0 {
            // They are there already.
            "make" => {}
            "systemctl" => {
                let units = command.split(' ').filter_map(|word| word.strip_prefix("kalitka-"));
                let names: Vec<&str> = units.filter(|unit| !unit.ends_with(".socket")).collect();
                names.iter().for_each(|unit| self.start(&format!("kalitka-{}", unit.trim_end_matches(".service"))));
            }
            _ => self.shell(command),
        }
        if command.contains("pki token") {
            self.token = self.said.lines().next().unwrap().to_owned();
        }
    }

    fn shell(&mut self, command: &str) {
        let mut shell = self.root.command(&[]);
        shell.args(["sh", "-c", &format!("cd {BROUGHT}\n{command}")]);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // What is pasted when a command waits for it; one that waits for nothing may have ended before.
        let _ = child.stdin.take().unwrap().write_all(format!("{}\n", self.token).as_bytes());
        let output = child.wait_with_output().unwrap();
        let [out, error] = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        // The doctor looks at this machine, too: nobody may keep its clock, and the folder's disk is memory.
        assert!(output.status.success() || command.contains(" doctor "), "{command}: {out}{error}");
        self.said = out;
    }

    /// Starts a service as its unit says, and waits until it says that it is ready.
    fn start(&mut self, name: &str) {
        let unit = fs::read_to_string(self.root.path(&format!("/usr/lib/systemd/system/{name}.service"))).unwrap();
        let says = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
        let user = says("User");
        let folder = format!("/run/{}", says("RuntimeDirectory"));
        self.root.well("install", &["-d", "-m", says("RuntimeDirectoryMode"), "-o", user, "-g", user, &folder]);
        let told = self.root.path("/run/notify");
        let _ = fs::remove_file(&told);
        let listening = UnixDatagram::bind(&told).unwrap();
        listening.set_read_timeout(Some(BOUND)).unwrap();
        fs::set_permissions(&told, fs::Permissions::from_mode(0o666)).unwrap();
        let log = self.root.path(&format!("/{name}.log"));
        let mut service = self.root.command(&[&format!("--userspec={user}:{user}")]);
        service.args(says("ExecStart").split(' ')).env("NOTIFY_SOCKET", "/run/notify");
        let file = fs::File::create(&log).unwrap();
        service.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        self.services.push(Process::of(&mut service, &log));
        let mut said = [0; 512];
        let heard = listening.recv(&mut said).unwrap_or_else(|error| panic!("{name} is never ready: {error}"));
        assert!(said[..heard].starts_with(b"READY=1"), "{}", String::from_utf8_lossy(&said[..heard]));
    }
}

#[test]
fn building_decides_after_the_runbooks_words_alone() {
    // A network of its own: the addresses are those of the example configurations.
    let _apart = Wire::lay("10.99.0.2");
    let site = Site::new(HOLDERS);
    let mut machine = Machine::new();
    let begun = Instant::now();
    // What the words leave to whoever has the keys.
    machine.shell("apt-get install -y ./kalitka-doc_*.deb ./kalitka-hub_*.deb");
    machine.shell(&format!(
        "sed -i 's|^publishers = .*|publishers = [\"{}\"]|' /etc/kalitka-hub/hub.toml",
        site.publisher()
    ));
    machine.follow("Install a hub");
    let snapshot = site.build(1);
    fs::copy(snapshot, machine.root.path("/var/lib/kalitka-hub/building.snapshot")).unwrap();
    machine.shell("chown kalitka-hub /var/lib/kalitka-hub/building.snapshot");
    machine.shell(
        "kalitka-hub snapshot publish /var/lib/kalitka-hub/building.snapshot --config /etc/kalitka-hub/hub.toml",
    );

    machine.follow("First installation of a building");
    println!("from the first package to the doctor's word: {:.1} s", begun.elapsed().as_secs_f64());
    assert!(machine.said.contains("good    hub"), "{}", machine.said);

    machine.shell("kalitka-gateway reader rekey 101 --json --config /etc/kalitka/gateway.toml");
    fs::write(site.path("keys.json"), format!("[{}]", machine.said)).unwrap();
    fs::set_permissions(site.path("keys.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let generation = "kalitka-gateway snapshot status --config /etc/kalitka/gateway.toml";
    until("the snapshot from the hub", BOUND, || {
        machine.shell(generation);
        machine.said.contains("generation 1, ").then_some(())
    });
    let played = ["--profile", "steady", "--rate", "20", "--duration", "2"];
    let (summary, _) = site.play_at("127.0.0.1:4700".parse().unwrap(), &played);
    assert!(summary["asks"].as_u64().unwrap() > 0 && summary["asks"] == summary["answered"], "{summary:#}");
}
