//! Every limit of the outbox, in one place; relations between them are asserted when the crate is compiled.

use std::time::Duration;

use kalitka_protocol::limits::{EVENT_HEADER_LEN, EVENT_LEN_MAX};

/// Bytes of the longest block, its header included.
pub const BLOCK_MAX: usize = 128 * 1024;
/// Bytes of a block's header.
pub const BLOCK_HEADER_LEN: usize = 104;
/// Bytes of events in one block.
pub const BLOCK_EVENTS_MAX: usize = BLOCK_MAX - BLOCK_HEADER_LEN;
/// Losses that the beginning of an epoch tells, and gaps that damage leaves in one; beyond them whole blocks are given up
/// so that two gaps become one.
pub const LOSSES_MAX: usize = 1000;
/// Of those, places left for one gap of every further epoch and for what may lie beyond the end.
pub const LOSSES_SPARE: usize = 100;
/// Epochs that a store has never heard of and tells to be lost, the newest.
pub const UNHEARD_MAX: usize = LOSSES_MAX / 2;
/// Earlier epochs kept although the hub has all of them.
pub const ENDED_EPOCHS_KEPT: usize = 8;
/// What is made room for when the bounds are reached: one part in so many.
pub const BOUND_SLACK: u64 = 64;
/// How far beyond the bounds what must be said is still taken, when nothing gives way: one part in so many.
pub const BOUND_MARGIN: u64 = 64;
/// Bytes of blocks that are looked through at a time for what gives way.
pub const LOOK_BYTES: usize = 4 << 20;

/// Bytes of one of sled's segments. Values and nodes above a quarter of it go to files that sled never syncs.
pub const SLED_SEGMENT_BYTES: usize = 8 << 20;
/// Bytes of sled's cache.
pub const SLED_CACHE_BYTES: u64 = 32 << 20;
/// How often sled writes by itself what no commit waits for.
pub const SLED_FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How long an instance that was closed may take to let go of its file.
pub const SLED_LOCK_MAX: Duration = Duration::from_secs(2);
/// How long sled may take to open before it is taken for stuck.
pub const SLED_OPEN_MAX: Duration = Duration::from_secs(30);
/// Reopenings in one process, after which the segment log takes over: each leaves memory behind.
pub const REOPENS_MAX: u32 = 3;
/// Bytes after which the segment log begins its next file.
pub const LOG_FILE_BYTES: u64 = 8 << 20;
/// The oldest log file is emptied when less than one part in so many of it is still needed.
pub const LOG_LIVE_PART_MIN: u64 = 8;
/// Free bytes that a commit leaves on the disk, and that a new store needs.
pub const DISK_RESERVE: u64 = 16 << 20;
/// Bytes of the reserve, a file that is given back when the disk is full: as much as two of sled's segments.
pub const RESERVE_BYTES: u64 = 16 << 20;
/// How much larger than its blocks, and a segment, sled's files are at most while they still find room in them.
pub const FILES_FACTOR: u64 = 4;
/// Damaged stores that are kept for a look at them, the newest.
pub const QUARANTINE_STORES_MAX: usize = 3;
/// Bytes that they take up together: one of an ordinary size is kept whole.
pub const QUARANTINE_BYTES_MAX: u64 = 128 << 20;
/// Blocks that one step of a purge looks at.
pub const PURGE_BLOCKS_MAX: usize = 4096;
/// Beside room for the old store's size, so many times the reserve must be free for a fresh copy of it.
pub const RENEWAL_FACTOR: u64 = 2;
/// Bytes of a file in two generations.
pub const GENERATION_BYTES_MAX: u64 = 256 << 20;
/// Bytes of blocks that are kept in memory while sled opens.
pub const KEPT_BYTES_MAX: usize = 32 << 20;
/// Bytes that salvage looks at in one piece.
pub const CARVE_BYTES: usize = 4 << 20;

const _: () = {
    assert!(BLOCK_MAX * 4 <= SLED_SEGMENT_BYTES);
    assert!(EVENT_LEN_MAX <= BLOCK_EVENTS_MAX);
    assert!(DISK_RESERVE >= 2 * SLED_SEGMENT_BYTES as u64);
    assert!(RESERVE_BYTES >= DISK_RESERVE);
    // An epoch's beginning and all its losses fit one block, so that they are durable together.
    assert!((EVENT_HEADER_LEN + 48) + LOSSES_MAX * (EVENT_HEADER_LEN + 32) <= BLOCK_EVENTS_MAX);
    assert!(BLOCK_MAX <= CARVE_BYTES);
    // With what is known only by its checkpoint and what may lie beyond the end.
    assert!(UNHEARD_MAX + 2 < LOSSES_MAX);
};
