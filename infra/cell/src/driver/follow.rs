//! What the log has is folded, and those who wait hear of it.

use super::{Driver, Halt, READ_BYTES};
use crate::api::SubmitError;
use bytes::Bytes;
use std::sync::PoisonError;
use strandline_commands::EntryBody;
use strandline_commit_log::{ReadError, Row, Tail};
use strandline_types::Seq;
use strandline_types::mutations::{Rule, holds};

impl Driver {
    pub(super) fn folded(&self) -> Seq {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner).cell.seq
    }

    pub(super) async fn read_to_head_patiently(&mut self) -> Result<(), Halt> {
        let mut tries = 0;
        loop {
            match self.read_to_head().await {
                Err(Halt::Log(ReadError::Unavailable { .. })) => {
                    self.pause(tries).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    pub(super) async fn read_to_head(&mut self) -> Result<(), Halt> {
        loop {
            let began = self.shared.runtime.clock.monotonic();
            let from = self.folded().next();
            match self.shared.log.read(from, READ_BYTES).await? {
                Tail::Trimmed { .. } => return Err(Halt::Trimmed),
                Tail::Rows { rows, head, .. } => {
                    self.last_read = began;
                    for row in &rows {
                        self.fold_row(row)?;
                    }
                    if self.folded() >= head || rows.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    pub(super) fn fold_row(&mut self, row: &Row) -> Result<(), Halt> {
        if row.seq <= self.folded() {
            return Ok(());
        }
        self.fold(row.seq, &row.bytes, None)
    }

    /// Folds an entry, tells the waiters of this node's commit their outcomes (which come from nowhere else), and wakes readers.
    pub(super) fn fold(&mut self, seq: Seq, bytes: &Bytes, body: Option<EntryBody>) -> Result<(), Halt> {
        let (folded, version) = {
            let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
            let folded = match body {
                Some(body) => index.fold_encoded(seq, bytes, body)?,
                None => index.fold(seq, bytes)?,
            };
            (folded, index.cell.fold_version)
        };
        // It is raised when every live node can: this one was declared gone before that, and may not have read of it by itself. What it
        // has folded up to the raise is right; what follows it would get wrong.
        if version > self.fold_version && holds(Rule::FoldVersion) {
            return Err(Halt::Version { cell: version, known: self.fold_version });
        }
        metrics::counter!("strandline_fold_entries_total").increment(1);
        self.shared.watchers.wake(&folded);
        let own = folded.commits.into_iter().find(|commit| commit.incarnation == self.shared.incarnation && commit.n == self.n);
        let Some(own) = own else { return Ok(()) };
        let Some(packed) = self.unresolved.take() else { return Ok(()) };
        match own.outcomes {
            Some(outcomes) => {
                let now = self.shared.runtime.clock.monotonic();
                self.shared.awaited.note_outcomes(bytes, (self.shared.incarnation, self.n), &outcomes, now);
                packed.resolve(seq, outcomes);
            }
            None => {
                packed.fail(&SubmitError::Stopped);
                return Err(Halt::Gone);
            }
        }
        Ok(())
    }
}
