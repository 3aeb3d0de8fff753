//! What the store keeps of an epoch beside its blocks; see `FORMAT.md`.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Loss, LossCause};
use kalitka_protocol::wire::Cursor;

use crate::checksum::crc32c;
use crate::limits::LOSSES_MAX;
use crate::store::Key;
use crate::types::{Head, NewEpochWhy};

pub(crate) const MAGIC: [u8; 4] = *b"KLTE";
const VERSION: u8 = 1;
/// Bytes before the lists.
const FIXED_LEN: usize = 216;
const LOSS_LEN: usize = 32;
const GAP_LEN: usize = 16;

/// Numbers that are being given new identities: from `first` to the epoch's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moving {
    pub(crate) first: u64,
    /// h of the event before.
    pub(crate) hash_before: [u8; 32],
}

/// Blocks that an append which failed has left behind, or that have got new identities: above `number`, written up to `sequence`.
/// They are void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Void {
    pub(crate) number: u64,
    pub(crate) sequence: u64,
}

/// The record of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) ordinal: u64,
    pub(crate) epoch: EpochId,
    pub(crate) sequence: u64,
    pub(crate) why: NewEpochWhy,
    pub(crate) before: Option<Head>,
    /// Up to here the hub keeps all.
    pub(crate) acknowledged: u64,
    pub(crate) loss_open: Option<u64>,
    /// What a loss has said to be gone from the front: first and last.
    pub(crate) told: (u64, u64),
    pub(crate) void: Void,
    pub(crate) moving: Option<Moving>,
    /// The highest number known and its hash, for an epoch that has ended.
    pub(crate) ended: (u64, [u8; 32]),
    /// What the first append of the epoch has to say; empty once it has.
    pub(crate) losses: Vec<Loss>,
    /// Numbers that damage has taken out of the middle, ascending.
    pub(crate) gaps: Vec<(u64, u64)>,
}

impl Record {
    pub(crate) fn new(ordinal: u64, epoch: EpochId, why: NewEpochWhy, before: Option<Head>) -> Self {
        Self {
            ordinal,
            epoch,
            sequence: 0,
            why,
            before,
            acknowledged: 0,
            loss_open: None,
            told: (0, 0),
            void: Void::default(),
            moving: None,
            ended: (0, [0; 32]),
            losses: Vec::new(),
            gaps: Vec::new(),
        }
    }

    pub(crate) const fn key(&self) -> Key {
        Key { ordinal: self.ordinal, number: 0 }
    }

    /// Numbers up to here may be missing from the front: the hub keeps them, or a loss has told of them.
    pub(crate) fn front(&self) -> u64 {
        self.acknowledged.max(self.told.1)
    }

    /// A loss or the record of a purge that is durable says that these are gone from the front.
    pub(crate) fn tell(&mut self, (first, last): (u64, u64)) {
        let told = self.told;
        let goes_on = told.1 > 0 && first <= told.1 + 1 && told.0 <= last + 1;
        self.told = (if goes_on { told.0.min(first) } else { first }, last.max(told.1));
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + self.losses.len() * LOSS_LEN + self.gaps.len() * GAP_LEN + 4);
        let before = self.before.unwrap_or(Head { epoch: EpochId(0), number: 0, hash: [0; 32] });
        let moving = self.moving.unwrap_or(Moving { first: 0, hash_before: [0; 32] });
        let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, why_code(self.why), 0, 0]);
        for field in [self.ordinal, self.epoch.0, self.sequence, before.epoch.0, before.number] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&before.hash);
        let void = self.void;
        let open = self.loss_open.unwrap_or(0);
        for field in [self.acknowledged, open, self.told.0, self.told.1, void.number, void.sequence, moving.first] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&moving.hash_before);
        out.extend_from_slice(&self.ended.0.to_le_bytes());
        out.extend_from_slice(&self.ended.1);
        out.extend_from_slice(&len(self.losses.len()));
        out.extend_from_slice(&len(self.gaps.len()));
        for loss in &self.losses {
            out.extend_from_slice(&loss.epoch.0.to_le_bytes());
            out.extend_from_slice(&loss.first.to_le_bytes());
            out.extend_from_slice(&loss.last.to_le_bytes());
            out.extend_from_slice(&[loss.cause.code(), 0, 0, 0]);
            out.extend_from_slice(&loss.count.to_le_bytes());
        }
        for (first, last) in &self.gaps {
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
        let crc = crc32c(&[&out]);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }
}

