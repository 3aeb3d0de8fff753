//! The reader half with virtual time: sessions, asks, freshness, fall-back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use kalitka_protocol::datagram::Datagram;
use kalitka_protocol::handshake::Welcome;
use kalitka_protocol::limits::{
    ANSWER_LEN, ASKS_OUTSTANDING, DATAGRAM_MAX, HANDSHAKE_LEN, MESSAGE_HEADER_LEN, PLAINTEXT_MAX, SESSION_AGE_MAX,
    TEXT_MAX,
};
use kalitka_protocol::message::{ListEntries, ListKind, ListPage, ListStatus, Message};
use kalitka_protocol::reader::{Dropped, NotAsked};
use kalitka_protocol::reason::{Direction, FallBack};
use kalitka_protocol::replay::Replayed;
use kalitka_protocol::{ReaderId, Stamp};
use support::{GRANTED, READER, Told, World, card, grant, ms, passed};

type Small = World<8>;

fn ask(world: &mut Small) -> u32 {
    world.reader.ask(card(), Direction::Entry, world.now).unwrap()
}

fn initiations(sent: &[(std::time::Duration, Vec<u8>)]) -> Vec<(std::time::Duration, Stamp)> {
    let stamp = |(at, datagram): &(std::time::Duration, Vec<u8>)| match Datagram::parse(&mut datagram.clone()) {
        Ok(Datagram::Initiation(initiation)) => {
            assert_eq!(initiation.reader, READER);
            Some((*at, initiation.stamp))
        }
        _ => None,
    };
    sent.iter().filter_map(stamp).collect()
}

// SPEC 4.10 a reader sends in its new session at once, so that the gateway takes it into use
#[test]
fn first_datagram_of_a_session_follows_the_response() {
    let mut world = Small::new();
    let mut initiation = world.transmit().unwrap();
    assert_eq!(initiation.len(), HANDSHAKE_LEN);
    assert_eq!(world.transmit(), None, "nothing else is sent before there is a session");
    let response = world.gateway.shake(&mut initiation);
    world.deliver(response.clone()).unwrap();
    assert_eq!(world.told(), [Told::SessionUp(1)]);
    assert!(matches!(world.sent_messages()[..], [Message::Ping(_)]));
    assert_eq!(world.deliver(response), Err(Dropped::NoHandshake), "a response is taken once");
}

// SPEC 10.5 a leave of the newest session calls for a handshake at once; of the one before it means nothing
#[test]
fn reader_that_is_left_shakes_hands_at_once_and_asks_again() {
    let mut world = Small::connected();
    world.jump(ms(10_000));
    let request = ask(&mut world);
    assert!(matches!(world.sent_messages()[..], [Message::Ask(_), ..]));
    world.say(&Message::Leave);
    let mut initiation = world.transmit().unwrap();
    assert_eq!(initiation.len(), HANDSHAKE_LEN);
    assert_eq!(world.transmit(), None, "once, as 10.2 allows");
    let late = world.gateway.seal(&[Message::Leave]);
    let response = world.gateway.shake(&mut initiation);
    world.deliver(response).unwrap();
    assert!(matches!(world.sent_messages()[..], [Message::Ask(_), ..]), "no timer is waited for");
    world.say(&grant(request));
    world.deliver(late).unwrap();
    world.jump(ms(10_500));
    assert_eq!(world.transmit(), None, "the session that was left is not this one");
}

// SPEC 10.2 the response to the newest initiation or to the one before it
#[test]
fn late_response_is_taken_while_one_initiation_followed_and_not_two() {
    for (followed, taken) in [(1, true), (2, false)] {
        let mut world = Small::new();
        let mut first = world.transmit().unwrap();
        for _ in 0..followed {
            let due = world.reader.next_timeout();
            world.jump(due);
            assert_eq!(world.transmit().map(|datagram| datagram.len()), Some(HANDSHAKE_LEN));
        }
        let response = world.gateway.shake(&mut first);
        let outcome = world.deliver(response.clone());
        assert_eq!(outcome.is_ok(), taken, "{followed}: {outcome:?}");
        assert_eq!(world.reader.session().is_some(), taken);
        if taken {
            assert_eq!(world.deliver(response), Err(Dropped::NoHandshake), "a response is taken once");
        }
    }
}

