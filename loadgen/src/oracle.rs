//! What is right: a slow reading of the rules that shares no code with the gateway.
//!
//! It reads the roster's files itself, keeps times as they stand there, asks the time zone tables anew for each ask and
//! walks through lists. What the two have in common is the wire's vocabulary: how a card was read, and the verdicts.

mod clock;
mod held;
mod look;
mod roster;

use std::collections::HashMap;
use std::path::Path;

use jiff::tz::TimeZone;
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};

pub use look::{Identity, Look};
pub use roster::ReadError;
use roster::{AccessLevel, Mode, Portal};

/// Age in milliseconds beyond which an ask is stale.
const STALE_AFTER_MS: u16 = 2000;

/// Seconds for which a temporary card is issued when its row does not say.
const TEMPORARY_SECONDS: i64 = 24 * 3600;

/// The rules of one roster.
pub struct Oracle {
    building: u32,
    zone: TimeZone,
    portals: Vec<Portal>,
    readers: Vec<Reader>,
    schedules: HashMap<String, clock::Hours>,
    levels: Vec<AccessLevel>,
    holders: HashMap<String, Holder>,
    cards: Vec<Card>,
    /// Places in `cards` of what looks so: by UID, by number, and by number of each UID at readers that cut.
    seen_as: HashMap<Identity, Vec<u32>>,
}

struct Reader {
    number: u32,
    portal: String,
    looks: Vec<Look>,
    directions: Vec<String>,
}

struct Holder {
    state: String,
    levels: Vec<String>,
    from: Option<i64>,
    to: Option<i64>,
}

struct Card {
    identity: Identity,
    holder: String,
    state: String,
    from: Option<i64>,
    to: Option<i64>,
    blocked_until: Option<i64>,
}

