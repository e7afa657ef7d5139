//! What can be cached.

use std::sync::Arc;

/// The name of cached bytes. Immutable: the same key always means the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheKey {
    /// A block of an object of the store. Never for manifests, which are replaced.
    Object {
        /// The object's path.
        path: Arc<str>,
        /// The block, from 0.
        block: u64,
    },
    /// A span of an object: a range that is always read as one.
    Span {
        /// The object's path.
        path: Arc<str>,
        /// Its first byte.
        start: u64,
        /// The byte behind its last.
        end: u64,
    },
    /// The payload of an entry of the commit log.
    Inline {
        /// The entry's seq.
        seq: u64,
    },
    /// Batches rebuilt from Parquet.
    Batches {
        /// The object they were rebuilt from.
        path: Arc<str>,
        /// The partition.
        partition: i32,
        /// The first offset.
        offset: i64,
    },
}

impl CacheKey {
    /// The label in metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            CacheKey::Object { .. } | CacheKey::Span { .. } => "object",
            CacheKey::Inline { .. } => "inline",
            CacheKey::Batches { .. } => "batches",
        }
    }

    /// Whether it is made of other entries, which serve more than one of its kind: it gives way before them.
    pub(crate) const fn is_derived(&self) -> bool {
        matches!(self, CacheKey::Batches { .. })
    }

    /// What the entry costs beside its bytes, roughly.
    pub(crate) fn overhead(&self) -> usize {
        let path = match self {
            CacheKey::Object { path, .. } | CacheKey::Span { path, .. } | CacheKey::Batches { path, .. } => path.len(),
            CacheKey::Inline { .. } => 0,
        };
        128 + path
    }
}