// SPEC 5.2 counters
#[test]
fn no_counter_is_used_twice() {
    let mut world = Small::connected();
    let mut last = world.gateway.seen;
    for _ in 0..100 {
        ask(&mut world);
        let mut datagram = world.transmit().unwrap();
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(&mut datagram) else { panic!("not sealed") };
        assert_eq!(sealed.counter, last + 1);
        last = sealed.counter;
        world.say(&grant(u32::try_from(last).unwrap()));
    }
}

// SPEC 13.2 nothing that is dropped is answered
#[test]
fn dropped_datagrams_make_the_reader_send_nothing() {
    let mut world = Small::connected();
    for len in 0..200 {
        let mut datagram = vec![0x81; len];
        datagram.iter_mut().take(2).zip([3, 1]).for_each(|(byte, value)| *byte = value);
        assert!(world.deliver(datagram).is_err());
        assert_eq!(world.transmit(), None);
    }
    assert_eq!(world.told(), []);
}

// SPEC 6.1 requests are numbered from 1 within a boot, lists among them
#[test]
fn requests_are_numbered_in_one_count_over_sessions() {
    let mut world = Small::connected();
    assert_eq!(ask(&mut world), 1);
    assert_eq!(world.reader.ask_list(card(), ListKind::Children, 0, world.now), Ok(2));
    let sent = world.pass_unheard(ms(140));
    let response = world.gateway.shake(&mut sent.last().unwrap().1.clone());
    world.deliver(response).unwrap();
    assert_eq!(ask(&mut world), 3);
}

#[test]
fn ask_is_answered_once() {
    let mut world = Small::connected();
    let request = ask(&mut world);
    let [Message::Ask(sent)] = world.sent_messages()[..] else { panic!() };
    assert_eq!((sent.request, sent.age_ms, sent.card), (request, 0, card()));
    world.say(&grant(request));
    assert_eq!(world.told(), [Told::Answer(request, GRANTED)]);
    world.say(&grant(request));
    assert_eq!(world.told(), [], "a request that is answered is no longer outstanding");
    assert!(world.pass_unheard(ms(999)).is_empty(), "and not sent again");
}

// SPEC 10.1 resends of an ask
// SPEC 6.2 a repeat bears the same request and a grown age
#[test]
fn unanswered_ask_is_sent_at_0_50_and_100_ms_with_an_initiation() {
    let mut world = Small::connected();
    world.now = ms(200);
    world.reader.ask(card(), Direction::Exit, ms(190)).unwrap();
    let sent = world.pass_unheard(ms(399));
    let times: Vec<_> = sent.iter().map(|(at, datagram)| (at.as_millis(), datagram.len() == HANDSHAKE_LEN)).collect();
    assert_eq!(times, [(200, false), (250, false), (300, false), (300, true)]);
    let ages: Vec<_> = sent[..3]
        .iter()
        .map(|(_, datagram)| {
            let plaintext = world.gateway.open(&mut datagram.clone());
            match kalitka_protocol::message::Messages::new(&plaintext).next().unwrap().unwrap() {
                Message::Ask(ask) => (ask.request, ask.age_ms),
                _ => panic!("not an ask"),
            }
        })
        .collect();
    assert_eq!(ages, [(1, 10), (1, 60), (1, 110)]);
}

// SPEC 6.3 no ask looks younger than it is
#[test]
fn age_of_an_ask_is_rounded_up() {
    let mut world = Small::connected();
    world.now = ms(200);
    let shown_at = ms(190) - std::time::Duration::from_nanos(1);
    world.reader.ask(card(), Direction::Entry, shown_at).unwrap();
    let [Message::Ask(ask)] = world.sent_messages()[..] else { panic!() };
    assert_eq!(ask.age_ms, 11);
}

// SPEC 6.6 an answer is acted on only under 2 s
#[test]
fn answer_is_acted_on_up_to_two_seconds_and_not_at_two() {
    for (late, acted) in [(1_999, true), (2_000, false)] {
        let mut world = Small::connected();
        world.now = ms(100);
        let request = world.reader.ask(card(), Direction::Entry, ms(0)).unwrap();
        world.sent_messages();
        world.now = ms(late);
        world.say(&grant(request));
        let end = if acted { Told::Answer(request, GRANTED) } else { Told::Unanswered(request) };
        world.jump(ms(late));
        assert_eq!(world.told(), [end], "at {late} ms");
    }
}

