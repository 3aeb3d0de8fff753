//! Bytes in and out: parsing, emitting, the seal and the replay window, each for itself.

use kalitka_benches::Pair;
use kalitka_protocol::SessionId;
use kalitka_protocol::datagram::{self, Datagram};
use kalitka_protocol::limits::{ANSWER_LEN, MESSAGE_HEADER_LEN, SEALED_HEADER_LEN, TAG_LEN};
use kalitka_protocol::message::{Answer, Message, Messages};
use kalitka_protocol::reason::{Grant, Tone, Verdict};
use kalitka_protocol::replay::ReplayWindow;
use kalitka_protocol::wire::Writer;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::stage::{Size, Stage, card};
use crate::step::Step;

/// Bytes of an ask, header and body.
const ASK_BYTES: usize = MESSAGE_HEADER_LEN + 24;
/// Bytes of an answer without a text.
const ANSWER_BYTES: usize = MESSAGE_HEADER_LEN + ANSWER_LEN;

pub(super) fn steps() -> Vec<Step> {
    vec![parse_datagram(), parse_ask(), emit_answer(), open(), seal(), replay()]
}

fn pair(stage: &Stage) -> Pair {
    Pair::new(stage.view(Size::SixteenThousand))
}

fn parse_datagram() -> Step {
    Step::new(
        "parse the outside of a sealed datagram",
        pair,
        |pair| {
            let ask = pair.ask(card(1));
            pair.sealed(&[Message::Ask(ask)])
        },
        |_, datagram| match Datagram::parse(datagram) {
            Ok(Datagram::Sealed(sealed)) => Some((sealed.session, sealed.counter)),
            _ => None,
        },
        Option::is_some,
    )
}

fn parse_ask() -> Step {
    Step::new(
        "parse an ask",
        pair,
        |pair| {
            let mut plaintext = [0; ASK_BYTES];
            let mut writer = Writer::new(&mut plaintext);
            Message::Ask(pair.ask(card(1))).emit(&mut writer).unwrap();
            plaintext
        },
        |_, plaintext| match Messages::new(plaintext).next() {
            Some(Ok(Message::Ask(ask))) => Some(ask),
            _ => None,
        },
        Option::is_some,
    )
}

fn emit_answer() -> Step {
    Step::new(
        "emit an answer",
        |_| 0,
        |request| {
            *request += 1;
            *request
        },
        |_, &mut request| {
            let mut bytes = [0; ANSWER_BYTES];
            let mut writer = Writer::new(&mut bytes);
            let verdict = Verdict::Grant(Grant::AccessLevel);
            let (generation, hold_open_ms, tone, text) = (1, 5_000, Tone::Welcome, "");
            let answer = Answer { request, generation, hold_open_ms, verdict, tone, text };
            Message::Answer(answer).emit(&mut writer).map(|()| bytes)
        },
        Result::is_ok,
    )
}

fn key(_: &Stage) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[5; 32]).unwrap())
}

fn open() -> Step {
    Step::new(
        "AES-256-GCM, open an ask",
        |stage| (key(stage), 0),
        |(key, counter)| {
            *counter += 1;
            let header = datagram::sealed_header(SessionId(1), *counter);
            let mut body = vec![7; ASK_BYTES];
            let nonce = Nonce::assume_unique_for_key(datagram::nonce(*counter));
            key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut body).unwrap();
            (*counter, header, body)
        },
        |(key, _), (counter, header, body)| {
            let nonce = Nonce::assume_unique_for_key(datagram::nonce(*counter));
            key.open_in_place(nonce, Aad::from(&*header), body).is_ok()
        },
        |&opened| opened,
    )
}

fn seal() -> Step {
    Step::new(
        "AES-256-GCM, seal an answer",
        |stage| (key(stage), 0),
        |(_, counter)| {
            *counter += 1;
            (*counter, [7; SEALED_HEADER_LEN + ANSWER_BYTES + TAG_LEN])
        },
        |(key, _), (counter, bytes)| {
            let header = datagram::sealed_header(SessionId(1), *counter);
            let nonce = Nonce::assume_unique_for_key(datagram::nonce(*counter));
            let text = &mut bytes[SEALED_HEADER_LEN..][..ANSWER_BYTES];
            key.seal_in_place_separate_tag(nonce, Aad::from(&header), text)
                .map(|tag| *tag.as_ref().first_chunk::<TAG_LEN>().unwrap())
        },
        Result::is_ok,
    )
}

fn replay() -> Step {
    Step::new(
        "replay window, look and mark",
        |_| (ReplayWindow::default(), 0),
        |(_, counter)| {
            *counter += 1;
            *counter
        },
        |(window, _), &mut counter| {
            let fresh = window.check(counter).is_ok();
            window.mark(counter);
            fresh
        },
        |&fresh| fresh,
    )
}
