//! Objects under `bronze/` that nobody knows: sealed names that a delayed PUT brought back, and damage.

use crate::error::WorkError;
use crate::sealed::SealedFiles;
use crate::shared::Shared;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_bronze::SealedName;
use strandline_commands::{FileRange, LeaseKind};
use strandline_index::{Index, SealedObject, Topic};
use strandline_object_store::Purpose;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{TopicId, limits};

/// What a sweep of `bronze/` makes of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It is sealed, planned, or on the garbage list.
    Known,
    /// Nobody knows it and nothing is lost with it.
    Delete,
    /// Nobody knows it, and no other file answers for its first offset: people have to look.
    Suspicious,
}

/// Judges an object of `bronze/` by an index that was brought up to date after the listing. A plan that was open before the rows were
/// read and is done by now wrote its rows after that, perhaps.
fn judge_sealed(index: &Index, known: &BTreeMap<TopicId, Known>, path: &str) -> Found {
    let topic = match index.sealed_object(path) {
        SealedObject::Expected => return Found::Known,
        SealedObject::Of(topic) => topic,
        // Not even in a folder.
        SealedObject::Foreign if path.split('/').nth(2).is_none() => return Found::Suspicious,
        SealedObject::Foreign => return Found::Delete,
    };
    let known = known.get(&topic.id);
    if known.is_some_and(|known| known.before.plans.contains_key(path) || known.files.files.contains_key(path)) {
        return Found::Known;
    }
    let Ok(parsed) = path.parse::<SealedName>() else { return Found::Suspicious };
    let Some(partition) = topic.partition(parsed.partition) else { return Found::Suspicious };
    let answered = parsed.offset < partition.log_start
        || parsed.offset >= partition.sealed_end
        || topic.sealed_plan_at(parsed.partition, parsed.offset).is_some()
        || known.is_some_and(|known| {
            let mut ranges = known.files.ranges_of(parsed.partition).into_iter();
            ranges.any(|range| range.start <= parsed.offset && parsed.offset < range.end)
        });
    if answered { Found::Delete } else { Found::Suspicious }
}

fn suspect(path: &str) {
    metrics::counter!("strandline_suspicious_objects_total").increment(1);
    tracing::error!(
        path,
        "an object under bronze/ is in no index, and nothing else holds its offsets or it cannot be read: it is left alone; run `strandline bronze verify`"
    );
}

/// A topic before the rows of its files were read, and those rows: what they say together holds whatever is folded meanwhile.
struct Known {
    before: Arc<Topic>,
    files: Arc<SealedFiles>,
}

impl Known {
    /// Whether each offset of a range is deleted, or has another place: a file of the segment index or of a plan that was open; what was
    /// not sealed then lies elsewhere.
    fn answers(&self, partition: i32, log_start: i64, start: i64, end: i64) -> bool {
        let Some(state) = self.before.partition(partition) else { return false };
        let (mut at, end) = (start.max(log_start), end.min(state.sealed_end));
        let planned =
            self.before.plans.values().filter_map(|plan| plan.file.as_ref()).flat_map(|file| file.ranges.iter().cloned());
        let mut ranges: Vec<FileRange> = self.files.ranges_of(partition);
        ranges.extend(planned.filter(|range| range.partition == partition));
        ranges.sort_by_key(|range| range.start);
        for range in &ranges {
            if range.start <= at {
                at = at.max(range.end);
            }
        }
        at >= end
    }
}

/// What an object says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// All that it covers is deleted or has another place.
    Nothing,
    /// It covers what nothing else does, or cannot be understood: it may be all that is left.
    Something,
    /// It is gone, or the store does not give it now.
    Unheard,
}

