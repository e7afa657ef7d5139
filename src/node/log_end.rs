//! The end of the log against its copies in the bucket.
//!
//! A log that is cut off between two frames looks as if it had never been longer. Only synced entries are copied, so a copy of an
//! entry that the log does not have proves that the log has lost it; going on would give its offsets out a second time. And a log that is gone
//! looks like a new cell's, to which whatever lies in the bucket is nobody's: sweeps would delete it.

use futures::TryStreamExt;
use std::cmp::Ordering;
use strandline_compactor::{LOG_COPY_PREFIX, LogCopyName, SNAPSHOT_PREFIX, SnapshotName, names};
use strandline_index::Index;
use strandline_object_store::{ListError, Objects, Purpose};
use strandline_types::Seq;

/// Why the log is not gone on with.
#[derive(Debug, thiserror::Error)]
pub enum LogEndError {
    /// The bucket cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// Entries are gone.
    #[error(
        "the commit log is damaged: it ends with entry {head}, and {object} has entries up to {known}; move commit-log/ aside and run `strandline index rebuild --data DIR`, which loses less than restoring a backup"
    )]
    Cut {
        /// Where the log ends.
        head: Seq,
        /// What holds more.
        object: String,
        /// Where that ends.
        known: Seq,
    },
    /// The cell was rebuilt since, and goes on in another log.
    #[error(
        "the commit log is over: it is of epoch {epoch}, and {object} is of a later one, of a log that a rebuild began; put that one back, or move commit-log/ aside and run `strandline index rebuild --data DIR`"
    )]
    Over {
        /// The log's.
        epoch: u32,
        /// What is newer.
        object: String,
    },
    /// There is no log, and there was one.
    #[error(
        "the commit log is damaged: it has no entry, and store/{object} is of a cell that had some; {}restore the whole folder from a backup; for a new cell take a new folder",
        if *.can_be_rebuilt { "move commit-log/ aside, if it is there, and run `strandline index rebuild --data DIR`, or " } else { "" }
    )]
    Gone {
        /// What is there.
        object: String,
        /// There are snapshots or copies of the log.
        can_be_rebuilt: bool,
    },
}

/// Refuses a log whose last entry, `head`, lies before what this cell's copies or snapshots hold, one of before a rebuild, and an empty one
/// where a cell has left anything. `index` is what the start begins from.
///
/// # Errors
/// The bucket cannot be listed, or holds more than the log.
pub async fn check_log_end(head: Seq, index: &Index, objects: &Objects) -> Result<(), LogEndError> {
    if head == Seq::ZERO && index.cell.seq == Seq::ZERO {
        return demand_new(objects).await;
    }
    let copies = names::<LogCopyName>(objects, Purpose::LogCopy, LOG_COPY_PREFIX).await?;
    let copies = copies.into_iter().flatten().map(|copy| (copy.cell_epoch, copy.to, copy.to_string()));
    let snapshots = names::<SnapshotName>(objects, Purpose::Snapshot, SNAPSHOT_PREFIX).await?;
    let snapshots = snapshots.into_iter().flatten().map(|snapshot| (snapshot.cell_epoch, snapshot.seq, snapshot.to_string()));
    let Some((known_epoch, known, object)) = copies.chain(snapshots).max() else { return Ok(()) };
    let object = format!("store/{object}");
    // A rebuild begins a new epoch, and a log that goes on elsewhere: what is of earlier ones is not of this log.
    let epoch = index.cell.cell_epoch.max(FIRST_EPOCH);
    match known_epoch.cmp(&epoch) {
        Ordering::Greater => Err(LogEndError::Over { epoch, object }),
        Ordering::Equal if known > head.max(index.cell.seq) => Err(LogEndError::Cut { head, object, known }),
        _ => Ok(()),
    }
}

/// Before its first entry a cell has put nothing anywhere.
async fn demand_new(objects: &Objects) -> Result<(), LogEndError> {
    for (folder, can_be_rebuilt) in [("log", true), ("index", true), ("bronze", false), ("fresh", false), ("wal", false)] {
        if let Some(object) = objects.list(Purpose::Sweep, folder).try_next().await? {
            return Err(LogEndError::Gone { object: object.path, can_be_rebuilt });
        }
    }
    Ok(())
}

/// The epoch of a cell that was never rebuilt.
const FIRST_EPOCH: u32 = 1;
