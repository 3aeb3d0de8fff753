//! Events for people and other systems: JSON, CSV in the vocabulary of the existing system, and text.

mod csv;
mod json;
mod text;
pub(crate) mod words;

use clap::ValueEnum;
use kalitka_protocol::event::RawEvent;
use serde::{Deserialize, Serialize};

use crate::store::{Placed, Purge};
pub(crate) use csv::HEADER as CSV_HEADER;

/// How events are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// One line of words an event.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
    /// One line an event of somebody at a portal, in the columns and codes of the existing system; others are left out.
    Csv,
}

/// An event as it is shown: one that is kept, or one of the live lane, which has neither order number nor hash yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) order: Option<u64>,
    pub(crate) hash: Option<[u8; 32]>,
    pub(crate) raw: RawEvent<'a>,
}

impl<'a> From<Placed<'a>> for Shown<'a> {
    fn from(placed: Placed<'a>) -> Self {
        Self { order: Some(placed.order), hash: Some(placed.hash), raw: placed.raw }
    }
}

/// The line that stands in the place of events that have been purged, as JSON.
pub(crate) fn purged_line(purge: &Purge) -> String {
    let purged = serde_json::json!({
        "building": purge.building,
        "epoch": format!("{:016x}", purge.epoch.0),
        "through": purge.through,
        "order": purge.order,
        "count": purge.total,
        "before_us": purge.before_us,
    });
    format!("{{\"purged\":{purged}}}\n")
}

/// The same in words.
pub(crate) fn purged_words(purge: &Purge) -> String {
    format!(
        "purged: epoch {:016x} up to number {}, {} events in all from before {}; they are not shown\n",
        purge.epoch.0,
        purge.through,
        purge.total,
        text::time(purge.before_us)
    )
}

impl Shown<'_> {
    /// One line with its end; `None` when the format leaves the event out.
    pub(crate) fn line(&self, format: Format) -> Option<String> {
        match format {
            Format::Text => Some(text::line(self)),
            Format::Json => Some(json::line(self)),
            Format::Csv => csv::line(self),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
