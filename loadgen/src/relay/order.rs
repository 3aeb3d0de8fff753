//! The words by which a relay is told to change.

use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

use super::line::{Cuts, Line};
use super::{BOTH, Heading};
use crate::limits::{MILLION, RELAY_QUEUE_BYTES_MAX, RELAY_TIME_MAX};

/// The orders, for whoever types them.
pub const ORDERS: &str = "\
  loss SHARE           drop so many at random: 0.1 or 10%
  delay TIME           one way; half of the round trip
  jitter TIME          up to so much later, in order
  duplicate SHARE      hand so many on twice
  reorder SHARE        hold so many back, so that later ones overtake them
  held TIME            how long those wait at most
  rate RATE            bits a second: 10M, 500k; or none
  queue BYTES          what waits for the rate at most: 125k
  cut [TIME]           cut it, for a time or until `mend`
  mend                 mend what was cut
  cuts TIME TIME       again and again whole for a time, then cut for a time; or none
  like LINE            perfect, poor (10 Mbit/s, 50 ms, 1 % lost) or awful
  move                 give every client another source address
  show                 say what became of the datagrams
Before any but the last two, `up` (towards the server) or `down` means only that direction.";

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which directions it is for.
    pub ways: &'static [Heading],
    /// What is to be done.
    pub deed: Deed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Change the line.
    Change(Change),
    /// Cut it, for a time or for good.
    Cut(Option<Duration>),
    /// Mend it.
    Mend,
    /// Give every client another source address.
    Move,
    /// Say what became of the datagrams.
    Show,
}

/// A change of the line, in the words of [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of its name")]
pub enum Change {
    Loss(u32),
    Delay(Duration),
    Jitter(Duration),
    Duplicate(u32),
    Reorder(u32),
    Held(Duration),
    Rate(Option<u64>),
    Queue(u64),
    Cuts(Option<Cuts>),
    Like(Line),
}

impl Change {
    /// Makes it so.
    pub fn apply(self, line: &mut Line) {
        match self {
            Self::Loss(share) => line.loss_millionths = share,
            Self::Delay(time) => line.delay = time,
            Self::Jitter(time) => line.jitter = time,
            Self::Duplicate(share) => line.duplicate_millionths = share,
            Self::Reorder(share) => line.reorder_millionths = share,
            Self::Held(time) => line.held = time,
            Self::Rate(rate) => line.rate = rate,
            Self::Queue(bytes) => line.queue = bytes,
            Self::Cuts(cuts) => line.cuts = cuts,
            Self::Like(other) => *line = other,
        }
    }
}

/// No order; says what would have been one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOrder {
    /// The line is empty, or begins with no known word.
    #[error(
        "no order: {0:?}; orders are loss, delay, jitter, duplicate, reorder, held, rate, queue, cut, mend, cuts, like, move, show"
    )]
    Unknown(String),
    /// A value is missing.
    #[error("{0} needs {1}")]
    Missing(&'static str, &'static str),
    /// A value is not of its kind, or beyond its bound.
    #[error("{value:?} is not {wanted}")]
    Value {
        /// As it was given.
        value: String,
        /// What it should have been.
        wanted: &'static str,
    },
    /// Something is left over.
    #[error("nothing may stand behind the order: {0:?}")]
    LeftOver(String),
}

impl FromStr for Order {
    type Err = BadOrder;

    fn from_str(text: &str) -> Result<Self, BadOrder> {
        let mut words = text.split_whitespace();
        let mut word = words.next().unwrap_or_default();
        let ways: &[Heading] = match word {
            "up" => &[Heading::Up],
            "down" => &[Heading::Down],
            _ => &BOTH,
        };
        if ways.len() == 1 {
            word = words.next().unwrap_or_default();
        }
        let deed = deed(word, &mut words)?;
        if ways.len() == 1 && matches!(deed, Deed::Move | Deed::Show) {
            return Err(BadOrder::Unknown(text.into()));
        }
        words.next().map_or(Ok(Self { ways, deed }), |word| Err(BadOrder::LeftOver(word.into())))
    }
}

