//! Asks by the hundred thousand, so cheaply that the server is the limit and not this program.
//!
//! A [`Volley`] shakes hands as a reader does, and then plays *slices*, each in three steps: it seals all asks of the slice
//! before the clock runs, it sends and receives while the clock runs and does nothing else, and it opens the answers and
//! judges them once the clock has stopped. Asks go out in trains (one call, many datagrams of one size: UDP segmentation
//! offload) from several sockets, each at an address of its own in 127.0.0.0/8; answers come in by `recvmmsg`.
//!
//! It has no timers and sends nothing twice: what is lost is lost and counted. For readers that are true to the protocol in
//! every respect there is [`crate::fleet`].
//!
//! Against [`Peer::Echo`] it sends the same bytes and wants them back as they were.

mod catch;
mod drive;
mod flood;
mod judge;
mod junk;
mod lane;
mod line;
mod slice;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use fastrand::Rng;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::limits::{DATAGRAM_MAX, MESSAGES_MAX};
use kalitka_protocol::reason::Direction;

pub use flood::Flood;
pub use junk::{Junk, Prey};
pub(crate) use line::{address, is_passing};
pub use slice::Slice;

use self::catch::Catch;
use self::drive::Pace;
use self::lane::{Lane, datagram_len};
use self::line::Line;
use crate::deck::{Deck, Show, looks_of};
use crate::keys::ReaderKey;
use crate::limits::{CATCH_BYTES_MAX, READERS_MAX, SOCKETS_MAX, STOCK_BYTES_MAX, WINDOW_MAX};
use crate::oracle::Look;
use crate::tally::Judges;

/// How a volley is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sockets, each at an address of its own; at most as many as sessions are used.
    pub sockets: usize,
    /// Asks in each datagram, 1 to [`MESSAGES_MAX`](kalitka_protocol::limits::MESSAGES_MAX).
    pub asks_per_datagram: usize,
    /// Whether datagrams that are sent together go in one call as a train, or by `sendmmsg` one by one.
    pub trains: bool,
    /// Seed of which card is shown where.
    pub seed: u64,
}

/// Which cards are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Cards {
    /// As in a school: nine of ten known, the rest strange, ill-read, ambiguous or of another shape.
    School,
    /// The roster's own only, each as likely as any other.
    Uniform,
}

/// Who is at the other end.
#[derive(Clone, Copy)]
pub enum Peer<'a> {
    /// A gateway: one session for each key, answers judged by `judges`.
    Gateway {
        /// The readers that are played.
        keys: &'a [ReaderKey],
        /// What is right.
        judges: &'a Judges,
        /// What is shown.
        cards: Cards,
    },
    /// A server that sends every datagram back as it came. So many sessions are made up as a gateway would have readers.
    Echo {
        /// Sessions.
        sessions: usize,
    },
}

/// How to wait for an answer, or for the moment to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Waiting {
    /// Sleep in the kernel until there is something.
    Block,
    /// Ask the kernel again and again; costs a core.
    Spin,
}

/// Sessions on sockets, ready to ask.
pub struct Volley<'a> {
    server: SocketAddr,
    judges: Option<&'a Judges>,
    lines: Vec<Line>,
    lanes: Vec<Lane>,
    catch: Catch,
    pack: Pack,
    asks: usize,
    seed: u64,
    /// Datagrams a second that the last slice sent.
    pace: u64,
}

/// What cards are drawn from.
enum Pack {
    /// The roster's, with the looks of each lane's reader.
    Roster(Box<Deck>, Cards, Vec<Vec<Look>>),
    /// Nobody's.
    Strange(Rng),
}

impl Pack {
    fn draw(&mut self, lane: usize) -> Show {
        match self {
            Self::Roster(deck, Cards::School, looks) => deck.draw(&looks[lane]),
            Self::Roster(deck, Cards::Uniform, looks) => deck.draw_known(&looks[lane]),
            Self::Strange(rng) => {
                let uid = rng.u64(..).to_le_bytes();
                // Seven bytes are one of the lengths that a UID may have.
                let card = CardRead::from_uid(&uid[..7]).unwrap_or_else(|| unreachable!("seven bytes"));
                Show { card, direction: if uid[7] & 1 == 0 { Direction::Entry } else { Direction::Exit } }
            }
        }
    }
}

