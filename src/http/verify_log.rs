//! What `bronze verify` looks at besides Parquet and manifests, if it is asked for everything: what a start, a rebuild and readers of the newest records
//! need. A copy of the log that rots is missed only once the log is lost.

use super::verify::VerifyResult;
use crate::node::Parts;
use bytes::Bytes;
use std::collections::BTreeSet;
use strandline_commands::{DecodedEntry, chain_hash, decode};
use strandline_commit_log::{ReadAgain, Row, Tail};
use strandline_compactor::{LOG_COPY_PREFIX, LogCopy, LogCopyName, SNAPSHOT_PREFIX, SnapshotName, names};
use strandline_extents::ExtentReader;
use strandline_index::{Extent, ExtentPlace};
use strandline_object_store::{GetError, Purpose, crc32c};
use strandline_types::{ObjectName, Seq, TopicId, TopicPartition, limits};

/// What helps where a copy or a snapshot cannot be used: none of what is older is needed then.
const REMEDY: &str = "take a new snapshot with `strandline index snapshot`: what is older goes";
/// How the commit log is called in what is found.
const LOG: &str = "commit-log";
/// Rows of the log that are read at once.
const ROWS_BYTES: usize = 4 << 20;
/// Extents that are copied out of the index at once.
const EXTENTS: usize = 10_000;

/// What is there to be checked.
pub(super) struct Rest {
    snapshots: Vec<SnapshotName>,
    copies: Vec<LogCopyName>,
    /// How far the log was copied before the copies were listed.
    copied: Seq,
    segments: Vec<(ObjectName, u64, u32)>,
}

impl Rest {
    pub(super) async fn list(parts: &Parts) -> anyhow::Result<Self> {
        let (cell_epoch, copied, segments) = {
            let view = parts.cell.view();
            let segments = view.wal_objects.iter().map(|(name, object)| (*name, object.size, object.crc32c)).collect();
            (view.cell.cell_epoch, view.cell.log_copied, segments)
        };
        // Those of earlier epochs serve nobody: the snapshot with which a rebuild ends begins anew.
        let snapshots = names::<SnapshotName>(&parts.objects, Purpose::Read, SNAPSHOT_PREFIX).await?;
        let snapshots = snapshots.into_iter().flatten().filter(|name| name.cell_epoch == cell_epoch).collect();
        let copies = names::<LogCopyName>(&parts.objects, Purpose::Read, LOG_COPY_PREFIX).await?;
        let mut copies: Vec<LogCopyName> = copies.into_iter().flatten().filter(|name| name.cell_epoch == cell_epoch).collect();
        copies.sort_unstable();
        Ok(Self { snapshots, copies, copied, segments })
    }

    /// How many files, the log counted as one.
    pub(super) fn count(&self) -> usize {
        self.snapshots.len() + self.copies.len() + self.segments.len() + 1
    }

    pub(super) async fn snapshots(&self, parts: &Parts) -> anyhow::Result<Vec<VerifyResult>> {
        let mut results = Vec::new();
        // The next start begins with this one, unless another has taken its place by the time that it is missed.
        let floor = async || anyhow::Ok(parts.cell.log().floor().await?.snapshot);
        if let Some(needed) = floor().await?
            && !self.snapshots.iter().any(|name| name.to_string() == needed.key)
            && parts.objects.head(Purpose::Read, &needed.key).await.is_err_and(|error| error.is_not_found())
            && floor().await?.as_ref() == Some(&needed)
        {
            results.push(said(needed.key, Some(with_remedy("it is not there, and a start needs it".to_owned()))));
        }
        for name in &self.snapshots {
            let key = name.to_string();
            let checked = match parts.objects.get_in_pieces(Purpose::Read, &key, limits::SNAPSHOT_BYTES).await {
                Err(error) => Err(error),
                Ok(bytes) => {
                    let name = *name;
                    let check = move || name.read(&bytes).err().map(|error| with_remedy(error.to_string()));
                    Ok(parts.runtime.spawner.background("verify a snapshot", check).await?)
                }
            };
            results.extend(unless_gone(key, checked));
        }
        Ok(results)
    }