#[test]
fn answer_to_a_list_ask_is_not_a_decision() {
    let mut world = Small::connected();
    let request = world.reader.ask_list(card(), ListKind::Children, 2, world.now).unwrap();
    assert!(matches!(world.sent_messages()[..], [Message::ListAsk(_)]));
    world.say(&grant(request));
    let page = |page| {
        let (status, entries) = (ListStatus::Entries, ListEntries::NONE);
        Message::ListPage(ListPage { request, page, pages: 3, status, entries })
    };
    world.say(&page(1));
    assert_eq!(world.told(), []);
    world.say(&page(2));
    assert_eq!(world.told(), [Told::Page(request, 2)]);
}

#[test]
fn unanswered_ask_is_told_of_at_two_seconds() {
    let mut world = Small::connected();
    let request = ask(&mut world);
    for second in 0..8 {
        world.pass_unheard(ms(second * 250));
        world.pong();
    }
    assert!(!world.events.contains(&Told::Unanswered(request)));
    world.jump(ms(2_000));
    assert!(world.events.contains(&Told::Unanswered(request)), "{:?}", world.events);
}

// SPEC 6.8 the number of asks outstanding
// SPEC 5.7 the replies to a datagram fit in one
#[test]
fn sixty_four_asks_are_outstanding_and_no_more() {
    let mut world = Small::connected();
    for request in 1..=u32::try_from(ASKS_OUTSTANDING).unwrap() {
        assert_eq!(ask(&mut world), request);
    }
    assert_eq!(world.reader.ask(card(), Direction::Entry, world.now), Err(NotAsked::Busy));
    let mut datagrams = Vec::new();
    while let Some(datagram) = world.transmit() {
        assert!(datagram.len() <= DATAGRAM_MAX);
        datagrams.push(datagram);
    }
    let answers = PLAINTEXT_MAX / (MESSAGE_HEADER_LEN + ANSWER_LEN + TEXT_MAX);
    assert_eq!(datagrams.len(), ASKS_OUTSTANDING.div_ceil(answers), "packed so that all answers fit in one datagram");
    world.say(&grant(64));
    assert_eq!(ask(&mut world), 65);
}

// SPEC 5.7 912 bytes for a list ask, 84 for an ask, 20 for a report
#[test]
fn datagram_asks_no_more_than_can_be_answered_in_one() {
    for (asks, reports, datagrams) in [(3, 0, 1), (4, 0, 2), (2, 4, 1), (2, 5, 2)] {
        let mut world = Small::connected();
        world.reader.ask_list(card(), ListKind::Children, 0, world.now).unwrap();
        for _ in 0..asks {
            ask(&mut world);
        }
        for _ in 0..reports {
            world.reader.report(world.now, passed(None)).unwrap();
        }
        let sent = std::iter::from_fn(|| world.transmit()).count();
        assert_eq!(sent, datagrams, "{asks} asks and {reports} reports");
    }
}

#[test]
fn asks_wait_for_the_session_and_are_sent_again_in_a_new_one() {
    let mut world = Small::new();
    let request = ask(&mut world);
    let mut initiation = world.transmit().unwrap();
    assert!(world.reader.next_timeout() > world.now, "nothing can be done for it before there is a session");
    world.now = ms(30);
    let response = world.gateway.shake(&mut initiation);
    world.deliver(response).unwrap();
    let [Message::Ask(sent)] = world.sent_messages()[..] else { panic!("an ask proves the session, no ping") };
    assert_eq!((sent.request, sent.age_ms), (request, 30));
    let lost = world.pass_unheard(ms(140));
    let (_, initiation) = lost.last().unwrap();
    let response = world.gateway.shake(&mut initiation.clone());
    world.deliver(response).unwrap();
    assert!(matches!(world.sent_messages()[..], [Message::Ask(sent)] if sent.request == request));
    world.say(&grant(request));
    assert_eq!(world.told(), [Told::SessionUp(1), Told::SessionUp(2), Told::Answer(request, GRANTED)]);
}

// SPEC 4.3 stamps grow
// SPEC 10.2 initiations back off
#[test]
fn initiations_back_off_to_two_seconds_with_jitter_and_growing_stamps() {
    let mut world = Small::new();
    let sent = initiations(&world.pass_unheard(ms(20_000)));
    let stamps: Vec<_> = sent.iter().map(|&(_, stamp)| stamp).collect();
    let expected: Vec<_> = (0..u32::try_from(sent.len()).unwrap()).map(|count| Stamp::new(1, count)).collect();
    assert_eq!(stamps, expected);
    let waits: Vec<_> = sent.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis()).collect();
    for (k, wait) in waits.iter().enumerate() {
        let least = (100u128 << k.min(8)).min(2_000);
        assert!((least..=least + least / 4).contains(wait), "wait {k} is {wait} ms");
    }
    assert!(waits.windows(2).skip(6).any(|pair| pair[0] != pair[1]), "jitter");
}

