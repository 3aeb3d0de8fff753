//! One reader's session, and the asks that are sealed for it.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kalitka_protocol::datagram::{Datagram, Handshake};
use kalitka_protocol::handshake::{Hello, Initiator, SessionKeys, TagKeys};
use kalitka_protocol::limits::{ASK_LEN, DATAGRAM_MAX, HANDSHAKE_LEN, MESSAGE_HEADER_LEN, SEALED_HEADER_LEN, TAG_LEN};
use kalitka_protocol::message::{Ask, Message};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, ReaderId, SessionId, Stamp};

use super::junk::Prey;
use super::line::Line;
use crate::deck::Show;
use crate::keys::ReaderKey;
use crate::limits::{REPLAYS_KEPT, SHAKE_AGAIN_AFTER, WARM_UP_MAX};

/// Bytes of so many asks with their headers.
const fn text_len(asks: usize) -> usize {
    asks * (MESSAGE_HEADER_LEN + ASK_LEN)
}

/// Bytes of a sealed datagram with so many asks.
pub(super) const fn datagram_len(asks: usize) -> usize {
    SEALED_HEADER_LEN + text_len(asks) + TAG_LEN
}

/// A session and its sealed asks.
pub(super) struct Lane {
    /// Whose session it is.
    pub(super) reader: ReaderId,
    /// The place of its socket.
    pub(super) line: usize,
    /// The session's number.
    pub(super) session: SessionId,
    /// The datagram that began it; zeros when there was none.
    pub(super) initiation: [u8; HANDSHAKE_LEN],
    sealing: SealKey,
    /// Opens what the gateway sends.
    pub(super) opening: SealKey,
    /// Asks in each datagram.
    asks: usize,
    /// Sealed datagrams, one behind the other.
    bytes: Vec<u8>,
    /// What is asked in them.
    shows: Vec<Show>,
    /// Nanoseconds on the slice's clock at which those sent went out, or were to.
    pub(super) sent_at: Vec<u64>,
    /// The number of the first datagram in `bytes`.
    first: u64,
    /// The last datagrams of earlier slices.
    spent: Vec<u8>,
}

/// What was asked in one place, and when.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) show: Show,
    /// Nanoseconds on the slice's clock.
    pub(super) at: u64,
    /// Its place among the asks that the lane has sent in this slice.
    pub(super) place: usize,
}

impl Lane {
    /// Gets a session for the reader of `key` over `line`, which is in place `place`.
    pub(super) fn shake_hands(key: &ReaderKey, line: &Line, place: usize, asks: usize) -> io::Result<Self> {
        let (reader, psk) = (key.reader(), key.psk()?);
        let tags = TagKeys::new(&psk);
        let hello = Hello { boot: BootId(u64::from_le_bytes(random())), firmware: 0 };
        let begun = Instant::now();
        line.set_patience(SHAKE_AGAIN_AFTER)?;
        while begun.elapsed() < WARM_UP_MAX {
            let (initiator, initiation) = Initiator::new(reader, &psk, &tags, stamp(), &hello, random());
            line.send_one(&initiation)?;
            let mut response = [0; DATAGRAM_MAX];
            while let Some(len) = line.receive_one(&mut response, true)? {
                let Ok(Datagram::Response(response)) = Datagram::parse(&mut response[..len]) else { continue };
                if let Some((keys, session)) = finish(&initiator, &tags, &response) {
                    return Ok(Self::new(reader, place, session, &keys, initiation, asks));
                }
            }
        }
        let what = format!("reader {} got no session: wrong address, wrong key, or no gateway", reader.0);
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    }

    /// A session that nobody else knows of: number `session` under keys drawn at random.
    pub(super) fn make_up(session: u32, line: usize, asks: usize) -> Self {
        let keys = SessionKeys { reader: random(), gateway: random() };
        Self::new(ReaderId(session), line, SessionId(session), &keys, [0; HANDSHAKE_LEN], asks)
    }

    fn new(
        reader: ReaderId,
        line: usize,
        session: SessionId,
        keys: &SessionKeys,
        initiation: [u8; HANDSHAKE_LEN],
        asks: usize,
    ) -> Self {
        let (sealing, opening) = (SealKey::new(&keys.reader), SealKey::new(&keys.gateway));
        let (bytes, shows, sent_at, spent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { reader, line, session, initiation, sealing, opening, asks, bytes, shows, sent_at, first: 0, spent }
    }

    const fn len(&self) -> usize {
        datagram_len(self.asks)
    }

    /// Sealed datagrams that are not sent yet.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() / self.len() - self.sent_at.len()
    }