impl Oracle {
    /// Reads the roster in `dir`.
    ///
    /// # Errors
    /// [`ReadError`] when a file is missing or something in it cannot be understood.
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let building = roster::building(dir)?;
        let name = &building.building.time_zone;
        let zone = TimeZone::get(name).map_err(|_| ReadError::value("time zone", name))?;
        let readers = building.reader.iter().map(Reader::new).collect::<Result<Vec<_>, _>>()?;
        let mut schedules = HashMap::new();
        for schedule in &building.schedule {
            schedules.insert(schedule.name.clone(), clock::Hours::new(schedule)?);
        }
        let mut holders = HashMap::new();
        for row in roster::rows::<roster::PersonRow>(dir, "people.csv")? {
            holders.insert(row.holder.clone(), Holder::new(&row, &zone)?);
        }
        let rows = roster::rows::<roster::CardRow>(dir, "cards.csv")?;
        let cards = rows.iter().map(|row| Card::new(row, &zone)).collect::<Result<Vec<_>, _>>()?;
        let seen_as = looks_of(&cards, &readers);
        let (portals, levels) = (building.portal, building.access_level);
        let building = building.building.number;
        Ok(Self { building, zone, portals, readers, schedules, levels, holders, cards, seen_as })
    }

    /// The building's number.
    #[must_use]
    pub const fn building(&self) -> u32 {
        self.building
    }

    /// The right answer to an ask of `reader` that is `age_ms` milliseconds old at the second `now` since 1970.
    #[must_use]
    pub fn judge(&self, reader: ReaderId, card: &CardRead, direction: Direction, age_ms: u16, now: i64) -> Verdict {
        self.judge_in_doubt(reader, card, direction, age_ms, Moment::good(now))
    }

    /// The roster's cards, in the order of its rows.
    pub fn cards(&self) -> impl ExactSizeIterator<Item = &Identity> {
        self.cards.iter().map(|card| &card.identity)
    }

    /// Numbers that several of the roster's cards come out as at readers that cut.
    #[must_use]
    pub fn lookalikes(&self) -> Vec<Identity> {
        let several = self.seen_as.iter().filter(|(_, places)| places.len() > 1);
        several.map(|(identity, _)| identity.clone()).collect()
    }

    /// Whether no reader takes `identity` for another card of the roster.
    #[must_use]
    pub fn is_unmistakable(&self, identity: &Identity) -> bool {
        let Identity::Uid(uid) = identity else { return self.cards_seen_as(identity) == 1 };
        let looks = self.readers.iter().flat_map(|reader| &reader.looks);
        let numbers = looks.filter_map(|look| Some(Identity::Number(*look, look.number_of(uid)?)));
        numbers.chain([identity.clone()]).all(|seen| self.cards_seen_as(&seen) == 1)
    }

    fn cards_seen_as(&self, identity: &Identity) -> usize {
        self.seen_as.get(identity).map_or(0, Vec::len)
    }

    /// The numbers of the roster's readers.
    pub fn readers(&self) -> impl Iterator<Item = ReaderId> {
        self.readers.iter().map(|reader| ReaderId(reader.number))
    }

    /// How `reader` sends cards; nothing when the roster does not know it.
    #[must_use]
    pub fn looks(&self, reader: ReaderId) -> &[Look] {
        self.reader(reader).map_or(&[], |reader| &reader.looks)
    }

    fn reader(&self, id: ReaderId) -> Option<&Reader> {
        self.readers.iter().find(|reader| reader.number == id.0)
    }

    fn grant(
        &self,
        reader: ReaderId,
        card: &CardRead,
        direction: Direction,
        age_ms: u16,
        moment: Moment<'_>,
    ) -> Result<Grant, Denial> {
        let now = moment.now;
        if age_ms > STALE_AFTER_MS {
            return Err(Denial::Stale);
        }
        let reader = self.reader(reader).ok_or(Denial::ReaderUnknown)?;
        let identity = look::identify(&reader.looks, card)?;
        let open = if moment.is_held {
            self.opens_while_held(reader, direction, now)
        } else {
            reader.is_free(self.mode(&reader.portal, now), direction).map(|free| (free, None))
        };
        let (is_free, closed) = open?;
        if is_free {
            return Ok(Grant::PortalFree);
        }
        let card = match self.seen_as.get(&identity).map(Vec::as_slice) {
            None | Some([]) => return Err(Denial::UnknownCredential),
            Some(&[place]) => &self.cards[place as usize],
            Some(_) => return Err(Denial::AmbiguousCredential),
        };
        card.check_state(now)?;
        let holder = self.holders.get(&card.holder).ok_or(Denial::UnknownCredential)?;
        holder.check_state()?;
        check(card.from, card.to, now, Denial::CredentialNotYetValid, Denial::CredentialExpired)?;
        check(holder.from, holder.to, now, Denial::HolderNotYetValid, Denial::HolderExpired)?;
        if !moment.is_held || !self.is_essential(holder, &reader.portal, direction, moment.essential) {
            closed.map_or(Ok(()), Err)?;
            self.check_levels(holder, &reader.portal, direction, now, |_| true)?;
            let counts = |level: &str| !moment.is_stale || moment.essential.iter().any(|name| name == level);
            let checked = self.check_levels(holder, &reader.portal, direction, now, counts);
            checked.map_err(|_| Denial::PermissionsStale)?;
        }
        Ok(Grant::AccessLevel)
    }

    fn mode(&self, portal: &str, now: i64) -> Mode {
        let Some(portal) = self.portals.iter().find(|other| other.name == portal) else { return Mode::Closed };
        portal.modes.iter().find(|rule| self.holds(Some(&rule.schedule), now)).map_or(portal.mode, |rule| rule.mode)
    }

    fn holds(&self, schedule: Option<&str>, now: i64) -> bool {
        schedule.is_none_or(|name| self.schedules.get(name).is_some_and(|hours| hours.hold(&self.zone, now)))
    }

    /// Whether a level of `holder` lets pass now, of those that count by their names.
    fn check_levels(
        &self,
        holder: &Holder,
        portal: &str,
        direction: Direction,
        now: i64,
        counts: impl Fn(&str) -> bool,
    ) -> Result<(), Denial> {
        let mut denial = Denial::NoAccess;
        let levels = self.levels.iter().filter(|level| holder.levels.contains(&level.name) && counts(&level.name));
        for grant in levels.flat_map(|level| &level.grants) {
            if !grant.portals.iter().any(|name| name == portal || name == "*") {
                continue;
            }
            if !names(&grant.directions, direction) {
                denial = denial.max(Denial::WrongDirection);
                continue;
            }
            if self.holds(grant.schedule.as_deref(), now) {
                return Ok(());
            }
            denial = Denial::OutsideSchedule;
        }
        Err(denial)
    }
}

fn names(directions: &[String], direction: Direction) -> bool {
    let name = match direction {
        Direction::Entry => "entry",
        Direction::Exit => "exit",
    };
    directions.iter().any(|other| other == name)
}

fn check(from: Option<i64>, to: Option<i64>, now: i64, early: Denial, late: Denial) -> Result<(), Denial> {
    if from.is_some_and(|from| now < from) {
        return Err(early);
    }
    if to.is_some_and(|to| now >= to) { Err(late) } else { Ok(()) }
}

fn looks_of(cards: &[Card], readers: &[Reader]) -> HashMap<Identity, Vec<u32>> {
    let mut cutting: Vec<Look> = Vec::new();
    for look in readers.iter().flat_map(|reader| &reader.looks) {
        if look.bits.is_some() && !cutting.contains(look) {
            cutting.push(*look);
        }
    }
    let mut seen_as: HashMap<Identity, Vec<u32>> = HashMap::new();
    for (place, card) in (0u32..).zip(cards) {
        seen_as.entry(card.identity.clone()).or_default().push(place);
        let Identity::Uid(uid) = &card.identity else { continue };
        for &look in &cutting {
            if let Some(number) = look.number_of(uid) {
                seen_as.entry(Identity::Number(look, number)).or_default().push(place);
            }
        }
    }
    seen_as
}

