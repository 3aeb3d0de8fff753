//! What happens in a run, and when: a pure function of the seed.

use fastrand::Rng;

use super::fault::{Damage, Fault, Net, Sickness, Weather, Who};

/// Faults of a chapter, at most about so many: then the stage is built anew, so that stores and the judgement stay small.
const BLOWS_MAX: u64 = 60;
/// Receipts between two blows, at most.
const RECEIPTS_MAX: u64 = 300;
/// How long a moment is waited for at most, in milliseconds, when receipts do not come.
const PATIENCE_MS: u16 = 800;
/// One moment in so many waits until the hub has caught up.
const CALM_EVERY: u32 = 12;

/// How many faults of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    /// SIGKILLs.
    pub kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Damaged stores.
    pub damaged: u64,
    /// Faults of disks.
    pub disk: u64,
    /// Faults of networks.
    pub net: u64,
}

/// When a fault comes after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After so many receipts more, or so many milliseconds when they do not come.
    Receipts(u64, u16),
    /// When the hub has had something acknowledged since.
    HubHeard,
}

/// A fault and its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    /// When.
    pub moment: Moment,
    /// What.
    pub fault: Fault,
}

/// What happens on one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// Its number in the run, from 0.
    pub number: u64,
    /// Whether its disks are those that fail when they are told so; else they are ext4 on loop devices. They take turns.
    pub on_sick_disks: bool,
    /// Of the readers' happenings.
    pub crowd_seed: u64,
    /// In their order.
    pub blows: Vec<Blow>,
}

impl Mix {
    /// A chapter with some of everything.
    pub const CHAPTER: Self = Self { kills: 28, power_cuts: 8, damaged: 9, disk: 3, net: 10 };
    /// The short form: each way to damage a store once, and some of the rest.
    pub const SHORT: Self = Self { kills: 12, power_cuts: 5, damaged: Damage::ALL.len() as u64, disk: 2, net: 6 };

    /// How many faults there are.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.kills + self.power_cuts + self.damaged + self.disk + self.net
    }

    /// How many chapters hold all of it.
    #[must_use]
    pub const fn chapters(self) -> u64 {
        let chapters = self.total().div_ceil(BLOWS_MAX);
        if chapters == 0 { 1 } else { chapters }
    }

    /// The part of it that the chapter `number` of `chapters` has; all parts together are all of it.
    #[must_use]
    pub fn share(self, number: u64, chapters: u64) -> Self {
        let part = |all: u64| all * (number + 1) / chapters - all * number / chapters;
        Self {
            kills: part(self.kills),
            power_cuts: part(self.power_cuts),
            damaged: part(self.damaged),
            disk: part(self.disk),
            net: part(self.net),
        }
    }
}

/// The chapter `number` of the run with `seed`. `damaged_before` is how many stores the chapters before it damage: the ways to
/// do it take turns over the whole run.
#[must_use]
pub fn chapter(seed: u64, number: u64, mix: Mix, damaged_before: u64) -> Chapter {
    let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let crowd_seed = rng.u64(..);
    let mut faults = Vec::new();
    let mut kills = mix.kills;
    while kills > 0 {
        let fault = kill(&mut rng, kills > 1);
        kills -= fault.kills();
        faults.push(fault);
    }
    faults.extend((0..mix.power_cuts).map(|_| Fault::PowerCut(who(&mut rng))));
    for turn in damaged_before..damaged_before + mix.damaged {
        faults.push(damage(&mut rng, turn));
    }
    let on_sick_disks = number % 2 == 1;
    faults.extend((0..mix.disk).map(|_| if on_sick_disks { sick_disk(&mut rng) } else { full_disk(&mut rng) }));
    faults.extend((0..mix.net).map(|_| net(&mut rng)));
    rng.shuffle(&mut faults);
    let blows = faults.into_iter().map(|fault| Blow { moment: moment(&mut rng), fault }).collect();
    Chapter { number, on_sick_disks, crowd_seed, blows }
}

fn moment(rng: &mut Rng) -> Moment {
    if rng.u32(..CALM_EVERY) == 0 {
        return Moment::HubHeard;
    }
    Moment::Receipts(rng.u64(1..=RECEIPTS_MAX), rng.u16(PATIENCE_MS / 4..=PATIENCE_MS))
}

fn who(rng: &mut Rng) -> Who {
    [Who::Gateway, Who::Gateway, Who::Hub, Who::Both][rng.usize(..4)]
}

fn kill(rng: &mut Rng, may_be_two: bool) -> Fault {
    let again = (may_be_two && rng.u8(..4) == 0).then(|| rng.u16(..300));
    Fault::Kill(who(rng), again)
}

