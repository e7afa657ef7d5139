//! One error a request, each knowing whether to try again.

use crate::encoding::RowEncodingError;
use std::sync::Arc;

/// Rows were not written, or it is not known whether they were. Writing them again is always right.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PutError {
    /// More rows than one transaction takes.
    #[error("{rows} rows are more than the {limit} that the segment index writes at once")]
    TooMany {
        /// Rows given.
        rows: usize,
        /// The bound.
        limit: usize,
    },
    /// A row whose range is empty or negative: a defect of its writer.
    #[error("a row of the segment index covers {start_offset}..{end_offset}, which is no range of offsets")]
    BadRange {
        /// Its start.
        start_offset: i64,
        /// Its end.
        end_offset: i64,
    },
    /// No space is left.
    #[error("no space is left for the segment index: {source}")]
    Full {
        /// The table's words.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored cannot be read.
    #[error(transparent)]
    Encoding(#[from] RowEncodingError),
    /// The table failed.
    #[error("writing to the segment index failed: {source}")]
    Failed {
        /// The table's words.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// Rows were not removed, or it is not known whether they were. Removing them again is always right.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RemoveError {
    /// More keys than one transaction takes.
    #[error("{rows} keys are more than the {limit} that the segment index removes at once")]
    TooMany {
        /// Keys given.
        rows: usize,
        /// The bound.
        limit: usize,
    },
    /// Removing takes space, and none is left.
    #[error("no space is left for the segment index: {source}")]
    Full {
        /// The table's words.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The table failed.
    #[error("removing from the segment index failed: {source}")]
    Failed {
        /// The table's words.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// Rows could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// What is stored cannot be read.
    #[error(transparent)]
    Encoding(#[from] RowEncodingError),
    /// The table failed.
    #[error("reading the segment index failed: {source}")]
    Failed {
        /// The table's words.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl PutError {
    /// Whether to try again later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Failed { .. })
    }

    /// Whether space is what is missing.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

impl RemoveError {
    /// Whether to try again later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Failed { .. })
    }

    /// Whether space is what is missing.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

impl ReadError {
    /// Whether to try again later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}
