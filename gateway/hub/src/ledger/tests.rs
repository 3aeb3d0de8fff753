use super::*;
use crate::limits::{COMMANDS_WAITING_MAX, ENROL_AGAIN, TOKEN_REMEMBERED};
use crate::pki::{GatewayCertificate, Issued};

const NOW: i64 = 1_800_000_000;

fn store() -> (tempfile::TempDir, Store) {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path()).unwrap();
    (state, store)
}

fn issued(serial: u8) -> Issued {
    Issued {
        certificate: vec![serial; 9],
        pem: String::new(),
        serial: vec![serial; 16],
        public_key: "00".repeat(32),
        not_before: NOW,
        not_after: NOW + 10,
    }
}

fn shown(serial: u8) -> GatewayCertificate {
    GatewayCertificate {
        building: 5,
        serial: vec![serial; 16],
        public_key: [0; 32],
        not_before: NOW,
        not_after: NOW + 10,
    }
}

fn command(building: u32, number: u64) -> CommandEntry {
    CommandEntry { building, number, envelope: vec![1, 2, 3], received: NOW, by_uid: 0, sent: 0, result: None }
}

fn numbers(entries: &[CommandEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.number).collect()
}

/// SPEC 15.14.
#[test]
fn token_is_good_once_and_the_same_request_gets_the_same_certificate() {
    let (_state, store) = store();
    let ledger = Ledger::of(&store);
    let token = [7; 32];
    let never = || -> Result<Issued, Failure> { panic!("nothing is issued") };
    assert_eq!(ledger.redeem((&token, 5), &[1; 32], NOW, never).unwrap(), Redeemed::Unknown);
    ledger.add_token(&token, 5, NOW, NOW + 100).unwrap();
    assert_eq!(ledger.redeem((&token, 6), &[1; 32], NOW, never).unwrap(), Redeemed::OtherBuilding);
    assert_eq!(ledger.redeem((&token, 5), &[1; 32], NOW + 100, never).unwrap(), Redeemed::Expired);
    let new = ledger.redeem((&token, 5), &[1; 32], NOW + 99, || Ok(issued(3))).unwrap();
    assert_eq!(new, Redeemed::New(vec![3; 9]));
    let again = ENROL_AGAIN.as_secs().cast_signed();
    assert_eq!(ledger.redeem((&token, 5), &[1; 32], NOW + 99 + again, never).unwrap(), Redeemed::Again(vec![3; 9]));
    assert_eq!(ledger.redeem((&token, 5), &[1; 32], NOW + 100 + again, never).unwrap(), Redeemed::Used);
    assert_eq!(ledger.redeem((&token, 5), &[2; 32], NOW + 99, never).unwrap(), Redeemed::Used);
    assert_eq!(ledger.certificates().unwrap().len(), 1);
}

#[test]
fn token_is_not_used_up_when_no_certificate_is_made() {
    let (_state, store) = store();
    let ledger = Ledger::of(&store);
    ledger.add_token(&[7; 32], 5, NOW, NOW + 100).unwrap();
    let failed = ledger.redeem((&[7; 32], 5), &[1; 32], NOW, || Err(Failure::Environment("no random bytes".into())));
    assert!(matches!(failed, Err(LedgerError::Unmade(_))));
    assert!(ledger.certificates().unwrap().is_empty());
    assert!(matches!(ledger.redeem((&[7; 32], 5), &[1; 32], NOW, || Ok(issued(3))).unwrap(), Redeemed::New(_)));
}

#[test]
fn used_token_outlives_the_hub() {
    let (state, first) = store();
    Ledger::of(&first).add_token(&[7; 32], 5, NOW, NOW + 100).unwrap();
    Ledger::of(&first).redeem((&[7; 32], 5), &[1; 32], NOW, || Ok(issued(3))).unwrap();
    drop(first);
    let store = Store::open(state.path()).unwrap();
    let used = Ledger::of(&store).redeem((&[7; 32], 5), &[2; 32], NOW, || Ok(issued(4))).unwrap();
    assert_eq!(used, Redeemed::Used);
}

#[test]
fn tokens_long_expired_are_forgotten() {
    let (_state, store) = store();
    let ledger = Ledger::of(&store);
    ledger.add_token(&[1; 32], 5, NOW, NOW + 100).unwrap();
    let later = NOW + 100 + TOKEN_REMEMBERED.as_secs().cast_signed();
    ledger.add_token(&[2; 32], 5, later, later + 100).unwrap();
    assert!(ledger.token(&[1; 32]).unwrap().is_some());
    ledger.add_token(&[3; 32], 5, later + 1, later + 100).unwrap();
    assert!(ledger.token(&[1; 32]).unwrap().is_none());
    assert!(ledger.token(&[2; 32]).unwrap().is_some());
}

