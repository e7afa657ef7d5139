//! Losses that are written down before the snapshot that knows them as holes: a rebuild that does not end between the two and the
//! new log is run again, and names them all the same.
//!
//! `DIR/rebuild-losses`, a line for each loss: the epoch that the rebuild which found it was to begin, records, and what is said of
//! them, with tabs between.

use super::Report;
use crate::node::{Folder, FolderError, REBUILD_LOSSES};
use anyhow::Context as _;
use std::fmt::Write as _;
use std::io::ErrorKind;

/// A loss that an earlier rebuild has named.
pub(super) struct Named {
    epoch: u32,
    records: i64,
    line: String,
}

/// What earlier rebuilds that did not end have named and the index in hand, of this epoch, knows as holes. One that is older still finds
/// them itself.
pub(super) fn read(folder: &Folder, index_epoch: u32) -> anyhow::Result<Vec<Named>> {
    let path = folder.path(REBUILD_LOSSES);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("{} cannot be read", path.display()))?,
    };
    let damaged =
        || format!("{} is damaged: move it away to go on without what an earlier rebuild has named as lost", path.display());
    let mut named = text.lines().map(parse).collect::<Option<Vec<_>>>().with_context(damaged)?;
    named.retain(|named| named.epoch <= index_epoch);
    Ok(named)
}

fn parse(line: &str) -> Option<Named> {
    let mut fields = line.splitn(3, '\t');
    let (epoch, records, line) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Named { epoch: epoch.parse().ok()?, records: records.parse().ok()?, line: line.to_owned() })
}

/// Adds what earlier rebuilds have named to the report of this one, which is to begin `epoch`, and writes down all that is lost.
pub(super) fn write(folder: &Folder, epoch: u32, earlier: Vec<Named>, report: &mut Report) -> Result<(), FolderError> {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut add = |epoch: u32, records: i64, line: &str| {
        let _ = writeln!(text, "{epoch}\t{records}\t{line}");
    };
    report.losses.iter().for_each(|(records, line)| add(epoch, *records, line));
    for Named { epoch, records, line } in earlier {
        // Sealed files that are gone are found to be gone each time.
        if !report.losses.iter().any(|(_, said)| *said == line) {
            add(epoch, records, &line);
            report.lose(records, line);
        }
    }
    folder.replace(REBUILD_LOSSES, &text)
}

/// The new log has begun: nothing of it is needed any more. A start on that log removes it, too.
pub(super) fn forget(folder: &Folder, report: &mut Report) {
    if let Err(error) = folder.remove(REBUILD_LOSSES) {
        report.say(format!("what is written down of the losses is of no use any more and could not be removed: {error}"));
    }
}
