//! The reader's whole half of the protocol, without a clock, a socket or an allocation.
//!
//! The caller moves bytes and owns time: it hands in each received datagram ([`Reader::handle`]), calls
//! [`Reader::handle_timeout`] when [`Reader::next_timeout`] has come, and after anything it did calls
//! [`Reader::poll_transmit`] until that gives nothing more. What the portal is to do comes out as [`Event`]s.
//! `now` is always the reader's monotonic clock since its boot.

mod asks;
mod link;
mod reports;

use core::time::Duration;

use asks::{Asks, Question};
use link::Link;
use reports::Flight;
pub use reports::{Happening, ReportMemory};

use crate::credential::CardRead;
use crate::datagram::{Datagram, Sealed};
use crate::handshake::{Hello, Psk, Refused, Welcome};
use crate::limits::{
    ANSWER_LEN, ASK_RESENDS, DATAGRAM_MAX, FALL_BACK_AFTER, HANDSHAKE_LEN, LIST_ENTRIES_MAX, LIST_ENTRY_LEN,
    LIST_PAGE_LEN, LIST_TEXT_MAX, MESSAGE_HEADER_LEN, MESSAGES_MAX, PING_INTERVAL, PLAINTEXT_MAX, PONG_LEN,
    RECEIPT_LEN, SEALED_HEADER_LEN, TEXT_MAX,
};
use crate::message::{
    Answer, Command, CommandResult, Done, ListKind, ListPage, Message, Messages, Order, Ping, Receipt,
};
use crate::reason::{Direction, FallBack};
use crate::replay::Replayed;
use crate::wire::{Malformed, Writer};
use crate::{BootId, ReaderId, SessionId};

/// Who a reader is and what it has kept in its flash since the boot before.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its number.
    pub reader: ReaderId,
    /// Its own key.
    pub psk: Psk,
    /// Its firmware, for the engineer's eyes; 0 when it has none to tell.
    pub firmware: u32,
    /// How often it has started, this start included. Must grow at each boot, or no gateway answers it.
    pub boot_counter: u32,
    /// A random number drawn at this start.
    pub boot: BootId,
    /// The highest command done; 0 when there was none.
    pub last_command: u64,
    /// The fall-back mode last given to it; [`FallBack::Closed`] when none was.
    pub fall_back: FallBack,
}

/// What the portal has to know or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The gateway has decided; act on it now.
    Answer(Answer<'a>),
    /// A page of a list that was asked for.
    ListPage(ListPage<'a>),
    /// No answer to this request is acted on any more: it is two seconds old, or the reader falls back.
    Unanswered {
        /// The request.
        request: u32,
    },
    /// Every report up to here is on the gateway's disk.
    Receipted {
        /// The number.
        number: u64,
    },
    /// Do this, keep its id in flash, then call [`Reader::done`].
    Command(Command),
    /// There is a new session. Its fall-back mode is to be kept in flash.
    SessionUp(Welcome),
    /// The gateway does not answer: the portal is run in this mode, and shows it.
    FallBackEntered(FallBack),
    /// The gateway answers again.
    FallBackLeft,
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its outside, or a message under its seal, is not laid out as SPEC says.
    Malformed(Malformed),
    /// It is one that only a gateway takes.
    NotForReader,
    /// It is a response, and no handshake is under way.
    NoHandshake,
    /// It is a response that does not fit.
    Handshake(Refused),
    /// It is of a session that this reader does not hold.
    UnknownSession,
    /// Its counter is over what one session may use.
    SessionExpired,
    /// Its counter was seen, or lies behind the window.
    Replayed(Replayed),
    /// Its seal does not hold.
    Forged,
}

/// Why nothing is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// Too many asks are outstanding.
    Busy,
    /// The gateway does not answer: decide by this mode, and report the pass as unasked.
    FallingBack(FallBack),
}

/// A reader with a report memory of `REPORTS`.
#[derive(Debug)]
pub struct Reader<const REPORTS: usize> {
    link: Link,
    asks: Asks,
    memory: ReportMemory<REPORTS>,
    flight: Flight,
    /// The highest command taken, what became of it, and whether the gateway is to be told.
    command: u64,
    command_result: Option<CommandResult>,
    tell_result: bool,
    /// Since when nothing that calls for an answer has been answered.
    unanswered_since: Option<Duration>,
    /// When something that calls for an answer was last sent in this session.
    last_question: Option<Duration>,
    wants_handshake: bool,
    ping_token: u32,
    fall_back_after: Duration,
    fall_back: FallBack,
    falling_back: bool,
}

