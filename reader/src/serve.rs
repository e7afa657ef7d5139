//! One partition's records, from wherever they are, with what to do when the view turns out to be old.

use crate::error::{ServeError, SourceError};
use crate::history::{Found, serve_chunk};
use crate::hole::serve_hole;
use crate::hot;
use crate::plan::{Isolation, Plan, Segment, Source, Tier, Watermarks};
use crate::reader::Shared;
use crate::rebuild::HOLE_TIME_MS;
use crate::rope::Rope;
use std::time::Duration;
use strandline_extents::Pieces;
use strandline_index::AbortedTransaction;
use strandline_runtime::Clock;
use strandline_segment_index::SealedRow;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{TopicPartition, limits};
use strandline_wire::ErrorCode;
use strandline_wire::records::BatchError;

/// What was found for one partition.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) rope: Rope,
    pub(crate) watermarks: Watermarks,
    pub(crate) aborted: Vec<AbortedTransaction>,
    /// The first offset that was not served.
    pub(crate) next: i64,
    /// What comes next is history: worth reading ahead.
    pub(crate) more_history: bool,
    /// From where on: what was rebuilt already lies before it.
    pub(crate) ahead: i64,
}

/// How one step of a read went on.
struct Step {
    next: i64,
    /// From where on it is worth reading ahead.
    ahead: i64,
    tier: Option<Tier>,
}

/// A read of one partition.
pub(crate) struct Want {
    pub(crate) at: TopicPartition,
    pub(crate) offset: i64,
    pub(crate) isolation: Isolation,
    /// From then on nothing more is planned, once there is something in the answer.
    pub(crate) until: Option<Duration>,
}

impl Want {
    fn is_late(&self, clock: &dyn Clock) -> bool {
        self.until.is_some_and(|until| clock.monotonic() >= until)
    }
}

impl Shared {
    /// Fills `rope` from `want.offset` on by `plan`, and by further plans where the first one's source ends early. `bytes` are those
    /// of the plan's extents, if they were read already.
    pub(crate) async fn serve(
        &self,
        want: &Want,
        plan: Plan,
        bytes: Option<Vec<Pieces>>,
        rope: Rope,
    ) -> Result<Served, ServeError> {
        let (mut plan, mut bytes) = (plan, bytes);
        let mut served = Served {
            rope,
            watermarks: plan.watermarks,
            aborted: Vec::new(),
            next: want.offset,
            more_history: false,
            ahead: want.offset,
        };
        let mut missing: Option<String> = None;
        let mut plans = 1;
        loop {
            let end = plan.watermarks.served_end(want.isolation);
            served.watermarks = plan.watermarks;
            let step = self.step(want.at, &plan, served.next, end, bytes.take(), &mut served.rope).await;
            let again = match step {
                Ok(step) => {
                    if served.rope.refused_codec() {
                        return Err(ServeError::Refused(ErrorCode::UnsupportedCompressionType));
                    }
                    served.aborted.extend(plan.aborted.iter().copied());
                    let moved = step.next > served.next;
                    served.next = step.next;
                    served.more_history = step.tier.is_some() && step.next < end;
                    served.ahead = step.ahead;
                    let is_late = served.rope.bytes() > 0 && want.is_late(&*self.cell.runtime().clock);
                    // A plan of extents took all that there is room for.
                    moved && served.more_history && !served.rope.is_full() && !is_late
                }
                // What is there goes out; the rest is the next fetch's.
                Err(_) if served.rope.bytes() > 0 => false,
                Err(SourceError::Missing { object }) if missing.as_ref() != Some(&object) && plans < limits::FETCH_PLANS => {
                    tracing::debug!(object, "an object of the plan is gone: planning again after a barrier");
                    metrics::counter!("strandline_fetch_plans_again_total").increment(1);
                    missing = Some(object);
                    plans += 1;
                    self.barrier().await?;
                    true
                }
                Err(error) => return Err(error.into()),
            };
            if !again {
                return Ok(served);
            }
            // Where Parquet ends and the log begins: extents are read whole, so no more of them than there is room for.
            match self.plan(want.at, served.next, want.isolation, served.rope.left().max(1) as u64) {
                Ok(next) => plan = next,
                Err(_) if served.rope.bytes() > 0 => return Ok(served),
                Err(no_plan) => return Err(no_plan.into()),
            }
        }
    }

    async fn step(
        &self,
        at: TopicPartition,
        plan: &Plan,
        offset: i64,
        end: i64,
        bytes: Option<Vec<Pieces>>,
        rope: &mut Rope,
    ) -> Result<Step, SourceError> {
        match &plan.source {
            Source::Nothing => Ok(Step { next: offset, ahead: offset, tier: None }),
            Source::Hot(extents) => {
                let bytes = match bytes {
                    Some(bytes) => bytes,
                    None => self.extents.pieces_of(extents).await?,
                };
                let before = rope.bytes();
                let next = hot::serve(extents, &bytes, offset, end, rope);
                let next = next.map_err(|error| SourceError::of_batch("an extent", &error))?;
                count("hot", rope.bytes() - before);
                Ok(Step { next, ahead: next, tier: None })
            }
            Source::Segment(segment) => self.step_segment(segment, at, offset, end, rope).await,
            Source::SegmentIndex => {
                let segment = self.sealed_at(at, offset).await?;
                self.step_segment(&segment, at, offset, end, rope).await
            }
        }
    }

    async fn step_segment(
        &self,
        segment: &Segment,
        at: TopicPartition,
        offset: i64,
        end: i64,
        rope: &mut Rope,
    ) -> Result<Step, SourceError> {
        let before = rope.bytes();
        let damaged = |error: BatchError| SourceError::of_batch(&segment.path, &error);
        let (next, ahead) = match self.history.find(segment, at.partition, offset).await? {
            Found::Chunk { batches, end: chunk_end } => {
                let (next, left) = serve_chunk(&batches, offset, end, rope).map_err(damaged)?;
                // The next answer takes what is left, and something behind it. Else two chunks of each partition would have to be kept.
                (next, if next > offset && left <= rope.asked() { chunk_end.max(next) } else { next })
            }
            Found::Hole { end: hole_end } => {
                let next = serve_hole(offset, hole_end, HOLE_TIME_MS, rope).map_err(damaged)?.0;
                (next, next)
            }
        };
        count(segment.tier.as_str(), rope.bytes() - before);
        Ok(Step { next, ahead, tier: Some(segment.tier) })
    }

    /// The sealed segment that the segment index has for this offset. A row that starts behind it, or none, means that the view is
    /// old: an open plan answers, or the log start has moved.
    pub(crate) async fn sealed_at(&self, at: TopicPartition, offset: i64) -> Result<Segment, SourceError> {
        let row = self.segment_index.find(at, offset).await.map_err(|error| SourceError::of_segment_index(&error))?;
        match row {
            Some(row) if row.start_offset <= offset || !holds(Rule::C6) => Ok(segment_of(row)),
            _ => {
                let object =
                    format!("the segment index's row for offset {offset} of partition {} of topic {}", at.partition, at.topic_id);
                Err(SourceError::Missing { object })
            }
        }
    }
}

pub(crate) fn segment_of(row: SealedRow) -> Segment {
    Segment {
        path: row.path,
        size: row.size,
        tier: Tier::Sealed,
        start: row.start_offset,
        end: row.end_offset,
        max_timestamp_ms: row.max_timestamp_ms,
        max_timestamp_offset: row.max_timestamp_offset,
    }
}

fn count(source: &'static str, bytes: usize) {
    metrics::counter!("strandline_fetch_bytes_total", "source" => source).increment(bytes as u64);
}
