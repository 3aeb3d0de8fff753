//! `check`: whether the gateway could start with this configuration, without starting it or changing anything.

use rustix::fs::Access;

use crate::adoption::Shelf;
use crate::config::Config;
use crate::failure::Failure;
use crate::keys::{self, KeyBook};
use crate::osdp;
use crate::serial::port;
use crate::stamps::{self, Keeper};
use crate::state;
use crate::thread;
use crate::trust::Trust;

/// Checks configuration, folders, key file, stamp file and kept snapshot; gives what was found, a line each.
///
/// # Errors
/// The [`Failure`] that a start would end with, or a kept snapshot that would be refused.
pub(crate) fn check(config: &Config) -> Result<String, Failure> {
    state::look_at("state", &config.state, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, crate::PROGRAM)?;
    state::look_at("snapshots.inbox", &config.snapshots.inbox, Access::READ_OK | Access::EXEC_OK, crate::PROGRAM)?;
    if let Some(folder) = config.control.socket.parent() {
        state::look_at("control.socket", folder, Access::WRITE_OK | Access::EXEC_OK, crate::PROGRAM)?;
    }
    let trust = Trust::of(config)?;
    let keys = KeyBook::open(config.state.join(keys::FILE_NAME))?;
    Keeper::open(config.state.join(stamps::FILE_NAME), keys.published())?;
    osdp::open_keys(&config.state)?;
    osdp::open_commands(&config.state, &config.osdp)?;
    let snapshot = match Shelf::open(&config.state)?.load(&trust.publishers, config.building) {
        None => "none is kept; the first comes through the inbox".to_owned(),
        Some(Ok(snapshot)) => {
            let header = snapshot.header();
            format!("generation {}, {} entries", header.generation, header.entries)
        }
        Some(Err(error)) => {
            return Err(Failure::Input(format!("{}: the kept snapshot: {error}", config.state.display())));
        }
    };
    let mut found = format!("configuration: good\nreaders with keys: {}\nsnapshot: {snapshot}\n", keys.readers().len());
    for (key, core) in config.cores().filter(|&(_, core)| !thread::is_usable(core)) {
        found += &format!("{key}: core {core} cannot be used on this machine; its thread would run on any\n");
    }
    for serial in &config.serial {
        if let Err(error) = port::look_at(&serial.port) {
            found += &format!("serial.port: {}: {error}; the others would be served\n", serial.port.display());
        }
    }
    Ok(found)
}
