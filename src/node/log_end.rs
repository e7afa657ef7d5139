//! The end of the log against its copies in the bucket.
//!
//! A log that is cut off between two frames looks as if it had never been longer. Only synced entries are copied, so a copy of an
//! entry that the log does not have proves that the log has lost it; going on would give its offsets out a second time. And a log that is gone
//! looks like a new cell's, to which whatever lies in the bucket is nobody's: sweeps would delete it.

use futures::TryStreamExt;
use strandline_compactor::{LOG_COPY_PREFIX, LogCopyName, names};
use strandline_index::Index;
use strandline_object_store::{ListError, Objects, Purpose};
use strandline_types::Seq;

/// Why the log is not gone on with.
#[derive(Debug, thiserror::Error)]
pub enum LogEndError {
    /// The copies cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// Entries are gone.
    #[error(
        "the commit log is damaged: it ends with entry {head}, and {copy} has entries up to {copied}; put the log back from a backup, or move commit-log/ aside and run `strandline index rebuild --data DIR`"
    )]
    Cut {
        /// Where the log ends.
        head: Seq,
        /// The newest copy.
        copy: String,
        /// Where it ends.
        copied: Seq,
    },
    /// There is no log, and there was one.
    #[error(
        "the commit log is damaged: it has no entry, and {object} is of a cell that had some; put the log back from a backup, or move commit-log/ aside and run `strandline index rebuild --data DIR`; for a new cell take a new folder"
    )]
    Gone {
        /// What is there.
        object: String,
    },
}

/// Refuses a log whose last entry, `head`, lies before what this cell's copies hold, and an empty one where a cell has left anything. `index`
/// is what the start begins from.
///
/// # Errors
/// The bucket cannot be listed, or holds more than the log.
pub async fn check_log_end(head: Seq, index: &Index, objects: &Objects) -> Result<(), LogEndError> {
    if head == Seq::ZERO && index.cell.seq == Seq::ZERO {
        return demand_new(objects).await;
    }
    // A rebuild begins a new epoch, and a log that goes on elsewhere: copies of earlier ones are not of this log, and where there are
    // later ones, this log's time is over.
    let epoch = index.cell.cell_epoch.max(FIRST_EPOCH);
    let copies = names::<LogCopyName>(objects, Purpose::LogCopy, LOG_COPY_PREFIX).await?;
    let newest = copies.into_iter().flatten().max_by_key(|name| (name.cell_epoch, name.to));
    match newest {
        Some(copy) if copy.cell_epoch > epoch || (copy.cell_epoch == epoch && copy.to > head) => {
            Err(LogEndError::Cut { head, copy: format!("store/{copy}"), copied: copy.to })
        }
        _ => Ok(()),
    }
}

/// Before its first entry a cell has put nothing anywhere.
async fn demand_new(objects: &Objects) -> Result<(), LogEndError> {
    for folder in ["log", "index", "bronze", "fresh", "wal"] {
        if let Some(object) = objects.list(Purpose::Sweep, folder).try_next().await? {
            return Err(LogEndError::Gone { object: format!("store/{}", object.path) });
        }
    }
    Ok(())
}

/// The epoch of a cell that was never rebuilt.
const FIRST_EPOCH: u32 = 1;
