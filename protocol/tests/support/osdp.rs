//! A device that speaks OSDP, and a line between it and a control panel, in virtual time.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::VecDeque;
use std::time::Duration;

use kalitka_protocol::osdp::command::Switch;
use kalitka_protocol::osdp::device::State;
use kalitka_protocol::osdp::frame::{Header, emit};
use kalitka_protocol::osdp::secure::{Answered, Channel, accept, answer};
use kalitka_protocol::osdp::{
    Act, Address, Alarm, Block, Bus, Check, Device, Event, Fault, Frame, Line, Scbk, Sequence, Step, What,
};

pub(crate) const CAPABILITIES: [u8; 15] = [1, 1, 2, 2, 1, 1, 4, 1, 1, 8, 1, 0, 9, 1, 1];

/// A key made of one byte.
pub(crate) fn key(byte: u8) -> Scbk {
    Scbk::new([byte; 16]).unwrap()
}

/// A device: what it was told, and what it will say when it is polled.
pub(crate) struct Peripheral {
    pub(crate) address: u8,
    pub(crate) key: Scbk,
    pub(crate) has_power: bool,
    pub(crate) delay: Duration,
    pub(crate) capabilities: Vec<u8>,
    pub(crate) to_say: VecDeque<(u8, Vec<u8>)>,
    /// Commands other than polls and what belongs to the handshake.
    pub(crate) told: Vec<(u8, Vec<u8>)>,
    /// What it says to the next of them in place of an acknowledgement.
    pub(crate) instead: Option<(u8, Vec<u8>)>,
    /// Answers so many commands with *busy* first.
    pub(crate) busy: u32,
    pub(crate) inputs: Vec<u8>,
    pub(crate) readers: Vec<u8>,
    /// Commands that it refuses, as libosdp does: with a MAC, and not encrypted.
    pub(crate) refuses: Vec<u8>,
    /// Says whatever it says with a MAC and not encrypted.
    pub(crate) is_open: bool,
    /// Answers a challenge by the other key with its own, and does not refuse it.
    pub(crate) has_its_way: bool,
    /// Refuses frames with a CRC.
    pub(crate) sums_only: bool,
    pub(crate) polls: u64,
    /// Frames in the clear that asked for more than identity or capabilities.
    pub(crate) heard_in_clear: u64,
    answered: Option<Answered>,
    channel: Option<Channel>,
    last: Option<(u8, Vec<u8>, Vec<u8>)>,
    pub(crate) random: u8,
}

impl Peripheral {
    pub(crate) fn new(address: u8, key: Scbk) -> Self {
        Self {
            address,
            key,
            has_power: true,
            delay: Duration::from_millis(1),
            capabilities: CAPABILITIES.to_vec(),
            to_say: VecDeque::new(),
            told: Vec::new(),
            instead: None,
            busy: 0,
            inputs: vec![0, 0],
            readers: vec![0],
            refuses: Vec::new(),
            is_open: false,
            has_its_way: false,
            sums_only: false,
            polls: 0,
            heard_in_clear: 0,
            answered: None,
            channel: None,
            last: None,
            random: 0,
        }
    }

    /// It has power again, and has forgotten all but its key.
    pub(crate) fn restart(&mut self) {
        (self.has_power, self.answered, self.channel, self.last) = (true, None, None, None);
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.channel.is_some()
    }

    /// Shows a card of 26 bits.
    pub(crate) fn show(&mut self, data: [u8; 4]) {
        self.to_say.push_back((0x50, [&[0, 1, 26, 0][..], &data].concat()));
    }

