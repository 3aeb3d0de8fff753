//! Mutated input for every parser: none panics, and none accepts what was changed under a signature or a seal.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use fastrand::Rng;
use kalitka_core::{Entropy, Keys, Now, Outcome, Output, Overlay, Texts, UnixSeconds, View, Worker, World, decide};
use kalitka_protocol::credential::{CardRead, Credential};
use kalitka_protocol::datagram::{Datagram, NOISE_LEN, TAGGED_LEN, sealed_header};
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys, Welcome};
use kalitka_protocol::limits::{DATAGRAM_MAX, HANDSHAKE_LEN, PLAINTEXT_MAX, SEALED_HEADER_LEN};
use kalitka_protocol::message::{
    Answer, Ask, Command, CommandResult, Done, ListAsk, ListEntries, ListEntry, ListKind, ListPage, ListStatus,
    Message, Messages, Order, Ping, Pong, Receipt, Report, ReportKind,
};
use kalitka_protocol::reason::{Denial, Direction, Tone, Verdict};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, LogId, ReaderId, SessionId, Stamp};
use kalitka_snapshot::roster::Roster;
use kalitka_snapshot::{AlignedBytes, HEADER_LEN, Header, PublisherKey, Snapshot, build, sign};
use kalitka_tests::mutate::{guarded, mutate};
use kalitka_tests::process;
use kalitka_tests::random::{number_from_environment, seed};
use kalitka_tests::school::School;

/// Executions in soak of each parser: datagrams and messages, handshake, snapshot, roster.
const EXECUTIONS_IN_SOAK: u64 = 10_000_000;
/// Executions of all of them together in ordinary runs.
const EXECUTIONS: u64 = 2_000_000;
const READER: ReaderId = ReaderId(101);

/// How many executions a test makes: in ordinary runs so many of a thousand of all, the dear ones few; in soak so many
/// hundredths of what each parser gets.
fn executions(permille: u64, percent_in_soak: u64) -> u64 {
    number_from_environment(
        "KALITKA_FUZZ_EXECUTIONS",
        EXECUTIONS * permille / 1000,
        EXECUTIONS_IN_SOAK * percent_in_soak / 100,
    )
}

fn sample_messages(rng: &mut Rng, texts: &mut [u8; 1024]) -> Vec<Vec<u8>> {
    let card = CardRead::from_uid(&[4, 1, 2, rng.u8(..)]).unwrap();
    let cut = CardRead::from_wiegand(24, u64::from(rng.u16(..))).unwrap();
    let entry = ListEntry { reference: rng.u32(..), state: 1, text: "1А" };
    let entries = ListEntries::lay_out(&[entry; 3], texts).unwrap();
    let request = rng.u32(..);
    let report = Report {
        log: LogId(rng.u64(..)),
        number: rng.u64(..),
        boot: BootId(rng.u64(..)),
        request,
        age_ms: rng.u32(..),
        count: 0,
        kind: ReportKind::Passed,
        direction: Some(Direction::Exit),
        input: 0,
        unasked: true,
        oldest: rng.bool(),
        card: Some(cut),
    };
    let answer = Answer {
        request,
        generation: rng.u32(..),
        hold_open_ms: 0,
        verdict: Verdict::Deny(Denial::NoAccess),
        tone: Tone::Refused,
        text: "Проход запрещён",
    };
    let page = ListPage { request, page: 0, pages: 2, status: ListStatus::Entries, entries };
    let open = Order::Open { direction: Direction::Exit, hold_open_ms: 900 };
    let messages = [
        Message::Ask(Ask { request, age_ms: 10, direction: Direction::Entry, card }),
        Message::Report(report),
        Message::Report(Report { card: None, direction: None, ..report }),
        Message::Done(Done { id: rng.u64(..), result: CommandResult::Done }),
        Message::Ping(Ping { token: rng.u32(..), reports_waiting: 3, falling_back: false }),
        Message::ListAsk(ListAsk { request, page: 1, list: ListKind::Children, card }),
        Message::Answer(answer),
        Message::Receipt(Receipt { log: LogId(9), number: rng.u64(..) }),
        Message::Command(Command { id: 4, seen: rng.u64(..), order: Order::Play(Tone::Attention) }),
        Message::Command(Command { id: 5, seen: 1, order: open }),
        Message::Pong(Pong { token: rng.u32(..) }),
        Message::Leave,
        Message::ListPage(page),
    ];
    messages.iter().map(emitted).collect()
}

