//! How far a partition is read.

use super::StartAt;
use std::time::Duration;

pub(super) struct Position {
    /// When it was assigned or sought; see [`super::Consumer`].
    pub(super) epoch: u64,
    /// The next offset to fetch, once it is known.
    pub(super) offset: Option<i64>,
    /// Where to begin otherwise.
    pub(super) start: StartAt,
    /// Whether the group's committed offset goes before `start`.
    pub(super) from_committed: bool,
    pub(super) paused: bool,
    /// Part of a fetch that is under way.
    pub(super) in_flight: bool,
    pub(super) not_before: Duration,
    /// A replica that the leader named for us (KIP-392).
    pub(super) preferred: Option<i32>,
    pub(super) high_watermark: Option<i64>,
    pub(super) log_start: Option<i64>,
}

impl Position {
    pub(super) fn new(epoch: u64, start: StartAt, from_committed: bool) -> Self {
        let offset = match start {
            StartAt::Offset(offset) if !from_committed => Some(offset),
            _ => None,
        };
        Self {
            epoch,
            offset,
            start,
            from_committed,
            paused: false,
            in_flight: false,
            not_before: Duration::ZERO,
            preferred: None,
            high_watermark: None,
            log_start: None,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { position: self.offset, high_watermark: self.high_watermark, log_start: self.log_start }
    }
}

/// How far a partition is read, as last heard from its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The next offset that will be read; `None` while it is not known.
    pub position: Option<i64>,
    /// The end of what consumers see.
    pub high_watermark: Option<i64>,
    /// The first offset there is.
    pub log_start: Option<i64>,
}

impl Progress {
    /// Records that are still to be read, if known.
    pub fn lag(&self) -> Option<i64> {
        Some(self.high_watermark?.saturating_sub(self.position?).max(0))
    }
}
