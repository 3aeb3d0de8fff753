//! The messages of one opened datagram: parsed once, all or none, and kept until they are answered.

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::limits::MESSAGES_MAX;
use kalitka_protocol::message::{Ask, Done, ListAsk, Message, Messages, Ping, Report};

use crate::output::DropReason;

/// What a reader sends. Nothing of it borrows from the datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Ask(Ask),
    ListAsk(ListAsk),
    Ping(Ping),
    Report(Report),
    Done(Done),
}

impl Request {
    /// The request in `message`; `None` for one that only gateways send.
    const fn of(message: &Message<'_>) -> Option<Self> {
        Some(match message {
            Message::Ask(ask) => Self::Ask(*ask),
            Message::ListAsk(ask) => Self::ListAsk(*ask),
            Message::Ping(ping) => Self::Ping(*ping),
            Message::Report(report) => Self::Report(*report),
            Message::Done(done) => Self::Done(*done),
            Message::Answer(_)
            | Message::Receipt(_)
            | Message::Command(_)
            | Message::Pong(_)
            | Message::ListPage(_)
            | Message::Leave => return None,
        })
    }
}

/// Room for the messages of one datagram, made once.
#[derive(Debug)]
pub(crate) struct Requests {
    list: Vec<Request>,
    /// Messages of unknown kinds among them that were skipped.
    pub(crate) skipped: u32,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { list: Vec::with_capacity(MESSAGES_MAX), skipped: 0 }
    }

    /// Parses all of `plaintext` in the place of what was there; refuses the whole when one message is wrong.
    pub(crate) fn read(&mut self, plaintext: &[u8]) -> Result<(), DropReason> {
        self.list.clear();
        let mut messages = Messages::new(plaintext);
        for message in messages.by_ref() {
            let request = Request::of(&message.map_err(|_| DropReason::MalformedMessage)?);
            self.list.push(request.ok_or(DropReason::WrongDirectionMessage)?);
        }
        self.skipped = messages.skipped;
        Ok(())
    }

    /// The cards that are asked about.
    pub(crate) fn cards(&self) -> impl Iterator<Item = &CardRead> {
        self.list.iter().filter_map(|request| if let Request::Ask(ask) = request { Some(&ask.card) } else { None })
    }

    /// Those read last, in their order; at most [`MESSAGES_MAX`].
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.list.iter()
    }
}
