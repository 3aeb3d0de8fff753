//! Which files are accepted: whole, unchanged, ours, for this building, and no others.

use proptest::prelude::*;

use super::*;
use crate::header::{HEADER_LEN, Header};
use crate::{BuildError, SignError};

#[test]
fn what_was_built_is_what_is_read() {
    let snapshot = verified(&small_file()).unwrap();
    let header = snapshot.header();
    assert_eq!((header.building, header.organisation, header.generation, header.created), (17, 3, 5, CREATED));
    // Five cards, and the aliases of three UIDs of four and seven bytes and one of ten at readers of 26 bits.
    assert_eq!(header.entries, 5 + 4);
    assert_eq!(header.publisher, publisher());
    assert_eq!(Header::parse(&header.emit()).unwrap(), *header);
    let model = snapshot.model();
    assert_eq!(model.readers.iter().map(|reader| reader.number.to_native()).collect::<Vec<_>>(), [101, 102]);
    assert_eq!(model.profiles.len(), 3);
    assert_eq!(model.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>(), ["", "1A", "teachers"]);
}

#[test]
fn every_truncation_is_refused() {
    let file = small_file();
    for len in 0..file.len() {
        assert!(verified(&file[..len]).is_err(), "{len} of {} bytes were accepted", file.len());
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut file = small_file();
    for bit in 0..file.len() * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(verified(&file).is_err(), "bit {bit} was not missed");
        file[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(verified(&file).is_ok());
}

/// A publisher whose tool is broken can sign anything; reading it must still be safe.
#[test]
fn no_flipped_bit_of_a_signed_archive_panics() {
    let built = crate::build(&small_roster(), 5, CREATED, 0).unwrap().0;
    let mut accepted = 0;
    for bit in HEADER_LEN * 8..built.len() * 8 {
        let mut unsigned = built.clone();
        unsigned[bit / 8] ^= 1 << (bit % 8);
        let mut header = Header::parse(&unsigned).unwrap();
        header.archive_hash = *blake3::hash(&unsigned[HEADER_LEN..]).as_bytes();
        unsigned[..HEADER_LEN].copy_from_slice(&header.emit());
        accepted += u32::from(verified(&sign(unsigned, &secret()).unwrap()).is_ok());
    }
    // Names, times and the like have no redundancy, places and layout have.
    assert!(accepted < u32::try_from(built.len() * 8 / 2).unwrap(), "{accepted}");
}

#[test]
fn each_refusal_has_its_reason() {
    let file = small_file();
    let unsigned = crate::build(&small_roster(), 5, CREATED, 0).unwrap().0;
    let with = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[at] = byte;
        file
    };
    let longer = [&file[..], &[0]].concat();
    let last = file.len() - 1;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "too_short"),
        (file[..255].to_vec(), "too_short"),
        (with(0, b'k'), "not_a_snapshot"),
        (with(8, 2), "format"),
        (with(10, 1), "header_length"),
        (with(68, 1), "header_reserved"),
        (with(255, 1), "header_reserved"),
        (unsigned, "unsigned"),
        (file[..last].to_vec(), "length"),
        (longer, "length"),
        (with(46, 0xff), "length"),
        (with(12, 18), "building"),
        (with(72, file[72] ^ 1), "publisher_unknown"),
        (with(20, 6), "signature_wrong"),
        (with(last, file[last] ^ 1), "signature_wrong"),
        (with(HEADER_LEN, file[HEADER_LEN] ^ 1), "checksum_wrong"),
    ];
    for (file, label) in cases {
        let refused = verified(&file).unwrap_err();
        assert_eq!(refused.label(), label, "{refused}");
        assert!(refused.to_string().contains("; "), "says what to do: {refused}");
    }
}

#[test]
fn a_foreign_publisher_is_refused_and_the_next_one_accepted() {
    let file = small_file();
    let other = PublisherKey::from_bytes([9; 32]);
    let verify = |publishers: &[PublisherKey]| Snapshot::verify(AlignedBytes::from(&file[..]), publishers, 17);
    assert_eq!(verify(&[other]).unwrap_err(), Refused::PublisherUnknown { found: publisher() });
    assert_eq!(verify(&[]).unwrap_err(), Refused::PublisherUnknown { found: publisher() });
    assert!(verify(&[other, publisher()]).is_ok());
}

