//! The demo's working folder: two rosters that differ in one card, and what is made of them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kalitka_protocol::ReaderId;
use kalitka_protocol::reason::Direction;

use super::gateway::{Site, finish};
use crate::deck::Show;
use crate::fleet::wall_seconds;
use crate::oracle::Oracle;
use crate::roster::FILES;

/// Makes a folder of its own, which nobody else can read, and gives its path.
pub(super) fn make() -> io::Result<PathBuf> {
    let name = format!("kalitka-demo-{}-{}", wall_seconds(), std::process::id());
    let folder = std::env::temp_dir().join(name);
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Copies the roster in `from` to `to`, in the time zone `zone`.
pub(super) fn copy_roster(from: &Path, to: &Path, zone: &str) -> io::Result<()> {
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

/// A card that passes now: its place among the cards, the reader's place in `readers`, and how it is shown there.
pub(super) fn passing_card(oracle: &Oracle, readers: &[ReaderId]) -> Option<(usize, usize, Show)> {
    let (now, direction) = (wall_seconds(), Direction::Entry);
    oracle.cards().enumerate().find_map(|(card, identity)| {
        readers.iter().enumerate().find_map(|(place, &reader)| {
            let read = oracle.looks(reader).first()?.show(identity)?;
            let is_passing = oracle.judge(reader, &read, direction, 0, now).is_grant();
            is_passing.then_some((card, place, Show { card: read, direction }))
        })
    })
}

/// Copies the roster in `from` to `to` with the card in place `card` blocked.
pub(super) fn block_card(from: &Path, to: &Path, card: usize) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in &FILES[..2] {
        fs::copy(from.join(file), to.join(file))?;
    }
    let mut reader = csv::Reader::from_path(from.join(FILES[2]))?;
    let mut writer = csv::Writer::from_path(to.join(FILES[2]))?;
    let headers = reader.headers()?.clone();
    writer.write_record(&headers)?;
    for (place, row) in reader.records().enumerate() {
        let row = row?;
        let field = |(name, value)| match name {
            "state" if place == card => "blocked",
            "blocked_until" if place == card => "",
            _ => value,
        };
        writer.write_record(headers.iter().zip(&row).map(field))?;
    }
    writer.flush()
}

/// Makes the publisher's key pair; gives the public key in hex.
pub(super) fn make_key(tool: &Path, secret: &Path) -> io::Result<String> {
    let output = finish(Command::new(tool).args(["keygen", "--secret"]).arg(secret))?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_key = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = words.split_whitespace().find(is_key).map(str::to_owned);
    key.ok_or_else(|| io::Error::other(format!("keygen printed no public key, but {words:?}")))
}

/// Builds and signs the snapshot `generation` of the roster in `roster`.
pub(super) fn build(tool: &Path, roster: &Path, out: &Path, generation: u32, secret: &Path) -> io::Result<()> {
    let mut command = Command::new(tool);
    command.arg("build").arg("--roster").arg(roster).arg("--out").arg(out);
    command.arg("--generation").arg(generation.to_string()).arg("--key").arg(secret);
    finish(&mut command).map(drop)
}

/// Writes the gateway's configuration.
pub(super) fn configure(site: &Site, folder: &Path, building: u32, publisher: &str) -> io::Result<()> {
    let (state, inbox, socket) = (folder.join("state"), inbox(folder), folder.join("control"));
    DirBuilder::new().mode(0o700).create(&state)?;
    fs::create_dir_all(&inbox)?;
    let config = format!(
        "building = {building}\nstate = {state:?}\n\n[udp]\nlisten = \"{}\"\n\n\
         [snapshots]\ninbox = {inbox:?}\npublishers = [\"{publisher}\"]\npoll_ms = 100\n\n\
         [http]\nlisten = \"{}\"\n\n[control]\nsocket = {socket:?}\n",
        site.udp, site.http
    );
    fs::write(&site.config, config)
}

/// Puts a finished snapshot into the folder that the gateway watches, all at once.
pub(super) fn publish(snapshot: &Path, folder: &Path) -> io::Result<()> {
    let name = snapshot.file_name().unwrap_or_default();
    fs::rename(snapshot, inbox(folder).join(name))
}

fn inbox(folder: &Path) -> PathBuf {
    folder.join("inbox")
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
