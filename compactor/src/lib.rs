//! The compactor: extents to fresh to sealed bronze, manifests, retention, garbage, copies of the log, snapshots.
//!
//! 1. Every step is a command with a precondition; a step that was cut off anywhere is done again by anyone, and does no harm.
//! 2. An object is PUT before the command that names it, under a name that was never used (I8); a sealed one only once the bucket's copy
//!    of the log holds its plan.
//! 3. A plan is only ever completed; what really lies under its name is the truth.
//! 4. Data that cannot be decoded is set aside under `corrupt/` and covered as a hole: it never stops a topic. One topic's trouble
//!    never stops another.
//! 5. An idle cell falls silent: no step writes because time has passed, unless something is due.
//!
//! What it must never do: hand out or delete anything that the index does not say; put a record of an open or aborted
//! transaction into a file (I7); decide by an object's age; write a row into `bronze/` twice.
//!
//! It keeps I5 (each offset has one answer, through commands that the fold checks), I7, I8, I10 (copies and snapshots) and
//! I11 (conversions, merges and seals share one bound of memory; conversions go first).

mod compactor;
mod convert;
mod error;
mod files;
mod garbage;
mod index_health;
mod log_copier;
mod log_copy;
mod manifest;
mod merge;
mod names;
mod options;
mod retain;
mod rewrite;
mod seal;
mod sealed;
mod shared;
mod snapshots;
mod tasks;
mod work_memory;

pub use compactor::Compactor;
pub use error::{Retry, WorkError};
pub use log_copier::Uncopied;
pub use log_copy::{LOG_COPY_PREFIX, LOG_COPY_VERSION, LogCopy, LogCopyError, LogCopyName};
pub use names::names;
pub use options::CompactorOptions;
pub use seal::SealProgress;
pub use sealed::range_of_row;
pub use snapshots::{SNAPSHOT_PREFIX, SnapshotName, SnapshotNameError, SnapshotReadError};
