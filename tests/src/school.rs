//! Random rosters that sit on every border: few names, few hours, few days, so that everything meets everything.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use fastrand::Rng;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use kalitka_protocol::credential::{CardFormat, CardRead};

/// Zones of every kind: without change, with an hour, with half an hour, at midnight, with odd offsets, over the date line.
const ZONES: [&str; 12] = [
    "Europe/Moscow",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Santiago",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Pacific/Apia",
    "Asia/Beirut",
    "America/St_Johns",
    "UTC",
];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const STATES: [&str; 8] =
    ["in_stock", "issued", "issued_temporarily", "blocked_for_a_time", "blocked", "lost", "returned", "destroyed"];
const MODES: [&str; 5] = ["normal", "closed", "free", "entry_only", "exit_only"];
const SHAPES: [[&str; 2]; 4] =
    [["uid", "uid-reversed"], ["w26", "w26-reversed"], ["w34", "w34-reversed"], ["w37", "w37-reversed"]];

/// 2000-01-01, from when on a snapshot lists the changes of its zone.
const LIST_FROM: i64 = 946_684_800;
const MONTH: i64 = 31 * 86_400;
const YEAR: i64 = 365 * 86_400;

/// A card that somebody may show.
#[derive(Clone, Debug)]
pub enum Card {
    /// One that has a UID, first byte first.
    Uid(Vec<u8>),
    /// One of which only a number of so many bits is known.
    Number(u8, u64),
}

/// A random roster, and what to ask about it.
#[derive(Debug)]
pub struct School {
    /// `building.toml`.
    pub building: String,
    /// `people.csv`.
    pub people: String,
    /// `cards.csv`.
    pub cards: String,
    /// The building's number.
    pub number: u32,
    /// When its snapshot is built, in seconds since 1970: the zone's changes are known from 2000 to 15 years after.
    pub created: i64,
    /// Its readers' numbers, and the shapes that each declares.
    pub readers: Vec<(u32, Vec<&'static str>)>,
    /// The cards of the roster, and some that it does not know.
    pub shown: Vec<Card>,
    zone: TimeZone,
    first_day: Date,
    minutes: Vec<u16>,
}

impl School {
    /// A school in days around a change of the clocks, if its zone has any.
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let zone_name = ZONES[rng.usize(..ZONES.len())];
        let zone = TimeZone::get(zone_name).unwrap();
        let from = Timestamp::from_second(rng.i64(LIST_FROM + MONTH..3_800_000_000)).unwrap();
        let change = zone.following(from).next().filter(|_| rng.u8(..4) > 0).map_or(from, |change| change.timestamp());
        let first_day = zone.to_datetime(change).date().checked_sub(rng.i32(1..4).days()).unwrap();
        let mut minutes = vec![0, 1440];
        minutes.extend((0..6).map(|_| rng.u16(0..96) * 15 + u16::from(rng.u8(..8) == 0)));
        minutes.extend([60, 120, 150, 180, 210].into_iter().filter(|_| rng.bool()));
        let mut school = Self {
            building: String::new(),
            people: String::new(),
            cards: String::new(),
            number: rng.u32(1..),
            created: change.as_second(),
            readers: Vec::new(),
            shown: Vec::new(),
            zone,
            first_day,
            minutes,
        };
        let schedules = rng.usize(1..5);
        let portals = rng.usize(1..4);
        // Now and then so many different sets of levels that a plan needs several words for each portal.
        let is_large = rng.u8(..8) == 0;
        let levels = if is_large { 8 } else { rng.usize(1..5) };
        school.write_building(rng, zone_name);
        (0..schedules).for_each(|number| school.write_schedule(rng, number));
        (0..portals).for_each(|number| school.write_portal(rng, number, schedules));
        (0..rng.usize(1..5)).for_each(|_| school.write_reader(rng, portals));
        (0..levels).for_each(|number| school.write_level(rng, number, portals, schedules));
        let holders = if is_large { 150 } else { rng.usize(1..12) };
        school.write_people(rng, holders, levels);
        school.write_cards(rng, holders);
        school
    }

