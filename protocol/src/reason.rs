//! Why a decision fell as it did: codes that stand on the wire, in events and in metrics (SPEC 6.7).

/// Declares a byte-coded enum with its code, its label and its way back from the wire.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident, $field:literal { $($(#[$vmeta:meta])* $variant:ident = $code:literal, $label:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $code,)+ }

        impl $name {
            /// Every variant, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The byte on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The name in metrics, logs and tools: lower case, words joined by `_`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// The variant of a byte from the wire.
            ///
            /// # Errors
            /// [`Malformed::Value`](crate::wire::Malformed::Value) for a byte that no variant has.
            pub const fn from_code(code: u8) -> Result<Self, $crate::wire::Malformed> {
                match code {
                    $($code => Ok(Self::$variant),)+
                    _ => Err($crate::wire::Malformed::Value($field)),
                }
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// Why somebody may not pass. Every way to a denial has its own variant.
    Denial, "denial reason" {
        /// The ask is older than two seconds.
        Stale = 1, "stale";
        /// What the reader read is no well-formed card: length, padding or parity is wrong.
        MalformedCard = 2, "malformed_card";
        /// The reader sent a shape of card that the building does not declare for it.
        ShapeNotDeclared = 3, "shape_not_declared";
        /// The gateway holds no snapshot.
        NoSnapshot = 4, "no_snapshot";
        /// The snapshot does not know the reader.
        ReaderUnknown = 5, "reader_unknown";
        /// No plan is in force for this moment.
        PlanMissing = 6, "plan_missing";
        /// The gateway does not know what time it is, not even roughly.
        TimeUnknown = 7, "time_unknown";
        /// The portal is closed to everybody.
        PortalClosed = 16, "portal_closed";
        /// The portal now lets people pass in the other direction only.
        DirectionClosed = 17, "direction_closed";
        /// Nobody holds such a credential.
        UnknownCredential = 32, "unknown_credential";
        /// Several credentials look like this one at a reader of this shape.
        AmbiguousCredential = 33, "ambiguous_credential";
        /// The credential is in stock, issued to nobody.
        CredentialInStock = 34, "credential_in_stock";
        /// The credential is blocked for a time that has not run out.
        CredentialBlockedForATime = 35, "credential_blocked_for_a_time";
        /// The credential is blocked.
        CredentialBlocked = 36, "credential_blocked";
        /// The credential is lost.
        CredentialLost = 37, "credential_lost";
        /// The credential has been returned.
        CredentialReturned = 38, "credential_returned";
        /// The credential has been destroyed.
        CredentialDestroyed = 39, "credential_destroyed";
        /// The holder is blocked.
        HolderBlocked = 48, "holder_blocked";
        /// The holder has left the building's organisation.
        HolderLeft = 49, "holder_left";
        /// The holder is deleted.
        HolderDeleted = 50, "holder_deleted";
        /// The credential's validity has not begun.
        CredentialNotYetValid = 64, "credential_not_yet_valid";
        /// The credential's validity is over.
        CredentialExpired = 65, "credential_expired";
        /// The holder's validity has not begun.
        HolderNotYetValid = 66, "holder_not_yet_valid";
        /// The holder's validity is over.
        HolderExpired = 67, "holder_expired";
        /// No access level of the holder names this portal.
        NoAccess = 80, "no_access";
        /// The holder may pass this portal, but never in this direction.
        WrongDirection = 81, "wrong_direction";
        /// The holder may pass here, but not at this time.
        OutsideSchedule = 82, "outside_schedule";
        /// The holder may pass here now, but by a snapshot that is so old that only essential access levels count.
        PermissionsStale = 83, "permissions_stale";
    }
}

codes! {
    /// The rule by which somebody may pass.
    Grant, "grant rule" {
        /// An access level of the holder, now and in this direction.
        AccessLevel = 1, "access_level";
        /// The portal is free: everybody passes.
        PortalFree = 2, "portal_free";
    }
}

codes! {
    /// What the reader plays for the person.
    Tone, "tone" {
        /// Nothing.
        Silent = 0, "silent";
        /// Come in.
        Welcome = 1, "welcome";
        /// No.
        Refused = 2, "refused";
        /// Please see the guard.
        Attention = 3, "attention";
    }
}

codes! {
    /// Which way somebody goes through a portal.
    Direction, "direction" {
        /// Into the area behind the portal.
        Entry = 1, "entry";
        /// Out of it.
        Exit = 2, "exit";
    }
}

codes! {
    /// What a reader does by itself while the gateway does not answer (SPEC 11).
    FallBack, "fall-back mode" {
        /// Nobody passes.
        Closed = 0, "closed";
        /// Everybody passes out, nobody in.
        ExitFree = 1, "exit_free";
        /// Everybody passes.
        Free = 2, "free";
    }
}

/// What the gateway has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Pass.
    Grant(Grant),
    /// Do not pass.
    Deny(Denial),
}

impl Verdict {
    /// Whether the person may pass.
    #[must_use]
    pub const fn is_grant(self) -> bool {
        matches!(self, Self::Grant(_))
    }

    /// The two bytes on the wire: 1 or 0 for grant or denial, then the code of the rule or reason.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Grant(rule) => [1, rule.code()],
            Self::Deny(reason) => [0, reason.code()],
        }
    }

    /// The verdict of two bytes from the wire.
    ///
    /// A reason that this version does not know stays a denial ([`Denial::PlanMissing`] stands for it), because a denial
    /// must never be lost to a newer peer's vocabulary; a rule that it does not know is refused.
    ///
    /// # Errors
    /// [`Malformed::Value`](crate::wire::Malformed::Value) for a first byte over 1 or an unknown rule of a grant.
    pub fn from_bytes([verdict, code]: [u8; 2]) -> Result<Self, crate::wire::Malformed> {
        match verdict {
            1 => Grant::from_code(code).map(Self::Grant),
            0 => Ok(Self::Deny(Denial::from_code(code).unwrap_or(Denial::PlanMissing))),
            _ => Err(crate::wire::Malformed::Value("verdict")),
        }
    }
}
