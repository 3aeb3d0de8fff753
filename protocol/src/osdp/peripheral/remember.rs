//! The last command and what was said to it, so that it can be said again.

use crate::limits::OSDP_SENT_MAX;
use crate::osdp::frame::{Block, Frame, Header, MAC_LEN, Sequence};

pub(super) struct Last {
    header: Header,
    block: Option<Block>,
    code: u8,
    mac: [u8; MAC_LEN],
    data: [u8; OSDP_SENT_MAX],
    data_len: usize,
    reply: [u8; OSDP_SENT_MAX],
    reply_len: usize,
}

impl Last {
    /// `None` for what is answered anew each time: what begins a conversation, and what is longer than any command.
    pub(super) fn new(frame: &Frame<'_>, said: &[u8]) -> Option<Self> {
        if frame.header.sequence == Sequence::FIRST {
            return None;
        }
        let (mut data, mut reply) = ([0; OSDP_SENT_MAX], [0; OSDP_SENT_MAX]);
        data.get_mut(..frame.data.len())?.copy_from_slice(frame.data);
        reply.get_mut(..said.len())?.copy_from_slice(said);
        let Frame { header, block, code, mac, .. } = *frame;
        Some(Self { header, block, code, mac, data, data_len: frame.data.len(), reply, reply_len: said.len() })
    }

    /// What was said to `frame`, if it is the same once more.
    pub(super) fn again(&self, frame: &Frame<'_>, out: &mut [u8]) -> Option<usize> {
        let is_same = (self.header, self.block, self.code, self.mac)
            == (frame.header, frame.block, frame.code, frame.mac)
            && self.data.get(..self.data_len) == Some(frame.data);
        let said = self.reply.get(..self.reply_len).filter(|_| is_same)?;
        out.get_mut(..said.len())?.copy_from_slice(said);
        Some(said.len())
    }
}
