//! Volleys against a gateway that answers as it is told to, against echoes, and against a socket that only listens.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what is not there fails as it should")]

#[allow(dead_code, reason = "other tests ask the fake for more")]
mod fake;

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fake::{Decide, FakeGateway};
use kalitka_loadgen::arrivals::Profile;
use kalitka_loadgen::barrage::{Load, Plan, barrage};
use kalitka_loadgen::fleet::wall_seconds;
use kalitka_loadgen::keys::ReaderKey;
use kalitka_loadgen::limits::LOST_AFTER;
use kalitka_loadgen::oracle::Oracle;
use kalitka_loadgen::run::{Files, run};
use kalitka_loadgen::siege::Siege;
use kalitka_loadgen::tally::Judges;
use kalitka_loadgen::volley::{Cards, Junk, Options, Peer, Slice, Volley, Waiting};
use kalitka_loadgen::{play, roster};
use kalitka_protocol::reason::{Denial, Verdict};

const PSK: [u8; 32] = [7; 32];
const GENERATION: u32 = 3;
const SHORT: Duration = Duration::from_millis(200);
const OPTIONS: Options = Options { sockets: 3, asks_per_datagram: 1, trains: true, seed: 1 };

fn reader_keys() -> Vec<ReaderKey> {
    let key = |number| format!(r#"{{"reader":{number},"psk":"{}"}}"#, hex::encode(PSK));
    let list: Vec<String> = (101..=108).map(key).collect();
    serde_json::from_str(&format!("[{}]", list.join(","))).unwrap()
}

fn oracle(dir: &Path) -> Oracle {
    Oracle::read(dir).unwrap()
}

fn right(oracle: Oracle) -> Decide {
    Box::new(move |reader, ask| {
        Some((oracle.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds()), GENERATION))
    })
}

/// Plays a slice against a gateway that decides by what `decide` makes of the roster's oracle.
fn against(
    decide: fn(Oracle) -> Decide,
    options: Options,
    cards: Cards,
    slice: impl FnOnce(&mut Volley<'_>) -> Slice,
) -> Slice {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), 200, 1).unwrap();
    let gateway = FakeGateway::start(PSK, decide(oracle(dir.path())));
    let judges = Judges::from(GENERATION, oracle(dir.path()));
    let keys = reader_keys();
    let peer = Peer::Gateway { keys: &keys, judges: &judges, cards };
    let mut volley = Volley::open(gateway.address, peer, options).unwrap();
    slice(&mut volley)
}

/// Fails unless each ask of `slice` was answered once, and rightly.
fn check(slice: &Slice, asks: u64) {
    let Slice { wrong, lost, answers, judged, .. } = *slice;
    assert_eq!((wrong, lost), (0, 0), "{:?}", slice.wrong_shown);
    assert!(slice.asks == answers && judged > 0 && answers >= asks, "{answers} answers, {judged} judged");
    assert_eq!(slice.latency.len(), answers);
    assert!(slice.latency.min() > 1_000 && !slice.generator_cpu.is_zero() && slice.elapsed <= slice.ran_for);
}

#[test]
fn every_ask_of_every_kind_of_slice_is_answered_once_and_rightly() {
    for asks_per_datagram in [1, 8, 32] {
        let options = Options { asks_per_datagram, ..OPTIONS };
        for cards in [Cards::School, Cards::Uniform] {
            check(&against(right, options, cards, |volley| volley.saturate(64, SHORT).unwrap()), 500);
        }
    }
    check(&against(right, OPTIONS, Cards::School, |volley| volley.saturate(3, SHORT).unwrap()), 100);
    for waiting in [Waiting::Block, Waiting::Spin] {
        let slice = against(right, OPTIONS, Cards::School, |volley| volley.rate(1000, waiting, SHORT).unwrap());
        check(&slice, 200);
        assert_eq!((slice.datagrams, slice.lateness.len()), (200, 200));
        check(&against(right, OPTIONS, Cards::School, |volley| volley.one_by_one(waiting, SHORT).unwrap()), 100);
    }
}

#[test]
fn slices_follow_one_another_in_one_session() {
    let mut volley_slices = Vec::new();
    against(right, OPTIONS, Cards::School, |volley| {
        for _ in 0..3 {
            volley_slices.push(volley.saturate(32, SHORT).unwrap());
            volley_slices.push(volley.rate(500, Waiting::Block, SHORT).unwrap());
        }
        volley.one_by_one(Waiting::Block, SHORT).unwrap()
    });
    assert_eq!(volley_slices.len(), 6);
    volley_slices.iter().for_each(|slice| check(slice, 100));
}

