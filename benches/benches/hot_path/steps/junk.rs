//! What every kind of datagram costs that is dropped: one step for each reason.

use std::net::SocketAddr;
use std::time::Duration;

use kalitka_benches::pair::{Pair, forged_initiation};
use kalitka_core::{DropReason, Outcome};
use kalitka_protocol::datagram::{NOISE_LEN, PAYLOAD_LEN, emit_initiation};
use kalitka_protocol::handshake::{NOISE_NAME, prologue};
use kalitka_protocol::limits::{DATAGRAM_MAX, INITIATION_INTERVAL_MIN, REPLAY_WINDOW, SESSION_DATAGRAMS_MAX};
use kalitka_protocol::message::{Message, Ping, Pong};

use crate::stage::Size;
use crate::step::Step;

const PING: Message<'_> = Message::Ping(Ping { token: 1, reports_waiting: 0, falling_back: false });
/// Where the session's number, or an initiation's reader, stands.
const NUMBER_AT: usize = 4;

pub(super) fn steps() -> Vec<Step> {
    DropReason::ALL.iter().map(|&reason| junk(reason)).collect()
}

fn junk(reason: DropReason) -> Step {
    let name: &'static str = Box::leak(format!("dropped, {}", reason.label()).into_boxed_str());
    // Of these no two are looked into within a tenth of a second.
    let pause = if reason == DropReason::HandshakeMalformed { INITIATION_INTERVAL_MIN } else { Duration::ZERO };
    let step = Step::new(
        name,
        |stage| {
            let mut pair = Pair::new(stage.view(Size::SixteenThousand));
            pair.skip(2 * REPLAY_WINDOW);
            let mut ahead = pair.sealed(&[PING]);
            pair.handle(&mut ahead);
            pair
        },
        move |pair| datagram(pair, reason),
        move |pair, datagram| {
            pair.wait(pause);
            pair.handle(datagram)
        },
        move |outcome| *outcome == Outcome::Dropped(reason),
    );
    if reason == DropReason::HandshakeMalformed { step.slow() } else { step }
}

/// A datagram that is dropped for `reason`.
fn datagram(pair: &mut Pair, reason: DropReason) -> Vec<u8> {
    let with = |mut datagram: Vec<u8>, at: usize, bits: u8| {
        datagram[at] ^= bits;
        datagram
    };
    match reason {
        DropReason::Malformed => vec![3, 1, 0, 0, 0],
        DropReason::Oversized => vec![3; DATAGRAM_MAX + 1],
        DropReason::Version => with(pair.sealed(&[PING]), 1, 0x80),
        DropReason::UnknownType => with(pair.sealed(&[PING]), 0, 0x80),
        DropReason::NotForGateway => with(pair.first_initiation().to_vec(), 0, 1 ^ 2),
        DropReason::HandshakeUnknownReader => with(pair.first_initiation().to_vec(), NUMBER_AT, 0x80),
        DropReason::HandshakeForged => forged_initiation().to_vec(),
        DropReason::HandshakeStampRepeated => pair.first_initiation().to_vec(),
        DropReason::HandshakeTooSoon => pair.initiation().to_vec(),
        DropReason::HandshakeMalformed => malformed_initiation(pair),
        // The highest byte is drawn at random.
        DropReason::UnknownSession => with(pair.sealed(&[PING]), NUMBER_AT + 3, 0x80),
        DropReason::SessionExpired => pair.sealed_as(SESSION_DATAGRAMS_MAX, &[]),
        DropReason::Replayed => {
            let taken = pair.sealed(&[PING]);
            pair.handle(&mut taken.clone());
            taken
        }
        DropReason::TooOld => pair.sealed_as(1, &[]),
        DropReason::Forged => {
            let sealed = pair.sealed(&[PING]);
            let last = sealed.len() - 1;
            with(sealed, last, 1)
        }
        DropReason::AddressLeft => overtaken(pair),
        // A ping whose body ends too early.
        DropReason::MalformedMessage => pair.sealed_bytes(&[4, 0, 8, 0, 1]),
        DropReason::WrongDirectionMessage => pair.sealed(&[Message::Pong(Pong { token: 1 })]),
    }
}

/// A datagram after which a newer one has come from elsewhere.
fn overtaken(pair: &mut Pair) -> Vec<u8> {
    let sealed = pair.sealed(&[PING]);
    let mut newer = pair.sealed(&[PING]);
    pair.handle_from(SocketAddr::from(([127, 0, 0, 2], 5000)), &mut newer);
    sealed
}

/// An authentic initiation whose reserved bytes are not zero.
fn malformed_initiation(pair: &mut Pair) -> Vec<u8> {
    pair.initiation_by(|reader, psk, tags, stamp| {
        let prologue = prologue(reader);
        let builder = snow::Builder::new(NOISE_NAME.parse().unwrap()).prologue(&prologue).unwrap();
        let mut state = builder.psk(0, psk.as_bytes()).unwrap().build_initiator().unwrap();
        let mut noise = [0; NOISE_LEN];
        assert_eq!(state.write_message(&[1; PAYLOAD_LEN], &mut noise).unwrap(), NOISE_LEN);
        let mut initiation = emit_initiation(reader, stamp, &noise);
        tags.tag_initiation(&mut initiation);
        initiation.to_vec()
    })
}
