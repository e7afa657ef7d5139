//! The handle: long-running tasks, and each step by itself.

use crate::error::WorkError;
use crate::options::CompactorOptions;
use crate::seal::SealProgress;
use crate::shared::Shared;
use crate::tasks;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::Cell;
use strandline_commands::NewFile;
use strandline_extents::ExtentReader;
use strandline_object_store::Objects;
use strandline_runtime::Spawner;
use strandline_segment_index::SegmentIndex;
use strandline_types::{Seq, TopicId};

/// The compactor of a node. Cheap to clone. Every step may be called beside the tasks: it does its work once.
#[derive(Clone)]
pub struct Compactor {
    shared: Arc<Shared>,
    spawner: Spawner,
}

impl Compactor {
    /// A compactor that does nothing yet.
    pub fn new(
        options: CompactorOptions,
        cell: Cell,
        objects: Objects,
        segment_index: Arc<dyn SegmentIndex>,
        extents: ExtentReader,
    ) -> Self {
        let spawner = cell.runtime().spawner.new_group();
        Self { shared: Arc::new(Shared::new(options, cell, objects, segment_index, extents)), spawner }
    }

    /// Starts the tasks. They end with the cell, or by [`Compactor::stop`].
    pub fn run(&self) {
        self.spawn("convert", tasks::convert);
        self.spawn("seal and merge", tasks::upkeep);
        self.spawn("manifests", tasks::manifests);
        self.spawn("log copies", tasks::log_copies);
        self.spawn("snapshots", tasks::snapshots);
        self.spawn("retention", tasks::retention);
        self.spawn("garbage", tasks::garbage);
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, name: &'static str, task: fn(Arc<Shared>) -> F) {
        self.shared.cell.runtime().spawn_lasting(&self.spawner, name, &self.shared, task);
    }

    /// Ends the tasks where they stand, which is safe anywhere. Then, within `budget`, what was committed is copied to the
    /// bucket and manifests are brought up to date: a bucket without its log loses nothing but records that are not in Parquet yet.
    pub async fn stop(&self, budget: Duration) {
        self.spawner.group().abort_all();
        let last = async {
            for topic_id in self.shared.manifests_due_at_stop() {
                if let Err(error) = self.shared.write_manifest_once(topic_id).await {
                    tracing::warn!(%topic_id, %error, "a topic's manifests are not up to date at the stop");
                }
            }
            self.shared.copy_log_once(false).await
        };
        let timer = self.shared.cell.runtime().sleep(budget);
        tokio::select! {
            biased;
            result = last => if let Err(error) = result {
                tracing::warn!(%error, "the bucket's copy of the log is not complete at the stop; the log itself is");
            },
            () = timer => tracing::warn!("no time was left to bring the bucket's copy of the log up to date; the log itself is"),
        }
    }

    /// Pauses conversions, or goes on with them (benchmarks of ingest alone).
    pub fn pause_conversion(&self, paused: bool) {
        self.shared.conversion_paused.store(paused, std::sync::atomic::Ordering::Relaxed);
    }

    /// Converts the oldest stable extents of a topic into one fresh segment. False if there is nothing stable.
    ///
    /// # Errors
    /// [`WorkError`] says whether to try again; nothing was lost.
    pub async fn convert_once(&self, topic_id: TopicId) -> Result<bool, WorkError> {
        self.shared.convert_once(topic_id).await
    }

    /// Merges one run of small fresh segments. False if there is none.
    ///
    /// # Errors
    /// As above.
    pub async fn merge_once(&self, topic_id: TopicId) -> Result<bool, WorkError> {
        self.shared.merge_once(topic_id).await
    }

    /// Completes open plans and seals what is due; `force` seals every fresh segment that is there now.
    ///
    /// # Errors
    /// As above.
    pub async fn seal_once(&self, topic_id: TopicId, force: bool) -> Result<SealProgress, WorkError> {
        self.shared.seal_once(topic_id, force).await
    }

