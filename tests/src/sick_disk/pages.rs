//! What would be left after the power went: of each file the pages that differ from what the disk has confirmed.

use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map, hash_map};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// One file's pages.
#[derive(Debug)]
struct Of {
    file: File,
    /// What the disk has of pages that were written since.
    confirmed: BTreeMap<u64, Vec<u8>>,
    /// Of those, the ones that the next sync writes. The others were given up by one that failed.
    dirty: BTreeSet<u64>,
    len: u64,
}

/// The pages of all files that have something unconfirmed.
#[derive(Debug, Default)]
pub(super) struct Pages {
    files: HashMap<u64, Of>,
    /// Syncs that have failed, of each file.
    failures: HashMap<u64, u64>,
}

impl Pages {
    /// Bytes `from` to `to` of the file `inode` are about to change. `file` reads and writes it.
    pub(super) fn change(&mut self, inode: u64, file: &File, from: u64, to: u64) -> io::Result<()> {
        let len = file.metadata()?.len();
        let of = match self.files.entry(inode) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => {
                entry.insert(Of { file: file.try_clone()?, confirmed: BTreeMap::new(), dirty: BTreeSet::new(), len })
            }
        };
        for page in from / PAGE..to.div_ceil(PAGE).max(from / PAGE + 1) {
            if let btree_map::Entry::Vacant(unknown) = of.confirmed.entry(page) {
                unknown.insert(read_page(file, page)?);
            }
            of.dirty.insert(page);
        }
        Ok(())
    }

    /// All that was written to `inode` and not given up is on the disk.
    pub(super) fn synced(&mut self, inode: u64) {
        let Some(of) = self.files.get_mut(&inode) else { return };
        for page in std::mem::take(&mut of.dirty) {
            of.confirmed.remove(&page);
        }
        if let Ok(metadata) = of.file.metadata() {
            of.len = metadata.len();
        }
        if of.confirmed.is_empty() {
            self.files.remove(&inode);
        }
    }

    /// A sync has failed: what was to be written is clean in memory and never on the disk.
    pub(super) fn given_up(&mut self, inode: u64) {
        *self.failures.entry(inode).or_default() += 1;
        if let Some(of) = self.files.get_mut(&inode) {
            of.dirty.clear();
        }
    }

    /// Syncs of `inode` that have failed: whoever had it open then is told once, at the next sync.
    pub(super) fn failures(&self, inode: u64) -> u64 {
        self.failures.get(&inode).copied().unwrap_or(0)
    }

    /// Nothing of `inode` is needed any more.
    pub(super) fn forget(&mut self, inode: u64) {
        self.files.remove(&inode);
        self.failures.remove(&inode);
    }

    /// Puts into all files what the disk had confirmed.
    pub(super) fn cut_power(&mut self) {
        for (_, of) in self.files.drain() {
            // What was beyond the end then is a hole now.
            let put_back = of.confirmed.iter().try_for_each(|(page, bytes)| {
                let mut whole = bytes.clone();
                whole.resize(usize::try_from(PAGE).unwrap_or(0), 0);
                of.file.write_all_at(&whole, page * PAGE)
            });
            put_back.and_then(|()| of.file.set_len(of.len)).expect("the disk beside takes back what it had");
        }
    }
}

/// A page, short or empty at the file's end.
fn read_page(file: &File, page: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(PAGE).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], page * PAGE + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