    /// Every copy, and that none is missing between the floor's snapshot and where copying had come.
    pub(super) async fn copies(&self, parts: &Parts) -> anyhow::Result<Vec<VerifyResult>> {
        let mut results = Vec::new();
        for name in &self.copies {
            let checked = parts.objects.get(Purpose::Read, &name.to_string()).await.map(|bytes| match LogCopy::decode(&bytes) {
                Ok(copy) if copy.name() == Some(*name) => None,
                Ok(_) => Some(with_remedy("it is not what its name says".to_owned())),
                Err(error) => Some(with_remedy(error.to_string())),
            });
            results.extend(unless_gone(name.to_string(), checked));
        }
        // Looked at last: what has gone since the copies were listed lies below it.
        let floor = parts.cell.log().floor().await?;
        let mut next = floor.snapshot.map_or(Seq(1), |snapshot| snapshot.seq.next());
        for name in &self.copies {
            if name.from > next {
                break;
            }
            next = next.max(name.to.next());
        }
        if next <= self.copied {
            let problem = format!(
                "entries {next} to {} were copied, and not all of these copies are there: a rebuild would end before them",
                self.copied
            );
            results.push(said(LOG_COPY_PREFIX.to_owned(), Some(with_remedy(problem))));
        }
        Ok(results)
    }

    pub(super) async fn segments(&self, parts: &Parts) -> Vec<VerifyResult> {
        let mut results = Vec::new();
        for (name, size, expected) in &self.segments {
            let path = format!("wal/{name}");
            let checked = parts.objects.get(Purpose::Read, &path).await.map(|bytes| {
                let whole = bytes.len() as u64 == *size && crc32c(&[bytes]) == *expected;
                (!whole).then(|| "its bytes are not those that were written".to_owned())
            });
            // It may have been converted meanwhile, and let go.
            if checked.as_ref().is_err_and(GetError::is_not_found) && parts.cell.view().wal_objects.contains_key(name) {
                results.push(said(path, Some("it is not there, and records are in it that are nowhere else".to_owned())));
                continue;
            }
            results.extend(unless_gone(path, checked));
        }
        results
    }

    /// The commit log: its rows continue one another, what they carry is whole, and so are the batches that only it has. And its files are
    /// what was written, with what lies below the floor.
    pub(super) async fn log(&self, parts: &Parts) -> VerifyResult {
        let mut problems: BTreeSet<String> = parts.log.check_files().await.iter().map(ToString::to_string).collect();
        if let Err(problem) = rows(parts, &mut problems).await {
            problems.insert(problem);
        }
        let reader = ExtentReader::new(parts.cell.log().clone(), parts.objects.clone(), Purpose::Read).once();
        let mut after = None;
        loop {
            let extents = inline_extents(parts, after);
            let Some(last) = extents.last() else { break };
            after = Some((last.0, last.1.start));
            for (partition, extent) in &extents {
                match reader.bytes(extent).await {
                    Err(error) if !error.is_missing() || is_there(parts, *partition, extent) => {
                        problems.insert(error.to_string());
                    }
                    _ => {}
                }
            }
        }
        VerifyResult { path: LOG.to_owned(), rows: 0, problems: problems.into_iter().collect() }
    }
}

