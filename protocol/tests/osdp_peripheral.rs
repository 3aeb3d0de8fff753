//! The two halves of OSDP against each other in virtual time, and a device's half against an adversary on the line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::collections::VecDeque;
use std::time::Duration;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::limits::OSDP_SENT_MAX;
use kalitka_protocol::osdp::command::{Blink, Colour, Command, Switch, Text};
use kalitka_protocol::osdp::device::State;
use kalitka_protocol::osdp::frame::{Header, emit};
use kalitka_protocol::osdp::peripheral::{About, News};
use kalitka_protocol::osdp::reply::{Capabilities, Identity};
use kalitka_protocol::osdp::secure::{Challenge, Channel, DeviceCryptogram};
use kalitka_protocol::osdp::{
    Act, Address, Alarm, Block, Bus, Check, Device, Event, Frame, Line, Peripheral, Scbk, Sequence, Step, What,
};
use kalitka_protocol::wire::Writer;

const ADDRESS: u8 = 3;
const LINE: Line = Line { baud: 38_400 };
/// Codes of replies.
const ACK: u8 = 0x40;
const NAK: u8 = 0x41;
const NOT_SECURED: [u8; 1] = [6];
const NOT_DONE: [u8; 1] = [9];

fn about() -> About {
    About {
        address: Address::new(ADDRESS).unwrap(),
        identity: Identity { vendor: [1, 2, 3], model: 4, version: 5, serial: 6, firmware: [7, 8, 9] },
        capabilities: Capabilities::parse(&[1, 1, 2, 2, 1, 1, 4, 1, 1, 8, 1, 0, 9, 1, 1]).unwrap(),
        inputs: 2,
        outputs: 1,
    }
}

fn key(byte: u8) -> Scbk {
    Scbk::new([byte; 16]).unwrap()
}

fn acts() -> [Act; 6] {
    let blink = Blink { on: 10, off: 1, on_colour: Colour::Green, off_colour: Colour::None };
    [
        Act::Output { number: 0, switch: Switch::OnForATime, tenths: 515 },
        Act::Led { number: 1, blink, tenths: Some(300) },
        Act::Led { number: 0, blink, tenths: None },
        Act::Buzzer { on: 2, off: 1, count: 3 },
        Act::Text { seconds: 3, text: Text::new("Проходите") },
        Act::Text { seconds: 3, text: Text::new("") },
    ]
}

/// A panel and a device, and nothing between them but time.
struct World {
    now: Duration,
    bus: Bus<Vec<Device>>,
    device: Peripheral,
    arriving: VecDeque<(Duration, Vec<u8>)>,
    whats: Vec<What>,
    news: Vec<News>,
    /// Every reply that begins one of so many exchanges is lost.
    lose_every: u64,
    exchanges: u64,
}

impl World {
    fn new(panel: Option<Scbk>, device: Option<Scbk>) -> Self {
        let pinned = panel.as_ref().map(|_| about().capabilities);
        let bus = Bus::new(LINE, vec![Device::new(about().address, panel, pinned)]);
        let device = Peripheral::new(about(), device);
        let (arriving, whats, news) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { now: Duration::ZERO, bus, device, arriving, whats, news, lose_every: 0, exchanges: 0 }
    }

    fn enrolled() -> Self {
        let mut world = Self::new(Some(key(1)), Some(key(1)));
        world.run(500);
        assert_eq!(world.state(), State::Online);
        world
    }

