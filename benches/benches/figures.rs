//! Measures what docs/performance.md claims, from the real programs where a process is meant, and prints the table.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kalitka_benches::pair::forged_initiation;
use kalitka_benches::table::{Bound, Table};
use kalitka_benches::{NOW, Pair, READER, verified};
use kalitka_core::View;
use kalitka_loadgen::cpu::Reading;
use kalitka_loadgen::oracle::{Identity, Oracle};
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::handshake::Psk;
use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::reader::{Event, Identity as ReaderIdentity, Reader, ReportMemory};
use kalitka_protocol::reason::{Direction, FallBack, Verdict};
use kalitka_protocol::{BootId, LogId};
use kalitka_tests::site::Site;

/// Holders of the two schools. Readers of six shapes make six to seven entries of each holder's cards, so these give a little
/// over 10,000 and 1,000,000 entries; `at_least` sees to it.
const SMALL: u32 = 1_550;
const LARGE: u32 = 160_000;
const RUNS: usize = 7;
const ADOPTIONS: usize = 9;
const FORGED: u32 = 100_000;
/// Windows of asks with somebody who scrapes, each beside one without.
const WINDOWS: usize = 9;
const WINDOW: Duration = Duration::from_secs(2);
/// Readers with keys besides the one that asks: as many as metrics show one by one.
const READERS_SHOWN: u32 = 127;

/// A reader that asks and waits for each answer.
struct Caller {
    socket: UdpSocket,
    reader: Reader<16>,
    since: Instant,
}

struct Answered {
    took: Duration,
    verdict: Verdict,
    generation: u32,
}

impl Caller {
    fn new(site: &Site, psk: &Psk) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(site.udp()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let identity = ReaderIdentity {
            reader: READER,
            psk: psk.clone(),
            firmware: 0,
            // Tenths of a second since 2025: grows from caller to caller as a boot counter does.
            boot_counter: u32::try_from((now.as_millis() - 1_735_689_600_000) / 100).unwrap(),
            boot: BootId(fastrand::u64(..)),
            last_command: 0,
            fall_back: FallBack::Closed,
        };
        Self {
            socket,
            reader: Reader::new(identity, ReportMemory::new(LogId(fastrand::u64(..)))),
            since: Instant::now(),
        }
    }

    fn ask(&mut self, card: CardRead) -> Answered {
        let shown = Instant::now();
        let mut request = None;
        loop {
            let now = self.since.elapsed();
            self.reader.handle_timeout(now, &mut |_| {});
            request = request.or_else(|| self.reader.ask(card, Direction::Entry, now).ok());
            let mut buffer = [0; DATAGRAM_MAX];
            let mut entropy = |bytes: &mut [u8]| fastrand::Rng::new().fill(bytes);
            while let Some(len) = self.reader.poll_transmit(now, &mut buffer, &mut entropy) {
                // Refused while nobody listens: the reader resends.
                let _ = self.socket.send(&buffer[..len]);
            }
            if let Some(answered) = self.receive(shown) {
                return answered;
            }
        }
    }

    fn receive(&mut self, shown: Instant) -> Option<Answered> {
        let mut buffer = [0; DATAGRAM_MAX];
        let len = self.socket.recv(&mut buffer).ok()?;
        let mut answered = None;
        let mut take = |event: Event<'_>| {
            if let Event::Answer(answer) = event {
                let (verdict, generation) = (answer.verdict, answer.generation);
                answered = Some(Answered { took: shown.elapsed(), verdict, generation });
            }
        };
        // What it drops is the gateway's affair here; the ask is repeated.
        let _ = self.reader.handle(self.since.elapsed(), &mut buffer[..len], &mut take);
        answered
    }
}

/// Waits until somebody listens where `site`'s gateway did: until a datagram is no longer refused.
fn await_listener(site: &Site) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(site.udp()).unwrap();
    socket.set_read_timeout(Some(Duration::from_micros(500))).unwrap();
    loop {
        let sent = socket.send(&[0]);
        let refused = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        let received = socket.recv(&mut [0; 1]);
        if sent.is_ok() && !received.is_err_and(|error| refused(&error)) {
            return;
        }
    }
}

