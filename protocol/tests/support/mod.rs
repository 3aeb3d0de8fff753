//! A gateway's side for tests: `snow` shakes hands, this crate seals. One session at a time, no rules of its own.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::time::Duration;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::datagram::{self, Datagram, Handshake};
use kalitka_protocol::handshake::{self, Hello, NOISE_NAME, Psk, TagKeys, Welcome};
use kalitka_protocol::limits::{DATAGRAM_MAX, HANDSHAKE_LEN, SEALED_HEADER_LEN};
use kalitka_protocol::message::{Answer, Message, Messages, ReportKind};
use kalitka_protocol::reader::{Event, Happening, Identity, Reader, ReportMemory};
use kalitka_protocol::reason::{Denial, Direction, FallBack, Grant, Tone, Verdict};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::{NoRoom, Writer};
use kalitka_protocol::{BootId, LogId, ReaderId, SessionId, Stamp};

/// The key of every test reader.
pub(crate) const PSK: [u8; 32] = *b"kalitka test psk, 32 bytes long!";
/// The number of every test reader.
pub(crate) const READER: ReaderId = ReaderId(101);
/// The boot of a test reader that has started once.
pub(crate) const BOOT: BootId = BootId(0x0807_0605_0403_0201);
/// The report memory of every test reader.
pub(crate) const LOG: LogId = LogId(0x1817_1615_1413_1211);

/// The bytes that `emit` writes; what it does not write stays as it was.
pub(crate) fn emitted(emit: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>) -> Vec<u8> {
    let mut buffer = vec![0xa5; 1 << 16];
    let mut writer = Writer::new(&mut buffer);
    emit(&mut writer).unwrap();
    let len = writer.len();
    assert!(buffer[len..].iter().all(|&byte| byte == 0xa5), "nothing is written behind");
    buffer.truncate(len);
    buffer
}

/// Milliseconds of virtual time.
pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A snow state machine of either side, its ephemeral key fixed.
pub(crate) fn snow(is_initiator: bool, psk: &[u8; 32], prologue: &[u8], ephemeral: &[u8; 32]) -> snow::HandshakeState {
    let builder = snow::Builder::new(NOISE_NAME.parse().unwrap())
        .prologue(prologue)
        .unwrap()
        .psk(0, psk)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(ephemeral);
    if is_initiator { builder.build_initiator().unwrap() } else { builder.build_responder().unwrap() }
}

/// What a snow responder makes of the Noise part of an initiation: its payload, the response, the split keys.
pub(crate) struct Responded {
    pub(crate) hello: Hello,
    pub(crate) response: [u8; HANDSHAKE_LEN],
    pub(crate) reader_key: [u8; 32],
    pub(crate) gateway_key: [u8; 32],
}

/// Answers `initiation` as a gateway does that knows `psk`.
pub(crate) fn respond(
    psk: &[u8; 32],
    initiation: &Handshake<'_>,
    welcome: &Welcome,
    ephemeral: &[u8; 32],
) -> Option<Responded> {
    let tags = TagKeys::new(&Psk::new(*psk));
    if !tags.verify_initiation(initiation) {
        return None;
    }
    let mut state = snow(false, psk, &handshake::prologue(initiation.reader), ephemeral);
    let mut payload = [0; 64];
    let len = state.read_message(initiation.noise(), &mut payload).ok()?;
    let hello = Hello::parse(&payload[..len]).ok()?;
    let mut noise = [0; datagram::NOISE_LEN];
    assert_eq!(state.write_message(&welcome.to_bytes(), &mut noise).unwrap(), noise.len());
    let mut response = datagram::emit_response(initiation.reader, initiation.stamp, &noise);
    tags.tag_response(&mut response);
    let (reader_key, gateway_key) = state.dangerously_get_raw_split();
    Some(Responded { hello, response, reader_key, gateway_key })
}

/// A welcome to session `session` with the defaults of a gateway.
pub(crate) const fn welcome(session: u32) -> Welcome {
    Welcome { session: SessionId(session), fall_back_after_ms: 1000, fall_back: FallBack::ExitFree }
}

/// A gateway that holds one session.
pub(crate) struct Gateway {
    pub(crate) sessions: u32,
    pub(crate) stamps: Vec<Stamp>,
    pub(crate) hello: Option<Hello>,
    keys: Option<(SealKey, SealKey)>,
    counter: u64,
    pub(crate) seen: u64,
}

