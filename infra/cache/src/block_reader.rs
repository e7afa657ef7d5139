//! Ranges of objects, read in blocks.

use crate::cache::Cache;
use crate::key::CacheKey;
use crate::single_flight::FetchError;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::ops::Range;
use std::sync::Arc;
use strandline_object_store::{GetError, Objects, Purpose};
use strandline_types::limits;

const BLOCK_BYTES: u64 = limits::BLOCK_BYTES as u64;

/// A range could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadRangeError {
    /// The store's answer.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The range does not lie within the size that the caller gave.
    #[error("bytes {}..{} were asked of `{path}`, which has {size}", range.start, range.end)]
    OutOfRange {
        /// The object.
        path: String,
        /// What was asked for.
        range: Range<u64>,
        /// What the caller said is there.
        size: u64,
    },
    /// Someone else fetched the same block in another way, and failed.
    #[error(transparent)]
    Other(FetchError),
}

impl ReadRangeError {
    /// Whether to try again later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Get(error) => error.is_retriable(),
            Self::OutOfRange { .. } => false,
            Self::Other(_) => true,
        }
    }

    /// Whether there is no such object: the reader's view is old.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Get(error) if error.is_not_found())
    }
}

impl From<FetchError> for ReadRangeError {
    fn from(error: FetchError) -> Self {
        match error.cause::<GetError>() {
            Some(cause) => Self::Get(cause.clone()),
            None => Self::Other(error),
        }
    }
}

/// Reads objects through the cache, in blocks of `limits::BLOCK_BYTES`, each fetched once however many wait;
/// cheap to clone. For immutable objects only.
#[derive(Debug, Clone)]
pub struct BlockReader {
    cache: Cache,
    objects: Objects,
    purpose: Purpose,
}

impl BlockReader {
    /// Reads from `objects` through `cache`, counted under `purpose`.
    pub fn new(cache: Cache, objects: Objects, purpose: Purpose) -> Self {
        Self { cache, objects, purpose }
    }

    /// The cache behind it.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The bytes of a range as one piece: without a copy where it lies within one block. `object_size` is the
    /// object's true size, as the index or its row has it.
    pub async fn read_range(&self, path: &Arc<str>, object_size: u64, range: Range<u64>) -> Result<Bytes, ReadRangeError> {
        let mut chunks = self.read_chunks(path, object_size, range).await?;
        if chunks.len() <= 1 {
            return Ok(chunks.pop().unwrap_or_default());
        }
        let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
        for chunk in chunks {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The bytes of a range as slices of its blocks, in order, never copied. Up to
    /// `limits::BLOCKS_IN_FLIGHT` blocks are fetched at a time.
    pub async fn read_chunks(&self, path: &Arc<str>, object_size: u64, range: Range<u64>) -> Result<Vec<Bytes>, ReadRangeError> {
        if range.start > range.end || range.end > object_size {
            return Err(ReadRangeError::OutOfRange { path: path.to_string(), range, size: object_size });
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let blocks = range.start / BLOCK_BYTES..=(range.end - 1) / BLOCK_BYTES;
        let wanted = |block: u64| {
            let start = block * BLOCK_BYTES;
            let within = range.start.max(start) - start..range.end.min(start + BLOCK_BYTES) - start;
            async move {
                let bytes = self.read_block(path, object_size, block).await?;
                let (from, to) = (usize::try_from(within.start), usize::try_from(within.end));
                // A block is at most 4 MiB, so its places fit any platform's sizes.
                Ok(bytes.slice(from.unwrap_or(0)..to.unwrap_or(0)))
            }
        };
        stream::iter(blocks.map(wanted)).buffered(limits::BLOCKS_IN_FLIGHT).try_collect().await
    }

    /// The bytes of a range as one piece, fetched and cached as it is: for ranges that are always asked for alike, none of which
    /// overlaps another.
    pub async fn read_span(&self, path: &Arc<str>, object_size: u64, span: Range<u64>) -> Result<Bytes, ReadRangeError> {
        if span.start > span.end || span.end > object_size {
            return Err(ReadRangeError::OutOfRange { path: path.to_string(), range: span, size: object_size });
        }
        if span.is_empty() {
            return Ok(Bytes::new());
        }
        let key = CacheKey::Span { path: Arc::clone(path), start: span.start, end: span.end };
        self.get_or_fetch(key, path, span).await
    }

    /// One whole block; the last one of an object is shorter. Reading ahead is to call this early.
    pub async fn read_block(&self, path: &Arc<str>, object_size: u64, block: u64) -> Result<Bytes, ReadRangeError> {
        let start = block.saturating_mul(BLOCK_BYTES);
        let range = start..object_size.min(start.saturating_add(BLOCK_BYTES));
        if range.is_empty() {
            return Err(ReadRangeError::OutOfRange { path: path.to_string(), range, size: object_size });
        }
        let key = CacheKey::Object { path: Arc::clone(path), block };
        self.get_or_fetch(key, path, range).await
    }

    /// Lets the blocks of a range go: their bytes were not those that were written, and the object may be put back as it was.
    pub fn forget_range(&self, path: &Arc<str>, range: Range<u64>) {
        for block in range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES) {
            self.cache.remove(&CacheKey::Object { path: Arc::clone(path), block });
        }
    }

    /// The same for a span.
    pub fn forget_span(&self, path: &Arc<str>, span: Range<u64>) {
        self.cache.remove(&CacheKey::Span { path: Arc::clone(path), start: span.start, end: span.end });
    }

    /// What is cached under that key, which stands for this range of the object.
    async fn get_or_fetch(&self, key: CacheKey, path: &Arc<str>, range: Range<u64>) -> Result<Bytes, ReadRangeError> {
        let (objects, purpose, name, wanted) = (self.objects.clone(), self.purpose, Arc::clone(path), range.clone());
        let fetch = || async move { objects.get_range(purpose, &name, wanted).await };
        let bytes = self.cache.get_or_fetch(key, fetch).await?;
        // Checked after every read: a caller with another idea of the size must not get the wrong bytes.
        if bytes.len() as u64 != range.end - range.start {
            let size = range.start + bytes.len() as u64;
            return Err(ReadRangeError::OutOfRange { path: path.to_string(), range, size });
        }
        Ok(bytes)
    }
}
