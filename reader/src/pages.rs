//! Bytes of Parquet files and rebuilt chunks, through the cache.

use crate::error::SourceError;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use strandline_bronze::Fetched;
use strandline_cache::{BlockReader, Cache, CacheKey, ReadRangeError};
use strandline_object_store::{Objects, Purpose};
use strandline_types::limits;

/// Reads pages and keeps chunks, each fetched or built once however many wait. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pages {
    blocks: BlockReader,
}

impl Pages {
    pub(crate) fn new(objects: Objects, cache: Cache) -> Self {
        Self { blocks: BlockReader::new(cache, objects, Purpose::Read) }
    }

    /// These ranges of a file.
    pub(crate) async fn fetch(&self, path: &str, size: u64, ranges: &[Range<u64>]) -> Result<Fetched, SourceError> {
        let name: Arc<str> = path.into();
        let read = |range: Range<u64>| {
            let (blocks, name) = (self.blocks.clone(), name.clone());
            async move {
                let chunks = blocks.read_chunks(&name, size, range.clone()).await?;
                let mut at = range.start;
                let placed = chunks.into_iter().map(|chunk| {
                    let start = at;
                    at += chunk.len() as u64;
                    (start, chunk)
                });
                Ok::<Vec<_>, ReadRangeError>(placed.collect())
            }
        };
        let pieces = stream::iter(ranges.to_vec()).map(read).buffer_unordered(limits::BLOCKS_IN_FLIGHT).try_concat().await;
        let pieces = pieces.map_err(|error| of_range(path, &error))?;
        Ok(Fetched::new(size, pieces))
    }

    /// These spans of a file, each whole: always the same ranges, so that one that several chunks lie in is fetched once.
    pub(crate) async fn fetch_spans(&self, path: &str, size: u64, spans: Vec<Range<u64>>) -> Result<Fetched, SourceError> {
        let name: Arc<str> = path.into();
        let read = |span: Range<u64>| {
            let (blocks, name) = (self.blocks.clone(), name.clone());
            async move { Ok((span.start, blocks.read_span(&name, size, span).await?)) }
        };
        let pieces = stream::iter(spans).map(read).buffer_unordered(limits::BLOCKS_IN_FLIGHT).try_collect().await;
        let pieces = pieces.map_err(|error| of_range(path, &error))?;
        Ok(Fetched::new(size, pieces))
    }

    /// Lets these ranges of a file go: they are damaged.
    pub(crate) fn forget(&self, path: &str, ranges: &[Range<u64>]) {
        let name: Arc<str> = path.into();
        ranges.iter().for_each(|range| self.blocks.forget_range(&name, range.clone()));
    }

    /// The same for spans.
    pub(crate) fn forget_spans(&self, path: &str, spans: &[Range<u64>]) {
        let name: Arc<str> = path.into();
        spans.iter().for_each(|span| self.blocks.forget_span(&name, span.clone()));
    }

    /// The rebuilt chunk of that name, built if it is not in the cache.
    pub(crate) async fn chunk(
        &self,
        path: &str,
        partition: i32,
        offset: i64,
        build: impl Future<Output = Result<Bytes, SourceError>> + Send + 'static,
    ) -> Result<Bytes, SourceError> {
        let key = CacheKey::Batches { path: path.into(), partition, offset };
        let found = self.blocks.cache().get_or_fetch(key, || build).await;
        found.map_err(|error| match error.cause::<SourceError>() {
            Some(cause) => cause.clone(),
            None => SourceError::Unavailable { object: path.to_owned(), reason: error.to_string() },
        })
    }
}

fn of_range(path: &str, error: &ReadRangeError) -> SourceError {
    match error {
        ReadRangeError::Get(error) => SourceError::of_store(path, error),
        ReadRangeError::OutOfRange { .. } => SourceError::damaged(path, error),
        ReadRangeError::Other(_) => SourceError::Unavailable { object: path.to_owned(), reason: error.to_string() },
    }
}
