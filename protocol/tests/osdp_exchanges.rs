//! What becomes of one exchange with a device: how long it took, how often it was tried, what is counted of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

#[path = "support/osdp.rs"]
mod support;

use std::time::Duration;

use kalitka_protocol::limits::{OSDP_ACTS_MAX, OSDP_OFFLINE_AFTER, OSDP_TRIES_MAX};
use kalitka_protocol::osdp::bus::Line;
use kalitka_protocol::osdp::device::State;
use kalitka_protocol::osdp::frame::Header;
use kalitka_protocol::osdp::{Act, Block, Fault, Frame, Scbk, What};
use support::{
    CAPABILITIES, Peripheral, RELEASE, World, alarms, faults, key, ms, releases_lost, run, shown, state, whats,
};

const BUZZER: Act = Act::Buzzer { on: 1, off: 1, count: 1 };

/// A device in service without power, to which `act` was sent as a frame of `code`, and for which as many more wait as may.
fn full_of(act: Act, code: u8) -> World {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    world.devices[0].has_power = false;
    world.act(0, act).unwrap();
    let (from, end) = (world.sent.len(), world.now + ms(1000));
    while !codes(&world, from).contains(&code) {
        assert!(world.now < end);
        run(&mut world, ms(1));
    }
    (0..OSDP_ACTS_MAX).for_each(|_| world.act(0, act).unwrap());
    world
}

/// The codes of what was sent since the first `from` frames.
fn codes(world: &World, from: usize) -> Vec<u8> {
    world.sent[from..].iter().map(|(_, frame)| Frame::parse(frame).unwrap().code).collect()
}

#[test]
fn states_have_the_names_that_metrics_and_tools_show() {
    assert_eq!(State::ALL.map(State::label), ["offline", "opening", "refused", "online"]);
}

#[test]
fn bytes_take_ten_bits_each_on_a_line() {
    for (baud, bytes, micros) in
        [(9_600, 12, 12_500), (38_400, 24, 6_250), (115_200, 1_152, 100_000), (0, 1, 10_000_000)]
    {
        assert_eq!(Line { baud }.time(bytes), Duration::from_micros(micros), "{bytes} at {baud}");
    }
}

#[test]
fn exchange_is_told_once_with_what_it_took_and_whether_there_was_a_reply() {
    for (has_power, least, most) in [(true, ms(1), ms(20)), (false, ms(60), ms(250))] {
        let mut world = World::enrolled(38_400, 1);
        run(&mut world, ms(500));
        world.devices[0].has_power = has_power;
        // One may have been under way.
        let end = world.now + ms(1000);
        let exchange = loop {
            run(&mut world, Duration::from_micros(1));
            match world.bus.take_exchange() {
                Some(exchange) if exchange.is_answered == has_power => break exchange,
                _ => assert!(world.now < end),
            }
        };
        assert_eq!(exchange.device, 0);
        assert!((least..most).contains(&exchange.took), "{:?}", exchange.took);
        assert_eq!(world.bus.take_exchange(), None);
    }
}

#[test]
fn reply_that_is_still_coming_is_waited_for() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    let mut is_slow = true;
    world.mangle = Box::new(move |reply| {
        let (first, last) = reply.split_at(4);
        // The first bytes come just in time, the others after it.
        let late = if std::mem::take(&mut is_slow) { [ms(190), ms(205)] } else { [ms(0); 2] };
        vec![(late[0], first.to_vec()), (late[1], last.to_vec())]
    });
    run(&mut world, ms(1000));
    assert_eq!(
        (faults(&world, Fault::NoReply), faults(&world, Fault::Damaged), state(&world, 0)),
        (0, 0, State::Online)
    );
}

#[test]
fn line_is_left_alone_for_two_bytes_behind_every_reply() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(2000));
    // A device in use is asked again as soon as may be.
    world.devices[0].show(shown(1));
    let (from, line, delay) = (world.sent.len(), world.line, world.devices[0].delay);
    run(&mut world, ms(1000));
    let sent = &world.sent[from..];
    let card_and_more = sent.iter().zip(&sent[1..]).skip(1).take(10);
    assert_eq!(card_and_more.len(), 10);
    for ((left, _), (next, frame)) in card_and_more {
        // Replies in a channel have 14 bytes at the least.
        let silence = *next - line.time(frame.len()) - *left - delay - line.time(14);
        assert!((line.time(2)..line.time(4)).contains(&silence), "{silence:?}");
    }
}

