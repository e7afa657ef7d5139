//! Gathers batches into one object.

use crate::batches::{BatchWalkError, digest_headers, finish, new_digest};
use crate::footer::{WalFooter, WalRun};
use bytes::Bytes;
use std::collections::BTreeMap;
use strandline_types::TopicPartition;

/// A run that cannot go into a segment. Never worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the batches of topic {} partition {} cannot go into a WAL segment: {error}", run.topic_id, run.partition)]
pub struct WalBuildError {
    /// Whose batches they are.
    pub run: TopicPartition,
    /// What is wrong with them.
    #[source]
    pub error: BatchWalkError,
}

/// Takes batches in any order of partitions, keeps the order within each, and copies none of them.
#[derive(Debug, Default)]
pub struct WalSegmentBuilder {
    runs: BTreeMap<TopicPartition, Vec<Bytes>>,
    bytes: u64,
}

/// A finished segment, ready for one create-only PUT.
#[derive(Debug, Clone)]
pub struct WalSegment {
    /// The object, in pieces: the batches as they were handed in, then footer and trailer.
    pub bytes: Vec<Bytes>,
    /// Length of the object.
    pub file_bytes: u64,
    /// CRC-32C of the whole object: 'exists already' counts as success only if this agrees (I8).
    pub crc32c: u32,
    /// Where each run lies, ascending by (topic id, partition).
    pub runs: Vec<WalRun>,
}

impl WalSegmentBuilder {
    /// Nothing in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one or more whole batches of one partition, after those that it has of it.
    pub fn push(&mut self, partition: TopicPartition, batches: Bytes) {
        if !batches.is_empty() {
            self.bytes += batches.len() as u64;
            self.runs.entry(partition).or_default().push(batches);
        }
    }

    /// Bytes of batches so far.
    pub fn batch_bytes(&self) -> u64 {
        self.bytes
    }

    /// True if no batch was added.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Writes footer and trailer.
    ///
    /// # Errors
    /// What was pushed is not whole batches: a fault of the caller, nothing was written.
    pub fn finish(self) -> Result<WalSegment, WalBuildError> {
        let mut bytes = Vec::new();
        let mut runs = Vec::with_capacity(self.runs.len());
        let mut file = new_digest();
        let mut at = 0;
        for (partition, chunks) in self.runs {
            let start = at;
            let mut headers = new_digest();
            let mut batches = 0;
            for chunk in chunks {
                batches += digest_headers(&mut headers, &chunk).map_err(|error| WalBuildError { run: partition, error })?;
                file.update(&chunk);
                at += chunk.len() as u64;
                bytes.push(chunk);
            }
            runs.push(WalRun { partition, range: start..at, batches, headers_digest: finish(&headers) });
        }
        let footer = WalFooter { runs };
        let encoded = Bytes::from(footer.encode());
        file.update(&encoded);
        let file_bytes = at + encoded.len() as u64;
        bytes.push(encoded);
        Ok(WalSegment { bytes, file_bytes, crc32c: finish(&file), runs: footer.runs })
    }
}