    /// What it answers to `bytes`, if they are for it.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let frame = Frame::parse(bytes).ok()?;
        if !self.has_power || frame.header.is_reply || frame.header.address.number() != self.address {
            return None;
        }
        let number = frame.header.sequence.number();
        if let Some((sequence, command, reply)) = &self.last
            && *sequence == number
            && number != 0
            && command == bytes
        {
            return Some(reply.clone());
        }
        if self.busy > 0 {
            self.busy -= 1;
            return Some(self.reply(Sequence::FIRST, frame.header.check, None, 0x79, &[]));
        }
        let reply = self.answer(&frame);
        self.last = Some((number, bytes.to_vec(), reply.clone()));
        Some(reply)
    }

    fn answer(&mut self, frame: &Frame<'_>) -> Vec<u8> {
        let Header { sequence, check, .. } = frame.header;
        if sequence == Sequence::FIRST {
            (self.answered, self.channel) = (None, None);
        }
        if self.sums_only && check == Check::Crc {
            return self.reply(sequence, Check::Sum, None, 0x41, &[1]);
        }
        match frame.block {
            None => match frame.code {
                0x61 => self.reply(sequence, check, None, 0x45, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]),
                0x62 => self.reply(sequence, check, None, 0x46, &self.capabilities.clone()),
                _ => {
                    self.heard_in_clear += 1;
                    self.reply(sequence, check, None, 0x41, &[6])
                }
            },
            Some(Block::Handshake { step: Block::CHALLENGE, value }) => self.challenged(frame, value),
            Some(Block::Handshake { value, .. }) => self.confirmed(frame, value),
            Some(_) => self.secured(frame),
        }
    }

    fn challenged(&mut self, frame: &Frame<'_>, value: u8) -> Vec<u8> {
        let Header { sequence, check, .. } = frame.header;
        let ours = u8::from(!self.key.is(&Scbk::DEFAULT));
        if value != ours && !self.has_its_way {
            return self.reply(sequence, check, None, 0x41, &[6]);
        }
        self.random = self.random.wrapping_add(1);
        let (made, answered) = answer(&self.key, frame.data.try_into().unwrap(), [7; 8], [self.random; 8]);
        self.answered = Some(answered);
        let data = [&made.client[..], &made.random, &made.cryptogram].concat();
        let block = Block::Handshake { step: Block::DEVICE_CRYPTOGRAM, value: ours };
        self.reply(sequence, check, Some(block), 0x76, &data)
    }

    fn confirmed(&mut self, frame: &Frame<'_>, _value: u8) -> Vec<u8> {
        let Header { sequence, check, .. } = frame.header;
        let accepted = self.answered.take().map(|answered| accept(&answered, frame.data.try_into().unwrap()));
        let Some(Ok((channel, first))) = accepted else {
            let block = Block::Handshake { step: Block::FIRST_MAC, value: 0xff };
            return self.reply(sequence, check, Some(block), 0x78, &[0; 16]);
        };
        self.channel = Some(channel);
        let block = Block::Handshake { step: Block::FIRST_MAC, value: 1 };
        self.reply(sequence, check, Some(block), 0x78, &first)
    }

    fn secured(&mut self, frame: &Frame<'_>) -> Vec<u8> {
        let Header { sequence, check, .. } = frame.header;
        let opened = self.channel.as_mut().and_then(|channel| channel.open(frame).ok());
        let Some(opened) = opened else {
            self.channel = None;
            return self.reply(sequence, check, None, 0x41, &[6]);
        };
        let refused = self.refuses.contains(&frame.code);
        let (code, data) = if refused { (0x41, vec![3]) } else { self.obey(frame.code, opened.data()) };
        let is_open = refused || self.is_open && !data.is_empty();
        let header = Header { is_reply: true, ..frame.header };
        let mut out = vec![0xa5; 256];
        let channel = self.channel.as_mut().unwrap();
        let sealed = if is_open {
            channel.seal_open(header, code, &data, &mut out)
        } else {
            channel.seal(header, code, &data, &mut out)
        };
        let len = sealed.unwrap();
        out.truncate(len);
        out
    }

    fn obey(&mut self, code: u8, data: &[u8]) -> (u8, Vec<u8>) {
        match code {
            0x60 => {
                self.polls += 1;
                self.to_say.pop_front().unwrap_or((0x40, Vec::new()))
            }
            0x62 => (0x46, self.capabilities.clone()),
            0x64 => (0x48, vec![0, 0]),
            0x65 => (0x49, self.inputs.clone()),
            0x66 => (0x4a, vec![0]),
            0x67 => (0x4b, self.readers.clone()),
            0x75 => {
                self.key = Scbk::new(data[2..].try_into().unwrap()).unwrap();
                (0x40, Vec::new())
            }
            _ => {
                self.told.push((code, data.to_vec()));
                self.instead.take().unwrap_or((0x40, Vec::new()))
            }
        }
    }

    pub(crate) fn reply(
        &self,
        sequence: Sequence,
        check: Check,
        block: Option<Block>,
        code: u8,
        data: &[u8],
    ) -> Vec<u8> {
        let header = Header { address: Address::new(self.address).unwrap(), is_reply: true, sequence, check };
        let mut out = vec![0xa5; 512];
        let len = emit(header, block, code, data, &mut out).unwrap();
        out.truncate(len);
        out
    }
}

/// What the line does to a reply: gives what arrives of it, and when after it was due.
pub(crate) type Mangle = Box<dyn FnMut(Vec<u8>) -> Vec<(Duration, Vec<u8>)>>;

/// A line with a control panel and devices on it.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) line: Line,
    pub(crate) bus: Bus<Vec<Device>>,
    pub(crate) devices: Vec<Peripheral>,
    pub(crate) events: Vec<(Duration, Event)>,
    /// Every command that was sent, and when its last byte had left.
    pub(crate) sent: Vec<(Duration, Vec<u8>)>,
    pub(crate) mangle: Mangle,
    arriving: Vec<(Duration, Vec<u8>)>,
    random: u8,
}

impl World {
    pub(crate) fn new(baud: u32, devices: Vec<Device>, peripherals: Vec<Peripheral>) -> Self {
        let line = Line { baud };
        Self {
            now: Duration::ZERO,
            line,
            bus: Bus::new(line, devices),
            devices: peripherals,
            events: Vec::new(),
            sent: Vec::new(),
            mangle: Box::new(|reply| vec![(Duration::ZERO, reply)]),
            arriving: Vec::new(),
            random: 0,
        }
    }

