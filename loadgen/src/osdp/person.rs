//! One device, and whoever stands before it: shows a card, sees a light, goes through, or does not.

use std::io;
use std::time::Duration;

use fastrand::Rng;
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::limits::OSDP_SENT_MAX;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::osdp::command::Colour;
use kalitka_protocol::osdp::peripheral::{About, News};
use kalitka_protocol::osdp::reply::{Capabilities, Identity};
use kalitka_protocol::osdp::{Act, Address, Frame, Peripheral};

use crate::deck::{Deck, Show};
use crate::fleet::wall_seconds;
use crate::limits::{
    GIVE_UP_AFTER, OSDP_ARM, OSDP_CARDS_MAX, OSDP_LATE, OSDP_PAUSE_MAX, OSDP_SETTLING, OSDP_SILENCE,
    OSDP_TURNED_UNSURE, OSDP_TURNING_BACK, OSDP_UNSURE, ROTATION,
};
use crate::oracle::Look;

/// Contacts, outputs, card data, an LED, a buzzer, CRC, secured.
const CAPABILITIES: [u8; 21] = [1, 1, 2, 2, 1, 1, 3, 1, 0, 4, 1, 1, 5, 1, 1, 8, 1, 0, 9, 1, 1];
/// The input that an arm closes while it turns.
const ROTATION_INPUT: u8 = 0;
/// Of a thousand who may pass, so many turn back.
const TURNED_BACK: u32 = 50;

/// One card's answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// What was shown.
    pub show: Show,
    /// Wall clock when it was shown, and when the light came, in whole seconds since 1970.
    pub seconds: (i64, i64),
    /// From showing to the light.
    pub took: Duration,
    /// Whether the light was green.
    pub is_green: bool,
    /// Whether the output had released before.
    pub is_released: bool,
}

/// Somebody for whom the portal was released went through, or turned back.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Whose card had opened.
    pub card: CardRead,
    /// [`ReportKind::Passed`] or [`ReportKind::TurnedBack`].
    pub kind: ReportKind,
    at: Duration,
    /// Whether the control panel was there long enough afterwards to have written it down.
    pub is_sure: bool,
}

impl Pass {
    pub(super) const fn new(card: CardRead, kind: ReportKind, at: Duration, is_sure: bool) -> Self {
        Self { card, kind, at, is_sure }
    }

    /// A control panel that has fallen silent at `since` may not have written it down.
    fn doubt(&mut self, since: Duration) {
        let window = if self.kind == ReportKind::TurnedBack { OSDP_TURNED_UNSURE } else { OSDP_UNSURE };
        self.is_sure &= self.at + window <= since;
    }
}

/// What has happened at a device.
#[derive(Clone, Debug)]
pub struct Log {
    /// Whose it is.
    pub reader: ReaderId,
    /// Cards shown.
    pub shown: u64,
    /// Their answers.
    pub answers: Vec<Answer>,
    /// Cards that got no light.
    pub unanswered: u64,
    /// Cards before whose light the control panel fell silent or began anew.
    pub in_silence: u64,
    /// Releases while nobody waited for one.
    pub unasked: u64,
    /// Who went through, and who turned back.
    pub passes: Vec<Pass>,
    /// Channels that were opened by the device's own key.
    pub channels: u64,
}

impl Log {
    pub(super) const fn new(reader: ReaderId) -> Self {
        Self {
            reader,
            shown: 0,
            answers: Vec::new(),
            unanswered: 0,
            in_silence: 0,
            unasked: 0,
            passes: Vec::new(),
            channels: 0,
        }
    }
}

/// What whoever is there does.
#[derive(Clone, Copy)]
enum Doing {
    /// Nobody is there until then.
    Nobody(Duration),
    Waiting {
        show: Show,
        shown: Duration,
        sent: i64,
        is_released: bool,
    },
    Walking {
        card: CardRead,
        until: Duration,
    },
    /// The arm turns, and the control panel has been told or not.
    Turning {
        card: CardRead,
        until: Duration,
        is_told: bool,
    },
}

