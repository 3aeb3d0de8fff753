//! A control panel's bus with devices on it, in virtual time: how a device comes into service, and how it does not; what noise
//! and an adversary on the line can do; who has to wait for whom.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

#[path = "support/osdp.rs"]
mod support;

use std::time::Duration;

use kalitka_protocol::osdp::command::{Blink, Colour, Switch};
use kalitka_protocol::osdp::device::State;
use kalitka_protocol::osdp::reply::Capabilities;
use kalitka_protocol::osdp::{Act, Address, Alarm, Block, Check, Device, Fault, Frame, Scbk, Sequence, What};
use support::{CAPABILITIES, Peripheral, World, key};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const RELEASE: Act = Act::Output { number: 0, switch: Switch::OnForATime, tenths: 50 };

fn address(number: u8) -> Address {
    Address::new(number).unwrap()
}

fn whats(world: &World) -> Vec<What> {
    world.events.iter().map(|(_, event)| event.what).collect()
}

fn alarms(world: &World) -> Vec<Alarm> {
    let alarm = |what| if let What::Alarm(alarm) = what { Some(alarm) } else { None };
    whats(world).into_iter().filter_map(alarm).collect()
}

fn faults(world: &World, fault: Fault) -> u64 {
    world.bus.faults()[fault as usize]
}

fn state(world: &World, place: usize) -> State {
    world.bus.devices()[place].state()
}

fn run(world: &mut World, time: Duration) {
    world.run(time, |_| {});
}

/// Cards that differ: the number in 24 bits, with whatever parity.
fn shown(number: u32) -> [u8; 4] {
    (number << 7).to_be_bytes()
}

fn as_read(number: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[2, 26]);
    bytes[2..6].copy_from_slice(&shown(number));
    bytes
}

#[test]
fn enrolled_device_comes_into_service_by_its_own_key_and_in_no_other_way() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    assert_eq!(state(&world, 0), State::Online);
    assert!(whats(&world).contains(&What::Online) && alarms(&world).is_empty());
    // In the clear: identity and the two steps of the handshake, each numbered from 0 on.
    let clear: Vec<_> = world
        .sent
        .iter()
        .filter_map(|(_, frame)| {
            let frame = Frame::parse(frame).unwrap();
            let is_clear = !frame.block.is_some_and(Block::has_mac);
            is_clear.then_some((frame.code, frame.header.sequence.number()))
        })
        .collect();
    assert_eq!(clear, [(0x61, 0), (0x76, 1), (0x77, 2)]);
    let secured = world.sent.iter().skip(3).map(|(_, frame)| Frame::parse(frame).unwrap().header.sequence.number());
    assert!(secured.zip([3, 1, 2].into_iter().cycle()).all(|(sent, expected)| sent == expected));
    assert_eq!(world.devices[0].heard_in_clear, 0);
}

#[test]
fn device_without_key_is_refused_with_an_alarm_until_a_window_gives_it_one() {
    let device = Device::new(address(3), None, None);
    let mut world = World::new(38_400, vec![device], vec![Peripheral::new(3, Scbk::DEFAULT)]);
    run(&mut world, ms(20_000));
    assert_eq!((state(&world, 0), alarms(&world)), (State::Refused, vec![Alarm::NotEnrolled]));
    assert!(world.sent.iter().all(|(_, frame)| Frame::parse(frame).unwrap().code == 0x61));
    assert!(world.devices[0].key.is(&Scbk::DEFAULT));
    let until = world.now + ms(10_000);
    world.bus.device_mut(0).unwrap().install(key(9), until);
    run(&mut world, ms(1000));
    assert_eq!(state(&world, 0), State::Online);
    assert!(world.devices[0].key.is(&key(9)));
    let pinned = Capabilities::parse(&CAPABILITIES).unwrap();
    assert!(whats(&world).contains(&What::KeySet) && whats(&world).contains(&What::Pinned(pinned)));
    assert!(!world.bus.devices()[0].is_installing(), "a window closes behind its key");
    // Under the key that everybody knows nothing was said but a new key.
    let keyed = world.sent.iter().filter(|(_, frame)| frame.len() == 46 && frame[7] == 0x75).count();
    assert_eq!(keyed, 1);
}

#[test]
fn key_set_that_was_taken_and_not_acknowledged_is_found_by_the_new_key() {
    let device = Device::new(address(3), None, None);
    let mut world = World::new(38_400, vec![device], vec![Peripheral::new(3, key(9))]);
    world.bus.device_mut(0).unwrap().install(key(9), ms(10_000));
    run(&mut world, ms(1500));
    assert!(state(&world, 0) == State::Online && whats(&world).contains(&What::KeySet));
}

#[test]
fn device_in_service_is_given_another_key_by_its_own() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    let until = world.now + ms(10_000);
    world.bus.device_mut(0).unwrap().install(key(77), until);
    run(&mut world, ms(2000));
    assert!(world.devices[0].key.is(&key(77)) && state(&world, 0) == State::Online);
}

