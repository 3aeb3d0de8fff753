//! A key that waits for its certificate, and the moment at which both become the identity.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::identity::{CA_FILE, CERTIFICATE_FILE, CERTIFICATE_LABEL, KEY_FILE, KEY_LABEL, PINS_FILE, read_text};
use crate::key::GatewayKey;
use crate::pem;

/// The key as it waits. An identity has none of this name, so that one which was replaced is never taken for a waiting key.
const WAITING_KEY_FILE: &str = "request.key";

/// The folder in which a key waits for its certificate, beside the identity's.
pub(crate) struct Waiting {
    folder: PathBuf,
    pub(crate) key: GatewayKey,
    /// The key's PEM.
    text: Zeroizing<String>,
}

impl Waiting {
    /// The folder for what is being done, with the key that waits there or a new one.
    ///
    /// # Errors
    /// When a new key cannot be made or kept.
    pub(crate) fn open(identity: &Path, doing: &str) -> io::Result<Self> {
        let name = identity.file_name().unwrap_or_default().to_string_lossy();
        let folder = identity.with_file_name(format!(".{name}.{doing}"));
        if let Ok(text) = read_text(&folder.join(WAITING_KEY_FILE))
            && let Some(pkcs8) = pem::decode(KEY_LABEL, &text)
            && let Ok(key) = GatewayKey::from_pkcs8(&pkcs8)
        {
            return Ok(Self { folder, key, text });
        }
        Self::make(&folder)
    }

    fn make(folder: &Path) -> io::Result<Self> {
        remove(folder)?;
        fs::DirBuilder::new().mode(0o700).create(folder)?;
        let (key, pkcs8) = GatewayKey::generate(&SystemRandom::new()).map_err(io::Error::other)?;
        let text = pem::encode(KEY_LABEL, &pkcs8);
        write(&folder.join(WAITING_KEY_FILE), text.as_bytes())?;
        sync(folder)?;
        Ok(Self { folder: folder.to_path_buf(), key, text })
    }

    /// Removes the key: the hub will not certify it.
    pub(crate) fn discard(self) {
        // What stays is used by the next attempt.
        let _ = remove(&self.folder);
    }

    /// Makes key and `certificate` the identity in the folder `identity`, in one step: whoever reads finds the one before or
    /// the new one, whole, whatever happens to the machine.
    ///
    /// # Errors
    /// When that cannot be written; the one before is then still there.
    pub(crate) fn keep(&self, identity: &Path, pins: &str, certificate: &[u8], ca: &[u8]) -> io::Result<()> {
        write(&self.folder.join(KEY_FILE), self.text.as_bytes())?;
        write(&self.folder.join(PINS_FILE), pins.as_bytes())?;
        for (file, der) in [(CERTIFICATE_FILE, certificate), (CA_FILE, ca)] {
            write(&self.folder.join(file), pem::encode(CERTIFICATE_LABEL, der).as_bytes())?;
        }
        sync(&self.folder)?;
        let parent = identity.parent().unwrap_or(Path::new("."));
        if identity.exists() {
            renameat_with(CWD, &self.folder, CWD, identity, RenameFlags::EXCHANGE)?;
        } else {
            fs::rename(&self.folder, identity)?;
        }
        sync(parent)?;
        fs::remove_file(identity.join(WAITING_KEY_FILE))?;
        // The identity that was replaced.
        remove(&self.folder)
    }
}

/// The request for a certificate: always the same for one key, so that it can be repeated.
///
/// # Errors
/// What the request could not be made of.
pub(crate) fn request(key: &GatewayKey) -> Result<Vec<u8>, String> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(key).map_err(|error| format!("no request for a certificate: {error}"))?;
    Ok(request.der().to_vec())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_of_a_key_is_always_the_same() {
        let (key, _) = GatewayKey::generate(&SystemRandom::new()).unwrap();
        assert_eq!(request(&key).unwrap(), request(&key).unwrap());
        let (other, _) = GatewayKey::generate(&SystemRandom::new()).unwrap();
        assert_ne!(request(&key).unwrap(), request(&other).unwrap());
    }

    #[test]
    fn key_waits_for_its_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("uplink");
        let open = || Waiting::open(&identity, "enrolling").unwrap();
        let (first, again) = (open(), open());
        assert_eq!(first.key.public(), again.key.public());
        let renewing = Waiting::open(&identity, "renewing").unwrap();
        assert_ne!(first.key.public(), renewing.key.public(), "one key for each purpose");
        again.discard();
        assert_ne!(first.key.public(), open().key.public());
        assert!(!identity.exists());
    }
}
