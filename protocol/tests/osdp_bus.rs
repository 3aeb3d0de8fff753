//! A control panel's bus with devices on it, in virtual time: who has to wait for whom, and what a bad line can do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

#[path = "support/osdp.rs"]
mod support;

use std::time::Duration;

use kalitka_protocol::limits::{OSDP_DEVICES_MAX, OSDP_OFFLINE_AFTER};
use kalitka_protocol::osdp::command::{Blink, Colour};
use kalitka_protocol::osdp::device::State;
use kalitka_protocol::osdp::{Act, Check, Fault, Frame, Sequence, What};
use support::{Peripheral, RELEASE, World, as_read, faults, key, ms, releases_lost, run, shown, state, whats};

#[test]
fn busy_device_is_asked_the_same_again_byte_for_byte() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    let from = world.sent.len();
    world.devices[0].busy = 3;
    world.devices[0].show(shown(5));
    run(&mut world, ms(500));
    assert_eq!((faults(&world, Fault::Busy), world.cards()), (3, vec![as_read(5)]));
    let sent: Vec<_> = world.sent[from..].iter().map(|(_, frame)| frame).collect();
    let same = sent.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!((same, state(&world, 0)), (3, State::Online));
}

#[test]
fn lost_reply_is_asked_for_again_byte_for_byte_and_nothing_is_lost_or_doubled() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    let mut count = 0;
    world.mangle = Box::new(move |reply| {
        count += 1;
        if count % 5 == 0 { vec![] } else { vec![(Duration::ZERO, reply)] }
    });
    let numbers: Vec<u32> = (0..40).collect();
    numbers.iter().for_each(|&number| world.devices[0].show(shown(number)));
    run(&mut world, ms(20_000));
    assert_eq!(world.cards(), numbers.into_iter().map(as_read).collect::<Vec<_>>());
    assert!(faults(&world, Fault::NoReply) >= 10 && !whats(&world).contains(&What::Offline));
}

#[test]
fn reply_that_comes_between_two_tries_or_in_anothers_slot_is_taken() {
    for late in (300..500).step_by(3) {
        let mut world = World::enrolled(38_400, 2);
        run(&mut world, ms(1000));
        let (mut polls, mut said) = (0, 0);
        // A device that does not say again what it has said: its card is in that one reply.
        world.mangle = Box::new(move |reply| {
            let is_card = Frame::parse(&reply).unwrap().code == 0x50;
            said += u32::from(is_card);
            polls += u32::from(reply[1] == 0x81);
            match is_card {
                true if said == 1 => vec![(ms(late), reply)],
                true => vec![],
                // The other is slow, so that its slot is mostly open.
                false if reply[1] == 0x81 && polls > 10 => vec![(ms(25), reply)],
                false => vec![(Duration::ZERO, reply)],
            }
        });
        world.devices[0].show(shown(9));
        run(&mut world, ms(1500));
        assert_eq!(world.cards(), [as_read(9)], "{late} ms late");
        let faults = [Fault::Unasked, Fault::WrongAddress, Fault::WrongMac].map(|fault| faults(&world, fault));
        assert_eq!((faults, state(&world, 0), state(&world, 1)), ([0; 3], State::Online, State::Online));
    }
}

#[test]
fn silent_device_is_offline_after_eight_seconds_and_back_within_two_of_its_return() {
    let mut world = World::enrolled(9600, 4);
    run(&mut world, ms(1500));
    world.devices[2].has_power = false;
    let lost = world.now;
    // The others are in use all the time.
    let busy = |world: &mut World| {
        for place in [0, 1, 3] {
            if world.devices[place].to_say.is_empty() {
                world.devices[place].show(shown(1));
            }
        }
    };
    world.run(ms(12_000), busy);
    let offline = world.events.iter().find(|(_, event)| event.what == What::Offline).unwrap();
    assert!(
        offline.1.device == 2 && offline.0 - lost >= ms(7900) && offline.0 - lost < ms(9500),
        "{:?}",
        offline.0 - lost
    );
    let told = world.events.len();
    world.devices[2].restart();
    let back = world.now;
    world.run(ms(2500), busy);
    let online = world.events[told..].iter().find(|(_, event)| event.what == What::Online).unwrap();
    assert!(online.1.device == 2 && online.0 - back < ms(2000), "{:?}", online.0 - back);
}

