//! Snapshots of the index, the floor, and the trimming of the log.
//!
//! A snapshot counts only once a second fold has agreed; only then does the floor move, only below the floor are entries
//! trimmed, and only below the floor's own snapshot are snapshots and copies of the log deleted.

use crate::error::WorkError;
use crate::log_copy::{LOG_COPY_PREFIX, LogCopyName};
use crate::options::millis;
use crate::shared::Shared;
use bytes::Bytes;
use futures::TryStreamExt;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use strandline_cell::Submission;
use strandline_commands::{AgreeSnapshot, LeaseKind, NewObject, Rehome, RehomedRun, WroteSnapshot};
use strandline_commit_log::{Floor, SnapshotRef};
use strandline_index::{Extent, ExtentPlace, Index, SnapshotError, decode_snapshot, digest, digest_of, encode_snapshot};
use strandline_object_store::Purpose;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Seq, TopicPartition, limits};
use strandline_wal::WalSegmentBuilder;

/// The folder of the snapshots.
pub const SNAPSHOT_PREFIX: &str = "index/";
/// Rounds of re-homing before one snapshot.
const REHOME_ROUNDS: usize = 64;
/// When so many runs cannot be read, re-homing waits for the next snapshot.
const UNREADABLE_RUNS: usize = 1_000;

/// A snapshot's key: `index/<cell epoch>-<seq>-<digest>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// The cell's epoch.
    pub cell_epoch: u32,
    /// The last entry that it holds.
    pub seq: Seq,
    /// SHA-256 of the index's canonical encoding.
    pub digest: [u8; 32],
}

/// Not the name of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name of the form index/EPOCH-SEQ-DIGEST")]
pub struct SnapshotNameError(pub String);

/// Bytes that are not the snapshot of a name. Trying again with the same ones never helps.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotReadError {
    /// They are no snapshot, or one that this build does not know.
    #[error(transparent)]
    Bytes(#[from] SnapshotError),
    /// They are another one.
    #[error("it is not what its name says")]
    Another,
}

impl SnapshotName {
    /// The index that these bytes hold, if they are what the name says.
    ///
    /// # Errors
    /// They are not.
    pub fn read(&self, bytes: &Bytes) -> Result<Index, SnapshotReadError> {
        let index = decode_snapshot(bytes)?;
        let is_it = index.cell.seq == self.seq && digest_of(bytes) == self.digest;
        if is_it { Ok(index) } else { Err(SnapshotReadError::Another) }
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SNAPSHOT_PREFIX}{:010}-{:020}-", self.cell_epoch, self.seq.0)?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for SnapshotName {
    type Err = SnapshotNameError;

    fn from_str(name: &str) -> Result<Self, SnapshotNameError> {
        let error = || SnapshotNameError(name.to_owned());
        let mut parts = name.strip_prefix(SNAPSHOT_PREFIX).ok_or_else(error)?.split('-');
        let (Some(epoch), Some(seq), Some(hex), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(error());
        };
        let mut digest = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(error());
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| error())?;
        }
        Ok(Self { cell_epoch: epoch.parse().map_err(|_| error())?, seq: Seq(seq.parse().map_err(|_| error())?), digest })
    }
}

impl Shared {
    /// Whether enough was written since the last snapshot.
    pub fn snapshot_due(&self) -> bool {
        let since = {
            let view = self.cell.view();
            let last = view.cell.snapshot.agreed.as_ref().map_or(0, |(seq, ..)| seq.0);
            view.cell.seq.0.saturating_sub(last)
        };
        let (memory, least) = (self.memory(), self.options.snapshot_log_bytes);
        // Where there is no room left, what a snapshot lets go of is wanted soon.
        let enough = if self.cell.log().has_room() { log_bytes_between(least, memory.snapshot_bytes) } else { least };
        since >= self.options.snapshot_entries || memory.log_bytes >= enough
    }