fn emitted(message: &Message<'_>) -> Vec<u8> {
    let mut buffer = [0xa5; PLAINTEXT_MAX];
    let mut writer = Writer::new(&mut buffer);
    message.emit(&mut writer).unwrap();
    let len = writer.len();
    buffer[..len].to_vec()
}

#[test]
fn what_is_read_of_mutated_messages_is_what_would_be_written() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let samples = sample_messages(&mut rng, &mut [0; 1024]);
    for _ in 0..executions(430, 100) {
        let mut bytes: Vec<u8> =
            (0..rng.usize(1..5)).flat_map(|_| samples[rng.usize(..samples.len())].clone()).collect();
        mutate(&mut rng, &mut bytes, &samples);
        guarded("messages", seed, &bytes, || {
            for message in Messages::new(&bytes).map_while(Result::ok) {
                let written = emitted(&message);
                assert_eq!(Messages::new(&written).next(), Some(Ok(message)));
            }
        });
    }
}

#[test]
fn mutated_datagrams_are_cut_without_panic_and_never_open() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let samples = sample_messages(&mut rng, &mut [0; 1024]);
    let key = SealKey::new(&[3; 32]);
    let session = SessionId(77);
    for counter in 0..executions(200, 50) {
        let plaintext = &samples[rng.usize(..samples.len())];
        let mut original = vec![0; DATAGRAM_MAX];
        original[SEALED_HEADER_LEN..SEALED_HEADER_LEN + plaintext.len()].copy_from_slice(plaintext);
        let len = key.seal(session, counter, &mut original, plaintext.len()).unwrap();
        original.truncate(len);
        let mut bytes = original.clone();
        mutate(&mut rng, &mut bytes, std::slice::from_ref(&original));
        let input = bytes.clone();
        guarded("datagram", seed, &input, || {
            if let Ok(Datagram::Sealed(sealed)) = Datagram::parse(&mut bytes) {
                let opened = key.open(sealed).is_some();
                assert_eq!(opened, input == original, "opened what was changed");
            }
        });
    }
}

struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// A worker and one reader that talks to it, with everything that the reader has sent.
struct Pair {
    worker: Worker,
    keys: Keys,
    texts: Texts,
    view: View,
    psk: Psk,
    tags: TagKeys,
    stamp: u64,
    counter: u64,
    now: Now,
    sent: Vec<Vec<u8>>,
    session: Option<(SealKey, SealKey, SessionId)>,
}

impl Pair {
    fn new(rng: &mut Rng, view: View, now: UnixSeconds) -> Self {
        let secret = [5; 32];
        Self {
            worker: Worker::new(0, 1, [], Box::new(Seeded(rng.fork()))),
            keys: Keys::new(1, [(READER, Psk::new(secret))]).unwrap(),
            texts: Texts::default(),
            view,
            psk: Psk::new(secret),
            tags: TagKeys::new(&Psk::new(secret)),
            stamp: 0,
            counter: 0,
            now: Now::good(Duration::from_secs(1), now),
            sent: Vec::new(),
            session: None,
        }
    }

    /// Hands the worker a datagram; gives what came of it and the reply.
    fn deliver(&mut self, datagram: &[u8]) -> (Outcome, Vec<u8>) {
        let Self { worker, view, keys, texts, now, .. } = self;
        let world = World { view: Some(view), overlay: &Overlay::default(), keys, texts, fall_back_after_ms: 1000 };
        let (mut out, from) = (Output::new(), "127.0.0.1:5000".parse().unwrap());
        (worker.handle(&world, *now, from, &mut datagram.to_vec(), &mut out), out.datagram().to_vec())
    }

    fn shake_hands(&mut self, rng: &mut Rng) {
        self.stamp += 1;
        self.now.monotonic += Duration::from_millis(150);
        let mut ephemeral = [0; 32];
        rng.fill(&mut ephemeral);
        let hello = Hello { boot: BootId(self.stamp), firmware: 1 };
        let (initiator, datagram) = Initiator::new(READER, &self.psk, &self.tags, Stamp(self.stamp), &hello, ephemeral);
        self.sent.push(datagram.to_vec());
        let (outcome, mut reply) = self.deliver(&datagram);
        assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
        let Ok(Datagram::Response(response)) = Datagram::parse(&mut reply) else { panic!("no response") };
        let (keys, Welcome { session, .. }) = initiator.finish(&self.tags, &response).unwrap();
        self.session = Some((SealKey::new(&keys.reader), SealKey::new(&keys.gateway), session));
        self.counter = 0;
    }