    /// Enrolled devices 0.. of `count`, each with a key of its own, and what they could do is known.
    pub(crate) fn enrolled(baud: u32, count: u8) -> Self {
        use kalitka_protocol::osdp::reply::Capabilities;
        let pinned = Capabilities::parse(&CAPABILITIES).unwrap();
        let device = |address| Device::new(Address::new(address).unwrap(), Some(key(address + 1)), Some(pinned));
        let peripherals = (0..count).map(|address| Peripheral::new(address, key(address + 1)));
        Self::new(baud, (0..count).map(device).collect(), peripherals.collect())
    }

    /// A device that has `key_of_device`, with a panel that has none for it and gives it key 9 in a window that ends at `until`.
    pub(crate) fn in_window(key_of_device: Scbk, until: Duration) -> Self {
        let device = Device::new(address(0), None, None);
        let mut world = Self::new(38_400, vec![device], vec![Peripheral::new(0, key_of_device)]);
        world.bus.device_mut(0).unwrap().install(key(9), until);
        world
    }

    /// Has the device at `place` do `act`.
    pub(crate) fn act(&mut self, place: usize, act: Act) -> Result<(), kalitka_protocol::wire::NoRoom> {
        self.bus.act(self.now, place, act)
    }

    /// Lets `bytes` arrive by themselves at `at`.
    pub(crate) fn inject(&mut self, at: Duration, bytes: Vec<u8>) {
        self.arriving.push((at, bytes));
        self.arriving.sort_by_key(|(at, _)| *at);
    }

    /// Lets the world go on for `time`; `each` is called after every step.
    pub(crate) fn run(&mut self, time: Duration, mut each: impl FnMut(&mut Self)) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
            each(self);
        }
    }

    fn step(&mut self, end: Duration) {
        let random = &mut self.random;
        let mut entropy = |bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| {
                *random = random.wrapping_mul(31).wrapping_add(17);
                *byte = *random;
            });
        };
        match self.bus.poll(self.now, &mut entropy) {
            Step::Send(frame) => {
                let (frame, left) = (frame.to_vec(), self.now + self.line.time(frame.len()));
                self.sent.push((left, frame.clone()));
                self.transmit(left, &frame);
            }
            Step::Wait(until) => {
                let arrival = self.arriving.first().map_or(Duration::MAX, |(at, _)| *at);
                self.now = until.min(arrival).min(end).max(self.now + Duration::from_micros(1));
                while self.arriving.first().is_some_and(|(at, _)| *at <= self.now) {
                    let (_, bytes) = self.arriving.remove(0);
                    self.bus.received(self.now, &bytes);
                }
            }
        }
        while let Some(event) = self.bus.take_event() {
            self.events.push((self.now, event));
        }
    }

    fn transmit(&mut self, left: Duration, frame: &[u8]) {
        for place in 0..self.devices.len() {
            let Some(reply) = self.devices[place].hear(frame) else { continue };
            let at = left + self.devices[place].delay + self.line.time(reply.len());
            for (late, bytes) in (self.mangle)(reply) {
                self.inject(at + late, bytes);
            }
        }
    }

    pub(crate) fn cards(&self) -> Vec<[u8; 16]> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event.what {
                What::Card(card) => Some(card.to_bytes()),
                _ => None,
            })
            .collect()
    }
}

/// The frames in `stream`, found by trying every place: what a deframer must find.
pub(crate) fn frames_by_trying(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut place, mut found) = (0, Vec::new());
    while place < stream.len() {
        let ends = place + 7..=stream.len().min(place + 1440);
        let frame = ends.map(|end| &stream[place..end]).find(|bytes| Frame::parse(bytes).is_ok());
        match frame {
            Some(frame) => {
                found.push(frame.to_vec());
                place += frame.len();
            }
            None => place += 1,
        }
    }
    found
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const RELEASE: Act = Act::Output { number: 0, switch: Switch::OnForATime, tenths: 50 };

pub(crate) fn address(number: u8) -> Address {
    Address::new(number).unwrap()
}

pub(crate) fn whats(world: &World) -> Vec<What> {
    world.events.iter().map(|(_, event)| event.what).collect()
}

/// What was told of releases that were lost: whether each may have been done.
pub(crate) fn releases_lost(world: &World) -> Vec<bool> {
    let lost = whats(world).into_iter().filter_map(|what| match what {
        What::ReleaseLost { may_be_done, .. } => Some(may_be_done),
        _ => None,
    });
    lost.collect()
}

pub(crate) fn alarms(world: &World) -> Vec<Alarm> {
    let alarm = |what| if let What::Alarm(alarm) = what { Some(alarm) } else { None };
    whats(world).into_iter().filter_map(alarm).collect()
}

pub(crate) fn faults(world: &World, fault: Fault) -> u64 {
    world.bus.faults()[fault as usize]
}

pub(crate) fn state(world: &World, place: usize) -> State {
    world.bus.devices()[place].state()
}

pub(crate) fn run(world: &mut World, time: Duration) {
    world.run(time, |_| {});
}

/// Cards that differ: the number in 24 bits, with whatever parity.
pub(crate) fn shown(number: u32) -> [u8; 4] {
    (number << 7).to_be_bytes()
}

pub(crate) fn as_read(number: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[2, 26]);
    bytes[2..6].copy_from_slice(&shown(number));
    bytes
}
