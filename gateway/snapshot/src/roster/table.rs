//! CSV files (RFC 4180) with a header row: columns in any order, each exactly once.

use std::io::Read;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use jiff::tz::TimeZone;

use super::fault::{Faults, RosterError};
use super::strict::Strict;
use super::time::{DateMeans, NoMoment, moment};
use crate::file::open_regular;
use crate::limits::{FIELD_BYTES_MAX, TABLE_BYTES_MAX};

/// One row, its fields in the order of the columns asked for.
pub(super) struct Row<'a, const N: usize> {
    file: &'static str,
    names: &'a [&'static str; N],
    /// Place in the file of each column.
    places: &'a [usize; N],
    fields: [&'a str; N],
    pub(super) line: u64,
    pub(super) faults: &'a mut Faults,
}

impl<'a, const N: usize> Row<'a, N> {
    pub(super) const fn text(&self, column: usize) -> &'a str {
        self.fields[column]
    }

    pub(super) fn fault(&mut self, column: usize, what: impl Into<String>, remedy: impl Into<String>) {
        self.faults.add(RosterError {
            file: self.file,
            line: self.line,
            column: self.places[column] as u64 + 1,
            field: self.names[column].to_owned(),
            value: self.fields[column].to_owned(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    /// The value that `known` gives the field's text.
    pub(super) fn one_of<T: Copy>(&mut self, column: usize, known: &[(&str, T)]) -> Option<T> {
        let found = known.iter().find(|(label, _)| *label == self.text(column)).map(|(_, value)| *value);
        if found.is_none() {
            let labels: Vec<&str> = known.iter().map(|(label, _)| *label).collect();
            self.fault(column, "unknown value", format!("write one of {}", labels.join(", ")));
        }
        found
    }

    /// The moment in a field, or `empty` when nothing stands there.
    pub(super) fn moment(&mut self, column: usize, zone: &TimeZone, means: DateMeans, empty: u32) -> Option<u32> {
        if self.text(column).is_empty() {
            return Some(empty);
        }
        match moment(self.text(column), zone, means) {
            Ok(second) => Some(second),
            Err(NoMoment(what, remedy)) => {
                self.fault(column, what, remedy);
                None
            }
        }
    }
}

/// Reads `file`, giving each sound row to `take`, and of each other row what stands in the first of the columns `names`.
///
/// Stops at what makes the rest unreadable. Gives the places of the columns, unless rows were not reached or may have run
/// together.
pub(super) fn read<const N: usize>(
    folder: &Path,
    file: &'static str,
    names: &[&'static str; N],
    faults: &mut Faults,
    mut take: impl FnMut(Result<&mut Row<'_, N>, &str>),
) -> Option<[usize; N]> {
    let source = source(folder, file, faults)?;
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source);
    let mut record = ByteRecord::new();
    let mut places = None;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                unreadable(folder, file, &error, faults);
                return None;
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        let Some(places) = &places else {
            places = Some(header(file, line, names, &record, faults)?);
            continue;
        };
        match sound_fields(file, line, &record, places, names, faults) {
            Some(fields) => take(Ok(&mut Row { file, names, places, fields, line, faults })),
            None => take(Err(record.get(places[0]).and_then(|field| str::from_utf8(field).ok()).unwrap_or_default())),
        }
    }
    let is_strict = reader.get_mut().finish(file, faults);
    if places.is_none() {
        faults.of_file(file, "empty", format!("begin it with the row {}", names.join(",")).as_str());
    }
    places.filter(|_| is_strict)
}

/// The bytes of `file`, when it is there and not too long.
fn source(folder: &Path, file: &'static str, faults: &mut Faults) -> Option<Strict<impl Read + use<>>> {
    let source = open_regular(&folder.join(file)).map_err(|error| faults.of_system(folder, file, &error)).ok()?;
    if source.metadata().is_ok_and(|metadata| metadata.len() > TABLE_BYTES_MAX) {
        faults.of_file(file, format!("larger than {TABLE_BYTES_MAX} bytes"), "split the building");
        return None;
    }
    Some(Strict::new(source.take(TABLE_BYTES_MAX)))
}

fn unreadable(folder: &Path, file: &'static str, error: &csv::Error, faults: &mut Faults) {
    match error.kind() {
        csv::ErrorKind::Io(error) => faults.of_system(folder, file, error),
        _ => faults.of_file(file, error.to_string(), "correct it"),
    }
}

/// The places of the columns in the header row.
fn header<const N: usize>(
    file: &'static str,
    line: u64,
    names: &[&'static str; N],
    record: &ByteRecord,
    faults: &mut Faults,
) -> Option<[usize; N]> {
    let mut places = [None; N];
    let mut sound = true;
    for (at, field) in record.iter().enumerate() {
        let text = String::from_utf8_lossy(field).into_owned();
        let known = names.iter().position(|name| *name == text);
        let what = match known {
            None => "this column is unknown",
            Some(column) if places[column].is_some() => "this column is there twice",
            Some(column) => {
                places[column] = Some(at);
                continue;
            }
        };
        sound = false;
        let remedy = format!("the columns are {}", names.join(","));
        let column = at as u64 + 1;
        faults.add(RosterError { file, line, column, field: text.clone(), value: text, what: what.into(), remedy });
    }
    for (name, _) in names.iter().zip(&places).filter(|(_, place)| place.is_none()) {
        sound = false;
        let (what, remedy) = ("this column is missing".to_owned(), format!("the columns are {}", names.join(",")));
        faults.add(RosterError { file, line, column: 0, field: (*name).into(), value: String::new(), what, remedy });
    }
    sound.then(|| places.map(Option::unwrap_or_default))
}

/// The fields asked for, when the row has as many as the header and each is plain text.
fn sound_fields<'a, const N: usize>(
    file: &'static str,
    line: u64,
    record: &'a ByteRecord,
    places: &[usize; N],
    names: &[&'static str; N],
    faults: &mut Faults,
) -> Option<[&'a str; N]> {
    // A header without errors has each of the columns once and no other.
    if record.len() != N {
        let at = record.len().min(N);
        let field = places.iter().position(|&place| place == at).map_or("", |column| names[column]).to_owned();
        let value = record.get(at).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let what = format!("the row has {} fields, the header {N}", record.len());
        let remedy = "correct the row; a field with a comma needs quotes".to_owned();
        faults.add(RosterError { file, line, column: at as u64 + 1, field, value, what, remedy });
        return None;
    }
    let mut fields = [""; N];
    let mut sound = true;
    for ((field, &place), name) in fields.iter_mut().zip(places).zip(names) {
        match plain_text(record.get(place).unwrap_or_default()) {
            Ok(text) => *field = text,
            Err((what, remedy)) => {
                sound = false;
                let value = String::from_utf8_lossy(record.get(place).unwrap_or_default()).into_owned();
                let column = place as u64 + 1;
                let (field, what, remedy) = ((*name).into(), what.into(), remedy.into());
                faults.add(RosterError { file, line, column, field, value, what, remedy });
            }
        }
    }
    sound.then_some(fields)
}

fn plain_text(field: &[u8]) -> Result<&str, (&'static str, &'static str)> {
    if field.len() > FIELD_BYTES_MAX {
        return Err(("the field is far too long", "look for a quote that is not closed"));
    }
    let text = core::str::from_utf8(field).map_err(|_| ("not UTF-8", "save the file as UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(("the field has a line break or another control character", "look for a quote that is not closed"));
    }
    Ok(text)
}