#[test]
fn all_devices_of_a_line_may_be_lost_at_the_same_moment_each_with_a_release() {
    let mut world = World::enrolled(115_200, u8::try_from(OSDP_DEVICES_MAX).unwrap());
    run(&mut world, ms(3000));
    assert!((0..OSDP_DEVICES_MAX).all(|place| state(&world, place) == State::Online));
    world.devices.iter_mut().for_each(|device| device.has_power = false);
    (0..OSDP_DEVICES_MAX).for_each(|place| world.act(place, RELEASE).unwrap());
    // The line has been held up.
    world.now += OSDP_OFFLINE_AFTER;
    run(&mut world, ms(1000));
    let lost = whats(&world).into_iter().filter(|what| *what == What::Offline).count();
    assert_eq!((lost, faults(&world, Fault::EventLost)), (OSDP_DEVICES_MAX, 0));
    assert_eq!(releases_lost(&world).len(), OSDP_DEVICES_MAX);
}

#[test]
fn replies_of_others_of_the_past_and_of_nobody_are_not_taken() {
    let mut world = World::enrolled(38_400, 2);
    run(&mut world, ms(500));
    let (from, before) = (world.events.len(), *world.bus.faults());
    let polls = world.devices[0].polls;
    let mut past: Vec<Vec<u8>> = Vec::new();
    world.mangle = Box::new(move |reply| {
        past.push(reply.clone());
        let other = Peripheral::new(reply[1] & 0x7f ^ 1, key(1));
        let wrong_address = other.reply(Sequence::FIRST, Check::Crc, None, 0x40, &[]);
        let wrong_number = {
            let parsed = Frame::parse(&reply).unwrap();
            let owner = Peripheral::new(reply[1] & 0x7f, key(1));
            owner.reply(parsed.header.sequence.next(), Check::Crc, None, 0x50, &[0, 1, 26, 0, 1, 2, 3, 0])
        };
        let old = past[past.len().saturating_sub(5)].clone();
        let is_same_number = old[1] == reply[1] && (old[4] & 3) == (reply[4] & 3);
        let mut arriving = vec![(Duration::ZERO, wrong_address), (Duration::ZERO, wrong_number)];
        if !is_same_number {
            arriving.push((Duration::ZERO, old));
        }
        // Late: behind the one that counts, and in nobody's slot.
        arriving.push((Duration::ZERO, reply.clone()));
        arriving.push((Duration::from_micros(1), reply));
        arriving
    });
    run(&mut world, ms(3000));
    assert_eq!(world.events.len(), from, "{:?}", &world.events[from..]);
    assert!(world.devices[0].polls > polls + 50);
    let grown = |fault: Fault| world.bus.faults()[fault as usize] - before[fault as usize];
    assert!(grown(Fault::WrongAddress) > 50 && grown(Fault::WrongSequence) > 50 && grown(Fault::Unasked) > 50);
    assert_eq!((grown(Fault::WrongMac), grown(Fault::Clear), grown(Fault::NoReply)), (0, 0, 0));
}

#[test]
fn acts_leave_at_the_next_slot_in_their_order_and_never_late() {
    let mut world = World::enrolled(38_400, 2);
    assert!(world.act(0, RELEASE).is_err(), "not in service yet");
    run(&mut world, ms(500));
    let blink = Blink { on: 5, off: 0, on_colour: Colour::Green, off_colour: Colour::None };
    let led = Act::Led { number: 0, blink, tenths: Some(30) };
    let buzzer = Act::Buzzer { on: 1, off: 1, count: 2 };
    let (from, at) = (world.sent.len(), world.now);
    for act in [RELEASE, led, buzzer] {
        world.act(1, act).unwrap();
    }
    run(&mut world, ms(200));
    let told: Vec<_> = world.devices[1].told.iter().map(|(code, _)| *code).collect();
    assert_eq!(told, [0x68, 0x69, 0x6a]);
    assert_eq!(world.devices[1].told[0].1, [0, 5, 50, 0]);
    let first = world.sent[from..].iter().find(|(_, frame)| frame[1] == 1 && frame[7] == 0x68).unwrap();
    assert!(first.0 - at < ms(20), "{:?}", first.0 - at);
    // When the channel breaks, a release under way may have been done, and is not said again.
    world.devices[1].restart();
    world.act(1, RELEASE).unwrap();
    run(&mut world, ms(1000));
    assert_eq!((world.devices[1].told.len(), faults(&world, Fault::ActLost)), (3, 2));
    // What only shows is said again.
    world.devices[1].restart();
    for act in [led, buzzer] {
        world.act(1, act).unwrap();
    }
    run(&mut world, ms(1000));
    assert_eq!(world.devices[1].told[3..].iter().map(|(code, _)| *code).collect::<Vec<_>>(), [0x69, 0x6a]);
    // Nothing that has waited for long opens a door.
    world.devices[1].has_power = false;
    for act in [led, RELEASE, RELEASE] {
        world.act(1, act).unwrap();
    }
    run(&mut world, ms(3000));
    world.devices[1].restart();
    run(&mut world, ms(2000));
    assert_eq!((state(&world, 1), world.devices[1].told.len()), (State::Online, 5));
    assert_eq!(faults(&world, Fault::ActLost), 5);
    for _ in 0..8 {
        world.act(1, buzzer).unwrap();
    }
    assert!(world.act(1, buzzer).is_err(), "no more wait than are bounded");
}

