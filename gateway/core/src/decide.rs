//! May this card pass this reader now? One look at the index and a few bits, whatever the number of rules.

use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::{Credential, ReadError};
use kalitka_protocol::limits::ASK_AGE_MAX;
use kalitka_protocol::message::Ask;
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_snapshot::model::{ArchivedSlot, CredentialState, HolderState, NO_END, NOBODY, PortalMode};

use crate::orders::Standing;
use crate::overlay::Overlay;
use crate::plan::{Plan, direction_bit};
use crate::served::Served;
use crate::time::{ClockQuality, Time, UnixSeconds};
use crate::view::View;

/// What was decided, by which snapshot, and what was found on the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Grant or denial, and why.
    pub verdict: Verdict,
    /// The credential, if the card was interpreted.
    pub credential: Option<Credential>,
    /// Dense number of the credential's holder in the snapshot, if the credential was looked up and has one.
    pub holder: Option<u32>,
    /// The holder's profile, likewise.
    pub profile: Option<u16>,
    /// The reader's portal, if the snapshot knows the reader.
    pub portal: Option<u16>,
    /// The snapshot's generation; 0 when there is none.
    pub generation: u32,
    /// How long to hold the portal open, in milliseconds; 0 on a denial.
    pub hold_open_ms: u16,
}

/// Decides on `ask` of `reader` at `now`, by `view` or, before a snapshot is adopted, without one. What operators have
/// ordered since the snapshot was made stands in `overlay`.
///
/// Pure: the same arguments give the same decision. No way through it that meets a doubt ends in a grant.
#[must_use]
pub fn decide(view: Option<&View>, overlay: &Overlay, reader: ReaderId, ask: &Ask, now: Time) -> Decision {
    let mut decision = Decision {
        verdict: Verdict::Deny(Denial::NoSnapshot),
        credential: None,
        holder: None,
        profile: None,
        portal: None,
        generation: view.map_or(0, View::generation),
        hold_open_ms: 0,
    };
    match judge(view, overlay, reader, ask, now, &mut decision) {
        Ok((rule, hold_open_ms)) => (decision.verdict, decision.hold_open_ms) = (Verdict::Grant(rule), hold_open_ms),
        Err(reason) => decision.verdict = Verdict::Deny(reason),
    }
    decision
}

/// The precedence, first match wins, and nothing else: the rule that grants, and for how many milliseconds. Notes in
/// `found` what it comes by.
fn judge(
    view: Option<&View>,
    overlay: &Overlay,
    reader: ReaderId,
    ask: &Ask,
    now: Time,
    found: &mut Decision,
) -> Result<(Grant, u16), Denial> {
    // Here, before any doubt can deny, stands fire: it opens every exit.
    if u128::from(ask.age_ms) > ASK_AGE_MAX.as_millis() {
        return Err(Denial::Stale);
    }
    let view = view.ok_or(Denial::NoSnapshot)?;
    let served = view.reader(reader).ok_or(Denial::ReaderUnknown)?;
    let portal = served.portal;
    found.portal = Some(portal);
    if now.quality == ClockQuality::None {
        return Err(Denial::TimeUnknown);
    }
    let plan = view.at(now.seconds).ok_or(Denial::PlanMissing)?;
    let credential = served.shapes.interpret(&ask.card).map_err(|error| match error {
        ReadError::Malformed => Denial::MalformedCard,
        ReadError::ShapeNotDeclared => Denial::ShapeNotDeclared,
    })?;
    found.credential = Some(credential);
    // Here, before the portal's mode, stand lockdown and the threat level.
    let ordered = overlay.mode(reader);
    let passage = if now.quality == ClockQuality::Good {
        passage(ordered.unwrap_or_else(|| plan.mode(portal)), served.directions, ask.direction)?
    } else {
        passage_while_held(view, plan, ordered, served, ask.direction)?
    };
    if passage == Passage::Everybody {
        return Ok((Grant::PortalFree, served.hold_open_ms));
    }
    let slot = view.snapshot().probe(&credential).ok_or(Denial::UnknownCredential)?;
    let holder = slot.holder.to_native();
    let profile = slot.profile.to_native();
    if holder != NOBODY {
        (found.holder, found.profile) = (Some(holder), Some(profile));
    }
    credential_usable(slot, overlay.credential(view.snapshot(), &credential), now.seconds)?;
    holder_welcome(slot.holder_state)?;
    within_validity(slot, now.seconds)?;
    if now.quality == ClockQuality::Good || !view.is_essential(profile, portal, ask.direction) {
        access(view, plan, passage, profile, portal, ask.direction)?;
        if view.is_stale(now.seconds) && !plan.allows_by_essential(profile, portal, ask.direction) {
            return Err(Denial::PermissionsStale);
        }
    }
    // Here stand anti-passback, then escort or second person.
    Ok((Grant::AccessLevel, served.hold_open_ms))
}

