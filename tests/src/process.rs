//! The real programs as processes: built once, ended by their id, none left behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::tree::root;
use crate::wait::until;

const PROGRAMS: [&str; 4] = ["kalitka-snapshot", "kalitka-gateway", "kalitka-hub", "kalitka-loadgen"];
const END_BOUND: Duration = Duration::from_secs(20);
/// Of what a program has printed, so many lines are shown when its test fails.
const LINES_SHOWN: usize = 60;

/// The path of one of our programs: in the folder `KALITKA_PROGRAMS`, to test programs as they were shipped, or else built
/// in the profile and target folder of the running test.
///
/// # Panics
/// When cargo cannot build it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

/// What cargo tells a running program of that program's package, by how it begins. A build script that looks at such a name runs
/// anew when it is another's: `ring`'s looks at the manifest's folder, and all that uses `ring` would be built anew each time.
const TOLD: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// Cargo, as it runs this, without what it tells a running program of that program's package: it would change how others are
/// built.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| TOLD.iter().any(|told| name.to_string_lossy().starts_with(told))) {
        cargo.env_remove(name);
    }
    cargo
}

fn build() -> PathBuf {
    if let Some(folder) = std::env::var_os("KALITKA_PROGRAMS") {
        return folder.into();
    }
    let exe = std::env::current_exe().unwrap();
    let profile_folder = exe.ancestors().find(|folder| !folder.ends_with("deps") && folder.join("deps").is_dir());
    let profile_folder = profile_folder.expect("a test runs from a target folder").to_path_buf();
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--quiet", "--target-dir"]).arg(profile_folder.parent().unwrap());
    for name in PROGRAMS {
        cargo.args(["--bin", name]);
    }
    if profile_folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(root()).status().unwrap();
    assert!(status.success(), "the programs do not build");
    profile_folder
}

/// Runs one of our programs to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    Command::new(program(name)).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs one of our programs, which must succeed; gives what it printed.
///
/// # Panics
/// When it does not succeed.
pub fn run_well(name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let output = run(name, args);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{out}\n{error}", output.status);
    out.into_owned()
}

/// Runs a program of the system, which must succeed.
///
/// # Panics
/// When it does not, or is not there.
pub fn well(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; deploy/setup-debian installs it"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A running program. Dropped, it is killed and waited for.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts one of our programs; both its outputs go to the file `output`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>, output: &Path) -> Self {
        Self::start_in(&[], name, args, output)
    }

    /// The same, with more in its environment.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_in(
        environment: &[(String, String)],
        name: &str,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        output: &Path,
    ) -> Self {
        let file = File::create(output).unwrap();
        let mut command = Command::new(program(name));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self::of(&mut command, output)
    }

    /// What `command` starts, which sends its outputs to the file `output` by itself.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn of(command: &mut Command, output: &Path) -> Self {
        Self { child: command.spawn().unwrap(), output: output.to_path_buf() }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Power cut: SIGKILL, and the end of the process awaited.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        until("the end of a process after SIGTERM", END_BOUND, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{} ends so:\n{}", self.output.display(), last_lines(&self.printed()));
        }
    }
}

fn last_lines(text: &str) -> &str {
    let begins = text.rmatch_indices('\n').nth(LINES_SHOWN).map_or(0, |(at, _)| at + 1);
    &text[begins..]
}