    fn sealed(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let (key, _, session) = self.session.as_ref().unwrap();
        let mut datagram = vec![0; DATAGRAM_MAX];
        datagram[SEALED_HEADER_LEN..SEALED_HEADER_LEN + plaintext.len()].copy_from_slice(plaintext);
        let len = key.seal(*session, self.counter, &mut datagram, plaintext.len()).unwrap();
        self.counter += 1;
        datagram.truncate(len);
        self.sent.push(datagram.clone());
        datagram
    }

    /// An honest ping, which must be answered: nothing before has damaged the session.
    fn ping(&mut self, rng: &mut Rng) {
        let token = rng.u32(..);
        let ping = self.sealed(&emitted(&Message::Ping(Ping { token, reports_waiting: 0, falling_back: false })));
        let (outcome, mut reply) = self.deliver(&ping);
        assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(&mut reply) else { panic!("no sealed reply") };
        let opened = self.session.as_ref().unwrap().1.open(sealed).unwrap();
        assert_eq!(Messages::new(opened).next(), Some(Ok(Message::Pong(Pong { token }))));
    }
}

fn any_school(rng: &mut Rng) -> (School, Vec<u8>, PublisherKey) {
    let school = School::random(rng);
    let folder = tempfile::tempdir().unwrap();
    school.write(folder.path());
    let (unsigned, _) = build(&Roster::read(folder.path()).unwrap(), 1, school.created, 0).unwrap();
    let secret = signing_key();
    let publisher = PublisherKey::from_hex(&hex::encode(secret.verifying_key().as_bytes())).unwrap();
    (school, sign(unsigned, &secret).unwrap(), publisher)
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn any_pair(rng: &mut Rng) -> Pair {
    let (school, signed, publisher) = any_school(rng);
    let now = UnixSeconds(school.moment(rng));
    let snapshot = Snapshot::verify(AlignedBytes::from(&signed[..]), &[publisher], school.number).unwrap();
    Pair::new(rng, View::build(Arc::new(snapshot), now), now)
}

#[test]
fn the_worker_drops_every_mutated_datagram_and_lives_on() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let mut pair = any_pair(&mut rng);
    let samples = sample_messages(&mut rng, &mut [0; 1024]);
    for execution in 0..executions(200, 50) {
        if execution % 4096 == 0 {
            pair.sent.clear();
            pair.shake_hands(&mut rng);
        }
        if execution % 64 == 0 {
            pair.ping(&mut rng);
        }
        if execution % 32 == 0 {
            // One that never arrived as it was sent: nothing but the seal tells it from the mutations.
            pair.sealed(&samples[rng.usize(..samples.len())]);
        }
        let mut bytes = pair.sent[rng.usize(..pair.sent.len())].clone();
        mutate(&mut rng, &mut bytes, &pair.sent);
        if pair.sent.contains(&bytes) {
            continue;
        }
        guarded("worker", seed, &bytes, || {
            let (outcome, reply) = pair.deliver(&bytes);
            assert!(matches!(outcome, Outcome::Dropped(_)), "{outcome:?}");
            assert!(reply.is_empty());
        });
    }
}

/// A mutation of `datagram`; half of them keep its frame and are tagged by `tag`, as if their sender knew the key.
fn mutated_handshake(
    rng: &mut Rng,
    datagram: &[u8; HANDSHAKE_LEN],
    tag: impl FnOnce(&mut [u8; HANDSHAKE_LEN]),
) -> Vec<u8> {
    let mut bytes = *datagram;
    if rng.bool() {
        let mut bytes = bytes.to_vec();
        mutate(rng, &mut bytes, &[]);
        return bytes;
    }
    let at = rng.usize(TAGGED_LEN - NOISE_LEN..TAGGED_LEN);
    bytes[at..TAGGED_LEN.min(at + rng.usize(1..4))].iter_mut().for_each(|byte| *byte ^= rng.u8(1..));
    tag(&mut bytes);
    bytes.to_vec()
}