/// The all-zero key, which an unsigned file names, is a point of small order: under lax rules anybody can sign for it.
#[test]
fn a_publisher_of_small_order_signs_nothing() {
    let zero = PublisherKey::from_bytes([0; 32]);
    let mut file = crate::build(&small_roster(), 5, CREATED, 0).unwrap().0;
    file.extend_from_slice(&[0; 64]);
    let refused = Snapshot::verify(AlignedBytes::from(&file[..]), &[zero], 17).unwrap_err();
    assert_eq!(refused, Refused::SignatureWrong);
}

#[test]
fn a_signed_archive_that_is_none_is_refused() {
    let mut unsigned = crate::build(&small_roster(), 5, CREATED, 0).unwrap().0;
    unsigned[HEADER_LEN..].fill(0xff);
    let mut header = Header::parse(&unsigned).unwrap();
    header.archive_hash = *blake3::hash(&unsigned[HEADER_LEN..]).as_bytes();
    unsigned[..HEADER_LEN].copy_from_slice(&header.emit());
    assert_eq!(verified(&sign(unsigned, &secret()).unwrap()).unwrap_err(), Refused::ArchiveMalformed);
}

#[test]
fn only_a_sound_unsigned_file_is_signed() {
    let built = crate::build(&small_roster(), 5, CREATED, 0).unwrap().0;
    let twice = sign(small_file(), &secret()).unwrap_err();
    assert_eq!(twice, SignError::AlreadySigned { publisher: publisher() });
    let mut damaged = built.clone();
    damaged[HEADER_LEN] ^= 1;
    assert_eq!(sign(damaged, &secret()).unwrap_err(), SignError::Refused(Refused::ChecksumWrong));
    let cut = built[..built.len() - 1].to_vec();
    assert!(matches!(sign(cut, &secret()).unwrap_err(), SignError::Refused(Refused::Length { .. })));
}

#[test]
fn a_key_may_stand_in_a_model_once() {
    let key = *kalitka_protocol::credential::Credential::from_uid(&[1, 2, 3, 4]).unwrap().as_bytes();
    let twice = Model { slots: vec![entry(key), entry(key)], ..model() };
    assert_eq!(build_model(&EDITION, twice).unwrap_err(), BuildError::RepeatedKey { key: hex::encode(key) });
}

#[test]
fn a_building_without_cards_has_a_snapshot() {
    let snapshot = verified(&signed(model())).unwrap();
    assert_eq!((snapshot.header().entries, snapshot.header().homes, snapshot.header().longest_run), (0, 1, 0));
    let card = kalitka_protocol::credential::Credential::from_uid(&[1, 2, 3, 4]).unwrap();
    assert!(snapshot.probe(&card).is_none());
}

#[test]
fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.snapshot");
    for bytes in [&b"old"[..], b"new and longer"] {
        crate::write_atomically(&path, bytes).unwrap();
        assert_eq!(&AlignedBytes::read(&path).unwrap()[..], bytes);
        assert_eq!(AlignedBytes::read(&path).unwrap().as_ptr().align_offset(64), 0);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(crate::write_atomically(&folder.path().join("none/a.snapshot"), b"").is_err());
    fs::create_dir(folder.path().join("taken")).unwrap();
    assert!(crate::write_atomically(&folder.path().join("taken"), b"").is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_file_beyond_the_limit_and_a_folder_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge");
    fs::File::create(&path).unwrap().set_len(crate::limits::SNAPSHOT_BYTES_MAX + 1).unwrap();
    let error = AlignedBytes::read(&path).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    let error = AlignedBytes::read(folder.path()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

proptest! {
    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(verified(&bytes).is_err());
    }

    /// Random bytes as a signed archive behind a right header.
    #[test]
    fn random_archives_are_refused(archive in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let mut header = verified(&small_file()).unwrap().header().clone();
        header.publisher = PublisherKey::from_bytes([0; 32]);
        header.archive_len = archive.len() as u64;
        header.archive_hash = *blake3::hash(&archive).as_bytes();
        let file = sign([&header.emit()[..], &archive].concat(), &secret()).unwrap();
        let refused = verified(&file).unwrap_err().label();
        prop_assert!(["archive_malformed", "inconsistent"].contains(&refused), "{}", refused);
    }
}