pub(super) struct Device {
    peripheral: Peripheral,
    cards: Option<(Deck, Vec<Look>)>,
    rng: Rng,
    doing: Doing,
    heard_at: Duration,
    /// Until then the answer to a card whose holder has left may come.
    late_until: Duration,
    log: Log,
}

impl Device {
    pub(super) fn new(reader: ReaderId, address: Address, seed: u64) -> io::Result<Self> {
        let capabilities = Capabilities::parse(&CAPABILITIES).map_err(io::Error::other)?;
        let identity = Identity { vendor: [0; 3], model: 1, version: 1, serial: reader.0, firmware: [1, 0, 0] };
        let about = About { address, identity, capabilities, inputs: 2, outputs: 1 };
        let log = Log::new(reader);
        Ok(Self {
            peripheral: Peripheral::new(about, None),
            cards: None,
            rng: Rng::with_seed(seed),
            doing: Doing::Nobody(Duration::ZERO),
            heard_at: Duration::ZERO,
            late_until: Duration::ZERO,
            log,
        })
    }

    pub(super) const fn is_open(&self) -> bool {
        self.peripheral.is_open()
    }

    /// People come, with these cards.
    pub(super) fn come(&mut self, cards: (Deck, Vec<Look>)) {
        self.cards = Some(cards);
    }

    /// No more come.
    pub(super) fn close(&mut self) {
        self.cards = None;
    }

    pub(super) const fn is_quiet(&self) -> bool {
        matches!(self.doing, Doing::Nobody(_))
    }

    pub(super) fn into_log(self) -> Log {
        self.log
    }

    /// What it says to `frame`: so many bytes of `out`.
    pub(super) fn hear(&mut self, now: Duration, frame: &Frame<'_>, out: &mut [u8; OSDP_SENT_MAX]) -> Option<usize> {
        let said = self.peripheral.hear(frame, &mut fill, out)?;
        self.heard_at = now;
        match said.news {
            Some(News::Open) => {
                self.log.channels += 1;
                self.doing = Doing::Nobody(self.late_until.max(now + OSDP_SETTLING));
            }
            Some(News::Closed) => self.fall_silent(now),
            Some(News::Told(act)) => self.told(now, act),
            Some(News::KeySet(_)) | None => {}
        }
        Some(said.len)
    }

    /// When somebody does something next.
    pub(super) fn next(&self) -> Duration {
        match self.doing {
            Doing::Nobody(until) if self.cards.is_some() && self.is_open() => until,
            Doing::Nobody(_) | Doing::Waiting { .. } => Duration::MAX,
            Doing::Walking { until, .. } | Doing::Turning { until, .. } => until,
        }
    }

    /// Does what is due by `now`.
    pub(super) fn turn(&mut self, now: Duration) {
        if now > self.heard_at + OSDP_SILENCE {
            return self.fall_silent(now);
        }
        match self.doing {
            Doing::Nobody(until) if until <= now && self.is_open() => self.show(now),
            Doing::Waiting { show, shown, .. } if now > shown + GIVE_UP_AFTER => {
                self.log.unanswered += 1;
                self.leave_unanswered(now, show.card);
            }
            Doing::Walking { card, until } if until <= now => {
                self.peripheral.set_input(ROTATION_INPUT, true);
                self.doing = Doing::Turning { card, until: now + OSDP_ARM, is_told: false };
            }
            Doing::Turning { card, until, is_told } => self.arm(now, card, until, is_told),
            Doing::Nobody(_) | Doing::Waiting { .. } | Doing::Walking { .. } => {}
        }
    }

    /// The next shows a card, if anybody comes and the control panel is there.
    fn show(&mut self, now: Duration) {
        let Some((deck, looks)) = &mut self.cards else { return };
        if self.log.answers.len() >= OSDP_CARDS_MAX {
            return;
        }
        let show = deck.draw(looks);
        if self.peripheral.show(show.card).is_ok() {
            self.log.shown += 1;
            self.doing = Doing::Waiting { show, shown: now, sent: wall_seconds(), is_released: false };
        }
    }

