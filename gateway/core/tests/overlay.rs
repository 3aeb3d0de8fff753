//! What operators order between snapshots, against a slow list of everything that they ordered.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{GATE, SUNDAY_NOON, ask, building, profile, slot, snapshot_after, uid};
use kalitka_core::limits::{OVERLAY_MAX, OVERLAY_MODES_MAX};
use kalitka_core::{Overlay, OverlayEntry, OverlayFull, Standing, Time, View, decide};
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::{CardRead, Credential, Shape};
use kalitka_protocol::message::Ask;
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_snapshot::Snapshot;
use kalitka_snapshot::model::{CredentialState, PortalMode, Slot};

const GRANT: Verdict = Verdict::Grant(Grant::AccessLevel);
const BLOCKED: Verdict = Verdict::Deny(Denial::CredentialBlocked);
const MODES: [Option<PortalMode>; 4] =
    [None, Some(PortalMode::Closed), Some(PortalMode::Free), Some(PortalMode::ExitOnly)];

fn card(number: u32) -> Credential {
    Credential::from_uid(&uid(number)).unwrap()
}

/// A slot of `card(number)` as readers that cut to 24 bits send it.
fn cut_slot(number: u32, state: CredentialState) -> Slot {
    let key = *Shape::Wiegand26.credential_of_uid(&uid(number)).unwrap().as_bytes();
    Slot { key, credential_state: state as u8, ..slot(number, profile::ALWAYS) }
}

fn full_slot(number: u32, state: CredentialState) -> Slot {
    Slot { credential_state: state as u8, ..slot(number, profile::ALWAYS) }
}

fn containing(slots: Vec<Slot>, last_command: u64) -> Arc<Snapshot> {
    snapshot_after(kalitka_snapshot::model::Model { slots, ..building() }, 1, last_command)
}

fn view(slots: Vec<Slot>, last_command: u64) -> View {
    View::build(containing(slots, last_command), SUNDAY_NOON)
}

fn verdict_at(view: &View, overlay: &Overlay, reader: u32, ask: &Ask) -> Verdict {
    decide(Some(view), overlay, ReaderId(reader), ask, Time::good(SUNDAY_NOON)).verdict
}

fn verdict(view: &View, overlay: &Overlay, number: u32) -> Verdict {
    verdict_at(view, overlay, GATE, &ask(1, number, Direction::Entry))
}

/// At a reader that sends the low 24 bits.
fn verdict_of_cut(view: &View, overlay: &Overlay, number: u32) -> Verdict {
    let card = CardRead::from_wiegand(24, u64::from(number & 0xff_ffff)).unwrap();
    verdict_at(view, overlay, GATE, &Ask { card, ..ask(1, number, Direction::Entry) })
}

// SPEC 15.8 blocked until unblocked, or until a snapshot contains the command
#[test]
fn blocked_card_is_denied_until_it_is_unblocked_or_a_snapshot_contains_the_command() {
    let (before, overlay) = (view(vec![slot(1, 0), slot(2, 0)], 6), Overlay::default());
    overlay.block(card(1), 7).unwrap();
    assert_eq!((verdict(&before, &overlay, 1), verdict(&before, &overlay, 2)), (BLOCKED, GRANT));
    overlay.unblock(card(1), 8).unwrap();
    assert_eq!(verdict(&before, &overlay, 1), GRANT);
    overlay.block(card(1), 9).unwrap();
    let after = view(vec![slot(1, 0)], 9);
    assert_eq!(verdict(&after, &overlay, 1), GRANT);
    // Rolled back, it holds again.
    assert_eq!(verdict(&before, &overlay, 1), BLOCKED);
    overlay.prune(9);
    assert!(overlay.is_empty());
}

#[test]
fn unblocking_lifts_blocks_and_no_other_state() {
    use CredentialState::*;
    let overlay = Overlay::default();
    overlay.unblock(card(1), 1).unwrap();
    for state in [InStock, Issued, IssuedTemporarily, BlockedForATime, Blocked, Lost, Returned, Destroyed] {
        let blocked_until = if state == BlockedForATime { u32::MAX } else { 0 };
        let slot = Slot { blocked_until, ..full_slot(1, state) };
        let view = view(vec![slot], 0);
        let passes = matches!(state, Issued | IssuedTemporarily | BlockedForATime | Blocked);
        assert_eq!(verdict(&view, &overlay, 1) == GRANT, passes, "{state:?}");
    }
    let other = view(vec![slot(2, 0)], 0);
    assert_eq!(verdict(&other, &overlay, 1), Verdict::Deny(Denial::UnknownCredential));
}

