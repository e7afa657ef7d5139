//! A node's requests to the bucket, seen from outside of the faults: which it was told are lost, and what became of those.

use crate::core::Core;
use crate::happenings::Happening;
use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::io;
use std::sync::Arc;
use strandline_object_store::{Faults, InMemory};

/// It changes nothing, and counts.
pub(crate) struct WatchedStore {
    pub inner: Faults,
    /// What is in the bucket, whatever a node is told.
    pub bucket: Arc<InMemory>,
    pub core: Arc<Core>,
}

impl WatchedStore {
    fn is_there(&self, location: &Path) -> bool {
        self.bucket.head(location).now_or_never().is_some_and(|found| found.is_ok())
    }

    /// Counts a request that met a fault, as `lost` unless there was no room.
    fn count<T>(&self, answer: &Result<T>, lost: Happening) {
        // All else is the bucket's own word.
        let Err(Error::Generic { store: "faults", source }) = answer else { return };
        let is_full = source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::StorageFull);
        self.core.count(if is_full { Happening::FullBuckets } else { lost });
    }
}

impl fmt::Debug for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedStore")
    }
}

impl fmt::Display for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedStore")
    }
}

#[async_trait]
impl ObjectStore for WatchedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let was_there = self.is_there(location);
        let answer = self.inner.put_opts(location, payload, options).await;
        let has_come = !was_there && self.is_there(location);
        self.count(&answer, if has_come { Happening::UnheardPuts } else { Happening::LostPuts });
        answer
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.inner.get_opts(location, options).await;
        self.count(&answer, Happening::LostGets);
        answer
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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
