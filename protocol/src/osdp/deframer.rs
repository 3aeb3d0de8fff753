//! Finds frames in a stream of bytes that may hold anything.
//!
//! ```text
//! buffer   [ not yet judged ........ | room ]
//!            ^ 0                     ^ len        0 <= len <= OSDP_FRAME_MAX
//! ```
//! The front is a frame, perhaps one, or not. What is not is dropped up to the next byte that could begin one, so that a frame
//! that noise hides behind a false start is found all the same. A full buffer always begins with a whole frame or with none:
//! no frame is longer.

use crate::limits::OSDP_FRAME_MAX;
use crate::osdp::frame::{Frame, Front, START, front};

/// What was dropped on the way to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes that belonged to no frame.
    pub bytes: u64,
    /// What looked like a frame and had a wrong check, or a wrong layout behind a right one.
    pub frames: u64,
}

/// The bytes that have come and not been judged.
#[derive(Clone)]
pub struct Deframer {
    buffer: [u8; OSDP_FRAME_MAX],
    len: usize,
    /// Bytes at the front that the last frame took.
    given: usize,
    dropped: Dropped,
}

impl core::fmt::Debug for Deframer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Deframer({} bytes)", self.len)
    }
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        let dropped = Dropped { bytes: 0, frames: 0 };
        Self { buffer: [0; OSDP_FRAME_MAX], len: 0, given: 0, dropped }
    }

    /// Takes as many of `bytes` as there is room for; gives the others back. After [`next`](Self::next) has given all frames
    /// there is room again.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        self.drop_given();
        let (taken, rest) = bytes.split_at(bytes.len().min(OSDP_FRAME_MAX - self.len));
        self.buffer[self.len..self.len + taken.len()].copy_from_slice(taken);
        self.len += taken.len();
        rest
    }

    /// The next frame whose check holds.
    #[allow(clippy::should_implement_trait, reason = "it lends, and an iterator cannot")]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        self.drop_given();
        loop {
            match front(&self.buffer[..self.len]) {
                Front::Partial => return None,
                Front::Nothing => self.skip(),
                Front::Whole(len) if Frame::parse(&self.buffer[..len]).is_ok() => {
                    self.given = len;
                    return Frame::parse(&self.buffer[..len]).ok();
                }
                Front::Whole(_) => {
                    self.dropped.frames += 1;
                    self.skip();
                }
            }
        }
    }

    /// Gives up waiting for the rest of the frame that may stand at the front; says whether anything is left in which
    /// [`next`](Self::next) may find one.
    pub fn give_up_front(&mut self) -> bool {
        self.drop_given();
        if self.len > 0 {
            self.skip();
        }
        self.len > 0
    }

    /// Whether a frame may have begun.
    #[must_use]
    pub const fn is_within(&self) -> bool {
        self.len > self.given
    }

    /// Drops everything that has come.
    pub fn clear(&mut self) {
        self.drop_given();
        self.dropped.bytes += self.len as u64;
        self.len = 0;
    }

    /// What was dropped since the last call.
    pub fn take_dropped(&mut self) -> Dropped {
        core::mem::take(&mut self.dropped)
    }

    fn drop_given(&mut self) {
        let given = core::mem::take(&mut self.given);
        self.buffer.copy_within(given..self.len, 0);
        self.len -= given;
    }

    /// Drops the first byte, and those behind it that begin nothing.
    fn skip(&mut self) {
        let rest = &self.buffer[1..self.len];
        let skipped = 1 + rest.iter().position(|&byte| byte == START).unwrap_or(rest.len());
        self.dropped.bytes += skipped as u64;
        self.buffer.copy_within(skipped..self.len, 0);
        self.len -= skipped;
    }
}