    /// Writes the three files into `folder`.
    pub fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let files = [("building.toml", &self.building), ("people.csv", &self.people), ("cards.csv", &self.cards)];
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    /// A second to ask at: mostly a border of something, or one beside it.
    #[must_use]
    pub fn moment(&self, rng: &mut Rng) -> i64 {
        if rng.u8(..50) == 0 {
            return rng.i64((self.created - 2 * YEAR).max(LIST_FROM)..self.created + 14 * YEAR);
        }
        let local = self.local(rng);
        let at = self.instant(local);
        match rng.u8(..8) {
            0 => at + rng.i64(-86_400..86_400),
            1 | 2 => at - 1,
            3 => at + 1,
            _ => at,
        }
    }

    /// Whether the school's snapshot knows local time at `now`.
    #[must_use]
    pub fn knows(&self, now: i64) -> bool {
        (LIST_FROM..self.created + 15 * YEAR).contains(&now)
    }

    /// A card as a reader of one of `shapes` reads it, now and then as another reader would, or broken.
    #[must_use]
    pub fn read(&self, rng: &mut Rng, shapes: &[&str]) -> CardRead {
        let shape =
            if rng.u8(..8) == 0 { SHAPES[rng.usize(..4)][rng.usize(..2)] } else { shapes[rng.usize(..shapes.len())] };
        let read = match &self.shown[rng.usize(..self.shown.len())] {
            Card::Number(bits, number) => CardRead::from_wiegand(*bits, *number),
            Card::Uid(uid) => read_of_uid(uid.clone(), shape),
        };
        let read = read.unwrap();
        if rng.u8(..40) == 0 { with_a_bit_turned(rng, read) } else { read }
    }

    fn local(&self, rng: &mut Rng) -> DateTime {
        let minute = self.minutes[rng.usize(..self.minutes.len())];
        let day = self.first_day.checked_add(rng.i32(0..6).days()).unwrap();
        day.to_datetime(jiff::civil::Time::midnight())
            .checked_add(SignedDuration::from_mins(i64::from(minute)))
            .unwrap()
    }

    fn write_building(&mut self, rng: &mut Rng, zone: &str) {
        let organisation = rng.u32(1..);
        let number = self.number;
        self.building = format!(
            "[building]\nnumber = {number}\norganisation = {organisation}\nname = \"Школа \\\"{number}\\\"\"\n\
             time_zone = \"{zone}\"\n[[area]]\nname = \"street\"\n[[area]]\nname = \"hall\"\n"
        );
    }

    fn write_schedule(&mut self, rng: &mut Rng, number: usize) {
        let mut intervals = Vec::new();
        for _ in 0..rng.usize(1..4) {
            let days: Vec<_> = DAYS.iter().filter(|_| rng.bool()).map(|day| format!("\"{day}\"")).collect();
            let days = if days.is_empty() { "\"sun\"".to_owned() } else { days.join(", ") };
            let from = self.minutes[rng.usize(..self.minutes.len())] % 1440;
            let to = self.minutes[rng.usize(..self.minutes.len())];
            intervals.push(format!("{{ days = [{days}], from = \"{}\", to = \"{}\" }}", clock(from), clock(to)));
        }
        let intervals = intervals.join(", ");
        writeln!(self.building, "[[schedule]]\nname = \"s{number}\"\nintervals = [ {intervals} ]").unwrap();
    }

