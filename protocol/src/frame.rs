//! Datagrams on serial lines: each in a frame that noise can spoil and cannot forge its end of (SPEC 18).
//!
//! A frame is COBS (consistent overhead byte stuffing) over datagram and checksum, between two zero bytes; no other byte of
//! it is zero, so that a receiver is back in step at the next one, whatever came before. The checksum is against the line's
//! errors; against everything else stands the seal.

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::limits::{CHECKSUM_LEN, DATAGRAM_MAX, DATAGRAM_MIN, FRAME_MAX};

/// CRC-32C. By the small table, which fits a microcontroller and keeps up with any line.
const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// Stands before and behind each frame, and nowhere in it.
const DELIMITER: u8 = 0;

/// A code byte and the bytes that follow it, at most: the code of a full group, which no zero follows.
const GROUP_FULL: u8 = 0xff;

/// Bytes of datagram and checksum, at most.
const BODY_MAX: usize = DATAGRAM_MAX + CHECKSUM_LEN;

/// Why what came between two delimiters is no datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Longer than the longest frame. It is told once, and the rest of it is passed over.
    Oversized,
    /// Too short for a datagram with its checksum.
    Short,
    /// It ends inside a group: a delimiter came too early, or bytes are missing.
    CutOff,
    /// The checksum does not hold.
    Checksum,
}

impl Fault {
    /// Every one; `self as usize` is its place here.
    pub const ALL: [Self; 4] = [Self::Oversized, Self::Short, Self::CutOff, Self::Checksum];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Oversized => "oversized",
            Self::Short => "short",
            Self::CutOff => "cut_off",
            Self::Checksum => "checksum",
        }
    }
}

/// What came between two delimiters: a datagram, to be opened in place, or why it is none.
pub type Unframed<'a> = Result<&'a mut [u8], Fault>;

/// The frame of `datagram`, laid out in `frame`, with both its delimiters; gives its length. `None` when the datagram is
/// shorter or longer than a datagram may be (SPEC 2.1).
pub fn emit(datagram: &[u8], frame: &mut [u8; FRAME_MAX]) -> Option<usize> {
    if datagram.len() < DATAGRAM_MIN || datagram.len() > DATAGRAM_MAX {
        return None;
    }
    frame[0] = DELIMITER;
    let mut stuffing = Stuffing { frame, code_at: 1, end: 2 };
    let checksum = CRC.checksum(datagram).to_le_bytes();
    datagram.iter().chain(&checksum).for_each(|&byte| stuffing.put(byte));
    Some(stuffing.finish())
}

/// A frame being laid out. FRAME_MAX has room for the longest datagram.
struct Stuffing<'a> {
    frame: &'a mut [u8; FRAME_MAX],
    /// Where the code of the present group will stand.
    code_at: usize,
    end: usize,
}

impl Stuffing<'_> {
    fn put(&mut self, byte: u8) {
        if self.end - self.code_at == usize::from(GROUP_FULL) {
            self.close();
        }
        if byte == DELIMITER {
            self.close();
        } else {
            self.frame[self.end] = byte;
            self.end += 1;
        }
    }

    /// Ends the present group and begins the next.
    fn close(&mut self) {
        #[expect(clippy::cast_possible_truncation, reason = "a group is closed when it is full, at 255")]
        let code = (self.end - self.code_at) as u8;
        self.frame[self.code_at] = code;
        (self.code_at, self.end) = (self.end, self.end + 1);
    }

    fn finish(mut self) -> usize {
        self.close();
        // The next group's code would stand where the delimiter does.
        self.frame[self.code_at] = DELIMITER;
        self.code_at + 1
    }
}

/// Takes a line's bytes as they come and gives the datagrams in them. Its memory is one datagram's, whatever comes.
///
/// ```text
///   0 │ code byte byte … │ code byte … │ … 0        at most FRAME_MAX bytes
///      body[..len]: what the groups so far have given, len <= BODY_MAX
/// ```
#[derive(Debug)]
pub struct Deframer {
    body: [u8; BODY_MAX],
    len: usize,
    /// Bytes of the present group that are still to come.
    left: u8,
    /// The present group stands for a zero behind its bytes, unless the frame ends there.
    owes_zero: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between delimiters that have nothing between them; what came first of a line is in no frame.
    Idle,
    Inside,
    /// What comes is passed over up to the next delimiter.
    Overrun,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    /// A deframer at a line's beginning.
    #[must_use]
    pub const fn new() -> Self {
        Self { body: [0; BODY_MAX], len: 0, left: 0, owes_zero: false, state: State::Idle }
    }

    /// Takes `bytes` and gives to `take` each datagram that they complete, to be opened in place, and each fault. A fault
    /// costs nobody else's datagram: the next delimiter begins anew.
    pub fn feed(&mut self, bytes: &[u8], take: &mut dyn FnMut(Unframed<'_>)) {
        for &byte in bytes {
            if byte == DELIMITER {
                match self.end() {
                    Ok(0) => {}
                    Ok(len) => take(Ok(&mut self.body[..len])),
                    Err(fault) => take(Err(fault)),
                }
            } else if self.state != State::Overrun && !self.inside(byte) {
                self.state = State::Overrun;
                take(Err(Fault::Oversized));
            }
        }
    }

    /// Forgets what has come of a frame: the line has been opened anew.
    pub const fn reset(&mut self) {
        (self.len, self.left, self.owes_zero, self.state) = (0, 0, false, State::Idle);
    }

    /// Takes a byte that is no delimiter; says whether there was room for what it stands for.
    fn inside(&mut self, byte: u8) -> bool {
        self.state = State::Inside;
        if self.left > 0 {
            self.left -= 1;
            return self.put(byte);
        }
        let has_room = !self.owes_zero || self.put(0);
        (self.left, self.owes_zero) = (byte - 1, byte != GROUP_FULL);
        has_room
    }

    fn put(&mut self, byte: u8) -> bool {
        let Some(place) = self.body.get_mut(self.len) else { return false };
        *place = byte;
        self.len += 1;
        true
    }

    /// A delimiter has come: gives the length of the datagram before it, 0 when there was nothing.
    fn end(&mut self) -> Result<usize, Fault> {
        let (state, len, left) = (self.state, self.len, self.left);
        self.reset();
        match state {
            State::Idle | State::Overrun => return Ok(0),
            State::Inside if left > 0 => return Err(Fault::CutOff),
            State::Inside => {}
        }
        let len = len.checked_sub(CHECKSUM_LEN).filter(|&len| len >= DATAGRAM_MIN).ok_or(Fault::Short)?;
        let (datagram, checksum) = self.body.split_at(len);
        if CRC.checksum(datagram).to_le_bytes() == checksum[..CHECKSUM_LEN] { Ok(len) } else { Err(Fault::Checksum) }
    }
}