#[test]
fn gateway_that_lies_is_found_out() {
    let lying = |oracle: Oracle| -> Decide {
        Box::new(move |reader, ask| {
            let right = oracle.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds());
            let lie = Verdict::Deny(Denial::CredentialLost);
            Some((if ask.request == 3 && reader.0 == 102 { lie } else { right }, GENERATION))
        })
    };
    let slice = against(lying, OPTIONS, Cards::School, |volley| volley.rate(500, Waiting::Block, SHORT).unwrap());
    assert_eq!((slice.wrong, slice.lost), (1, 0), "{:?}", slice.wrong_shown);
    assert!(slice.wrong_shown[0].contains("reader 102") && slice.wrong_shown[0].contains("credential_lost"));
    let outdated = |oracle: Oracle| -> Decide {
        Box::new(move |reader, ask| {
            Some((oracle.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds()), GENERATION - 1))
        })
    };
    let slice = against(outdated, OPTIONS, Cards::School, |volley| volley.rate(500, Waiting::Block, SHORT).unwrap());
    assert_eq!((slice.wrong, slice.answers), (100, 100));
}

#[test]
fn what_is_lost_is_counted_and_stalls_no_window() {
    let forgetful = |oracle: Oracle| -> Decide {
        Box::new(move |reader, ask| {
            let right = oracle.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds());
            (!ask.request.is_multiple_of(10)).then_some((right, GENERATION))
        })
    };
    let slice = against(forgetful, OPTIONS, Cards::School, |volley| volley.saturate(8, 4 * LOST_AFTER).unwrap());
    assert_eq!((slice.wrong, slice.answers + slice.lost), (0, slice.asks), "{:?}", slice.wrong_shown);
    // More than a window: it was filled anew.
    assert!(slice.lost > 8 && slice.answers > slice.lost, "{} of {} are lost", slice.lost, slice.asks);
    let slice = against(forgetful, OPTIONS, Cards::School, |volley| volley.rate(1000, Waiting::Block, SHORT).unwrap());
    assert!(slice.lost == 16 && slice.answers == 184, "{} are lost", slice.lost);
}

/// What an echo does with the datagram of a number; gives what goes back.
type Bend = fn(u64, &mut Vec<u8>) -> usize;

/// An echo in a thread of its own, until it is dropped.
struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Each datagram is sent as often as `bend` says.
    fn start(bend: Bend) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let is_stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut number = 0;
            while !is_stopped.load(Ordering::Relaxed) {
                let mut buffer = vec![0; 2048];
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                buffer.truncate(len);
                for _ in 0..bend(number, &mut buffer) {
                    socket.send_to(&buffer, from).unwrap();
                }
                number += 1;
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn at_echo(bend: Bend) -> (Echo, Volley<'static>) {
    let echo = Echo::start(bend);
    let volley = Volley::open(echo.address, Peer::Echo { sessions: 5 }, OPTIONS).unwrap();
    (echo, volley)
}

#[test]
fn echo_gets_the_same_datagrams_and_is_checked_byte_by_byte() {
    let (_echo, mut volley) = at_echo(|_, _| 1);
    check(&volley.saturate(32, SHORT).unwrap(), 500);
    check(&volley.one_by_one(Waiting::Spin, SHORT).unwrap(), 100);
    let (_echo, mut volley) = at_echo(|number, bytes| {
        bytes[40] ^= u8::from(number == 7);
        if number == 9 { 2 } else { usize::from(number != 11) }
    });
    let slice = volley.rate(500, Waiting::Block, SHORT).unwrap();
    assert_eq!((slice.datagrams, slice.answers, slice.lost, slice.wrong), (100, 98, 2, 2), "{:?}", slice.wrong_shown);
}

#[test]
fn rate_does_not_wait_for_a_server_that_stalls_and_counts_from_the_scheduled_moment() {
    let (_echo, mut volley) = at_echo(|number, _| {
        // No sleep: the stall is the server's work.
        let begun = Instant::now();
        while number == 50 && begun.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        1
    });
    let slice = volley.rate(500, Waiting::Block, Duration::from_millis(600)).unwrap();
    assert_eq!((slice.datagrams, slice.answers, slice.wrong), (300, 300, 0));
    // All that were due in the first 200 of its 300 ms waited 100 ms or more.
    let stalled = slice.latency.count_between(100_000_000, 5_000_000_000);
    assert!(stalled > 90 && slice.latency.max() > 290_000_000, "{stalled} waited, {} ns at most", slice.latency.max());
    assert!(slice.sending < Duration::from_millis(850), "sending took {:?}", slice.sending);
}

#[test]
fn generator_that_falls_behind_does_not_hide_it() {
    let (_echo, mut volley) = at_echo(|_, _| 1);
    let slice = volley.rate(10_000_000, Waiting::Spin, Duration::from_millis(20)).unwrap();
    assert_eq!((slice.datagrams, slice.wrong), (200_000, 0), "{:?}", slice.wrong_shown);
    assert!(slice.sent_per_second() < 9e6, "{} a second", slice.sent_per_second());
    let [late, whole] = [&slice.lateness, &slice.latency].map(hdrhistogram::Histogram::max);
    // Nearly none of it is the echo's doing.
    assert!(late > 5_000_000 && whole > late / 2, "{late} ns late, {whole} ns in all");
}

/// The datagrams that `act` sends to a socket that only listens.
fn heard(options: Options, act: impl FnOnce(&mut Volley<'_>)) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut volley = Volley::open(socket.local_addr().unwrap(), Peer::Echo { sessions: 4 }, options).unwrap();
    act(&mut volley);
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec())).collect()
}