#[test]
fn mutated_handshakes_are_refused_at_both_ends() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let mut pair = any_pair(&mut rng);
    let hello = Hello { boot: BootId(1), firmware: 1 };
    for _ in 0..executions(10, 100).div_ceil(128) {
        let mut ephemeral = [0; 32];
        rng.fill(&mut ephemeral);
        let begin = |pair: &mut Pair| {
            pair.stamp += 1;
            pair.now.monotonic += Duration::from_millis(150);
            Initiator::new(READER, &pair.psk, &pair.tags, Stamp(pair.stamp), &hello, ephemeral)
        };
        for _ in 0..64 {
            // A new stamp each, or only the first would get as far as Noise.
            let (_, initiation) = begin(&mut pair);
            let bytes = mutated_handshake(&mut rng, &initiation, |bytes| pair.tags.tag_initiation(bytes));
            if bytes == initiation {
                continue;
            }
            guarded("initiation", seed, &bytes, || {
                let (outcome, _) = pair.deliver(&bytes);
                assert!(matches!(outcome, Outcome::Dropped(_)), "{outcome:?}");
            });
        }
        let (initiator, initiation) = begin(&mut pair);
        let (outcome, reply) = pair.deliver(&initiation);
        assert!(matches!(outcome, Outcome::Reply(_)), "the honest one, after all those: {outcome:?}");
        let response: [u8; HANDSHAKE_LEN] = reply[..].try_into().unwrap();
        for _ in 0..64 {
            let mut bytes = mutated_handshake(&mut rng, &response, |bytes| pair.tags.tag_response(bytes));
            let input = bytes.clone();
            guarded("response", seed, &input, || {
                let Ok(Datagram::Response(parsed)) = Datagram::parse(&mut bytes) else { return };
                assert!(initiator.finish(&pair.tags, &parsed).is_err() || input == response, "took what was changed");
            });
        }
    }
}

#[test]
fn the_worker_survives_whatever_an_authentic_reader_says() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let mut pair = any_pair(&mut rng);
    let samples = sample_messages(&mut rng, &mut [0; 1024]);
    for execution in 0..executions(50, 50) {
        if execution % 4096 == 0 {
            pair.shake_hands(&mut rng);
        }
        let mut bytes: Vec<u8> =
            (0..rng.usize(1..20)).flat_map(|_| samples[rng.usize(..samples.len())].clone()).collect();
        mutate(&mut rng, &mut bytes, &samples);
        bytes.truncate(PLAINTEXT_MAX);
        pair.sent.clear();
        let datagram = pair.sealed(&bytes);
        guarded("authentic plaintext", seed, &bytes, || {
            let (outcome, reply) = pair.deliver(&datagram);
            assert!(!matches!(outcome, Outcome::HandOver { .. }) && reply.len() <= DATAGRAM_MAX);
        });
        pair.ping(&mut rng);
    }
}

#[test]
fn a_mutated_snapshot_never_verifies() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let (school, signed, publisher) = any_school(&mut rng);
    for _ in 0..executions(50, 50) {
        let mut bytes = signed.clone();
        mutate(&mut rng, &mut bytes, std::slice::from_ref(&signed));
        if bytes == signed {
            continue;
        }
        guarded("snapshot", seed, &bytes, || {
            assert!(Snapshot::verify(AlignedBytes::from(&bytes[..]), &[publisher], school.number).is_err());
        });
    }
}

#[test]
fn a_snapshot_that_its_publisher_signed_over_nonsense_is_refused_or_harmless() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let (school, signed, publisher) = any_school(&mut rng);
    for _ in 0..executions(50, 50) {
        let bytes = signed_over_nonsense(&mut rng, &signed);
        guarded("signed nonsense", seed, &bytes, || {
            let Ok(snapshot) = Snapshot::verify(AlignedBytes::from(&bytes[..]), &[publisher], school.number) else {
                return;
            };
            for slot in snapshot.model().slots.iter().filter(|slot| !slot.is_empty()) {
                let found = snapshot.probe(&Credential::from_bytes(slot.key));
                assert!(found.is_some_and(|found| std::ptr::eq(found, slot)), "an entry is there and not found");
            }
            let now = Now::good(Duration::ZERO, UnixSeconds(school.moment(&mut rng))).time();
            let view = View::build(Arc::new(snapshot), now.seconds);
            for (reader, shapes) in &school.readers {
                let card = school.read(&mut rng, shapes);
                let ask = Ask { request: 1, age_ms: 0, direction: Direction::ALL[rng.usize(..2)], card };
                let _ = decide(Some(&view), &Overlay::default(), ReaderId(*reader), &ask, now);
            }
        });
    }
}

