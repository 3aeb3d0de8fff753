use std::collections::{BTreeMap, HashSet};

use kalitka_protocol::reason::{Denial, Verdict};

use super::*;
use crate::arrivals::Profile;
use crate::roster::{self, DEMO_HOLDERS, DEMO_SEED};
use crate::tally::label;

/// 09:10 on a Monday in Moscow.
const MONDAY: i64 = 1_795_414_200;

fn draws(profile: Profile, count: usize) -> BTreeMap<&'static str, usize> {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), DEMO_HOLDERS, DEMO_SEED).unwrap();
    let oracle = Oracle::read(dir.path()).unwrap();
    let readers: Vec<ReaderId> = (101..=108).map(ReaderId).collect();
    let looks = looks_of(&oracle, &readers);
    let mut deck = Deck::new(&oracle, profile.exits(), 1);
    let mut verdicts = BTreeMap::new();
    for _ in 0..count {
        let place = deck.place(readers.len());
        let show = deck.draw(&looks[place]);
        let verdict = oracle.judge(readers[place], &show.card, show.direction, 0, MONDAY);
        *verdicts.entry(label(verdict)).or_default() += 1;
    }
    verdicts
}

#[test]
fn most_cards_pass_and_every_kind_of_trouble_occurs() {
    let verdicts = draws(Profile::Morning, 20_000);
    assert!(verdicts["access_level"] > 12_000, "{verdicts:?}");
    let troubles = [
        Denial::MalformedCard,
        Denial::ShapeNotDeclared,
        Denial::UnknownCredential,
        Denial::AmbiguousCredential,
        Denial::CredentialInStock,
        Denial::CredentialBlockedForATime,
        Denial::CredentialBlocked,
        Denial::CredentialLost,
        Denial::CredentialReturned,
        Denial::CredentialDestroyed,
        Denial::HolderBlocked,
        Denial::HolderLeft,
        Denial::HolderDeleted,
        Denial::CredentialNotYetValid,
        Denial::CredentialExpired,
        Denial::HolderNotYetValid,
        Denial::HolderExpired,
        Denial::NoAccess,
    ];
    for trouble in troubles {
        assert!(verdicts.contains_key(label(Verdict::Deny(trouble))), "{trouble:?} in {verdicts:?}");
    }
}

#[test]
fn known_cards_are_the_roster_s_own_and_any_of_them() {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), DEMO_HOLDERS, DEMO_SEED).unwrap();
    let oracle = Oracle::read(dir.path()).unwrap();
    let reader = ReaderId(101);
    let mut deck = Deck::new(&oracle, 500, 1);
    let (mut drawn, mut exits) = (HashSet::new(), 0);
    for _ in 0..20_000 {
        let Show { card, direction } = deck.draw_known(oracle.looks(reader));
        drawn.insert(card.to_bytes());
        exits += usize::from(direction == Direction::Exit);
        let verdict = oracle.judge(reader, &card, Direction::Entry, 0, MONDAY);
        let strange = [Denial::UnknownCredential, Denial::MalformedCard, Denial::ShapeNotDeclared];
        assert!(!strange.map(Verdict::Deny).contains(&verdict), "{card:?}: {verdict:?}");
    }
    // Each of some 1,000 is drawn about twenty times.
    assert!(drawn.len() > oracle.cards().len() * 8 / 10, "{} of {}", drawn.len(), oracle.cards().len());
    assert!((9_000..11_000).contains(&exits), "{exits} exits");
}

#[test]
fn one_seed_draws_one_deck() {
    assert_eq!(draws(Profile::Steady, 500), draws(Profile::Steady, 500));
}

#[test]
fn a_lost_parity_bit_leaves_a_uid_alone() {
    let uid = CardRead::from_uid(&[1, 2, 3, 4]).unwrap();
    assert_eq!(without_parity(uid), uid);
    let frame = CardRead::from_wiegand(24, 5).unwrap();
    assert_ne!(without_parity(frame), frame);
}
