//! What RFC 4180 forbids and a lenient reader lets pass: stray quotes, quotes never closed, carriage returns alone.

use std::io::{self, Read};

use super::fault::{Faults, RosterError};
use crate::limits::ERRORS_LISTED_MAX;

#[derive(Clone, Copy)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote inside quotes: doubled, or the end.
    QuoteMet,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    line: u64,
    column: u64,
}

/// A source that passes its bytes on as they are, and notes where they break the rules.
pub(super) struct Strict<R> {
    source: R,
    state: State,
    here: Place,
    quote_opened: Place,
    /// The byte before was a carriage return outside quotes.
    after_return: bool,
    breaches: Vec<(Place, &'static str, &'static str)>,
}

impl<R: Read> Strict<R> {
    pub(super) const fn new(source: R) -> Self {
        let here = Place { line: 1, column: 1 };
        let breaches = Vec::new();
        Self { source, state: State::FieldStart, here, quote_opened: here, after_return: false, breaches }
    }

    /// Notes all breaches, when the source is read to its end. Gives whether there were none.
    pub(super) fn finish(&mut self, file: &'static str, faults: &mut Faults) -> bool {
        if self.after_return {
            self.lone_return();
        }
        if matches!(self.state, State::Quoted) {
            let what = "a quote is opened here and never closed";
            self.breaches.push((self.quote_opened, what, "close it; perhaps the file is cut off"));
        }
        let is_strict = self.breaches.is_empty();
        for (Place { line, column }, what, remedy) in self.breaches.drain(..) {
            let (field, value) = (String::new(), String::new());
            faults.add(RosterError { file, line, column, field, value, what: what.into(), remedy: remedy.into() });
        }
        is_strict
    }

    fn breach(&mut self, what: &'static str, remedy: &'static str) {
        if self.breaches.len() < ERRORS_LISTED_MAX {
            self.breaches.push((self.here, what, remedy));
        }
    }

    fn lone_return(&mut self) {
        self.breach("a carriage return stands alone", "end lines with LF or CRLF");
    }

    fn take(&mut self, byte: u8) {
        let first = self.here == Place { line: 1, column: 1 } && matches!(self.state, State::FieldStart);
        if first && matches!(byte, 0xef | 0xbb | 0xbf) {
            // A byte order mark.
            return;
        }
        if self.after_return && byte != b'\n' {
            self.lone_return();
        }
        self.after_return = byte == b'\r' && !matches!(self.state, State::Quoted);
        self.state = match (self.state, byte) {
            (State::Quoted, b'"') => State::QuoteMet,
            (State::Quoted, _) | (State::QuoteMet, b'"') => State::Quoted,
            (_, b',' | b'\n' | b'\r') => State::FieldStart,
            (State::FieldStart, b'"') => {
                self.quote_opened = self.here;
                State::Quoted
            }
            (State::QuoteMet, _) => {
                self.breach("something stands behind a closing quote", "double each quote inside quotes");
                State::Plain
            }
            (State::Plain, b'"') => {
                self.breach("a quote stands inside a field without quotes", "put the field in quotes, and double it");
                State::Plain
            }
            (State::FieldStart | State::Plain, _) => State::Plain,
        };
        match byte {
            b'\n' => self.here = Place { line: self.here.line + 1, column: 1 },
            b',' if !matches!(self.state, State::Quoted) => self.here.column += 1,
            _ => {}
        }
    }
}

impl<R: Read> Read for Strict<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        let read = buffer.get(..len).unwrap_or_default();
        read.iter().for_each(|&byte| self.take(byte));
        Ok(len)
    }
}
