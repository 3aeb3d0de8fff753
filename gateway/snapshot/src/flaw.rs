//! What can be wrong with a model that is a well-formed archive (FORMAT 6).

use core::fmt;

/// Declares the flaws with their labels and what they say.
macro_rules! flaws {
    ($($(#[$meta:meta])* $variant:ident = $label:literal, $text:literal;)+) => {
        /// One thing that a publisher must never write. rkyv's check proves that an archive is safe to read; these are
        /// about what it means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Flaw { $(#[doc = $text] $variant,)+ }

        impl Flaw {
            /// Every flaw.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in logs and tools.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }

        impl fmt::Display for Flaw {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

flaws! {
    Name = "name", "a name is empty, too long or has control characters";
    ListLength = "list_length", "a list is longer than allowed";
    Offsets = "offsets", "the time zone's offsets do not begin with all time past, do not ascend or are out of range";
    PortalArea = "portal_area", "a portal leads from or to an area that is not there";
    PortalMode = "portal_mode", "a portal's mode is unknown";
    PortalSchedule = "portal_schedule", "a portal's mode names a schedule that is not there";
    PortalHoldOpen = "portal_hold_open", "the time that a portal is held open is out of range";
    PortalFallBack = "portal_fall_back", "a portal's fall-back mode is unknown";
    ReaderNumber = "reader_number", "readers do not ascend by number from 1";
    ReaderPortal = "reader_portal", "a reader guards a portal that is not there";
    ReaderShapes = "reader_shapes", "a reader declares no shape, an unknown one, or both byte orders of one";
    ReaderDirections = "reader_directions", "a reader serves no direction or an unknown one";
    ScheduleInterval = "schedule_interval", "a schedule's intervals are empty, beyond the week, out of order or touch";
    GrantPortal = "grant_portal", "an access level names a portal that is not there";
    GrantSchedule = "grant_schedule", "an access level names a schedule that is not there";
    GrantDirections = "grant_directions", "an access level gives no direction or an unknown one";
    ProfileLevel = "profile_level", "a profile's access levels do not ascend or are not there";
    ProfileRepeated = "profile_repeated", "two profiles are alike";
    PlanSize = "plan_size", "the rules of so many profiles, portals and grants would take too long to compile";
    HolderIdentity = "holder_identity", "a holder's identity is empty or has characters that are not allowed";
    HolderOrder = "holder_order", "the holders' identities do not ascend";
    TableHomes = "table_homes", "the number of home slots is not that of a table of so many entries";
    TableLength = "table_length", "the table ends too early or has slots that nothing leads to";
    Entries = "entries", "the header's number of entries is not that of the table";
    LongestRun = "longest_run", "the header's longest run is not the table's, or longer than allowed";
    SlotEmpty = "slot_empty", "an empty slot is not all zeros";
    SlotKey = "slot_key", "a key is no canonical credential";
    SlotOrder = "slot_order", "entries do not ascend by hash, or one stands twice";
    SlotPlace = "slot_place", "an entry is not in the first free slot from its home on";
    SlotReserved = "slot_reserved", "a slot has something where zeros belong";
    SlotHolder = "slot_holder", "a slot names a holder that is not there";
    SlotProfile = "slot_profile", "a slot names a profile that is not there";
    SlotGroup = "slot_group", "a slot names a group that is not there";
    SlotCredentialState = "slot_credential_state", "a credential's state is unknown";
    SlotHolderState = "slot_holder_state", "a holder's state is unknown";
    SlotNobody = "slot_nobody", "a credential of nobody could grant, or one of somebody is ambiguous";
    SlotValidity = "slot_validity", "a validity ends before it begins";
    SlotBlockedUntil = "slot_blocked_until", "the end of a block stands without such a block, or is missing";
}