    /// Forgets what is sent and seals until `datagrams` are there, drawing what to ask from `draw`.
    pub(super) fn fill(&mut self, datagrams: usize, draw: &mut dyn FnMut() -> Show) -> io::Result<()> {
        self.forget_sent();
        self.sent_at.reserve_exact(datagrams);
        let from = self.bytes.len() / self.len();
        let len = self.len();
        self.bytes.resize(self.bytes.len().max(datagrams * len), 0);
        for place in from..datagrams {
            let number = self.first + place as u64;
            let mut writer = Writer::new(&mut self.bytes[place * len + SEALED_HEADER_LEN..(place + 1) * len - TAG_LEN]);
            for ask in 0..self.asks as u64 {
                let request = u32::try_from(number * self.asks as u64 + ask + 1).map_err(io::Error::other)?;
                let show = draw();
                let ask = Ask { request, age_ms: 0, direction: show.direction, card: show.card };
                Message::Ask(ask).emit(&mut writer).map_err(|_| io::ErrorKind::InvalidInput)?;
                self.shows.push(show);
            }
            let datagram = &mut self.bytes[place * len..(place + 1) * len];
            self.sealing
                .seal(self.session, number, datagram, text_len(self.asks))
                .map_err(|_| io::ErrorKind::InvalidInput)?;
        }
        Ok(())
    }

    fn forget_sent(&mut self) {
        let (sent, len) = (self.sent_at.len(), self.len());
        self.spent.extend_from_slice(&self.bytes[sent.saturating_sub(REPLAYS_KEPT) * len..sent * len]);
        self.spent.drain(..self.spent.len().saturating_sub(REPLAYS_KEPT * len));
        self.bytes.drain(..sent * len);
        self.shows.drain(..sent * self.asks);
        self.sent_at.clear();
        self.first += sent as u64;
    }

    /// The next `count` datagrams that are not sent yet, to be sent; `moments` says of each when it goes or was to go.
    pub(super) fn take(&mut self, count: usize, moment: impl FnMut(usize) -> u64) -> &[u8] {
        let from = self.sent_at.len();
        self.sent_at.extend((0..count).map(moment));
        &self.bytes[from * datagram_len(self.asks)..(from + count) * datagram_len(self.asks)]
    }

    /// What was asked by `request` in this slice; `None` when nothing was.
    pub(super) fn asked(&self, request: u32) -> Option<Sent> {
        let place = u64::from(request).checked_sub(self.first * self.asks as u64 + 1)?;
        let place = usize::try_from(place).ok()?;
        let at = *self.sent_at.get(place / self.asks)?;
        Some(Sent { show: self.shows[place], at, place })
    }

    /// Whether `request` was asked in an earlier slice.
    pub(super) fn is_of_before(&self, request: u32) -> bool {
        u64::from(request) <= self.first * self.asks as u64
    }

    /// The datagram of this slice with the number `counter`; its bytes, when it went, its place.
    pub(super) fn datagram(&self, counter: u64) -> Option<(&[u8], u64, usize)> {
        let place = usize::try_from(counter.checked_sub(self.first)?).ok()?;
        let at = *self.sent_at.get(place)?;
        Some((&self.bytes[place * self.len()..(place + 1) * self.len()], at, place))
    }

    /// The last datagrams of earlier slices, one behind the other.
    pub(super) fn spent(&self) -> &[u8] {
        &self.spent
    }

    /// What an eavesdropper knows of it.
    pub(super) fn prey(&self) -> Prey {
        let sealed = self.spent.chunks(self.len()).map(<[u8]>::to_vec).collect();
        Prey { reader: self.reader, session: self.session, initiation: self.initiation, sealed }
    }
}

fn finish(initiator: &Initiator, tags: &TagKeys, response: &Handshake<'_>) -> Option<(SessionKeys, SessionId)> {
    let (keys, welcome) = initiator.finish(tags, response).ok()?;
    Some((keys, welcome.session))
}

/// A stamp higher than any before, of this process or an earlier one: the wall clock, in seconds and nanoseconds.
fn stamp() -> Stamp {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp::new(u32::try_from(since.as_secs()).unwrap_or(u32::MAX), since.subsec_nanos())
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without the kernel's random numbers nothing here can go on; it fails only before they are ready at boot.
    getrandom::fill(&mut bytes).unwrap_or_else(|error| unreachable!("no random numbers: {error}"));
    bytes
}
