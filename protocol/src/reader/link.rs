//! Sessions: how the reader gets one, seals under it, opens under it and the one before, and renews it.

use core::time::Duration;

use super::Dropped;
use crate::datagram::{Handshake, Sealed};
use crate::handshake::{Hello, Initiator, Psk, SessionKeys, TagKeys, Welcome};
use crate::limits::{
    COMMAND_AGE_GRAIN, COMMAND_AGE_MAX, DATAGRAM_MAX, HANDSHAKE_LEN, INITIATION_BACKOFF_MAX, INITIATION_BACKOFF_MIN,
    OLD_SESSION_LIFE, SESSION_AGE_MARGIN, SESSION_AGE_MAX, SESSION_DATAGRAMS_MARGIN, SESSION_DATAGRAMS_MAX,
};
use crate::replay::ReplayWindow;
use crate::seal::SealKey;
use crate::{ReaderId, SessionId, Stamp};

/// Marks that span more than [`COMMAND_AGE_MAX`], one a [`COMMAND_AGE_GRAIN`].
const MARKS: usize = 32;
const _: () = assert!(MARKS as u128 * COMMAND_AGE_GRAIN.as_millis() > COMMAND_AGE_MAX.as_millis());

/// The receiving half of a session.
#[derive(Debug)]
struct Receiving {
    id: SessionId,
    key: SealKey,
    window: ReplayWindow,
}

impl Receiving {
    fn open<'a>(&mut self, sealed: Sealed<'a>) -> Result<&'a [u8], Dropped> {
        let counter = sealed.counter;
        if counter >= SESSION_DATAGRAMS_MAX {
            return Err(Dropped::SessionExpired);
        }
        self.window.check(counter).map_err(Dropped::Replayed)?;
        let plaintext = self.key.open(sealed).ok_or(Dropped::Forged)?;
        self.window.mark(counter);
        Ok(plaintext)
    }
}

#[derive(Debug)]
struct Session {
    receiving: Receiving,
    key: SealKey,
    next_counter: u64,
    since: Duration,
    /// Of each grain of time the first counter sent in it, in a ring.
    marks: [Option<(u64, Duration)>; MARKS],
    newest_mark: usize,
}

impl Session {
    fn new(now: Duration, id: SessionId, keys: &SessionKeys) -> Self {
        let receiving = Receiving { id, key: SealKey::new(&keys.gateway), window: ReplayWindow::default() };
        let key = SealKey::new(&keys.reader);
        Self { receiving, key, next_counter: 0, since: now, marks: [None; MARKS], newest_mark: 0 }
    }

    fn note_sent(&mut self, now: Duration, counter: u64) {
        let is_new_grain = self.marks[self.newest_mark].is_none_or(|(_, at)| now >= at + COMMAND_AGE_GRAIN);
        if is_new_grain {
            self.newest_mark = (self.newest_mark + 1) % MARKS;
            self.marks[self.newest_mark] = Some((counter, now));
        }
    }

    /// Whether datagram `counter` is known to have been sent less than [`COMMAND_AGE_MAX`] ago.
    fn was_sent_lately(&self, now: Duration, counter: u64) -> bool {
        // The newest mark not above the counter was set no later than the counter was sent.
        let at = self.marks.iter().flatten().filter(|(first, _)| *first <= counter).map(|&(_, at)| at).max();
        counter < self.next_counter && at.is_some_and(|at| now.saturating_sub(at) <= COMMAND_AGE_MAX)
    }
}

/// The reader's sessions and handshakes.
#[derive(Debug)]
pub(super) struct Link {
    reader: ReaderId,
    psk: Psk,
    tags: TagKeys,
    hello: Hello,
    boot_counter: u32,
    initiations: u32,
    /// Initiations since a session last proved itself.
    attempt: u32,
    not_before: Duration,
    pending: Option<Initiator>,
    /// The handshake before it: its response may only have been late.
    former: Option<Initiator>,
    session: Option<Session>,
    previous: Option<(Receiving, Duration)>,
}

impl Link {
    pub(super) fn new(reader: ReaderId, psk: Psk, hello: Hello, boot_counter: u32) -> Self {
        let tags = TagKeys::new(&psk);
        Self {
            reader,
            psk,
            tags,
            hello,
            boot_counter,
            initiations: 0,
            attempt: 0,
            not_before: Duration::ZERO,
            pending: None,
            former: None,
            session: None,
            previous: None,
        }
    }

    pub(super) const fn hello(&self) -> &Hello {
        &self.hello
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        self.session.as_ref().map(|session| session.receiving.id)
    }

    /// When the session began.
    pub(super) fn session_since(&self) -> Option<Duration> {
        self.session.as_ref().map(|session| session.since)
    }

    /// The earliest time of the next initiation.
    pub(super) const fn not_before(&self) -> Duration {
        self.not_before
    }

    /// When the session, or the lack of one, calls for a handshake.
    pub(super) fn renew_at(&self) -> Duration {
        match &self.session {
            Some(session) if session.next_counter < SESSION_DATAGRAMS_MAX - SESSION_DATAGRAMS_MARGIN => {
                session.since + (SESSION_AGE_MAX - SESSION_AGE_MARGIN)
            }
            _ => Duration::ZERO,
        }
    }

