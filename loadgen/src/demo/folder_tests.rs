use std::path::PathBuf;

use super::*;
use crate::roster::{self, DEMO_HOLDERS, DEMO_SEED};
use crate::site::folder::copy_roster;
use crate::site::zone;

fn rosters() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (invented, copy) = (dir.path().join("invented"), dir.path().join("copy"));
    roster::write(&invented, DEMO_HOLDERS, DEMO_SEED).unwrap();
    copy_roster(&invented, &copy, &zone::of_morning(wall_seconds())).unwrap();
    (dir, invented, copy)
}

#[test]
fn copied_roster_differs_in_its_time_zone_alone() {
    let (_dir, invented, copy) = rosters();
    let of = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).unwrap();
    assert_eq!(of(&invented, "cards.csv"), of(&copy, "cards.csv"));
    assert_eq!(of(&invented, "people.csv"), of(&copy, "people.csv"));
    let (before, after) = (of(&invented, "building.toml"), of(&copy, "building.toml"));
    let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(before, after)| before != after).collect();
    assert!(matches!(changed[..], [(_, zone)] if zone.starts_with("time_zone = \"Etc/GMT")), "{changed:?}");
    assert_eq!(before.lines().count(), after.lines().count());
}

#[test]
fn blocked_cards_passed_before_and_are_the_only_ones_to_change() {
    let (dir, _, copy) = rosters();
    let next = dir.path().join("next");
    let before = Oracle::read(&copy).unwrap();
    let readers: Vec<ReaderId> = (101..=108).map(ReaderId).collect();
    let blocked = passing_cards(&before, &readers).unwrap();
    block_cards(&copy, &next, &[blocked[0].card, blocked[1].card]).unwrap();
    let after = Oracle::read(&next).unwrap();
    for Passing { card, uid, place, show } in blocked {
        let judge = |oracle: &Oracle| oracle.judge(readers[place], &show.card, show.direction, 0, wall_seconds());
        assert!(judge(&before).is_grant());
        assert_eq!(judge(&after).to_bytes(), [0, 36]);
        assert!(before.cards().nth(card) == Some(&Identity::Uid(hex::decode(uid).unwrap().into())));
    }
    let of = |folder: &Path| fs::read_to_string(folder.join("cards.csv")).unwrap();
    let changed = of(&copy).lines().zip(of(&next).lines()).filter(|(before, after)| before != after).count();
    assert_eq!((changed, of(&copy).lines().count()), (2, of(&next).lines().count()));
}
