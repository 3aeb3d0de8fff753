//! What comes out of one datagram: at most one datagram, and a bounded list of effects for the shell.

use std::net::SocketAddr;

use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::message::{CommandResult, Report};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_protocol::{BootId, ReaderId, Stamp};

use crate::decide::Decision;
use crate::limits::EFFECTS_MAX;
use crate::requests::Requests;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// [`Output::datagram`], of this many bytes, goes to where the datagram came from.
    Reply(usize),
    /// The datagram, unchanged, is for this other worker.
    HandOver {
        /// The worker's index.
        worker: u8,
    },
    /// It was taken; nothing is sent.
    Silent,
    /// It was not taken: nothing is sent, and none of its messages has had an effect. An authentic one may still have
    /// been noted in [`Output::effects`] as initiation or first datagram of a session.
    Dropped(DropReason),
}

/// Declares the reasons with their labels, once.
macro_rules! drop_reasons {
    ($($(#[$meta:meta])* $variant:ident = $label:literal;)+) => {
        /// Why a datagram is dropped: each reason is a metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[$meta])* $variant,)+ }

        impl DropReason {
            /// Every reason; `self as usize` is its place here.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

drop_reasons! {
    /// Length, type-specific layout or a reserved field is wrong.
    Malformed = "malformed";
    /// Longer than [`DATAGRAM_MAX`].
    Oversized = "oversized";
    /// Of a version that this gateway does not speak.
    Version = "version";
    /// Of no known type.
    UnknownType = "unknown_type";
    /// A response: gateways send them and take none.
    NotForGateway = "not_for_gateway";
    /// An initiation of a reader that has no key here.
    HandshakeUnknownReader = "handshake_unknown_reader";
    /// An initiation whose tag or seal does not hold.
    HandshakeForged = "handshake_forged";
    /// An authentic initiation whose stamp is not above the highest seen.
    HandshakeStampRepeated = "handshake_stamp_repeated";
    /// An authentic initiation too soon after the one before.
    HandshakeTooSoon = "handshake_too_soon";
    /// An authentic initiation that says what SPEC does not allow.
    HandshakeMalformed = "handshake_malformed";
    /// Sealed for a session that is not alive.
    UnknownSession = "unknown_session";
    /// Of a session that has reached its greatest age or number of datagrams.
    SessionExpired = "session_expired";
    /// Its counter has been seen.
    Replayed = "replayed";
    /// Its counter lies behind the replay window.
    TooOld = "too_old";
    /// Its seal does not hold.
    Forged = "forged";
    /// Authentic, but overtaken: a newer datagram has come from another address.
    AddressLeft = "address_left";
    /// Authentic, with a message that does not parse; none of its messages is taken.
    MalformedMessage = "malformed_message";
    /// Authentic, with a message that only gateways send; none of its messages is taken.
    WrongDirectionMessage = "wrong_direction_message";
}

/// Something that the shell has to count, keep or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An authentic initiation was taken: keep `stamp` as the reader's highest over restarts.
    StampTaken {
        /// The reader.
        reader: ReaderId,
        /// Its highest stamp.
        stamp: Stamp,
    },
    /// The reader's new session has carried its first sealed datagram.
    SessionOpened {
        /// The reader.
        reader: ReaderId,
        /// Where it is now.
        address: SocketAddr,
        /// The firmware that it named; 0 when none.
        firmware: u32,
    },
    /// A new ask was decided.
    Decided(Decided),
    /// A repeated ask got the answer that was kept.
    AskRepeated {
        /// The reader.
        reader: ReaderId,
    },
    /// A report was read. Its receipt is due when it is durable ([`Worker::receipt`](crate::Worker::receipt)); whether it
    /// is the next of its log is judged where that is known ([`Judge`](crate::fold::Judge)).
    Reported {
        /// The reader.
        reader: ReaderId,
        /// The report, as it came.
        report: Report,
        /// The ask that it says it follows, as far as it is remembered.
        follows: Follows,
    },
    /// A command has come to its end, and is not sent again.
    CommandEnded {
        /// The reader.
        reader: ReaderId,
        /// The command.
        id: u64,
        /// Done, not supported or given up.
        outcome: CommandOutcome,
    },
    /// The reader says what became of a command that is not under way: a repeat, or one given up before.
    DoneReceived {
        /// The reader.
        reader: ReaderId,
        /// The command.
        id: u64,
        /// What became of it.
        result: CommandResult,
    },
    /// So many replies did not fit in one datagram; the reader repeats what they were for.
    NoRoom {
        /// How many.
        replies: u32,
    },
    /// So many messages of kinds unknown to this version were skipped.
    Skipped {
        /// How many.
        messages: u32,
    },
}

/// What a report follows (SPEC 7.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// No ask: somebody forced the portal, was let through in fall-back or by a command, or it is about the reader itself.
    Nothing,
    /// An ask that was granted.
    Granted,
    /// An ask that was denied: the reader lies, is broken, or has been opened.
    Denied,
    /// An ask that is not among the last that are kept, over this process's start.
    Forgotten,
}

impl Follows {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Granted, Self::Denied, Self::Forgotten];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Forgotten => "forgotten",
        }
    }
}

