//! One well-formed event or upstream message of every kind, and what each parser makes of bytes.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use kalitka_protocol::credential::{CardRead, Credential};
use kalitka_protocol::event::{
    AdoptionCause, Body, ClockQuality, CommandDone, Decision, EpochBegun, Event, EventHeader, GatewayStarted, Loss,
    LossCause, LossClosed, Purged, ReportTaken, SnapshotAdopted, UNKNOWN_END,
};
use kalitka_protocol::message::{Order, Report, ReportKind};
use kalitka_protocol::reason::{Denial, Direction, FallBack, Grant, Verdict};
use kalitka_protocol::upstream::{
    Acknowledgement, Batch, Checkpoint, CommandBody, CommandOutcome, CommandResult, Earlier, EnrolRefused,
    EnrolRequest, Enrolled, Envelope, Fork, Head, Hello, Pace, PortalModeCode, Position, PositionEntry, Renew,
    RenewRefused, Renewed, SnapshotHead, SnapshotResult, SnapshotWanted, Token, kind, live, message,
};
use kalitka_protocol::wire::{Malformed, NoRoom, Writer};
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId};

/// Parses bytes and gives what would be written of their meaning.
pub(crate) type Again = fn(&[u8]) -> Result<Vec<u8>, Malformed>;

/// Well-formed bytes of one kind.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) again: Again,
}

/// The bytes that `emit` writes into ample room.
pub(crate) fn written(emit: impl Fn(&mut Writer<'_>) -> Result<(), NoRoom>) -> Vec<u8> {
    let into = |room| {
        let mut buffer = vec![0; room];
        let mut writer = Writer::new(&mut buffer);
        let len = emit(&mut writer).map(|()| writer.len())?;
        buffer.truncate(len);
        Ok(buffer)
    };
    into(4096).or_else(|NoRoom| into(1 << 21)).unwrap()
}

/// `bytes` with those at `place` replaced.
pub(crate) fn with(bytes: &[u8], place: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place..place + new.len()].copy_from_slice(new);
    bytes
}

/// The epoch of all samples.
pub(crate) const EPOCH: EpochId = EpochId(0x1817_1615_1413_1211);

/// The header of number `number`.
pub(crate) const fn header(number: u64) -> EventHeader {
    EventHeader {
        building: 7,
        epoch: EPOCH,
        number,
        wall_us: 1_750_000_000_000_000,
        monotonic_us: 5_000_000,
        gateway_boot: 0x0a09_0807,
        quality: ClockQuality::Good,
        jumped: false,
    }
}

fn report() -> Report {
    Report {
        log: LogId(1),
        number: 2,
        boot: BootId(3),
        request: 4,
        age_ms: 5,
        count: 0,
        kind: ReportKind::Passed,
        direction: Some(Direction::Exit),
        input: 0,
        unasked: false,
        oldest: true,
        card: CardRead::from_uid(&[4, 1, 2, 3]),
    }
}

fn decision(verdict: Verdict) -> Decision<'static> {
    Decision {
        reader: ReaderId(101),
        boot: BootId(3),
        request: 4,
        generation: 3,
        portal: Some(1),
        verdict,
        direction: Direction::Entry,
        age_ms: 12,
        credential: Credential::from_uid(&[4, 1, 2, 3]),
        holder: b"p0421",
    }
}

