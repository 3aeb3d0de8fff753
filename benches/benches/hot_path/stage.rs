//! An invented school of any size: the snapshots that the steps look into, each built once and only when asked for.

use std::cell::OnceCell;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use kalitka_benches::{NOW, READER};
use kalitka_core::View;
use kalitka_protocol::credential::{CardRead, Credential, Shape, ShapeSet};
use kalitka_snapshot::model::{
    AccessLevel, CredentialState, ENTRY, EXIT, HolderState, Interval, LevelGrant, Model, NO_END, Offset, Portal,
    PortalMode, Reader, Schedule, Slot,
};
use kalitka_snapshot::{AlignedBytes, Edition, PublisherKey, Snapshot, build_model, sign};

const BUILDING: u32 = 17;
const PORTALS: u16 = 20;
const READERS: u16 = 64;
const LEVELS: u16 = 6;
/// The first is empty, as in every building; the others all hold the first level.
const PROFILES: u16 = 33;
const SCHEDULES: u16 = 6;
/// Entries of every table when steps are only tried out.
const TRIED_OUT: u32 = 1_000;

/// Entries of a snapshot's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    TenThousand,
    SixteenThousand,
    Million,
    /// 0.9 GB, and for some seconds 4 GB while it is built.
    TenMillion,
}

impl Size {
    const fn entries(self) -> u32 {
        match self {
            Self::TenThousand => 10_000,
            Self::SixteenThousand => 16_000,
            Self::Million => 1_000_000,
            Self::TenMillion => 10_000_000,
        }
    }
}

/// What steps are made on.
pub(crate) struct Stage {
    try_out: bool,
    views: [OnceCell<Arc<View>>; 4],
}

impl Stage {
    /// A stage with tables of the sizes that they are named after, or with tiny ones to `try_out` the steps.
    pub(crate) fn new(try_out: bool) -> Self {
        Self { try_out, views: Default::default() }
    }

    /// Entries of the table that stands for `size` here.
    pub(crate) fn entries(&self, size: Size) -> u32 {
        if self.try_out { TRIED_OUT } else { size.entries() }
    }

    /// The view of the school of `size`.
    pub(crate) fn view(&self, size: Size) -> Arc<View> {
        let build = || Arc::new(View::build(Arc::new(verify(AlignedBytes::from(&self.file(size)[..]))), NOW));
        Arc::clone(self.views[size as usize].get_or_init(build))
    }

    /// The signed snapshot of the school of `size`, built anew each time.
    pub(crate) fn file(&self, size: Size) -> Vec<u8> {
        let edition = Edition { building: BUILDING, organisation: 1, generation: 1, created: 0, last_command: 0 };
        sign(build_model(&edition, school(self.entries(size))).unwrap(), &secret()).unwrap()
    }
}

/// Verifies `bytes` as a gateway does.
pub(crate) fn verify(bytes: AlignedBytes) -> Snapshot {
    let publisher = PublisherKey::from_bytes(secret().verifying_key().to_bytes());
    Snapshot::verify(bytes, &[publisher], BUILDING).unwrap()
}

fn secret() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn uid(holder: u32) -> [u8; 7] {
    let [a, b, c, d] = holder.to_be_bytes();
    [4, 0x9a, 0x31, a, b, c, d]
}

/// The card of a holder, as the readers read it.
pub(crate) fn card(holder: u32) -> CardRead {
    CardRead::from_uid(&uid(holder)).unwrap()
}

/// The key of a holder's card in the table.
pub(crate) fn credential(holder: u32) -> Credential {
    Credential::from_uid(&uid(holder)).unwrap()
}

/// Twenty turnstiles with sixty-four readers, six access levels by six schedules, and `holders` with one card each, who all may pass now.
fn school(holders: u32) -> Model {
    let portal = |at: u16| Portal {
        name: format!("turnstile-{at}"),
        from: 0,
        to: 1,
        mode: PortalMode::Normal as u8,
        modes: Vec::new(),
        hold_open_ms: 5_000,
        fall_back: 0,
    };
    let reader = |place: u16| Reader {
        number: READER.0 + u32::from(place),
        portal: place % PORTALS,
        shapes: ShapeSet::default().with(Shape::Uid).bits(),
        directions: ENTRY | EXIT,
    };
    let level = |at: u16| AccessLevel {
        name: format!("level-{at}"),
        grants: (0..PORTALS).map(|portal| LevelGrant { portal, schedule: at, directions: ENTRY | EXIT }).collect(),
    };
    Model {
        name: "School 17".into(),
        time_zone: "Europe/Moscow".into(),
        offsets: vec![Offset { from: i64::MIN, seconds: 3 * 3600 }],
        areas: vec!["street".into(), "hall".into()],
        portals: (0..PORTALS).map(portal).collect(),
        readers: (0..READERS).map(reader).collect(),
        schedules: (0..SCHEDULES).map(schedule).collect(),
        access_levels: (0..LEVELS).map(level).collect(),
        profiles: (0..PROFILES).map(profile).collect(),
        groups: vec![String::new()],
        holders: (0..holders).map(|holder| *format!("holder-{holder:09}").as_bytes().first_chunk().unwrap()).collect(),
        hash_seeds: [0; 2],
        homes: 0,
        slots: (0..holders).map(slot).collect(),
    }
}

/// Workdays, from seven o'clock on, each schedule half an hour longer than the one before.
fn schedule(at: u16) -> Schedule {
    let day = |day: u16| Interval { from: day * 1440 + 420, to: day * 1440 + 1020 + at * 30 };
    Schedule { name: format!("schedule-{at}"), intervals: (0..5).map(day).collect() }
}

/// Nothing, then the first level with every set of the others.
fn profile(at: u16) -> Vec<u16> {
    let Some(others) = at.checked_sub(1) else { return Vec::new() };
    std::iter::once(0).chain((1..LEVELS).filter(|level| others >> (level - 1) & 1 != 0)).collect()
}

fn slot(holder: u32) -> Slot {
    Slot {
        key: *credential(holder).as_bytes(),
        holder,
        profile: 1 + u16::try_from(holder % u32::from(PROFILES - 1)).unwrap(),
        credential_state: CredentialState::Issued as u8,
        holder_state: HolderState::Active as u8,
        credential_to: NO_END,
        holder_to: NO_END,
        ..Slot::EMPTY
    }
}
