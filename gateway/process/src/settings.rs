//! A program's configuration: a TOML file of bounded size, read and checked as a whole.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::durable;
use crate::failure::Failure;

/// Bytes of a configuration file at most.
const CONFIG_BYTES_MAX: u64 = 64 * 1024;

/// The configuration of `program` in the file at `path`, which `check` has found right.
///
/// # Errors
/// [`Failure::Environment`] when it cannot be read, [`Failure::Input`] naming the key that is wrong.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    program: &str,
    check: impl FnOnce(&T) -> Result<(), String>,
) -> Result<T, Failure> {
    let bytes = durable::read_if_there(path, CONFIG_BYTES_MAX)
        .map_err(|error| {
            let size = CONFIG_BYTES_MAX / 1024;
            let remedy =
                format!("give --config a regular file that the {program}'s user may read, of {size} KiB at most");
            Failure::at(path, "read the configuration", &error, remedy)
        })?
        .ok_or_else(|| {
            let (path, example) = (path.display(), format!("deploy/{program}.example.toml"));
            Failure::Environment(format!(
                "{path}: there is no such file; correct --config, or begin with a copy of {example}"
            ))
        })?;
    parse(&bytes, check).map_err(|error| Failure::Input(format!("{}: {}", path.display(), error.trim_end())))
}

/// The configuration in `bytes`.
///
/// # Errors
/// Which key is wrong, and what to do.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], check: impl FnOnce(&T) -> Result<(), String>) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        format!("the configuration is not UTF-8 from byte {} on; save it as UTF-8", error.valid_up_to() + 1)
    })?;
    let config: T = toml::from_str(text).map_err(|error| error.to_string())?;
    check(&config)?;
    Ok(config)
}
