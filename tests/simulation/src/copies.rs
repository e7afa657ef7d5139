//! The copies of the log in the bucket, held against the log: a rebuild has nothing else, and a sealed file and the garbage wait for
//! them by the log's word alone (C8, B10, I10).

use bytes::Bytes;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_commit_log::{CommitLog, MemoryCommitLog, Row, SnapshotRef};
use strandline_compactor::{LOG_COPY_PREFIX, LogCopy, LogCopyName};
use strandline_object_store::InMemory;
use strandline_types::Seq;

/// The snapshot that the floor names. Asked outside of what tokio lets a task do at a stretch: else there would be no answer at times.
pub(crate) fn floor_snapshot(log: &MemoryCommitLog) -> Option<SnapshotRef> {
    let node = log.for_node();
    let floor = tokio::task::coop::unconstrained(node.floor()).now_or_never()?.ok()?;
    floor.snapshot
}

/// Up to where a snapshot has all.
pub(crate) fn snapshot_end(snapshot: Option<&SnapshotRef>) -> Seq {
    snapshot.map_or(Seq::ZERO, |snapshot| snapshot.seq)
}

/// What is in the log, and what of it is in the bucket.
#[derive(Default)]
pub(crate) struct Copies {
    bucket: Arc<InMemory>,
    /// Of every entry from the first on.
    rows: Vec<Row>,
    /// Copies that were there at the last look, and right.
    right: BTreeSet<LogCopyName>,
    /// How far the log said then that it is copied.
    said: Seq,
}

impl Copies {
    /// The bucket that they lie in.
    pub fn look_into(&mut self, bucket: Arc<InMemory>) {
        self.bucket = bucket;
    }

