//! A cell that an older build wrote goes on under this build's rules.

use strandline_cell::{Cell, Submission};
use strandline_commands::RaiseFoldVersion;
use strandline_compactor::Compactor;
use strandline_index::{FOLD_VERSION, Outcome};

/// Raises the fold version, after a snapshot under the old one was written and agreed to: a fault in the new rules has the state of
/// before beside it. Where that cannot be done now the cell goes on under its old rules, until a later start.
pub(super) async fn raise_fold_version(cell: &Cell, compactor: &Compactor) {
    let from = cell.view().cell.fold_version;
    if from >= FOLD_VERSION {
        return;
    }
    let agreed = match compactor.snapshot_once(true).await {
        Ok(Some(seq)) => cell.view().cell.snapshot.agreed.as_ref().is_some_and(|(agreed, ..)| *agreed == seq),
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(%error, from, "the cell stays under its old rules until a snapshot of it can be written");
            return;
        }
    };
    if !agreed {
        tracing::error!(from, "the cell stays under its old rules: nobody agrees to a snapshot of it");
        return;
    }
    match cell.submit(Submission::one(RaiseFoldVersion { to: FOLD_VERSION })).await {
        Ok(done) if done.outcomes.first() == Some(&Outcome::Done) => {
            tracing::info!(from, to = FOLD_VERSION, "the cell goes on under newer rules; older builds cannot open it any more");
        }
        Ok(done) => tracing::warn!(outcome = ?done.outcomes, "the cell's rules were not raised"),
        Err(error) => tracing::warn!(%error, "the cell's rules were not raised"),
    }
}