#[test]
fn window_ends_by_itself_and_gives_no_key_afterwards() {
    let device = Device::new(address(3), None, None);
    let mut peripheral = Peripheral::new(3, Scbk::DEFAULT);
    peripheral.has_power = false;
    let mut world = World::new(38_400, vec![device], vec![peripheral]);
    world.bus.device_mut(0).unwrap().install(key(9), ms(3000));
    run(&mut world, ms(4000));
    assert_eq!(whats(&world), [What::InstallOver]);
    world.devices[0].restart();
    run(&mut world, ms(10_000));
    assert!(world.devices[0].key.is(&Scbk::DEFAULT) && alarms(&world) == [Alarm::NotEnrolled]);
}

#[test]
fn wrong_key_is_refused_with_one_alarm_and_tried_again() {
    for has_default in [false, true] {
        let mut world = World::enrolled(38_400, 2);
        world.devices[1].key = if has_default { Scbk::DEFAULT } else { key(200) };
        run(&mut world, ms(21_000));
        assert_eq!((state(&world, 0), state(&world, 1)), (State::Online, State::Refused));
        assert_eq!(alarms(&world), [Alarm::WrongKey]);
        let challenges = world.sent.iter().filter(|(_, frame)| frame[1] == 1 && frame.get(8) == Some(&0x76));
        // Never by the key that everybody knows, and in the clear nothing but identity besides.
        assert!(challenges.clone().all(|(_, frame)| frame[7] == 1) && (3..8).contains(&challenges.count()));
        assert!(
            world.devices[1].told.is_empty() && world.devices[1].polls == 0 && world.devices[1].heard_in_clear == 0
        );
        world.devices[1].key = key(2);
        run(&mut world, ms(6000));
        assert_eq!((state(&world, 1), world.bus.devices()[1].alarm()), (State::Online, None));
    }
}

#[test]
fn device_that_says_it_has_no_secure_channel_is_not_spoken_to_without() {
    let mut world = World::enrolled(38_400, 1);
    // Whoever alters the answer to a challenge on the line gets no farther.
    world.mangle = Box::new(|reply| {
        let frame = Frame::parse(&reply).unwrap();
        let is_cryptogram = frame.code == 0x76;
        let header = frame.header;
        let peripheral = Peripheral::new(0, key(1));
        let nak = peripheral.reply(header.sequence, header.check, None, 0x41, &[5]);
        vec![(Duration::ZERO, if is_cryptogram { nak } else { reply })]
    });
    run(&mut world, ms(20_000));
    assert_eq!((state(&world, 0), alarms(&world)), (State::Refused, vec![Alarm::NoSecureChannel]));
    assert_eq!(world.devices[0].polls + world.devices[0].heard_in_clear, 0);
    // And in a window it gets no key, when its capabilities say so.
    let device = Device::new(address(0), None, None);
    let mut peripheral = Peripheral::new(0, Scbk::DEFAULT);
    peripheral.capabilities = vec![8, 1, 0];
    let mut world = World::new(38_400, vec![device], vec![peripheral]);
    world.bus.device_mut(0).unwrap().install(key(9), ms(3000));
    run(&mut world, ms(2000));
    assert!(alarms(&world) == [Alarm::NoSecureChannel] && world.devices[0].key.is(&Scbk::DEFAULT));
}

#[test]
fn changed_capabilities_raise_an_alarm_and_do_not_become_the_pinned_ones() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    world.devices[0].capabilities.extend([16, 1, 1]);
    world.devices[0].has_power = false;
    run(&mut world, ms(10_000));
    world.devices[0].restart();
    run(&mut world, ms(2500));
    assert_eq!((state(&world, 0), alarms(&world)), (State::Online, vec![Alarm::CapabilitiesChanged]));
    assert_eq!(world.bus.devices()[0].alarm(), Some(Alarm::CapabilitiesChanged), "it lasts");
    assert!(!whats(&world).iter().any(|what| matches!(what, What::Pinned(_))));
}