#[test]
fn card_blocked_by_its_uid_is_denied_where_readers_cut_it() {
    let issued = CredentialState::Issued;
    let (view, overlay) = (view(vec![full_slot(1, issued), cut_slot(1, issued)], 0), Overlay::default());
    assert_eq!(verdict_of_cut(&view, &overlay, 1), GRANT);
    overlay.block(card(1), 1).unwrap();
    assert_eq!(verdict_of_cut(&view, &overlay, 1), BLOCKED);
    overlay.unblock(card(1), 2).unwrap();
    assert_eq!(verdict_of_cut(&view, &overlay, 1), GRANT);
}

#[test]
fn unblocking_a_card_gives_nothing_to_another_that_looks_like_it() {
    let (mine, twin) = (0x0100_0001, 0x0200_0001);
    let blocked = CredentialState::Blocked;
    let (view, overlay) = (view(vec![full_slot(mine, blocked), cut_slot(mine, blocked)], 0), Overlay::default());
    overlay.unblock(card(twin), 1).unwrap();
    assert_eq!(verdict_of_cut(&view, &overlay, mine), BLOCKED);
    overlay.unblock(card(mine), 2).unwrap();
    assert_eq!(verdict_of_cut(&view, &overlay, mine), GRANT);
}

#[test]
fn unblocking_a_card_leaves_another_blocked_that_looks_like_it() {
    let (mine, twin) = (0x0100_0001, 0x0200_0001);
    let issued = CredentialState::Issued;
    let (view, overlay) = (view(vec![full_slot(mine, issued), cut_slot(mine, issued)], 0), Overlay::default());
    overlay.block(card(mine), 1).unwrap();
    overlay.unblock(card(twin), 2).unwrap();
    assert_eq!(verdict_of_cut(&view, &overlay, mine), BLOCKED);
    overlay.unblock(card(mine), 3).unwrap();
    assert_eq!(verdict_of_cut(&view, &overlay, mine), GRANT);
    overlay.block(card(twin), 4).unwrap();
    assert_eq!(verdict_of_cut(&view, &overlay, mine), BLOCKED);
    assert_eq!(verdict(&view, &overlay, mine), GRANT);
    overlay.prune(4);
    assert!(overlay.is_empty());
}

#[test]
fn orders_without_a_place_keep_none_of_the_others_out() {
    let overlay = Overlay::default();
    let cards = (0..=u32::try_from(OVERLAY_MAX).unwrap()).map(|number| OverlayEntry::Credential {
        credential: card(number),
        standing: Standing::Blocked,
        number: 1,
    });
    let closed = OverlayEntry::Mode { reader: None, mode: Some(PortalMode::Closed), number: 2 };
    assert_eq!(overlay.restore(cards.chain([closed])), Err(OverlayFull));
    assert_eq!(overlay.mode(ReaderId(GATE)), Some(PortalMode::Closed));
}

// SPEC 15.8 the portal's mode as asks at that reader see it
#[test]
fn newest_mode_of_a_reader_or_of_all_goes_before_the_plan() {
    let (view, overlay) = (view(vec![slot(1, 0)], 0), Overlay::default());
    let (gate, other) = (ReaderId(GATE), ReaderId(GATE + 1));
    let at = |overlay: &Overlay, number| verdict_at(&view, overlay, GATE, &ask(1, number, Direction::Entry));
    let closed = Verdict::Deny(Denial::PortalClosed);
    overlay.set_mode(Some(gate), Some(PortalMode::Closed), 1).unwrap();
    assert_eq!(at(&overlay, 1), closed);
    overlay.set_mode(Some(other), Some(PortalMode::Free), 2).unwrap();
    assert_eq!(at(&overlay, 1), closed);
    overlay.set_mode(None, Some(PortalMode::Free), 3).unwrap();
    assert_eq!(at(&overlay, 999), Verdict::Grant(Grant::PortalFree));
    overlay.set_mode(Some(gate), None, 4).unwrap();
    assert_eq!((at(&overlay, 1), at(&overlay, 999)), (GRANT, Verdict::Deny(Denial::UnknownCredential)));
    overlay.set_mode(None, Some(PortalMode::Closed), 5).unwrap();
    assert_eq!(at(&overlay, 1), closed);
    overlay.set_mode(None, None, 6).unwrap();
    assert_eq!(at(&overlay, 1), GRANT);
    // No snapshot contains modes: only an order ends one.
    overlay.set_mode(Some(gate), Some(PortalMode::Closed), 7).unwrap();
    overlay.prune(u64::MAX);
    assert_eq!(at(&overlay, 1), closed);
}

