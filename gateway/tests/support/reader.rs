//! A reader of a few lines, that also does what a reader must not.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::datagram::Datagram;
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys};
use kalitka_protocol::limits::{DATAGRAM_MAX, HANDSHAKE_LEN, SEALED_HEADER_LEN};
use kalitka_protocol::message::{Ask, Message, Messages, Ping, Report, ReportKind};
use kalitka_protocol::reason::{Direction, Verdict};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, LogId, ReaderId, SessionId, Stamp};

use super::PATIENCE;

/// A reader with its socket and perhaps a session.
pub(crate) struct TestReader {
    pub(crate) socket: UdpSocket,
    id: ReaderId,
    psk: Psk,
    tags: TagKeys,
    session: Option<Session>,
    request: u32,
}

struct Session {
    id: SessionId,
    seal: SealKey,
    open: SealKey,
    counter: u64,
}

impl TestReader {
    pub(crate) fn new(gateway: SocketAddr, number: u32, psk: [u8; 32]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(gateway).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let psk = Psk::new(psk);
        let tags = TagKeys::new(&psk);
        Self { socket, id: ReaderId(number), psk, tags, session: None, request: 0 }
    }

    /// Moves to a gateway that has been started anew.
    pub(crate) fn moved(self, gateway: SocketAddr) -> Self {
        self.socket.connect(gateway).unwrap();
        self
    }

    /// An initiation with `stamp` and the half that ends the handshake.
    pub(crate) fn initiation(&self, stamp: u64) -> (Initiator, [u8; HANDSHAKE_LEN]) {
        let hello = Hello { boot: BootId(stamp), firmware: 1 };
        let mut ephemeral = [0; 32];
        fastrand::fill(&mut ephemeral);
        Initiator::new(self.id, &self.psk, &self.tags, Stamp(stamp), &hello, ephemeral)
    }

    /// Shakes hands; false when no response comes within `patience`.
    pub(crate) fn shake_hands_within(&mut self, stamp: u64, patience: Duration) -> bool {
        let (initiator, initiation) = self.initiation(stamp);
        self.socket.send(&initiation).unwrap();
        let mut buffer = [0; DATAGRAM_MAX];
        // A gateway that was there before may have taken its leave.
        let response = loop {
            let Some(received) = self.receive(&mut buffer, patience) else { return false };
            let len = received.len();
            if !matches!(Datagram::parse(received), Ok(Datagram::Sealed(_))) {
                break &mut buffer[..len];
            }
        };
        let Ok(Datagram::Response(response)) = Datagram::parse(response) else { panic!("no response") };
        let (keys, welcome) = initiator.finish(&self.tags, &response).unwrap();
        let (seal, open) = (SealKey::new(&keys.reader), SealKey::new(&keys.gateway));
        self.session = Some(Session { id: welcome.session, seal, open, counter: 0 });
        true
    }

    pub(crate) fn shake_hands(&mut self, stamp: u64) {
        assert!(self.shake_hands_within(stamp, PATIENCE), "no response");
    }

    /// A sealed datagram with `messages`.
    pub(crate) fn seal(&mut self, messages: &[Message<'_>]) -> Vec<u8> {
        let session = self.session.as_mut().unwrap();
        let mut datagram = vec![0; DATAGRAM_MAX];
        let mut writer = Writer::new(&mut datagram[SEALED_HEADER_LEN..]);
        messages.iter().for_each(|message| message.emit(&mut writer).unwrap());
        let len = writer.len();
        let len = session.seal.seal(session.id, session.counter, &mut datagram, len).unwrap();
        session.counter += 1;
        datagram.truncate(len);
        datagram
    }

    /// Bytes that are sealed but no messages.
    pub(crate) fn seal_bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        let session = self.session.as_mut().unwrap();
        let mut datagram = vec![0; DATAGRAM_MAX];
        datagram[SEALED_HEADER_LEN..][..bytes.len()].copy_from_slice(bytes);
        let len = session.seal.seal(session.id, session.counter, &mut datagram, bytes.len()).unwrap();
        session.counter += 1;
        datagram.truncate(len);
        datagram
    }