    /// The log's next row.
    pub fn note(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Where the log says that it is copied further than before: it is. All rows that a copy may have are noted by then.
    pub fn check(&mut self, said: Seq, log: &MemoryCommitLog) -> Result<(), String> {
        if said <= self.said {
            return Ok(());
        }
        self.run_up_to(said, snapshot_end(floor_snapshot(log).as_ref()))?;
        self.said = said;
        Ok(())
    }

    /// Copies have all that a snapshot of so much does not have, without a gap; and each that nobody has looked at yet is right.
    fn run_up_to(&mut self, said: Seq, covered: Seq) -> Result<(), String> {
        let there = self.names()?;
        for name in there.difference(&self.right) {
            self.look_at(*name)?;
        }
        // In the order of their first entries.
        let further = |reached: Seq, copy: &LogCopyName| if copy.from <= reached.next() { reached.max(copy.to) } else { reached };
        let reached = there.iter().fold(covered, further);
        self.right = there;
        if reached < said {
            return Err(format!(
                "the log says that it is copied up to {said}; a snapshot has all up to {covered}, copies go on to {reached} (I10)"
            ));
        }
        Ok(())
    }

    fn names(&self) -> Result<BTreeSet<LogCopyName>, String> {
        let folder = Path::from(LOG_COPY_PREFIX.trim_end_matches('/'));
        let listed = self.bucket.list(Some(&folder)).try_collect::<Vec<_>>().now_or_never();
        let listed = listed.ok_or("the copies of the log are not listed at once")?.map_err(|error| error.to_string())?;
        let name = |path: &str| path.parse::<LogCopyName>().map_err(|error| error.to_string());
        listed.iter().map(|copy| name(copy.location.as_ref())).collect()
    }

    /// It has what its name says, as the log has it, all but payloads (docs/formats.md).
    fn look_at(&self, name: LogCopyName) -> Result<(), String> {
        let path = name.to_string();
        let copy = self.read(&path)?;
        if copy.name() != Some(name) {
            return Err(format!("{path} has other entries than its name says: {:?} (I10)", copy.name()));
        }
        match copy.rows.iter().find(|row| self.row(row.seq) != Some(*row)) {
            Some(wrong) => Err(format!("{path} has another entry {} than the log (I10)", wrong.seq)),
            None => Ok(()),
        }
    }

    fn read(&self, path: &str) -> Result<LogCopy, String> {
        let location = Path::from(path);
        let read = async { self.bucket.get(&location).await?.bytes().await };
        let bytes: Bytes = read
            .now_or_never()
            .ok_or_else(|| format!("{path} is not read at once"))?
            .map_err(|error: object_store::Error| format!("{path}: {error}"))?;
        LogCopy::decode(&bytes).map_err(|error| format!("{path}: {error} (I10)"))
    }

    fn row(&self, seq: Seq) -> Option<&Row> {
        let before = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.rows.get(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::RangeInclusive;
    use strandline_types::ChainHash;

    fn row(seq: u64) -> Row {
        let bytes = Bytes::from(format!("entry {seq}"));
        Row { seq: Seq(seq), hash_before: ChainHash([seq as u8; 16]), bytes, payload_length: 10 * seq }
    }

    /// A log of twelve entries, and no copy of it.
    fn uncopied() -> Copies {
        let mut copies = Copies::default();
        (1..=12).for_each(|seq| copies.note(row(seq)));
        copies
    }

    fn put(copies: &Copies, path: &str, rows: Vec<Row>) {
        let bytes = LogCopy { cell_epoch: 1, rows }.encode();
        copies.bucket.put(&Path::from(path), bytes.into()).now_or_never().unwrap().unwrap();
    }

    fn name(run: &RangeInclusive<u64>) -> String {
        LogCopyName { cell_epoch: 1, from: Seq(*run.start()), to: Seq(*run.end()) }.to_string()
    }

    /// Whether these copies are enough where the log says so much and a snapshot has so much.
    fn is_enough(runs: &[RangeInclusive<u64>], said: u64, covered: u64) -> bool {
        let mut copies = uncopied();
        runs.iter().for_each(|run| put(&copies, &name(run), run.clone().map(row).collect()));
        copies.run_up_to(Seq(said), Seq(covered)).is_ok()
    }

    #[test]
    fn copies_go_on_from_the_snapshot_without_a_gap() {
        assert!(is_enough(&[1..=4, 5..=9], 9, 0));
        assert!(is_enough(&[1..=4, 2..=9, 3..=5], 9, 0), "they may overlap");
        assert!(is_enough(&[3..=9, 10..=12], 11, 4), "the first may begin in the snapshot");
        assert!(is_enough(&[], 4, 4));
        assert!(!is_enough(&[], 4, 3));
        assert!(!is_enough(&[1..=4, 6..=9], 9, 0));
        assert!(!is_enough(&[2..=4, 5..=9], 9, 0));
        assert!(!is_enough(&[6..=7, 8..=9], 9, 4));
        assert!(!is_enough(&[1..=4, 5..=8], 9, 0));
    }

    #[test]
    fn a_copy_has_the_entries_of_the_log() {
        let run = 1..=3;
        let changed = [
            Row { bytes: Bytes::from_static(b"another"), ..row(2) },
            Row { hash_before: ChainHash([9; 16]), ..row(2) },
            Row { payload_length: 0, ..row(2) },
        ];
        for wrong in changed {
            let mut copies = uncopied();
            put(&copies, &name(&run), vec![row(1), wrong, row(3)]);
            copies.run_up_to(Seq(3), Seq::ZERO).unwrap_err();
            put(&copies, &name(&run), run.clone().map(row).collect());
            copies.run_up_to(Seq(3), Seq::ZERO).unwrap();
        }
    }

    #[test]
    fn a_copy_has_what_its_name_says_and_no_more_than_the_log() {
        let mut copies = uncopied();
        put(&copies, &name(&(1..=4)), (1..=3).map(row).collect());
        copies.run_up_to(Seq(3), Seq::ZERO).unwrap_err();
        let mut copies = uncopied();
        put(&copies, &name(&(1..=13)), (1..=13).map(row).collect());
        copies.run_up_to(Seq(3), Seq::ZERO).unwrap_err();
        let mut copies = uncopied();
        put(&copies, "log/another", Vec::new());
        copies.run_up_to(Seq::ZERO, Seq::ZERO).unwrap_err();
    }
}
