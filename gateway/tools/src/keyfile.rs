//! The publisher's secret key: 64 hexadecimal digits in a file that nobody else may read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ed25519_dalek::SigningKey;
use kalitka_snapshot::PublisherKey;
use zeroize::Zeroizing;

use crate::failure::Failure;

const OTHERS: u32 = 0o077;
/// Digits of the key and a line end or two.
const BYTES_MAX: usize = 66;

/// Makes a key and writes it to `path`, which must not be there yet.
pub(crate) fn generate(path: &Path) -> Result<PublisherKey, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|error| Failure::System(format!("no random bytes from the system: {error}")))?;
    let text = Zeroizing::new(format!("{}\n", hex::encode(*seed)));
    write_new(path, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::input(path, "is there already and is not overwritten; give another name, or move it away")
        }
        _ => Failure::system(path, error),
    })?;
    Ok(PublisherKey::from_bytes(SigningKey::from_bytes(&seed).verifying_key().to_bytes()))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key would stand in the way of the next attempt. The first error is the one to tell.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Reads the key in `path`.
pub(crate) fn read(path: &Path) -> Result<SigningKey, Failure> {
    let of_system = |error| Failure::system(path, error);
    let file = File::open(path).map_err(of_system)?;
    let mode = file.metadata().map_err(of_system)?.permissions().mode();
    if mode & OTHERS != 0 {
        let mode = mode & 0o777;
        let what =
            format!("others may read this key file (mode {mode:04o}); `chmod 600` it, and consider the key known");
        return Err(Failure::input(path, what));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(of_system)?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii_end(), &mut *seed).map_err(|_| {
        Failure::input(path, "is no key file: 64 hexadecimal digits belong there; make one with `keygen`")
    })?;
    Ok(SigningKey::from_bytes(&seed))
}
