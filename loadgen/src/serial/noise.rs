//! What a bad line does to bytes: it turns bits, swallows bytes, puts some in, and crackles between frames.

use std::time::Duration;

use fastrand::Rng;

use crate::limits::CRACKLE_MAX;

/// How bad a line is. All zeros is a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Of a million bytes, so many are hit.
    pub hits: u32,
    /// Mean time between two crackles, each of 1 to [`CRACKLE_MAX`] random bytes towards the gateway; none when zero.
    pub crackle_every: Duration,
}

/// A line's noise in one direction, as its seed has it.
#[derive(Debug)]
pub(super) struct Spoiler {
    noise: Noise,
    rng: Rng,
    crackle_at: Option<Duration>,
    /// Bytes that were hit or put in.
    pub(super) spoilt: u64,
}

impl Spoiler {
    pub(super) fn new(noise: Noise, seed: u64) -> Self {
        let (rng, is_crackling) = (Rng::with_seed(seed), !noise.crackle_every.is_zero());
        Self { noise, rng, crackle_at: is_crackling.then_some(noise.crackle_every), spoilt: 0 }
    }

    /// What comes out at the other end when `bytes` are put in.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 2);
        for &byte in bytes {
            if self.rng.u32(..1_000_000) >= self.noise.hits {
                out.push(byte);
                continue;
            }
            self.spoilt += 1;
            match self.rng.u8(..4) {
                0 => {}
                1 => out.extend([self.rng.u8(..), byte]),
                _ => out.push(byte ^ 1 << self.rng.u8(..8)),
            }
        }
        out
    }

    /// What `bytes` look like to somebody whose port runs at another speed.
    pub(super) fn misread(&mut self, bytes: &[u8]) -> Vec<u8> {
        let kept = bytes.iter().filter(|_| self.rng.bool()).count();
        (0..kept).map(|_| self.rng.u8(..)).collect()
    }

    /// When the line crackles next.
    pub(super) fn crackle_at(&self) -> Duration {
        self.crackle_at.unwrap_or(Duration::MAX)
    }

    /// The bytes of a crackle that is due by `now`.
    pub(super) fn crackle(&mut self, now: Duration) -> Option<Vec<u8>> {
        self.crackle_at.take_if(|at| *at <= now)?;
        let mean = self.noise.crackle_every.as_secs_f64();
        self.crackle_at = Some(now + Duration::from_secs_f64(mean * (0.5 + self.rng.f64())));
        let crackle: Vec<u8> = (0..self.rng.usize(1..=CRACKLE_MAX)).map(|_| self.rng.u8(..)).collect();
        self.spoilt += crackle.len() as u64;
        Some(crackle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_line_changes_nothing_and_a_bad_one_the_same_with_the_same_seed() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mut good = Spoiler::new(Noise::default(), 1);
        assert_eq!((good.pass(&bytes), good.spoilt, good.crackle_at()), (bytes.clone(), 0, Duration::MAX));
        let noise = Noise { hits: 10_000, crackle_every: Duration::from_secs(1) };
        let [first, second] = [1, 1].map(|seed| Spoiler::new(noise, seed).pass(&bytes));
        assert!(first == second && first != bytes && first != Spoiler::new(noise, 2).pass(&bytes));
        let mut bad = Spoiler::new(noise, 3);
        bad.pass(&bytes);
        assert!((700..1300).contains(&bad.spoilt), "{} of 100,000 are about 1,000", bad.spoilt);
    }

    #[test]
    fn crackle_comes_when_it_is_due() {
        let mut line = Spoiler::new(Noise { hits: 0, crackle_every: Duration::from_secs(1) }, 4);
        let (mut now, mut crackles) = (Duration::ZERO, 0);
        while now < Duration::from_secs(1000) {
            assert!(line.crackle(now).is_none() || now.is_zero(), "nothing before it is due");
            now = line.crackle_at();
            let crackle = line.crackle(now).unwrap();
            assert!((1..=CRACKLE_MAX).contains(&crackle.len()));
            crackles += 1;
        }
        assert!((800..1300).contains(&crackles), "{crackles}");
    }
}