/// When it is asked, and what is in doubt then.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The second, since 1970.
    pub now: i64,
    /// Whether the second is held: then schedules do not count for essential levels.
    pub is_held: bool,
    /// Whether the roster is too old: then essential levels alone count.
    pub is_stale: bool,
    /// The names of the essential levels.
    pub essential: &'a [String],
}

impl Moment<'_> {
    /// A second that is known, by a roster that is new.
    #[must_use]
    pub const fn good(now: i64) -> Self {
        Self { now, is_held: false, is_stale: false, essential: &[] }
    }
}

impl Reader {
    /// Whether a portal in `mode` lets everybody pass here; a denial when it lets nobody.
    fn is_free(&self, mode: Mode, direction: Direction) -> Result<bool, Denial> {
        match mode {
            Mode::Closed => Err(Denial::PortalClosed),
            _ if !names(&self.directions, direction) => Err(Denial::DirectionClosed),
            Mode::EntryOnly if direction == Direction::Exit => Err(Denial::DirectionClosed),
            Mode::ExitOnly if direction == Direction::Entry => Err(Denial::DirectionClosed),
            Mode::Free => Ok(true),
            Mode::Normal | Mode::EntryOnly | Mode::ExitOnly => Ok(false),
        }
    }

    fn new(reader: &roster::Reader) -> Result<Self, ReadError> {
        let mut looks = Vec::new();
        for shape in &reader.shapes {
            looks.push(Look::from_label(shape).ok_or_else(|| ReadError::value("shape", shape))?);
        }
        let (portal, directions) = (reader.portal.clone(), reader.directions.clone());
        Ok(Self { number: reader.number, portal, looks, directions })
    }
}

impl Holder {
    fn new(row: &roster::PersonRow, zone: &TimeZone) -> Result<Self, ReadError> {
        let levels = row.access_levels.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let (from, to) = (clock::beginning(zone, &row.valid_from)?, clock::end(zone, &row.valid_to)?);
        if !matches!(row.state.as_str(), "active" | "blocked" | "left" | "deleted") {
            return Err(ReadError::value("holder state", &row.state));
        }
        Ok(Self { state: row.state.clone(), levels, from, to })
    }

    fn check_state(&self) -> Result<(), Denial> {
        match self.state.as_str() {
            "active" => Ok(()),
            "blocked" => Err(Denial::HolderBlocked),
            "left" => Err(Denial::HolderLeft),
            _ => Err(Denial::HolderDeleted),
        }
    }
}

impl Card {
    fn new(row: &roster::CardRow, zone: &TimeZone) -> Result<Self, ReadError> {
        let identity = identity(&row.card).ok_or_else(|| ReadError::value("card", &row.card))?;
        let from = clock::beginning(zone, &row.valid_from)?;
        let mut to = clock::end(zone, &row.valid_to)?;
        if row.state == "issued_temporarily" {
            to = to.or(from.map(|from| from + TEMPORARY_SECONDS));
        }
        let blocked_until = clock::beginning(zone, &row.blocked_until)?;
        let known = ["in_stock", "issued", "issued_temporarily", "returned", "destroyed", "lost"];
        let blocked = ["blocked", "blocked_for_a_time"];
        if !known.iter().chain(&blocked).any(|state| *state == row.state) {
            return Err(ReadError::value("card state", &row.state));
        }
        Ok(Self { identity, holder: row.holder.clone(), state: row.state.clone(), from, to, blocked_until })
    }

    fn check_state(&self, now: i64) -> Result<(), Denial> {
        match self.state.as_str() {
            "in_stock" => Err(Denial::CredentialInStock),
            "blocked_for_a_time" if self.blocked_until.is_none_or(|until| now < until) => {
                Err(Denial::CredentialBlockedForATime)
            }
            "blocked" => Err(Denial::CredentialBlocked),
            "lost" => Err(Denial::CredentialLost),
            "returned" => Err(Denial::CredentialReturned),
            "destroyed" => Err(Denial::CredentialDestroyed),
            _ => Ok(()),
        }
    }
}

/// The identity that a roster writes as `uid:04a1b2c3`, `w26:12-34567` or `w34-reversed:123`.
fn identity(text: &str) -> Option<Identity> {
    let (label, value) = text.split_once(':')?;
    let look = Look::from_label(label)?;
    let Some(bits) = look.bits else {
        return (!look.reversed).then_some(Identity::Uid(hex::decode(value).ok()?.into()));
    };
    let number = match value.split_once('-') {
        Some((facility, number)) if bits == 24 => (facility.parse::<u64>().ok()? << 16) | number.parse::<u64>().ok()?,
        _ => value.parse().ok()?,
    };
    Some(Identity::Number(look, number))
}

#[cfg(test)]
mod tests;
