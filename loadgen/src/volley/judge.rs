//! What is said of a slice once its clock has stopped: every datagram is opened and matched with what was asked, and as
//! many answers judged as there is time for.

use std::collections::HashMap;
use std::time::Duration;

use kalitka_protocol::datagram::{Datagram, Sealed};
use kalitka_protocol::message::{Answer, Message, Messages};

use super::catch::Catch;
use super::lane::{Lane, Sent};
use super::slice::Slice;
use crate::limits::{JUDGED_MAX, WRONG_SHOWN};
use crate::tally::{Answered, Asked, Judges};

/// Fills in what `catch` says of `slice`.
pub(super) fn judge(slice: &mut Slice, lanes: &[Lane], catch: &mut Catch, judges: Option<&Judges>, asks: usize) {
    slice.received = catch.len() as u64;
    let places = lanes.iter().enumerate().map(|(place, lane)| (lane.session.0, place)).collect();
    let answered = lanes.iter().map(|lane| vec![false; lane.sent_at.len() * asks]).collect();
    let every = (catch.len() as u64 * asks as u64).div_ceil(JUDGED_MAX).max(1);
    let mut bench = Bench { slice, lanes, places, answered, judges, asks, every };
    catch.for_each(|datagram, at| bench.look(datagram, at));
    slice.lost = slice.asks.saturating_sub(slice.answers);
}

struct Bench<'a> {
    slice: &'a mut Slice,
    lanes: &'a [Lane],
    /// Places of lanes by their sessions.
    places: HashMap<u32, usize>,
    /// Which asks of each lane are answered.
    answered: Vec<Vec<bool>>,
    judges: Option<&'a Judges>,
    asks: usize,
    /// Of so many answers one is judged.
    every: u64,
}

impl Bench<'_> {
    fn look(&mut self, datagram: &mut [u8], at: u64) {
        if self.judges.is_none() {
            return self.look_at_echo(datagram, at);
        }
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(datagram) else {
            return self.note("a datagram that is not sealed".into());
        };
        let Some(&place) = self.places.get(&sealed.session.0) else {
            return self.note(format!("a datagram of session {}, which nobody has", sealed.session.0));
        };
        let Some(plaintext) = self.lanes[place].opening.open(sealed) else {
            return self
                .note(format!("a datagram whose seal does not hold, for reader {}", self.lanes[place].reader.0));
        };
        for message in Messages::new(plaintext) {
            match message {
                Ok(Message::Answer(answer)) => self.look_at_answer(place, &answer, at),
                Ok(_) => {}
                Err(error) => self.note(format!("a message that is malformed: {error}")),
            }
        }
    }

    fn look_at_answer(&mut self, place: usize, answer: &Answer<'_>, at: u64) {
        let lane = &self.lanes[place];
        if lane.is_of_before(answer.request) {
            return;
        }
        let Some(sent) = lane.asked(answer.request) else {
            let Answer { request, .. } = answer;
            return self.note(format!("reader {}: an answer to request {request}, which was not sent", lane.reader.0));
        };
        if !self.settle(place, sent, at) {
            let Answer { request, .. } = answer;
            return self.note(format!("reader {}: a second answer to request {request}", self.lanes[place].reader.0));
        }
        if self.slice.answers.is_multiple_of(self.every) {
            self.judge(place, sent, answer, at);
        }
    }

    /// Counts the answer to `sent`, unless there was one already.
    fn settle(&mut self, place: usize, sent: Sent, at: u64) -> bool {
        let is_first = !std::mem::replace(&mut self.answered[place][sent.place], true);
        if is_first {
            self.slice.answers += 1;
            self.slice.latency.saturating_record(at.saturating_sub(sent.at));
        }
        is_first
    }

    fn judge(&mut self, place: usize, sent: Sent, answer: &Answer<'_>, at: u64) {
        let Some(judges) = self.judges else { return };
        let wall = |at| i64::try_from((self.slice.wall + Duration::from_nanos(at)).as_secs()).unwrap_or(i64::MAX);
        let asked = Asked {
            reader: self.lanes[place].reader,
            show: sent.show,
            shown: Duration::from_nanos(sent.at),
            // Not earlier than it was to be sent.
            sent: wall(sent.at),
            in_outage: false,
            mark: None,
        };
        let (verdict, generation) = (answer.verdict, answer.generation);
        let answered = Answered { verdict, generation, at: Duration::from_nanos(at), wall: wall(at) };
        self.slice.judged += 1;
        if let Err(wrong) = judges.check(&asked, &answered) {
            self.note(wrong);
        }
    }

    fn look_at_echo(&mut self, datagram: &mut [u8], at: u64) {
        let bytes = datagram.to_vec();
        let of = match Datagram::parse(datagram) {
            Ok(Datagram::Sealed(Sealed { session, counter, .. })) => {
                self.places.get(&session.0).map(|&place| (place, counter))
            }
            _ => None,
        };
        let sent = of.and_then(|(place, counter)| Some((place, self.lanes[place].datagram(counter)?)));
        let Some((place, (sent, sent_at, number))) = sent else {
            return self.note("a datagram that is no echo of one of this slice".into());
        };
        if sent != bytes {
            return self.note("an echo that is not as it was sent".into());
        }
        let first = number * self.asks;
        if self.answered[place][first] {
            return self.note("a second echo".into());
        }
        self.answered[place][first] = true;
        self.slice.answers += self.asks as u64;
        self.slice.judged += self.asks as u64;
        self.slice.latency.saturating_record(at.saturating_sub(sent_at));
    }

    fn note(&mut self, wrong: String) {
        self.slice.wrong += 1;
        if self.slice.wrong_shown.len() < WRONG_SHOWN {
            self.slice.wrong_shown.push(wrong);
        }
    }
}