    fn state(&self) -> State {
        self.bus.devices()[0].state()
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            match self.bus.poll(self.now, &mut |bytes| bytes.fill(0x5a)) {
                Step::Send(frame) => {
                    let (frame, mut out) = (frame.to_vec(), [0; OSDP_SENT_MAX]);
                    let heard = Frame::parse(&frame).unwrap();
                    let said = self.device.hear(&heard, &mut |bytes| bytes.fill(0xa5), &mut out).unwrap();
                    self.news.extend(said.news);
                    self.exchanges += 1;
                    if self.lose_every == 0 || !self.exchanges.is_multiple_of(self.lose_every) {
                        let at = self.now + LINE.time(frame.len() + said.len);
                        self.arriving.push_back((at, out[..said.len].to_vec()));
                    }
                }
                Step::Wait(until) => {
                    let arrival = self.arriving.front().map_or(Duration::MAX, |(at, _)| *at);
                    self.now = until.min(arrival).min(end).max(self.now + Duration::from_micros(1));
                    while self.arriving.front().is_some_and(|(at, _)| *at <= self.now) {
                        let (_, bytes) = self.arriving.pop_front().unwrap();
                        self.bus.received(self.now, &bytes);
                    }
                }
            }
            while let Some(Event { what, .. }) = self.bus.take_event() {
                self.whats.push(what);
            }
        }
    }

    fn alarms(&self) -> Vec<Alarm> {
        self.whats.iter().filter_map(|what| if let What::Alarm(alarm) = what { Some(*alarm) } else { None }).collect()
    }

    fn cards(&self) -> Vec<CardRead> {
        self.whats.iter().filter_map(|what| if let What::Card(card) = what { Some(*card) } else { None }).collect()
    }

    fn told(&self) -> Vec<Act> {
        self.news.iter().filter_map(|news| if let News::Told(act) = news { Some(*act) } else { None }).collect()
    }
}

/// What the device says to `bytes`.
fn hear(device: &mut Peripheral, bytes: &[u8]) -> Option<(Vec<u8>, Option<News>)> {
    let mut out = [0; OSDP_SENT_MAX];
    let said = device.hear(&Frame::parse(bytes).ok()?, &mut |bytes| bytes.fill(0xa5), &mut out)?;
    Some((out[..said.len].to_vec(), said.news))
}

fn header(sequence: Sequence) -> Header {
    Header { address: about().address, is_reply: false, sequence, check: Check::Crc }
}

fn said(command: &Command<'_>) -> Vec<u8> {
    let mut data = [0; OSDP_SENT_MAX];
    let mut writer = Writer::new(&mut data);
    command.emit(&mut writer).unwrap();
    let len = writer.len();
    data[..len].to_vec()
}

fn framed(sequence: Sequence, block: Option<Block>, command: &Command<'_>) -> Vec<u8> {
    let mut out = [0; OSDP_SENT_MAX];
    let len = emit(header(sequence), block, command.code(), &said(command), &mut out).unwrap();
    out[..len].to_vec()
}

/// A panel that says what a test wants, in a channel opened by `key`.
struct Panel {
    channel: Channel,
    next: Sequence,
}

impl Panel {
    /// Opens a channel; `None` when either side does not find the other's key right.
    fn open(device: &mut Peripheral, key: &Scbk) -> Option<Self> {
        let value = u8::from(!key.is(&Scbk::DEFAULT));
        let challenge = Challenge::new(key, [9; 8]);
        let sequence = Sequence::FIRST;
        let block = |step| Some(Block::Handshake { step, value });
        let asked = framed(sequence, block(Block::CHALLENGE), &Command::Challenge(challenge.random()));
        let (answer, _) = hear(device, &asked).unwrap();
        let answer = Frame::parse(&answer).unwrap();
        let (client, rest) = answer.data.split_first_chunk::<8>()?;
        let (random, cryptogram) = rest.split_first_chunk::<8>()?;
        let made = DeviceCryptogram { client: *client, random: *random, cryptogram: cryptogram.try_into().ok()? };
        let (awaiting, cryptogram) = challenge.answered(&made).ok()?;
        let sequence = sequence.next();
        let asked = framed(sequence, block(Block::PANEL_CRYPTOGRAM), &Command::PanelCryptogram(&cryptogram));
        let (answer, _) = hear(device, &asked).unwrap();
        let first = Frame::parse(&answer).unwrap().data.try_into().ok()?;
        Some(Self { channel: awaiting.confirmed(&first).ok()?, next: sequence.next() })
    }

    fn seal(&mut self, command: &Command<'_>) -> Vec<u8> {
        let mut out = [0; OSDP_SENT_MAX];
        let len = self.channel.seal(header(self.next), command.code(), &said(command), &mut out).unwrap();
        self.next = self.next.next();
        out[..len].to_vec()
    }

