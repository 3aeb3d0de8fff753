//! One device in virtual time: how it comes into service, how it does not, and what an adversary on the line can do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

#[path = "support/osdp.rs"]
mod support;

use std::time::Duration;

use kalitka_protocol::osdp::device::State;
use kalitka_protocol::osdp::reply::Capabilities;
use kalitka_protocol::osdp::{Alarm, Block, Device, Fault, Frame, Scbk, What};
use support::{CAPABILITIES, Peripheral, World, address, alarms, as_read, faults, key, ms, run, shown, state, whats};

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
    assert!(world.bus.devices()[0].is_installing());
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

/// By which key, as a block names it, the device at address 1 was challenged each time.
fn challenges(world: &World) -> Vec<u8> {
    let is_challenge = |frame: &Vec<u8>| frame[1] == 1 && frame.get(8) == Some(&0x76);
    world.sent.iter().filter(|(_, frame)| is_challenge(frame)).map(|(_, frame)| frame[7]).collect()
}

#[test]
fn wrong_key_is_refused_with_one_alarm_and_tried_again() {
    // Another key, and a device that was reset: it refuses the challenge, or answers it by the key that everybody knows.
    for (wrong, has_its_way) in [(key(200), false), (Scbk::DEFAULT, false), (Scbk::DEFAULT, true)] {
        let mut world = World::enrolled(38_400, 2);
        (world.devices[1].key, world.devices[1].has_its_way) = (wrong, has_its_way);
        run(&mut world, ms(2000));
        assert_eq!((state(&world, 1), challenges(&world).len()), (State::Refused, 3), "no more than to be sure");
        run(&mut world, ms(19_000));
        assert_eq!((state(&world, 0), state(&world, 1)), (State::Online, State::Refused));
        assert_eq!(alarms(&world), [Alarm::WrongKey]);
        let challenges = challenges(&world);
        // Never by the key that everybody knows, and in the clear nothing but identity besides.
        assert!(challenges.iter().all(|by| *by == 1) && (4..9).contains(&challenges.len()));
        assert!(
            world.devices[1].told.is_empty() && world.devices[1].polls == 0 && world.devices[1].heard_in_clear == 0
        );
        world.devices[1].key = key(2);
        run(&mut world, ms(6000));
        assert_eq!((state(&world, 1), world.bus.devices()[1].alarm()), (State::Online, None));
    }
}

/// What the line makes of `reply` when a device's step of the handshake is hit.
fn hit(reply: &[u8], step: u8) -> Vec<u8> {
    let frame = Frame::parse(reply).unwrap();
    let (header, owner) = (frame.header, Peripheral::new(0, key(1)));
    match step {
        // The cryptogram of another challenge: a device may answer to each copy of one with random bytes of its own.
        0 => {
            let mut data = frame.data.to_vec();
            data[31] ^= 1;
            owner.reply(header.sequence, header.check, frame.block, frame.code, &data)
        }
        refusal => owner.reply(header.sequence, header.check, None, 0x41, &[refusal]),
    }
}