#[test]
fn devices_have_their_acts_in_turn() {
    let mut world = World::enrolled(38_400, 4);
    run(&mut world, ms(2000));
    let from = world.sent.len();
    (0..4).for_each(|place| world.act(place, RELEASE).unwrap());
    run(&mut world, ms(500));
    let acts = world.sent[from..].iter().filter(|(_, frame)| frame[7] == 0x68).map(|(_, frame)| frame[1]);
    assert_eq!(acts.collect::<Vec<_>>(), [1, 2, 3, 0]);
}

#[test]
fn no_more_than_three_acts_come_before_a_poll_that_is_due() {
    let mut world = World::enrolled(38_400, 2);
    run(&mut world, ms(2000));
    let from = world.sent.len();
    (0..8).for_each(|_| world.act(0, RELEASE).unwrap());
    run(&mut world, ms(500));
    let codes = codes(&world, from);
    let runs: Vec<_> = codes.split(|code| *code != 0x68).map(<[u8]>::len).filter(|len| *len > 0).collect();
    assert_eq!(runs, [3, 3, 2], "{codes:x?}");
}

#[test]
fn absent_device_is_looked_for_every_second_and_a_quarter_while_another_is_in_use() {
    let mut world = World::enrolled(38_400, 2);
    run(&mut world, ms(1000));
    world.devices[1].has_power = false;
    run(&mut world, ms(9000));
    assert_eq!(state(&world, 1), State::Offline);
    let from = world.sent.len();
    for number in 0..40 {
        world.devices[0].show(shown(number));
        run(&mut world, ms(250));
    }
    let probes: Vec<_> = world.sent[from..].iter().filter(|(_, frame)| frame[1] == 1).map(|(left, _)| *left).collect();
    let pauses: Vec<_> = probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() > 5 && pauses.iter().all(|pause| (ms(1240)..ms(1300)).contains(pause)), "{pauses:?}");
}

#[test]
fn reply_with_a_spoilt_check_is_counted_once_and_asked_for_again() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    let mut is_whole = false;
    world.mangle = Box::new(move |mut reply| {
        reply.last_mut().iter_mut().for_each(|byte| **byte ^= u8::from(!is_whole));
        is_whole = true;
        vec![(Duration::ZERO, reply)]
    });
    run(&mut world, ms(1000));
    assert_eq!((faults(&world, Fault::Damaged), faults(&world, Fault::NoReply)), (1, 1));
    assert_eq!(state(&world, 0), State::Online);
}

#[test]
fn all_that_wait_and_the_one_under_way_may_be_lost_at_once_and_each_is_told() {
    let mut world = full_of(RELEASE, 0x68);
    // The line has been held up.
    world.now += OSDP_OFFLINE_AFTER;
    run(&mut world, ms(1000));
    assert_eq!(
        (releases_lost(&world).len(), faults(&world, Fault::ActLost)),
        (OSDP_ACTS_MAX + 1, OSDP_ACTS_MAX as u64 + 1)
    );
}

#[test]
fn act_that_finds_no_room_when_its_channel_breaks_is_counted_and_the_others_are_done() {
    let mut world = full_of(BUZZER, 0x6a);
    world.devices[0].restart();
    run(&mut world, ms(1500));
    assert_eq!((faults(&world, Fault::ActLost), world.devices[0].told.len()), (1, OSDP_ACTS_MAX));
}