    /// Code and data of what is said to `command`.
    fn ask(&mut self, device: &mut Peripheral, command: &Command<'_>) -> (u8, Vec<u8>) {
        let asked = self.seal(command);
        let (answer, _) = hear(device, &asked).unwrap();
        let answer = Frame::parse(&answer).unwrap();
        (answer.code, self.channel.open(&answer).unwrap().data().to_vec())
    }
}

fn open() -> (Peripheral, Panel) {
    let mut device = Peripheral::new(about(), Some(key(1)));
    let panel = Panel::open(&mut device, &key(1)).unwrap();
    assert!(device.is_open());
    (device, panel)
}

#[test]
fn acts_are_read_as_they_were_written_and_no_other_way() {
    for act in acts() {
        let (code, data) = (Command::Act(act).code(), said(&Command::Act(act)));
        assert_eq!(Act::parse(code, &data), Ok(Some(act)));
        assert!((0..data.len()).all(|len| Act::parse(code, &data[..len]).is_err()), "truncated {act:?}");
        assert!(Act::parse(code, &[&data[..], &[0]].concat()).is_err(), "more than {act:?}");
    }
    assert_eq!(Act::parse(0x60, &[]), Ok(None));
    for (code, wrong) in [
        (0x68, &[0, 7, 1, 0][..]),
        (0x69, &[1, 0, 2, 1, 1, 1, 1, 9, 0, 0, 0, 0, 0, 0]),
        (0x69, &[0, 0, 2, 1, 1, 9, 1, 9, 0, 0, 0, 0, 0, 0]),
        (0x69, &[0, 0, 2, 1, 1, 1, 1, 9, 0, 1, 1, 1, 1, 1]),
        (0x6a, &[1, 2, 1, 1, 1]),
        (0x6b, &[0, 3, 1, 1, 1, 33]),
    ] {
        assert!(Act::parse(code, wrong).is_err(), "{code:x} {wrong:?}");
    }
}

#[test]
fn new_device_is_refused_until_a_window_gives_it_a_key_and_then_serves() {
    let mut world = World::new(None, None);
    world.run(6000);
    assert_eq!((world.state(), world.alarms()), (State::Refused, vec![Alarm::NotEnrolled]));
    let until = world.now + Duration::from_secs(10);
    world.bus.device_mut(0).unwrap().install(key(9), until);
    world.run(1000);
    assert_eq!(world.state(), State::Online);
    assert!(world.whats.contains(&What::KeySet) && world.whats.contains(&What::Pinned(about().capabilities)));
    assert!(matches!(&world.news[..], [News::KeySet(given), News::Open] if given.is(&key(9))), "{:?}", world.news);
    // It keeps the key over a loss of power, and nothing else.
    world.device.restart();
    assert!(!world.device.is_open());
    world.run(3000);
    assert!(world.device.is_open() && world.state() == State::Online);
}

#[test]
fn device_in_service_is_given_another_key_by_its_own() {
    let mut world = World::enrolled();
    let until = world.now + Duration::from_secs(10);
    world.bus.device_mut(0).unwrap().install(key(7), until);
    world.run(2000);
    assert!(world.state() == State::Online && world.whats.contains(&What::KeySet));
    assert!(world.news.iter().any(|news| matches!(news, News::KeySet(given) if given.is(&key(7)))));
}

#[test]
fn cards_inputs_and_acts_come_over_once_each_though_replies_are_lost() {
    let mut world = World::enrolled();
    world.lose_every = 5;
    let mut shown = vec![CardRead::from_wiegand(24, 0x12_3456).unwrap(), CardRead::from_wiegand(35, 77).unwrap()];
    shown.extend([4, 7, 10].map(|len| CardRead::from_uid(&[0xc7; 10][..len]).unwrap()));
    for &card in &shown {
        world.device.show(card).unwrap();
        assert!(world.device.show(card).is_err(), "one at a time");
        world.run(300);
        assert!(world.device.has_said_all());
    }
    assert_eq!(world.cards(), shown);
    for is_active in [true, false] {
        world.device.set_input(1, is_active);
        world.device.set_input(2, is_active);
        world.run(300);
    }
    let changed =
        |what: &What| if let What::Inputs { points, changed } = what { Some((points.active, *changed)) } else { None };
    let seen: Vec<_> = world.whats.iter().filter_map(changed).filter(|(_, changed)| *changed == 2).collect();
    assert_eq!(seen, [(2, 2), (0, 2)]);
    for act in acts() {
        world.bus.act(world.now, 0, act).unwrap();
        world.run(300);
    }
    assert_eq!(world.told(), acts());
}