#[test]
fn backing_off_begins_anew_once_a_session_has_proved_itself() {
    let mut world = Small::new();
    let sent = world.pass_unheard(ms(10_000));
    let response = world.gateway.shake(&mut sent.last().unwrap().1.clone());
    world.deliver(response).unwrap();
    world.sent_messages();
    world.pong();
    let sent = initiations(&world.pass_unheard(ms(20_000)));
    let waits: Vec<_> = sent.windows(2).take(2).map(|pair| (pair[1].0 - pair[0].0).as_millis()).collect();
    assert!((100..=125).contains(&waits[0]) && (200..=250).contains(&waits[1]), "{waits:?}");
}

#[test]
fn ask_sent_for_the_last_time_calls_for_a_handshake_even_while_others_are_answered() {
    let mut world = Small::connected();
    world.now = ms(200);
    ask(&mut world);
    let mut sent = Vec::new();
    for step in 0..=10 {
        sent.extend(world.pass_unheard(ms(200 + step * 10)));
        world.pong();
    }
    assert_eq!(initiations(&sent).iter().map(|(at, _)| at.as_millis()).collect::<Vec<_>>(), [300]);
}

#[test]
fn stamps_of_a_later_boot_are_higher() {
    let mut world = Small::boot(support::identity(2), kalitka_protocol::reader::ReportMemory::new(support::LOG));
    let sent = initiations(&world.pass_unheard(ms(0)));
    assert_eq!(sent[0].1, Stamp::new(2, 0));
    assert!(sent[0].1 > Stamp::new(1, u32::MAX));
}

// SPEC 10.4 pings
#[test]
fn idle_reader_pings_each_second() {
    let mut world = Small::connected();
    let mut pings = 0;
    for second in 1..=5 {
        assert!(world.pass_unheard(ms(second * 1_000 - 1)).is_empty());
        world.jump(ms(second * 1_000));
        pings += world.sent_messages().iter().filter(|sent| matches!(sent, Message::Ping(_))).count();
        world.pong();
    }
    assert_eq!(pings, 5);
    assert_eq!(world.told(), []);
}

// SPEC 11.1 falling back after the configured time
// SPEC 11.2 the mode last given
// SPEC 11.3 coming back
#[test]
fn reader_falls_back_after_a_second_unanswered_and_comes_back() {
    let mut world = Small::connected();
    world.now = ms(500);
    let request = ask(&mut world);
    world.pass_unheard(ms(1_499));
    assert_eq!((world.told(), world.reader.fall_back()), (vec![], None));
    let lost = world.pass_unheard(ms(1_500));
    assert_eq!(world.told(), [Told::Unanswered(request), Told::FallBackEntered(FallBack::ExitFree)]);
    assert_eq!(
        world.reader.ask(card(), Direction::Exit, world.now),
        Err(NotAsked::FallingBack(FallBack::ExitFree)),
        "the portal decides for itself"
    );
    drop(lost);
    world.say(&grant(request));
    assert_eq!(world.told(), [Told::FallBackLeft], "the late answer is not acted on");
    assert_eq!(world.reader.fall_back(), None);
}

// SPEC 4.7 the time and mode of fall-back
#[test]
fn reader_falls_back_after_the_time_that_the_response_named() {
    let mut world = Small::new();
    let mut initiation = world.transmit().unwrap();
    let Ok(Datagram::Initiation(initiation)) = Datagram::parse(&mut initiation) else { panic!() };
    let welcome = Welcome { fall_back_after_ms: 300, fall_back: FallBack::Free, ..support::welcome(1) };
    let responded = support::respond(&support::PSK, &initiation, &welcome, &[7; 32]).unwrap();
    world.deliver(responded.response.to_vec()).unwrap();
    world.told();
    world.pass_unheard(ms(299));
    assert_eq!(world.told(), []);
    world.pass_unheard(ms(300));
    assert_eq!(world.told(), [Told::FallBackEntered(FallBack::Free)]);
}

