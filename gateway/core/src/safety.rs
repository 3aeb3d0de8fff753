//! What must be known before the first answer: the orders of operators that hold, and which of their commands was the
//! last. The same bytes stand in the checkpoint and in a file of their own.

use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::Credential;
use kalitka_protocol::event::CommandDone;
use kalitka_protocol::upstream::{CommandBody, CommandOutcome, PortalModeCode};
use kalitka_protocol::wire::{Cursor, Malformed};
use kalitka_snapshot::model::PortalMode;

use crate::orders::{OverlayEntry, OverlayFull, Standing, StandingOrders};

/// The layout's version, its first byte.
const VERSION: u8 = 1;
/// The code of a mode that is the snapshot's (SPEC 15.8).
const AS_SCHEDULED: u8 = 255;

/// Orders that hold, and the newest command with what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Safety {
    newest: Option<(u64, CommandOutcome)>,
    orders: StandingOrders,
}

impl Safety {
    /// The highest command number that was taken, and what became of it (SPEC 15.8): it is done once, and come again gets
    /// its outcome again; a lower one is refused.
    #[must_use]
    pub const fn newest(&self) -> Option<(u64, CommandOutcome)> {
        self.newest
    }

    /// The orders that hold.
    #[must_use]
    pub const fn orders(&self) -> &StandingOrders {
        &self.orders
    }

    /// Notes what became of command `number`, for one more reader if it was for several: the lowest outcome but *done*
    /// counts (SPEC 15.9). What was not an operator's, or had a number that was used, uses up none.
    pub fn settle(&mut self, number: u64, outcome: CommandOutcome) {
        if !uses_up(outcome) || number == 0 {
            return;
        }
        match &mut self.newest {
            Some((newest, _)) if number < *newest => {}
            Some((newest, settled)) if number == *newest => *settled = worse(*settled, outcome),
            newest => *newest = Some((number, outcome)),
        }
    }

    /// Takes an order, unless something as new or newer holds of the same credential or reader; says whether it did.
    ///
    /// # Errors
    /// [`OverlayFull`]; nothing has changed then.
    pub fn order(&mut self, entry: OverlayEntry) -> Result<bool, OverlayFull> {
        self.orders.apply(entry)
    }

    /// Forgets the credentials of all commands up to `last_command` ([`Overlay::prune`](crate::Overlay::prune)).
    pub fn prune(&mut self, last_command: u64) {
        self.orders.prune(last_command);
    }

    /// Takes over what is newer in `other`.
    ///
    /// # Errors
    /// [`OverlayFull`] when not all orders have a place; all others have been taken.
    pub fn merge(&mut self, other: &Self) -> Result<(), OverlayFull> {
        if let Some((number, outcome)) = other.newest {
            self.settle(number, outcome);
        }
        let without_place = other.orders.entries().filter(|&entry| self.orders.apply(entry).is_err()).count();
        if without_place == 0 { Ok(()) } else { Err(OverlayFull) }
    }

    /// Takes what a command's event tells (SPEC 14.10).
    pub(crate) fn apply(&mut self, done: &CommandDone<'_>) {
        let Ok(outcome) = CommandOutcome::from_code(done.result) else { return };
        self.settle(done.number, outcome);
        let entry = CommandBody::parse(done.body).ok().flatten().and_then(|body| ordered(&body, done.number));
        if let (CommandOutcome::Done, Some(entry)) = (outcome, entry)
            && self.orders.apply(entry).is_err()
        {
            // It was done, so there was a place: the oldest is contained in a snapshot since.
            self.orders.forget_oldest();
            let _ = self.orders.apply(entry);
        }
    }

    /// Appends the layout to `out`.
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        let (number, outcome) = self.newest.map_or((0, 0), |(number, outcome)| (number, outcome.code()));
        out.extend_from_slice(&[VERSION, outcome, 0, 0]);
        let entries: Vec<_> = self.orders.entries().collect();
        out.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        entries.iter().for_each(|entry| emit_entry(entry, out));
    }

    /// The state that [`to_bytes`](Self::to_bytes) laid out.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::parse(Cursor::new(bytes))
    }

    /// The state that is all of what is left to read.
    pub(crate) fn parse(mut cursor: Cursor<'_>) -> Result<Self, Malformed> {
        let at = &mut cursor;
        if at.u8("safety version")? != VERSION {
            return Err(Malformed::Version);
        }
        let outcome = at.u8("command outcome")?;
        at.reserved(2, "safety reserved")?;
        let (entries, number) = (at.u32("orders")?, at.u64("command number")?);
        let newest = match (number, outcome) {
            (0, 0) => None,
            (0, _) => return Err(Malformed::Value("command outcome")),
            (number, outcome) => Some((number, CommandOutcome::from_code(outcome)?)),
        };
        let (mut orders, mut given) = (StandingOrders::default(), Vec::new());
        for _ in 0..entries {
            let entry = parse_entry(at)?;
            orders.apply(entry).map_err(|_| Malformed::Value("orders"))?;
            given.push(entry);
        }
        cursor.finish("safety")?;
        // Each once, in their order, and none that another has ended.
        if orders.entries().eq(given) { Ok(Self { newest, orders }) } else { Err(Malformed::Value("orders")) }
    }
}

