//! Weekly intervals: from days and clock times to minutes of the week.

use crate::limits::WEEK_MINUTES;
use crate::model::Interval;

const DAY_MINUTES: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Monday is 0.
pub(super) fn day(text: &str) -> Option<u16> {
    (0u16..).zip(DAYS).find(|(_, name)| *name == text).map(|(at, _)| at)
}

/// The minute of the day of `HH:MM`, up to `24:00`.
pub(super) fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hours) || !two_digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

/// The minutes of the week from `from` to `to` on `day`; on the next day when `to` is not after `from`. What lies beyond
/// Sunday begins the week.
pub(super) fn intervals_of(day: u16, from: u16, to: u16) -> Vec<Interval> {
    let from = day * DAY_MINUTES + from;
    let to = day * DAY_MINUTES + to;
    let to = if to > from { to } else { to + DAY_MINUTES };
    if to <= WEEK_MINUTES {
        vec![Interval { from, to }]
    } else {
        vec![Interval { from, to: WEEK_MINUTES }, Interval { from: 0, to: to - WEEK_MINUTES }]
    }
}

/// The same minutes as `intervals`, ascending and apart from each other.
pub(super) fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable_by_key(|interval| (interval.from, interval.to));
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        match merged.last_mut() {
            Some(last) if interval.from <= last.to => last.to = last.to.max(interval.to),
            _ => merged.push(interval),
        }
    }
    merged
}