/// Bodies of every kind, with the number of the event that they can stand in.
pub(crate) fn bodies() -> Vec<(u64, Body<'static>)> {
    let stranger =
        Decision { credential: None, portal: None, holder: b"", ..decision(Verdict::Deny(Denial::NoAccess)) };
    let lost = |epoch, first, last, cause| Body::Loss(Loss { epoch, first, last, cause, count: 9 });
    let hash = [0xcc; 32];
    vec![
        (2, Body::Decision(decision(Verdict::Grant(Grant::AccessLevel)))),
        (3, Body::Decision(stranger)),
        (4, Body::Report(ReportTaken { reader: ReaderId(101), generation: 3, portal: Some(1), report: report() })),
        (1, Body::EpochBegun(EpochBegun { before: None, last: 0, hash: [0; 32] })),
        (1, Body::EpochBegun(EpochBegun { before: Some(EpochId(5)), last: 77, hash })),
        (5, lost(EpochId(5), 3, UNKNOWN_END, LossCause::Damaged)),
        (6, lost(EPOCH, 1, 4, LossCause::Bound)),
        (7, lost(EPOCH, 0, 0, LossCause::NotTaken)),
        (8, lost(EPOCH, 0, 0, LossCause::RingFull)),
        (9, Body::LossClosed(LossClosed { epoch: EpochId(5), first: 3, held: 2, hash: [0; 32] })),
        (9, Body::LossClosed(LossClosed { epoch: EpochId(5), first: 3, held: 9, hash })),
        (10, Body::Command(CommandDone { number: 5, operator: [0xbb; 32], reader: 101, result: 2, body: &[3; 24] })),
        (11, Body::SnapshotAdopted(SnapshotAdopted { generation: 4, cause: AdoptionCause::Newer, hash })),
        (12, Body::GatewayStarted(GatewayStarted { readers: 30, version: b"0.3.0 (9f2ff55)" })),
        (13, Body::Unknown { kind: 200, bytes: &[1, 2, 3] }),
        (14, Body::Purged(Purged { epoch: EpochId(5), first: 3, last: 9, hash, before_us: 7, count: 5 })),
        (15, lost(EPOCH, 1, 9, LossCause::DenialsGaveWay)),
        (16, lost(EPOCH, 0, 0, LossCause::AtBound)),
    ]
}

/// The event of `body` with `number`.
pub(crate) fn event(number: u64, body: Body<'_>) -> Vec<u8> {
    written(|out| Event { header: header(number), body }.emit(out))
}

/// Events of the numbers `first` on, one behind the other.
pub(crate) fn run(first: u64, count: u64) -> Vec<u8> {
    let body = Body::Decision(decision(Verdict::Grant(Grant::PortalFree)));
    (first..first + count).flat_map(|number| event(number, body)).collect()
}

fn hello() -> Hello {
    let mut earlier = Earlier::new();
    earlier.push(EpochId(5)).unwrap();
    earlier.push(EpochId(6)).unwrap();
    Hello { building: 7, epoch: EPOCH, last: 10, hash: [0xcc; 32], oldest: 2, generation: 3, earlier }
}

fn position() -> Position {
    let mut position = Position::new(PositionEntry { epoch: EPOCH, last: 9, hash: [0xcc; 32] });
    position.push(PositionEntry::nothing(EpochId(5))).unwrap();
    position
}

/// The batch of `events`, numbered from 9.
pub(crate) const fn batch(events: &[u8], count: u32) -> Batch<'_> {
    Batch { epoch: EPOCH, first: 9, hash_before: [1; 32], count, events, hash: [2; 32], signature: [3; 64] }
}

/// An envelope around `body`.
pub(crate) const fn envelope(body: &[u8]) -> Envelope<'_> {
    Envelope { building: 7, number: 5, not_after_us: 9, operator: [0xbb; 32], body, signature: [3; 64] }
}

fn command_bodies() -> Vec<CommandBody> {
    let credential = Credential::from_uid(&[4, 1, 2, 3]).unwrap();
    let open = Order::Open { direction: Direction::Entry, hold_open_ms: 5000 };
    vec![
        CommandBody::Reader { reader: Some(ReaderId(101)), order: open },
        CommandBody::Reader { reader: None, order: Order::SetFallBack(FallBack::ExitFree) },
        CommandBody::Block { credential },
        CommandBody::Unblock { credential },
        CommandBody::Mode { reader: Some(ReaderId(101)), mode: Some(PortalModeCode::Free) },
        CommandBody::Mode { reader: None, mode: None },
    ]
}

macro_rules! again {
    ($type:ty) => {
        |bytes| <$type>::parse(bytes).map(|parsed| written(|out| parsed.emit(out)))
    };
}

