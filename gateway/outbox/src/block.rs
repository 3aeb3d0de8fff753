//! A block: what one group commit stores as one value. Never an identity; see `FORMAT.md`.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Events, Loss, chain, kind};
use kalitka_protocol::wire::Cursor;

use crate::checksum::crc32c;
use crate::limits::{BLOCK_EVENTS_MAX, BLOCK_HEADER_LEN};
use crate::store::Key;

pub(crate) const MAGIC: [u8; 4] = *b"KLTB";
const VERSION: u8 = 1;
const CRC_AT: usize = BLOCK_HEADER_LEN - 4;

/// What stands before a block's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    /// The epoch's place in this store, from 1.
    pub(crate) ordinal: u64,
    pub(crate) epoch: EpochId,
    /// The first event's number.
    pub(crate) first: u64,
    /// Grows with every value of its kind written; of two under one key the higher is the newer.
    pub(crate) sequence: u64,
    /// Which events these were before they got new identities: epoch and first number of as many.
    pub(crate) origin: Option<(EpochId, u64)>,
    pub(crate) count: u32,
    /// h of the event before the first.
    pub(crate) hash_before: [u8; 32],
    /// So many events right before the first have given way at most: a gap of them is no damage.
    pub(crate) shed: u32,
}

impl BlockHeader {
    pub(crate) const fn last(&self) -> u64 {
        self.first + self.count as u64 - 1
    }

    pub(crate) const fn key(&self) -> Key {
        Key { ordinal: self.ordinal, number: self.first }
    }
}

/// A whole block, its checksum found right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    pub(crate) header: BlockHeader,
    pub(crate) events: &'a [u8],
}

/// The block's bytes. The caller keeps `events` within [`BLOCK_EVENTS_MAX`].
pub(crate) fn emit(header: &BlockHeader, events: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    emit_into(&mut out, header, events);
    out
}

/// The same in the place of what `out` holds.
pub(crate) fn emit_into(out: &mut Vec<u8>, header: &BlockHeader, events: &[u8]) {
    let (origin_epoch, origin_first) = header.origin.map_or((0, 0), |(epoch, first)| (epoch.0, first));
    let len = u32::try_from(events.len()).unwrap_or(u32::MAX);
    out.clear();
    out.reserve(BLOCK_HEADER_LEN + events.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, 0, 0, 0]);
    for field in [header.ordinal, header.epoch.0, header.first, header.sequence, origin_epoch, origin_first] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&header.count.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&header.hash_before);
    out.extend_from_slice(&header.shed.to_le_bytes());
    let crc = crc32c(&[out, events]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(events);
}

/// The block at the beginning of `bytes`, behind which others may follow; `None` when no whole one stands there.
pub(crate) fn parse_front(bytes: &[u8]) -> Option<Block<'_>> {
    let (head, rest) = bytes.split_at_checked(BLOCK_HEADER_LEN)?;
    let (header, len) = parse_header(head)?;
    let events = rest.get(..len)?;
    let crc = u32::from_le_bytes(head[CRC_AT..].try_into().ok()?);
    if crc32c(&[&head[..CRC_AT], events]) != crc {
        return None;
    }
    Some(Block { header, events })
}

/// The header of a block that is known to be whole, so that its events need not be summed again.
pub(crate) fn header_of(whole: &[u8]) -> Option<BlockHeader> {
    Some(parse_header(whole.get(..BLOCK_HEADER_LEN)?)?.0)
}

/// The header that stands in `head`, and the length of its events; the checksum is not looked at.
fn parse_header(head: &[u8]) -> Option<(BlockHeader, usize)> {
    let mut cursor = Cursor::new(head);
    let field = "block";
    if cursor.bytes(4, field).ok()? != MAGIC || cursor.u8(field).ok()? != VERSION {
        return None;
    }
    cursor.reserved(3, field).ok()?;
    let ordinal = cursor.u64_from_1(field).ok()?;
    let epoch = EpochId(cursor.u64_from_1(field).ok()?);
    let first = cursor.u64_from_1(field).ok()?;
    let sequence = cursor.u64(field).ok()?;
    let (origin_epoch, origin_first) = (cursor.u64(field).ok()?, cursor.u64(field).ok()?);
    let origin = (origin_epoch != 0).then_some((EpochId(origin_epoch), origin_first));
    let count = cursor.u32_from_1(field).ok()?;
    let len = cursor.u32(field).ok()? as usize;
    let hash_before = cursor.array(field).ok()?;
    let shed = cursor.u32(field).ok()?;
    if len > BLOCK_EVENTS_MAX || first.checked_add(u64::from(count)).is_none() {
        return None;
    }
    Some((BlockHeader { ordinal, epoch, first, sequence, origin, count, hash_before, shed }, len))
}

/// The block that `bytes` are.
pub(crate) fn parse(bytes: &[u8]) -> Option<Block<'_>> {
    parse_front(bytes).filter(|block| BLOCK_HEADER_LEN + block.events.len() == bytes.len())
}

/// What a look at every event of a block gives.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// h of the last event.
    pub(crate) hash: [u8; 32],
    /// Epochs of which the events say that a loss of unknown end is closed.
    pub(crate) closed: Vec<EpochId>,
    /// The last loss that says that events of a class have given way.
    pub(crate) gave_way: Option<Loss>,
}

impl Block<'_> {
    /// Looks at every event: its identity is the one that the header promises.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn walk(&self, building: u32) -> Result<Walked, String> {
        let BlockHeader { epoch, first, count, .. } = self.header;
        let mut walked = Walked { hash: self.header.hash_before, ..Walked::default() };
        let mut number = first;
        for event in Events::new(self.events) {
            let event = event.map_err(|error| format!("event {number} of epoch {:016x}: {error}", epoch.0))?;
            let found = (event.header.building, event.header.epoch, event.header.number);
            if found != (building, epoch, number) {
                return Err(format!("event {number} of epoch {:016x} bears another identity: {found:?}", epoch.0));
            }
            walked.hash = chain(&walked.hash, event.bytes);
            if matches!(event.kind, kind::LOSS | kind::LOSS_CLOSED) {
                match event.event().map(|event| event.body) {
                    Ok(Body::LossClosed(closed)) => walked.closed.push(closed.epoch),
                    Ok(Body::Loss(loss)) if loss.cause.is_of_a_class() => walked.gave_way = Some(loss),
                    _ => {}
                }
            }
            number += 1;
        }
        if number - first == u64::from(count) {
            Ok(walked)
        } else {
            Err(format!("block {first} of epoch {:016x} does not hold its {count} events", epoch.0))
        }
    }
}