#[test]
fn reply_to_something_else_is_counted_and_believed_in_nothing() {
    let capabilities = (0x46, CAPABILITIES.to_vec());
    let tampered = [(0x48, vec![1, 1]), (0x4b, vec![1]), (0x49, vec![1, 1]), (0x4a, vec![1])];
    for said in [capabilities.clone(), (0x99, vec![1])].iter().chain(&tampered) {
        let mut world = World::enrolled(38_400, 1);
        run(&mut world, ms(500));
        let told = world.events.len();
        world.devices[0].instead = Some(said.clone());
        world.act(0, BUZZER).unwrap();
        run(&mut world, ms(200));
        assert_eq!(faults(&world, Fault::Unexpected), 1, "{said:x?}");
        assert_eq!(whats(&world)[told..], [], "{said:x?}");
        assert_eq!((state(&world, 0), world.devices[0].told.len()), (State::Online, 1));
    }
    // To a poll a device may say what is new, in whatever words, and to a release how its outputs stand.
    for (said, unexpected, events) in [(capabilities, 1, 0), ((0x99, vec![1]), 0, 0), (tampered[1].clone(), 0, 1)] {
        let mut world = World::enrolled(38_400, 1);
        run(&mut world, ms(500));
        let told = world.events.len();
        world.devices[0].to_say.push_back(said.clone());
        run(&mut world, ms(200));
        assert_eq!((faults(&world, Fault::Unexpected), world.events.len() - told), (unexpected, events), "{said:x?}");
    }
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    let told = world.events.len();
    world.devices[0].instead = Some((0x4a, vec![1]));
    world.act(0, RELEASE).unwrap();
    run(&mut world, ms(200));
    let outputs = whats(&world)[told..].iter().filter(|what| matches!(what, What::Outputs { .. })).count();
    assert_eq!((faults(&world, Fault::Unexpected), outputs), (0, 1));
}

#[test]
fn reply_of_another_number_is_not_taken_in_a_handshake_either() {
    let mut world = World::enrolled(38_400, 1);
    let mut identity = Vec::new();
    world.mangle = Box::new(move |reply| {
        if Frame::parse(&reply).unwrap().code != 0x76 {
            identity.clone_from(&reply);
            return vec![(Duration::ZERO, reply)];
        }
        // What was said to the command before comes once more, and then the reply.
        vec![(Duration::ZERO, identity.clone()), (ms(5), reply)]
    });
    run(&mut world, ms(300));
    assert_eq!(
        (faults(&world, Fault::WrongSequence), faults(&world, Fault::NoReply), state(&world, 0)),
        (1, 0, State::Online)
    );
}

/// A reply of a handshake, by its code and its block.
type Said = (u8, Option<Block>);

/// Replies with the data that they have, whatever these say.
fn data_of((code, _): Said) -> Vec<u8> {
    match code {
        0x41 => vec![9],
        0x45 => vec![0; 12],
        0x46 => CAPABILITIES.to_vec(),
        0x76 => vec![0; 32],
        _ => vec![0; 16],
    }
}

#[test]
fn handshake_takes_no_reply_but_that_of_its_step_in_the_block_of_its_step() {
    let block = |step| Some(Block::Handshake { step, value: 1 });
    let (identity, capabilities): (Said, Said) = ((0x45, None), (0x46, None));
    let (cryptogram, first_mac) = ((0x76, block(0x12)), (0x78, block(0x14)));
    let misplaced = [(0x45, block(0x12)), (0x46, block(0x12)), (0x76, None), (0x76, block(0x14)), (0x41, block(0x12))];
    for (step, installs) in [(identity, false), (capabilities, true), (cryptogram, false), (first_mac, false)] {
        for said in [identity, capabilities, cryptogram, first_mac].into_iter().chain(misplaced) {
            if said == step {
                continue;
            }
            let mut world = World::enrolled(38_400, 1);
            if installs {
                world = World::in_window(Scbk::DEFAULT, ms(3000));
            }
            let mut is_first = true;
            world.mangle = Box::new(move |reply| {
                let frame = Frame::parse(&reply).unwrap();
                let forges = frame.code == step.0 && !frame.block.is_some_and(Block::has_mac);
                if !forges || !std::mem::take(&mut is_first) {
                    return vec![(Duration::ZERO, reply)];
                }
                // Of the right number, just before the device's own answer.
                let Header { sequence, check, .. } = frame.header;
                let forged = Peripheral::new(0, key(1)).reply(sequence, check, said.1, said.0, &data_of(said));
                vec![(Duration::ZERO, [forged, reply].concat())]
            });
            run(&mut world, ms(1000));
            let case = format!("{said:x?} for {step:x?}");
            assert_eq!((faults(&world, Fault::Unexpected), faults(&world, Fault::NoReply)), (1, 0), "{case}");
            assert_eq!((alarms(&world), state(&world, 0)), (vec![], State::Online), "{case}");
            let begun = codes(&world, 0).iter().filter(|code| **code == 0x61).count();
            assert_eq!(begun, if installs { 2 } else { 1 }, "{case}: no handshake is begun anew but by the new key");
        }
    }
}

