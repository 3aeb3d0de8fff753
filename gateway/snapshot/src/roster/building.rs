//! `building.toml`: the building, its portals and readers, and who may pass them when.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use jiff::tz::TimeZone;
use kalitka_protocol::credential::{Shape, ShapeSet};
use kalitka_protocol::reason::FallBack;
use toml::de::DeTable;

use super::document::{Document, FILE, Fields, Item, Word};
use super::fault::Faults;
use super::week::{day, intervals_of, merged, minute};
use crate::file::open_regular;
use crate::limits::*;
use crate::model::{
    ALWAYS, AccessLevel, ENTRY, EXIT, Interval, LevelGrant, ModeRule, Portal, PortalMode, Reader, Schedule,
};

const HOLD_OPEN_MS: u32 = 5_000;

const MODES: [(&str, PortalMode); 5] = [
    ("normal", PortalMode::Normal),
    ("closed", PortalMode::Closed),
    ("free", PortalMode::Free),
    ("entry_only", PortalMode::EntryOnly),
    ("exit_only", PortalMode::ExitOnly),
];
const DIRECTIONS: [(&str, u8); 2] = [("entry", ENTRY), ("exit", EXIT)];

/// The table `[building]`.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) number: u32,
    pub(crate) organisation: u32,
    pub(crate) name: String,
    pub(crate) zone_name: String,
    pub(crate) zone: TimeZone,
}

/// All that `building.toml` says.
#[derive(Debug)]
pub(crate) struct Building {
    pub(crate) head: Head,
    pub(crate) areas: Vec<String>,
    pub(crate) portals: Vec<Portal>,
    /// Ascending by number.
    pub(crate) readers: Vec<Reader>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) access_levels: Vec<AccessLevel>,
    /// Places of the access levels by name.
    pub(crate) level_places: HashMap<String, u16>,
}

/// Reads the file. With errors noted a building may still come back, for the sake of what refers to it.
pub(super) fn read(folder: &Path, faults: &mut Faults) -> Option<Building> {
    let text = read_text(folder, faults)?;
    let (root, errors) = DeTable::parse_recoverable(&text);
    let mut document = Document::new(&text, faults);
    document.syntax(&errors);
    if !errors.is_empty() {
        return None;
    }
    Some(building(&mut document, &Fields::root(root.get_ref())))
}

