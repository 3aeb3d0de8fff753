//! `state/pki`: made whole or not at all, private, never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PKCS_ED25519};
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::Pki;
use super::authority::{Authority, generate_key, validity};
use crate::durable;
use crate::failure::Failure;
use crate::limits::{HUB_RENEW_AFTER, PKI_FILE_BYTES_MAX};
use crate::state;

const FOLDER: &str = "pki";
const CA_KEY: &str = "ca.key";
const CA_CERTIFICATE: &str = "ca.crt";
const HUB_KEY: &str = "hub.key";
const HUB_CERTIFICATE: &str = "hub.crt";
const CHECKPOINT_KEY: &str = "checkpoint.key";
const OTHERS: u32 = 0o077;
const OWNED: &str = "let the folder belong to the hub's user";

/// Makes `pki` in the state folder: CA, the hub's certificate, checkpoint key. Gives the folder.
///
/// # Errors
/// [`Failure::Input`] when it is there already, [`Failure::Environment`] when the machine does not allow it; then nothing
/// has been made.
pub(crate) fn init(state: &Path, now: i64) -> Result<PathBuf, Failure> {
    let folder = state.join(FOLDER);
    if folder.symlink_metadata().is_ok() {
        return Err(there_already(&folder));
    }
    state::make(state, crate::PROGRAM)?;
    let (authority, ca) = Authority::generate(now)?;
    let (hub, checkpoint) = (generate_key()?, generate_key()?);
    let issued = authority.issue_hub(&hub, now)?;
    let files = [
        (CA_KEY, secret(authority.key())),
        (CA_CERTIFICATE, Zeroizing::new(ca)),
        (HUB_KEY, secret(&hub)),
        (HUB_CERTIFICATE, Zeroizing::new(issued.pem)),
        (CHECKPOINT_KEY, secret(&checkpoint)),
    ];
    // A name of its own: two that begin at once do not write into each other's folder.
    let unfinished = state.join(format!(".{FOLDER}.{}", std::process::id()));
    let made = write_all(&unfinished, &files).and_then(|()| settle(&unfinished, &folder, state));
    if made.is_err() {
        // Half an authority is none. The first error is the one to tell.
        let _ = fs::remove_dir_all(&unfinished);
    }
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => there_already(&folder),
        _ => Failure::at(&folder, "make the keys", &error, OWNED),
    })?;
    Ok(folder)
}

/// Renames onto nothing, or onto an empty folder; a full one stays.
fn settle(unfinished: &Path, folder: &Path, state: &Path) -> io::Result<()> {
    fs::rename(unfinished, folder)?;
    File::open(state)?.sync_all()
}

fn there_already(folder: &Path) -> Failure {
    Failure::Input(format!(
        "{}: is there already and is not overwritten: every gateway's certificate hangs on it; move it away if it is to go",
        folder.display()
    ))
}

fn write_all(folder: &Path, files: &[(&str, Zeroizing<String>)]) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    for (name, text) in files {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(folder)?.sync_all()
}

fn secret(key: &KeyPair) -> Zeroizing<String> {
    Zeroizing::new(key.serialize_pem())
}

/// Opens what [`init`] made.
///
/// # Errors
/// As [`Pki::open`].
pub(super) fn open(state: &Path) -> Result<Pki, Failure> {
    let folder = state.join(FOLDER);
    if !folder.is_dir() {
        return Err(Failure::Environment(format!(
            "{}: the hub has no keys yet; make them with `kalitka-hub pki init`",
            folder.display()
        )));
    }
    let key = |name| -> Result<KeyPair, Failure> {
        let der = read_key(&folder.join(name))?;
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).map_err(|error| wrong(&folder.join(name), &error))
    };
    let ca = read_certificate(&folder.join(CA_CERTIFICATE))?;
    let authority = Authority::from_parts(key(CA_KEY)?, ca).map_err(|error| wrong(&folder, &error))?;
    let certificate = read_certificate(&folder.join(HUB_CERTIFICATE))?;
    let hub = key(HUB_KEY)?;
    if !authority.issued(&certificate, hub.public_key_raw()) {
        return Err(wrong(&folder, &"the hub's certificate is not by this CA, or not for this key"));
    }
    let path = folder.join(CHECKPOINT_KEY);
    let checkpoint = Ed25519KeyPair::from_pkcs8_maybe_unchecked(read_key(&path)?.secret_pkcs8_der());
    let checkpoint = checkpoint.map_err(|error| wrong(&path, &error))?;
    Ok(Pki { authority, certificate, key: Zeroizing::new(hub.serialize_der()), checkpoint })
}

/// See [`Pki::open_current`]. The key stays: on it hangs by what gateways know a hub that was started again.
///
/// # Errors
/// As [`Pki::open`]; a new certificate that cannot be kept is no reason not to serve with the old one.
pub(super) fn open_current(state: &Path, now: i64) -> Result<Pki, Failure> {
    let mut pki = open(state)?;
    if !is_old(&pki.certificate, now) {
        return Ok(pki);
    }
    let folder = state.join(FOLDER);
    let hub = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pki.key.to_vec()), &PKCS_ED25519);
    let hub = hub.map_err(|error| wrong(&folder.join(HUB_KEY), &error))?;
    let issued = pki.authority.issue_hub(&hub, now)?;
    match durable::replace(&folder.join(HUB_CERTIFICATE), issued.pem.as_bytes()) {
        Ok(()) => {
            tracing::info!(not_after = issued.not_after, "the hub's certificate was old; it has a new one");
            pki.certificate = issued.certificate.into();
        }
        Err(error) => tracing::warn!(%error, "the hub's certificate is old, and a new one cannot be kept"),
    }
    Ok(pki)
}

fn is_old(certificate: &CertificateDer<'_>, now: i64) -> bool {
    let Some((not_before, not_after)) = validity(certificate) else { return false };
    let (of, all) = HUB_RENEW_AFTER;
    now >= not_before.saturating_add(not_after.saturating_sub(not_before).max(0) / all * of)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error: &io::Error| Failure::at(path, "read", error, durable::READ_REMEDY);
    let bytes = durable::read_if_there(path, PKI_FILE_BYTES_MAX).map_err(|error| failed(&error))?;
    bytes.map(Zeroizing::new).ok_or_else(|| failed(&io::ErrorKind::NotFound.into()))
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, Failure> {
    CertificateDer::from_pem_slice(&read(path)?).map_err(|error| wrong(path, &error))
}

fn read_key(path: &Path) -> Result<PrivatePkcs8KeyDer<'static>, Failure> {
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    let mode = mode.map_err(|error| Failure::at(path, "look at the key", &error, durable::READ_REMEDY))?;
    if mode & OTHERS != 0 {
        return Err(Failure::Environment(format!(
            "{}: others may read this key (mode {mode:04o}); `chmod 600` it, and consider the key known",
            path.display()
        )));
    }
    PrivatePkcs8KeyDer::from_pem_slice(&read(path)?).map_err(|error| wrong(path, &error))
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: not what `pki init` made: {error}; restore it from your copy", path.display()))
}
