//! What an operator has to know of the index: how full its parts are, and whether a snapshot is disputed.

use crate::error::WorkError;
use crate::shared::Shared;
use strandline_commands::ClearDisagreement;

impl Shared {
    /// Publishes how full the parts of the index are, and whether a second fold disagreed with a snapshot.
    pub fn measure_index(&self) {
        let (parts, disagreed) = {
            let view = self.cell.view();
            (view.parts(), view.cell.snapshot.disagreed)
        };
        for (part, fill, bound) in parts {
            metrics::gauge!("strandline_index_fill_ratio", "part" => part).set(fill as f64 / bound as f64);
        }
        metrics::gauge!("strandline_snapshot_disagreed").set(f64::from(u8::from(disagreed)));
    }

    /// Someone has looked at a disagreement: if the newest snapshot was agreed to, it counts no more, and the floor moves again.
    /// False if there was none, if the newest snapshot is disputed itself, or if the cell's rules are older than the command.
    pub async fn clear_disagreement_once(&self) -> Result<bool, WorkError> {
        let _one = self.snapshotting.lock().await;
        let newest = {
            let view = self.cell.view();
            let snapshot = &view.cell.snapshot;
            let agreed = snapshot.agreed.as_ref().filter(|_| snapshot.written == snapshot.agreed);
            agreed.map(|(seq, ..)| *seq).filter(|_| snapshot.disagreed && view.cell.fold_version >= 2)
        };
        let Some(seq) = newest else { return Ok(false) };
        self.commit_one(ClearDisagreement { seq: seq.0 }).await?;
        tracing::warn!(%seq, "a disagreement about a snapshot was cleared: trimming and garbage collection go on");
        self.measure_index();
        self.raise_floor_once().await?;
        Ok(true)
    }
}
