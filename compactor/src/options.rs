//! Settings of the compactor. Topics have their own: freshness, retention, seal times, formats.

use std::time::Duration;
use strandline_types::limits;

/// Settings; [`CompactorOptions::default`] is what a node runs with.
#[derive(Debug, Clone)]
pub struct CompactorOptions {
    /// Conversions do not run (benchmarks of ingest alone). Everything else does.
    pub conversion_paused: bool,
    /// Bytes of batches taken into one conversion.
    pub conversion_bytes: u64,
    /// A sealed file's aim, in bytes.
    pub sealed_file_bytes: u64,
    /// Inputs of a merge or seal up to this many bytes are read whole; larger ones by ranges, so that memory stays bounded.
    pub whole_input_bytes: u64,
    /// Fresh segments of similar size that are merged into one.
    pub merge_segments: usize,
    /// The shortest time between two manifests of a topic.
    pub manifest_interval: Duration,
    /// How long after a new entry the bucket's copy of the log is written at the latest.
    pub log_copy_interval: Duration,
    /// Entries between snapshots.
    pub snapshot_entries: u64,
    /// Bytes of log between snapshots, at least: a large index waits for more.
    pub snapshot_log_bytes: u64,
    /// How often retention looks (Kafka's `log.retention.check.interval.ms`).
    pub retention_interval: Duration,
    /// How often the garbage list is looked at.
    pub garbage_interval: Duration,
    /// How often folders are listed for orphans, if anything was committed since.
    pub sweep_interval: Duration,
    /// Objects whose name was given out longer ago than this and that nothing refers to are orphans.
    pub orphan_age: Duration,
    /// `fresh/` and `wal/` objects stay this long on the garbage list.
    pub fresh_grace: Duration,
    /// `bronze/` objects stay this long on the garbage list.
    pub sealed_grace: Duration,
    /// A deleted topic's folder is looked at again after this.
    pub dropped_grace: Duration,
    /// Idle producers are forgotten after this (Kafka's `producer.id.expiration.ms`).
    pub producer_expiry: Duration,
    /// Inline batches older than this are moved into a WAL segment before a snapshot.
    pub rehome_age: Duration,
    /// The first wait after a failure; doubles up to a minute.
    pub backoff: Duration,
}

impl Default for CompactorOptions {
    fn default() -> Self {
        Self {
            conversion_paused: false,
            conversion_bytes: limits::CONVERSION_INPUT_BYTES,
            sealed_file_bytes: limits::SEALED_FILE_BYTES,
            whole_input_bytes: limits::WHOLE_INPUT_BYTES as u64,
            merge_segments: limits::MERGE_SEGMENTS,
            manifest_interval: Duration::from_secs(1),
            log_copy_interval: limits::LOG_COPY_INTERVAL,
            snapshot_entries: limits::SNAPSHOT_ENTRIES,
            snapshot_log_bytes: limits::SNAPSHOT_LOG_BYTES,
            retention_interval: Duration::from_secs(300),
            garbage_interval: Duration::from_secs(60),
            sweep_interval: Duration::from_secs(3_600),
            orphan_age: limits::FRESH_GRACE,
            fresh_grace: limits::FRESH_GRACE,
            sealed_grace: limits::SEALED_GRACE,
            dropped_grace: Duration::from_secs(3_600),
            producer_expiry: Duration::from_secs(24 * 3_600),
            rehome_age: Duration::from_secs(60),
            backoff: Duration::from_millis(200),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