#[test]
fn neither_side_takes_the_other_for_what_it_is_not() {
    // Another key, none, and one where none is known.
    for (panel, device, alarm) in [
        (Some(key(1)), Some(key(2)), Alarm::WrongKey),
        (Some(key(1)), None, Alarm::WrongKey),
        (None, Some(key(1)), Alarm::NotEnrolled),
    ] {
        let mut world = World::new(panel, device);
        world.run(6000);
        assert_eq!((world.state(), world.alarms()), (State::Refused, vec![alarm]));
        assert!(!world.device.is_open() && world.news.is_empty());
    }
    // A panel that knows only the key that everybody knows opens nothing at a device with its own.
    assert!(Panel::open(&mut Peripheral::new(about(), Some(key(1))), &Scbk::DEFAULT).is_none());
    // One that challenges rightly and then shows another cryptogram is not let in.
    let mut device = Peripheral::new(about(), Some(key(1)));
    let block = |step| Some(Block::Handshake { step, value: 1 });
    hear(&mut device, &framed(Sequence::FIRST, block(Block::CHALLENGE), &Command::Challenge(&[9; 8]))).unwrap();
    let wrong = framed(Sequence::FIRST.next(), block(Block::PANEL_CRYPTOGRAM), &Command::PanelCryptogram(&[1; 16]));
    let (answer, news) = hear(&mut device, &wrong).unwrap();
    let answer = Frame::parse(&answer).unwrap();
    assert_eq!(answer.block, Some(Block::Handshake { step: Block::FIRST_MAC, value: 0xff }));
    assert!(answer.data == [0; 16] && news.is_none() && !device.is_open());
}

#[test]
fn key_that_everybody_knows_is_good_for_a_key_and_nothing_else() {
    for command in [Command::Poll, Command::InputStatus, Command::Act(acts()[0])] {
        let mut device = Peripheral::new(about(), None);
        device.show(CardRead::from_uid(&[1, 2, 3, 4]).unwrap()).unwrap();
        let mut panel = Panel::open(&mut device, &Scbk::DEFAULT).unwrap();
        assert_eq!(panel.ask(&mut device, &command), (NAK, NOT_SECURED.to_vec()), "{command:?}");
        assert!(!device.is_open() && !device.has_said_all());
        assert_eq!(panel.ask(&mut device, &Command::KeySet(&Scbk::DEFAULT)).0, NAK, "it is no key of its own");
        assert_eq!(panel.ask(&mut device, &Command::KeySet(&key(5))).0, ACK);
        let more = panel.seal(&Command::Poll);
        let (answer, _) = hear(&mut device, &more).unwrap();
        assert_eq!(Frame::parse(&answer).unwrap().code, NAK, "the channel is over");
        assert!(Panel::open(&mut device, &key(5)).is_some());
    }
}

#[test]
fn nothing_is_done_or_told_in_the_clear() {
    let mut device = Peripheral::new(about(), Some(key(1)));
    device.show(CardRead::from_uid(&[1, 2, 3, 4]).unwrap()).unwrap();
    for command in [Command::Poll, Command::InputStatus, Command::Act(acts()[0]), Command::KeySet(&key(2))] {
        let (answer, news) = hear(&mut device, &framed(Sequence::FIRST, None, &command)).unwrap();
        let answer = Frame::parse(&answer).unwrap();
        assert!((answer.code, answer.data) == (NAK, &NOT_SECURED) && news.is_none(), "{command:?}");
    }
    assert!(!device.has_said_all() && Panel::open(&mut device, &key(1)).is_some());
}

