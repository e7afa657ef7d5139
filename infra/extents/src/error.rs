//! Why an extent could not be read.

/// Why the bytes of an extent are not at hand.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExtentError {
    /// The object or entry is not there: the caller's view is old. Barrier, plan again; if the new view still names it,
    /// bytes are lost, which is a storage error with an alarm.
    #[error("{place} is not there (any more)")]
    Missing {
        /// The object's path, or the entry.
        place: String,
    },
    /// What is there is not what was written. Trying again does not help; never serve it.
    #[error("{place} is damaged: {reason}")]
    Damaged {
        /// The object's path, or the entry.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The store or the log failed; trying again later may help.
    #[error("{place} could not be read: {reason}")]
    Unavailable {
        /// The object's path, or the entry.
        place: String,
        /// What happened.
        reason: String,
    },
}

impl ExtentError {
    /// Whether the same read may succeed later, with the same view.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the caller's view is old.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}
