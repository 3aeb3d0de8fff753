//! `outbox export`: every whole event, as lines of JSON or as its bytes.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Ended, Export, Format, event, failed, survey};
use crate::failure::Failure;

/// Writes the events of the folder out.
///
/// # Errors
/// [`Failure`] when it cannot be read, or the output takes nothing.
pub(super) fn export(asked: &Export) -> Result<Ended, Failure> {
    let survey = survey(&asked.folder)?;
    let standard = Path::new("standard output");
    let (mut out, place): (Box<dyn Write>, &Path) = match &asked.out {
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let remedy = "name a file that is not there yet, in a folder that takes it";
            (Box::new(BufWriter::new(file.map_err(|error| Failure::at(path, "make it", &error, remedy))?)), path)
        }
        None => (Box::new(BufWriter::new(io::stdout().lock())), standard),
    };
    let mut written = Ok(());
    let (mut count, mut epochs) = (0_u64, survey.epochs());
    let read = survey.events(&mut |raw, hash| {
        if asked.epoch.is_some_and(|epoch| epoch != raw.header.epoch) {
            return true;
        }
        count += 1;
        written = match asked.format {
            Format::Raw => out.write_all(raw.bytes),
            Format::Jsonl => out.write_all(event::line(raw, hash).as_bytes()),
        };
        written.is_ok()
    });
    read.map_err(|error| failed(&error))?;
    match written.and_then(|()| out.flush()) {
        // Who reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Ended::Whole),
        written => written.map_err(|error| Failure::at(place, "write", &error, "give it a place that takes it"))?,
    }
    epochs.retain(|found| asked.epoch.is_none_or(|epoch| epoch == found.epoch));
    let missing: u64 = epochs.iter().flat_map(|found| &found.holes).map(|hole| hole.1 - hole.0 + 1).sum();
    // Standard output is the events' own; with standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{count} events; {missing} are missing: `outbox verify` says which");
    Ok(if missing == 0 { Ended::Whole } else { Ended::Damaged })
}
