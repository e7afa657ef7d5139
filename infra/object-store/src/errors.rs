//! One error a request, each knowing whether to try again. `Retry` has tried already by then; 'retriable'
//! means that trying later is sensible, and that the request may have taken effect.

use crate::cause::Cause;
use crate::put_new::Checksum;
use object_store::Error;
use object_store::path::Path;
use std::ops::Range;
use std::sync::Arc;

/// A new object could not be put.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PutNewError {
    /// Another object has the name: its size or checksum differs. Names are used once (I8), so this is a
    /// defect or a foreign writer; never try again under this name.
    #[error(
        "another object lies at `{path}`: {found_bytes} bytes with CRC-32C {found_crc32c:08x}, not {bytes} bytes with {crc32c:08x}; \
         nothing was replaced"
    )]
    Taken {
        /// Where.
        path: String,
        /// What lies there.
        found_bytes: u64,
        /// What lies there.
        found_crc32c: u32,
        /// What was to be put.
        bytes: u64,
        /// What was to be put.
        crc32c: u32,
    },
    /// No space is left.
    #[error("no space is left to put `{path}`: {source}")]
    Full {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store refuses us, the path, or the request.
    #[error("the store refuses to put `{path}`: {source}")]
    Refused {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store failed; the object may be there or may still come.
    #[error("putting `{path}` failed, and it may be there or not: {source}")]
    Failed {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
}

/// An object could not be put in place of another one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PutReplaceError {
    /// No space is left.
    #[error("no space is left to put `{path}`: {source}")]
    Full {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store refuses us, the path, or the request.
    #[error("the store refuses to put `{path}`: {source}")]
    Refused {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store failed; the old or the new object is there.
    #[error("putting `{path}` failed, and the old or the new one is there: {source}")]
    Failed {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
}

/// An object could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GetError {
    /// There is none. To a reader that means 'my view is old': take a barrier and plan again.
    #[error("there is no object `{path}`")]
    NotFound {
        /// Where.
        path: String,
    },
    /// The range does not lie within the object: whoever named it knows another object.
    #[error("bytes {}..{} were asked of `{path}`, which has {size}", range.start, range.end)]
    OutOfRange {
        /// Where.
        path: String,
        /// What was asked for.
        range: Range<u64>,
        /// What is there.
        size: u64,
    },
    /// It is too large to be read whole.
    #[error("`{path}` has {size} bytes, more than the {limit} that are read at once")]
    TooLarge {
        /// Where.
        path: String,
        /// What is there.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// The store refuses us, the path, or the request.
    #[error("the store refuses to read `{path}`: {source}")]
    Refused {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store failed.
    #[error("reading `{path}` failed: {source}")]
    Failed {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
}

/// An object could not be looked at.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HeadError {
    /// There is none.
    #[error("there is no object `{path}`")]
    NotFound {
        /// Where.
        path: String,
    },
    /// The store refuses us, the path, or the request.
    #[error("the store refuses to look at `{path}`: {source}")]
    Refused {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store failed.
    #[error("looking at `{path}` failed: {source}")]
    Failed {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
}

/// An object could not be deleted. That there was none is no error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeleteError {
    /// Deleting takes space on some file systems, and none is left.
    #[error("no space is left to delete `{path}`: {source}")]
    Full {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store refuses us, the path, or the request.
    #[error("the store refuses to delete `{path}`: {source}")]
    Refused {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store failed; the object may be there or not.
    #[error("deleting `{path}` failed: {source}")]
    Failed {
        /// Where.
        path: String,
        /// The store's words.
        source: Arc<Error>,
    },
}

/// A listing broke off: what it gave so far says nothing about the rest. Begin again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ListError {
    /// More objects than the caller has room for.
    #[error("more than {limit} objects lie below `{prefix}`")]
    TooMany {
        /// Where.
        prefix: String,
        /// The caller's bound.
        limit: usize,
    },
    /// The store refuses us, the path, or the request.
    #[error("the store refuses to list `{prefix}`: {source}")]
    Refused {
        /// Where.
        prefix: String,
        /// The store's words.
        source: Arc<Error>,
    },
    /// The store failed.
    #[error("listing `{prefix}` failed: {source}")]
    Failed {
        /// Where.
        prefix: String,
        /// The store's words.
        source: Arc<Error>,
    },
}

/// What errors of requests for one object have in common: how the store's answer becomes one, and whether trying again helps.
macro_rules! of_one_object {
    ($error:ident, may_be_full) => {
        impl $error {
            pub(crate) fn of(path: &Path, source: Error) -> Self {
                let path = path.to_string();
                match (Cause::of(&source), Arc::new(source)) {
                    (Cause::Full, source) => Self::Full { path, source },
                    (Cause::Denied | Cause::InvalidPath | Cause::Permanent, source) => Self::Refused { path, source },
                    (_, source) => Self::Failed { path, source },
                }
            }

            /// Whether to try the same again later.
            pub fn is_retriable(&self) -> bool {
                matches!(self, Self::Full { .. } | Self::Failed { .. })
            }

            /// Whether space is what is missing.
            pub fn is_full(&self) -> bool {
                matches!(self, Self::Full { .. })
            }
        }
    };
    ($error:ident, may_be_missing) => {
        impl $error {
            pub(crate) fn of(path: &Path, source: Error) -> Self {
                let path = path.to_string();
                match (Cause::of(&source), Arc::new(source)) {
                    (Cause::NotFound, _) => Self::NotFound { path },
                    (Cause::Denied | Cause::InvalidPath | Cause::Permanent, source) => Self::Refused { path, source },
                    (_, source) => Self::Failed { path, source },
                }
            }

            /// Whether to try again later.
            pub fn is_retriable(&self) -> bool {
                matches!(self, Self::Failed { .. })
            }

            /// Whether there is no such object.
            pub fn is_not_found(&self) -> bool {
                matches!(self, Self::NotFound { .. })
            }
        }
    };
}

of_one_object!(PutNewError, may_be_full);
of_one_object!(PutReplaceError, may_be_full);
of_one_object!(DeleteError, may_be_full);
of_one_object!(GetError, may_be_missing);
of_one_object!(HeadError, may_be_missing);

impl PutNewError {
    pub(crate) fn taken(path: &Path, found: Checksum, wanted: Checksum) -> Self {
        let path = path.to_string();
        Self::Taken { path, found_bytes: found.size, found_crc32c: found.crc32c, bytes: wanted.size, crc32c: wanted.crc32c }
    }
}

impl ListError {
    pub(crate) fn of(prefix: &Path, source: Error) -> Self {
        let prefix = prefix.to_string();
        match (Cause::of(&source), Arc::new(source)) {
            (Cause::Denied | Cause::InvalidPath | Cause::Permanent, source) => Self::Refused { prefix, source },
            (_, source) => Self::Failed { prefix, source },
        }
    }

    /// Whether to begin again later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}