impl<'a> Volley<'a> {
    /// Binds the sockets and, with a gateway, gets every reader its session.
    ///
    /// # Errors
    /// What the sockets say; [`io::ErrorKind::TimedOut`] when a reader gets no session, [`io::ErrorKind::InvalidInput`] for
    /// options out of bounds, [`io::ErrorKind::InvalidData`] for a key that is none.
    pub fn open(server: SocketAddr, peer: Peer<'a>, options: Options) -> io::Result<Self> {
        let Options { sockets, asks_per_datagram: asks, trains, seed } = options;
        let sessions = match peer {
            Peer::Gateway { keys, .. } => keys.len(),
            Peer::Echo { sessions } => sessions,
        };
        bounds("asks in a datagram", asks, MESSAGES_MAX)?;
        bounds("sockets", sockets, SOCKETS_MAX)?;
        bounds("sessions", sessions, READERS_MAX)?;
        let sockets = sockets.min(sessions);
        let mut lines = (0..sockets).map(|place| Line::open(server, place)).collect::<io::Result<Vec<_>>>()?;
        let lanes = match peer {
            Peer::Gateway { keys, .. } => {
                let line = |number| number % sockets;
                let shake = |(number, key)| Lane::shake_hands(key, &lines[line(number)], line(number), asks);
                keys.iter().enumerate().map(shake).collect::<io::Result<Vec<_>>>()?
            }
            Peer::Echo { .. } => made_up(sessions, sockets, asks),
        };
        for line in lines.iter_mut().filter(|_| trains) {
            line.send_trains_of(datagram_len(asks));
        }
        let (judges, pack) = match peer {
            Peer::Gateway { judges, cards, .. } => (Some(judges), roster_pack(judges, cards, &lanes, seed)),
            Peer::Echo { .. } => (None, Pack::Strange(Rng::with_seed(seed))),
        };
        Ok(Self { server, judges, lines, lanes, catch: Catch::new(slot(asks)), pack, asks, seed, pace: FIRST_PACE })
    }

    /// Bytes of answers that each socket holds: less than [`RECEIVE_BUFFER`](crate::limits::RECEIVE_BUFFER) when the system
    /// does not give more (`net.core.rmem_max`).
    ///
    /// # Errors
    /// What the sockets say.
    pub fn receive_buffer(&self) -> io::Result<usize> {
        self.lines.iter().try_fold(usize::MAX, |least, line| Ok(least.min(line.receive_buffer()?)))
    }

    /// Whether trains go out in one call: asked for, and known to the kernel.
    #[must_use]
    pub fn has_trains(&self) -> bool {
        self.lines.iter().all(Line::has_trains)
    }

    /// Bytes of each datagram that is sent.
    #[must_use]
    pub const fn datagram_len(&self) -> usize {
        datagram_len(self.asks)
    }

    /// Closed loop: `window` datagrams are outstanding in all, for `duration` or until the sealed asks are used up. After
    /// [`LOST_AFTER`](crate::limits::LOST_AFTER) without any answer what is outstanding is given up and the window filled
    /// anew; a single datagram that is lost makes the window smaller until then.
    ///
    /// # Errors
    /// What the sockets say; [`io::ErrorKind::InvalidInput`] for a window out of bounds.
    pub fn saturate(&mut self, window: usize, duration: Duration) -> io::Result<Slice> {
        bounds("window", window, WINDOW_MAX)?;
        let pace = self.pace.saturating_mul(3) / 2;
        self.prepare(datagrams(pace, duration))?;
        let slice = drive::closed(self, window, duration)?;
        self.conclude(slice)
    }

    /// Open loop: `per_second` datagrams a second, evenly spaced, whether answers come or not. Latency counts from the
    /// moment at which a datagram was to be sent.
    ///
    /// # Errors
    /// What the sockets say.
    pub fn rate(&mut self, per_second: u32, waiting: Waiting, duration: Duration) -> io::Result<Slice> {
        let pace = Pace { per_second, total: datagrams(per_second.into(), duration) as u64 };
        self.prepare(datagrams(per_second.into(), duration))?;
        let mut slice = drive::open(self, pace, waiting)?;
        slice.ran_out = slice.datagrams < pace.total;
        self.conclude(slice)
    }

