//! What workers tell the journal, as small plain records.

use kalitka_core::{Decided, Follows};
use kalitka_protocol::ReaderId;
use kalitka_protocol::limits::HOLDER_MAX;
use kalitka_protocol::message::Report;
use kalitka_protocol::upstream::CommandOutcome;

use crate::clock::Moment;

/// Whose card it was: the opaque identity, or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holder {
    bytes: [u8; HOLDER_MAX],
}

impl Holder {
    /// The identity as a snapshot has it, padded with zeros.
    pub(crate) const fn new(bytes: [u8; HOLDER_MAX]) -> Self {
        Self { bytes }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        let len = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(HOLDER_MAX);
        &self.bytes[..len]
    }
}

/// One thing that a worker tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    /// An ask was decided.
    Decided { at: Moment, decided: Decided, holder: Holder },
    /// A reader has reported.
    Reported { at: Moment, reader: ReaderId, report: Report, follows: Follows },
    /// A command to a reader has come to its end.
    CommandEnded { reader: ReaderId, id: u64, outcome: CommandOutcome },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_ends_at_its_padding() {
        assert_eq!(Holder::new(*b"p0001\0\0\0\0\0\0\0\0\0\0\0").as_bytes(), b"p0001");
        assert_eq!(Holder::new([b'x'; HOLDER_MAX]).as_bytes().len(), HOLDER_MAX);
        assert!(Holder::default().as_bytes().is_empty());
    }
}
