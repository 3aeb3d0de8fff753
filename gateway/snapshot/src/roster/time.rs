//! Local dates and times of the building, and its time zone as a list of offsets.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::limits::OFFSETS_MAX;
use crate::model::Offset;

/// Offsets are listed from here on; whoever asks for an earlier moment gets this one's.
const OFFSETS_FROM: i64 = 946_684_800; // 2000-01-01T00:00:00Z
/// How long after its creation a snapshot knows the zone's changes: 15 years of 366 days.
const OFFSETS_AHEAD_S: i64 = 15 * 366 * 86_400;

const YEARS: core::ops::RangeInclusive<i16> = 1970..=2105;

/// What a date alone means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DateMeans {
    /// Its first moment.
    Beginning,
    /// The first moment of the day after it.
    End,
}

/// What is wrong with a text that should be a moment, and what to do.
pub(super) struct NoMoment(pub(super) &'static str, pub(super) &'static str);

const FORM: NoMoment =
    NoMoment("not a moment", "write YYYY-MM-DD, YYYY-MM-DDTHH:MM or YYYY-MM-DDTHH:MM:SS, local time");
const RANGE: NoMoment = NoMoment("out of range", "write a moment from 1970 to 2105");

/// The second since 1970 that `text` names in `zone`. A moment before 1970 in UTC, though not in local time, is 0.
pub(super) fn moment(text: &str, zone: &TimeZone, means: DateMeans) -> Result<u32, NoMoment> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let date = parse_date(date)?;
    let local = match time {
        Some(time) => parse_time(date, time)?,
        None if means == DateMeans::End => date.checked_add(1.day()).map_err(|_| RANGE)?.at(0, 0, 0, 0),
        None => date.at(0, 0, 0, 0),
    };
    // A time that a change of clocks skips or repeats: jiff's "compatible" reading.
    let second = local.to_zoned(zone.clone()).map_err(|_| RANGE)?.timestamp().as_second();
    u32::try_from(second.max(0)).map_err(|_| RANGE)
}

fn parse_date(text: &str) -> Result<Date, NoMoment> {
    let [year, month, day] = numbers(text, '-', [4, 2, 2]).ok_or(FORM)?;
    if !YEARS.contains(&year) {
        return Err(RANGE);
    }
    let narrow = |number: i16| i8::try_from(number).map_err(|_| FORM);
    Date::new(year, narrow(month)?, narrow(day)?).map_err(|_| NoMoment("no such day", "write a day of the calendar"))
}

fn parse_time(date: Date, text: &str) -> Result<DateTime, NoMoment> {
    let [hour, minute, second] = match text.len() {
        5 => numbers(text, ':', [2, 2]).map(|[hour, minute]| [hour, minute, 0]),
        _ => numbers(text, ':', [2, 2, 2]),
    }
    .ok_or(FORM)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(NoMoment("no such time of day", "write 00:00:00 to 23:59:59"));
    }
    let narrow = |number: i16| i8::try_from(number).map_err(|_| FORM);
    Ok(date.at(narrow(hour)?, narrow(minute)?, narrow(second)?, 0))
}

/// Numbers of exactly so many digits, apart by `separator`.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i16; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The offsets of `zone` for a snapshot created at `created` (seconds since 1970).
pub(crate) fn offsets(zone: &TimeZone, created: i64) -> Vec<Offset> {
    let first = Timestamp::from_second(OFFSETS_FROM).unwrap_or(Timestamp::UNIX_EPOCH);
    let last = created.max(OFFSETS_FROM).saturating_add(OFFSETS_AHEAD_S);
    let mut offsets = vec![Offset { from: i64::MIN, seconds: zone.to_offset(first).seconds() }];
    let changes = zone.following(first).map(|change| (change.timestamp().as_second(), change.offset().seconds()));
    for (from, seconds) in changes.take_while(|&(from, _)| from <= last).take(OFFSETS_MAX - 1) {
        if offsets.last().is_some_and(|before| before.seconds != seconds) {
            offsets.push(Offset { from, seconds });
        }
    }
    offsets
}