impl Gateway {
    pub(crate) const fn new() -> Self {
        Self { sessions: 0, stamps: Vec::new(), hello: None, keys: None, counter: 0, seen: 0 }
    }

    /// The response to an initiation; panics on anything else.
    pub(crate) fn shake(&mut self, datagram: &mut [u8]) -> Vec<u8> {
        let Datagram::Initiation(initiation) = Datagram::parse(datagram).unwrap() else {
            panic!("not an initiation");
        };
        self.sessions += 1;
        self.stamps.push(initiation.stamp);
        let ephemeral = [u8::try_from(self.sessions).unwrap(); 32];
        let made = respond(&PSK, &initiation, &welcome(self.sessions), &ephemeral).unwrap();
        self.hello = Some(made.hello);
        self.keys = Some((SealKey::new(&made.reader_key), SealKey::new(&made.gateway_key)));
        self.counter = 0;
        self.seen = 0;
        made.response.to_vec()
    }

    /// The plaintext of a sealed datagram of the session.
    pub(crate) fn open(&mut self, datagram: &mut [u8]) -> Vec<u8> {
        let Datagram::Sealed(sealed) = Datagram::parse(datagram).unwrap() else { panic!("not sealed") };
        assert_eq!(sealed.session, SessionId(self.sessions));
        self.seen = self.seen.max(sealed.counter);
        self.keys.as_ref().unwrap().0.open(sealed).unwrap().to_vec()
    }

    /// A sealed datagram of `messages`.
    pub(crate) fn seal(&mut self, messages: &[Message<'_>]) -> Vec<u8> {
        self.counter += 1;
        self.seal_as(self.counter - 1, messages)
    }

    /// The same under a counter of one's choice.
    pub(crate) fn seal_as(&self, counter: u64, messages: &[Message<'_>]) -> Vec<u8> {
        let mut datagram = vec![0xa5; DATAGRAM_MAX];
        let mut writer = Writer::new(&mut datagram[SEALED_HEADER_LEN..]);
        for message in messages {
            message.emit(&mut writer).unwrap();
        }
        let len = writer.len();
        let key = &self.keys.as_ref().unwrap().1;
        let len = key.seal(SessionId(self.sessions), counter, &mut datagram, len).unwrap();
        datagram.truncate(len);
        datagram
    }
}

/// A reader, its gateway, and the time that passes for both.
pub(crate) struct World<const REPORTS: usize> {
    pub(crate) now: Duration,
    pub(crate) reader: Reader<REPORTS>,
    pub(crate) gateway: Gateway,
    pub(crate) events: Vec<Told>,
    entropy: fastrand::Rng,
}

/// An [`Event`] without its borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Answer(u32, Verdict),
    Page(u32, u16),
    Unanswered(u32),
    Receipted(u64),
    Command(u64),
    SessionUp(u32),
    FallBackEntered(FallBack),
    FallBackLeft,
}

impl From<Event<'_>> for Told {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Answer(answer) => Self::Answer(answer.request, answer.verdict),
            Event::ListPage(page) => Self::Page(page.request, page.page),
            Event::Unanswered { request } => Self::Unanswered(request),
            Event::Receipted { number } => Self::Receipted(number),
            Event::Command(command) => Self::Command(command.id),
            Event::SessionUp(welcome) => Self::SessionUp(welcome.session.0),
            Event::FallBackEntered(mode) => Self::FallBackEntered(mode),
            Event::FallBackLeft => Self::FallBackLeft,
        }
    }
}

/// Who a test reader is in its `boot_counter`th boot.
pub(crate) const fn identity(boot_counter: u32) -> Identity {
    Identity {
        reader: READER,
        psk: Psk::new(PSK),
        firmware: 7,
        boot_counter,
        boot: BootId(BOOT.0 + boot_counter as u64 - 1),
        last_command: 0,
        fall_back: FallBack::Closed,
    }
}

impl<const REPORTS: usize> World<REPORTS> {
    /// A reader at its first start.
    pub(crate) fn new() -> Self {
        Self::boot(identity(1), ReportMemory::new(LOG))
    }

    pub(crate) fn boot(identity: Identity, memory: ReportMemory<REPORTS>) -> Self {
        Self {
            now: ms(0),
            reader: Reader::new(identity, memory),
            gateway: Gateway::new(),
            events: Vec::new(),
            entropy: fastrand::Rng::with_seed(1),
        }
    }

