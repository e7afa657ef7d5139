//! The garbage list: objects go after their grace, once the bucket's copy of the log and every live node have passed the seq that
//! dropped their last reference.

use crate::error::WorkError;
use crate::options::millis;
use crate::shared::Shared;
use std::collections::BTreeSet;
use std::time::Duration;
use strandline_commands::{CollectGarbage, LeaseKind, Report};
use strandline_index::{Garbage, Index};
use strandline_object_store::Purpose;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Incarnation, Seq, TopicId, limits};

/// Objects whose grace has passed, and the largest seq among those that dropped them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Expired {
    pub paths: Vec<String>,
    pub since: Seq,
}

/// What one round leaves alone after it failed there once; the next round tries again.
#[derive(Debug, Default)]
pub(crate) struct LeftAlone {
    /// Objects that could not be deleted.
    paths: BTreeSet<String>,
    /// Folders of topics whose rows could not be removed: their objects stay as long as a row may name them.
    folders: BTreeSet<String>,
}

impl LeftAlone {
    fn holds(&self, path: &str) -> bool {
        let folder = || path.match_indices('/').nth(2).is_some_and(|(end, _)| self.folders.contains(&path[..=end]));
        self.paths.contains(path) || (!self.folders.is_empty() && folder())
    }
}

/// Whose grace has passed: what was dropped up to then, or up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GraceEnd {
    /// By the time of day, which a step of the clock does not hurry, and never by the log's: a clock that was ahead has moved that on at once.
    since_ms: i64,
    /// What this node itself had folded a grace ago. What was dropped while the log's time was ahead has that time, to which the time of
    /// day may not come for long.
    since: Seq,
}

impl GraceEnd {
    fn has_passed(self, garbage: &Garbage) -> bool {
        garbage.since_ms <= self.since_ms || garbage.since <= self.since
    }
}

/// What may go as far as time says, without what is `left` alone.
pub(crate) fn expired(index: &Index, fresh: GraceEnd, sealed: GraceEnd, left: &LeftAlone) -> Expired {
    let mut found = Expired::default();
    for (path, garbage) in index.garbage.iter().filter(|(path, _)| !left.holds(path)) {
        let grace = if path.starts_with("bronze/") { sealed } else { fresh };
        if grace.has_passed(garbage) {
            found.paths.push(path.clone());
            found.since = found.since.max(garbage.since);
            if found.paths.len() >= limits::GARBAGE_BATCH {
                break;
            }
        }
    }
    found
}

/// Every other live node has said to have folded `seq`.
fn others_have_folded(index: &Index, this: Incarnation, seq: Seq) -> bool {
    index.nodes.iter().all(|(incarnation, run)| *incarnation == this || run.folded >= seq)
}

impl Shared {
    /// One round over the garbage list. Returns how many objects were deleted. Writes nothing while nothing's grace has passed.
    /// What fails for one object or one topic is left for the next round and reported once the rest is done.
    pub async fn collect_once(&self) -> Result<usize, WorkError> {
        self.sample_folded();
        let (waiting, bytes) = {
            let view = self.cell.view();
            (view.garbage.len(), view.garbage.values().map(|garbage| garbage.size).sum::<u64>())
        };
        metrics::gauge!("strandline_garbage_objects").set(waiting as f64);
        metrics::gauge!("strandline_garbage_bytes").set(bytes as f64);
        let mut deleted = 0;
        let mut left = LeftAlone::default();
        let mut first_error = None;
        loop {
            let (fresh, sealed) = self.grace_ends();
            let found = {
                let view = self.cell.view();
                if view.cell.snapshot.disagreed {
                    return Ok(deleted);
                }
                expired(&view, fresh, sealed, &left)
            };
            // When as many could not be deleted as go at once, the store is at fault, not the objects.
            if found.paths.is_empty() || left.paths.len() >= limits::GARBAGE_BATCH {
                return first_error.map_or(Ok(deleted), Err);
            }
            let lease = self.lease(LeaseKind::Garbage, &[]).await?;
            self.report(found.since).await?;
            if holds(Rule::B10) {
                self.copied_up_to(found.since).await?;
            }
            // Rows go before their object does, also after a crash between the two.
            for (topic_id, folder) in self.topics_of(&found.paths) {
                if let Err(error) = self.remove_dropped_rows(topic_id).await {
                    tracing::warn!(%topic_id, %error, "rows of dropped files could not be removed: the files stay for now");
                    left.folders.insert(folder);
                    first_error.get_or_insert(error);
                }
            }
            let still = {
                let view = self.cell.view();
                if !others_have_folded(&view, self.cell.incarnation(), found.since) && holds(Rule::C5) {
                    return first_error.map_or(Ok(deleted), Err);
                }
                let paths = found.paths.into_iter().filter(|path| view.garbage.contains_key(path) && !left.holds(path));
                paths.collect::<Vec<String>>()
            };
            let mut gone = Vec::with_capacity(still.len());
            for (path, answer) in still.iter().zip(self.objects.delete_all(Purpose::Garbage, &still).await) {
                match answer {
                    Ok(()) => gone.push(path.clone()),
                    Err(error) => {
                        tracing::warn!(path, %error, "an object of the garbage list could not be deleted");
                        left.paths.insert(path.clone());
                        first_error.get_or_insert(error.into());
                    }
                }
            }
            deleted += gone.len();
            if !gone.is_empty() {
                self.commit_one(CollectGarbage { lease: lease.0, paths: gone }).await?;
            }
        }
    }

