//! What a snapshot holds: the building's plan and the table of credentials, as rkyv archives them.
//!
//! Numbers that point into a list (`portal`, `schedule`, `profile`, …) are places in that list, from 0.

use rkyv::{Archive, Deserialize, Serialize};

/// Seconds since 1970 that stand for "no end". "No beginning" is 0.
pub const NO_END: u32 = u32::MAX;

/// A [`LevelGrant::schedule`] that holds at all times.
pub const ALWAYS: u16 = u16::MAX;

/// Bit of [`Reader::directions`] and [`LevelGrant::directions`].
pub const ENTRY: u8 = 1;
/// Bit of [`Reader::directions`] and [`LevelGrant::directions`].
pub const EXIT: u8 = 2;

/// A snapshot's archive. Everything that a decision needs, and no name of a person.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq, Eq)]
pub struct Model {
    /// The table: open addressing, ordered by home slot. First, so that it is archived at the very beginning: rkyv cannot
    /// pad by as much as the slots' alignment of 64 would need further on.
    pub slots: Vec<Slot>,
    /// The building's name.
    pub name: String,
    /// The IANA name of its time zone, to be shown.
    pub time_zone: String,
    /// The time zone itself, so that no box depends on its own tables: ascending, the first from [`i64::MIN`].
    pub offsets: Vec<Offset>,
    /// Names of the areas.
    pub areas: Vec<String>,
    /// The portals.
    pub portals: Vec<Portal>,
    /// The readers, ascending by number.
    pub readers: Vec<Reader>,
    /// The weekly schedules.
    pub schedules: Vec<Schedule>,
    /// The access levels.
    pub access_levels: Vec<AccessLevel>,
    /// The profiles: each an ascending set of access levels, no two alike.
    pub profiles: Vec<Vec<u16>>,
    /// Names of the holders' groups.
    pub groups: Vec<String>,
    /// The opaque identity of each dense holder number: ASCII, padded with zeros; ascending, so that no two are alike.
    pub holders: Vec<[u8; 16]>,
    /// Seeds of the table's hash.
    pub hash_seeds: [u64; 2],
    /// Home slots of the table; `slots` is longer by the overflow of the last run.
    pub homes: u64,
}

/// From `from` on (seconds since 1970), local time is UTC plus `seconds`.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Seconds since 1970.
    pub from: i64,
    /// Seconds east of UTC.
    pub seconds: i32,
}

/// A turnstile, door or other thing that readers guard.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Its name.
    pub name: String,
    /// The area outside.
    pub from: u16,
    /// The area that it leads into.
    pub to: u16,
    /// Its mode when no rule of `modes` holds: a code of [`PortalMode`].
    pub mode: u8,
    /// Modes by schedule; the first whose schedule holds is in force.
    pub modes: Vec<ModeRule>,
    /// How long a grant holds it open, in milliseconds.
    pub hold_open_ms: u16,
    /// What its readers do without the gateway: a code of `kalitka_protocol::reason::FallBack`.
    pub fall_back: u8,
}

/// While `schedule` holds, the portal is in `mode`.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeRule {
    /// The schedule.
    pub schedule: u16,
    /// A code of [`PortalMode`].
    pub mode: u8,
}

/// How a portal treats people, whoever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PortalMode {
    /// The ordinary rules hold.
    Normal = 0,
    /// Nobody passes.
    Closed = 1,
    /// Everybody passes.
    Free = 2,
    /// The ordinary rules hold for entry; nobody passes out.
    EntryOnly = 3,
    /// The ordinary rules hold for exit; nobody passes in.
    ExitOnly = 4,
}

impl PortalMode {
    /// The mode of a code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Normal,
            1 => Self::Closed,
            2 => Self::Free,
            3 => Self::EntryOnly,
            4 => Self::ExitOnly,
            _ => return None,
        })
    }
}

/// A reader and what it may send.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its number in the building.
    pub number: u32,
    /// The portal that it guards.
    pub portal: u16,
    /// The shapes that it sends: bits of `kalitka_protocol::credential::ShapeSet`.
    pub shapes: u16,
    /// The directions that it serves: [`ENTRY`], [`EXIT`] or both.
    pub directions: u8,
}