fn samples_of_messages() -> Vec<Sample> {
    let sample = |name, bytes, again| Sample { name, bytes, again };
    let checkpoint =
        Checkpoint { building: 7, epoch: EPOCH, number: 9, hash: [1; 32], wall_us: -1, signature: [2; 64] };
    let enrolled = Enrolled {
        certificate: &[1; 300],
        ca: &[2; 280],
        checkpoint_key: [3; 32],
        publishers: &[[4; 32]],
        operators: &[[5; 32], [6; 32]],
    };
    let request = EnrolRequest { secret: [9; 16], building: 7, csr: &[8; 200] };
    let (first, second) = (Acknowledgement { epoch: EPOCH, number: 9 }, Fork { epoch: EPOCH, number: 9 });
    let result = CommandResult { number: 5, outcome: CommandOutcome::GivenUp };
    let head = SnapshotHead { generation: 4, len: 1 << 20, hash: [1; 32] };
    vec![
        sample("hello", written(|out| hello().emit(out)), again!(Hello)),
        sample("position", written(|out| position().emit(out)), again!(Position)),
        sample("batch", written(|out| batch(&run(9, 3), 3).emit(out)), again!(Batch<'_>)),
        sample("acknowledgement", written(|out| first.emit(out)), again!(Acknowledgement)),
        sample("fork", written(|out| second.emit(out)), again!(Fork)),
        sample("checkpoint", written(|out| checkpoint.emit(out)), again!(Checkpoint)),
        sample("command", written(|out| envelope(&[3; 24]).emit(out)), again!(Envelope<'_>)),
        sample("command result", written(|out| result.emit(out)), again!(CommandResult)),
        sample("snapshot", written(|out| head.emit(out)), again!(SnapshotHead)),
        sample(
            "snapshot wanted",
            written(|out| SnapshotWanted { generation: 4, offset: 9 }.emit(out)),
            again!(SnapshotWanted),
        ),
        sample(
            "snapshot result",
            written(|out| SnapshotResult { generation: 4, result: 13 }.emit(out)),
            again!(SnapshotResult),
        ),
        sample("enrol", written(|out| request.emit(out)), again!(EnrolRequest<'_>)),
        sample("enrolled", written(|out| enrolled.emit(out)), again!(Enrolled<'_>)),
        sample("enrol refused", written(|out| EnrolRefused { code: 2 }.emit(out)), again!(EnrolRefused)),
        sample("renew", written(|out| Renew { building: 7, csr: &[8; 200] }.emit(out)), again!(Renew<'_>)),
        sample("renewed", written(|out| Renewed { certificate: &[1; 300] }.emit(out)), again!(Renewed<'_>)),
        sample("renew refused", written(|out| RenewRefused { code: 2 }.emit(out)), again!(RenewRefused)),
        sample("pace", written(|out| Pace { bytes: 1 << 20 }.emit(out)), again!(Pace)),
        sample("head", Head { kind: 3, len: 200 }.to_bytes().to_vec(), head_again),
        sample("live", written(|out| message(kind::LIVE, out, |out| out.put(&run(9, 2)))), live_again),
        sample("token", Token::new([9; 16], b"ca").to_text().to_vec(), token_again),
    ]
}

/// One of every kind, of some several.
pub(crate) fn samples() -> Vec<Sample> {
    let events = bodies().into_iter().map(|(number, body)| event(number, body));
    let events = events.map(|bytes| Sample { name: "event", bytes, again: again!(Event<'_>) });
    let commands = command_bodies().into_iter().map(|body| written(|out| body.emit(out)));
    let commands = commands.map(|bytes| Sample { name: "command body", bytes, again: command_again });
    events.chain(samples_of_messages()).chain(commands).collect()
}

/// Of an order that is not known, the bytes as they came.
fn command_again(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    Ok(CommandBody::parse(bytes)?.map_or_else(|| bytes.to_vec(), |body| written(|out| body.emit(out))))
}

fn head_again(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let head = bytes.try_into().map_err(|_| Malformed::Truncated("message head"))?;
    Ok(Head::parse(head)?.to_bytes().to_vec())
}

fn live_again(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let events: Vec<u8> = live(bytes)?.flat_map(|event| event.unwrap().bytes.to_vec()).collect();
    Ok(written(|out| message(kind::LIVE, out, |out| out.put(&events))))
}

fn token_again(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let text = str::from_utf8(bytes).map_err(|_| Malformed::Value("token"))?;
    Ok(Token::parse(text)?.to_text().to_vec())
}