#[test]
fn trains_arrive_as_single_datagrams() {
    for (trains, asks_per_datagram) in [(true, 1), (false, 1), (true, 32), (false, 32)] {
        let options = Options { sockets: 2, asks_per_datagram, trains, seed: 1 };
        let datagrams = heard(options, |volley| {
            assert_eq!(volley.has_trains(), trains);
            let slice = volley.saturate(90, Duration::from_millis(1)).unwrap();
            assert_eq!((slice.datagrams, slice.answers, slice.lost), (90, 0, slice.asks));
        });
        let len = 16 + asks_per_datagram * 28 + 16;
        let lens: Vec<usize> = datagrams.iter().map(Vec::len).collect();
        assert_eq!(lens, vec![len; 90]);
        let different: HashSet<&[u8]> = datagrams.iter().map(|bytes| &bytes[4..16]).collect();
        assert_eq!(different.len(), 90, "session and counter are of each datagram alone");
    }
}

#[test]
fn flood_sends_as_many_as_asked_and_every_kind() {
    for (trains, kinds) in [(true, &Junk::ALL[..]), (false, &[Junk::WrongTag, Junk::Random])] {
        let datagrams = heard(Options { trains, ..OPTIONS }, |volley| {
            let slice = volley.flood(kinds, 20_000, Duration::from_millis(10)).unwrap();
            assert_eq!((slice.datagrams, slice.received), (200, 0));
        });
        let junk = &datagrams[datagrams.len() - 200..];
        let lens: HashSet<usize> = junk.iter().map(Vec::len).collect();
        let expected: &[usize] = if trains { &[31, 60, 95, 96, 1201] } else { &[60] };
        assert_eq!(lens, expected.iter().copied().collect());
    }
}

#[test]
fn honest_readers_beside_a_flood_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), 200, 1).unwrap();
    let gateway = FakeGateway::start(PSK, right(oracle(dir.path())));
    let judges = Judges::from(GENERATION, oracle(dir.path()));
    let duration = Duration::from_secs(2);
    // The fake answers each authentic initiation, old or new.
    let kinds = Junk::ALL.into_iter().filter(|kind| *kind != Junk::RepeatedInitiation && *kind != Junk::Replayed);
    let mut siege = Siege::new(gateway.address, kinds.collect(), 2000, duration, 1);
    let plan =
        play::Plan { profile: Profile::Flood, rate: 100, duration, seed: 1, receipts_within: Duration::from_secs(5) };
    let keys = reader_keys();
    let (summary, _) =
        run(gateway.target(&keys), judges, plan, &mut siege, &Files::default(), &AtomicBool::new(false)).unwrap();
    assert_eq!((summary.asks, summary.answered, summary.wrong), (200, 200, 0));
    let mut flood = siege.end().unwrap();
    // It ends with the last card, up to a turn of the loop early.
    assert!((1800..=2000).contains(&flood.datagrams) && flood.received == 0, "{} sent", flood.datagrams);
    flood.datagrams /= 2;
    assert!(siege.row(&flood).contains("not 2000: THE GENERATOR IS SHORT"), "{}", siege.row(&flood));
    assert!(gateway.junk.load(Ordering::Relaxed) > 500, "{}", gateway.junk.load(Ordering::Relaxed));
}