    /// Of what is fresh, and of what is sealed.
    fn grace_ends(&self) -> (GraceEnd, GraceEnd) {
        let of = |grace: Duration| GraceEnd {
            since_ms: self.unhurried_ms().saturating_sub(millis(grace)),
            since: self.folded_before(grace),
        };
        (of(self.options.fresh_grace), of(self.options.sealed_grace))
    }

    /// Says how far this node has folded, if others wait to hear it.
    async fn report(&self, needed: Seq) -> Result<(), WorkError> {
        let said = self.cell.view().nodes.get(&self.cell.incarnation()).map_or(Seq::ZERO, |run| run.folded);
        if said >= needed {
            return Ok(());
        }
        let folded = self.mark_dropped();
        self.commit_one(Report { folded: folded.0 }).await?;
        Ok(())
    }

    /// A node that does not collect says how far it has folded once something on the garbage list waits for it.
    pub async fn report_once(&self) -> Result<(), WorkError> {
        let (fresh, sealed) = self.grace_ends();
        let waiting = expired(&self.cell.view(), fresh, sealed, &LeftAlone::default()).since;
        if waiting > Seq::ZERO { self.report(waiting).await } else { Ok(()) }
    }

    /// Topics with sealed files among these, and their folders.
    fn topics_of(&self, paths: &[String]) -> Vec<(TopicId, String)> {
        let view = self.cell.view();
        let sealed: BTreeSet<&str> = paths.iter().filter_map(|path| path.strip_prefix("bronze/")?.split('/').nth(1)).collect();
        let topics = view.topics.iter().filter(|(id, _)| sealed.contains(id.id8().as_str()));
        topics.map(|(id, topic)| (*id, format!("bronze/{}/{}/", topic.name, id.id8()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_passes_by_the_time_of_day_or_by_what_was_folded_long_ago() {
        let mut index = Index::default();
        // The last one was dropped while the log's time was far ahead, and it still is.
        for (path, seq, since_ms) in [("wal/a", 5, 1_000), ("bronze/b", 6, 1_000), ("fresh/c", 7, 900_000)] {
            index.garbage.insert(path.to_owned(), Garbage { since: Seq(seq), since_ms, size: 1 });
        }
        index.cell.now_ms = 900_000;
        let due = |fresh: (i64, u64), sealed: (i64, u64)| {
            let [fresh, sealed] = [fresh, sealed].map(|(since_ms, seq)| GraceEnd { since_ms, since: Seq(seq) });
            let Expired { paths, since } = expired(&index, fresh, sealed, &LeftAlone::default());
            (paths, since.0)
        };
        assert_eq!(due((999, 0), (999, 0)), (Vec::new(), 0));
        assert_eq!(due((1_000, 0), (999, 0)), (vec!["wal/a".to_owned()], 5));
        assert_eq!(due((999, 6), (999, 5)), (vec!["wal/a".to_owned()], 5));
        assert_eq!(due((999, 7), (999, 6)), (["bronze/b", "fresh/c", "wal/a"].map(str::to_owned).to_vec(), 7));
    }
}