    fn told(&mut self, now: Duration, act: Act) {
        match (act, &mut self.doing) {
            (Act::Output { .. }, Doing::Waiting { is_released, .. }) => *is_released = true,
            (Act::Output { .. }, _) if now < self.late_until => {}
            (Act::Output { .. }, _) => self.log.unasked += 1,
            (Act::Led { blink, .. }, &mut Doing::Waiting { show, shown, sent, is_released }) => {
                let is_green = blink.on_colour == Colour::Green;
                let (seconds, took) = ((sent, wall_seconds()), now.saturating_sub(shown));
                self.log.answers.push(Answer { show, seconds, took, is_green, is_released });
                self.go_or_pass(now, show.card, is_released);
            }
            (Act::Led { .. } | Act::Buzzer { .. } | Act::Text { .. }, _) => {}
        }
    }

    /// After the light: whoever was let pass goes through, or thinks it over and turns back.
    fn go_or_pass(&mut self, now: Duration, card: CardRead, is_released: bool) {
        if !is_released {
            self.go(now);
        } else if self.rng.u32(..1000) < TURNED_BACK {
            self.note(now, card, ReportKind::TurnedBack, true);
            self.doing = Doing::Nobody(now + OSDP_TURNING_BACK);
        } else {
            self.doing = Doing::Walking { card, until: now + ROTATION.mul_f64(0.5 + self.rng.f64()) };
        }
    }

    fn note(&mut self, now: Duration, card: CardRead, kind: ReportKind, is_sure: bool) {
        self.log.passes.push(Pass::new(card, kind, now, is_sure));
    }

    /// The arm turns until the control panel has seen it.
    fn arm(&mut self, now: Duration, card: CardRead, until: Duration, is_told: bool) {
        if !is_told && self.peripheral.has_said_all() {
            self.note(now, card, ReportKind::Passed, true);
            self.doing = Doing::Turning { card, until, is_told: true };
        } else if is_told && until <= now {
            self.peripheral.set_input(ROTATION_INPUT, false);
            self.go(now);
        }
    }

    fn go(&mut self, now: Duration) {
        self.doing = Doing::Nobody(now + OSDP_PAUSE_MAX.mul_f64(0.2 + 0.8 * self.rng.f64()));
    }

    /// The control panel is gone, or has forgotten the channel: whoever is there goes away.
    fn fall_silent(&mut self, now: Duration) {
        match self.doing {
            Doing::Waiting { show, .. } => {
                self.log.in_silence += 1;
                self.leave_unanswered(now, show.card);
            }
            Doing::Walking { card, .. } => self.note(now, card, ReportKind::TurnedBack, false),
            // Seen or not, who knows.
            Doing::Turning { card, is_told: false, .. } => {
                self.note(now, card, ReportKind::Passed, false);
                self.note(now, card, ReportKind::TurnedBack, false);
            }
            Doing::Nobody(_) | Doing::Turning { .. } => {}
        }
        self.peripheral.set_input(ROTATION_INPUT, false);
        let silent_since = self.heard_at.min(now);
        let passes = self.log.passes.iter_mut().rev();
        passes.take_while(|pass| pass.at + OSDP_TURNED_UNSURE > silent_since).for_each(|pass| pass.doubt(silent_since));
        self.doing = Doing::Nobody(self.late_until.max(now + OSDP_SETTLING));
    }

    /// What still comes for the one who leaves is for nobody else: the next waits until it no longer can. If it is a release,
    /// he has turned back.
    fn leave_unanswered(&mut self, now: Duration, card: CardRead) {
        self.note(now, card, ReportKind::TurnedBack, false);
        self.late_until = now + OSDP_LATE;
        self.doing = Doing::Nobody(self.late_until);
    }
}

fn fill(bytes: &mut [u8]) {
    // Without the kernel's random numbers nothing here can go on; it fails only before they are ready at boot.
    getrandom::fill(bytes).unwrap_or_else(|error| unreachable!("no random numbers: {error}"));
}
