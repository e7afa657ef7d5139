//! Why bytes are not at hand, whatever they were to come from.

use crate::plan::NoPlan;
use std::sync::Arc;
use std::time::Duration;
use strandline_bronze::FooterError;
use strandline_extents::ExtentError;
use strandline_object_store::GetError;
use strandline_runtime::{BlockingError, Clock};
use strandline_telemetry::Occasionally;
use strandline_wire::ErrorCode;
use strandline_wire::records::BatchError;

/// A source that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    /// It is not there: the view is old, or bytes are lost.
    #[error("{object} is not there (any more)")]
    Missing { object: String },
    /// It is not what was written.
    #[error("{object} is damaged: {reason}")]
    Damaged { object: String, reason: String },
    /// It could not be read now.
    #[error("{object} could not be read: {reason}")]
    Unavailable { object: String, reason: String },
}

impl SourceError {
    pub(crate) fn damaged(object: &str, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { object: object.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn of_store(object: &str, error: &GetError) -> Self {
        let object = object.to_owned();
        match error {
            GetError::NotFound { .. } => Self::Missing { object },
            GetError::OutOfRange { .. } | GetError::TooLarge { .. } => Self::Damaged { object, reason: error.to_string() },
            GetError::Refused { .. } | GetError::Failed { .. } => Self::Unavailable { object, reason: error.to_string() },
        }
    }

    pub(crate) fn of_segment_index(error: &strandline_segment_index::ReadError) -> Self {
        Self::Unavailable { object: "the segment index".to_owned(), reason: error.to_string() }
    }

    pub(crate) fn of_footer(object: &str, error: &FooterError) -> Self {
        Self::damaged(object, error)
    }

    pub(crate) fn of_batch(object: &str, error: &BatchError) -> Self {
        Self::damaged(object, error)
    }

    pub(crate) fn of_blocking(object: &str, error: &BlockingError) -> Self {
        Self::Unavailable { object: object.to_owned(), reason: error.to_string() }
    }

    /// The label in metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Damaged { .. } => "damaged",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

impl From<ExtentError> for SourceError {
    fn from(error: ExtentError) -> Self {
        match error {
            ExtentError::Missing { place } => Self::Missing { object: place },
            ExtentError::Damaged { place, reason } => Self::Damaged { object: place, reason },
            ExtentError::Unavailable { place, reason } => Self::Unavailable { object: place, reason },
        }
    }
}

/// Why a partition is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServeError {
    /// A clear 'no', after a barrier.
    #[error("{0}")]
    Refused(ErrorCode),
    /// No barrier could be had, so nothing is said.
    #[error("the commit log could not be read in time")]
    NoBarrier,
    /// The answers of this node hold as many bytes as they may.
    #[error("answers hold as many bytes as they may, and none was sent in time")]
    NoRoom,
    /// The index contradicts itself.
    #[error("the index contradicts itself: {0}")]
    Broken(&'static str),
    /// Bytes are not at hand, also by the newest view.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl From<NoPlan> for ServeError {
    fn from(no_plan: NoPlan) -> Self {
        match no_plan {
            NoPlan::UnknownPartition => Self::Refused(ErrorCode::UnknownTopicOrPartition),
            NoPlan::OutOfRange => Self::Refused(ErrorCode::OffsetOutOfRange),
            NoPlan::Broken(what) => Self::Broken(what),
        }
    }
}

impl ServeError {
    /// What Kafka's clients are told. Storage errors they try again; 'out of range' would make them skip records.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code) => *code,
            Self::NoBarrier | Self::NoRoom | Self::Broken(_) | Self::Source(_) => ErrorCode::KafkaStorageError,
        }
    }

    /// The label in metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Refused(code) => code.name(),
            Self::NoBarrier => "no_barrier",
            Self::NoRoom => "no_room",
            Self::Broken(_) => "broken",
            Self::Source(source) => source.as_str(),
        }
    }
}

/// Clients ask again at once, and many of them: a line of each kind in this time.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Tells operators of reads that failed.
pub(crate) struct Reports {
    clock: Arc<dyn Clock>,
    passing: Occasionally,
    lasting: Occasionally,
}

impl Reports {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, passing: Occasionally::every(LINE_INTERVAL), lasting: Occasionally::every(LINE_INTERVAL) }
    }

    /// Counts the error, and writes a line of the level that it deserves, unless one of its level was written just now.
    pub(crate) fn report(&self, error: &ServeError, topic: &str, partition: i32, offset: i64) {
        metrics::counter!("strandline_fetch_errors_total", "error" => error.kind()).increment(1);
        let now = self.clock.monotonic();
        match error {
            ServeError::Refused(_) => tracing::debug!(topic, partition, offset, %error, "a read was refused"),
            ServeError::NoBarrier | ServeError::NoRoom | ServeError::Source(SourceError::Unavailable { .. }) => {
                if let Some(unsaid) = self.passing.now(now) {
                    tracing::warn!(topic, partition, offset, %error, unsaid, "a read failed; the client will try again");
                }
            }
            ServeError::Broken(_) | ServeError::Source(_) => {
                if let Some(unsaid) = self.lasting.now(now) {
                    tracing::error!(topic, partition, offset, %error, unsaid, "records cannot be read: look at the named object, and at what `strandline bronze verify` says");
                }
            }
        }
    }
}
