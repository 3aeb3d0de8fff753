//! Properly signed, safe to read, and wrong: each flaw is found and named.

use kalitka_protocol::credential::{Credential, Shape};

use super::*;
use crate::Flaw;
use crate::header::Header;
use crate::index::{home_of, homes_for};
use crate::limits::*;
use crate::pack::pack;

/// A model laid out, with three cards.
fn laid_out() -> (Model, Header) {
    let slots = (1u8..=3).map(|n| entry(*Credential::from_uid(&[n, 2, 3, 4]).unwrap().as_bytes())).collect();
    let snapshot = verified(&signed(Model { slots, ..model() })).unwrap();
    let header = snapshot.header().clone();
    let model = rkyv::deserialize::<Model, rkyv::rancor::Error>(snapshot.model()).unwrap();
    (model, header)
}

fn flaw_of(model: &Model, entries: u64, longest_run: u32) -> Result<(), Flaw> {
    let file = sign(pack(&EDITION, model, entries, longest_run).unwrap(), &secret()).unwrap();
    match verified(&file) {
        Ok(_) => Ok(()),
        Err(Refused::Inconsistent { flaw, .. }) => Err(flaw),
        Err(other) => panic!("{other}"),
    }
}

fn first(model: &mut Model) -> &mut Slot {
    model.slots.iter_mut().find(|slot| slot.key[0] != 0).unwrap()
}

fn empty(model: &mut Model) -> &mut Slot {
    model.slots.iter_mut().find(|slot| slot.key[0] == 0).unwrap()
}

fn nobodys(slot: &mut Slot) {
    *slot = Slot {
        holder: NOBODY,
        profile: 0,
        group: 0,
        holder_state: HolderState::Deleted as u8,
        credential_state: CredentialState::Returned as u8,
        ..*slot
    };
}

type Change = fn(&mut Model);

