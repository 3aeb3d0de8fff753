//! The folder of a site: a roster of its own, the publisher's key, snapshots.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{finish, finish_keygen};
use crate::fleet::wall_seconds;
use crate::roster::FILES;

/// Makes a folder of its own, which nobody else can read, and gives its path.
pub(crate) fn make(what: &str) -> io::Result<PathBuf> {
    let name = format!("kalitka-{what}-{}-{}", wall_seconds(), std::process::id());
    let folder = std::env::temp_dir().join(name);
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Copies the roster in `from` to `to`, in the time zone `zone`.
pub(crate) fn copy_roster(from: &Path, to: &Path, zone: &str) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in FILES {
        fs::copy(from.join(file), to.join(file))?;
    }
    let building = fs::read_to_string(to.join(FILES[0]))?;
    let with_zone = |line: &str| {
        if line.starts_with("time_zone =") { format!("time_zone = \"{zone}\"\n") } else { format!("{line}\n") }
    };
    fs::write(to.join(FILES[0]), building.lines().map(with_zone).collect::<String>())
}

/// Makes the publisher's key pair; gives the public key in hex.
pub(crate) fn make_key(tool: &Path, secret: &Path) -> io::Result<String> {
    finish_keygen(Command::new(tool).args(["keygen", "--secret"]).arg(secret))
}

/// Builds and signs the snapshot `generation` of the roster in `roster`.
pub(crate) fn build(tool: &Path, roster: &Path, out: &Path, generation: u32, secret: &Path) -> io::Result<()> {
    let mut command = Command::new(tool);
    command.arg("build").arg("--roster").arg(roster).arg("--out").arg(out);
    command.arg("--generation").arg(generation.to_string()).arg("--key").arg(secret);
    finish(&mut command).map(drop)
}