/// A decision with the identity of its ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The reader that asked.
    pub reader: ReaderId,
    /// Its boot.
    pub boot: BootId,
    /// Its request in that boot.
    pub request: u32,
    /// Which way.
    pub direction: Direction,
    /// Milliseconds since the card was shown, to the sending of the ask; 65,535 means so much or more.
    pub age_ms: u16,
    /// What was decided.
    pub decision: Decision,
}

/// Why a command is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefused {
    /// The worker has no such reader.
    #[error("no such reader has a key")]
    ReaderUnknown,
    /// [`COMMANDS_MAX`](crate::limits::COMMANDS_MAX) commands wait for the reader.
    #[error("too many commands wait for the reader; try again when one has ended")]
    Full,
    /// The reader drops ids that are not above every one before.
    #[error("the command's number is not above {highest}, which the reader was given")]
    NotAbove {
        /// The highest id taken for the reader.
        highest: u64,
    },
}

/// Room for what comes out of one datagram. Made once, used for many.
#[derive(Debug)]
pub struct Output {
    pub(crate) datagram: [u8; DATAGRAM_MAX],
    len: usize,
    pub(crate) effects: Effects,
    /// What has been opened and is to be answered.
    pub(crate) requests: Requests,
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let effects = Effects(Vec::with_capacity(EFFECTS_MAX));
        Self { datagram: [0; DATAGRAM_MAX], len: 0, effects, requests: Requests::new() }
    }

    /// The datagram to send; empty unless the outcome was [`Outcome::Reply`], or an address was given to send it to.
    #[must_use]
    pub fn datagram(&self) -> &[u8] {
        &self.datagram[..self.len]
    }

    /// The effects, in the order in which they came about; at most [`EFFECTS_MAX`].
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects.0
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.effects.0.clear();
    }

    /// Declares the first `len` bytes of the buffer to be the datagram.
    pub(crate) fn reply(&mut self, len: usize) -> Outcome {
        self.len = len.min(DATAGRAM_MAX);
        Outcome::Reply(self.len)
    }
}

/// A list of effects that never grows beyond the room it was made with.
#[derive(Debug)]
pub(crate) struct Effects(Vec<Effect>);

impl Effects {
    /// How many more fit.
    pub(crate) fn room(&self) -> usize {
        EFFECTS_MAX.saturating_sub(self.0.len())
    }

    pub(crate) fn note(&mut self, effect: Effect) {
        debug_assert!(self.0.len() < EFFECTS_MAX, "EFFECTS_MAX counts every effect of a datagram");
        if self.0.len() < EFFECTS_MAX {
            self.0.push(effect);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_places_count_from_zero() {
        let labels: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), DropReason::ALL.len());
        assert_eq!(Follows::ALL.map(Follows::label), ["nothing", "granted", "denied", "forgotten"]);
        assert!(DropReason::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
    }
}