    fn write_portal(&mut self, rng: &mut Rng, number: usize, schedules: usize) {
        let mode = MODES[if rng.u8(..6) > 0 { 0 } else { rng.usize(..5) }];
        let rules: Vec<_> = (0..rng.usize(0..3))
            .map(|_| format!("{{ schedule = \"s{}\", mode = \"{}\" }}", rng.usize(..schedules), MODES[rng.usize(..5)]))
            .collect();
        let rules = rules.join(", ");
        let hold = rng.u16(200..=60_000);
        writeln!(
            self.building,
            "[[portal]]\nname = \"p{number}\"\nfrom = \"street\"\nto = \"hall\"\nmode = \"{mode}\"\n\
             modes = [ {rules} ]\nhold_open_ms = {hold}"
        )
        .unwrap();
    }

    fn write_reader(&mut self, rng: &mut Rng, portals: usize) {
        let number = loop {
            let number = if rng.bool() { rng.u32(1..) } else { rng.u32(1..100) };
            if self.readers.iter().all(|(other, _)| *other != number) {
                break number;
            }
        };
        let mut shapes = Vec::new();
        for pair in SHAPES {
            if rng.bool() {
                shapes.push(pair[rng.usize(..2)]);
            }
        }
        if shapes.is_empty() {
            shapes.push("uid");
        }
        self.readers.push((number, shapes.clone()));
        let directions = ["[\"entry\"]", "[\"exit\"]", "[\"entry\", \"exit\"]"][rng.usize(..7).min(2)];
        let portal = rng.usize(..portals);
        writeln!(
            self.building,
            "[[reader]]\nnumber = {number}\nportal = \"p{portal}\"\nshapes = {shapes:?}\ndirections = {directions}"
        )
        .unwrap();
    }

    fn write_level(&mut self, rng: &mut Rng, number: usize, portals: usize, schedules: usize) {
        let mut grants = Vec::new();
        for _ in 0..rng.usize(1..4) {
            let portal = if rng.u8(..3) == 0 { "*".to_owned() } else { format!("p{}", rng.usize(..portals)) };
            let schedule =
                if rng.u8(..4) == 0 { String::new() } else { format!(", schedule = \"s{}\"", rng.usize(..schedules)) };
            let directions = ["", ", directions = [\"entry\"]", ", directions = [\"exit\"]"][rng.usize(..3)];
            grants.push(format!("{{ portals = [\"{portal}\"]{schedule}{directions} }}"));
        }
        let grants = grants.join(", ");
        writeln!(self.building, "[[access_level]]\nname = \"l{number}\"\ngrants = [ {grants} ]").unwrap();
    }

    fn write_people(&mut self, rng: &mut Rng, holders: usize, levels: usize) {
        self.people = "holder,kind,group,state,access_levels,valid_from,valid_to\r\n".to_owned();
        for number in 0..holders {
            let kind = ["pupil", "staff", "guardian", "visitor", "guest"][rng.usize(..5)];
            let group = ["", "5А", "\"a, \"\"b\"\"\"", "teaching staff"][rng.usize(..4)];
            let state = ["active", "blocked", "left", "deleted"][rng.usize(..12).saturating_sub(8)];
            let names: Vec<_> = (0..levels).filter(|_| rng.u8(..3) > 0).map(|level| format!("l{level}")).collect();
            let names = names.join(";");
            let (from, to) = self.validity(rng);
            writeln!(self.people, "h{number},{kind},{group},{state},{names},{from},{to}\r").unwrap();
        }
    }

    fn write_cards(&mut self, rng: &mut Rng, holders: usize) {
        self.cards = "valid_to,card,holder,state,valid_from,blocked_until\r\n".to_owned();
        let mut known = BTreeSet::new();
        for _ in 0..rng.usize(1..24) {
            let (name, card) = random_card(rng);
            self.shown.push(card);
            // One in ten is shown and not in the roster.
            if rng.u8(..10) == 0 || !known.insert(name.clone()) {
                continue;
            }
            let state = STATES[if rng.bool() { 1 } else { rng.usize(..STATES.len()) }];
            let holderless = matches!(state, "in_stock" | "returned" | "destroyed") && rng.bool();
            let holder = if holderless { String::new() } else { format!("h{}", rng.usize(..holders)) };
            let (mut from, to) = self.validity(rng);
            if state == "issued_temporarily" && from.is_empty() {
                from = if to.is_empty() { self.edge(rng) } else { "1999-12-31".to_owned() };
            }
            let until = if state == "blocked_for_a_time" { self.edge(rng) } else { String::new() };
            writeln!(self.cards, "{to},{name},{holder},{state},{from},{until}\r").unwrap();
        }
    }