fn read_text(folder: &Path, faults: &mut Faults) -> Option<String> {
    let mut bytes = Vec::new();
    let file = open_regular(&folder.join(FILE));
    let read = file.and_then(|file| file.take(BUILDING_BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        faults.of_system(folder, FILE, &error);
        return None;
    }
    if bytes.len() as u64 > BUILDING_BYTES_MAX {
        faults.of_file(FILE, format!("larger than {BUILDING_BYTES_MAX} bytes"), "remove what does not belong there");
        return None;
    }
    let text = String::from_utf8(bytes);
    if text.is_err() {
        faults.of_file(FILE, "not UTF-8", "save the file as UTF-8");
    }
    text.ok()
}

/// Names of one kind of thing, in the order of the file.
struct Names {
    kind: &'static str,
    list: Vec<String>,
    places: HashMap<String, u16>,
}

impl Names {
    fn of(document: &mut Document<'_>, kind: &'static str, tables: &[Fields<'_>]) -> Self {
        let mut names = Self { kind, list: Vec::new(), places: HashMap::new() };
        for (place, fields) in (0u16..).zip(tables) {
            let name = fields.name(document, "name");
            names.list.push(name.as_ref().map_or_else(String::new, |name| name.text.to_owned()));
            let Some(name) = name else { continue };
            if names.places.insert(name.text.to_owned(), place).is_some() {
                document.fault(&name.spot, format!("another {kind} has this name"), "give each its own");
            }
        }
        names
    }

    fn place(&self, document: &mut Document<'_>, word: &Word<'_>) -> Option<u16> {
        let place = self.places.get(word.text).copied();
        if place.is_none() {
            let kind = self.kind;
            document.fault(&word.spot, format!("no such {kind}"), format!("name one of the [[{kind}]] tables"));
        }
        place
    }
}

/// What the tables refer to.
struct Context {
    areas: Names,
    portals: Names,
    schedules: Names,
}

fn building(document: &mut Document<'_>, root: &Fields<'_>) -> Building {
    root.only(document, &["building", "area", "portal", "reader", "schedule", "access_level"]);
    let areas = root.tables(document, "area", AREAS_MAX);
    let portals = root.tables(document, "portal", PORTALS_MAX);
    let readers = root.tables(document, "reader", READERS_MAX);
    let schedules = root.tables(document, "schedule", SCHEDULES_MAX);
    let levels = root.tables(document, "access_level", ACCESS_LEVELS_MAX);
    let head = head(document, root);
    areas.iter().for_each(|area| area.only(document, &["name"]));
    let context = Context {
        areas: Names::of(document, "area", &areas),
        portals: Names::of(document, "portal", &portals),
        schedules: Names::of(document, "schedule", &schedules),
    };
    let level_names = Names::of(document, "access_level", &levels);
    let named = portals.iter().zip(&context.portals.list);
    let portals = named.filter_map(|(fields, name)| portal(document, &context, fields, name)).collect();
    let readers = self::readers(document, &context, &readers);
    let named = schedules.iter().zip(&context.schedules.list);
    let schedules = named.map(|(fields, name)| schedule(document, fields, name)).collect();
    let named = levels.iter().zip(&level_names.list);
    let access_levels = named.map(|(fields, name)| access_level(document, &context, fields, name)).collect();
    let (areas, level_places) = (context.areas.list, level_names.places);
    Building { head, areas, portals, readers, schedules, access_levels, level_places }
}

/// What is missing or wrong in the head gets a stand-in: an error is noted, and the rest is worth reading still.
fn head(document: &mut Document<'_>, root: &Fields<'_>) -> Head {
    let mut head =
        Head { number: 0, organisation: 0, name: String::new(), zone_name: String::new(), zone: TimeZone::UTC };
    let Some(fields) = root.need(document, "building").and_then(|item| item.fields(document)) else { return head };
    fields.only(document, &["number", "organisation", "name", "time_zone"]);
    head.number = fields.number(document, "number", 1..=u32::MAX).unwrap_or_default();
    head.organisation = fields.number(document, "organisation", 1..=u32::MAX).unwrap_or_default();
    head.name = fields.name(document, "name").map_or_else(String::new, |name| name.text.to_owned());
    let Some(zone_name) = fields.name(document, "time_zone") else { return head };
    head.zone_name = zone_name.text.to_owned();
    match TimeZone::get(zone_name.text) {
        Ok(zone) => head.zone = zone,
        Err(_) => document.fault(&zone_name.spot, "no such time zone", "write an IANA name such as Europe/Moscow"),
    }
    head
}

fn portal(document: &mut Document<'_>, context: &Context, fields: &Fields<'_>, name: &str) -> Option<Portal> {
    fields.only(document, &["name", "from", "to", "mode", "modes", "hold_open_ms", "fall_back"]);
    let from = fields.word(document, "from").and_then(|word| context.areas.place(document, &word));
    let to = fields.word(document, "to").and_then(|word| context.areas.place(document, &word));
    let mode = label_or(document, fields, "mode", &MODES, PortalMode::Normal);
    let rules = fields.tables(document, "modes", MODE_RULES_MAX);
    let modes: Vec<_> = rules.iter().filter_map(|rule| mode_rule(document, context, rule)).collect();
    let range = u32::from(HOLD_OPEN_MS_MIN)..=u32::from(HOLD_OPEN_MS_MAX);
    let hold_open_ms = match fields.item("hold_open_ms") {
        Some(item) => item.number(document, range),
        None => Some(HOLD_OPEN_MS),
    };
    let fall_backs: Vec<_> = FallBack::ALL.iter().map(|mode| (mode.label(), *mode)).collect();
    let fall_back = label_or(document, fields, "fall_back", &fall_backs, FallBack::Closed);
    Some(Portal {
        name: name.to_owned(),
        from: from?,
        to: to?,
        mode: mode? as u8,
        modes,
        hold_open_ms: u16::try_from(hold_open_ms?).ok()?,
        fall_back: fall_back?.code(),
    })
}

fn mode_rule(document: &mut Document<'_>, context: &Context, fields: &Fields<'_>) -> Option<ModeRule> {
    fields.only(document, &["schedule", "mode"]);
    let schedule = fields.word(document, "schedule").and_then(|word| context.schedules.place(document, &word));
    let mode = fields.need(document, "mode").and_then(|item| label(document, &item, &MODES));
    Some(ModeRule { schedule: schedule?, mode: mode? as u8 })
}

fn readers(document: &mut Document<'_>, context: &Context, tables: &[Fields<'_>]) -> Vec<Reader> {
    let mut numbers = HashSet::new();
    let mut readers: Vec<Reader> = Vec::new();
    for fields in tables {
        let reader = reader(document, context, fields, &mut numbers);
        readers.extend(reader);
    }
    readers.sort_unstable_by_key(|reader| reader.number);
    readers
}

fn reader(
    document: &mut Document<'_>,
    context: &Context,
    fields: &Fields<'_>,
    numbers: &mut HashSet<u32>,
) -> Option<Reader> {
    fields.only(document, &["number", "portal", "shapes", "directions"]);
    let item = fields.need(document, "number");
    let number = item.as_ref().and_then(|item| item.number(document, 1..=u32::MAX));
    if let (Some(item), Some(number)) = (item, number)
        && !numbers.insert(number)
    {
        document.fault(&item.spot, "another reader has this number", "give each its own");
    }
    let portal = fields.word(document, "portal").and_then(|word| context.portals.place(document, &word));
    let shapes = shapes(document, fields);
    let directions = directions(document, fields);
    Some(Reader { number: number?, portal: portal?, shapes: shapes?.bits(), directions: directions? })
}

fn shapes(document: &mut Document<'_>, fields: &Fields<'_>) -> Option<ShapeSet> {
    let known: Vec<_> = Shape::ALL.iter().map(|shape| (shape.label(), *shape)).collect();
    let whole = fields.need(document, "shapes")?;
    let items = whole.list(document);
    if items.is_empty() {
        document.fault(&whole.spot, "a reader sends at least one shape", "list what it sends, such as [\"uid\"]");
    }
    let mut set = ShapeSet::default();
    for item in &items {
        let Some(shape) = label(document, item, &known) else { continue };
        let other = Shape::ALL
            .chunks(2)
            .find(|pair| pair.contains(&shape))
            .and_then(|pair| pair.iter().find(|&&other| other != shape));
        if let Some(other) = other.filter(|&&other| set.contains(other)) {
            let what = format!(
                "a reader cannot send both {} and {}: nobody could tell them apart",
                other.label(),
                shape.label()
            );
            document.fault(&item.spot, what, "keep the byte order that it sends");
        }
        set = set.with(shape);
    }
    Some(set)
}

fn directions(document: &mut Document<'_>, fields: &Fields<'_>) -> Option<u8> {
    let Some(whole) = fields.item("directions") else { return Some(ENTRY | EXIT) };
    let items = whole.list(document);
    if items.is_empty() {
        document.fault(&whole.spot, "at least one direction is needed", "write entry, exit or both");
        return None;
    }
    items.iter().try_fold(0, |all, item| Some(all | label(document, item, &DIRECTIONS)?))
}

fn schedule(document: &mut Document<'_>, fields: &Fields<'_>, name: &str) -> Schedule {
    fields.only(document, &["name", "intervals"]);
    let mut intervals = Vec::new();
    for item in fields.needed_list(document, "intervals") {
        let Some(table) = item.fields(document) else { continue };
        intervals.extend(interval(document, &table).unwrap_or_default());
    }
    let intervals = merged(intervals);
    if intervals.len() > INTERVALS_MAX {
        let what = format!("{} intervals a week, but at most {INTERVALS_MAX} are allowed", intervals.len());
        document.fault(&fields.spot, what, "join some");
    }
    Schedule { name: name.to_owned(), intervals }
}

fn interval(document: &mut Document<'_>, fields: &Fields<'_>) -> Option<Vec<Interval>> {
    fields.only(document, &["days", "from", "to"]);
    let from = fields.word(document, "from").and_then(|word| clock(document, &word, 23 * 60 + 59));
    let to = fields.word(document, "to").and_then(|word| clock(document, &word, 24 * 60));
    let whole = fields.need(document, "days")?;
    let items = whole.list(document);
    if items.is_empty() {
        document.fault(&whole.spot, "at least one day is needed", "list days: mon, tue, wed, thu, fri, sat, sun");
    }
    let mut days = Vec::new();
    for word in items.iter().filter_map(|item| item.word(document)).collect::<Vec<_>>() {
        match day(word.text) {
            Some(day) => days.push(day),
            None => document.fault(&word.spot, "no such day", "write mon, tue, wed, thu, fri, sat or sun"),
        }
    }
    let (from, to) = (from?, to?);
    Some(days.into_iter().flat_map(|day| intervals_of(day, from, to)).collect())
}

fn clock(document: &mut Document<'_>, word: &Word<'_>, latest: u16) -> Option<u16> {
    let minute = minute(word.text).filter(|&minute| minute <= latest);
    if minute.is_none() {
        document.fault(&word.spot, "no time of day", "write HH:MM, 00:00 to 23:59; 24:00 only as an end");
    }
    minute
}

fn access_level(document: &mut Document<'_>, context: &Context, fields: &Fields<'_>, name: &str) -> AccessLevel {
    fields.only(document, &["name", "grants"]);
    let mut grants = Vec::new();
    for item in fields.needed_list(document, "grants") {
        let Some(table) = item.fields(document) else { continue };
        grants.extend(level_grants(document, context, &table).unwrap_or_default());
    }
    if grants.len() > GRANTS_MAX {
        let what = format!("{} pairs of portal and schedule, but at most {GRANTS_MAX} are allowed", grants.len());
        document.fault(&fields.spot, what, "split the access level");
    }
    AccessLevel { name: name.to_owned(), grants }
}

fn level_grants(document: &mut Document<'_>, context: &Context, fields: &Fields<'_>) -> Option<Vec<LevelGrant>> {
    fields.only(document, &["portals", "schedule", "directions"]);
    let schedule = match fields.item("schedule") {
        Some(item) => item.word(document).and_then(|word| context.schedules.place(document, &word)),
        None => Some(ALWAYS),
    };
    let directions = directions(document, fields);
    let mut portals = Vec::new();
    for item in fields.needed_list(document, "portals") {
        match item.word(document) {
            Some(word) if word.text == "*" => portals.extend((0u16..).zip(&context.portals.list).map(|(at, _)| at)),
            Some(word) => portals.extend(context.portals.place(document, &word)),
            None => {}
        }
    }
    let (schedule, directions) = (schedule?, directions?);
    Some(portals.into_iter().map(|portal| LevelGrant { portal, schedule, directions }).collect())
}

/// The value that `known` gives the item's text.
fn label<T: Copy>(document: &mut Document<'_>, item: &Item<'_>, known: &[(&str, T)]) -> Option<T> {
    let word = item.word(document)?;
    let found = known.iter().find(|(label, _)| *label == word.text).map(|(_, value)| *value);
    if found.is_none() {
        let labels: Vec<&str> = known.iter().map(|(label, _)| *label).collect();
        document.fault(&word.spot, "unknown value", format!("write one of {}", labels.join(", ")));
    }
    found
}

fn label_or<T: Copy>(
    document: &mut Document<'_>,
    fields: &Fields<'_>,
    key: &str,
    known: &[(&str, T)],
    or: T,
) -> Option<T> {
    match fields.item(key) {
        Some(item) => label(document, &item, known),
        None => Some(or),
    }
}