#[test]
fn free_by_order_opens_no_direction_that_the_reader_does_not_serve() {
    let mut model = building();
    model.slots = vec![slot(1, profile::ALWAYS)];
    model.readers[0].directions = kalitka_snapshot::model::EXIT;
    let view = View::build(snapshot_after(model, 1, 0), SUNDAY_NOON);
    let overlay = Overlay::default();
    overlay.set_mode(None, Some(PortalMode::Free), 1).unwrap();
    assert_eq!(verdict(&view, &overlay, 1), Verdict::Deny(Denial::DirectionClosed));
    assert_eq!(decide(None, &overlay, ReaderId(GATE), &ask(1, 1, Direction::Exit), Time::good(SUNDAY_NOON)).verdict, {
        Verdict::Deny(Denial::NoSnapshot)
    });
}

#[test]
fn older_command_changes_nothing_whenever_it_comes() {
    let overlay = Overlay::default();
    overlay.block(card(1), 5).unwrap();
    overlay.unblock(card(1), 5).unwrap();
    overlay.unblock(card(1), 4).unwrap();
    overlay.set_mode(None, Some(PortalMode::Closed), 5).unwrap();
    overlay.set_mode(Some(ReaderId(GATE)), Some(PortalMode::Free), 4).unwrap();
    let view = view(vec![slot(1, 0)], 0);
    assert_eq!(overlay.credential(view.snapshot(), &card(1)), Some(Standing::Blocked));
    assert_eq!(overlay.mode(ReaderId(GATE)), Some(PortalMode::Closed));
    assert_eq!(overlay.entries().len(), 2);
}

#[test]
fn safe_mode_holds_everywhere_until_an_operator_orders_or_it_is_lifted() {
    let overlay = Overlay::default();
    overlay.safe_mode(PortalMode::Closed);
    assert!(overlay.is_in_safe_mode() && !overlay.is_empty());
    let mode = |reader| overlay.mode(ReaderId(reader));
    assert_eq!(mode(1), Some(PortalMode::Closed));
    overlay.set_mode(Some(ReaderId(1)), None, 3).unwrap();
    assert_eq!((mode(1), mode(2)), (None, Some(PortalMode::Closed)));
    // It is kept over restarts like everything else.
    let again = Overlay::default();
    again.restore(overlay.entries()).unwrap();
    assert!(again.is_in_safe_mode());
    again.lift_safe_mode();
    assert_eq!((again.is_in_safe_mode(), again.mode(ReaderId(2))), (false, None));
    overlay.set_mode(None, Some(PortalMode::Normal), 4).unwrap();
    assert_eq!((mode(1), mode(2)), (Some(PortalMode::Normal), Some(PortalMode::Normal)));
    assert!(!overlay.is_in_safe_mode());
    // And an operator's mode is not lifted with it.
    overlay.lift_safe_mode();
    assert_eq!(mode(2), Some(PortalMode::Normal));
}

#[test]
fn full_overlay_refuses_cards_and_still_takes_modes_and_changes() {
    let overlay = Overlay::default();
    let max = u32::try_from(OVERLAY_MAX).unwrap();
    for number in 0..max {
        overlay.block(card(number), u64::from(number) + 1).unwrap();
    }
    let next = u64::from(max) + 1;
    assert_eq!(overlay.block(card(max), next), Err(OverlayFull));
    assert_eq!(overlay.unblock(card(max), next), Err(OverlayFull));
    assert_eq!(overlay.entries().len(), OVERLAY_MAX);
    overlay.unblock(card(7), next).unwrap();
    for reader in 1..=u32::try_from(OVERLAY_MODES_MAX).unwrap() {
        overlay.set_mode(Some(ReaderId(reader)), Some(PortalMode::Free), next + 1).unwrap();
    }
    assert_eq!(overlay.set_mode(Some(ReaderId(u32::MAX)), Some(PortalMode::Free), next + 1), Err(OverlayFull));
    // The mode of all always has a place: it is what closes a building.
    overlay.set_mode(None, Some(PortalMode::Closed), next + 2).unwrap();
    assert_eq!(overlay.mode(ReaderId(5)), Some(PortalMode::Closed));
    // And it takes nobody else's.
    for reader in 1..=u32::try_from(OVERLAY_MODES_MAX).unwrap() {
        overlay.set_mode(Some(ReaderId(reader)), Some(PortalMode::Free), next + 3).unwrap();
    }
    assert_eq!(overlay.set_mode(Some(ReaderId(u32::MAX)), Some(PortalMode::Free), next + 3), Err(OverlayFull));
    overlay.prune(10);
    overlay.block(card(max), next + 3).unwrap();
}

