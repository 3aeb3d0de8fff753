//! Seeded mutation of bytes, and a runner that shows the input that broke something.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use fastrand::Rng;

const INTERESTING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'"', b',', b'\n'];

/// One to four random changes to `bytes`: bits, bytes, cuts, repetitions, pieces of `others`.
pub fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..rng.usize(1..5) {
        change(rng, bytes, others);
    }
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    if bytes.is_empty() {
        bytes.push(rng.u8(..));
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..10) {
        0..=2 => bytes[at] ^= 1 << rng.u8(..8),
        3 => bytes[at] = rng.u8(..),
        4 => bytes[at] = INTERESTING[rng.usize(..INTERESTING.len())],
        5 => bytes.truncate(at),
        6 => bytes.insert(at, rng.u8(..)),
        7 => drop(bytes.drain(at..(at + rng.usize(1..9)).min(bytes.len()))),
        8 => {
            let piece = bytes[at..(at + rng.usize(1..33)).min(bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let Some(other) = others.get(rng.usize(..others.len().max(1))).filter(|other| !other.is_empty()) else {
                return;
            };
            let from = rng.usize(..other.len());
            let to = (from + rng.usize(1..65)).min(other.len());
            let end = (at + (to - from)).min(bytes.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
    }
}

/// Runs `check` on `input`; when it panics, prints `what`, the seed and the input in hex, and lets the panic go on.
pub fn guarded<T>(what: &str, seed: u64, input: &[u8], check: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        eprintln!("{what} broke; KALITKA_SEED={seed}; input ({} bytes): {}", input.len(), hex::encode(input));
        resume_unwind(panic)
    })
}
