//! Every limit of a snapshot and of the roster that it is built from. The relations between them are checked below.

/// Bytes of a snapshot file.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;
/// Credentials and aliases in the table.
pub const ENTRIES_MAX: usize = 10_000_000;
/// Slots that a probe reads at most.
pub const LONGEST_RUN_MAX: u32 = 32;
/// Holders.
pub const HOLDERS_MAX: usize = 10_000_000;
/// Characters of a holder's opaque identity.
pub const HOLDER_BYTES_MAX: usize = 16;
/// Bytes of any name.
pub const NAME_BYTES_MAX: usize = 64;
/// Areas.
pub const AREAS_MAX: usize = 1_024;
/// Portals.
pub const PORTALS_MAX: usize = 4_096;
/// Rules of mode by schedule of one portal.
pub const MODE_RULES_MAX: usize = 64;
/// Readers.
pub const READERS_MAX: usize = 4_096;
/// Weekly schedules.
pub const SCHEDULES_MAX: usize = 1_024;
/// Intervals of one schedule.
pub const INTERVALS_MAX: usize = 256;
/// Access levels.
pub const ACCESS_LEVELS_MAX: usize = 4_096;
/// Grants of one access level, `*` counted as one for each portal.
pub const GRANTS_MAX: usize = 4_096;
/// Profiles.
pub const PROFILES_MAX: usize = 65_535;
/// Access levels of one person.
pub const LEVELS_OF_PROFILE_MAX: usize = 64;
/// Work of compiling the rules: profiles times portals, and grants of all levels of all profiles, each.
pub const PLAN_SIZE_MAX: usize = 1 << 24;
/// Groups of holders.
pub const GROUPS_MAX: usize = 65_535;
/// Changes of the time zone's offset.
pub const OFFSETS_MAX: usize = 4_096;
/// How far a time zone may lie from UTC, in seconds.
pub const OFFSET_SECONDS_MAX: i32 = 26 * 3_600;
/// Shortest time that a grant holds a portal open, in milliseconds.
pub const HOLD_OPEN_MS_MIN: u16 = 200;
/// Longest time that a grant holds a portal open, in milliseconds.
pub const HOLD_OPEN_MS_MAX: u16 = 60_000;
/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * 24 * 60;

/// Bytes of `building.toml`.
pub const BUILDING_BYTES_MAX: u64 = 4 << 20;
/// Bytes of `people.csv` and of `cards.csv`.
pub const TABLE_BYTES_MAX: u64 = 2 << 30;
/// Bytes of one field of a CSV file.
pub const FIELD_BYTES_MAX: usize = 8_192;
/// Errors that one reading of a roster lists; the rest is counted.
pub const ERRORS_LISTED_MAX: usize = 1_000;

// The largest table and the longest list of holders leave room for the rest of an archive.
const _: () =
    assert!(((ENTRIES_MAX + ENTRIES_MAX.div_ceil(3)) * 64 + HOLDERS_MAX * 16) as u64 + (16 << 20) < SNAPSHOT_BYTES_MAX);
// rkyv's relative pointers reach 2 GiB.
const _: () = assert!(SNAPSHOT_BYTES_MAX < 1 << 31);
// Places in a list fit their fields, the value that means "always" left out.
const _: () = assert!(PORTALS_MAX <= 1 << 16 && ACCESS_LEVELS_MAX <= 1 << 16);
const _: () = assert!(SCHEDULES_MAX < 1 << 16);
const _: () = assert!(PROFILES_MAX < 1 << 16 && GROUPS_MAX < 1 << 16);
