//! What a worker knows of one reader that is its own: stamp, sessions, answers kept.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use kalitka_protocol::handshake::Psk;
use kalitka_protocol::limits::{INITIATION_INTERVAL_MIN, OLD_SESSION_LIFE};
use kalitka_protocol::{BootId, ReaderId, SessionId, Stamp};
use subtle::ConstantTimeEq;

use crate::asks::Answers;
use crate::commands::Commands;
use crate::keys::ReaderKeys;
use crate::limits::SESSION_KEPT_MAX;
use crate::output::DropReason;
use crate::pulse::Pulse;
use crate::session::Session;
use crate::tally::ReaderTally;

/// One reader. Its three sessions are: *pending*, agreed on but unused; *current*, used by the reader and to answer it;
/// *old*, the one before, of which datagrams on their way are still opened.
pub(crate) struct Reader {
    pub(crate) id: ReaderId,
    psk: Psk,
    /// The highest stamp taken under this key.
    stamp: Option<Stamp>,
    /// When that was.
    initiated: Option<Duration>,
    pending: Option<Box<Session>>,
    pub(crate) current: Option<Box<Session>>,
    /// With the moment at which it was replaced.
    old: Option<(Box<Session>, Duration)>,
    /// Made with the first session; outlives sessions and keys, because an ask's identity does.
    pub(crate) answers: Option<Box<Answers>>,
    pub(crate) commands: Commands,
    /// When the worker has been told that the reader's commands are due.
    pub(crate) due: Option<Duration>,
    /// What others see of the reader.
    pub(crate) tally: Arc<ReaderTally>,
    pub(crate) pulse: Pulse,
}

/// Which of a reader's sessions a number names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Pending,
    Current,
    Old,
}

impl Reader {
    pub(crate) fn new(keys: &ReaderKeys, stamp: Option<Stamp>) -> Self {
        let (initiated, pending, current, old) = (None, None, None, None);
        let (answers, commands, due) = (None, Commands::default(), None);
        let (id, psk, tally, pulse) = (keys.reader, keys.psk.clone(), Arc::clone(&keys.tally), Pulse::default());
        tally.set_session(false);
        // Of another device, or of one that has not been measured yet.
        tally.measured(Duration::ZERO);
        Self { id, psk, stamp, initiated, pending, current, old, answers, commands, due, tally, pulse }
    }

    /// Takes `keys` as the reader's. With another key than before, all begins anew, and what was is given back: no
    /// initiation made under the former key can come back under this one, no answer that was given to whoever held it is
    /// given again, and no command that was meant for them is carried out.
    pub(crate) fn rekey(&mut self, keys: &ReaderKeys) -> Option<Self> {
        let is_other = !bool::from(self.psk.as_bytes().ct_eq(keys.psk.as_bytes()));
        is_other.then(|| core::mem::replace(self, Self::new(keys, None)))
    }

    /// Takes the stamp of an authentic initiation, or refuses it and stays as it was.
    pub(crate) fn take_stamp(&mut self, stamp: Stamp, now: Duration) -> Result<(), DropReason> {
        if self.stamp.is_some_and(|highest| stamp <= highest) {
            return Err(DropReason::HandshakeStampRepeated);
        }
        if self.initiated.is_some_and(|before| now.saturating_sub(before) < INITIATION_INTERVAL_MIN) {
            return Err(DropReason::HandshakeTooSoon);
        }
        (self.stamp, self.initiated) = (Some(stamp), Some(now));
        Ok(())
    }

    /// Keeps `session` until its first sealed datagram comes; the current one goes on meanwhile.
    pub(crate) fn agree(&mut self, session: Session) {
        self.answers.get_or_insert_with(|| Box::new(Answers::new()));
        self.pending = Some(Box::new(session));
    }

    /// Whether a living session has the number `id`.
    pub(crate) fn has(&self, id: SessionId) -> bool {
        let old = self.old.as_ref().map(|(session, _)| session);
        [self.pending.as_ref(), self.current.as_ref(), old].into_iter().flatten().any(|session| session.id == id)
    }

    /// The living session of number `id`.
    pub(crate) fn session(&mut self, id: SessionId, now: Duration) -> Option<(Which, &mut Session)> {
        match (&mut self.current, &mut self.pending, &mut self.old) {
            (Some(session), _, _) if session.id == id => Some((Which::Current, session)),
            (_, Some(session), _) if session.id == id => Some((Which::Pending, session)),
            (_, _, Some((session, replaced))) if session.id == id && is_kept(*replaced, now) => {
                Some((Which::Old, session))
            }
            _ => None,
        }
    }

    /// The boot of the session of this `serial`, if it is alive and has been used.
    pub(crate) fn boot_of(&self, serial: u64, now: Duration) -> Option<BootId> {
        match (&self.current, &self.old) {
            (Some(session), _) if session.serial == serial => Some(session.boot),
            (_, Some((session, replaced))) if session.serial == serial && is_kept(*replaced, now) => Some(session.boot),
            _ => None,
        }
    }

    /// Refuses what came from an address that the reader has left.
    pub(crate) fn check_address(&self, from: SocketAddr) -> Result<(), DropReason> {
        let session = self.current.as_ref().ok_or(DropReason::UnknownSession)?;
        if session.peer == from { Ok(()) } else { Err(DropReason::AddressLeft) }
    }

    /// Makes the pending session current and the current one old. At most one old session is kept: the newest, and only
    /// of the same boot, since an answer names no boot: an ask held back from the boot before would be answered to
    /// whatever has the same number in this one.
    pub(crate) fn promote(&mut self, now: Duration) {
        if let Some(session) = self.pending.take() {
            let boot = session.boot;
            self.old = self.current.replace(session).filter(|old| old.boot == boot).map(|old| (old, now));
            self.commands.hurry();
            self.pulse.interrupted();
            self.tally.set_session(true);
        }
    }

    /// Forgets the keys of sessions whose time is over.
    pub(crate) fn retire(&mut self, now: Duration) {
        let over = |session: &mut Box<Session>| session.age(now) >= SESSION_KEPT_MAX;
        self.pending.take_if(over);
        if self.current.take_if(over).is_some() {
            self.tally.set_session(false);
        }
        self.old.take_if(|(_, replaced)| !is_kept(*replaced, now));
    }
}

/// Whether a session that was `replaced` then still opens.
fn is_kept(replaced: Duration, now: Duration) -> bool {
    now.saturating_sub(replaced) < OLD_SESSION_LIFE
}