/// Every row from the floor to the end names the one before. What is wrong with payloads goes to `problems`.
async fn rows(parts: &Parts, problems: &mut BTreeSet<String>) -> Result<(), String> {
    let end = parts.cell.seq();
    let mut from = parts.cell.log().floor().await.map_err(|error| error.to_string())?.seq.max(Seq(1));
    let mut before = None;
    while from <= end {
        let rows = match parts.cell.log().read(from, ROWS_BYTES).await.map_err(|error| error.to_string())? {
            // The floor has moved on.
            Tail::Trimmed { floor } => {
                (from, before) = (floor.seq, None);
                continue;
            }
            Tail::Rows { rows, .. } => rows,
        };
        if rows.is_empty() {
            return Err(format!("it ends before entry {from}, and the index holds all up to {end}"));
        }
        for row in rows {
            if before.is_some_and(|before| before != row.hash_before) {
                return Err(format!("entry {} does not continue the one before", row.seq));
            }
            before = Some(chain_hash(row.hash_before, &row.bytes));
            from = row.seq.next();
            problems.extend(payload(parts, &row).await);
        }
    }
    Ok(())
}

/// What is wrong with the batches that an entry carries, also with those that are in Parquet by now: the log goes as a whole, and a disk that
/// returns something else is better known early.
async fn payload(parts: &Parts, row: &Row) -> Option<String> {
    if row.payload_length == 0 {
        return None;
    }
    let mut problem = None;
    // Past the page cache, which has better things to keep; what that says counts only if the usual way says it, too.
    for again in [ReadAgain::No, ReadAgain::Maybe] {
        let read = parts.cell.log().read_payloads(vec![(row.seq, 0..row.payload_length)], again).await;
        problem = Some(match read {
            Ok(bytes) if is_written(row, &bytes) => return None,
            Ok(_) => "the batches that it carries are not those that were written".to_owned(),
            Err(error) => error.to_string(),
        });
    }
    // It may have been trimmed meanwhile.
    let is_there = parts.cell.log().floor().await.map_or(true, |floor| floor.seq <= row.seq);
    problem.filter(|_| is_there).map(|problem| format!("entry {}: {problem}", row.seq))
}

fn is_written(row: &Row, payload: &[Bytes]) -> bool {
    decode(&row.bytes).is_ok_and(|entry| match entry {
        DecodedEntry::Body(body) => body.payload_crc32c == crc32c(payload),
        DecodedEntry::Malformed => false,
    })
}

/// Some extents that lie in the log's own entries, in the order of their partitions and offsets, behind that one.
fn inline_extents(parts: &Parts, after: Option<(TopicPartition, i64)>) -> Vec<(TopicPartition, Extent)> {
    let view = parts.cell.view();
    let mut found = Vec::new();
    let from = after.map_or(TopicId::default(), |(place, _)| place.topic_id);
    for topic in view.topics.range(from..).map(|(_, topic)| topic) {
        for (number, partition) in (0..).zip(&topic.partitions) {
            let place = TopicPartition { topic_id: topic.id, partition: number };
            let begin = match after {
                Some((last, _)) if place < last => continue,
                Some((last, start)) if place == last => partition.extents.partition_point(|extent| extent.start <= start),
                _ => 0,
            };
            let inline = partition.extents.range(begin..).filter(|extent| matches!(extent.place, ExtentPlace::Inline { .. }));
            found.extend(inline.take(EXTENTS - found.len()).map(|extent| (place, *extent)));
            if found.len() >= EXTENTS {
                return found;
            }
        }
    }
    found
}

/// Whether the index still goes by it: else it was converted meanwhile, or let go.
fn is_there(parts: &Parts, place: TopicPartition, extent: &Extent) -> bool {
    let view = parts.cell.view();
    view.partition(place.topic_id, place.partition).is_some_and(|partition| partition.extents.contains(extent))
}

/// Nothing is said of what was deleted meanwhile.
fn unless_gone(path: String, checked: Result<Option<String>, GetError>) -> Option<VerifyResult> {
    match checked {
        Err(error) if error.is_not_found() => None,
        Err(error) => Some(said(path, Some(error.to_string()))),
        Ok(problem) => Some(said(path, problem)),
    }
}

fn with_remedy(problem: String) -> String {
    format!("{problem}; {REMEDY}")
}

fn said(path: String, problem: Option<String>) -> VerifyResult {
    VerifyResult { path, rows: 0, problems: problem.into_iter().collect() }
}
