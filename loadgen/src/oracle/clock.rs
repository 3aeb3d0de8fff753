//! Local time: moments of the roster and the hours of its schedules.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::roster::{self, ReadError};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const WEEK: u32 = 7 * 24 * 60;

/// A weekly schedule: minutes of the week, the first included, the second not; it may lie in the week after.
pub(super) struct Hours(Vec<(u32, u32)>);

impl Hours {
    pub(super) fn new(schedule: &roster::Schedule) -> Result<Self, ReadError> {
        let mut hours = Vec::new();
        for interval in &schedule.intervals {
            let (from, to) = (minute_of_day(&interval.from)?, minute_of_day(&interval.to)?);
            let to = if to <= from { to + 24 * 60 } else { to };
            for day in &interval.days {
                let place = DAYS.iter().position(|name| name == day).ok_or_else(|| ReadError::value("day", day))?;
                let midnight = u32::try_from(place).unwrap_or(0) * 24 * 60;
                hours.push((midnight + from, midnight + to));
            }
        }
        Ok(Self(hours))
    }

    pub(super) fn hold(&self, zone: &TimeZone, unix_seconds: i64) -> bool {
        let Some(minute) = minute_of_week(zone, unix_seconds) else { return false };
        self.0
            .iter()
            .any(|&(from, to)| (from <= minute && minute < to) || (from <= minute + WEEK && minute + WEEK < to))
    }
}

fn minute_of_day(text: &str) -> Result<u32, ReadError> {
    let wrong = || ReadError::value("time of day", text);
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let (hour, minute): (u32, u32) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
    if hour * 60 + minute <= 24 * 60 && minute < 60 { Ok(hour * 60 + minute) } else { Err(wrong()) }
}

fn minute_of_week(zone: &TimeZone, unix_seconds: i64) -> Option<u32> {
    let local = zone.to_datetime(Timestamp::from_second(unix_seconds).ok()?);
    let day = u32::try_from(local.weekday().to_monday_zero_offset()).ok()?;
    let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
    Some(day * 24 * 60 + u32::try_from(minute).ok()?)
}

/// Beginning of a validity in seconds since 1970; `None` when it has none.
pub(super) fn beginning(zone: &TimeZone, text: &str) -> Result<Option<i64>, ReadError> {
    moment(zone, text, false)
}

/// End of a validity: its first second no more. A day's end is the midnight after it.
pub(super) fn end(zone: &TimeZone, text: &str) -> Result<Option<i64>, ReadError> {
    moment(zone, text, true)
}

fn moment(zone: &TimeZone, text: &str, day_included: bool) -> Result<Option<i64>, ReadError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || ReadError::value("moment", text);
    let local: DateTime = if text.len() == "2026-01-01".len() {
        let day: Date = text.parse().map_err(|_| wrong())?;
        let day = if day_included { day.checked_add(1.day()).map_err(|_| wrong())? } else { day };
        day.at(0, 0, 0, 0)
    } else {
        text.parse().map_err(|_| wrong())?
    };
    let zoned = local.to_zoned(zone.clone()).map_err(|_| wrong())?;
    Ok(Some(zoned.timestamp().as_second()))
}
