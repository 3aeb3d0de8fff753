//! What the journal has for the readers: receipts for what is durable, and orders. Their workers send it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use kalitka_protocol::message::Order;
use kalitka_protocol::{LogId, ReaderId};

use super::wake::Bell;
use crate::limits::POSTS_WAITING_MAX;

/// Something for one reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    /// All of the log up to and with the number is durable (SPEC 7.4).
    Receipt { reader: ReaderId, log: LogId, number: u64 },
    /// An order, to be repeated until it is done or given up at `until` (SPEC 8.1).
    Command { reader: ReaderId, id: u64, order: Order, until: Duration },
}

impl Post {
    const fn reader(&self) -> ReaderId {
        match self {
            Self::Receipt { reader, .. } | Self::Command { reader, .. } => *reader,
        }
    }
}

/// Where post for all workers is left; it never waits.
#[derive(Clone)]
pub(crate) struct Posts(Arc<[(SyncSender<Post>, Bell)]>);

impl Posts {
    /// A box for each of the workers with these bells; the other ends come in the workers' order.
    pub(super) fn new(bells: &[Bell]) -> (Self, Vec<Receiver<Post>>) {
        let boxes = bells.iter().map(|bell| (sync_channel(POSTS_WAITING_MAX), bell.clone()));
        let (doors, inboxes): (Vec<_>, _) = boxes.map(|((door, inbox), bell)| ((door, bell), inbox)).unzip();
        (Self(doors.into()), inboxes)
    }

    /// A box for each of so many workers that do not run.
    #[cfg(test)]
    pub(crate) fn detached(workers: usize) -> (Self, Vec<Receiver<Post>>) {
        let bells: Vec<_> = (0..workers).map(|_| Bell::new(0, None)).collect();
        Self::new(&bells)
    }

    /// Leaves all of `posts` and wakes the workers that have got one. Gives how many there was room for, and how many not:
    /// a reader whose receipt was left out sends its reports again.
    pub(crate) fn send_all(&self, posts: impl Iterator<Item = Post>) -> (u64, u64) {
        let (mut sent, mut left_out) = (0, 0);
        let mut woken = 0_u64;
        for post in posts {
            // As the core's workers own them.
            let worker = post.reader().0 as usize % self.0.len().max(1);
            match self.0.get(worker).map(|(door, _)| door.try_send(post)) {
                Some(Ok(())) => {
                    sent += 1;
                    woken |= 1 << worker.min(63);
                }
                _ => left_out += 1,
            }
        }
        for (worker, (_, bell)) in self.0.iter().enumerate() {
            if woken & 1 << worker.min(63) != 0 {
                bell.ring();
            }
        }
        (sent, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn post_reaches_the_worker_that_owns_its_reader_and_what_has_no_room_is_counted() {
        let bells = [Bell::new(0, None), Bell::new(1, None)];
        let (posts, inboxes) = Posts::new(&bells);
        let receipt = |reader: u32| Post::Receipt { reader: ReaderId(reader), log: LogId(1), number: 1 };
        assert_eq!(posts.send_all([receipt(4), receipt(7)].into_iter()), (2, 0));
        assert_eq!((inboxes[0].try_recv(), inboxes[1].try_recv()), (Ok(receipt(4)), Ok(receipt(7))));
        let many = std::iter::repeat_n(receipt(2), POSTS_WAITING_MAX + 3);
        assert_eq!(posts.send_all(many), (POSTS_WAITING_MAX as u64, 3));
        assert!(inboxes[1].try_recv().is_err());
    }
}