    /// A reader with a session that has proved itself.
    pub(crate) fn connected() -> Self {
        let mut world = Self::new();
        world.connect();
        world.events.clear();
        world
    }

    /// Shakes hands and answers the first ping.
    pub(crate) fn connect(&mut self) {
        let mut initiation = self.transmit().expect("an initiation is due");
        let response = self.gateway.shake(&mut initiation);
        self.deliver(response).unwrap();
        let sent = self.sent_messages();
        assert!(matches!(sent[..], [Message::Ping(_)]), "{sent:?}");
        self.pong();
    }

    /// The next datagram that the reader sends.
    pub(crate) fn transmit(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0xa5; DATAGRAM_MAX];
        let len = self.reader.poll_transmit(self.now, &mut buffer, &mut |bytes| self.entropy.fill(bytes))?;
        Some(buffer[..len].to_vec())
    }

    /// The messages of everything that the reader sends now, opened by the gateway.
    pub(crate) fn sent_messages(&mut self) -> Vec<Message<'static>> {
        let mut sent = Vec::new();
        while let Some(mut datagram) = self.transmit() {
            let plaintext = self.gateway.open(&mut datagram);
            // Leaked for the length of a test: messages borrow the plaintext.
            sent.extend(Messages::new(Box::leak(plaintext.into_boxed_slice())).map(Result::unwrap));
        }
        sent
    }

    /// Throws away what the reader sends now; the gateway sees none of it.
    pub(crate) fn lose(&mut self) {
        while self.transmit().is_some() {}
    }

    /// Hands `datagram` to the reader.
    pub(crate) fn deliver(&mut self, mut datagram: Vec<u8>) -> Result<(), kalitka_protocol::reader::Dropped> {
        let events = &mut self.events;
        self.reader.handle(self.now, &mut datagram, &mut |event| events.push(event.into()))
    }

    /// Seals `message` and hands it to the reader.
    pub(crate) fn say(&mut self, message: &Message<'_>) {
        let datagram = self.gateway.seal(std::slice::from_ref(message));
        self.deliver(datagram).unwrap();
    }

    pub(crate) fn pong(&mut self) {
        self.say(&Message::Pong(kalitka_protocol::message::Pong { token: 0 }));
    }

    /// Lets time pass to `now`, stopping at each timeout, and throws away what the reader sends.
    pub(crate) fn pass_unheard(&mut self, now: Duration) -> Vec<(Duration, Vec<u8>)> {
        let mut lost = Vec::new();
        loop {
            let next = self.reader.next_timeout().max(self.now);
            self.now = next.min(now);
            self.time_out();
            while let Some(datagram) = self.transmit() {
                lost.push((self.now, datagram));
            }
            if self.now == now {
                return lost;
            }
        }
    }

    /// Goes to `now` at once.
    pub(crate) fn jump(&mut self, now: Duration) {
        self.now = now;
        self.time_out();
    }

    fn time_out(&mut self) {
        let events = &mut self.events;
        self.reader.handle_timeout(self.now, &mut |event| events.push(event.into()));
    }

    pub(crate) fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.events)
    }
}

/// A card.
pub(crate) fn card() -> CardRead {
    CardRead::from_uid(&[0x04, 0xa2, 0x24, 0x5b, 0x9c, 0x61, 0x80]).unwrap()
}

/// A grant of `request`.
pub(crate) const fn grant(request: u32) -> Message<'static> {
    Message::Answer(Answer {
        request,
        generation: 3,
        hold_open_ms: 5000,
        verdict: Verdict::Grant(Grant::AccessLevel),
        tone: Tone::Welcome,
        text: "Проходите",
    })
}

/// The verdict of [`grant`].
pub(crate) const GRANTED: Verdict = Verdict::Grant(Grant::AccessLevel);
/// Some denial.
pub(crate) const DENIED: Verdict = Verdict::Deny(Denial::UnknownCredential);

/// Somebody has gone in, after the ask `request` or unasked.
pub(crate) fn passed(request: Option<u32>) -> Happening {
    let (kind, direction) = (ReportKind::Passed, Some(Direction::Entry));
    Happening { kind, direction, request, input: 0, unasked: request.is_none(), card: Some(card()) }
}
