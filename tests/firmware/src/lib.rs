//! A reader's firmware in miniature: everything a reader needs of the protocol, and no more than `core` under it.
//!
//! It is linked, never run; a test of the protocol builds it and looks at the symbols that are left open.
#![no_std]

use core::panic::PanicInfo;
use core::time::Duration;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::handshake::Psk;
use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::message::{CommandResult, ReportKind};
use kalitka_protocol::reader::{Event, Happening, Identity, Reader, ReportMemory};
use kalitka_protocol::reason::{Direction, FallBack};
use kalitka_protocol::{BootId, LogId, ReaderId};

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// What a portal's electronics give and take.
pub trait Portal {
    /// Monotonic time since the start.
    fn now(&self) -> Duration;
    /// Fills `bytes` with random ones.
    fn random(&mut self, bytes: &mut [u8]);
    /// The next datagram, its length, if one has come.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<usize>;
    /// Sends a datagram.
    fn send(&mut self, datagram: &[u8]);
    /// A card, if one is being shown.
    fn card(&mut self) -> Option<CardRead>;
    /// Holds the portal open for so many milliseconds.
    fn open(&mut self, hold_open_ms: u16);
}

/// A reader's whole life.
pub fn run(portal: &mut dyn Portal, psk: [u8; 32], boot_counter: u32) -> ! {
    let mut random = || {
        let mut bytes = [0; 8];
        portal.random(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    let (boot, log) = (BootId(random()), LogId(random()));
    let psk = Psk::new(psk);
    let reader = ReaderId(1);
    let identity =
        Identity { reader, psk, firmware: 1, boot_counter, boot, last_command: 0, fall_back: FallBack::Closed };
    let mut reader = Reader::<256>::new(identity, ReportMemory::new(log));
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        step(portal, &mut reader, &mut buffer);
    }
}

fn step(portal: &mut dyn Portal, reader: &mut Reader<256>, buffer: &mut [u8; DATAGRAM_MAX]) {
    let now = portal.now();
    if let Some(card) = portal.card() {
        // In fall-back, and when too much is asked, nobody passes here.
        let _ = reader.ask(card, Direction::Entry, now);
    }
    let (mut hold_open_ms, mut command, mut passed) = (0, None, None);
    let mut take = |event: Event<'_>| match event {
        Event::Answer(answer) if answer.verdict.is_grant() => {
            (hold_open_ms, passed) = (answer.hold_open_ms, Some(answer.request));
        }
        Event::Command(ordered) => command = Some(ordered.id),
        _ => {}
    };
    reader.handle_timeout(now, &mut take);
    if let Some(len) = portal.receive(buffer) {
        // Dropped datagrams are dropped.
        let _ = reader.handle(now, &mut buffer[..len.min(DATAGRAM_MAX)], &mut take);
    }
    if let Some(id) = command {
        reader.done(id, CommandResult::NotSupported);
    }
    if passed.is_some() {
        portal.open(hold_open_ms);
        let (kind, direction) = (ReportKind::Passed, Some(Direction::Entry));
        reader.report(now, Happening { kind, direction, request: passed, input: 0, unasked: false, card: None });
    }
    while let Some(len) = reader.poll_transmit(now, buffer, &mut |bytes| portal.random(bytes)) {
        portal.send(&buffer[..len]);
    }
}

/// A portal with nothing attached.
struct Unattached;

impl Portal for Unattached {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn random(&mut self, _: &mut [u8]) {}
    fn receive(&mut self, _: &mut [u8]) -> Option<usize> {
        None
    }
    fn send(&mut self, _: &[u8]) {}
    fn card(&mut self) -> Option<CardRead> {
        None
    }
    fn open(&mut self, _: u16) {}
}

/// Where the start code would jump to.
#[no_mangle]
pub extern "C" fn kalitka_firmware_main() -> ! {
    // The compiler must not see that nothing is attached, or it leaves out what nothing can reach.
    let portal: &mut dyn Portal = &mut Unattached;
    run(core::hint::black_box(portal), core::hint::black_box([0; 32]), 1)
}
