//! The embedded log on a disk that fails, held against what it has promised: an entry that was acknowledged once is there after
//! every crash, and no other at its place. The log in memory is the copy that the oracle folds.

use crate::core::{Core, locked};
use crate::dice::Dice;
use crate::happenings::Happening;
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use strandline_commit_log::disk::{Crash, SimulatedDisk};
use strandline_commit_log::embedded::Options;
use strandline_commit_log::{
    AppendError, CommitLog, EmbeddedCommitLog, Entry, Floor, FloorError, Payload, ReadError, Tail, TrimError,
};
use strandline_runtime::Runtime;
use strandline_types::Seq;

pub(crate) struct Promised {
    inner: EmbeddedCommitLog,
    core: Arc<Core>,
}

/// What one life of a log is opened with.
pub(crate) fn options(dice: &Dice) -> Options {
    Options {
        file_bytes: dice.between(16, 256) << 10,
        preallocate_bytes: if dice.chance(50) { 0 } else { 8 << 10 },
        min_free_bytes: 0,
        reserve_bytes: 0,
        skipped_payload_bytes: dice.between(1, 8) << 10,
        ..Options::default()
    }
}

impl Promised {
    /// Opens the log after the life before has ended somehow.
    pub async fn open(disk: &SimulatedDisk, core: Arc<Core>, dice: &Dice, runtime: Runtime) -> Result<Self, String> {
        let drawn = *dice.pick(&[Crash::Killed, Crash::PowerLost, Crash::PowerMixed]).unwrap_or(&Crash::Killed);
        let crash = locked(&core.crash).take().unwrap_or(drawn);
        disk.restart(crash, &*dice.random());
        core.trace(format!("the disk is back: {crash:?}"));
        core.count(match crash {
            Crash::Killed => Happening::KilledDisks,
            Crash::PowerLost => Happening::LostDisks,
            Crash::PowerMixed => Happening::MixedDisks,
        });
        let opened = EmbeddedCommitLog::open_on(Arc::new(disk.clone()), Path::new("/log"), options(dice), runtime).await;
        let inner = opened.map_err(|error| {
            let what = format!("the embedded log cannot be opened: {error}");
            core.fail(&*what);
            what
        })?;
        core.trace(format!("the embedded log: {:?}", inner.recovery()));
        if inner.recovery().torn_bytes > 0 {
            core.count(Happening::TornFrames);
        }
        core.torn_bytes.fetch_add(inner.recovery().torn_bytes, std::sync::atomic::Ordering::Relaxed);
        if inner.head() < core.log.head() {
            core.fail(format!(
                "the embedded log ends at {} after {crash:?}, {} was promised (I1)",
                inner.head(),
                core.log.head()
            ));
        }
        Ok(Self { inner, core })
    }

    fn keep(&self, at: Seq, entry: Entry) {
        match self.core.log.stored(at) {
            Some(there) if there.bytes == entry.bytes => {}
            Some(_) => self.core.fail(format!("entry {at} was promised, and another is there (I1)")),
            None => {
                let kept = self.core.log.for_node().append(at, entry).now_or_never();
                if !matches!(kept, Some(Ok(()))) {
                    self.core.fail(format!("entry {at} comes after {}: {kept:?}", self.core.log.head()));
                }
            }
        }
    }

    async fn keep_floor(&self, floor: &Floor) {
        let copy = self.core.log.for_node();
        let before = copy.floor().await.unwrap_or_default();
        if *floor != before && copy.raise_floor(before.clone(), floor.clone()).await.is_err() {
            self.core.fail(format!("the floor was at {}, and is at {} (A10)", before.seq, floor.seq));
        }
    }
}

#[async_trait]
impl CommitLog for Promised {
    async fn append(&self, at: Seq, entry: Entry) -> Result<(), AppendError> {
        self.inner.append(at, entry.clone()).await?;
        self.keep(at, entry);
        Ok(())
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Tail, ReadError> {
        let tail = self.inner.read(from, max_bytes).await?;
        if let Tail::Rows { rows, .. } = &tail {
            for row in rows {
                let payload = Payload { length: 0, ..Payload::default() };
                self.keep(row.seq, Entry { hash_before: row.hash_before, bytes: row.bytes.clone(), payload });
            }
        }
        Ok(tail)
    }

    async fn read_payload(&self, at: Seq, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.inner.read_payload(at, range).await
    }

    async fn floor(&self) -> Result<Floor, ReadError> {
        let floor = self.inner.floor().await?;
        self.keep_floor(&floor).await;
        Ok(floor)
    }

    async fn raise_floor(&self, expected: Floor, to: Floor) -> Result<(), FloorError> {
        self.inner.raise_floor(expected, to.clone()).await?;
        self.keep_floor(&to).await;
        Ok(())
    }

    async fn trim(&self, below: Seq) -> Result<(), TrimError> {
        self.inner.trim(below).await
    }

    fn takes_any_payload(&self) -> bool {
        self.inner.takes_any_payload()
    }

    fn has_room(&self) -> bool {
        CommitLog::has_room(&self.inner)
    }

    fn release_reserve(&self) -> bool {
        CommitLog::release_reserve(&self.inner)
    }

    fn let_go(&self) {
        CommitLog::let_go(&self.inner);
    }

    async fn close(&self) -> Result<(), AppendError> {
        self.inner.close().await
    }
}