const PLAN: &[(Flaw, Change)] = &[
    (Flaw::Name, |m| m.name.clear()),
    (Flaw::Name, |m| m.time_zone = "x".repeat(NAME_BYTES_MAX + 1)),
    (Flaw::Name, |m| m.areas[0] = "a\nb".into()),
    (Flaw::Name, |m| m.portals[0].name.clear()),
    (Flaw::Name, |m| m.schedules[0].name.clear()),
    (Flaw::Name, |m| m.access_levels[0].name.clear()),
    (Flaw::Name, |m| m.groups[1] = "g".repeat(NAME_BYTES_MAX + 1)),
    (Flaw::ListLength, |m| m.areas = vec!["a".into(); AREAS_MAX + 1]),
    (Flaw::ListLength, |m| m.portals[0].modes = vec![m.portals[0].modes[0]; MODE_RULES_MAX + 1]),
    (Flaw::ListLength, |m| m.access_levels[0].grants = vec![m.access_levels[0].grants[0]; GRANTS_MAX + 1]),
    (Flaw::ListLength, |m| m.groups = vec![String::new(); GROUPS_MAX + 1]),
    (Flaw::Offsets, |m| m.offsets.clear()),
    (Flaw::Offsets, |m| m.offsets[0].from = 0),
    (Flaw::Offsets, |m| m.offsets[1].from = i64::MIN),
    (Flaw::Offsets, |m| m.offsets[1].seconds = OFFSET_SECONDS_MAX + 1),
    (Flaw::Offsets, |m| m.offsets[1].seconds = i32::MIN),
    (Flaw::PortalArea, |m| m.portals[0].from = 2),
    (Flaw::PortalArea, |m| m.portals[0].to = u16::MAX),
    (Flaw::PortalMode, |m| m.portals[0].mode = 5),
    (Flaw::PortalMode, |m| m.portals[0].modes[0].mode = 255),
    (Flaw::PortalSchedule, |m| m.portals[0].modes[0].schedule = 1),
    (Flaw::PortalSchedule, |m| m.portals[0].modes[0].schedule = ALWAYS),
    (Flaw::PortalHoldOpen, |m| m.portals[0].hold_open_ms = HOLD_OPEN_MS_MIN - 1),
    (Flaw::PortalHoldOpen, |m| m.portals[0].hold_open_ms = HOLD_OPEN_MS_MAX + 1),
    (Flaw::PortalFallBack, |m| m.portals[0].fall_back = 3),
    (Flaw::ReaderNumber, |m| m.readers[0].number = 0),
    (Flaw::ReaderNumber, |m| m.readers[0].number = 102),
    (Flaw::ReaderNumber, |m| m.readers[0].number = 103),
    (Flaw::ReaderPortal, |m| m.readers[0].portal = 1),
    (Flaw::ReaderShapes, |m| m.readers[0].shapes = 0),
    (Flaw::ReaderShapes, |m| m.readers[0].shapes = 1),
    (Flaw::ReaderShapes, |m| m.readers[0].shapes = 1 << 9),
    (Flaw::ReaderShapes, |m| m.readers[0].shapes = 1 << 1 | 1 << 2),
    (Flaw::ReaderShapes, |m| m.readers[0].shapes = 1 << 7 | 1 << 8),
    (Flaw::ReaderDirections, |m| m.readers[0].directions = 0),
    (Flaw::ReaderDirections, |m| m.readers[0].directions = 4),
    (Flaw::ScheduleInterval, |m| m.schedules[0].intervals[0].to = 0),
    (Flaw::ScheduleInterval, |m| m.schedules[0].intervals[1].to = 10_081),
    (Flaw::ScheduleInterval, |m| m.schedules[0].intervals[1].from = 60),
    (Flaw::ScheduleInterval, |m| m.schedules[0].intervals.reverse()),
    (Flaw::GrantPortal, |m| m.access_levels[0].grants[0].portal = 1),
    (Flaw::GrantSchedule, |m| m.access_levels[0].grants[0].schedule = 1),
    (Flaw::GrantDirections, |m| m.access_levels[0].grants[0].directions = 0),
    (Flaw::GrantDirections, |m| m.access_levels[0].grants[0].directions = 7),
    (Flaw::ProfileLevel, |m| m.profiles[1] = vec![1]),
    (Flaw::ProfileLevel, |m| m.profiles[1] = vec![0, 0]),
    (Flaw::ProfileRepeated, |m| m.profiles[0] = vec![0]),
    (Flaw::PlanSize, |m| {
        m.portals = vec![m.portals[0].clone(); PORTALS_MAX];
        m.access_levels = vec![m.access_levels[0].clone(); ACCESS_LEVELS_MAX];
        m.profiles = (0..4_095).map(|level| vec![level]).collect();
        m.profiles.extend([vec![0, 1], vec![]]);
    }),
    (Flaw::PlanSize, |m| {
        let grant = m.access_levels[0].grants[0];
        m.access_levels[0].grants = vec![grant; GRANTS_MAX];
        m.access_levels = vec![m.access_levels[0].clone(); 64];
        m.profiles = (0..64).flat_map(|low| (low + 1..64).map(move |high| vec![low, high])).collect();
        m.profiles.extend((0..64).map(|level| vec![level]));
        m.profiles.push((0..64).collect());
    }),
    (Flaw::HolderIdentity, |m| m.holders[0] = [0; 16]),
    (Flaw::HolderIdentity, |m| m.holders[0][15] = b'x'),
    (Flaw::HolderIdentity, |m| m.holders[0][1] = b' '),
    (Flaw::HolderOrder, |m| m.holders.reverse()),
    (Flaw::HolderOrder, |m| m.holders[0] = m.holders[1]),
];

