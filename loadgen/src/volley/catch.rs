//! What came back in a slice, kept as it came until the clock has stopped.

use std::io;

use super::line::{BATCH, Headers, Line};

/// Received datagrams with their moments, in the order of their coming.
pub(super) struct Catch {
    bytes: Vec<u8>,
    /// Bytes of room for each.
    slot: usize,
    /// Moment in nanoseconds on the slice's clock, and length.
    caught: Vec<(u64, usize)>,
}

impl Catch {
    /// Room for datagrams of `slot` bytes at most; a longer one is cut.
    pub(super) const fn new(slot: usize) -> Self {
        Self { bytes: Vec::new(), slot, caught: Vec::new() }
    }

    /// Empties it and makes room for `count` datagrams.
    pub(super) fn clear(&mut self, count: usize) {
        self.caught.clear();
        self.caught.reserve_exact(count);
        // Memory once touched stays: no page fault while the clock runs.
        self.bytes.resize(self.bytes.len().max(count * self.slot), 0);
    }

    /// Datagrams that it has room for.
    pub(super) fn room(&self) -> usize {
        self.bytes.len() / self.slot - self.caught.len()
    }

    /// Takes what has come to `line`, a batch at most; `clock` is read once, after it. Gives how many came.
    pub(super) fn take(
        &mut self,
        line: &Line,
        headers: &mut Headers,
        clock: impl FnOnce() -> u64,
    ) -> io::Result<usize> {
        let mut lens = [0; BATCH];
        let lens = line.receive(headers, &mut self.bytes[self.caught.len() * self.slot..], self.slot, &mut lens)?;
        if !lens.is_empty() {
            let at = clock();
            self.caught.extend(lens.iter().map(|&len| (at, len)));
        }
        Ok(lens.len())
    }

    /// Takes one datagram, sleeping for it if `wait`; says whether there was one.
    pub(super) fn take_one(&mut self, line: &Line, wait: bool, clock: impl FnOnce() -> u64) -> io::Result<bool> {
        let place = self.caught.len() * self.slot;
        let Some(len) = line.receive_one(&mut self.bytes[place..place + self.slot], wait)? else { return Ok(false) };
        self.caught.push((clock(), len));
        Ok(true)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.caught.len()
    }

    /// When the last one came.
    pub(super) fn last(&self) -> Option<u64> {
        self.caught.last().map(|&(at, _)| at)
    }

    /// Gives each to `look`, with its moment.
    pub(super) fn for_each(&mut self, mut look: impl FnMut(&mut [u8], u64)) {
        let Self { bytes, slot, caught } = self;
        for (datagram, &(at, len)) in bytes.chunks_exact_mut(*slot).zip(&*caught) {
            look(&mut datagram[..len.min(*slot)], at);
        }
    }
}