#[test]
fn asks_that_need_a_second_resend_are_told() {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), 200, 1).unwrap();
    let rules = oracle(dir.path());
    // Deaf to what is younger than the second resend.
    let deaf: Decide = Box::new(move |reader, ask| {
        let verdict = rules.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds());
        (ask.request != 2 || ask.age_ms >= 100).then_some((verdict, GENERATION))
    });
    let gateway = FakeGateway::start(PSK, deaf);
    let judges = Judges::from(GENERATION, oracle(dir.path()));
    let plan = play::Plan {
        profile: Profile::Steady,
        rate: 100,
        duration: Duration::from_secs(1),
        seed: 1,
        receipts_within: Duration::from_secs(5),
    };
    let keys = reader_keys();
    let mut nothing = kalitka_loadgen::stages::Mishap::new(kalitka_loadgen::stages::Mishaps::default(), 1);
    let (summary, _) =
        run(gateway.target(&keys), judges, plan, &mut nothing, &Files::default(), &AtomicBool::new(false)).unwrap();
    // One of each reader; a crowded machine adds some.
    let told = summary.unanswered_after_one_resend;
    assert!(summary.unanswered == 0 && (8..60).contains(&told), "{}", summary.table());
    assert!(summary.table().contains(&format!("  after one resend         {told}")), "{}", summary.table());
}

#[test]
fn run_of_slices_is_told_in_a_table_and_kept_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name| Some(dir.path().join(name));
    let files = Files { json: path("run.json"), hdr: path("run.hdr"), svg: path("run.svg") };
    let (_echo, mut volley) = at_echo(|_, _| 1);
    let load = Load::Rate { per_second: 500, waiting: Waiting::Block };
    let plan = Plan { load, duration: Duration::from_millis(1400), server: Some(std::process::id()) };
    let outcome = barrage(&mut volley, plan, &files, &AtomicBool::new(false)).unwrap();
    assert!(outcome.is_well() && outcome.asks == 700, "{}", outcome.table());
    for part in ["generator's CPU", "generator's own lateness", "server's CPU", "µs each"] {
        assert!(outcome.table().contains(part), "{part} in\n{}", outcome.table());
    }
    let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
    let starts: Vec<String> =
        read("run.hdr").lines().filter(|row| row.starts_with(['0', '1'])).map(str::to_owned).collect();
    assert!(starts.len() == 2 && starts[0].starts_with("0.000,1.000,") && starts[1].starts_with("1.000,0.400,"));
    let json: serde_json::Value = serde_json::from_str(&read("run.json")).unwrap();
    assert_eq!((&json["wrong"], &json["answered"]), (&0.into(), &700.into()));
    assert_eq!(read("run.svg").matches("<polyline").count(), 2);
    let stopped = barrage(&mut volley, plan, &Files::default(), &AtomicBool::new(true)).unwrap();
    assert_eq!(stopped.asks, 0);
}

#[test]
fn options_out_of_bounds_and_servers_that_are_not_there_are_refused() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    let refused = |sessions, options| Volley::open(address, Peer::Echo { sessions }, options).err().unwrap().kind();
    for (sessions, options) in [
        (0, OPTIONS),
        (257, OPTIONS),
        (1, Options { sockets: 0, ..OPTIONS }),
        (1, Options { sockets: 65, ..OPTIONS }),
        (1, Options { asks_per_datagram: 0, ..OPTIONS }),
        (1, Options { asks_per_datagram: 33, ..OPTIONS }),
    ] {
        assert_eq!(refused(sessions, options), std::io::ErrorKind::InvalidInput, "{sessions} {options:?}");
    }
    let mut volley = Volley::open(address, Peer::Echo { sessions: 1 }, OPTIONS).unwrap();
    for window in [0, 8193] {
        assert_eq!(volley.saturate(window, SHORT).err().unwrap().kind(), std::io::ErrorKind::InvalidInput);
    }
    assert_eq!(volley.flood(&[], 1, SHORT).err().unwrap().kind(), std::io::ErrorKind::InvalidInput);
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), 200, 1).unwrap();
    let (keys, judges) = (reader_keys(), Judges::from(0, oracle(dir.path())));
    let peer = Peer::Gateway { keys: &keys, judges: &judges, cards: Cards::School };
    let error = Volley::open(address, peer, OPTIONS).err().unwrap();
    assert!(error.kind() == std::io::ErrorKind::TimedOut && error.to_string().contains("reader 101 got no session"));
}
