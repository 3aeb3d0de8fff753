use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;
use crate::store::Store;

const NOW: i64 = 1_800_000_000;

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> [u8; 32] {
    key(seed).public_key().as_ref().try_into().unwrap()
}

/// A signed file; what is in its archive is nothing to the hub.
fn snapshot(building: u32, generation: u32, archive: &[u8]) -> Vec<u8> {
    let mut file = vec![0; HEADER_LEN];
    file[..8].copy_from_slice(MAGIC);
    file[8..10].copy_from_slice(&1u16.to_le_bytes());
    file[10..12].copy_from_slice(&256u16.to_le_bytes());
    file[12..16].copy_from_slice(&building.to_le_bytes());
    file[20..24].copy_from_slice(&generation.to_le_bytes());
    file[40..48].copy_from_slice(&(archive.len() as u64).to_le_bytes());
    file[72..104].copy_from_slice(&public(1));
    file[104..136].copy_from_slice(blake3::hash(archive).as_bytes());
    let signature = key(1).sign(&file);
    file.extend(archive);
    file.extend(signature.as_ref());
    file
}

struct Rig {
    state: tempfile::TempDir,
    store: Store,
}

impl Rig {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        Self { state, store }
    }

    fn publish(&self, bytes: &[u8]) -> Result<SnapshotEntry, Failure> {
        let file = self.state.path().join("given");
        fs::write(&file, bytes).unwrap();
        publish((self.state.path(), &[public(1)]), Ledger::of(&self.store), &file, NOW)
    }

    fn held(&self, building: u32) -> Vec<String> {
        let Ok(folder) = fs::read_dir(folder(self.state.path(), building)) else { return Vec::new() };
        let mut names: Vec<_> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn snapshot_is_kept_as_it_came() {
    let rig = Rig::new();
    let file = snapshot(7, 3, &vec![5; 200_000]);
    let entry = rig.publish(&file).unwrap();
    assert_eq!((entry.building, entry.generation, entry.bytes), (7, 3, file.len() as u64));
    assert_eq!(entry.hash, *blake3::hash(&file).as_bytes());
    assert_eq!(fs::read(path(rig.state.path(), 7, 3)).unwrap(), file);
    assert_eq!(Ledger::of(&rig.store).snapshot(7).unwrap(), Some(entry.clone()));
    assert_eq!(rig.publish(&file).unwrap(), entry, "the same one again changes nothing");
    assert!(!rig.state.path().join(FOLDER).join(INCOMING).exists());
}

#[test]
fn newest_two_are_held_and_an_older_one_touches_nothing() {
    let rig = Rig::new();
    for generation in [1, 2, 5] {
        rig.publish(&snapshot(7, generation, b"archive")).unwrap();
    }
    assert_eq!(rig.held(7), ["2.kalitka", "5.kalitka"]);
    for generation in [1, 4, 5] {
        let older = rig.publish(&snapshot(7, generation, b"another"));
        assert!(matches!(older, Err(Failure::Input(_))), "generation {generation}: {older:?}");
    }
    assert_eq!(rig.held(7), ["2.kalitka", "5.kalitka"]);
    assert_eq!(fs::read(path(rig.state.path(), 7, 5)).unwrap(), snapshot(7, 5, b"archive"));
    rig.publish(&snapshot(8, 1, b"archive")).unwrap();
    assert_eq!(rig.held(8), ["1.kalitka"]);
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let rig = Rig::new();
    let right = snapshot(7, 3, b"archive");
    for at in 0..right.len() {
        let mut other = right.clone();
        other[at] ^= 1;
        assert!(matches!(rig.publish(&other), Err(Failure::Input(_))), "byte {at}");
    }
    for end in 0..right.len() {
        assert!(matches!(rig.publish(&right[..end]), Err(Failure::Input(_))), "the first {end} bytes");
    }
    let mut longer = right;
    longer.push(0);
    assert!(matches!(rig.publish(&longer), Err(Failure::Input(_))));
    assert_eq!(rig.held(7), [""; 0]);
    assert_eq!(Ledger::of(&rig.store).snapshots().unwrap(), []);
    assert!(!rig.state.path().join(FOLDER).join(INCOMING).exists(), "nothing half is left");
}

#[test]
fn publisher_is_one_of_those_configured() {
    let rig = Rig::new();
    let file = rig.state.path().join("given");
    fs::write(&file, snapshot(7, 3, b"archive")).unwrap();
    let publish = |publishers: &[[u8; 32]]| publish((rig.state.path(), publishers), Ledger::of(&rig.store), &file, NOW);
    assert!(matches!(publish(&[public(2)]), Err(Failure::Input(text)) if text.contains("gateways.publishers")));
    publish(&[public(2), public(1)]).unwrap();
    let none = super::publish((rig.state.path(), &[]), Ledger::of(&rig.store), Path::new("given"), NOW);
    assert!(matches!(none, Err(Failure::Input(text)) if text.contains("absolute")));
    let missing = super::publish((rig.state.path(), &[]), Ledger::of(&rig.store), Path::new("/none/such"), NOW);
    assert!(matches!(missing, Err(Failure::Environment(_))));
}

#[test]
fn length_beyond_the_limit_is_refused_before_anything_is_copied() {
    let rig = Rig::new();
    let mut file = snapshot(7, 3, b"archive");
    file[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(rig.publish(&file), Err(Failure::Input(text)) if text.contains("longer")));
}