/// The snapshot with its archive mutated, its checksum and signature right.
fn signed_over_nonsense(rng: &mut Rng, signed: &[u8]) -> Vec<u8> {
    let mut header = Header::parse(signed).unwrap();
    let archive_end = HEADER_LEN + usize::try_from(header.archive_len).unwrap();
    let mut archive = signed[HEADER_LEN..archive_end].to_vec();
    let others = [archive.clone()];
    // Most mutations keep the length, so that they reach further than the first look.
    if rng.u8(..4) == 0 {
        mutate(rng, &mut archive, &others);
    } else {
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..archive.len());
            archive[at] = [rng.u8(..), 0, 1, 0xff, archive[at].wrapping_add(1)][rng.usize(..5)];
        }
    }
    header.archive_len = archive.len() as u64;
    header.archive_hash = *blake3::hash(&archive).as_bytes();
    header.publisher = PublisherKey::from_hex(&"0".repeat(64)).unwrap();
    sign([&header.emit()[..], &archive[..]].concat(), &signing_key()).unwrap()
}

#[test]
fn a_mutated_roster_is_read_or_refused_without_panic() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    // In memory where there is such a place: a disk would be what is measured.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let paths = ["building.toml", "people.csv", "cards.csv"].map(|name| folder.path().join(name));
    let mut whole: [Vec<u8>; 3] = Default::default();
    for execution in 0..executions(10, 100) {
        if execution % 96 == 0 {
            let school = School::random(&mut rng);
            whole = [school.building, school.people, school.cards].map(String::into_bytes);
            paths.iter().zip(&whole).for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        }
        // A third of each school's rosters are wrong in one and the same file; the others lie there whole.
        let place = usize::try_from(execution % 96 / 32).unwrap();
        let mut bytes = whole[place].clone();
        mutate(&mut rng, &mut bytes, &whole);
        std::fs::write(&paths[place], &bytes).unwrap();
        let input = [&bytes, &whole[0], &whole[1], &whole[2]].map(|bytes| &bytes[..]).join(&b"\n----\n"[..]);
        guarded("roster", seed, &input, || read_roster(folder.path()));
        if execution % 32 == 31 {
            std::fs::write(&paths[place], &whole[place]).unwrap();
        }
    }
}

/// What can be read can be built or is refused with an error; what is refused says something about each error.
fn read_roster(folder: &Path) {
    match Roster::read(folder) {
        Ok(roster) => drop(build(&roster, 1, 0, 0)),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

#[test]
fn a_mutated_configuration_is_checked_or_refused_without_panic() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let example = include_str!("../deploy/gateway.example.toml");
    let example =
        example.replacen("publishers = []", &format!("publishers = [\"{}\"]", "0".repeat(64)), 1).into_bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    // A process each, and so few: that the statuses are right. The parser itself is mutated in the gateway's own tests.
    for _ in 0..number_from_environment("KALITKA_FUZZ_PROCESSES", 60, 1000) {
        let mut bytes = example.clone();
        mutate(&mut rng, &mut bytes, std::slice::from_ref(&example));
        std::fs::write(&path, &bytes).unwrap();
        let output = process::run("kalitka-gateway", ["check".as_ref(), "--config".as_ref(), path.as_os_str()]);
        let code = output.status.code();
        let said = String::from_utf8_lossy(&output.stderr);
        guarded("configuration", seed, &bytes, || {
            assert!(matches!(code, Some(0 | 3 | 4)), "exit {code:?}: {said}");
            assert!(code == Some(0) || !said.is_empty(), "refused without a word");
        });
    }
}

#[test]
fn a_header_alone_opens_nothing() {
    let mut rng = Rng::with_seed(seed());
    let mut pair = any_pair(&mut rng);
    pair.shake_hands(&mut rng);
    let session = pair.session.as_ref().unwrap().2;
    let (outcome, _) = pair.deliver(&[&sealed_header(session, 0)[..], &[0; 16][..]].concat());
    assert!(matches!(outcome, Outcome::Dropped(_)));
}
