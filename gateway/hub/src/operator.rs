//! Operators' keys and the commands that they sign (SPEC 15.8). The hub carries commands and cannot make them: what is
//! here of a secret key runs on the operator's machine and needs no hub.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use kalitka_protocol::ReaderId;
use kalitka_protocol::message::Order;
use kalitka_protocol::upstream::{CommandBody, Envelope, PortalModeCode};
use kalitka_protocol::wire::Writer;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::durable;
use crate::failure::Failure;
use crate::limits::{COMMAND_FILE_BYTES_MAX, ENVELOPE_BYTES_MAX};

const OTHERS: u32 = 0o077;
/// Digits of the key and a line end or two.
const KEY_FILE_BYTES_MAX: u64 = 66;

/// Makes an operator's key, writes it to `path`, which must not be there yet, and gives the public one in hex.
///
/// # Errors
/// [`Failure::Input`] when the file is there, [`Failure::Environment`] when the machine does not allow it.
pub(crate) fn keygen(path: &Path) -> Result<String, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| Failure::Environment(format!("no random bytes: {error}")))?;
    let key = Ed25519KeyPair::from_seed_unchecked(&*seed);
    let key = key.map_err(|error| Failure::Defect(format!("a key was not made: {error}")))?;
    let digits = Zeroizing::new(hex::encode(*seed));
    write_new(path, &Zeroizing::new(format!("{}\n", digits.as_str()))).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Input(format!(
            "{}: is there already and is not overwritten; give another name, or move it away",
            path.display()
        )),
        _ => Failure::at(path, "write the key", &error, "give a place where you may write"),
    })?;
    Ok(hex::encode(key.public_key()))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key would stand in the way of the next attempt. The first error is the one to tell.
        let _ = fs::remove_file(path);
    }
    written
}

/// Reads the key in `path`.
///
/// # Errors
/// [`Failure::Input`] when it is no key file or others may read it, [`Failure::Environment`] when it cannot be read.
pub(crate) fn read_key(path: &Path) -> Result<Ed25519KeyPair, Failure> {
    let failed = |error: &io::Error| Failure::at(path, "read the key", error, "give the file that keygen made");
    let mode = File::open(path).and_then(|file| file.metadata()).map_err(|error| failed(&error))?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(Failure::Input(format!(
            "{}: others may read this key file (mode {:04o}); `chmod 600` it, and consider the key known",
            path.display(),
            mode & 0o777
        )));
    }
    let text = durable::read_if_there(path, KEY_FILE_BYTES_MAX).map_err(|error| failed(&error))?;
    let text = Zeroizing::new(text.unwrap_or_default());
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii_end(), &mut *seed).map_err(|_| {
        Failure::Input(format!(
            "{}: is no key file: 64 hexadecimal digits belong there; make one with `operator keygen`",
            path.display()
        ))
    })?;
    Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|error| Failure::Defect(format!("a key: {error}")))
}

/// What an operator signs, beside the order.
pub(crate) struct Terms {
    pub(crate) building: u32,
    pub(crate) number: u64,
    /// Microseconds since 1970.
    pub(crate) not_after_us: i64,
}

/// The envelope of `body`, signed.
///
/// # Errors
/// [`Failure::Defect`] when it does not fit its bounds.
pub(crate) fn sign(key: &Ed25519KeyPair, terms: &Terms, body: &CommandBody) -> Result<Vec<u8>, Failure> {
    let body = written(|out| body.emit(out))?;
    let mut operator = [0; 32];
    operator.copy_from_slice(key.public_key().as_ref());
    let Terms { building, number, not_after_us } = *terms;
    let mut envelope = Envelope { building, number, not_after_us, operator, body: &body, signature: [0; 64] };
    let signed = written(|out| envelope.signed(out))?;
    envelope.signature.copy_from_slice(key.sign(&signed).as_ref());
    written(|out| envelope.emit(out))
}