#[test]
fn device_that_cannot_check_a_crc_is_spoken_to_with_sums() {
    let mut world = World::enrolled(38_400, 1);
    world.devices[0].sums_only = true;
    run(&mut world, ms(2000));
    assert_eq!(state(&world, 0), State::Online);
}

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
fn device_that_was_without_power_for_a_moment_opens_a_new_channel() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    world.devices[0].restart();
    run(&mut world, ms(500));
    assert!(state(&world, 0) == State::Online && world.devices[0].is_secure());
    assert_eq!((faults(&world, Fault::Clear), alarms(&world)), (1, vec![]));
    world.devices[0].show(shown(7));
    run(&mut world, ms(100));
    assert_eq!(world.cards(), [as_read(7)]);
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
fn replayed_or_forged_reply_of_the_right_number_breaks_the_channel_and_is_never_taken() {
    let mut world = World::enrolled(38_400, 1);
    world.devices[0].show(shown(1));
    run(&mut world, ms(500));
    assert_eq!(world.cards(), [as_read(1)]);
    let mut round = 0;
    let mut card: Option<Vec<u8>> = None;
    world.devices[0].show(shown(2));
    world.mangle = Box::new(move |reply| {
        let frame = Frame::parse(&reply).unwrap();
        if frame.code == 0x50 && frame.block == Some(Block::Encrypted) {
            card = Some(reply.clone());
        }
        round += 1;
        // Every so often the card of before, under its old number, in the place of the reply.
        match &card {
            Some(card) if round % 10 == 0 && card[4] == reply[4] => vec![(Duration::ZERO, card.clone())],
            _ => vec![(Duration::ZERO, reply)],
        }
    });
    run(&mut world, ms(5000));
    assert_eq!(world.cards(), [as_read(1), as_read(2)]);
    assert!(faults(&world, Fault::WrongMac) > 3);
    assert_eq!(alarms(&world).first(), Some(&Alarm::ChannelBroken));
    // The same in the clear, without a key at all.
    world.mangle = Box::new(|reply| {
        let frame = Frame::parse(&reply).unwrap();
        let forger = Peripheral::new(0, key(1));
        let header = frame.header;
        match frame.block.is_some_and(Block::has_mac) {
            true => vec![(
                Duration::ZERO,
                forger.reply(header.sequence, header.check, None, 0x50, &[0, 1, 26, 0, 9, 9, 9, 0]),
            )],
            false => vec![(Duration::ZERO, reply)],
        }
    });
    // What is on its way still arrives.
    run(&mut world, ms(20));
    let told = world.events.len();
    run(&mut world, ms(2000));
    assert!(!world.events[told..].iter().any(|(_, event)| matches!(event.what, What::Card(_) | What::Online)));
    world.mangle = Box::new(|reply| vec![(Duration::ZERO, reply)]);
    run(&mut world, ms(1000));
    assert_eq!(state(&world, 0), State::Online);
}

#[test]
fn acts_leave_at_the_next_slot_in_their_order_and_not_after_their_channel() {
    let mut world = World::enrolled(38_400, 2);
    assert!(world.bus.act(0, RELEASE).is_err(), "not in service yet");
    run(&mut world, ms(500));
    let blink = Blink { on: 5, off: 0, on_colour: Colour::Green, off_colour: Colour::None };
    let led = Act::Led { number: 0, blink, tenths: Some(30) };
    let buzzer = Act::Buzzer { on: 1, off: 1, count: 2 };
    let (from, at) = (world.sent.len(), world.now);
    for act in [RELEASE, led, buzzer] {
        world.bus.act(1, act).unwrap();
    }
    run(&mut world, ms(200));
    let told: Vec<_> = world.devices[1].told.iter().map(|(code, _)| *code).collect();
    assert_eq!(told, [0x68, 0x69, 0x6a]);
    assert_eq!(world.devices[1].told[0].1, [0, 5, 50, 0]);
    let first = world.sent[from..].iter().find(|(_, frame)| frame[1] == 1 && frame[7] == 0x68).unwrap();
    assert!(first.0 - at < ms(20), "{:?}", first.0 - at);
    // What waits when the channel breaks does not open a door later.
    world.devices[1].restart();
    world.bus.act(1, RELEASE).unwrap();
    world.bus.act(1, RELEASE).unwrap();
    run(&mut world, ms(3000));
    assert_eq!((world.devices[1].told.len(), faults(&world, Fault::ActLost)), (3, 2));
    for _ in 0..8 {
        world.bus.act(1, buzzer).unwrap();
    }
    assert!(world.bus.act(1, buzzer).is_err(), "no more wait than are bounded");
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
                world.bus.act(event.device, RELEASE).unwrap();
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
        run(&mut world, ms(20_000));
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

#[test]
fn inputs_are_told_when_they_change_and_when_they_are_first_known() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    let inputs = |world: &World| -> Vec<(u32, u32)> {
        whats(world)
            .into_iter()
            .filter_map(|what| match what {
                What::Inputs { points, changed } => Some((points.active, changed)),
                _ => None,
            })
            .collect()
    };
    assert_eq!(inputs(&world), [(0, 0)]);
    for state in [[1, 0], [1, 0], [1, 1], [0, 0]] {
        world.devices[0].to_say.push_back((0x49, state.to_vec()));
        world.devices[0].to_say.push_back((0x48, vec![state[1], 0]));
    }
    run(&mut world, ms(500));
    assert_eq!(inputs(&world), [(0, 0), (1, 1), (3, 2), (0, 3)]);
    let tampered: Vec<_> =
        whats(&world).into_iter().filter(|what| matches!(what, What::Local { tamper: true, .. })).collect();
    assert_eq!(tampered.len(), 1);
}