#[test]
fn revoked_certificate_stays_revoked() {
    let (_state, store) = store();
    let ledger = Ledger::of(&store);
    for (building, serial) in [(1, 1), (1, 2), (2, 3)] {
        ledger.add_certificate(building, &issued(serial)).unwrap();
    }
    let revoked = ledger.revoke(NOW, |entry| entry.building == 1).unwrap();
    assert_eq!(revoked.len(), 2);
    assert_eq!(ledger.revoke(NOW + 5, |entry| entry.building == 1).unwrap(), []);
    for (serial, standing) in [
        (1, Standing::Revoked),
        (2, Standing::Revoked),
        (3, Standing::Good),
        (9, Standing::Unknown),
        (9, Standing::Good),
    ] {
        assert_eq!(ledger.standing(&shown(serial)).unwrap(), standing, "{serial}");
    }
    assert_eq!(ledger.certificates().unwrap()[0].revoked, Some(NOW));
}

/// SPEC 15.8: numbers grow over all commands of a building.
#[test]
fn command_number_is_above_every_one_before_even_of_those_that_ended() {
    let (_state, store) = store();
    let ledger = Ledger::of(&store);
    ledger.add_command(&command(1, 5)).unwrap();
    ledger.add_command(&command(1, 5)).unwrap();
    let other = CommandEntry { envelope: vec![9], ..command(1, 5) };
    assert!(matches!(ledger.add_command(&other), Err(LedgerError::Refused(_))));
    assert!(matches!(ledger.add_command(&command(1, 4)), Err(LedgerError::Refused(_))));
    assert!(ledger.note_command((1, 5), CommandState { code: 0, at: NOW }).unwrap());
    assert!(!ledger.note_command((1, 5), CommandState { code: 2, at: NOW }).unwrap());
    assert!(matches!(ledger.add_command(&command(1, 4)), Err(LedgerError::Refused(_))));
    ledger.add_command(&command(1, 5)).unwrap();
    assert_eq!(ledger.take_commands(1, 0, 10).unwrap(), [], "a command that ended does not go down again");
    ledger.add_command(&command(2, 1)).unwrap();
    ledger.add_command(&command(1, 6)).unwrap();
    let kept = ledger.commands(1).unwrap();
    assert_eq!(numbers(&kept), [5, 6]);
    assert_eq!(kept[0].result, Some(CommandState { code: 0, at: NOW }));
}

#[test]
fn commands_are_taken_in_order_and_counted_until_they_have_a_result() {
    let (_state, store) = store();
    let ledger = Ledger::of(&store);
    for number in [2, 3, 300] {
        ledger.add_command(&command(1, number)).unwrap();
    }
    ledger.add_command(&command(2, 1)).unwrap();
    assert_eq!(numbers(&ledger.take_commands(1, 0, 2).unwrap()), [2, 3]);
    assert_eq!(numbers(&ledger.take_commands(1, 3, 2).unwrap()), [300]);
    ledger.note_command((1, 2), CommandState { code: 0, at: NOW }).unwrap();
    let again = ledger.take_commands(1, 0, 10).unwrap();
    assert_eq!(numbers(&again), [3, 300]);
    assert_eq!(again[0].sent, 2);
    assert_eq!(ledger.take_commands(1, u64::MAX, 10).unwrap(), []);
}

#[test]
fn waiting_commands_are_bounded() {
    let (_state, store) = store();
    let ledger = Ledger::of(&store);
    store
        .write(|transaction| {
            let mut table = transaction.open_table(TableDefinition::<(u32, u64), &[u8]>::new("commands_waiting"))?;
            for number in 1..=COMMANDS_WAITING_MAX as u64 {
                put(&mut table, (1, number), &command(1, number))?;
            }
            Ok(())
        })
        .unwrap();
    let full = ledger.add_command(&command(1, COMMANDS_WAITING_MAX as u64 + 1));
    assert!(matches!(full, Err(LedgerError::Refused(_))));
    ledger.add_command(&command(2, 1)).unwrap();
}

#[test]
fn two_newest_snapshots_are_held() {
    let (_state, store) = store();
    let ledger = Ledger::of(&store);
    let entry = |generation: u32| SnapshotEntry {
        building: 1,
        generation,
        bytes: 9,
        hash: [generation.to_le_bytes()[0]; 32],
        publisher: [1; 32],
        published: NOW,
        result: None,
    };
    assert_eq!(ledger.add_snapshot(&entry(1)).unwrap(), [0; 0]);
    assert_eq!(ledger.add_snapshot(&entry(2)).unwrap(), [0; 0]);
    assert_eq!(ledger.add_snapshot(&entry(5)).unwrap(), [1]);
    assert_eq!(ledger.add_snapshot(&entry(5)).unwrap(), [0; 0]);
    assert!(matches!(ledger.add_snapshot(&entry(4)), Err(LedgerError::Refused(_))));
    let other = SnapshotEntry { hash: [9; 32], ..entry(5) };
    assert!(matches!(ledger.add_snapshot(&other), Err(LedgerError::Refused(_))));
    let held: Vec<u32> = ledger.snapshots().unwrap().iter().map(|entry| entry.generation).collect();
    assert_eq!(held, [2, 5]);
    ledger.note_snapshot((1, 5), SnapshotOutcome { code: 33, at: NOW }).unwrap();
    ledger.note_snapshot((1, 1), SnapshotOutcome { code: 0, at: NOW }).unwrap();
    assert_eq!(ledger.snapshot(1).unwrap().unwrap().result, Some(SnapshotOutcome { code: 33, at: NOW }));
    assert_eq!(ledger.snapshot(2).unwrap(), None);
}
