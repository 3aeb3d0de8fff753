//! Reading events back out of blocks.

use std::ops::ControlFlow;

use kalitka_protocol::event::{Events, chain};

use crate::block::{self, Block, BlockHeader};
use crate::error::StoreError;
use crate::ledger::Epoch;
use crate::store::{Key, Store};
use crate::types::Run;

/// Visits the values from `key` on, in the order of their keys, until `visit` breaks off or fails.
pub(crate) fn scan(
    store: &mut dyn Store,
    key: Key,
    mut visit: impl FnMut(Key, &[u8]) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let mut failure = None;
    store.scan(key, &mut |key, value| {
        visit(key, value).unwrap_or_else(|error| {
            failure = Some(error);
            ControlFlow::Break(())
        })
    })?;
    failure.map_or(Ok(()), Err)
}

/// The first block of the epoch with `ordinal` that begins at `number` or later, and its bytes' length.
pub(crate) fn first_block(
    store: &mut dyn Store,
    ordinal: u64,
    number: u64,
) -> Result<Option<(BlockHeader, usize)>, StoreError> {
    let mut found = None;
    store.scan(Key { ordinal, number: number.max(1) }, &mut |key, value| {
        found = (key.ordinal == ordinal).then(|| whole(key, value).map(|block| (block.header, value.len())));
        ControlFlow::Break(())
    })?;
    found.transpose()
}

/// The block of the epoch with `ordinal` that begins at `number` or before, as its value.
pub(crate) fn block_with(store: &mut dyn Store, ordinal: u64, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let found = store.at_or_before(Key { ordinal, number })?;
    Ok(found.filter(|(key, _)| key.ordinal == ordinal && key.number > 0).map(|(_, value)| value))
}

/// The block that stands under `key`.
pub(crate) fn whole(key: Key, value: &[u8]) -> Result<Block<'_>, StoreError> {
    let block = block::parse(value).filter(|block| block.header.key() == key);
    block.ok_or_else(|| StoreError::Damaged(format!("block {} of epoch {} is not whole", key.number, key.ordinal)))
}

/// h of event `number`; `None` when neither it nor its successor is held.
pub(crate) fn hash_at(store: &mut dyn Store, epoch: &Epoch, number: u64) -> Result<Option<[u8; 32]>, StoreError> {
    if number == 0 {
        return Ok(Some([0; 32]));
    }
    if number == epoch.last {
        return Ok(Some(epoch.hash));
    }
    if number > epoch.last {
        return Ok(None);
    }
    let ordinal = epoch.record.ordinal;
    if let Some(value) = block_with(store, ordinal, number)? {
        let block = whole(Key { ordinal, number: first_of(&value) }, &value)?;
        if number <= block.header.last() {
            let take = usize::try_from(number - block.header.first + 1).unwrap_or(usize::MAX);
            return Ok(Some(skip(&block, take)?.0));
        }
    }
    let next = first_block(store, ordinal, number)?;
    Ok(next.filter(|(header, _)| header.first == number + 1).map(|(header, _)| header.hash_before))
}

/// Where a reading ends.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// With the last event that fits so many bytes; at least one.
    Bytes(usize),
    /// With the last block that fits so many bytes; at least one.
    WholeBlocks(usize),
}

/// Events held of `epoch` from `from` on, up to `through` and `limit`, without a gap between them.
pub(crate) fn read(
    store: &mut dyn Store,
    epoch: &Epoch,
    from: u64,
    through: u64,
    limit: Limit,
) -> Result<Option<Run>, StoreError> {
    let from = from.max(epoch.oldest);
    if epoch.blocks == 0 || from > through {
        return Ok(None);
    }
    let ordinal = epoch.record.ordinal;
    let start = block_with(store, ordinal, from)?.map_or(from, |value| first_of(&value));
    let mut run: Option<Run> = None;
    scan(store, Key { ordinal, number: start }, |key, value| {
        if key.ordinal != ordinal {
            return Ok(ControlFlow::Break(()));
        }
        add(&mut run, &whole(key, value)?, from, through, limit)
    })?;
    Ok(run)
}

/// Adds the events of `block` from `from` on to the run.
fn add(
    run: &mut Option<Run>,
    block: &Block<'_>,
    from: u64,
    through: u64,
    limit: Limit,
) -> Result<ControlFlow<()>, StoreError> {
    let BlockHeader { epoch, first, .. } = block.header;
    if block.header.last() < from {
        return Ok(ControlFlow::Continue(()));
    }
    let (hash_before, events) = skip(block, usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX))?;
    let first = first.max(from);
    let run =
        run.get_or_insert_with(|| Run { epoch, first, hash_before, events: Vec::new(), count: 0, hash: hash_before });
    if run.first + u64::from(run.count) != first || run.hash != hash_before {
        return Ok(ControlFlow::Break(()));
    }
    let bytes_max = match limit {
        Limit::Bytes(bytes) => bytes,
        Limit::WholeBlocks(bytes) if run.count > 0 && run.events.len() + events.len() > bytes => {
            return Ok(ControlFlow::Break(()));
        }
        Limit::WholeBlocks(_) => usize::MAX,
    };
    for event in Events::new(events) {
        let event = event.map_err(|error| StoreError::Damaged(error.to_string()))?;
        if run.count > 0 && (run.events.len() + event.bytes.len() > bytes_max || run.count == u32::MAX) {
            return Ok(ControlFlow::Break(()));
        }
        if event.header.number > through {
            return Ok(ControlFlow::Break(()));
        }
        run.hash = chain(&run.hash, event.bytes);
        run.events.extend_from_slice(event.bytes);
        run.count += 1;
    }
    Ok(ControlFlow::Continue(()))
}

/// h of the block's event number `take` (from 1; 0 for the one before the block), and the events behind it.
pub(crate) fn skip<'a>(block: &Block<'a>, take: usize) -> Result<([u8; 32], &'a [u8]), StoreError> {
    let (mut hash, mut behind) = (block.header.hash_before, 0);
    for event in Events::new(block.events).take(take) {
        let event = event.map_err(|error| StoreError::Damaged(error.to_string()))?;
        hash = chain(&hash, event.bytes);
        behind += event.bytes.len();
    }
    Ok((hash, block.events.get(behind..).unwrap_or_default()))
}

/// The number that a block's value begins with; a value that is no block is refused when it is looked at.
fn first_of(value: &[u8]) -> u64 {
    block::parse(value).map_or(0, |block| block.header.first)
}
