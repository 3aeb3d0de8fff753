//! The live lane: committed events ahead of their batches, at best effort, each once (SPEC 15.10).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use kalitka_protocol::EpochId;
use kalitka_protocol::upstream;

use super::record::Ended;
use crate::connections::Connection;
use crate::hub::{Hub, LiveEvent};
use crate::limits::LIVE_SEEN_MAX;
use crate::metrics::names;

/// Hands on what comes until the connection ends.
pub(super) async fn serve(hub: &Arc<Hub>, connection: &Connection) -> Ended {
    let mut seen = Seen::default();
    loop {
        let Ok(datagram) = connection.quic.read_datagram().await else { return Ended::Gone };
        if let Err(ended) = hand_on(hub, connection.building, &datagram, &mut seen) {
            return ended;
        }
    }
}

fn hand_on(hub: &Hub, building: u32, datagram: &[u8], seen: &mut Seen) -> Result<(), Ended> {
    for event in upstream::live(datagram)? {
        let event = event?;
        if event.header.building != building {
            return Err(Ended::Building("a live event of another building than the certificate's".into()));
        }
        let fresh = seen.note((event.header.epoch, event.header.number));
        let outcome = if fresh { "fresh" } else { "repeated" };
        metrics::counter!(names::LIVE_EVENTS, "outcome" => outcome).increment(1);
        if fresh {
            // Nobody may be listening.
            let _ = hub.live.send(LiveEvent { building, bytes: event.bytes.into() });
        }
    }
    Ok(())
}

/// The newest identities, at most [`LIVE_SEEN_MAX`].
#[derive(Debug, Default)]
struct Seen {
    identities: HashSet<(EpochId, u64)>,
    order: VecDeque<(EpochId, u64)>,
}

impl Seen {
    /// Whether `identity` is new.
    fn note(&mut self, identity: (EpochId, u64)) -> bool {
        if !self.identities.insert(identity) {
            return false;
        }
        if self.order.len() == LIVE_SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.identities.remove(&oldest);
        }
        self.order.push_back(identity);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_known_and_the_memory_is_bounded() {
        let mut seen = Seen::default();
        let identity = |number: usize| (EpochId(7), number as u64);
        for number in 0..LIVE_SEEN_MAX * 3 {
            assert!(seen.note(identity(number)));
            assert!(!seen.note(identity(number)));
            assert!(seen.identities.len() <= LIVE_SEEN_MAX && seen.order.len() <= LIVE_SEEN_MAX);
        }
        assert!(!seen.note(identity(LIVE_SEEN_MAX * 2)), "the oldest that is remembered");
        assert!(seen.note(identity(LIVE_SEEN_MAX * 2 - 1)), "the newest that is not");
    }
}