#[test]
fn release_that_was_sent_and_not_answered_is_not_sent_again_when_it_is_late() {
    for waited in [Duration::ZERO, ms(1900)] {
        let mut world = World::enrolled(38_400, 1);
        run(&mut world, ms(2500));
        // The line is cut, and the device keeps its channel.
        world.devices[0].has_power = false;
        let (from, late) = (world.sent.len(), world.now + ms(2000) - waited);
        world.bus.act(world.now - waited, 0, RELEASE).unwrap();
        run(&mut world, ms(3000));
        let releases = world.sent[from..].iter().filter(|(_, frame)| frame[7] == 0x68);
        assert!(releases.clone().count() > 0 && releases.clone().all(|(at, _)| *at < late + ms(10)));
        assert_eq!((faults(&world, Fault::ActLost), whats(&world).contains(&What::Offline)), (1, false));
        world.devices[0].has_power = true;
        run(&mut world, ms(3000));
        assert_eq!((state(&world, 0), world.devices[0].told.len()), (State::Online, 0), "who comes by now is let in");
    }
}

const fn light(on_colour: Colour) -> Act {
    Act::Led { number: 0, blink: Blink { on: 10, off: 0, on_colour, off_colour: Colour::None }, tenths: Some(30) }
}

#[test]
fn light_behind_a_release_that_is_lost_is_not_lit_and_the_loss_is_told() {
    let buzzer = Act::Buzzer { on: 1, off: 1, count: 1 };
    for (breaks, refuses, may_be_done) in [(true, false, true), (false, true, false)] {
        let mut world = World::enrolled(38_400, 1);
        run(&mut world, ms(500));
        if breaks {
            world.devices[0].restart();
        }
        if refuses {
            world.devices[0].refuses = vec![0x68];
        }
        for act in [RELEASE, light(Colour::Green), buzzer] {
            world.act(0, act).unwrap();
        }
        // Of the next, who is denied.
        run(&mut world, Duration::from_micros(1));
        world.act(0, light(Colour::Red)).unwrap();
        run(&mut world, ms(1500));
        let told: Vec<_> = world.devices[0].told.iter().map(|(code, data)| (*code, data[5])).collect();
        assert_eq!(told, [(0x69, Colour::Red as u8)]);
        assert_eq!((releases_lost(&world), faults(&world, Fault::ActLost)), (vec![may_be_done], 3));
    }
}

#[test]
fn release_that_was_refused_when_it_was_said_again_may_have_been_done() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    world.devices[0].refuses = vec![0x68];
    world.act(0, RELEASE).unwrap();
    let mut lost = 0;
    world.mangle = Box::new(move |reply| {
        lost += 1;
        if lost == 1 { vec![] } else { vec![(Duration::ZERO, reply)] }
    });
    run(&mut world, ms(1000));
    assert_eq!((releases_lost(&world), state(&world, 0)), (vec![true], State::Online));
}