const TABLE: &[(Flaw, Change)] = &[
    (Flaw::TableHomes, |m| m.homes += 1),
    (Flaw::TableHomes, |m| m.homes = 0),
    (Flaw::TableLength, |m| m.slots.push(Slot::EMPTY)),
    (Flaw::TableLength, |m| {
        let last = m.slots.iter().rposition(|slot| slot.key[0] != 0).unwrap();
        // An empty last home slot goes missing, or two slots too many stand behind a full one.
        if last + 1 < m.slots.len() { m.slots.truncate(last + 1) } else { m.slots.extend([Slot::EMPTY; 2]) }
    }),
    (Flaw::Entries, |m| {
        let last = m.slots.iter().rposition(|slot| slot.key[0] != 0).unwrap();
        m.slots[last] = Slot::EMPTY;
        m.slots.truncate(4);
    }),
    (Flaw::SlotEmpty, |m| empty(m).key[15] = 1),
    (Flaw::SlotEmpty, |m| empty(m).holder = 1),
    (Flaw::SlotEmpty, |m| empty(m).blocked_until = 1),
    (Flaw::SlotEmpty, |m| empty(m).reserved_more[15] = 1),
    (Flaw::SlotReserved, |m| first(m).reserved[1] = 1),
    (Flaw::SlotReserved, |m| first(m).reserved_more[0] = 1),
    (Flaw::SlotHolder, |m| first(m).holder = 2),
    (Flaw::SlotProfile, |m| first(m).profile = 2),
    (Flaw::SlotGroup, |m| first(m).group = 2),
    (Flaw::SlotCredentialState, |m| first(m).credential_state = 0),
    (Flaw::SlotCredentialState, |m| first(m).credential_state = 9),
    (Flaw::SlotHolderState, |m| first(m).holder_state = 0),
    (Flaw::SlotHolderState, |m| first(m).holder_state = 5),
    (Flaw::SlotNobody, |m| first(m).holder = NOBODY),
    (Flaw::SlotNobody, |m| first(m).credential_state = CredentialState::Ambiguous as u8),
    (Flaw::SlotNobody, |m| {
        nobodys(first(m));
        first(m).profile = 1;
    }),
    (Flaw::SlotNobody, |m| {
        nobodys(first(m));
        first(m).holder_state = HolderState::Active as u8;
    }),
    (Flaw::SlotNobody, |m| {
        nobodys(first(m));
        first(m).credential_state = CredentialState::Issued as u8;
    }),
    (Flaw::SlotValidity, |m| first(m).credential_to = 0),
    (Flaw::SlotValidity, |m| (first(m).holder_from, first(m).holder_to) = (9, 8)),
    (Flaw::SlotBlockedUntil, |m| first(m).blocked_until = 1),
    (Flaw::SlotBlockedUntil, |m| first(m).credential_state = CredentialState::BlockedForATime as u8),
];

const KEYS: &[fn(&mut [u8; 16])] = &[
    |key| key[0] = 2,
    |key| key[0] = 9,
    |key| key[1] = 40,
    |key| key[5] = 0x80,
    |key| key[15] = 1,
    |key| (key[0], key[1]) = (3, 32),
];

#[test]
fn a_key_that_is_no_credential_is_refused() {
    for (case, change) in KEYS.iter().enumerate() {
        let mut key = *Credential::from_number(Shape::Wiegand26, 7).unwrap().as_bytes();
        if case < 3 {
            key = *Credential::from_uid(&[1, 2, 3, 4]).unwrap().as_bytes();
        }
        change(&mut key);
        let refused = verified(&signed(Model { slots: vec![entry(key)], ..model() })).unwrap_err();
        assert!(matches!(refused, Refused::Inconsistent { flaw: Flaw::SlotKey, .. }), "case {case}: {refused}");
    }
}

#[test]
fn each_flaw_of_the_plan_is_named() {
    for (case, (flaw, change)) in PLAN.iter().enumerate() {
        let (mut model, header) = laid_out();
        change(&mut model);
        assert_eq!(flaw_of(&model, header.entries, header.longest_run), Err(*flaw), "case {case}");
    }
}

#[test]
fn each_flaw_of_the_table_is_named() {
    for (case, (flaw, change)) in TABLE.iter().enumerate() {
        let (mut model, header) = laid_out();
        change(&mut model);
        assert_eq!(flaw_of(&model, header.entries, header.longest_run), Err(*flaw), "case {case}");
    }
}

#[test]
fn nobodys_card_and_a_sound_model_are_accepted() {
    let (mut model, header) = laid_out();
    assert_eq!(flaw_of(&model, header.entries, header.longest_run), Ok(()));
    nobodys(first(&mut model));
    assert_eq!(flaw_of(&model, header.entries, header.longest_run), Ok(()));
}

