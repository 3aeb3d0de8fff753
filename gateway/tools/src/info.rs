//! What is in a snapshot.

use core::fmt;
use std::path::Path;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use kalitka_snapshot::model::CredentialState;
use kalitka_snapshot::{AlignedBytes, HEADER_LEN, Header, PublisherKey, Refused, Snapshot, sign};
use serde::Serialize;

use crate::failure::Failure;

/// What `info` prints; the keys of its JSON are these names.
#[derive(Debug, Serialize)]
pub(crate) struct Info {
    building: u32,
    name: String,
    organisation: u32,
    generation: u32,
    created: String,
    created_seconds: i64,
    last_command: u64,
    /// Hexadecimal; `None` for an unsigned file.
    publisher: Option<String>,
    bytes: u64,
    entries: u64,
    ambiguous: usize,
    longest_run: u32,
    holders: usize,
    groups: usize,
    profiles: usize,
    access_levels: usize,
    schedules: usize,
    areas: usize,
    portals: usize,
    readers: usize,
    time_zone: String,
    archive_blake3: String,
    warnings: Vec<String>,
}

/// The header of `bytes`.
pub(crate) fn header(path: &Path, bytes: &[u8]) -> Result<Header, Failure> {
    Header::parse(bytes).map_err(|refused| Failure::input(path, refused))
}

/// What the file says, all of it checked but who signed it.
pub(crate) fn of(path: &Path, bytes: AlignedBytes) -> Result<Info, Failure> {
    let header = header(path, &bytes)?;
    let signed = header.publisher.as_bytes() != &[0; 32];
    let checked = if signed {
        Snapshot::verify(bytes, &[header.publisher], header.building)
    } else {
        check_unsigned(&bytes, header.building)
    };
    Ok(describe(&checked.map_err(|refused| Failure::input(path, refused))?, signed))
}

/// Checks an unsigned file as if it were signed: with a signature that never leaves this function.
fn check_unsigned(bytes: &[u8], building: u32) -> Result<Snapshot, Refused> {
    let anybody = SigningKey::from_bytes(&[1; 32]);
    let publisher = PublisherKey::from_bytes(anybody.verifying_key().to_bytes());
    match sign(bytes.to_vec(), &anybody) {
        Ok(file) => Snapshot::verify(AlignedBytes::from(&file[..]), &[publisher], building),
        Err(kalitka_snapshot::SignError::Refused(refused)) => Err(refused),
        Err(kalitka_snapshot::SignError::AlreadySigned { publisher }) => {
            Err(Refused::PublisherUnknown { found: publisher })
        }
    }
}

fn describe(snapshot: &Snapshot, signed: bool) -> Info {
    let (header, model) = (snapshot.header(), snapshot.model());
    let is_ambiguous = |state: u8| CredentialState::from_code(state) == Some(CredentialState::Ambiguous);
    let ambiguous = model.slots.iter().filter(|slot| is_ambiguous(slot.credential_state)).count();
    let signature = if signed { kalitka_snapshot::SIGNATURE_LEN } else { 0 };
    Info {
        building: header.building,
        name: model.name.as_str().to_owned(),
        organisation: header.organisation,
        generation: header.generation,
        created: Timestamp::from_second(header.created).map_or_else(|_| "out of range".to_owned(), |at| at.to_string()),
        created_seconds: header.created,
        last_command: header.last_command,
        publisher: signed.then(|| header.publisher.to_string()),
        bytes: header.archive_len + (HEADER_LEN + signature) as u64,
        entries: header.entries,
        ambiguous,
        longest_run: header.longest_run,
        holders: model.holders.len(),
        groups: model.groups.len(),
        profiles: model.profiles.len(),
        access_levels: model.access_levels.len(),
        schedules: model.schedules.len(),
        areas: model.areas.len(),
        portals: model.portals.len(),
        readers: model.readers.len(),
        time_zone: model.time_zone.as_str().to_owned(),
        archive_blake3: hex::encode(header.archive_hash),
        warnings: warnings(signed, ambiguous, model.readers.len()),
    }
}

fn warnings(signed: bool, ambiguous: usize, readers: usize) -> Vec<String> {
    let unsigned = (!signed).then(|| "not signed: no gateway adopts it".to_owned());
    let ambiguous = (ambiguous > 0).then(|| {
        format!("{ambiguous} cut identifiers belong to several cards and are refused; `build` names the cards")
    });
    let nobody_asks = (readers == 0).then(|| "the building has no reader".to_owned());
    unsigned.into_iter().chain(ambiguous).chain(nobody_asks).collect()
}

impl Info {
    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(|error| Failure::Input(error.to_string()))
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let publisher = self.publisher.as_deref().unwrap_or("none, not signed");
        writeln!(f, "building       {} ({}), organisation {}", self.building, self.name, self.organisation)?;
        writeln!(f, "generation     {}", self.generation)?;
        writeln!(f, "created        {}", self.created)?;
        writeln!(f, "publisher      {publisher}")?;
        writeln!(f, "last command   {}", self.last_command)?;
        writeln!(f, "size           {} bytes", self.bytes)?;
        writeln!(
            f,
            "entries        {} ({} ambiguous), longest run {}",
            self.entries, self.ambiguous, self.longest_run
        )?;
        writeln!(f, "holders        {} in {} groups, {} profiles", self.holders, self.groups, self.profiles)?;
        writeln!(f, "portals        {} between {} areas, {} readers", self.portals, self.areas, self.readers)?;
        writeln!(f, "access levels  {}, schedules {}", self.access_levels, self.schedules)?;
        writeln!(f, "time zone      {}", self.time_zone)?;
        write!(f, "archive        BLAKE3 {}", self.archive_blake3)?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning        {warning}"))
    }
}