    /// Takes a snapshot (if it is due, or `force`), has it agreed, moves the floor and trims. Returns the seq it holds.
    pub async fn snapshot_once(&self, force: bool) -> Result<Option<Seq>, WorkError> {
        let _one = self.snapshotting.lock().await;
        if !(force || self.snapshot_due()) {
            return Ok(None);
        }
        let lease = self.lease(LeaseKind::Snapshot, &[]).await;
        lease?;
        self.rehome_once().await?;
        let index = self.cell.view().clone();
        // What is copied meanwhile counts for the next one.
        let log_bytes = self.memory().log_bytes;
        let started = self.cell.runtime().clock.monotonic();
        let (cell_epoch, seq, fold_version) = (index.cell.cell_epoch, index.cell.seq, index.cell.fold_version);
        let encode = move || {
            let bytes = encode_snapshot(&index);
            let digest = digest_of(&bytes);
            (bytes, digest)
        };
        let (bytes, digest) = self.cell.runtime().spawner.background("encode snapshot", encode).await?;
        let key = SnapshotName { cell_epoch, seq, digest }.to_string();
        metrics::gauge!("strandline_snapshot_bytes").set(bytes.len() as f64);
        let snapshot_bytes = bytes.len() as u64;
        self.objects.put_new_in_parts(Purpose::Snapshot, &key, bytes).await?;
        let wrote = WroteSnapshot { seq: seq.0, digest: digest.to_vec(), key: key.clone(), fold_version };
        self.commit_one(wrote).await?;
        if holds(Rule::D3) {
            self.agree_once().await?;
        }
        let elapsed = self.cell.runtime().clock.monotonic().saturating_sub(started);
        metrics::histogram!("strandline_snapshot_seconds").record(elapsed.as_secs_f64());
        {
            let mut memory = self.memory();
            memory.log_bytes = memory.log_bytes.saturating_sub(log_bytes);
            memory.snapshot_bytes = snapshot_bytes;
        }
        if !holds(Rule::D4) {
            self.delete_old_snapshots().await?;
        }
        self.raise_floor_once().await?;
        self.delete_old_snapshots().await?;
        Ok(Some(seq))
    }

    /// The second fold: the newest snapshot is read back and its digest computed anew.
    pub async fn agree_once(&self) -> Result<(), WorkError> {
        let (seq, _, key) = {
            let view = self.cell.view();
            let state = &view.cell.snapshot;
            match &state.written {
                Some((seq, digest, key, _)) if state.agreed.as_ref().is_none_or(|(agreed, ..)| agreed < seq) => {
                    (*seq, *digest, key.clone())
                }
                _ => return Ok(()),
            }
        };
        if !holds(Rule::D2) {
            let digest = self.cell.view().cell.snapshot.written.as_ref().map_or([0; 32], |(_, digest, ..)| *digest);
            self.commit_one(AgreeSnapshot { seq: seq.0, digest: digest.to_vec() }).await?;
            return Ok(());
        }
        let bytes = self.objects.get_in_pieces(Purpose::Snapshot, &key, limits::SNAPSHOT_BYTES).await?;
        let read =
            move || decode_snapshot(&bytes).map(|index| (index.cell.seq, digest(&index))).map_err(|error| error.to_string());
        let found = self.cell.runtime().spawner.background("verify snapshot", read).await?;
        let (found_seq, found) = found.map_err(|reason| WorkError::Snapshot { key: key.clone(), reason })?;
        if found_seq != seq {
            return Err(WorkError::Snapshot { key, reason: format!("it holds seq {found_seq}, not {seq}") });
        }
        self.commit_one(AgreeSnapshot { seq: seq.0, digest: found.to_vec() }).await?;
        if self.cell.view().cell.snapshot.disagreed {
            tracing::error!(
                key,
                "a second fold disagrees with the snapshot: nothing is trimmed or collected until someone has looked"
            );
        }
        Ok(())
    }