fn deed(word: &str, words: &mut SplitWhitespace<'_>) -> Result<Deed, BadOrder> {
    let change = match word {
        "loss" => Change::Loss(value("loss", SHARE, words, share)?),
        "delay" => Change::Delay(value("delay", TIME, words, time)?),
        "jitter" => Change::Jitter(value("jitter", TIME, words, time)?),
        "duplicate" => Change::Duplicate(value("duplicate", SHARE, words, share)?),
        "reorder" => Change::Reorder(value("reorder", SHARE, words, share)?),
        "held" => Change::Held(value("held", TIME, words, time)?),
        "rate" => Change::Rate(value("rate", RATE, words, rate)?),
        "queue" => Change::Queue(value("queue", BYTES, words, bytes)?),
        "cuts" => Change::Cuts(cuts(words)?),
        "like" => Change::Like(value("like", LINE, words, line)?),
        "cut" => {
            let time = words.next().map(|word| time(word).ok_or_else(|| bad(word, TIME)));
            return Ok(Deed::Cut(time.transpose()?));
        }
        "mend" => return Ok(Deed::Mend),
        "move" => return Ok(Deed::Move),
        "show" => return Ok(Deed::Show),
        _ => return Err(BadOrder::Unknown(word.into())),
    };
    Ok(Deed::Change(change))
}

const SHARE: &str = "a share from 0 to 1, as 0.1 or 10%";
const TIME: &str = "a time with its unit (us, ms, s, m), of an hour at most";
const RATE: &str = "bits a second, 1 or more, as 10M or 500k, or none";
const BYTES: &str = "a number of bytes, as 125k, of 1G at most";
const LINE: &str = "perfect, poor or awful";

fn bad(value: &str, wanted: &'static str) -> BadOrder {
    BadOrder::Value { value: value.into(), wanted }
}

fn value<T>(
    of: &'static str,
    wanted: &'static str,
    words: &mut SplitWhitespace<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, BadOrder> {
    let word = words.next().ok_or(BadOrder::Missing(of, wanted))?;
    parse(word).ok_or_else(|| bad(word, wanted))
}

fn cuts(words: &mut SplitWhitespace<'_>) -> Result<Option<Cuts>, BadOrder> {
    let first = words.next().ok_or(BadOrder::Missing("cuts", TIME))?;
    if first == "none" {
        return Ok(None);
    }
    let whole = time(first).ok_or_else(|| bad(first, TIME))?;
    let cut = value("cuts", TIME, words, time)?;
    Ok(Some(Cuts { whole, cut }))
}

/// A number that is no sign, no exponent and no name: digits, with a point at most.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain)
}

/// Of a number of at most `max`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a bound below 2^53")]
fn whole(number: f64, max: u64) -> Option<u64> {
    let rounded = number.round() as u64;
    (rounded <= max).then_some(rounded)
}

fn share(text: &str) -> Option<u32> {
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(text)?,
    };
    whole(share * f64::from(MILLION), MILLION.into()).and_then(|millionths| u32::try_from(millionths).ok())
}

/// A time with its unit.
#[must_use]
pub fn time(text: &str) -> Option<Duration> {
    let (figure, nanos) = [("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9)]
        .into_iter()
        .find_map(|(unit, nanos)| text.strip_suffix(unit).map(|figure| (figure, nanos)))?;
    let max = u64::try_from(RELAY_TIME_MAX.as_nanos()).unwrap_or(u64::MAX);
    whole(number(figure)? * nanos, max).map(Duration::from_nanos)
}

fn scaled(text: &str, max: u64) -> Option<u64> {
    let (figure, scale) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        b'G' => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    whole(number(figure)? * scale, max)
}

#[expect(clippy::option_option, reason = "no rate, and no such thing as a rate")]
fn rate(text: &str) -> Option<Option<u64>> {
    if text == "none" {
        return Some(None);
    }
    scaled(text, 1_000_000_000_000).filter(|&rate| rate > 0).map(Some)
}

fn bytes(text: &str) -> Option<u64> {
    scaled(text, RELAY_QUEUE_BYTES_MAX)
}

fn line(text: &str) -> Option<Line> {
    match text {
        "perfect" => Some(Line::PERFECT),
        "poor" => Some(Line::POOR),
        "awful" => Some(Line::AWFUL),
        _ => None,
    }
}