#[test]
fn release_that_waits_in_vain_or_finds_no_room_is_told_as_lost() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    world.devices[0].has_power = false;
    let at = world.now;
    world.act(0, light(Colour::Red)).unwrap();
    run(&mut world, ms(100));
    world.act(0, RELEASE).unwrap();
    run(&mut world, ms(1950));
    assert_eq!(releases_lost(&world), []);
    run(&mut world, ms(400));
    assert_eq!((releases_lost(&world), faults(&world, Fault::ActLost)), (vec![false], 2));
    assert!(world.now - at < ms(8000) && world.devices[0].told.is_empty());
    for _ in 0..8 {
        world.act(0, light(Colour::Red)).unwrap();
    }
    assert!(world.act(0, RELEASE).is_err());
    run(&mut world, ms(1));
    assert_eq!(releases_lost(&world), [false, false]);
}

#[test]
fn lost_release_is_told_by_the_moment_since_which_it_was_waited_for() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    world.devices[0].has_power = false;
    let since = [500, 400, 300].map(|before| world.now - ms(before));
    for since in since {
        world.bus.act(since, 0, RELEASE).unwrap();
        run(&mut world, ms(100));
    }
    run(&mut world, ms(2000));
    let lost: Vec<_> = whats(&world).into_iter().filter(|what| matches!(what, What::ReleaseLost { .. })).collect();
    let told = |place: usize| What::ReleaseLost { since: since[place], may_be_done: place == 0 };
    assert_eq!(lost, [0, 1, 2].map(told));
}

/// Cards shown one after the other at devices 0 to 2, each at another moment; gives for each how long until it was told.
fn waits(world: &mut World, cards: u32) -> Vec<Duration> {
    let mut waits = Vec::new();
    for number in 0..cards {
        world.run(Duration::from_micros(97_000 + u64::from(number) * 7919 % 60_000), |_| {});
        let told = world.events.len();
        let shown_at = world.now;
        world.devices[(number % 3) as usize].show(shown(number));
        while !world.events[told..].iter().any(|(_, event)| matches!(event.what, What::Card(_))) {
            world.run(Duration::from_micros(1), |_| {});
            assert!(world.now - shown_at < ms(3000));
        }
        waits.push(world.events.last().unwrap().0 - shown_at);
    }
    waits
}

fn mean(waits: &[Duration]) -> Duration {
    waits.iter().sum::<Duration>() / u32::try_from(waits.len()).unwrap()
}

#[test]
fn dead_device_of_four_costs_the_others_less_than_ten_milliseconds() {
    let mut whole = World::enrolled(38_400, 4);
    run(&mut whole, ms(12_000));
    let mut with_dead = World::enrolled(38_400, 4);
    with_dead.devices[3].has_power = false;
    run(&mut with_dead, ms(12_000));
    let (whole, with_dead) = (waits(&mut whole, 200), waits(&mut with_dead, 200));
    let added = mean(&with_dead).saturating_sub(mean(&whole));
    assert!(added < ms(10), "{:?} and {:?}", mean(&whole), mean(&with_dead));
}

#[test]
fn slow_device_does_not_stall_the_others() {
    let mut quick = World::enrolled(38_400, 4);
    run(&mut quick, ms(2000));
    let mut with_slow = World::enrolled(38_400, 4);
    with_slow.devices[3].delay = ms(150);
    run(&mut with_slow, ms(8000));
    assert_eq!(state(&with_slow, 3), State::Online);
    let (quick, with_slow) = (waits(&mut quick, 200), waits(&mut with_slow, 200));
    // It has the line for at most a fifth of the time, 160 ms at once.
    let added = mean(&with_slow).saturating_sub(mean(&quick));
    assert!(added < ms(25), "{added:?}");
    assert!(with_slow.iter().max().unwrap() < &ms(260));
}

#[test]
fn device_in_use_is_polled_more_often_than_others() {
    let mut world = World::enrolled(115_200, 4);
    run(&mut world, ms(2000));
    let before: Vec<_> = world.devices.iter().map(|device| device.polls).collect();
    world.devices[1].show(shown(1));
    run(&mut world, ms(1000));
    let polls: Vec<_> = world.devices.iter().zip(before).map(|(device, before)| device.polls - before).collect();
    assert!(polls[1] * 2 > polls[0] * 3 && polls[0] > 20, "{polls:?}");
}