#[test]
fn handshake_that_was_refused_for_a_frame_that_was_hit_says_nothing_of_the_key() {
    for (step, refusal) in [(0x76, 1), (0x76, 2), (0x78, 4), (0x78, 1)] {
        let mut world = World::enrolled(38_400, 1);
        let mut refused = 0;
        world.mangle = Box::new(move |reply| {
            let Header { sequence, check, .. } = Frame::parse(&reply).unwrap().header;
            if Frame::parse(&reply).unwrap().code != step || refused == 4 {
                return vec![(Duration::ZERO, reply)];
            }
            refused += 1;
            vec![(Duration::ZERO, Peripheral::new(0, key(1)).reply(sequence, check, None, 0x41, &[refusal]))]
        });
        run(&mut world, ms(2000));
        assert_eq!((alarms(&world), state(&world, 0)), (vec![], State::Online), "{step:x} {refusal}");
    }
}

#[test]
fn refusal_that_ends_the_channel_has_it_opened_anew() {
    for refusal in [4, 5, 6] {
        let mut world = World::enrolled(38_400, 1);
        run(&mut world, ms(500));
        let from = world.sent.len();
        world.devices[0].instead = Some((0x41, vec![refusal]));
        world.act(0, BUZZER).unwrap();
        run(&mut world, ms(1000));
        assert_eq!(codes(&world, from).iter().filter(|code| **code == 0x61).count(), 1, "{refusal}");
        assert_eq!(state(&world, 0), State::Online);
    }
}

#[test]
fn window_tries_the_key_of_everybody_and_the_new_one_by_turns_when_there_is_no_other() {
    let mut world = World::in_window(key(5), ms(20_000));
    run(&mut world, ms(3000));
    let challenge = |frame: &Vec<u8>| match Frame::parse(frame).unwrap() {
        Frame { code: 0x76, block: Some(Block::Handshake { value, .. }), .. } => Some(value),
        _ => None,
    };
    let tried: Vec<_> = world.sent.iter().filter_map(|(_, frame)| challenge(frame)).collect();
    assert!(tried.len() > 5 && tried.windows(2).all(|pair| pair[0] != pair[1]), "{tried:?}");
}

#[test]
fn device_that_refuses_a_key_is_left_alone_for_a_while() {
    let mut world = World::in_window(Scbk::DEFAULT, ms(20_000));
    world.devices[0].refuses = vec![0x75];
    run(&mut world, ms(4500));
    assert_eq!(codes(&world, 0).iter().filter(|code| **code == 0x75).count(), 1);
}

#[test]
fn step_of_a_handshake_is_tried_three_times_before_the_handshake_is_begun_anew() {
    let mut world = World::enrolled(38_400, 1);
    world.mangle = Box::new(|reply| match Frame::parse(&reply).unwrap().code {
        0x76 => vec![],
        _ => vec![(Duration::ZERO, reply)],
    });
    run(&mut world, ms(4000));
    let codes = codes(&world, 0);
    let mut handshakes = codes.split(|code| *code == 0x61).filter(|handshake| !handshake.is_empty());
    let first = handshakes.next().unwrap();
    assert_eq!(first, [0x76; OSDP_TRIES_MAX as usize], "{codes:x?}");
    assert!(handshakes.next().is_some(), "{codes:x?}");
    let challenges: Vec<_> = world.sent.iter().map(|(_, frame)| frame).filter(|frame| frame.len() > 12).collect();
    assert!(challenges[0] == challenges[2] && challenges[0] != challenges[3], "the same is said again, then another");
}

#[test]
fn device_in_service_is_said_the_same_again_until_it_answers_and_keeps_its_channel() {
    let mut world = World::enrolled(38_400, 1);
    run(&mut world, ms(500));
    let from = world.sent.len();
    world.devices[0].has_power = false;
    run(&mut world, ms(5000));
    assert!(world.sent.len() - from > usize::from(OSDP_TRIES_MAX) + 1);
    world.devices[0].has_power = true;
    run(&mut world, ms(2000));
    let opened = whats(&world).iter().filter(|what| **what == What::Online).count();
    assert_eq!((opened, state(&world, 0)), (1, State::Online));
    assert!(codes(&world, from).iter().all(|code| *code == 0x60), "no handshake");
}