/// The order that `body` of command `number` gives the gateway itself, if it is one (SPEC 15.8).
#[must_use]
pub fn ordered(body: &CommandBody, number: u64) -> Option<OverlayEntry> {
    Some(match *body {
        CommandBody::Reader { .. } => return None,
        CommandBody::Block { credential } => {
            OverlayEntry::Credential { credential, standing: Standing::Blocked, number }
        }
        CommandBody::Unblock { credential } => {
            OverlayEntry::Credential { credential, standing: Standing::Unblocked, number }
        }
        CommandBody::Mode { reader, mode } => OverlayEntry::Mode { reader, mode: mode.map(mode_of), number },
    })
}

const fn mode_of(code: PortalModeCode) -> PortalMode {
    match code {
        PortalModeCode::Normal => PortalMode::Normal,
        PortalModeCode::Closed => PortalMode::Closed,
        PortalModeCode::Free => PortalMode::Free,
        PortalModeCode::EntryOnly => PortalMode::EntryOnly,
        PortalModeCode::ExitOnly => PortalMode::ExitOnly,
    }
}

/// Whether a command that came to `outcome` has used up its number.
const fn uses_up(outcome: CommandOutcome) -> bool {
    !matches!(
        outcome,
        CommandOutcome::NumberNotAbove | CommandOutcome::OperatorUnknown | CommandOutcome::SignatureWrong
    )
}

fn worse(one: CommandOutcome, other: CommandOutcome) -> CommandOutcome {
    match (one, other) {
        (CommandOutcome::Done, outcome) | (outcome, CommandOutcome::Done) => outcome,
        _ if one.code() <= other.code() => one,
        _ => other,
    }
}

/// Kinds of entries.
const BLOCKED: u8 = 1;
const UNBLOCKED: u8 = 2;
const MODE: u8 = 3;

/// An entry: kind ‖ mode ‖ reserved 2 ‖ reader 4 ‖ number 8, and behind those of credentials the credential.
fn emit_entry(entry: &OverlayEntry, out: &mut Vec<u8>) {
    let (kind, mode, reader, number) = match *entry {
        OverlayEntry::Credential { standing: Standing::Blocked, number, .. } => (BLOCKED, 0, 0, number),
        OverlayEntry::Credential { standing: Standing::Unblocked, number, .. } => (UNBLOCKED, 0, 0, number),
        OverlayEntry::Mode { reader, mode, number } => {
            (MODE, mode.map_or(AS_SCHEDULED, |mode| mode as u8), reader.map_or(0, |reader| reader.0), number)
        }
    };
    out.extend_from_slice(&[kind, mode, 0, 0]);
    out.extend_from_slice(&reader.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    if let OverlayEntry::Credential { credential, .. } = entry {
        out.extend_from_slice(credential.as_bytes());
    }
}

fn parse_entry(at: &mut Cursor<'_>) -> Result<OverlayEntry, Malformed> {
    let (kind, mode) = (at.u8("order kind")?, at.u8("mode")?);
    at.reserved(2, "order reserved")?;
    let (reader, number) = (at.u32("reader")?, at.u64("command number")?);
    let standing = match kind {
        BLOCKED => Standing::Blocked,
        UNBLOCKED => Standing::Unblocked,
        MODE => {
            let reader = (reader != 0).then_some(ReaderId(reader));
            let mode = match mode {
                AS_SCHEDULED => None,
                code => Some(PortalMode::from_code(code).ok_or(Malformed::Value("mode"))?),
            };
            return match number == 0 && (reader.is_some() || mode.is_none()) {
                true => Err(Malformed::Value("command number")),
                false => Ok(OverlayEntry::Mode { reader, mode, number }),
            };
        }
        _ => return Err(Malformed::Value("order kind")),
    };
    if (mode, reader) != (0, 0) || number == 0 {
        return Err(Malformed::Value("order"));
    }
    Ok(OverlayEntry::Credential { credential: Credential::from_canonical(at.array("credential")?)?, standing, number })
}
