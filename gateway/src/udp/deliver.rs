//! What goes to readers unasked: receipts and commands that the journal has left, repeats of commands, and the leave at the end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kalitka_core::CommandRefused;
use kalitka_protocol::upstream::CommandOutcome;

use super::batch::Wire;
use super::post::Post;
use super::worker::{Turn, Worker};
use crate::limits::BATCH_MAX;
use crate::metrics::Tally;

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Worker {
    /// Takes up to [`BATCH_MAX`] of what the journal has left for this worker's readers, and sends what is due by one call.
    pub(super) fn deliver(&mut self, turn: &Turn<'_>, wire: &mut Wire) {
        let mut to = [NOWHERE; BATCH_MAX];
        let mut letters = 0;
        let mut is_followed = false;
        self.desk.has_post = true;
        for _ in 0..BATCH_MAX {
            let Ok(post) = self.posts.try_recv() else {
                self.desk.has_post = false;
                break;
            };
            // A reader that has a key and has not been heard of yet is known only from the table.
            if !std::mem::replace(&mut is_followed, true) {
                self.core.follow(turn.world.keys);
            }
            if let Some(address) = self.take_post(turn, post, letters) {
                letters += self.address(address, letters, &mut to);
            }
        }
        while letters < BATCH_MAX && self.core.next_timeout().is_some_and(|due| due <= turn.at.monotonic) {
            let address = self.core.poll(turn.at.monotonic, &mut self.desk.outs[letters]);
            self.note_effects(turn, letters);
            let Some(address) = address else { break };
            letters += self.address(address, letters, &mut to);
        }
        if letters > 0 {
            let outs = self.desk.outs.iter().zip(to).take(letters);
            turn.tally.sent(wire.send(outs.map(|(out, to)| (out.datagram(), to))));
        }
    }

    /// Tells every reader that its session ends: it shakes hands at once with the gateway that comes after this one, and if that has
    /// the same socket, even before it is there. Readers on serial lines find out by themselves: their lines have ended before.
    pub(super) fn leave(&mut self, wire: &mut Wire, tally: &Tally) {
        let now = self.shared.clock.monotonic();
        loop {
            let mut to = [NOWHERE; BATCH_MAX];
            let mut letters = 0;
            while letters < BATCH_MAX
                && let Some(address) = self.core.leave(now, &mut self.desk.outs[letters])
            {
                letters += self.address(address, letters, &mut to);
            }
            if letters == 0 {
                return;
            }
            let outs = self.desk.outs.iter().zip(to).take(letters);
            tally.sent(wire.send(outs.map(|(out, to)| (out.datagram(), to))));
        }
    }

    /// Notes where the letter at `place` goes; gives how many that makes for the socket, since one to a line has gone.
    fn address(&self, address: SocketAddr, place: usize, to: &mut [SocketAddr; BATCH_MAX]) -> usize {
        to[place] = address;
        usize::from(!self.shared.lines.take(address, self.desk.outs[place].datagram()))
    }

    /// Leaves what is to be sent of `post`, if anything, at `place`, and gives where it goes.
    fn take_post(&mut self, turn: &Turn<'_>, post: Post, place: usize) -> Option<SocketAddr> {
        let now = turn.at.monotonic;
        match post {
            Post::Receipt { reader, log, number } => {
                self.core.receipt(now, reader, log, number, &mut self.desk.outs[place])
            }
            Post::Command { reader, id, order, until } => {
                if let Err(refused) = self.core.command(now, reader, id, order, until) {
                    self.journal.command_ended(reader, id, outcome_of(refused));
                }
                None
            }
        }
    }
}

const fn outcome_of(refused: CommandRefused) -> CommandOutcome {
    match refused {
        CommandRefused::ReaderUnknown => CommandOutcome::ReaderUnknown,
        CommandRefused::Full | CommandRefused::NotAbove { .. } => CommandOutcome::GivenUp,
    }
}