fn damage(rng: &mut Rng, turn: u64) -> Fault {
    let ways = Damage::ALL.len() as u64;
    let how = Damage::ALL[usize::try_from(turn % ways).unwrap()];
    // Drawn in any case, so that one way's rule does not change what comes behind it.
    let (seed, calm) = (rng.u64(..), rng.bool());
    Fault::Damage { how, seed, calm: calm || !how.may_hit_unsent() }
}

fn full_disk(rng: &mut Rng) -> Fault {
    let who = if rng.u8(..4) == 0 { Who::Hub } else { Who::Gateway };
    let but_kib = [0, 64, 1024, 12 * 1024][rng.usize(..4)];
    Fault::FullDisk { who, but_kib, ms: rng.u16(300..1500), restart: rng.bool() }
}

fn sick_disk(rng: &mut Rng) -> Fault {
    let who = if rng.u8(..4) == 0 { Who::Hub } else { Who::Gateway };
    let every = [1, 1, 7, 40][rng.usize(..4)];
    let (how, may_start) = match rng.u8(..7) {
        0 => (Sickness::SlowSyncs(rng.u16(20..1200)), true),
        1 => (Sickness::FailingSyncs(every), false),
        2 => (Sickness::FailingWrites(every), false),
        3 => (Sickness::FailingReads(every), false),
        4 => (Sickness::ShortWrites(every), false),
        5 => (Sickness::ReadOnly, false),
        _ => (Sickness::Full, true),
    };
    let restart = rng.bool() && may_start && who == Who::Gateway;
    Fault::SickDisk { who, how, ms: rng.u16(300..2500), restart }
}

fn net(rng: &mut Rng) -> Fault {
    if rng.bool() {
        let weather = match rng.u8(..8) {
            0 => Weather::Lossy(rng.u16(10..100)),
            1 => Weather::Slow(rng.u16(1..20)),
            2 => Weather::Cut(rng.u16(50..600)),
            3 => Weather::Moved,
            4 => Weather::Shuffled(rng.u16(10..200)),
            _ => Weather::Fair,
        };
        return Fault::Net(Net::Readers, weather);
    }
    let weather = match rng.u8(..9) {
        0 => Weather::Lossy(rng.u16(10..200)),
        1 => Weather::Slow(rng.u16(5..150)),
        2 => Weather::Narrow(rng.u32(256..20_000)),
        3 => Weather::Cut(rng.u16(50..1500)),
        4 => Weather::Moved,
        5 => Weather::Shuffled(rng.u16(10..300)),
        6 => Weather::Awful,
        _ => Weather::Fair,
    };
    Fault::Net(Net::Uplink, weather)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::torture::fault::Kind;

    fn count(chapter: &Chapter, kind: Kind) -> u64 {
        let of = chapter.blows.iter().filter(|blow| blow.fault.kind() == kind);
        of.map(|blow| if kind == Kind::Kill { blow.fault.kills() } else { 1 }).sum()
    }

    #[test]
    fn chapter_is_a_function_of_seed_and_number() {
        let of = |seed, number| chapter(seed, number, Mix::CHAPTER, 3);
        assert_eq!(of(1, 2), of(1, 2));
        assert_ne!(of(1, 2).blows, of(1, 3).blows);
        assert_ne!(of(1, 2).blows, of(2, 2).blows);
    }

    #[test]
    fn chapters_together_have_exactly_what_was_asked_for() {
        let all = Mix { kills: 1000, power_cuts: 200, damaged: 100, disk: 31, net: 77 };
        let chapters = all.chapters();
        let (mut sum, mut ways) = (Mix::default(), BTreeSet::new());
        for number in 0..chapters {
            let chapter = chapter(5, number, all.share(number, chapters), sum.damaged);
            assert!(chapter.blows.len() as u64 <= BLOWS_MAX + 5, "{}", chapter.blows.len());
            sum.kills += count(&chapter, Kind::Kill);
            sum.power_cuts += count(&chapter, Kind::PowerCut);
            sum.damaged += count(&chapter, Kind::Damage);
            sum.disk += count(&chapter, Kind::Disk);
            sum.net += count(&chapter, Kind::Net);
            for blow in &chapter.blows {
                if let Fault::Damage { how, calm, .. } = blow.fault {
                    ways.insert(how);
                    assert!(calm || how.may_hit_unsent());
                }
            }
        }
        assert_eq!(sum, all);
        assert_eq!(ways.len(), Damage::ALL.len(), "a hundred damages take every way");
    }

    #[test]
    fn short_form_damages_stores_in_every_way() {
        let chapter = chapter(9, 0, Mix::SHORT, 0);
        let of = |blow: &Blow| match blow.fault {
            Fault::Damage { how, .. } => Some(how),
            _ => None,
        };
        let ways: BTreeSet<_> = chapter.blows.iter().filter_map(of).collect();
        assert_eq!(ways.len(), Damage::ALL.len());
    }
}
