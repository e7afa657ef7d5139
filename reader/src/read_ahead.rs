//! Reading ahead: while a client works on a chunk, the next one is rebuilt.

use crate::error::SourceError;
use crate::plan::{Isolation, Plan, Segment, Source};
use crate::reader::{Reader, Shared};
use strandline_types::TopicPartition;

impl Reader {
    /// Rebuilds the chunk at `offset` in the background, if fewer than [`strandline_types::limits::READ_AHEAD`] are under way: a replay
    /// then streams, and where it does not, nothing is lost. Whether there was one to spare.
    pub(crate) fn read_ahead(&self, at: TopicPartition, offset: i64, isolation: Isolation) -> bool {
        let Ok(permit) = self.shared.read_ahead.clone().try_acquire_owned() else { return false };
        let shared = self.shared.clone();
        self.shared.cell.runtime().spawner.spawn("read ahead", async move {
            if let Ok(plan) = shared.plan(at, offset, isolation, 0) {
                // What fails here fails again, with a caller to tell, when the client asks.
                drop(shared.first_chunk(at, offset, &plan).await);
            }
            drop(permit);
        });
        true
    }
}

impl Plan {
    /// Whether Parquet answers.
    pub(crate) fn is_history(&self) -> bool {
        matches!(self.source, Source::Segment(_) | Source::SegmentIndex)
    }
}

impl Shared {
    /// Brings the chunk at `offset` into the cache.
    pub(crate) async fn first_chunk(&self, at: TopicPartition, offset: i64, plan: &Plan) -> Result<(), SourceError> {
        if let Some(segment) = self.history_segment(at, offset, plan).await? {
            self.history.find(&segment, at.partition, offset).await?;
        }
        Ok(())
    }

    /// The file that answers by this plan; none if extents do.
    pub(crate) async fn history_segment(
        &self,
        at: TopicPartition,
        offset: i64,
        plan: &Plan,
    ) -> Result<Option<Segment>, SourceError> {
        match &plan.source {
            Source::Nothing | Source::Hot(_) => Ok(None),
            Source::Segment(segment) => Ok(Some(segment.clone())),
            Source::SegmentIndex => self.sealed_at(at, offset).await.map(Some),
        }
    }
}