/// Whom a portal's mode lets pass, in the direction of the ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// Everybody: the portal is free.
    Everybody,
    /// Whoever has access.
    ByAccess,
    /// Whoever has access that no schedule bounds; for others it is closed, for this reason.
    Essential(Denial),
}

/// While time is held, no schedule opens a portal to everybody, and none closes it to whom the building cannot do without.
/// What is `ordered`, and the mode that no schedule sets, hold as ever.
fn passage_while_held(
    view: &View,
    plan: &Plan,
    ordered: Option<PortalMode>,
    served: &Served,
    direction: Direction,
) -> Result<Passage, Denial> {
    let unscheduled = view.mode_unscheduled(served.portal);
    if let Some(mode) = ordered {
        return passage(mode, served.directions, direction);
    }
    let scheduled = match plan.mode(served.portal) {
        PortalMode::Free => unscheduled,
        mode => mode,
    };
    passage(scheduled, served.directions, direction).or_else(|reason| {
        let essential = passage(unscheduled, served.directions, direction);
        essential.map(|_| Passage::Essential(reason)).map_err(|_| reason)
    })
}

/// Whom `mode` lets pass. A portal or direction that is closed is a denial.
fn passage(mode: PortalMode, served: u8, direction: Direction) -> Result<Passage, Denial> {
    let open = match mode {
        PortalMode::Closed => return Err(Denial::PortalClosed),
        PortalMode::EntryOnly => direction == Direction::Entry,
        PortalMode::ExitOnly => direction == Direction::Exit,
        PortalMode::Normal | PortalMode::Free => true,
    };
    if !open || served & direction_bit(direction) == 0 {
        return Err(Denial::DirectionClosed);
    }
    Ok(if mode == PortalMode::Free { Passage::Everybody } else { Passage::ByAccess })
}

/// What an operator has ordered since the snapshot goes before what the snapshot says of blocks, and of nothing else.
fn credential_usable(slot: &ArchivedSlot, ordered: Option<Standing>, now: UnixSeconds) -> Result<(), Denial> {
    if ordered == Some(Standing::Blocked) {
        return Err(Denial::CredentialBlocked);
    }
    let unblocked = ordered == Some(Standing::Unblocked);
    // Adoption refuses unknown codes; if one came through, it would be nobody's credential.
    match CredentialState::from_code(slot.credential_state).ok_or(Denial::UnknownCredential)? {
        CredentialState::Issued | CredentialState::IssuedTemporarily => Ok(()),
        CredentialState::BlockedForATime if now.0 >= i64::from(slot.blocked_until.to_native()) => Ok(()),
        CredentialState::BlockedForATime | CredentialState::Blocked if unblocked => Ok(()),
        CredentialState::Ambiguous => Err(Denial::AmbiguousCredential),
        CredentialState::InStock => Err(Denial::CredentialInStock),
        CredentialState::BlockedForATime => Err(Denial::CredentialBlockedForATime),
        CredentialState::Blocked => Err(Denial::CredentialBlocked),
        CredentialState::Lost => Err(Denial::CredentialLost),
        CredentialState::Returned => Err(Denial::CredentialReturned),
        CredentialState::Destroyed => Err(Denial::CredentialDestroyed),
    }
}

fn holder_welcome(state: u8) -> Result<(), Denial> {
    match HolderState::from_code(state) {
        Some(HolderState::Active) => Ok(()),
        Some(HolderState::Left) => Err(Denial::HolderLeft),
        Some(HolderState::Deleted) => Err(Denial::HolderDeleted),
        Some(HolderState::Blocked) | None => Err(Denial::HolderBlocked),
    }
}

fn within_validity(slot: &ArchivedSlot, now: UnixSeconds) -> Result<(), Denial> {
    let begun = |from: u32| i64::from(from) <= now.0;
    let over = |to: u32| to != NO_END && i64::from(to) <= now.0;
    if !begun(slot.credential_from.to_native()) {
        return Err(Denial::CredentialNotYetValid);
    }
    if over(slot.credential_to.to_native()) {
        return Err(Denial::CredentialExpired);
    }
    if !begun(slot.holder_from.to_native()) {
        return Err(Denial::HolderNotYetValid);
    }
    if over(slot.holder_to.to_native()) {
        return Err(Denial::HolderExpired);
    }
    Ok(())
}

fn access(
    view: &View,
    plan: &Plan,
    passage: Passage,
    profile: u16,
    portal: u16,
    direction: Direction,
) -> Result<(), Denial> {
    if let Passage::Essential(closed) = passage {
        return Err(closed);
    }
    if plan.allows(profile, portal, direction) {
        return Ok(());
    }
    let ever = |direction| view.ever_allows(profile, portal, direction);
    Err(match direction {
        _ if ever(direction) => Denial::OutsideSchedule,
        Direction::Entry if ever(Direction::Exit) => Denial::WrongDirection,
        Direction::Exit if ever(Direction::Entry) => Denial::WrongDirection,
        Direction::Entry | Direction::Exit => Denial::NoAccess,
    })
}