/// The record at the beginning of `bytes` and its length; `None` when no whole one stands there.
pub(crate) fn parse_front(bytes: &[u8]) -> Option<(Record, usize)> {
    let field = "record";
    let mut cursor = Cursor::new(bytes);
    if cursor.bytes(4, field).ok()? != MAGIC || cursor.u8(field).ok()? != VERSION {
        return None;
    }
    let why = why_of(cursor.u8(field).ok()?)?;
    cursor.reserved(2, field).ok()?;
    let ordinal = cursor.u64_from_1(field).ok()?;
    let epoch = EpochId(cursor.u64_from_1(field).ok()?);
    let sequence = cursor.u64(field).ok()?;
    let before = Head {
        epoch: EpochId(cursor.u64(field).ok()?),
        number: cursor.u64(field).ok()?,
        hash: cursor.array(field).ok()?,
    };
    let mut next = || cursor.u64(field).ok();
    let (acknowledged, open, told) = (next()?, next()?, (next()?, next()?));
    let void = Void { number: next()?, sequence: next()? };
    let moving = Moving { first: next()?, hash_before: cursor.array(field).ok()? };
    let ended = (cursor.u64(field).ok()?, cursor.array(field).ok()?);
    let (losses, gaps) = (cursor.u32(field).ok()? as usize, cursor.u32(field).ok()? as usize);
    if losses > LOSSES_MAX || gaps > LOSSES_MAX {
        return None;
    }
    let losses = (0..losses).map(|_| parse_loss(&mut cursor)).collect::<Option<Vec<_>>>()?;
    let gaps =
        (0..gaps).map(|_| Some((cursor.u64(field).ok()?, cursor.u64(field).ok()?))).collect::<Option<Vec<_>>>()?;
    let len = FIXED_LEN + losses.len() * LOSS_LEN + gaps.len() * GAP_LEN;
    if cursor.u32(field).ok()? != crc32c(&[bytes.get(..len)?]) {
        return None;
    }
    let record = Record {
        ordinal,
        epoch,
        sequence,
        why,
        before: (before.epoch.0 != 0).then_some(before),
        acknowledged,
        loss_open: (open != 0).then_some(open),
        told,
        void,
        moving: (moving.first != 0).then_some(moving),
        ended,
        losses,
        gaps,
    };
    Some((record, len + 4))
}

/// The record that `bytes` are.
pub(crate) fn parse(bytes: &[u8]) -> Option<Record> {
    parse_front(bytes).filter(|(_, len)| *len == bytes.len()).map(|(record, _)| record)
}

fn parse_loss(cursor: &mut Cursor<'_>) -> Option<Loss> {
    let field = "loss";
    let epoch = EpochId(cursor.u64(field).ok()?);
    let (first, last) = (cursor.u64(field).ok()?, cursor.u64(field).ok()?);
    let cause = LossCause::from_code(cursor.u8(field).ok()?).ok()?;
    cursor.reserved(3, field).ok()?;
    Some(Loss { epoch, first, last, cause, count: cursor.u32(field).ok()? })
}

const fn why_code(why: NewEpochWhy) -> u8 {
    match why {
        NewEpochWhy::Blank => 1,
        NewEpochWhy::Missing => 2,
        NewEpochWhy::Older => 3,
        NewEpochWhy::Damaged => 4,
        NewEpochWhy::OtherMachine => 5,
        NewEpochWhy::HubAhead => 6,
        NewEpochWhy::HubOther => 7,
    }
}

const fn why_of(code: u8) -> Option<NewEpochWhy> {
    Some(match code {
        1 => NewEpochWhy::Blank,
        2 => NewEpochWhy::Missing,
        3 => NewEpochWhy::Older,
        4 => NewEpochWhy::Damaged,
        5 => NewEpochWhy::OtherMachine,
        6 => NewEpochWhy::HubAhead,
        7 => NewEpochWhy::HubOther,
        _ => return None,
    })
}