fn resident_mib(site: &mut Site) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", site.gateway().id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn at_least(site: &Site, entries: u64) {
    let snapshot = verified(site, &site.path("1.snapshot"));
    assert!(snapshot.header().entries >= entries, "the school has too few entries");
}

fn verify_and_swap(site: &Site, table: &mut Table, what: &str, bound_ms: f64) {
    let file = site.path("1.snapshot");
    let values = (0..RUNS).map(|_| {
        let bytes = kalitka_snapshot::AlignedBytes::read(&file).unwrap();
        let publisher = kalitka_snapshot::PublisherKey::from_hex(site.publisher()).unwrap();
        let since = Instant::now();
        let snapshot = kalitka_snapshot::Snapshot::verify(bytes, &[publisher], site.building()).unwrap();
        let view = View::build(Arc::new(snapshot), NOW);
        let took = millis(since.elapsed());
        drop(view);
        took
    });
    table.row(what, Bound::Below(bound_ms), "ms", values.collect());
}

/// Longest round trip of a closed loop of asks until generation `until`, or for `window`.
fn longest(caller: &mut Caller, card: CardRead, until: Option<u32>, window: Duration) -> (Duration, Duration) {
    let since = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let answered = caller.ask(card);
        longest = longest.max(answered.took);
        let done = until.map_or(since.elapsed() >= window, |generation| answered.generation >= generation);
        if done {
            return (longest, since.elapsed());
        }
    }
}

fn stall(site: &mut Site, table: &mut Table, caller: &mut Caller, card: CardRead, what: &str) {
    let mut values = Vec::new();
    // The handshake is not the worker's stall.
    caller.ask(card);
    for generation in (2u32..).take(ADOPTIONS) {
        let file = site.build(generation);
        site.offer(&file);
        let (with, window) = longest(caller, card, Some(generation), Duration::ZERO);
        let (without, _) = longest(caller, card, None, window);
        values.push(millis(with) - millis(without));
        fs::remove_file(file).unwrap();
    }
    table.row(what, Bound::Below(2.0), "ms", values);
}

fn enrolled(site: &mut Site) -> (Psk, CardRead, Oracle) {
    site.start();
    let key = site.ask(&["reader", "add", &READER.0.to_string()]);
    site.offer(&site.build(1));
    site.await_generation(1);
    let mut psk = [0; 32];
    let text = key["psk"].as_str().unwrap();
    (0..32).for_each(|at| psk[at] = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap());
    let oracle = Oracle::read(&site.path("roster")).unwrap();
    let uid = oracle.cards().find_map(|card| match card {
        Identity::Uid(uid) => Some(uid.to_vec()),
        Identity::Number(..) => None,
    });
    (Psk::new(psk), CardRead::from_uid(&uid.unwrap()).unwrap(), oracle)
}

fn cold_start(site: &mut Site, table: &mut Table, psk: &Psk, card: CardRead, oracle: &Oracle) {
    let values = (0..RUNS).map(|_| {
        site.gateway().kill();
        let since = Instant::now();
        site.spawn();
        await_listener(site);
        let answered = Caller::new(site, psk).ask(card);
        let took = millis(since.elapsed());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap();
        assert_eq!(answered.verdict, oracle.judge(READER, &card, Direction::Entry, 0, now));
        took
    });
    table.row("cold start to the first right answer, 10,000 entries", Bound::Below(100.0), "ms", values.collect());
}

fn forged(site: &Site, table: &mut Table) {
    let snapshot = Arc::new(verified(site, &site.path("1.snapshot")));
    let mut pair = Pair::new(Arc::new(View::build(snapshot, NOW)));
    let original = forged_initiation();
    let values = (0..RUNS).map(|_| {
        let since = Instant::now();
        for _ in 0..FORGED {
            let mut datagram = original;
            std::hint::black_box(pair.handle(&mut datagram));
        }
        since.elapsed().as_secs_f64() * 1e9 / f64::from(FORGED)
    });
    table.row("a forged initiation", Bound::Below(1000.0), "ns", values.collect());
}