    /// The floor follows the agreed snapshot, never past an entry that an extent refers to or that has no copy in the bucket.
    pub async fn raise_floor_once(&self) -> Result<(), WorkError> {
        let (snapshot, first_reference, copied) = {
            let view = self.cell.view();
            if view.cell.snapshot.disagreed {
                return Ok(());
            }
            let state = &view.cell.snapshot;
            let counted = if holds(Rule::D3) { &state.agreed } else { &state.written };
            let Some((seq, digest, key, _)) = counted.clone() else { return Ok(()) };
            (SnapshotRef { seq, key, digest }, view.first_inline_reference(), view.cell.log_copied)
        };
        if copied < snapshot.seq {
            self.copied_up_to(snapshot.seq).await?;
        }
        let first_reference = first_reference.filter(|_| holds(Rule::D6));
        let seq = snapshot.seq.next().min(first_reference.unwrap_or(Seq(u64::MAX)));
        let expected = self.cell.log().floor().await?;
        let lowest = if holds(Rule::A10) { expected.seq } else { Seq::ZERO };
        let to = Floor { seq: seq.max(lowest), snapshot: Some(snapshot) };
        if !holds(Rule::A9) {
            self.cell.log().trim(to.seq).await?;
        }
        if to != expected {
            self.cell.log().raise_floor(expected, to.clone()).await?;
        }
        Ok(self.cell.log().trim(to.seq).await?)
    }

    /// Deletes snapshots below the one that the floor names, and copies of the log that only they would need.
    async fn delete_old_snapshots(&self) -> Result<(), WorkError> {
        let Some(mut kept) = self.cell.log().floor().await?.snapshot else { return Ok(()) };
        if let Some((seq, ..)) = self.cell.view().cell.snapshot.written.as_ref().filter(|_| !holds(Rule::D4)) {
            kept.seq = *seq;
        }
        let cell_epoch = self.cell.view().cell.cell_epoch;
        let snapshots: Vec<_> = self.objects.list(Purpose::Snapshot, SNAPSHOT_PREFIX.trim_end_matches('/')).try_collect().await?;
        let is_old = |name: SnapshotName| name.cell_epoch < cell_epoch || (name.cell_epoch == cell_epoch && name.seq < kept.seq);
        let old = snapshots.into_iter().filter(|object| object.path.parse().is_ok_and(is_old)).map(|object| object.path);
        let mut old: Vec<String> = old.collect();
        let copies: Vec<_> = self.objects.list(Purpose::LogCopy, LOG_COPY_PREFIX.trim_end_matches('/')).try_collect().await?;
        let is_old = |name: LogCopyName| name.cell_epoch < cell_epoch || (name.cell_epoch == cell_epoch && name.to <= kept.seq);
        old.extend(copies.into_iter().filter(|object| object.path.parse().is_ok_and(is_old)).map(|object| object.path));
        for paths in old.chunks(limits::GARBAGE_BATCH) {
            for answer in self.objects.delete_all(Purpose::Snapshot, paths).await {
                answer?;
            }
        }
        Ok(())
    }

    /// Moves inline batches that are old and still above the frontier into WAL segments, so that the floor can pass. What cannot be
    /// read stays where it is, and the floor below it: nothing of that is in the way of a snapshot.
    pub async fn rehome_once(&self) -> Result<(), WorkError> {
        let mut unreadable = BTreeSet::new();
        for _ in 0..REHOME_ROUNDS {
            let older_than_ms = self.now_ms().saturating_sub(millis(self.options.rehome_age));
            let runs = inline_runs(&self.cell.view(), older_than_ms, &unreadable);
            if runs.is_empty() || unreadable.len() >= UNREADABLE_RUNS {
                return Ok(());
            }
            self.rehome(runs, &mut unreadable).await?;
        }
        Ok(())
    }