#[test]
fn secured_card_is_answered_within_thirty_milliseconds_at_the_median() {
    let mut world = World::enrolled(38_400, 2);
    run(&mut world, ms(2000));
    let mut waits = Vec::new();
    for number in 0..200_u32 {
        // Longer than a device counts as in use, so that it is polled like any other.
        world.run(ms(2100) + Duration::from_micros(u64::from(number) * 7919 % 40_000), |_| {});
        let (shown_at, told, from) = (world.now, world.events.len(), world.sent.len());
        world.devices[(number % 2) as usize].show(shown(number));
        let mut has_acted = false;
        let mut answered = None;
        while answered.is_none() {
            world.run(Duration::from_micros(1), |_| {});
            let card = world.events[told..].iter().find(|(_, event)| matches!(event.what, What::Card(_)));
            if let Some((_, event)) = card.filter(|_| !has_acted) {
                has_acted = true;
                world.act(event.device, RELEASE).unwrap();
            }
            answered = world.sent[from..].iter().find(|(_, frame)| frame[7] == 0x68).map(|(at, _)| *at);
            assert!(world.now - shown_at < ms(1000));
        }
        waits.push(answered.unwrap() - shown_at);
    }
    waits.sort();
    assert!(waits[100] < ms(30), "median {:?}, greatest {:?}", waits[100], waits[199]);
}

/// Cards over a line that flips bits, drops, doubles and delays replies, cuts them, and fills every silence with noise: what
/// was shown is told, each once, in its order, and nothing else.
#[test]
fn noisy_line_loses_nothing_doubles_nothing_and_invents_nothing() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::enrolled(115_200, 3);
        run(&mut world, ms(1000));
        world.mangle = Box::new(move |mut reply| {
            let late = |random: &mut fastrand::Rng| Duration::from_micros(random.u64(0..3000));
            match random.u32(0..10) {
                0 => vec![],
                1 => {
                    let bit = random.usize(0..reply.len() * 8);
                    reply[bit / 8] ^= 1 << (bit % 8);
                    vec![(Duration::ZERO, reply)]
                }
                2 => vec![(Duration::ZERO, reply[..random.usize(0..reply.len())].to_vec())],
                3 => vec![(Duration::ZERO, reply.clone()), (late(&mut random), reply)],
                4 => vec![(late(&mut random), [&[0x53, 0x80, 0x20][..], &reply].concat())],
                _ => vec![(Duration::ZERO, reply)],
            }
        });
        for number in 0..300_u32 {
            world.devices[(number % 3) as usize].show(shown(number));
            let noise: Vec<u8> = (0..random_len(number)).map(|place| noise_byte(seed, number, place)).collect();
            world.inject(world.now, noise);
            run(&mut world, ms(60));
        }
        run(&mut world, ms(60_000));
        let cards = world.cards();
        for place in 0..3 {
            let of = |number: &u32| number % 3 == place;
            let shown: Vec<_> = (0..300).filter(of).map(as_read).collect();
            let told: Vec<_> = cards.iter().filter(|card| shown.contains(card)).copied().collect();
            assert!(told == shown, "seed {seed}: {} of {} told", told.len(), shown.len());
        }
        assert_eq!(cards.len(), 300, "seed {seed}");
        assert!(faults(&world, Fault::NoReply) > 20 && faults(&world, Fault::Damaged) > 5);
    }
}

const fn random_len(number: u32) -> u32 {
    number * 7919 % 40
}

#[expect(clippy::cast_possible_truncation, reason = "a byte of noise")]
fn noise_byte(seed: u64, number: u32, place: u32) -> u8 {
    if place.is_multiple_of(5) { 0x53 } else { (seed as u32 * 31 + number * 7 + place * 13) as u8 }
}

#[test]
fn noise_at_full_rate_takes_nothing_but_time_and_the_bus_recovers() {
    let mut world = World::enrolled(115_200, 2);
    run(&mut world, ms(1000));
    let mut random = fastrand::Rng::with_seed(1);
    let end = world.now + ms(3000);
    let mut at = world.now;
    while at < end {
        let noise: Vec<u8> = (0..11).map(|_| if random.bool() { 0x53 } else { random.u8(..) }).collect();
        world.inject(at, noise);
        at += ms(1);
    }
    let told = world.events.len();
    run(&mut world, ms(3000));
    assert!(world.events[told..].iter().all(|(_, event)| !matches!(event.what, What::Card(_) | What::Keypad(_))));
    run(&mut world, ms(3000));
    assert_eq!((state(&world, 0), state(&world, 1)), (State::Online, State::Online));
    world.devices[0].show(shown(3));
    run(&mut world, ms(100));
    assert_eq!(world.cards(), [as_read(3)]);
}
