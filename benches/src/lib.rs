//! What the benches stand on: a verified snapshot, a worker with a reader that has a session, and the arithmetic of figures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod baseline;
pub mod callgrind;
pub mod pair;
pub mod table;

use std::path::Path;

use kalitka_core::UnixSeconds;
use kalitka_protocol::ReaderId;
use kalitka_snapshot::{AlignedBytes, PublisherKey, Snapshot};
use kalitka_tests::site::Site;

pub use pair::Pair;

/// A Tuesday in November, in school hours.
pub const NOW: UnixSeconds = UnixSeconds(1_795_510_800);
/// A reader of the invented school.
pub const READER: ReaderId = ReaderId(101);

/// Verifies the snapshot in `file` as `site`'s gateway does.
///
/// # Panics
/// When it is refused; the other functions here panic likewise.
#[must_use]
pub fn verified(site: &Site, file: &Path) -> Snapshot {
    let publisher = PublisherKey::from_hex(site.publisher()).unwrap();
    Snapshot::verify(AlignedBytes::read(file).unwrap(), &[publisher], site.building()).unwrap()
}