fn written(
    emit: impl FnOnce(&mut Writer<'_>) -> Result<(), kalitka_protocol::wire::NoRoom>,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = [0; ENVELOPE_BYTES_MAX];
    let mut out = Writer::new(&mut bytes);
    emit(&mut out).map_err(|_| Failure::Defect("a command does not fit its envelope".into()))?;
    let len = out.len();
    Ok(bytes[..len].to_vec())
}

/// What a command's body orders, in words.
pub(crate) fn describe(body: &[u8]) -> String {
    let at =
        |reader: Option<ReaderId>| reader.map_or("every reader".to_owned(), |reader| format!("reader {}", reader.0));
    match CommandBody::parse(body) {
        Ok(Some(CommandBody::Block { credential })) => format!("block {}", hex::encode(credential.as_bytes())),
        Ok(Some(CommandBody::Unblock { credential })) => format!("unblock {}", hex::encode(credential.as_bytes())),
        Ok(Some(CommandBody::Mode { reader, mode })) => {
            format!("mode {} at {}", mode.map_or("as_scheduled", PortalModeCode::label), at(reader))
        }
        Ok(Some(CommandBody::Reader { reader, order })) => match order {
            Order::Open { direction, hold_open_ms } => {
                format!("open {} for {hold_open_ms} ms at {}", direction.label(), at(reader))
            }
            Order::SetFallBack(_) => format!("keep a fall-back mode at {}", at(reader)),
            Order::Play(_) => format!("play a tone at {}", at(reader)),
        },
        Ok(None) => "an order that this version does not know".into(),
        Err(error) => format!("malformed: {error}"),
    }
}

/// Whether the signature of `envelope` holds for the operator that it names.
pub(crate) fn is_signed(envelope: &Envelope<'_>) -> bool {
    let Ok(signed) = written(|out| envelope.signed(out)) else { return false };
    UnparsedPublicKey::new(&ED25519, envelope.operator).verify(&signed, &envelope.signature).is_ok()
}

/// The text in which a signed command travels between people: its envelope in hex, and a line end.
pub(crate) fn text(envelope: &[u8]) -> String {
    format!("{}\n", hex::encode(envelope))
}

/// The envelope in the file `path`.
///
/// # Errors
/// [`Failure::Input`] when it is none, [`Failure::Environment`] when it cannot be read.
pub(crate) fn read_envelope(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: &io::Error| Failure::at(path, "read the command", error, "give the file that `sign` wrote");
    let text = durable::read_if_there(path, COMMAND_FILE_BYTES_MAX).map_err(|error| failed(&error))?;
    let text = text.ok_or_else(|| failed(&io::ErrorKind::NotFound.into()))?;
    hex::decode(text.trim_ascii_end())
        .map_err(|_| Failure::Input(format!("{}: is no signed command; make one with `command sign`", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_protocol::credential::Credential;

    fn signed() -> Vec<u8> {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let credential = Credential::from_uid(&[4, 1, 2, 3]).unwrap();
        let terms = Terms { building: 3, number: 9, not_after_us: 1_000 };
        sign(&key, &terms, &CommandBody::Block { credential }).unwrap()
    }

    /// SPEC 15.8.
    #[test]
    fn signature_covers_every_byte_of_the_envelope() {
        let bytes = signed();
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!((envelope.building, envelope.number, envelope.not_after_us), (3, 9, 1_000));
        assert!(is_signed(&envelope));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(!Envelope::parse(&other).is_ok_and(|envelope| is_signed(&envelope)), "byte {at}");
        }
    }

    #[test]
    fn key_file_is_private_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.key");
        let public = keygen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(hex::encode(read_key(&path).unwrap().public_key()), public);
        assert!(matches!(keygen(&path), Err(Failure::Input(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_key(&path), Err(Failure::Input(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "aa\n").unwrap();
        assert!(matches!(read_key(&path), Err(Failure::Input(_))));
    }

    #[test]
    fn command_travels_as_one_line_of_hex() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("command");
        let envelope = signed();
        fs::write(&path, text(&envelope)).unwrap();
        assert_eq!(read_envelope(&path).unwrap(), envelope);
        fs::write(&path, "no command").unwrap();
        assert!(matches!(read_envelope(&path), Err(Failure::Input(_))));
        assert!(matches!(read_envelope(&folder.path().join("none")), Err(Failure::Environment(_))));
    }
}
