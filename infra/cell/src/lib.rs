//! A node's hold on its cell: the commit log, the index folded from it, and the way to commit.
//!
//! Roles read the index through [`Cell::view`], commit through [`Cell::submit`], and wait through [`Cell::watch`] and
//! [`Cell::barrier`]. One task (the driver) folds and appends; nothing else touches the log's tail.
//!
//! What it must never do: give an outcome that does not come from folding; append at n without having folded n-1;
//! have two unresolved commits; serve from a view after the log was trimmed under it (I1, I2, I4, I9).

mod api;
mod awaited;
mod beside;
mod driver;
mod pack;
mod recent;
mod watch;

pub use api::{BarrierError, Cell, CellOptions, JoinAs, StartError, Submission, SubmitError, Submitted};
pub use awaited::{Awaited, Sequence, is_ahead};
pub use beside::{Beside, Place};
pub use watch::Watch;