impl Shared {
    /// What an object under `bronze/` says that nobody knows and whose name says that it may go: a name tells of the first partition
    /// alone, and whoever moves a file can give it any.
    async fn heard(&self, known: &BTreeMap<TopicId, Known>, path: &str) -> Says {
        let footer = match self.objects.head(Purpose::Sweep, path).await {
            Ok(found) => self.parse_footer(Purpose::Sweep, path, found.size).await,
            Err(error) => Err(error.into()),
        };
        let footer = match footer {
            Ok(Ok(footer)) => footer,
            Ok(Err(error)) => {
                tracing::warn!(path, %error, "an object under bronze/ does not say what it holds");
                return Says::Something;
            }
            Err(error) => {
                tracing::debug!(path, %error, "an object under bronze/ could not be read: the next sweep looks again");
                return Says::Unheard;
            }
        };
        let id = footer.topic_id();
        // A folder that is another topic's, or none's, is no place for it: somebody put it there.
        let is_in_place = path.split('/').nth(2) == Some(id.id8().as_str());
        let log_starts: Option<Vec<i64>> = {
            let view = self.cell.view();
            view.topics.get(&id).map(|topic| topic.partitions.iter().map(|state| state.log_start).collect())
        };
        let is_answered = match (log_starts, known.get(&id)) {
            // With its topic its records were deleted.
            (None, _) => true,
            // Its topic was not looked at: it lies in another's folder, or came just now.
            (Some(_), None) => false,
            (Some(log_starts), Some(known)) => footer.partitions().iter().all(|part| {
                let log_start = usize::try_from(part.partition).ok().and_then(|number| log_starts.get(number));
                log_start.is_some_and(|log_start| known.answers(part.partition, *log_start, part.start, part.end))
            }),
        };
        if is_in_place && is_answered { Says::Nothing } else { Says::Something }
    }

    /// Lists `bronze/`, then takes a barrier, then deletes what nobody knows (docs/rules.md, C7). Returns how many went.
    pub async fn sweep_bronze_once(&self) -> Result<usize, WorkError> {
        let mut after = String::new();
        let mut deleted = 0;
        loop {
            let mut listed = Vec::new();
            // What a simulation switches on in place of C7: what is known before the listing.
            let early = (!holds(Rule::C7)).then(|| self.cell.view().clone());
            let early = match early {
                Some(view) => Some((self.known(view.topics.values().cloned().collect()).await?, view)),
                None => None,
            };
            let mut listing = self.objects.list_after(Purpose::Sweep, "bronze", &after);
            while let Some(object) = listing.try_next().await? {
                listed.push(object.path);
                if listed.len() >= limits::SEGMENT_INDEX_SCAN_ROWS {
                    break;
                }
            }
            let Some(last) = listed.last().cloned() else { return Ok(deleted) };
            if let Some((known, view)) = early {
                let unknown: Vec<String> =
                    listed.into_iter().filter(|path| judge_sealed(&view, &known, path) == Found::Delete).collect();
                self.objects.delete_all(Purpose::Sweep, &unknown).await;
                return Ok(unknown.len());
            }
            self.cell.barrier().await?;
            deleted += self.sweep_listed(listed).await?;
            after = last;
        }
    }

    /// These topics, and after them the rows of their files.
    async fn known(&self, topics: Vec<Arc<Topic>>) -> Result<BTreeMap<TopicId, Known>, WorkError> {
        let mut known = BTreeMap::new();
        for before in topics {
            let files = self.load_sealed_files(before.id).await?;
            known.insert(before.id, Known { before, files });
        }
        Ok(known)
    }

    async fn sweep_listed(&self, listed: Vec<String>) -> Result<usize, WorkError> {
        // The rows as they are now, after the listing: never what was remembered before it.
        let topics: Vec<Arc<Topic>> = {
            let view = self.cell.view();
            let names: BTreeSet<&str> = listed.iter().filter_map(|path| path.split('/').nth(1)).collect();
            names.into_iter().filter_map(|name| view.topic_by_name(name)).cloned().collect()
        };
        let known = self.known(topics).await?;
        self.lease(LeaseKind::Garbage, &[]).await?;
        let mut unknown = Vec::new();
        {
            let view = self.cell.view();
            if view.cell.snapshot.disagreed {
                return Ok(0);
            }
            unknown.extend(listed.into_iter().filter(|path| judge_sealed(&view, &known, path) != Found::Known));
        }
        if unknown.is_empty() {
            return Ok(0);
        }
        // A row that is gone was dropped by an entry that may be younger than that view: then its object is garbage by now, and waits.
        self.cell.barrier().await?;
        {
            let view = self.cell.view();
            unknown.retain(|path| match judge_sealed(&view, &known, path) {
                Found::Known => false,
                Found::Delete => true,
                Found::Suspicious => {
                    suspect(path);
                    false
                }
            });
        }
        let mut silent = Vec::new();
        for path in unknown {
            match self.heard(&known, &path).await {
                Says::Nothing => silent.push(path),
                Says::Something => suspect(&path),
                Says::Unheard => {}
            }
        }
        for answer in self.objects.delete_all(Purpose::Sweep, &silent).await {
            answer?;
        }
        Ok(silent.len())
    }
}