    /// Moves runs; adds those that cannot be read to `unreadable`.
    async fn rehome(
        &self,
        runs: Vec<(TopicPartition, Extent)>,
        unreadable: &mut BTreeSet<(TopicPartition, i64)>,
    ) -> Result<(), WorkError> {
        let name = self.cell.name_object();
        let mut builder = WalSegmentBuilder::new();
        let mut read = Vec::with_capacity(runs.len());
        for (partition, extent) in runs {
            match self.extent_bytes(partition, &extent).await {
                Ok(bytes) => {
                    builder.push(partition, bytes);
                    read.push((partition, extent));
                }
                Err(error) => {
                    metrics::counter!("strandline_rehome_unreadable_total").increment(1);
                    tracing::warn!(%error, "a batch could not be moved out of the log: the log is not trimmed beyond it");
                    unreadable.insert((partition, extent.start));
                    if unreadable.len() >= UNREADABLE_RUNS {
                        break;
                    }
                }
            }
        }
        let runs = read;
        if runs.is_empty() {
            return Ok(());
        }
        let path = format!("wal/{name}");
        let segment = builder.finish().map_err(|error| WorkError::Write { path: path.clone(), reason: error.to_string() })?;
        let mut next: std::collections::BTreeMap<TopicPartition, u64> =
            segment.runs.iter().map(|run| (run.partition, run.range.start)).collect();
        let rehomed = runs.iter().filter_map(|(partition, extent)| {
            let position = next.get_mut(partition)?;
            let run = RehomedRun {
                topic_id: partition.topic_id.0.to_vec(),
                partition: partition.partition,
                start: extent.start,
                end: extent.end,
                position: *position,
            };
            *position += extent.length;
            Some(run)
        });
        let command = Rehome { object: 1, runs: rehomed.collect() };
        let object = NewObject { path: path.clone(), size: segment.file_bytes, crc32c: segment.crc32c };
        self.objects.put_new(Purpose::Wal, &path, segment.bytes, segment.crc32c).await?;
        self.commit(Submission { commands: vec![command.into()], objects: vec![object], ..Submission::default() }).await?;
        Ok(())
    }
}

/// How long the log grows between two snapshots: at least `least`, and, within a bound, so long that a snapshot of that size stays a small part of what is
/// written. A large index under full load would otherwise be encoded several times a second.
fn log_bytes_between(least: u64, snapshot_bytes: u64) -> u64 {
    least.max(snapshot_bytes.saturating_mul(limits::SNAPSHOT_LOG_RATIO).min(limits::SNAPSHOT_LOG_MOST_BYTES))
}

/// The oldest inline runs, by partition and offset, up to what one WAL segment takes; `without` those.
fn inline_runs(index: &Index, older_than_ms: i64, without: &BTreeSet<(TopicPartition, i64)>) -> Vec<(TopicPartition, Extent)> {
    let mut found = Vec::new();
    let mut bytes = 0_u64;
    for topic in index.topics.values() {
        for (number, partition) in (0..).zip(&topic.partitions) {
            for extent in &partition.extents {
                let inline = matches!(extent.place, ExtentPlace::Inline { .. });
                if extent.ingest_ms >= older_than_ms {
                    break;
                }
                let place = TopicPartition { topic_id: topic.id, partition: number };
                if !inline || extent.length == 0 || without.contains(&(place, extent.start)) {
                    continue;
                }
                let full = found.len() >= limits::REHOME_RUNS || bytes.saturating_add(extent.length) > limits::REHOME_BYTES;
                if !found.is_empty() && full {
                    return found;
                }
                bytes = bytes.saturating_add(extent.length);
                found.push((place, *extent));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_index_waits_for_more_log() {
        assert_eq!(log_bytes_between(1_000, 0), 1_000);
        assert_eq!(log_bytes_between(1_000, 1_000 / limits::SNAPSHOT_LOG_RATIO), 1_000);
        assert_eq!(log_bytes_between(1_000, 1_000), 1_000 * limits::SNAPSHOT_LOG_RATIO);
        assert_eq!(log_bytes_between(1_000, u64::MAX), limits::SNAPSHOT_LOG_MOST_BYTES);
    }

    #[test]
    fn snapshot_names_round_trip() {
        let name = SnapshotName { cell_epoch: 2, seq: Seq(77), digest: std::array::from_fn(|at| at as u8 * 7) };
        assert_eq!(name.to_string().parse(), Ok(name));
        for wrong in ["index/1-2", "index/1-2-00", "index/x-2-3", "log/1-2-3"] {
            assert!(wrong.parse::<SnapshotName>().is_err(), "{wrong}");
        }
        assert!(format!("index/1-2-{}", "é".repeat(32)).parse::<SnapshotName>().is_err());
    }
}