impl<const REPORTS: usize> Reader<REPORTS> {
    /// A reader at its start, with the report memory of the boot before (or a new one).
    #[must_use]
    pub fn new(identity: Identity, mut memory: ReportMemory<REPORTS>) -> Self {
        memory.begin_boot();
        let hello = Hello { boot: identity.boot, firmware: identity.firmware };
        Self {
            link: Link::new(identity.reader, identity.psk, hello, identity.boot_counter),
            asks: Asks::new(),
            memory,
            flight: Flight::new(),
            command: identity.last_command,
            command_result: Some(CommandResult::Done),
            tell_result: false,
            unanswered_since: None,
            last_question: None,
            wants_handshake: false,
            ping_token: 0,
            fall_back_after: FALL_BACK_AFTER,
            fall_back: identity.fall_back,
            falling_back: false,
        }
    }

    /// Asks whether `card`, shown at `shown_at`, may pass; gives the request's number, by which the answer names it.
    ///
    /// # Errors
    /// [`NotAsked`] when too many asks are outstanding or the reader is in fall-back.
    pub fn ask(&mut self, card: CardRead, direction: Direction, shown_at: Duration) -> Result<u32, NotAsked> {
        self.add(Question::Pass(direction), card, shown_at)
    }

    /// Asks for page `page` (from 0) of `list` for the holder of `card`.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_list(&mut self, card: CardRead, list: ListKind, page: u16, now: Duration) -> Result<u32, NotAsked> {
        self.add(Question::List(list, page), card, now)
    }

    fn add(&mut self, question: Question, card: CardRead, shown_at: Duration) -> Result<u32, NotAsked> {
        match self.fall_back() {
            Some(mode) => Err(NotAsked::FallingBack(mode)),
            None => self.asks.add(question, card, shown_at).ok_or(NotAsked::Busy),
        }
    }

    /// Reports what has just happened; gives the report's number, or `None` when the memory was full: then it is counted
    /// and the count reported.
    pub fn report(&mut self, now: Duration, happening: Happening) -> Option<u64> {
        self.memory.keep(now, self.link.hello().boot, happening)
    }

    /// Says what became of the command that [`Event::Command`] gave; once for each.
    pub fn done(&mut self, id: u64, result: CommandResult) {
        if id == self.command && self.command_result.is_none() {
            self.command_result = Some(result);
            self.tell_result = true;
        }
    }

    /// The mode in which the portal is run while the gateway does not answer; `None` while it does.
    #[must_use]
    pub fn fall_back(&self) -> Option<FallBack> {
        self.falling_back.then_some(self.fall_back)
    }

    /// The session, once there is one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.link.session()
    }

    /// The report memory as it stands.
    #[must_use]
    pub const fn memory(&self) -> &ReportMemory<REPORTS> {
        &self.memory
    }

    /// Ends the boot: the report memory is what is left of it.
    #[must_use]
    pub fn into_memory(self) -> ReportMemory<REPORTS> {
        self.memory
    }

    /// Takes a datagram from the gateway, opening it in place, and tells what follows from it.
    ///
    /// # Errors
    /// [`Dropped`] says why it was dropped; then nothing in it has been taken.
    pub fn handle(
        &mut self,
        now: Duration,
        datagram: &mut [u8],
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Dropped> {
        self.link.expire(now);
        match Datagram::parse(datagram).map_err(Dropped::Malformed)? {
            Datagram::Initiation(_) => Err(Dropped::NotForReader),
            Datagram::Response(response) => {
                let welcome = self.link.take_response(now, &response)?;
                self.begin_session(&welcome);
                events(Event::SessionUp(welcome));
                Ok(())
            }
            Datagram::Sealed(sealed) => self.handle_sealed(now, sealed, events),
        }
    }

    fn begin_session(&mut self, welcome: &Welcome) {
        self.asks.begin_session();
        self.flight = Flight::new();
        self.last_question = None;
        self.wants_handshake = false;
        self.fall_back = welcome.fall_back;
        self.fall_back_after = Duration::from_millis(welcome.fall_back_after_ms.into());
    }

    fn handle_sealed(
        &mut self,
        now: Duration,
        sealed: Sealed<'_>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Dropped> {
        let (plaintext, is_current) = self.link.open(now, sealed)?;
        check(plaintext)?;
        self.unanswered_since = None;
        if core::mem::take(&mut self.falling_back) {
            events(Event::FallBackLeft);
        }
        for message in Messages::new(plaintext).flatten() {
            match message {
                Message::Answer(answer) => self.take_answer(now, answer, events),
                Message::ListPage(page) => self.take_page(now, page, events),
                Message::Receipt(receipt) => self.take_receipt(now, &receipt, events),
                // A command of the session before names counters that are no longer known.
                Message::Command(command) if is_current => self.take_command(now, command, events),
                Message::Leave if is_current => self.wants_handshake = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn take_answer(&mut self, now: Duration, answer: Answer<'_>, events: &mut dyn FnMut(Event<'_>)) {
        if self.asks.answered(now, answer.request, |asked| matches!(asked, Question::Pass(_))) {
            events(Event::Answer(answer));
        }
    }

    fn take_page(&mut self, now: Duration, page: ListPage<'_>, events: &mut dyn FnMut(Event<'_>)) {
        let is_asked = |asked| matches!(asked, Question::List(_, number) if number == page.page);
        if self.asks.answered(now, page.request, is_asked) {
            events(Event::ListPage(page));
        }
    }

    fn take_receipt(&mut self, now: Duration, receipt: &Receipt, events: &mut dyn FnMut(Event<'_>)) {
        if self.memory.receipt(self.link.hello().boot, receipt) {
            self.flight.receipted(&self.memory, now);
            events(Event::Receipted { number: receipt.number });
        }
    }

    fn take_command(&mut self, now: Duration, command: Command, events: &mut dyn FnMut(Event<'_>)) {
        if !self.link.was_sent_lately(now, command.seen) {
            return;
        }
        if command.id > self.command {
            self.command = command.id;
            self.command_result = None;
            if let Order::SetFallBack(mode) = command.order {
                self.fall_back = mode;
            }
            events(Event::Command(command));
        } else if command.id == self.command {
            self.tell_result = self.command_result.is_some();
        }
    }

    /// Does what time asks for. Call it when [`next_timeout`](Self::next_timeout) has come; oftener does no harm.
    pub fn handle_timeout(&mut self, now: Duration, events: &mut dyn FnMut(Event<'_>)) {
        self.link.expire(now);
        self.flight.handle_timeout(&self.memory, now);
        self.asks.give_up(Some(now), |request| events(Event::Unanswered { request }));
        if !self.falling_back && self.fall_back_at().is_some_and(|at| at <= now) {
            self.falling_back = true;
            self.asks.give_up(None, |request| events(Event::Unanswered { request }));
            events(Event::FallBackEntered(self.fall_back));
        }
    }

    /// Writes the next datagram to send into `buffer` and gives its length, or `None` when there is nothing to send now.
    /// `entropy` fills its argument with random bytes.
    pub fn poll_transmit(
        &mut self,
        now: Duration,
        buffer: &mut [u8; DATAGRAM_MAX],
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Option<usize> {
        self.link.expire(now);
        self.transmit_sealed(now, buffer).or_else(|| self.transmit_initiation(now, buffer, entropy))
    }

    fn transmit_sealed(&mut self, now: Duration, buffer: &mut [u8; DATAGRAM_MAX]) -> Option<usize> {
        self.link.session()?;
        let room = &mut buffer[SEALED_HEADER_LEN..SEALED_HEADER_LEN + PLAINTEXT_MAX];
        match self.pack(now, Writer::new(room)) {
            0 => None,
            len => self.link.seal(now, buffer, len),
        }
    }

    fn transmit_initiation(
        &mut self,
        now: Duration,
        buffer: &mut [u8; DATAGRAM_MAX],
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Option<usize> {
        if self.initiation_at() > now {
            return None;
        }
        let datagram = self.link.initiate(now, entropy)?;
        buffer[..HANDSHAKE_LEN].copy_from_slice(&datagram);
        self.wants_handshake = false;
        self.unanswered_since.get_or_insert(now);
        Some(HANDSHAKE_LEN)
    }

    /// Packs what is due into one datagram; gives the plaintext's length.
    fn pack(&mut self, now: Duration, mut writer: Writer<'_>) -> usize {
        let mut messages_left = MESSAGES_MAX;
        let mut replies_left = PLAINTEXT_MAX;
        let mut put = |message: &Message<'_>| {
            let reply = reply_len_max(message);
            let fits = messages_left > 0 && reply <= replies_left && message.emit(&mut writer).is_ok();
            if fits {
                messages_left -= 1;
                replies_left -= reply;
            }
            fits
        };
        let sent = self.asks.send_due(now, &mut put);
        self.wants_handshake |= sent.last_time;
        if let Some(result) = self.command_result.filter(|_| self.tell_result) {
            self.tell_result = !put(&Message::Done(Done { id: self.command, result }));
        }
        let ping = self.ping();
        let is_asking = sent.any || (self.ping_at() <= now && put(&Message::Ping(ping)));
        if is_asking {
            self.ping_token = self.ping_token.wrapping_add(1);
            self.last_question = Some(now);
            self.unanswered_since.get_or_insert(now);
        }
        while let Some(report) = self.flight.next(&self.memory, now) {
            if !put(&Message::Report(report)) {
                break;
            }
            self.flight.sent(now, report.number);
        }
        writer.len()
    }

    fn ping(&self) -> Ping {
        Ping {
            token: self.ping_token,
            reports_waiting: u16::try_from(self.memory.waiting()).unwrap_or(u16::MAX),
            falling_back: self.falling_back,
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and [`poll_transmit`](Self::poll_transmit) next, if nothing
    /// else happens before.
    #[must_use]
    pub fn next_timeout(&self) -> Duration {
        let has_session = self.link.session().is_some();
        let fall_back = self.fall_back_at().filter(|_| !self.falling_back);
        let sending = has_session.then(|| self.ping_at());
        let resending = self.flight.next_timeout().filter(|_| has_session);
        let times = [Some(self.initiation_at()), self.asks.next_timeout(has_session), fall_back, sending, resending];
        times.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    fn fall_back_at(&self) -> Option<Duration> {
        self.unanswered_since.map(|since| since + self.fall_back_after)
    }

    fn ping_at(&self) -> Duration {
        self.last_question.map_or(Duration::ZERO, |at| at + PING_INTERVAL)
    }

    /// When an initiation is next due: no session, one near its end or ended by the gateway, a last resend, or 100 ms without an
    /// answer.
    fn initiation_at(&self) -> Duration {
        let since = self.unanswered_since.max(self.link.session_since()).filter(|_| self.unanswered_since.is_some());
        let unanswered = since.map(|since| since + ASK_RESENDS[1]);
        let wanted = self.wants_handshake.then_some(Duration::ZERO);
        let at = [unanswered, wanted].into_iter().flatten().fold(self.link.renew_at(), Duration::min);
        at.max(self.link.not_before())
    }
}

/// Refuses the whole run of messages when one does not parse or is not for a reader.
fn check(plaintext: &[u8]) -> Result<(), Dropped> {
    for message in Messages::new(plaintext) {
        if message.map_err(Dropped::Malformed)?.is_for_gateway() {
            return Err(Dropped::NotForReader);
        }
    }
    Ok(())
}

/// Bytes of the longest reply to `message`: all replies to one datagram fit in one (SPEC 5.7).
const fn reply_len_max(message: &Message<'_>) -> usize {
    MESSAGE_HEADER_LEN
        + match message {
            Message::Ask(_) => ANSWER_LEN + TEXT_MAX,
            Message::ListAsk(_) => LIST_PAGE_LEN + LIST_ENTRIES_MAX * (LIST_ENTRY_LEN + LIST_TEXT_MAX),
            Message::Ping(_) => PONG_LEN,
            // One receipt covers all reports; counted with each, it leaves room enough.
            Message::Report(_) => RECEIPT_LEN,
            _ => return 0,
        }
}