#[test]
fn command_is_repeated_without_being_done_again_and_one_replayed_later_is_refused() {
    let (mut device, mut panel) = open();
    let release = panel.seal(&Command::Act(acts()[0]));
    let (answer, news) = hear(&mut device, &release).unwrap();
    assert!(matches!(news, Some(News::Told(act)) if act == acts()[0]));
    for _ in 0..3 {
        let (again, news) = hear(&mut device, &release).unwrap();
        assert!(again == answer && news.is_none(), "said again, not done again");
    }
    panel.channel.open(&Frame::parse(&answer).unwrap()).unwrap();
    // By its number it is out of turn at first; when its number comes round it is not authentic.
    let mut refused = Vec::new();
    for _ in 0..2 {
        assert_eq!(panel.ask(&mut device, &Command::Poll).0, ACK);
        let (answer, news) = hear(&mut device, &release).unwrap();
        assert!(!matches!(news, Some(News::Told(_))));
        refused.push(Frame::parse(&answer).unwrap().data.to_vec());
    }
    assert_eq!(refused, [vec![4], NOT_SECURED.to_vec()]);
    assert!(!device.is_open(), "a frame that is not authentic ends the channel");
}

#[test]
fn device_says_how_it_stands_when_it_is_asked_and_has_no_more_than_it_has() {
    let (mut device, mut panel) = open();
    device.set_input(2, true);
    assert_eq!(panel.ask(&mut device, &Command::Poll).0, ACK, "an input that it does not have is no news");
    device.set_input(1, true);
    let release = |number| Command::Act(Act::Output { number, switch: Switch::OnForATime, tenths: 50 });
    for (command, code, data) in [
        (Command::LocalStatus, 0x48, &[0, 0][..]),
        (Command::InputStatus, 0x49, &[0, 1]),
        (Command::OutputStatus, 0x4a, &[0]),
        (Command::ReaderStatus, 0x4b, &[0]),
        (release(0), ACK, &[]),
        (release(1), NAK, &NOT_DONE),
    ] {
        assert_eq!(panel.ask(&mut device, &command), (code, data.to_vec()), "{command:?}");
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_does_nothing() {
    let (_, mut panel) = open();
    let release = panel.seal(&Command::Act(acts()[0]));
    for len in 0..release.len() {
        let (mut device, _) = open();
        assert!(hear(&mut device, &release[..len]).is_none() && device.is_open());
    }
    let mut authentic = 0;
    for bit in 0..release.len() * 8 {
        let mut wrong = release.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let (mut device, _) = open();
        assert!(hear(&mut device, &wrong).is_none() && device.is_open(), "the check finds bit {bit}");
        // One who can make the check fit again.
        let Some(frame) = rechecked(&wrong).filter(|frame| *frame != release) else { continue };
        authentic += 1;
        let heard = hear(&mut device, &frame);
        assert!(!matches!(heard, Some((_, Some(News::Told(_))))), "bit {bit}");
    }
    assert!(authentic > release.len() * 4);
}

/// `bytes` with a check that fits, if they are a frame then.
fn rechecked(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let place = bytes.len() - 2;
    // CRC-16, polynomial 0x1021, from 0x1D0F on, bit by bit.
    let crc = bytes[..place].iter().fold(0x1d0f_u16, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    bytes[place..].copy_from_slice(&crc.to_le_bytes());
    Frame::parse(&bytes).is_ok().then_some(bytes)
}

#[test]
fn data_that_anybody_can_read_end_the_channel() {
    let (mut device, mut panel) = open();
    let (mut out, release) = ([0; OSDP_SENT_MAX], Command::Act(acts()[0]));
    let len = panel.channel.seal_open(header(panel.next), release.code(), &said(&release), &mut out).unwrap();
    let (answer, news) = hear(&mut device, &out[..len]).unwrap();
    assert_eq!(Frame::parse(&answer).unwrap().data, NOT_SECURED);
    assert!(matches!(news, Some(News::Closed)) && !device.is_open());
}

#[test]
fn what_is_for_others_and_what_others_say_is_not_answered() {
    let (mut device, _) = open();
    let mut out = [0; OSDP_SENT_MAX];
    for header in [
        Header { address: Address::new(ADDRESS + 1).unwrap(), ..header(Sequence::FIRST) },
        Header { address: Address::BROADCAST, ..header(Sequence::FIRST) },
        Header { is_reply: true, ..header(Sequence::FIRST) },
    ] {
        let len = emit(header, None, 0x61, &[0], &mut out).unwrap();
        assert!(hear(&mut device, &out[..len]).is_none() && device.is_open());
    }
}
