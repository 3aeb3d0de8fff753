//! FORMAT.md and the code say the same.

use kalitka_protocol::credential::Credential;

use super::*;
use crate::{Flaw, home_of, key_hash, limits};

const TEXT: &str = include_str!("../../FORMAT.md");

/// The cells of the rows of the table under `heading`.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = TEXT.split(heading).nth(1).unwrap();
    let table = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect()
}

fn number(text: &str) -> u64 {
    let digits = text.replace(',', "");
    digits.strip_prefix("0x").map_or_else(|| digits.parse(), |hex| u64::from_str_radix(hex, 16)).unwrap()
}

#[test]
fn the_worked_hashes_are_right() {
    let rows = rows("### Worked hashes");
    assert!(rows.len() >= 3);
    for row in rows {
        let [seed_0, seed_1, key, hash, homes, home] = row[..] else { panic!("{row:?}") };
        let mut bytes = [0; 16];
        hex::decode_to_slice(key, &mut bytes).unwrap();
        let found = key_hash([number(seed_0), number(seed_1)], &bytes);
        assert_eq!(
            (format!("0x{found:016x}"), home_of(found, number(homes))),
            (hash.to_owned(), number(home)),
            "{key}"
        );
    }
}

#[test]
fn the_worked_keys_are_right() {
    let rows = rows("### Worked keys");
    assert!(rows.len() >= 3);
    for row in rows {
        let [card, key] = row[..] else { panic!("{row:?}") };
        let (label, identifier) = card.split_once(':').unwrap();
        let credential = match label {
            "uid" => Credential::from_uid(&hex::decode(identifier).unwrap()).unwrap(),
            _ => {
                let shape = kalitka_protocol::credential::Shape::from_label(label).unwrap();
                let (facility, low) = identifier.split_once('-').unwrap_or(("0", identifier));
                Credential::from_number(shape, number(facility) << 16 | number(low)).unwrap()
            }
        };
        assert_eq!(hex::encode(credential.as_bytes()), key);
    }
}

#[test]
fn every_limit_is_told() {
    let wanted = [
        ("bytes of a file", limits::SNAPSHOT_BYTES_MAX),
        ("entries", limits::ENTRIES_MAX as u64),
        ("longest run", limits::LONGEST_RUN_MAX.into()),
        ("holders", limits::HOLDERS_MAX as u64),
        ("bytes of a holder's identity", limits::HOLDER_BYTES_MAX as u64),
        ("bytes of a name", limits::NAME_BYTES_MAX as u64),
        ("areas", limits::AREAS_MAX as u64),
        ("portals", limits::PORTALS_MAX as u64),
        ("mode rules of a portal", limits::MODE_RULES_MAX as u64),
        ("readers", limits::READERS_MAX as u64),
        ("schedules", limits::SCHEDULES_MAX as u64),
        ("intervals of a schedule", limits::INTERVALS_MAX as u64),
        ("access levels", limits::ACCESS_LEVELS_MAX as u64),
        ("grants of an access level", limits::GRANTS_MAX as u64),
        ("profiles", limits::PROFILES_MAX as u64),
        ("access levels of a profile", limits::LEVELS_OF_PROFILE_MAX as u64),
        ("profiles times portals, and grants of all profiles", limits::PLAN_SIZE_MAX as u64),
        ("groups", limits::GROUPS_MAX as u64),
        ("offsets", limits::OFFSETS_MAX as u64),
    ];
    let told: Vec<_> = rows("## 7. Limits").iter().map(|row| (row[0], number(row[1]))).collect();
    assert_eq!(told, wanted);
}

#[test]
fn every_flaw_and_refusal_is_told() {
    let told: Vec<&str> = rows("### Flaws").iter().map(|row| row[0]).collect();
    assert_eq!(told, Flaw::ALL.iter().map(|flaw| flaw.label()).collect::<Vec<_>>());
    let order: Vec<&str> = rows("## 5. Verification").iter().map(|row| row[1].trim_matches('`')).collect();
    let key = publisher();
    let refusals = [
        Refused::TooLarge { bytes: 0 },
        Refused::TooShort { bytes: 0 },
        Refused::NotASnapshot,
        Refused::Format { found: 0 },
        Refused::HeaderLength { found: 0 },
        Refused::HeaderReserved,
        Refused::Unsigned,
        Refused::Length { expected: 0, found: 0 },
        Refused::Building { expected: 0, found: 0 },
        Refused::PublisherUnknown { found: key },
        Refused::SignatureWrong,
        Refused::ChecksumWrong,
        Refused::ArchiveMalformed,
        Refused::Inconsistent { flaw: Flaw::Name, place: 0 },
    ];
    assert_eq!(order, refusals.map(|refused| refused.label()));
}

#[test]
fn the_fields_of_the_header_lie_where_they_are_told() {
    let file = small_file();
    let mut next = 0;
    for row in rows("## 2. Header") {
        assert_eq!(number(row[0]), next, "{row:?}");
        next += number(row[1]);
    }
    assert_eq!(next, crate::HEADER_LEN as u64);
    let header = crate::Header::parse(&file).unwrap();
    assert_eq!(file.len() as u64, 256 + header.archive_len + 64);
    assert_eq!(&file[72..104], publisher().as_bytes());
    assert_eq!(file[48..56], header.entries.to_le_bytes());
    assert_eq!(file[56..64], header.homes.to_le_bytes());
    assert_eq!(file[64..68], header.longest_run.to_le_bytes());
    assert_eq!(file[104..136], header.archive_hash);
}

/// The archive's root lies at its end, its slots at a multiple of 64, 64 bytes each.
#[test]
fn the_archive_lies_as_told() {
    let snapshot = verified(&small_file()).unwrap();
    let model = snapshot.model();
    let root = core::ptr::from_ref(model).addr();
    let slots = model.slots.as_ptr().addr();
    assert_eq!(slots % 64, 0);
    let sizes = rows("### Sizes").iter().map(|row| (row[0], number(row[1]))).collect::<Vec<_>>();
    let wanted = [
        ("Model", size_of::<ArchivedModel>()),
        ("Offset", size_of::<ArchivedOffset>()),
        ("Portal", size_of::<ArchivedPortal>()),
        ("ModeRule", size_of::<ArchivedModeRule>()),
        ("Reader", size_of::<ArchivedReader>()),
        ("Schedule", size_of::<ArchivedSchedule>()),
        ("Interval", size_of::<ArchivedInterval>()),
        ("AccessLevel", size_of::<ArchivedAccessLevel>()),
        ("LevelGrant", size_of::<ArchivedLevelGrant>()),
        ("Slot", size_of::<ArchivedSlot>()),
    ];
    assert_eq!(sizes, wanted.map(|(name, size)| (name, size as u64)));
    assert!(root > slots);
}