#[test]
fn handshake_that_fails_once_or_twice_is_begun_anew_without_an_alarm() {
    // Of the device's cryptogram and of its first MAC: made wrong, and refused by check, length, number and condition.
    for (code, step) in [(0x76, 0), (0x76, 1), (0x76, 2), (0x76, 4), (0x76, 6), (0x78, 1), (0x78, 4), (0x78, 6)] {
        let mut world = World::enrolled(38_400, 1);
        let mut tries = 0;
        world.mangle = Box::new(move |reply| {
            tries += u32::from(Frame::parse(&reply).unwrap().code == code);
            let is_hit = Frame::parse(&reply).unwrap().code == code && tries % 3 != 0;
            vec![(Duration::ZERO, if is_hit { hit(&reply, step) } else { reply })]
        });
        for _ in 0..2 {
            run(&mut world, ms(1000));
            assert_eq!((state(&world, 0), alarms(&world)), (State::Online, vec![]), "{code:x} {step}");
            // Another channel, another count.
            world.devices[0].restart();
        }
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
fn device_that_says_who_it_is_when_something_else_was_asked_is_not_believed() {
    // Enrolled: in the steps of the handshake. In a window: where capabilities are asked for in the clear, too.
    for installs in [false, true] {
        let mut world = World::enrolled(38_400, 1);
        if installs {
            world = World::in_window(Scbk::DEFAULT, ms(3000));
        }
        let mut identity = Vec::new();
        world.mangle = Box::new(move |reply| {
            let frame = Frame::parse(&reply).unwrap();
            if frame.code == 0x45 && identity.is_empty() {
                identity = frame.data.to_vec();
            }
            if frame.code == 0x45 || frame.block.is_some_and(Block::has_mac) {
                return vec![(Duration::ZERO, reply)];
            }
            // Of the right number and with the right block, just before the device's own answer.
            let header = frame.header;
            let forged = Peripheral::new(0, key(1)).reply(header.sequence, header.check, frame.block, 0x45, &identity);
            vec![(Duration::ZERO, [forged, reply].concat())]
        });
        run(&mut world, ms(2000));
        let sent = world.sent.iter().map(|(_, frame)| Frame::parse(frame).unwrap());
        let asked: Vec<_> =
            sent.filter(|frame| !frame.block.is_some_and(Block::has_mac)).map(|frame| frame.code).collect();
        let who = asked.iter().filter(|code| **code == 0x61).count();
        let told = whats(&world).iter().filter(|what| matches!(what, What::Identity(_))).count();
        assert_eq!((told, faults(&world, Fault::Unexpected)), (who, (asked.len() - who) as u64), "{asked:x?}");
        assert!(asked.contains(&0x62) == installs && state(&world, 0) == State::Online, "{asked:x?}");
    }
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
    run(&mut world, ms(6000));
    assert_eq!(state(&world, 0), State::Online);
}

/// Inputs as they were told: which are active, and which have changed.
fn inputs(world: &World) -> Vec<(u32, u32)> {
    let inputs = whats(world).into_iter().filter_map(|what| match what {
        What::Inputs { points, changed } => Some((points.active, changed)),
        _ => None,
    });
    inputs.collect()
}

#[test]
fn inputs_that_are_not_at_rest_when_they_are_first_known_have_changed() {
    let mut world = World::enrolled(38_400, 1);
    world.devices[0].inputs = vec![0, 1, 0, 1];
    run(&mut world, ms(500));
    assert_eq!(inputs(&world), [(0b1010, 0b1010)]);
}

#[test]
fn what_changes_at_the_inputs_while_a_channel_is_opened_anew_is_told() {
    let mut world = World::enrolled(38_400, 1);
    world.devices[0].inputs = vec![0, 1];
    run(&mut world, ms(500));
    for (points, seen) in [(vec![1, 1], (0b11, 0b01)), (vec![1, 0], (0b01, 0b10))] {
        // The channel is gone, as by one hit; in the time of the handshake an arm turns.
        world.devices[0].restart();
        world.devices[0].inputs = points;
        let told = inputs(&world).len();
        run(&mut world, ms(500));
        assert_eq!((state(&world, 0), &inputs(&world)[told..]), (State::Online, &[seen][..]));
    }
    // So is what has changed while the device was away for longer.
    world.devices[0].has_power = false;
    run(&mut world, ms(10_000));
    world.devices[0].inputs = vec![1, 1];
    world.devices[0].restart();
    run(&mut world, ms(2500));
    assert_eq!(inputs(&world).last(), Some(&(0b11, 0b10)));
    // And nothing is told of what is as it was.
    let told = inputs(&world).len();
    world.devices[0].restart();
    run(&mut world, ms(500));
    assert_eq!((state(&world, 0), inputs(&world).len()), (State::Online, told));
}

#[test]
fn inputs_are_told_when_they_change_and_when_they_are_first_known() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
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

#[test]
fn device_that_does_not_know_a_status_comes_into_service_and_its_inputs_count_from_rest() {
    let mut world = World::enrolled(38_400, 1);
    world.devices[0].refuses = vec![0x64, 0x65, 0x66];
    run(&mut world, ms(500));
    assert_eq!((state(&world, 0), faults(&world, Fault::Refused)), (State::Online, 3));
    world.devices[0].to_say.push_back((0x49, vec![1, 0]));
    run(&mut world, ms(100));
    let told = whats(&world).into_iter().any(|what| matches!(what, What::Inputs { changed: 1, .. }));
    assert!(told, "{:?}", whats(&world));
    // And again behind another channel.
    world.devices[0].restart();
    run(&mut world, ms(500));
    assert_eq!((state(&world, 0), inputs(&world).last()), (State::Online, Some(&(0, 1))));
}

#[test]
fn cards_and_keys_of_a_second_reader_behind_the_address_are_not_taken_for_the_first_ones() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    for reader in [1, 2, 255, 0] {
        world.devices[0].to_say.push_back((0x50, [&[reader, 1, 26, 0][..], &shown(u32::from(reader))].concat()));
        world.devices[0].to_say.push_back((0x53, vec![reader, 2, b'1', b'2']));
    }
    run(&mut world, ms(500));
    assert_eq!((world.cards(), faults(&world, Fault::Unexpected)), (vec![as_read(0)], 6));
    let keypads = whats(&world).into_iter().filter(|what| matches!(what, What::Keypad(_))).count();
    assert_eq!((keypads, state(&world, 0)), (1, State::Online));
}

#[test]
fn tampering_with_an_attached_reader_is_told_when_it_begins_and_ends_and_when_it_is_found() {
    let told = |world: &World| -> Vec<bool> {
        let told = whats(world).into_iter();
        told.filter_map(|what| if let What::ReaderTamper(is_tampered) = what { Some(is_tampered) } else { None })
            .collect()
    };
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    assert_eq!(told(&world), []);
    // Not connected, tampered with, well; the second of two.
    for states in [vec![1], vec![2], vec![0], vec![0, 2], vec![0, 0]] {
        world.devices[0].to_say.push_back((0x4b, states));
    }
    run(&mut world, ms(500));
    assert_eq!(told(&world), [true, false, true, false]);
    // While there was no channel.
    world.devices[0].readers = vec![2];
    world.devices[0].restart();
    run(&mut world, ms(500));
    assert_eq!((state(&world, 0), told(&world).len()), (State::Online, 5));
    // A device that knows nothing of its readers is in service without.
    world.devices[0].refuses = vec![0x67];
    world.devices[0].restart();
    run(&mut world, ms(500));
    assert_eq!((state(&world, 0), told(&world).len()), (State::Online, 5));
}

#[test]
fn device_whose_states_cannot_be_read_comes_into_service_and_its_inputs_count_as_at_rest() {
    // More inputs than are looked at, a state that there is not, and inputs that anybody can read.
    for (points, is_open) in [(vec![1; 33], false), (vec![1, 2], false), (vec![1, 1], true)] {
        let mut world = World::enrolled(38_400, 1);
        (world.devices[0].inputs, world.devices[0].is_open) = (points, is_open);
        run(&mut world, ms(500));
        assert_eq!((state(&world, 0), inputs(&world)), (State::Online, vec![(0, 0)]));
        let counted = [Fault::Malformed, Fault::Clear].map(|fault| faults(&world, fault) > 0);
        assert_eq!(counted, [!is_open, is_open]);
    }
}

#[test]
fn capabilities_that_cannot_be_read_raise_an_alarm_and_do_not_keep_a_device_out() {
    let mut world = World::enrolled(38_400, 1);
    world.devices[0].capabilities.push(1);
    run(&mut world, ms(500));
    assert_eq!((state(&world, 0), alarms(&world)), (State::Online, vec![Alarm::CapabilitiesChanged]));
}

#[test]
fn device_with_which_no_channel_comes_about_is_refused_with_an_alarm_and_costs_the_line_little() {
    let mut world = World::enrolled(38_400, 2);
    // It says who it is, and nothing to a challenge.
    world.mangle = Box::new(|reply| {
        let is_lost = reply[1] == 0x81 && Frame::parse(&reply).unwrap().code == 0x76;
        if is_lost { vec![] } else { vec![(Duration::ZERO, reply)] }
    });
    run(&mut world, ms(60_000));
    assert_eq!((state(&world, 0), state(&world, 1)), (State::Online, State::Refused));
    assert_eq!(alarms(&world), [Alarm::NoChannel]);
    let tries = world.sent.iter().filter(|(_, frame)| frame[1] == 1).count();
    assert!((40..80).contains(&tries), "{tries}");
    world.mangle = Box::new(|reply| vec![(Duration::ZERO, reply)]);
    run(&mut world, ms(6000));
    assert_eq!((state(&world, 1), world.bus.devices()[1].alarm()), (State::Online, None));
}

#[test]
fn authentic_reply_that_others_could_read_is_not_taken() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    world.devices[0].is_open = true;
    world.devices[0].show(shown(1));
    run(&mut world, ms(100));
    world.devices[0].is_open = false;
    world.devices[0].show(shown(2));
    run(&mut world, ms(100));
    assert_eq!((world.cards(), faults(&world, Fault::Clear)), (vec![as_read(2)], 1));
    assert_eq!((state(&world, 0), faults(&world, Fault::WrongMac)), (State::Online, 0), "the channel holds");
}