    /// Begins a handshake beside the one that was under way, and instead of any before that; `None` when this boot's stamps are used up.
    pub(super) fn initiate(
        &mut self,
        now: Duration,
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Option<[u8; HANDSHAKE_LEN]> {
        let stamp = Stamp::new(self.boot_counter, self.initiations);
        self.initiations = self.initiations.checked_add(1)?;
        let mut ephemeral = [0; 32];
        entropy(&mut ephemeral);
        let mut jitter = [0];
        entropy(&mut jitter);
        let wait = (INITIATION_BACKOFF_MIN * (1 << self.attempt.min(8))).min(INITIATION_BACKOFF_MAX);
        self.not_before = now + wait + wait * u32::from(jitter[0]) / 1024;
        self.attempt = self.attempt.saturating_add(1);
        let (initiator, datagram) = Initiator::new(self.reader, &self.psk, &self.tags, stamp, &self.hello, ephemeral);
        self.former = self.pending.replace(initiator);
        Some(datagram)
    }

    /// Takes the gateway's response: the new session is there, the old one only opens for a while.
    pub(super) fn take_response(&mut self, now: Duration, response: &Handshake<'_>) -> Result<Welcome, Dropped> {
        let finish = |initiator: &Initiator| initiator.finish(&self.tags, response);
        let initiator = self.pending.as_ref().ok_or(Dropped::NoHandshake)?;
        let finished = finish(initiator).or_else(|refused| self.former.as_ref().map_or(Err(refused), finish));
        let (keys, welcome) = finished.map_err(Dropped::Handshake)?;
        (self.pending, self.former) = (None, None);
        let old = self.session.replace(Session::new(now, welcome.session, &keys));
        if let Some(old) = old {
            self.previous = Some((old.receiving, now + OLD_SESSION_LIFE));
        }
        Ok(welcome)
    }

    /// Opens a datagram of the session or the one before; says whether it was the session's own.
    pub(super) fn open<'a>(&mut self, now: Duration, sealed: Sealed<'a>) -> Result<(&'a [u8], bool), Dropped> {
        if let Some(session) = self.session.as_mut().filter(|session| session.receiving.id == sealed.session) {
            let plaintext = session.receiving.open(sealed)?;
            self.attempt = 0;
            return Ok((plaintext, true));
        }
        self.previous.take_if(|(_, until)| now >= *until);
        match &mut self.previous {
            Some((receiving, _)) if receiving.id == sealed.session => Ok((receiving.open(sealed)?, false)),
            _ => Err(Dropped::UnknownSession),
        }
    }

    /// Forgets a session that may no longer seal.
    pub(super) fn expire(&mut self, now: Duration) {
        self.session.take_if(|session| {
            session.next_counter >= SESSION_DATAGRAMS_MAX || now.saturating_sub(session.since) >= SESSION_AGE_MAX
        });
    }

    /// Seals the `plaintext_len` bytes that stand behind room for the header.
    pub(super) fn seal(
        &mut self,
        now: Duration,
        buffer: &mut [u8; DATAGRAM_MAX],
        plaintext_len: usize,
    ) -> Option<usize> {
        let session = self.session.as_mut()?;
        let counter = session.next_counter;
        // Spent whatever becomes of the datagram: no counter may seal twice.
        session.next_counter += 1;
        let len = session.key.seal(session.receiving.id, counter, buffer, plaintext_len).ok()?;
        session.note_sent(now, counter);
        Some(len)
    }

    pub(super) fn was_sent_lately(&self, now: Duration, counter: u64) -> bool {
        self.session.as_ref().is_some_and(|session| session.was_sent_lately(now, counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BootId;

    #[test]
    fn session_is_renewed_ahead_of_its_last_counter_and_ends_with_it() {
        let hello = Hello { boot: BootId(1), firmware: 0 };
        let mut link = Link::new(ReaderId(1), Psk::new([1; 32]), hello, 1);
        let mut datagram = [0; DATAGRAM_MAX];
        let mut seal_at = |link: &mut Link, counter| {
            let keys = SessionKeys { reader: [2; 32], gateway: [3; 32] };
            let session = Session::new(Duration::ZERO, SessionId(1), &keys);
            link.session = Some(Session { next_counter: counter, ..session });
            link.expire(Duration::ZERO);
            link.seal(Duration::ZERO, &mut datagram, 0)
        };
        let margin = SESSION_DATAGRAMS_MAX - SESSION_DATAGRAMS_MARGIN;
        for (counter, due) in [(margin - 2, false), (margin - 1, true)] {
            assert!(seal_at(&mut link, counter).is_some());
            assert_eq!(link.renew_at() == Duration::ZERO, due, "after {counter}");
        }
        assert!(seal_at(&mut link, SESSION_DATAGRAMS_MAX - 1).is_some());
        assert_eq!(seal_at(&mut link, SESSION_DATAGRAMS_MAX), None);
        assert_eq!(link.session(), None);
    }
}