#[test]
fn a_header_that_miscounts_is_refused() {
    let (model, header) = laid_out();
    assert_eq!(flaw_of(&model, header.entries + 1, header.longest_run), Err(Flaw::TableHomes));
    assert_eq!(flaw_of(&model, u64::MAX, header.longest_run), Err(Flaw::TableHomes));
    assert_eq!(flaw_of(&model, header.entries, header.longest_run + 1), Err(Flaw::LongestRun));
    assert_eq!(flaw_of(&model, header.entries, header.longest_run - 1), Err(Flaw::LongestRun));
}

#[test]
fn an_entry_out_of_order_or_place_is_refused() {
    let (model, header) = laid_out();
    let occupied: Vec<usize> = (0..model.slots.len()).filter(|&at| model.slots[at].key[0] != 0).collect();
    let flaws = |model: &Model| flaw_of(model, header.entries, header.longest_run);

    let mut swapped = laid_out().0;
    swapped.slots.swap(occupied[0], occupied[1]);
    assert!(matches!(flaws(&swapped), Err(Flaw::SlotOrder | Flaw::SlotPlace)));

    let mut repeated = laid_out().0;
    repeated.slots[occupied[1]] = repeated.slots[occupied[0]];
    assert_eq!(flaws(&repeated), Err(Flaw::SlotOrder));

    let mut moved = laid_out().0;
    let last = occupied[occupied.len() - 1];
    moved.slots.push(Slot::EMPTY);
    moved.slots.swap(last, model.slots.len());
    assert_eq!(flaws(&moved), Err(Flaw::SlotPlace));
}

/// Under seeds that send every key to slot 0 the run of 33 cards is longer than allowed.
#[test]
fn a_run_beyond_the_limit_is_refused() {
    let entries: Vec<Slot> = (0..=u8::try_from(LONGEST_RUN_MAX).unwrap())
        .map(|n| entry(*Credential::from_uid(&[n, 2, 3, 4]).unwrap().as_bytes()))
        .collect();
    assert_eq!(home_of(crate::key_hash([0; 2], &entries[0].key), 100), 0, "the seeds part nothing");
    let homes = entries.len() as u64 + entries.len().div_ceil(3) as u64;
    let mut slots = vec![Slot::EMPTY; usize::try_from(homes).unwrap()];
    let mut sorted = entries.clone();
    sorted.sort_unstable_by_key(|slot| slot.key);
    slots[..sorted.len()].copy_from_slice(&sorted);
    let model = Model { hash_seeds: [0; 2], homes, slots, ..model() };
    assert_eq!(flaw_of(&model, entries.len() as u64, LONGEST_RUN_MAX + 1), Err(Flaw::LongestRun));
}

/// A publisher may choose seeds that give every key one hash: such a table is sound while its run is short, and then
/// every entry of it is found.
#[test]
fn entries_of_one_hash_are_all_found() {
    let mut slots: Vec<Slot> = (0..u8::try_from(LONGEST_RUN_MAX).unwrap())
        .map(|n| entry(*Credential::from_uid(&[n, 2, 3, 4]).unwrap().as_bytes()))
        .collect();
    slots.sort_unstable_by_key(|slot| slot.key);
    let (keys, homes): (Vec<_>, _) = (slots.iter().map(|slot| slot.key).collect(), homes_for(32));
    slots.resize(usize::try_from(homes).unwrap(), Slot::EMPTY);
    let model = Model { hash_seeds: [0; 2], homes, slots, ..model() };
    let file = sign(pack(&EDITION, &model, 32, LONGEST_RUN_MAX).unwrap(), &secret()).unwrap();
    let snapshot = verified(&file).unwrap();
    for key in keys {
        assert!(snapshot.probe(&Credential::from_bytes(key)).is_some_and(|slot| slot.key == key));
    }
    assert!(snapshot.probe(&Credential::from_uid(&[40, 2, 3, 4]).unwrap()).is_none());
}

/// Every flaw that can be named is made somewhere above.
#[test]
fn every_flaw_has_its_case() {
    let apart = [Flaw::SlotKey, Flaw::LongestRun, Flaw::SlotOrder, Flaw::SlotPlace];
    let covered = |flaw: &Flaw| PLAN.iter().chain(TABLE).any(|(known, _)| known == flaw) || apart.contains(flaw);
    assert_eq!(Flaw::ALL.iter().filter(|flaw| !covered(flaw)).collect::<Vec<_>>(), Vec::<&Flaw>::new());
}
