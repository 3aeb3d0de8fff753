//! An age as a configuration gives it: `"90d"`.

use std::time::Duration;

use serde::Deserialize;

/// The shortest age that is taken.
pub const AGE_MIN: Duration = Duration::from_secs(1);
/// The longest: ten years.
pub const AGE_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// A whole number of days, hours, minutes or seconds: `90d`, `36h`, `30m`, `10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Age(Duration);

impl Age {
    /// So many days, of which [`AGE_MAX`] is the end.
    #[must_use]
    pub const fn days(days: u64) -> Self {
        let seconds = days.saturating_mul(86_400);
        Self(if seconds > AGE_MAX.as_secs() { AGE_MAX } else { Duration::from_secs(seconds) })
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// In microseconds, as wall clocks count.
    #[must_use]
    pub fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no age; give a whole number and d, h, m or s, like 90d, from 1s to 3650d");
        let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
        let unit = match unit {
            "d" => 86_400,
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return Err(wrong()),
        };
        let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?;
        let age = Duration::from_secs(number.checked_mul(unit).ok_or_else(wrong)?);
        if (AGE_MIN..=AGE_MAX).contains(&age) { Ok(Self(age)) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_a_number_and_a_unit_within_its_range() {
        let age = |text: &str| Age::try_from(text.to_owned()).map(|age| age.duration().as_secs());
        for (text, seconds) in [("90d", 90 * 86_400), ("36h", 129_600), ("5m", 300), ("1s", 1), ("3650d", 315_360_000)]
        {
            assert_eq!(age(text), Ok(seconds), "{text}");
        }
        for text in
            ["", "d", "90", "0d", "3651d", "-1d", "+1d", "1.5d", "90 d", "90D", "д", "9д", "99999999999999999999d"]
        {
            assert!(age(text).unwrap_err().contains("3650d"), "{text}");
        }
        assert_eq!(Age::days(u64::MAX).duration(), AGE_MAX);
        assert_eq!(Age::days(90).micros(), 7_776_000_000_000);
    }
}