    /// Converts everything that is stable now, seals it, and writes the manifests: what `strandline bronze seal` asks for. What is
    /// produced meanwhile is not waited for.
    ///
    /// # Errors
    /// As above; [`WorkError::HeldBack`]: what could be sealed is.
    pub async fn seal_everything(&self, topic_id: TopicId) -> Result<SealProgress, WorkError> {
        let ends: Vec<i64> = {
            let topic = self.shared.topic(topic_id);
            let ends = topic.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.last_stable_offset());
            ends.collect()
        };
        let mut progress = SealProgress::default();
        let behind = loop {
            let before = self.reached(topic_id, &ends);
            // Where it comes no further, a partition is held back, and the others may be written without an end.
            let mut reached = before.clone();
            while reached.behind.is_some() && self.shared.convert_once(topic_id).await? {
                let now = self.reached(topic_id, &ends);
                if now == reached {
                    break;
                }
                reached = now;
            }
            progress.sealed.extend(self.shared.seal_once(topic_id, true).await?.sealed);
            // Extents that were sealed as they are, by this or by the node's own task, may have held back what follows them.
            let reached = self.reached(topic_id, &ends);
            if reached.behind.is_none() || reached == before {
                break reached.behind;
            }
        };
        self.shared.write_manifest_once(topic_id).await?;
        match behind {
            None => Ok(progress),
            Some((partition, offset)) => Err(WorkError::HeldBack { partition, offset }),
        }
    }

    /// How far the partitions of a topic have come of what lies below `ends`.
    fn reached(&self, topic_id: TopicId, ends: &[i64]) -> Reached {
        let Some(topic) = self.shared.topic(topic_id) else { return Reached::default() };
        let partitions = (0..).zip(&topic.partitions).zip(ends);
        let mut reached = Reached { plans: topic.plans.keys().cloned().collect(), ..Reached::default() };
        for ((number, partition), end) in partitions {
            reached.offsets += partition.frontier.min(*end);
            if partition.frontier < *end {
                reached.behind.get_or_insert((number, partition.frontier));
            }
        }
        reached
    }

    /// Whether this run has written or read a topic's root manifest with all changes up to this one. None deletes it but a deletion of the
    /// topic, so that from then on it lies in the bucket.
    pub fn has_root_manifest(&self, topic_id: TopicId, changed: Seq) -> bool {
        self.shared.has_root_manifest(topic_id, changed)
    }

    /// Brings a topic's manifests up to date. False if they were, or if another node writes them.
    ///
    /// # Errors
    /// As above.
    pub async fn write_manifest_once(&self, topic_id: TopicId) -> Result<bool, WorkError> {
        self.shared.write_manifest_once(topic_id).await
    }

    /// One round of retention: log starts, sealed files, idle producers.
    ///
    /// # Errors
    /// As above, of the first topic that failed; the others were looked at all the same.
    pub async fn retain_once(&self) -> Result<(), WorkError> {
        self.shared.retain_once().await
    }

    /// One round over the garbage list and deleted topics. Returns how many objects of the list went. Where another node collects, it says
    /// how far this one has folded.
    ///
    /// # Errors
    /// As above.
    pub async fn collect_once(&self) -> Result<usize, WorkError> {
        let emptied = match self.shared.empty_dropped_once().await {
            Err(WorkError::LeaseElsewhere) => Ok(()),
            emptied => emptied,
        };
        let emptied = emptied.and(self.shared.delete_manifests_of_deleted_topics().await);
        let collected = match self.shared.collect_once().await {
            Err(WorkError::LeaseElsewhere) => self.shared.report_once().await.map(|()| 0)?,
            collected => collected?,
        };
        emptied.map(|()| collected)
    }

    /// One search for orphans in `wal/`, `fresh/` and `bronze/`. Returns how many went.
    ///
    /// # Errors
    /// As above.
    pub async fn sweep_once(&self) -> Result<usize, WorkError> {
        Ok(self.shared.collect_orphans_once().await? + self.shared.sweep_bronze_once().await?)
    }

    /// Copies the log to the bucket if there is something new, whatever the interval. Returns where the copies stand.
    ///
    /// # Errors
    /// As above.
    pub async fn copy_log_once(&self) -> Result<Seq, WorkError> {
        self.shared.copy_log_once(false).await
    }

    /// Takes a snapshot if it is due, or if `force`; then moves the floor and trims. Returns the seq that it holds.
    ///
    /// # Errors
    /// As above.
    pub async fn snapshot_once(&self, force: bool) -> Result<Option<Seq>, WorkError> {
        self.shared.snapshot_once(force).await
    }

    /// The topic's sealed files as the segment index lists them, remembered from the last look, without those that were dropped.
    ///
    /// # Errors
    /// The segment index cannot be read.
    pub async fn sealed_files(&self, topic_id: TopicId) -> Result<Vec<NewFile>, WorkError> {
        let sealed = self.shared.sealed_files(topic_id).await?;
        Ok(sealed.files.values().filter(|file| !sealed.gone.contains(&file.path)).cloned().collect())
    }

    /// Clears a disagreement about a snapshot that someone has looked at, if a newer one was agreed to; then the floor moves again.
    /// False if there was nothing to clear, or nothing to clear it by.
    ///
    /// # Errors
    /// As above.
    pub async fn clear_disagreement_once(&self) -> Result<bool, WorkError> {
        self.shared.clear_disagreement_once().await
    }
}

/// How far a seal of everything has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reached {
    /// Of all partitions together, offsets that are in files.
    offsets: i64,
    /// Files that are planned and not done.
    plans: Vec<String>,
    /// A partition that is not done, and the first offset of it that is in no file.
    behind: Option<(i32, i64)>,
}
