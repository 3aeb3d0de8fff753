//! What an eavesdropper has heard of one reader: enough to send it again, not enough to say anything new.

use std::collections::VecDeque;

use kalitka_protocol::datagram::Datagram;
use kalitka_protocol::limits::HANDSHAKE_LEN;

use crate::limits::REPLAYS_KEPT;
use crate::volley::Prey;

/// The last initiation and the last sealed datagrams.
#[derive(Default)]
pub(super) struct Overheard {
    prey: Option<Prey>,
    sealed: VecDeque<Vec<u8>>,
}

impl Overheard {
    /// The reader sends `datagram`.
    pub(super) fn note(&mut self, datagram: &[u8]) {
        if let Ok(&initiation) = <&[u8; HANDSHAKE_LEN]>::try_from(datagram)
            && let Ok(Datagram::Initiation(handshake)) = Datagram::parse(&mut initiation.clone())
        {
            let session = kalitka_protocol::SessionId(0);
            self.prey = Some(Prey { reader: handshake.reader, session, initiation, sealed: Vec::new() });
            self.sealed.clear();
            return;
        }
        if self.sealed.len() == REPLAYS_KEPT {
            self.sealed.pop_front();
        }
        self.sealed.push_back(datagram.to_vec());
    }

    /// What there is to make junk of; `None` before the reader has sent anything under its session.
    pub(super) fn prey(&self) -> Option<Prey> {
        let mut prey = self.prey.clone()?;
        let mut last = self.sealed.back()?.clone();
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(&mut last) else { return None };
        prey.session = sealed.session;
        prey.sealed = self.sealed.iter().cloned().collect();
        Some(prey)
    }
}