/// What a window of asks was like.
struct Window {
    /// CPU of the thread that serves metrics.
    serving: Duration,
    /// CPU of the worker, an answer.
    worker_ns: f64,
    longest: Duration,
}

/// Asks for [`WINDOW`], with or without somebody who scrapes each second.
fn window(site: &mut Site, caller: &mut Caller, card: CardRead, is_scraped: bool) -> Window {
    let pid = site.gateway().id();
    let (before, since) = (Reading::of(pid).unwrap(), Instant::now());
    let (mut answers, mut longest_took) = (0_u32, Duration::ZERO);
    std::thread::scope(|scope| {
        let site = &*site;
        let mut scraped = if is_scraped { 0 } else { WINDOW.as_secs() };
        while since.elapsed() < WINDOW {
            // In the middle of each second.
            if since.elapsed() > Duration::from_millis(scraped * 1000 + 500) {
                scraped += 1;
                scope.spawn(|| assert_eq!(site.get("/metrics").0, 200));
            }
            longest_took = longest_took.max(caller.ask(card).took);
            answers += 1;
        }
    });
    let used = Reading::of(pid).unwrap().since(&before);
    let of = |name: &str| used.iter().filter(|thread| thread.name == name).map(|thread| thread.cpu).sum::<Duration>();
    let worker_ns = of("udp-0").as_secs_f64() * 1e9 / f64::from(answers);
    Window { serving: of("kalitka-gateway"), worker_ns, longest: longest_took }
}

/// What it costs to be scraped each second: with a page of as many readers as are shown one by one.
fn scraping(site: &mut Site, table: &mut Table, caller: &mut Caller, card: CardRead) {
    for reader in 10_000..10_000 + READERS_SHOWN {
        site.ask(&["reader", "add", &reader.to_string()]);
    }
    let series = site.get("/metrics").1.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    caller.ask(card);
    let pairs: Vec<_> =
        (0..WINDOWS).map(|_| [true, false].map(|is_scraped| window(site, caller, card, is_scraped))).collect();
    let each = |of: &dyn Fn(&Window, &Window) -> f64| pairs.iter().map(|[with, without]| of(with, without)).collect();
    let seconds = WINDOW.as_secs_f64();
    let serving = |of: &Window| of.serving.as_secs_f64() / seconds * 100.0;
    let cpu = each(&|with, without| serving(with) - serving(without));
    table.row(&format!("CPU of a scrape of {series} series each second, of one core"), Bound::Below(2.0), "%", cpu);
    let worker = each(&|with, without| (with.worker_ns / without.worker_ns - 1.0) * 100.0);
    table.row("CPU of the worker an answer, scraped each second, more than not", Bound::Below(2.0), "%", worker);
    let longest = each(&|with, without| millis(with.longest) - millis(without.longest));
    table.row("longest answer, scraped each second, more than not", Bound::Below(1.0), "ms", longest);
}

fn main() {
    let mut small = Site::new(SMALL);
    let (psk, card, oracle) = enrolled(&mut small);
    let mut figures = Table::begin("make figures");
    let table = &mut figures;
    at_least(&small, 10_000);
    verify_and_swap(&small, table, "verify and swap, 10,000 entries", 10.0);
    cold_start(&mut small, table, &psk, card, &oracle);
    table.row("resident memory, 10,000 entries", Bound::Below(32.0), "MiB", vec![resident_mib(&mut small)]);
    let mut caller = Caller::new(&small, &psk);
    stall(&mut small, table, &mut caller, card, "longest stall more than without, 10,000 entries");
    scraping(&mut small, table, &mut caller, card);
    forged(&small, table);
    drop(small);
    let mut large = Site::new(LARGE);
    let (psk, card, oracle) = enrolled(&mut large);
    drop(oracle);
    at_least(&large, 1_000_000);
    verify_and_swap(&large, table, "verify and swap, 1,000,000 entries", 200.0);
    let mut caller = Caller::new(&large, &psk);
    caller.ask(card);
    table.row("resident memory, 1,000,000 entries", Bound::Below(160.0), "MiB", vec![resident_mib(&mut large)]);
    stall(&mut large, table, &mut caller, card, "longest stall more than without, 1,000,000 entries");
    figures.end();
}
