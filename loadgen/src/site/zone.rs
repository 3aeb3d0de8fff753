//! Where on Earth it is morning now.

/// First and last minute of the day of a site's morning, the last not included: the crowd before the first lesson.
pub(crate) const MORNING: (i64, i64) = (7 * 60 + 30, 8 * 60 + 30);

/// The name of the time zone, whole hours off UTC, in which the second `now` since 1970 is within [`MORNING`].
pub(crate) fn of_morning(now: i64) -> String {
    let minute = now.div_euclid(60).rem_euclid(24 * 60);
    let hours = (MORNING.0 - minute).div_euclid(60) + 1;
    let hours = if (minute + hours * 60) >= MORNING.1 { hours - 1 } else { hours };
    // Etc/GMT names what is east of Greenwich with a minus. There are zones from 12 hours west to 14 east.
    match if hours < -12 { hours + 24 } else { hours } {
        0 => "Etc/GMT".into(),
        east @ 1.. => format!("Etc/GMT-{east}"),
        west => format!("Etc/GMT+{}", -west),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};

    use super::*;

    #[test]
    fn every_minute_of_a_day_is_morning_somewhere() {
        for minute in 0..24 * 60 {
            let now = 1_795_000_000 / 86_400 * 86_400 + minute * 60 + 59;
            let name = of_morning(now);
            let local = TimeZone::get(&name).unwrap().to_datetime(Timestamp::from_second(now).unwrap());
            let local = i64::from(local.hour()) * 60 + i64::from(local.minute());
            assert!((MORNING.0..MORNING.1).contains(&local), "minute {minute} is {local} in {name}");
        }
    }
}