    /// A `valid_from` and a `valid_to` that comes after it, either of which may be empty.
    fn validity(&self, rng: &mut Rng) -> (String, String) {
        match rng.u8(..6) {
            0 => (self.edge(rng), String::new()),
            1 => (String::new(), self.edge(rng)),
            2 => {
                let (a, b) = (self.local(rng), self.local(rng));
                let in_order = self.instant(a) < self.instant(b.date().at(0, 0, 0, 0));
                let from = if in_order { written(rng, a) } else { "1999-12-31T23:59:59".to_owned() };
                (from, written(rng, b))
            }
            _ => (String::new(), String::new()),
        }
    }

    fn edge(&self, rng: &mut Rng) -> String {
        let local = self.local(rng);
        written(rng, local)
    }

    fn instant(&self, local: DateTime) -> i64 {
        self.zone.to_zoned(local).unwrap().timestamp().as_second()
    }
}

fn written(rng: &mut Rng, local: DateTime) -> String {
    match rng.u8(..3) {
        0 => local.date().to_string(),
        1 => local.strftime("%Y-%m-%dT%H:%M").to_string(),
        _ => local.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
    }
}

/// What a reader of `shape` makes of a UID.
fn read_of_uid(mut uid: Vec<u8>, shape: &str) -> Option<CardRead> {
    if shape.ends_with("-reversed") {
        uid.reverse();
    }
    let bits = match shape.split('-').next() {
        Some("w26") => 24,
        Some("w34") => 32,
        Some("w37") => 35,
        _ => return CardRead::from_uid(&uid),
    };
    let whole = uid.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    CardRead::from_wiegand(bits, u64::try_from(whole & ((1 << bits) - 1)).ok()?)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// A card of few different bytes, so that cuts collide; its name in the roster, and what is shown.
fn random_card(rng: &mut Rng) -> (String, Card) {
    if rng.u8(..6) > 0 {
        let len = [4, 7, 10][rng.usize(..3)];
        let uid: Vec<u8> = (0..len).map(|_| if rng.u8(..3) == 0 { rng.u8(..) } else { rng.u8(..3) }).collect();
        return (format!("uid:{}", hex::encode(&uid)), Card::Uid(uid));
    }
    let number = if rng.bool() { u64::from(rng.u8(..3)) << 16 | u64::from(rng.u8(..3)) } else { rng.u64(..1 << 24) };
    let reversed = if rng.bool() { "-reversed" } else { "" };
    match rng.u8(..3) {
        0 => (format!("w26{reversed}:{}-{}", number >> 16, number & 0xffff), Card::Number(24, number)),
        1 => (format!("w34{reversed}:{number}"), Card::Number(32, number)),
        _ => (format!("w37{reversed}:{number}"), Card::Number(35, number)),
    }
}

/// The read with one of its bits turned: another UID, or a Wiegand frame whose parity does not hold.
fn with_a_bit_turned(rng: &mut Rng, read: CardRead) -> CardRead {
    let bytes = read.to_bytes();
    let format = if bytes[0] == CardFormat::Uid.code() { CardFormat::Uid } else { CardFormat::Wiegand };
    let mut data: [u8; 14] = bytes[2..].try_into().unwrap();
    let bit = rng.usize(..usize::from(bytes[1]));
    data[bit / 8] ^= 0x80 >> (bit % 8);
    CardRead::new(format, bytes[1], data).unwrap()
}
