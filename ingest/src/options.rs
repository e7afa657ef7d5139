//! What an ingest is told.

use std::time::Duration;
use strandline_types::limits;

/// Settings of the produce path.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// How long `standard` batches wait for others where a flush is a PUT.
    pub linger_standard: Duration,
    /// How long `relaxed` batches wait for others where a flush is a PUT.
    pub linger_relaxed: Duration,
    /// Other nodes may have taken in the batches before: one that is ahead of its producer's sequence waits for them, up to
    /// [`limits::SEQUENCE_WAIT`]. Off on a sole node, whose view is never old.
    pub wait_for_sequence: bool,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self { linger_standard: limits::LINGER_STANDARD, linger_relaxed: limits::LINGER_RELAXED, wait_for_sequence: false }
    }
}
