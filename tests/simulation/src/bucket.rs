//! The bucket that all nodes share, which knows what must not be deleted, and a node's way to it.

use crate::copies::{floor_snapshot, snapshot_end};
use crate::core::{Core, locked};
use crate::dice::Dice;
use crate::gate::Gate;
use crate::mutation::Mutation;
use crate::stops::{Place, Stops};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use strandline_bronze::{Fetched, ReadError, SegmentFooter, SegmentScan};
use strandline_compactor::LogCopyName;
use strandline_object_store::InMemory;

/// Under `bronze/`: which file shows which row, by topic folder, partition and offset.
type ShownRows = BTreeMap<(String, i32, i64), String>;

/// The store itself.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub inner: Arc<InMemory>,
    core: Arc<Core>,
    dice: Dice,
    shown: Arc<Mutex<ShownRows>>,
}

impl Bucket {
    pub fn new(core: Arc<Core>, dice: Dice) -> Self {
        let inner = Arc::new(InMemory::new());
        core.oracle().copies.look_into(inner.clone());
        Self { inner, core, dice, shown: Arc::default() }
    }

    /// I7: whoever lists `bronze/` at any moment sees no row twice.
    fn note_rows(&self, path: &str, bytes: Bytes) {
        let Some(folder) = path.strip_prefix("bronze/").and_then(|rest| rest.rsplit_once("/ingest_date=")) else { return };
        let mut shown = locked(&self.shown);
        let noted =
            SegmentFooter::parse(path, bytes.len() as u64, &bytes).map_err(|error| error.to_string()).and_then(|footer| {
                let rows = SegmentScan::new(&footer, &Fetched::whole(bytes));
                let noted = rows.for_each_row(|partition, _, record| {
                    match shown.insert((folder.0.to_owned(), partition, record.offset), path.to_owned()) {
                        Some(other) if other != path => {
                            Err(RowError(format!("offset {} of partition {partition} is in {other} too", record.offset)))
                        }
                        _ => Ok(()),
                    }
                });
                noted.map_err(|RowError(error)| error)
            });
        drop(shown);
        if let Err(what) = noted {
            self.core.fail(format!("{path} is PUT: {what} (I7)"));
        }
    }

    /// I8, by the log as it is now, whatever the one who deletes has read of it.
    fn check_deletion(&self, path: &str) {
        let referred = {
            let oracle = self.core.oracle();
            let now_ms = self.core.clock().now_ms();
            oracle.refers_to(path).or_else(|| oracle.must_wait(path)).or_else(|| oracle.keeps(path, now_ms))
        };
        let reason = referred.or_else(|| self.sealed_row(path)).or_else(|| self.needed_from_the_floor(path));
        if let Some(reason) = reason {
            self.core.fail(format!("{path} is deleted, and {reason} (I8)"));
        }
    }

    /// The floor names this snapshot, or the one that it names lacks what this copy of the log has (I10).
    fn needed_from_the_floor(&self, path: &str) -> Option<String> {
        let snapshot = floor_snapshot(&self.core.log);
        if let Ok(copy) = path.parse::<LogCopyName>() {
            let end = snapshot_end(snapshot.as_ref());
            return (copy.to > end).then(|| format!("the floor's snapshot has no more than the entries up to {end}"));
        }
        (snapshot?.key == path).then(|| "the floor names it".to_owned())
    }

    /// C8: a sealed file lies in the bucket only once its plan does, else a cell that is rebuilt plans its rows again.
    fn check_put(&self, path: &str) {
        let oracle = self.core.oracle();
        let plan = oracle.index().topics.values().find_map(|topic| topic.plans.get(path));
        let uncopied = plan.is_some_and(|plan| plan.since > oracle.index().cell.log_copied);
        drop(oracle);
        if uncopied {
            self.core.fail(format!("{path} is PUT before its plan is in the bucket's copy of the log (C8)"));
        }
    }

    /// A row of the segment index names it, for offsets that can be read.
    fn sealed_row(&self, path: &str) -> Option<String> {
        if !path.starts_with("bronze/") {
            return None;
        }
        let rows =
            strandline_segment_index::SegmentIndex::scan_all(&self.core.segment_index, None, usize::MAX).now_or_never()?.ok()?;
        let oracle = self.core.oracle();
        rows.iter().find_map(|row| {
            let (log_start, _) = oracle.bounds(row.topic_partition)?;
            (row.path == path && row.end_offset > log_start)
                .then(|| format!("it answers for [{}, {}) of {:?}", row.start_offset, row.end_offset, row.topic_partition))
        })
    }
}

/// Why a file's rows are wrong.
struct RowError(String);

impl From<ReadError> for RowError {
    fn from(error: ReadError) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.core.mutated(Mutation::StoreForgets) && location.as_ref().starts_with("wal/") && self.dice.chance(20) {
            return Ok(PutResult { e_tag: None, version: None, extensions: Default::default() });
        }
        self.check_put(location.as_ref());
        let bytes = Bytes::from(payload.clone());
        let answer = self.inner.put_opts(location, payload, options).await;
        if answer.is_ok() {
            self.note_rows(location.as_ref(), bytes);
        }
        answer
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let bucket = self.clone();
        let one = move |location: Result<Path>| {
            let bucket = bucket.clone();
            async move {
                let location = location?;
                bucket.check_deletion(location.as_ref());
                bucket.inner.delete(&location).await?;
                locked(&bucket.shown).retain(|_, path| path != location.as_ref());
                Ok(location)
            }
        };
        locations.then(one).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A node's requests: they wait while it is paused, and those of a dead node never begin.
#[derive(Debug)]
pub(crate) struct NodeStore {
    pub inner: Arc<dyn ObjectStore>,
    pub gate: Gate,
    pub stops: Stops,
}

impl fmt::Display for NodeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeStore")
    }
}

#[async_trait]
impl ObjectStore for NodeStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.gate.pass().await;
        self.stops.pass(Place::Put, location.as_ref()).await;
        let answer = self.inner.put_opts(location, payload, options).await;
        self.stops.pass(Place::PutDone, location.as_ref()).await;
        self.gate.pass().await;
        answer
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.gate.pass().await;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gate.pass().await;
        let answer = self.inner.get_opts(location, options).await;
        self.gate.pass().await;
        answer
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let gate = self.gate.clone();
        let gated = locations.then(move |location| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                location
            }
        });
        self.inner.delete_stream(gated.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (gate, inner, prefix, stops) = (self.gate.clone(), self.inner.clone(), prefix.cloned(), self.stops.clone());
        let listed = async move {
            gate.pass().await;
            stops.pass(Place::List, prefix.as_ref().map_or("", |prefix| prefix.as_ref())).await;
            inner.list(prefix.as_ref())
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.gate.pass().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.gate.pass().await;
        self.inner.copy_opts(from, to, options).await
    }
}