    /// One datagram outstanding; latency is the round trip, from before the send to after the receive.
    ///
    /// # Errors
    /// What the sockets say.
    pub fn one_by_one(&mut self, waiting: Waiting, duration: Duration) -> io::Result<Slice> {
        self.prepare(datagrams(ONE_BY_ONE_PACE, duration))?;
        let slice = drive::one_by_one(self, waiting, duration)?;
        self.conclude(slice)
    }

    /// Sends `per_second` junk datagrams a second of `kinds` in turn, made of this volley's own sessions, from sockets of
    /// its own, in short trains. [`Slice::datagrams`] says how many; whatever came back is in [`Slice::received`].
    ///
    /// # Errors
    /// What the sockets say.
    pub fn flood(&mut self, kinds: &[Junk], per_second: u32, duration: Duration) -> io::Result<Slice> {
        if self.lanes.iter().any(|lane| lane.spent().is_empty()) {
            self.speak()?;
        }
        let prey: Vec<_> = self.lanes.iter().map(Lane::prey).collect();
        Flood::new(self.server, kinds, &prey, self.seed)?.run(per_second, duration, &AtomicBool::new(false))
    }

    /// Sees to it that each session has sent something that can be sent again.
    fn speak(&mut self) -> io::Result<()> {
        self.prepare(self.lanes.len())?;
        if self.judges.is_some() {
            drive::one_by_one(self, Waiting::Block, SPEAK_FOR)?;
        } else {
            // An echo knows of no session; it may be one that answers nothing.
            for lane in &mut self.lanes {
                lane.take(1, |_| 0);
            }
        }
        self.prepare(1)
    }

    /// Seals until every lane has its part of `count` datagrams, as far as memory allows, makes room for what comes back,
    /// and throws away what is still to come of the slice before.
    fn prepare(&mut self, count: usize) -> io::Result<()> {
        let most = (STOCK_BYTES_MAX / datagram_len(self.asks)).min(CATCH_BYTES_MAX / slot(self.asks));
        let each = count.min(most).div_ceil(self.lanes.len());
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.fill(each, &mut || self.pack.draw(number))?;
        }
        self.catch.clear(each * self.lanes.len() + CATCH_SPARE);
        self.lines.iter().try_for_each(Line::drain)
    }

    /// Opens and judges what came back.
    fn conclude(&mut self, mut slice: Slice) -> io::Result<Slice> {
        slice.asks = slice.datagrams * self.asks as u64;
        judge::judge(&mut slice, &self.lanes, &mut self.catch, self.judges, self.asks);
        self.pace = rate_of(slice.datagrams, slice.elapsed);
        Ok(slice)
    }
}

/// Datagrams a second for which the first slice is made ready.
const FIRST_PACE: u64 = 400_000;
/// Datagrams a second of which each waits for the one before.
const ONE_BY_ONE_PACE: u64 = 200_000;
/// For how long a volley asks so that there is something to send again.
const SPEAK_FOR: Duration = Duration::from_millis(50);
/// Datagrams for which there is room beyond one for each that is sent: commands, and answers that need two.
const CATCH_SPARE: usize = 4096;

/// Room for the answers to `asks` asks: their texts are short, but may be of 64 bytes.
fn slot(asks: usize) -> usize {
    (32 + asks * 84).min(DATAGRAM_MAX).next_multiple_of(64)
}

fn made_up(sessions: usize, sockets: usize, asks: usize) -> Vec<Lane> {
    (1u32..).zip(0..sessions).map(|(session, place)| Lane::make_up(session, place % sockets, asks)).collect()
}

fn roster_pack(judges: &Judges, cards: Cards, lanes: &[Lane], seed: u64) -> Pack {
    let readers: Vec<_> = lanes.iter().map(|lane| lane.reader).collect();
    let oracle = judges.first();
    Pack::Roster(Box::new(Deck::new(oracle, 500, seed)), cards, looks_of(oracle, &readers))
}

fn datagrams(per_second: u64, duration: Duration) -> usize {
    let count = u128::from(per_second) * duration.as_nanos() / 1_000_000_000;
    usize::try_from(count).unwrap_or(usize::MAX).max(1)
}

fn rate_of(count: u64, elapsed: Duration) -> u64 {
    let per_second = u128::from(count) * 1_000_000_000 / elapsed.as_nanos().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

fn bounds(what: &str, value: usize, most: usize) -> io::Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{what}: {value} is not within 1 to {most}")))
}
