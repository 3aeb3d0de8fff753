//! What a gateway's store holds just before it is damaged and just after, read from its raw files by nothing but
//! gateway/outbox/FORMAT.md.
//!
//! Every event found before is durable or was about to be. If it does not come to the hub, a loss record has to name it; and
//! a receipted report that is found after, too, was spared: nothing excuses its loss.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use kalitka_protocol::event::{Body, Events};

use crate::crowd::Identified;

const BLOCK: &[u8; 4] = b"KLTB";
const BLOCK_HEADER: usize = 104;
const RECORD: &[u8; 4] = b"KLTE";
const RECORD_FIXED: usize = 216;
const PAGE: usize = 4096;
const ZEROS: [u8; PAGE] = [0; PAGE];

/// Epoch and number of an event.
pub type Place = (u64, u64);
/// Reader, its boot and request: who asked what.
pub type Ask = (u32, u64, u32);

/// Everything that was seen in stores before they were damaged.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// Where reports stood.
    pub reports: BTreeMap<Identified, BTreeSet<Place>>,
    /// Where decisions stood.
    pub decisions: BTreeMap<Ask, BTreeSet<Place>>,
    /// Reports that the newest damage which could meet them has left whole.
    pub spared: BTreeSet<Identified>,
}

/// What an append that failed has left: blocks of this ordinal that begin above `number` do not count up to this sequence.
#[derive(Clone, Copy, Default)]
struct Void {
    of: u64,
    number: u64,
    sequence: u64,
}

impl Witness {
    /// Sees what is whole in the files under `folder`, which are about to be damaged.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn look(&mut self, folder: &Path) {
        let Self { reports, decisions, .. } = Self::of(folder);
        self.spared.retain(|identity| !reports.contains_key(identity));
        reports.into_iter().for_each(|(identity, places)| self.reports.entry(identity).or_default().extend(places));
        decisions.into_iter().for_each(|(ask, places)| self.decisions.entry(ask).or_default().extend(places));
    }

    /// Sees what is still whole now that they are damaged.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn look_again(&mut self, folder: &Path) {
        self.spared.extend(Self::of(folder).reports.into_keys());
    }

    fn of(folder: &Path) -> Self {
        let mut seen = Self::default();
        let mut files = Vec::new();
        collect(folder, &mut files);
        let files: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
        let mut voids = BTreeMap::new();
        for bytes in &files {
            for at in found(bytes, RECORD) {
                void(&bytes[at..], &mut voids);
            }
        }
        for bytes in &files {
            for at in found(bytes, BLOCK) {
                seen.block(&bytes[at..], &voids);
            }
        }
        seen
    }

    fn block(&mut self, bytes: &[u8], voids: &BTreeMap<u64, Void>) {
        let Some(events) = whole_block(bytes) else { return };
        let (ordinal, first, sequence) = (u64_at(bytes, 8), u64_at(bytes, 24), u64_at(bytes, 32));
        let void = voids.get(&ordinal).copied().unwrap_or_default();
        if first > void.number && sequence <= void.sequence {
            return;
        }
        for event in Events::new(events).flatten() {
            let place = (event.header.epoch.0, event.header.number);
            match event.event().map(|event| event.body) {
                Ok(Body::Report(taken)) => {
                    let identity = (taken.reader.0, taken.report.log.0, taken.report.number);
                    self.reports.entry(identity).or_default().insert(place);
                }
                Ok(Body::Decision(it)) => {
                    self.decisions.entry((it.reader.0, it.boot.0, it.request)).or_default().insert(place);
                }
                _ => {}
            }
        }
    }
}

/// The events of the block at the beginning of `bytes`, when it is whole.
fn whole_block(bytes: &[u8]) -> Option<&[u8]> {
    let len = usize::try_from(u32_at(bytes.get(..BLOCK_HEADER)?, 60)).ok()?;
    let events = bytes.get(BLOCK_HEADER..BLOCK_HEADER.checked_add(len)?)?;
    let crc = crc32c(&[&bytes[..100], events]);
    (bytes[4] == 1 && crc == u32_at(bytes, 100)).then_some(events)
}

fn void(bytes: &[u8], voids: &mut BTreeMap<u64, Void>) {
    let Some(fixed) = bytes.get(..RECORD_FIXED) else { return };
    let (losses, gaps) = (u32_at(fixed, 208) as usize, u32_at(fixed, 212) as usize);
    let Some(len) = losses.checked_mul(32).and_then(|len| len.checked_add(gaps.checked_mul(16)? + RECORD_FIXED)) else {
        return;
    };
    let Some(crc) = bytes.get(len..).and_then(|rest| rest.get(..4)) else { return };
    if crc32c(&[&bytes[..len]]) != u32_at(crc, 0) {
        return;
    }
    let (ordinal, of) = (u64_at(bytes, 8), u64_at(bytes, 24));
    let void = Void { of, number: u64_at(bytes, 112), sequence: u64_at(bytes, 120) };
    let newest = voids.entry(ordinal).or_default();
    if newest.of <= of {
        *newest = void;
    }
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        // What was moved aside has been copied from, as far as it was whole.
        if kind.is_dir() && entry.file_name() != "quarantine" {
            collect(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

/// Where `magic` stands in `bytes`. Most of a store's files is room that holds nothing yet, and is passed over by the page.
fn found<'a>(bytes: &'a [u8], magic: &'a [u8; 4]) -> impl Iterator<Item = usize> + 'a {
    let pages = bytes.chunks(PAGE).enumerate().filter(|(_, page)| **page != ZEROS[..page.len()]);
    let starts = pages.flat_map(|(place, page)| {
        let starts = page.iter().enumerate().filter(|(_, byte)| **byte == b'K');
        starts.map(move |(at, _)| place * PAGE + at)
    });
    starts.filter(move |&at| bytes[at..].starts_with(magic))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let (mut byte, mut value) = (0, 0);
    while byte < 256 {
        let mut crc: u32 = value;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        (byte, value) = (byte + 1, value + 1);
    }
    table
};

fn crc32c(parts: &[&[u8]]) -> u32 {
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !parts.iter().copied().flatten().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_the_catalogues() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
    }

    #[test]
    fn magic_is_found_wherever_it_begins_and_over_the_end_of_a_page() {
        let mut bytes = vec![0; 3 * PAGE + 5];
        for at in [1, PAGE - 2, 2 * PAGE + 7, 3 * PAGE + 1] {
            bytes[at..at + 4].copy_from_slice(BLOCK);
        }
        assert_eq!(found(&bytes, BLOCK).collect::<Vec<_>>(), [1, PAGE - 2, 2 * PAGE + 7, 3 * PAGE + 1]);
        assert_eq!(found(&bytes, RECORD).count(), 0);
    }

    #[test]
    fn block_that_is_not_whole_is_not_seen() {
        let mut bytes = vec![0; BLOCK_HEADER];
        bytes[..4].copy_from_slice(BLOCK);
        bytes[4] = 1;
        let crc = crc32c(&[&bytes[..100]]);
        bytes[100..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(whole_block(&bytes), Some(&[][..]));
        for place in 0..BLOCK_HEADER {
            let mut spoiled = bytes.clone();
            spoiled[place] ^= 1;
            assert_eq!(whole_block(&spoiled), None, "{place}");
            assert_eq!(whole_block(&bytes[..place]), None, "{place}");
        }
    }
}
