//! One session: its keys, its counters, where its reader is.

use core::time::Duration;
use std::net::SocketAddr;

use kalitka_protocol::datagram::{self, Sealed};
use kalitka_protocol::handshake::Hello;
use kalitka_protocol::limits::{DATAGRAM_MAX, SEALED_HEADER_LEN, SESSION_AGE_MAX, SESSION_DATAGRAMS_MAX, TAG_LEN};
use kalitka_protocol::replay::{ReplayWindow, Replayed};
use kalitka_protocol::{BootId, SessionId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::limits::{PLACE_BITS, WORKER_BITS};
use crate::output::DropReason;

/// Where a session's number says that the session is: `worker ‖ index ‖ random`, from the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) worker: u8,
    /// Among the worker's readers.
    pub(crate) index: u16,
}

/// Bits of a session's number below its random ones.
const PLACED_BITS: u32 = WORKER_BITS + PLACE_BITS;

impl Place {
    pub(crate) const fn of(session: SessionId) -> Self {
        let worker = session.0 & ((1 << WORKER_BITS) - 1);
        let index = session.0 >> WORKER_BITS & ((1 << PLACE_BITS) - 1);
        Self { worker: worker as u8, index: index as u16 }
    }

    /// The number of a session here, its upper bits those of `random`.
    pub(crate) const fn session(self, random: u32) -> SessionId {
        let placed = (self.index as u32) << WORKER_BITS | self.worker as u32;
        SessionId(random >> PLACED_BITS << PLACED_BITS | placed)
    }

    /// The number here that follows `session`.
    pub(crate) const fn next(self, session: SessionId) -> SessionId {
        self.session(session.0.wrapping_add(1 << PLACED_BITS))
    }
}

/// The keys of both directions, expanded.
pub(crate) struct Keys {
    pub(crate) receive: LessSafeKey,
    pub(crate) send: LessSafeKey,
}

impl Keys {
    /// The keys of 32 bytes each.
    pub(crate) fn new(receive: &[u8; 32], send: &[u8; 32]) -> Option<Self> {
        let expand = |key: &[u8; 32]| UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new);
        Some(Self { receive: expand(receive)?, send: expand(send)? })
    }
}

/// A session with a reader.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Its number among all that the worker ever agreed on: ids come again, serials never.
    pub(crate) serial: u64,
    /// The reader's boot, from its hello.
    pub(crate) boot: BootId,
    /// The reader's firmware, from its hello.
    pub(crate) firmware: u32,
    /// When it was agreed on, by the monotonic clock.
    pub(crate) since: Duration,
    /// Where its newest authentic datagram came from.
    pub(crate) peer: SocketAddr,
    /// When that came.
    pub(crate) heard: Duration,
    keys: Keys,
    seen: ReplayWindow,
    sent: u64,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        serial: u64,
        Hello { boot, firmware }: Hello,
        since: Duration,
        peer: SocketAddr,
        keys: Keys,
    ) -> Self {
        Self { id, serial, boot, firmware, since, peer, heard: since, keys, seen: ReplayWindow::default(), sent: 0 }
    }

    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// The highest counter seen of the reader.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.seen.highest()
    }

    /// Opens `sealed` in place and remembers its counter; gives the plaintext. The cheap checks come first, and nothing is
    /// remembered of a datagram that is not authentic.
    pub(crate) fn open<'a>(
        &mut self,
        now: Duration,
        from: SocketAddr,
        Sealed { counter, header, body, .. }: Sealed<'a>,
    ) -> Result<&'a [u8], DropReason> {
        if counter >= SESSION_DATAGRAMS_MAX || self.age(now) >= SESSION_AGE_MAX {
            return Err(DropReason::SessionExpired);
        }
        self.seen.check(counter).map_err(|replayed| match replayed {
            Replayed::Seen => DropReason::Replayed,
            Replayed::TooOld => DropReason::TooOld,
        })?;
        let nonce = Nonce::assume_unique_for_key(datagram::nonce(counter));
        let plaintext = self.keys.receive.open_in_place(nonce, Aad::from(header), body);
        let plaintext = plaintext.map_err(|_| DropReason::Forged)?;
        if self.seen.highest().is_none_or(|highest| highest < counter) {
            (self.peer, self.heard) = (from, now);
        }
        self.seen.mark(counter);
        Ok(plaintext)
    }

    /// Seals the `len` bytes that stand in `datagram` behind room for the header; gives the datagram's length.
    pub(crate) fn seal(
        &mut self,
        now: Duration,
        datagram: &mut [u8; DATAGRAM_MAX],
        len: usize,
    ) -> Result<usize, DropReason> {
        if self.sent >= SESSION_DATAGRAMS_MAX || self.age(now) >= SESSION_AGE_MAX {
            return Err(DropReason::SessionExpired);
        }
        let header = datagram::sealed_header(self.id, self.sent);
        let nonce = Nonce::assume_unique_for_key(datagram::nonce(self.sent));
        // Counted before it is used: no counter can seal twice.
        self.sent += 1;
        let (head, body) = datagram.split_at_mut(SEALED_HEADER_LEN);
        head.copy_from_slice(&header);
        let (text, rest) = body.split_at_mut(len);
        let tag = self.keys.send.seal_in_place_separate_tag(nonce, Aad::from(&header), text);
        rest[..TAG_LEN].copy_from_slice(tag.map_err(|_| DropReason::SessionExpired)?.as_ref());
        Ok(SEALED_HEADER_LEN + len + TAG_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sealed_after_the_last_counter_or_the_last_moment() {
        let hello = Hello { boot: BootId(1), firmware: 0 };
        let keys = Keys::new(&[1; 32], &[2; 32]).unwrap();
        let mut session = Session::new(SessionId(1), 1, hello, Duration::ZERO, SocketAddr::from(([0; 4], 0)), keys);
        let mut datagram = [0; DATAGRAM_MAX];
        assert_eq!(session.seal(SESSION_AGE_MAX, &mut datagram, 0), Err(DropReason::SessionExpired));
        session.sent = SESSION_DATAGRAMS_MAX - 1;
        assert_eq!(session.seal(Duration::ZERO, &mut datagram, 0), Ok(SEALED_HEADER_LEN + TAG_LEN));
        assert_eq!(datagram[8..16], (SESSION_DATAGRAMS_MAX - 1).to_le_bytes());
        assert_eq!(session.seal(Duration::ZERO, &mut datagram, 0), Err(DropReason::SessionExpired));
    }

    #[test]
    fn session_number_names_worker_and_place() {
        for (worker, index) in [(0, 0), (1, 1), (63, 4095), (5, 2048)] {
            let place = Place { worker, index };
            for random in [0, 1, 0xffff_ffff, 0xa5a5_a5a5] {
                let session = place.session(random);
                assert_eq!(Place::of(session), place);
                assert_eq!(Place::of(place.next(session)), place);
                assert_ne!(place.next(session), session);
            }
        }
    }
}