#[test]
fn no_moment_shows_neither_the_old_mode_nor_the_new() {
    let (overlay, stop) = (Overlay::default(), AtomicBool::new(false));
    overlay.set_mode(None, Some(PortalMode::Closed), 1).unwrap();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0u64;
            while !stop.load(Ordering::Relaxed) || looks == 0 {
                assert_eq!(overlay.mode(ReaderId(1)), Some(PortalMode::Closed));
                looks += 1;
            }
        });
        for number in 1..20_000 {
            overlay.set_mode(Some(ReaderId(1)), Some(PortalMode::Closed), 2 * number).unwrap();
            overlay.set_mode(None, Some(PortalMode::Closed), 2 * number + 1).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
}

/// Everything that was ever ordered, looked through from end to end.
#[derive(Default)]
struct Slow {
    ordered: Vec<OverlayEntry>,
}

impl Slow {
    fn credential(&self, snapshot: &Snapshot, sent: &Credential, uids: &[u32]) -> Option<Standing> {
        let alike = uids.iter().map(|&number| uid(number));
        let alike = alike.filter(|uid| Shape::ALL.iter().any(|shape| shape.credential_of_uid(uid) == Some(*sent)));
        let standings = alike.filter_map(|uid| {
            let named = Credential::from_uid(&uid).unwrap();
            let newest = self.ordered.iter().rev().find_map(|entry| match *entry {
                OverlayEntry::Credential { credential, standing, number } if credential == named => {
                    Some((standing, number))
                }
                _ => None,
            });
            let (standing, number) = newest?;
            let is_known = snapshot.model().slots.iter().any(|slot| slot.key == *named.as_bytes());
            let holds = standing == Standing::Blocked || is_known;
            (number > snapshot.header().last_command && holds).then_some(standing)
        });
        standings.min_by_key(|standing| *standing != Standing::Blocked)
    }

    fn mode(&self, at: ReaderId) -> Option<PortalMode> {
        let newest = self.ordered.iter().rev().find_map(|entry| match entry {
            OverlayEntry::Mode { reader, mode, .. } if reader.is_none_or(|reader| reader == at) => Some(*mode),
            _ => None,
        });
        newest.flatten()
    }
}

#[test]
fn whatever_is_ordered_and_forgotten_each_look_up_says_what_a_slow_list_says() {
    // Two and two of them look alike where readers cut to 24 bits.
    let uids = [0x0100_0001, 0x0200_0001, 0x0100_0002, 0x0200_0002, 3, 4];
    let known = || uids.iter().step_by(2).map(|&number| slot(number, profile::ALWAYS)).collect();
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut overlay, mut slow, mut last_command) = (Overlay::default(), Slow::default(), 0);
        for number in 1..=120 {
            let credential = card(uids[rng.usize(..uids.len())]);
            let reader = [None, Some(ReaderId(1)), Some(ReaderId(2)), Some(ReaderId(3))][rng.usize(..4)];
            let mode = MODES[rng.usize(..MODES.len())];
            let entry = match rng.u8(..8) {
                0..=2 => OverlayEntry::Credential { credential, standing: Standing::Blocked, number },
                3..=4 => OverlayEntry::Credential { credential, standing: Standing::Unblocked, number },
                _ => OverlayEntry::Mode { reader, mode, number },
            };
            overlay.restore([entry]).unwrap();
            slow.ordered.push(entry);
            if rng.u8(..10) == 0 {
                last_command = rng.u64(last_command..=number);
                overlay.prune(last_command);
            }
            if rng.u8(..10) == 0 {
                // A restart: what was kept, read in whatever order.
                let mut entries = overlay.entries();
                rng.shuffle(&mut entries);
                overlay = Overlay::default();
                overlay.restore(entries.iter().copied()).unwrap();
                entries.sort_by_key(|entry| overlay.entries().iter().position(|other| other == entry));
                assert_eq!(overlay.entries(), entries, "seed {seed}");
            }
            if number % 12 != 0 {
                continue;
            }
            let snapshot = containing(known(), rng.u64(last_command..=number));
            for uid in uids.map(uid) {
                for sent in Shape::ALL.iter().filter_map(|shape| shape.credential_of_uid(&uid)) {
                    let expected = slow.credential(&snapshot, &sent, &uids);
                    assert_eq!(overlay.credential(&snapshot, &sent), expected, "seed {seed}, {number}");
                }
            }
            for reader in (1..=4).map(ReaderId) {
                assert_eq!(overlay.mode(reader), slow.mode(reader), "seed {seed}, {number}");
            }
        }
    }
}
