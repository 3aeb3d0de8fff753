//! `building.toml` as a tree whose every error is noted with its line and column.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Faults, RosterError};
use crate::limits::NAME_BYTES_MAX;

pub(super) const FILE: &str = "building.toml";

/// The text, and where errors go.
pub(super) struct Document<'a> {
    text: &'a str,
    faults: &'a mut Faults,
}

/// A value's place: its bytes in the text and its key's path.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    span: Range<usize>,
    field: String,
}

/// A string and its place.
#[derive(Clone, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) spot: Spot,
}

/// A value and its place.
pub(super) struct Item<'a> {
    value: &'a DeValue<'a>,
    pub(super) spot: Spot,
}

/// A table and its place.
pub(super) struct Fields<'a> {
    table: &'a DeTable<'a>,
    pub(super) spot: Spot,
}

impl<'a> Document<'a> {
    pub(super) const fn new(text: &'a str, faults: &'a mut Faults) -> Self {
        Self { text, faults }
    }

    pub(super) fn fault(&mut self, spot: &Spot, what: impl Into<String>, remedy: impl Into<String>) {
        if self.faults.skip() {
            return;
        }
        let before = self.text.get(..spot.span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let value = self.text.get(spot.span.clone()).unwrap_or_default();
        self.faults.add(RosterError {
            file: FILE,
            line: before.matches('\n').count() as u64 + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() as u64 + 1,
            field: spot.field.clone(),
            value: value.lines().next().unwrap_or_default().trim_matches('"').to_owned(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    /// Notes what the parser says of the text.
    pub(super) fn syntax(&mut self, errors: &[toml::de::Error]) {
        for error in errors {
            let spot = Spot { span: error.span().unwrap_or(0..0), field: String::new() };
            self.fault(&spot, format!("not TOML: {}", error.message().replace('\n', ", ")), "correct the line");
        }
    }
}

impl<'a> Fields<'a> {
    /// The document's root.
    pub(super) const fn root(table: &'a DeTable<'a>) -> Self {
        Self { table, spot: Spot { span: 0..0, field: String::new() } }
    }

    /// Notes every key that is not `known`.
    pub(super) fn only(&self, document: &mut Document<'_>, known: &[&str]) {
        for (key, _) in self.table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let spot = Spot { span: key.span(), field: self.path(key.get_ref()) };
            document.fault(&spot, "this key is unknown", format!("remove it; known here are {}", known.join(", ")));
        }
    }

    fn path(&self, key: &str) -> String {
        if self.spot.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.spot.field) }
    }

    pub(super) fn item(&self, key: &str) -> Option<Item<'a>> {
        let (_, value) = self.table.iter().find(|(known, _)| known.get_ref().as_ref() == key)?;
        Some(Item::new(value, self.path(key)))
    }

    /// The value of a key that must be there.
    pub(super) fn need(&self, document: &mut Document<'_>, key: &str) -> Option<Item<'a>> {
        let item = self.item(key);
        if item.is_none() {
            let spot = Spot { span: self.spot.span.clone(), field: self.path(key) };
            document.fault(&spot, "this key is missing", format!("add `{key} = …`"));
        }
        item
    }

    /// A string that must be there.
    pub(super) fn word(&self, document: &mut Document<'_>, key: &str) -> Option<Word<'a>> {
        self.need(document, key)?.word(document)
    }

    /// A name that must be there.
    pub(super) fn name(&self, document: &mut Document<'_>, key: &str) -> Option<Word<'a>> {
        let word = self.word(document, key)?;
        let sound =
            !word.text.is_empty() && word.text.len() <= NAME_BYTES_MAX && !word.text.chars().any(char::is_control);
        if !sound {
            let what = format!("a name has 1 to {NAME_BYTES_MAX} bytes and no control characters");
            document.fault(&word.spot, what, "give another name");
        }
        sound.then_some(word)
    }

    /// A whole number that must be there.
    pub(super) fn number(&self, document: &mut Document<'_>, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        self.need(document, key)?.number(document, range)
    }

    /// The items of an array; none when the key is not there.
    pub(super) fn list(&self, document: &mut Document<'_>, key: &str) -> Vec<Item<'a>> {
        self.item(key).map_or_else(Vec::new, |item| item.list(document))
    }

    /// The items of an array that must be there.
    pub(super) fn needed_list(&self, document: &mut Document<'_>, key: &str) -> Vec<Item<'a>> {
        self.need(document, key).map_or_else(Vec::new, |item| item.list(document))
    }

    /// The tables of an array of tables.
    pub(super) fn tables(&self, document: &mut Document<'_>, key: &str, max: usize) -> Vec<Fields<'a>> {
        let items = self.list(document, key);
        if items.len() > max {
            let spot = Spot { span: items[max].spot.span.clone(), field: self.path(key) };
            document.fault(&spot, format!("{} of them, but at most {max} are allowed", items.len()), "remove some");
            return Vec::new();
        }
        items.iter().filter_map(|item| item.fields(document)).collect()
    }
}

impl<'a> Item<'a> {
    fn new(value: &'a Spanned<DeValue<'a>>, field: String) -> Self {
        Self { value: value.get_ref(), spot: Spot { span: value.span(), field } }
    }

    fn wrong_kind(&self, document: &mut Document<'_>, wanted: &str) {
        let what = format!("{wanted} belongs here, not a value of kind {}", self.value.type_str());
        document.fault(&self.spot, what, format!("write {wanted}"));
    }

    pub(super) fn word(&self, document: &mut Document<'_>) -> Option<Word<'a>> {
        let word = self.value.as_str().map(|text| Word { text, spot: self.spot.clone() });
        if word.is_none() {
            self.wrong_kind(document, "a string");
        }
        word
    }

    pub(super) fn number(&self, document: &mut Document<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let Some(integer) = self.value.as_integer() else {
            self.wrong_kind(document, "a whole number");
            return None;
        };
        let number =
            u32::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| range.contains(number));
        if number.is_none() {
            let what = format!("the number must be {} to {}", range.start(), range.end());
            document.fault(&self.spot, what, "correct it");
        }
        number
    }

    pub(super) fn list(&self, document: &mut Document<'_>) -> Vec<Self> {
        let Some(array) = self.value.as_array() else {
            self.wrong_kind(document, "an array");
            return Vec::new();
        };
        let place = |at: usize| format!("{}[{}]", self.spot.field, at + 1);
        array.iter().enumerate().map(|(at, value)| Item::new(value, place(at))).collect()
    }

    pub(super) fn fields(&self, document: &mut Document<'_>) -> Option<Fields<'a>> {
        let table = self.value.as_table().map(|table| Fields { table, spot: self.spot.clone() });
        if table.is_none() {
            self.wrong_kind(document, "a table");
        }
        table
    }
}
