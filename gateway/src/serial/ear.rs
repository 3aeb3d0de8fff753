//! Whether a line is understood: bytes that come for some time without one whole frame are most often of another speed.

use std::time::Duration;

use crate::limits::{UNREADABLE_AFTER, UNREADABLE_BYTES, UNREADABLE_SAID_EVERY};

/// Listens to how bytes and frames follow each other on one line.
#[derive(Debug, Default)]
pub(super) struct Ear {
    /// Bytes since the last whole frame, and when the first of them came.
    bytes: u64,
    since: Option<Duration>,
    said: Option<Duration>,
}

/// What is new about the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// So many bytes have come and no frame.
    Unreadable { bytes: u64 },
    /// It was unreadable, and a frame has come.
    Readable,
}

impl Ear {
    /// So many bytes have come at `now`; with the last of them, or before, a whole frame if `frame`.
    pub(super) fn heard(&mut self, now: Duration, bytes: usize, frame: bool) -> Option<News> {
        if frame {
            let was_unreadable = self.is_unreadable();
            *self = Self::default();
            return was_unreadable.then_some(News::Readable);
        }
        self.bytes += bytes as u64;
        let since = *self.since.get_or_insert(now);
        let is_due = self.said.is_none_or(|said| now.saturating_sub(said) >= UNREADABLE_SAID_EVERY);
        if self.bytes < UNREADABLE_BYTES || now.saturating_sub(since) < UNREADABLE_AFTER || !is_due {
            return None;
        }
        self.said = Some(now);
        Some(News::Unreadable { bytes: self.bytes })
    }

    /// Whether it was said that the line is not understood, and no frame has come since.
    pub(super) const fn is_unreadable(&self) -> bool {
        self.said.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn bytes_without_a_frame_are_told_of_after_some_time_and_then_seldom() {
        let mut ear = Ear::default();
        let mut told = Vec::new();
        for second in 0..200 {
            told.extend(ear.heard(at(second), 50, false).map(|news| (second, news)));
        }
        let first = UNREADABLE_AFTER.as_secs();
        let every = UNREADABLE_SAID_EVERY.as_secs();
        let expected = (0..).map(|k| first + k * every).take_while(|&second| second < 200);
        let expected: Vec<_> = expected.map(|second| (second, News::Unreadable { bytes: (second + 1) * 50 })).collect();
        assert_eq!(told, expected);
        assert_eq!(ear.heard(at(200), 90, true), Some(News::Readable));
        assert_eq!((ear.heard(at(201), 90, true), ear.is_unreadable()), (None, false));
    }

    #[test]
    fn noise_between_frames_and_a_few_bytes_are_no_news() {
        let mut ear = Ear::default();
        for second in 0..1000 {
            assert_eq!(ear.heard(at(second), 200, second % 3 == 0), None, "frames come");
        }
        let mut ear = Ear::default();
        for second in 0..UNREADABLE_BYTES - 1 {
            assert_eq!(ear.heard(at(second * 10), 1, false), None, "too few to tell");
        }
    }
}