/// A weekly schedule in the building's local time.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it holds: ascending, apart from each other.
    pub intervals: Vec<Interval>,
}

/// Minutes of the week since Monday 00:00 local time, `from` included, `to` not; at most 10,080.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// First minute.
    pub from: u16,
    /// First minute no more.
    pub to: u16,
}

/// A set of (portal, schedule, directions).
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AccessLevel {
    /// Its name.
    pub name: String,
    /// What it gives.
    pub grants: Vec<LevelGrant>,
}

/// Pass `portal` in `directions` while `schedule` holds.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelGrant {
    /// The portal.
    pub portal: u16,
    /// The schedule, or [`ALWAYS`].
    pub schedule: u16,
    /// [`ENTRY`], [`EXIT`] or both.
    pub directions: u8,
}

/// One credential: 64 bytes, one cache line.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(attr(repr(C, align(64))))]
pub struct Slot {
    /// The credential's sixteen bytes; zeros in an empty slot.
    pub key: [u8; 16],
    /// Dense number of the holder, or [`NOBODY`].
    pub holder: u32,
    /// The holder's profile.
    pub profile: u16,
    /// The holder's group.
    pub group: u16,
    /// A code of [`CredentialState`].
    pub credential_state: u8,
    /// A code of [`HolderState`].
    pub holder_state: u8,
    /// Kept for later: zeros.
    pub reserved: [u8; 2],
    /// The credential is valid from this second on; 0 for always.
    pub credential_from: u32,
    /// First second at which it is not; [`NO_END`] for never.
    pub credential_to: u32,
    /// The holder is valid from this second on; 0 for always.
    pub holder_from: u32,
    /// First second at which the holder is not; [`NO_END`] for never.
    pub holder_to: u32,
    /// First second at which [`CredentialState::BlockedForATime`] is over; 0 in other states.
    pub blocked_until: u32,
    /// Kept for later: zeros.
    pub reserved_more: [u8; 16],
}

impl Slot {
    /// An empty slot: all zeros.
    pub const EMPTY: Self = Self {
        key: [0; 16],
        holder: 0,
        profile: 0,
        group: 0,
        credential_state: 0,
        holder_state: 0,
        reserved: [0; 2],
        credential_from: 0,
        credential_to: 0,
        holder_from: 0,
        holder_to: 0,
        blocked_until: 0,
        reserved_more: [0; 16],
    };
}

impl ArchivedSlot {
    /// Whether no credential stands here. No credential's first byte, its shape, is zero.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.key[0] == 0
    }
}

/// A [`Slot::holder`] that is nobody. Such a slot never grants: its credential is in stock, returned, destroyed or
/// ambiguous, its profile has no access level and its holder's state is [`HolderState::Deleted`].
pub const NOBODY: u32 = u32::MAX;

const _: () = assert!(size_of::<ArchivedSlot>() == 64 && align_of::<ArchivedSlot>() == 64);

/// What has become of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CredentialState {
    /// In stock, issued to nobody.
    InStock = 1,
    /// Issued to its holder.
    Issued = 2,
    /// Issued from the reserve pool, for a time.
    IssuedTemporarily = 3,
    /// Blocked until a moment, issued afterwards.
    BlockedForATime = 4,
    /// Blocked.
    Blocked = 5,
    /// Lost.
    Lost = 6,
    /// Returned.
    Returned = 7,
    /// Destroyed.
    Destroyed = 8,
    /// Not a credential of the roster: several look like this at readers that cut.
    Ambiguous = 255,
}

impl CredentialState {
    /// The state of a code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::InStock,
            2 => Self::Issued,
            3 => Self::IssuedTemporarily,
            4 => Self::BlockedForATime,
            5 => Self::Blocked,
            6 => Self::Lost,
            7 => Self::Returned,
            8 => Self::Destroyed,
            255 => Self::Ambiguous,
            _ => return None,
        })
    }
}

/// What has become of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HolderState {
    /// Of the building.
    Active = 1,
    /// Blocked.
    Blocked = 2,
    /// Has left.
    Left = 3,
    /// Deleted.
    Deleted = 4,
}

impl HolderState {
    /// The state of a code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Active,
            2 => Self::Blocked,
            3 => Self::Left,
            4 => Self::Deleted,
            _ => return None,
        })
    }
}