    pub(crate) fn ping(&mut self, token: u32) -> Vec<u8> {
        self.seal(&[Message::Ping(Ping { token, reports_waiting: 0, falling_back: false })])
    }

    /// Pings and says whether a pong comes within `patience`.
    pub(crate) fn pong_within(&mut self, token: u32, patience: Duration) -> bool {
        let ping = self.ping(token);
        self.socket.send(&ping).unwrap();
        let mut buffer = [0; DATAGRAM_MAX];
        let Some(datagram) = self.receive(&mut buffer, patience) else { return false };
        self.opened(datagram, |message| match message {
            Message::Pong(pong) => pong.token == token,
            _ => false,
        })
    }

    /// Asks whether the card of UID `uid` may pass in.
    pub(crate) fn ask(&mut self, uid: &[u8]) -> Verdict {
        self.request += 1;
        let request = self.request;
        let card = CardRead::from_uid(uid).unwrap();
        let ask = self.seal(&[Message::Ask(Ask { request, age_ms: 5, direction: Direction::Entry, card })]);
        self.socket.send(&ask).unwrap();
        let mut buffer = [0; DATAGRAM_MAX];
        let datagram = self.receive(&mut buffer, PATIENCE).expect("no answer");
        self.opened(datagram, |message| match message {
            Message::Answer(answer) if answer.request == request => answer.verdict,
            other => panic!("no answer: {other:?}"),
        })
    }

    /// Sends report `number` of log 7.
    pub(crate) fn report(&mut self, number: u64, oldest: bool) {
        let report = Report {
            log: LogId(7),
            number,
            boot: BootId(0),
            request: 0,
            age_ms: 0,
            count: 0,
            kind: ReportKind::Passed,
            direction: Some(Direction::Entry),
            input: 0,
            unasked: false,
            oldest,
            card: None,
        };
        let datagram = self.seal(&[Message::Report(report)]);
        self.socket.send(&datagram).unwrap();
    }

    /// Sends `report` until it is receipted.
    pub(crate) fn told(&mut self, report: Report) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let datagram = self.seal(&[Message::Report(report)]);
            self.socket.send(&datagram).unwrap();
            if self.receipt_within(Duration::from_millis(500)).is_some_and(|receipted| receipted >= report.number) {
                return;
            }
            assert!(Instant::now() < deadline, "{report:?} was not receipted");
        }
    }

    /// The number of the next receipt, if one comes within `patience`.
    pub(crate) fn receipt_within(&self, patience: Duration) -> Option<u64> {
        let mut buffer = [0; DATAGRAM_MAX];
        let datagram = self.receive(&mut buffer, patience)?;
        Some(self.opened(datagram, |message| match message {
            Message::Receipt(receipt) => receipt.number,
            other => panic!("no receipt: {other:?}"),
        }))
    }

    /// Whether the next datagram, if one comes, says that the session is over.
    pub(crate) fn is_left(&self) -> bool {
        let mut buffer = [0; DATAGRAM_MAX];
        let Some(datagram) = self.receive(&mut buffer, PATIENCE) else { return false };
        self.opened(datagram, |message| message == Message::Leave)
    }

    /// Reports until it is receipted.
    pub(crate) fn reported(&mut self, number: u64, oldest: bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.report(number, oldest);
            if self.receipt_within(Duration::from_millis(500)).is_some_and(|receipted| receipted >= number) {
                return;
            }
            assert!(Instant::now() < deadline, "report {number} was not receipted");
        }
    }

    /// What `look` makes of the first message in a sealed datagram.
    fn opened<T>(&self, datagram: &mut [u8], look: impl Fn(Message<'_>) -> T) -> T {
        let session = self.session.as_ref().unwrap();
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(datagram) else { panic!("not sealed") };
        assert_eq!(sealed.session, session.id);
        let plaintext = session.open.open(sealed).expect("the seal does not hold");
        look(Messages::new(plaintext).next().unwrap().unwrap())
    }

    /// The next datagram, if one comes within `patience`.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8], patience: Duration) -> Option<&'a mut [u8]> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let len = self.socket.recv(buffer).ok()?;
        Some(&mut buffer[..len])
    }
}