#[test]
fn a_response_alone_does_not_end_fall_back() {
    let mut world = Small::new();
    world.pass_unheard(ms(1_000));
    assert_eq!(world.told(), [Told::FallBackEntered(FallBack::Closed)], "the mode kept in flash");
    let sent = world.pass_unheard(ms(6_000));
    let response = world.gateway.shake(&mut sent.last().unwrap().1.clone());
    world.deliver(response).unwrap();
    assert_eq!(world.reader.fall_back(), Some(FallBack::ExitFree));
    let [Message::Ping(ping)] = world.sent_messages()[..] else { panic!() };
    assert!(ping.falling_back);
    world.pong();
    assert_eq!(world.told(), [Told::SessionUp(1), Told::FallBackLeft]);
}

// SPEC 4.12 renewal
#[test]
fn session_is_renewed_before_a_day_is_over_and_never_sends_after() {
    let mut world = Small::connected();
    let day = SESSION_AGE_MAX;
    world.jump(day - ms(61_000));
    world.sent_messages();
    world.pong();
    world.jump(day - ms(60_000));
    let mut ping = world.transmit().unwrap();
    world.gateway.open(&mut ping);
    let renewal = world.transmit().unwrap();
    assert_eq!(initiations(&[(world.now, renewal)]).len(), 1, "while the old session goes on");
    world.jump(day);
    let sent = world.pass_unheard(day + ms(5_000));
    assert!(sent.iter().all(|(_, datagram)| datagram.len() == HANDSHAKE_LEN));
    assert_eq!(world.reader.session(), None);
}

// SPEC 4.12 what comes after the end is dropped
#[test]
fn session_of_a_day_opens_nothing() {
    for (age, taken) in [(SESSION_AGE_MAX - ms(1), Ok(())), (SESSION_AGE_MAX, Err(Dropped::UnknownSession))] {
        let mut world = Small::connected();
        let datagram = world.gateway.seal(&[grant(1)]);
        world.now = age;
        assert_eq!(world.deliver(datagram), taken, "after {age:?}");
    }
}

// SPEC 4.11 the old session opens for ten seconds more
#[test]
fn replaced_session_still_opens_for_ten_seconds() {
    for (wait, dropped) in [(9_999, Ok(())), (10_000, Err(Dropped::UnknownSession))] {
        let mut world = Small::connected();
        let old = world.gateway.seal(&[grant(1)]);
        ask(&mut world);
        let sent = world.pass_unheard(ms(140));
        let response = world.gateway.shake(&mut sent.last().unwrap().1.clone());
        world.deliver(response).unwrap();
        world.now = ms(140 + wait);
        world.gateway.sessions = 9;
        let foreign = world.gateway.seal(&[grant(1)]);
        assert_eq!(world.deliver(foreign), Err(Dropped::UnknownSession), "it is of neither");
        assert_eq!(world.deliver(old), dropped, "after {wait} ms");
    }
}

// SPEC 5.4 the reader's window
#[test]
fn repeated_forged_and_foreign_datagrams_are_dropped() {
    let mut world = Small::connected();
    let good = world.gateway.seal(&[grant(1)]);
    world.deliver(good.clone()).unwrap();
    assert_eq!(world.deliver(good.clone()), Err(Dropped::Replayed(Replayed::Seen)));
    let far = world.gateway.seal_as(3_000, &[grant(1)]);
    world.deliver(far).unwrap();
    assert_eq!(world.deliver(good), Err(Dropped::Replayed(Replayed::TooOld)));
    let genuine = world.gateway.seal_as(3_001, &[grant(1)]);
    let mut forged = genuine.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(world.deliver(forged), Err(Dropped::Forged));
    assert_eq!(world.deliver(genuine), Ok(()), "a forgery marks no counter");
    let over = world.gateway.seal_as(1 << 32, &[grant(1)]);
    assert_eq!(world.deliver(over), Err(Dropped::SessionExpired));
    world.gateway.sessions = 9;
    let foreign = world.gateway.seal_as(3_002, &[grant(1)]);
    assert_eq!(world.deliver(foreign), Err(Dropped::UnknownSession));
}

#[test]
fn gateways_datagrams_only_are_taken() {
    let mut world = Small::connected();
    let ping = kalitka_protocol::message::Ping { token: 0, reports_waiting: 0, falling_back: false };
    let datagram = world.gateway.seal(&[Message::Ping(ping)]);
    assert_eq!(world.deliver(datagram), Err(Dropped::NotForReader));
    let mut other = Small::new();
    let initiation = other.transmit().unwrap();
    assert_eq!(world.deliver(initiation), Err(Dropped::NotForReader));
    assert_eq!(ReaderId(101), READER);
}
