//! Footer and trailer: what is in the segment and where.

use crate::batches::{BatchWalkError, headers_digest};
use bytes::Bytes;
use prost::Message;
use std::ops::Range;
use strandline_types::{TopicId, TopicPartition};

/// The format that this crate writes. A reader refuses a higher one.
pub const FORMAT_VERSION: u32 = 1;
/// Length of the trailer at the end of every segment.
pub const TRAILER_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"SWAL";

/// One partition's batches in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRun {
    /// Whose they are.
    pub partition: TopicPartition,
    /// Bytes of the object.
    pub range: Range<u64>,
    /// How many batches.
    pub batches: u32,
    /// CRC-32C over the first 61 bytes of each.
    pub headers_digest: u32,
}

/// The runs of a segment, ascending by (topic id, partition), without a gap from byte 0 to the footer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WalFooter {
    /// The runs.
    pub runs: Vec<WalRun>,
}

/// A segment that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalReadError {
    /// The bytes handed in do not hold the whole footer. Read again with this many from the end.
    #[error("the WAL segment's footer needs its last {tail_bytes} bytes: fetch those and read again")]
    NeedsMore {
        /// How many of the last bytes hold footer and trailer.
        tail_bytes: u64,
    },
    /// The end of the object is not a WAL segment's. Never worth a retry.
    #[error("this is no WAL segment, or it was cut: {0}")]
    NotASegment(&'static str),
    /// Written by a newer version. Never worth a retry.
    #[error("the WAL segment has format {0}, this version reads up to {FORMAT_VERSION}: run a newer version")]
    Version(u32),
    /// The footer does not match its checksum or contradicts itself. Never worth a retry.
    #[error("the WAL segment's footer is damaged: {0}")]
    Footer(&'static str),
    /// The run's bytes are not what the footer describes. Never worth a retry.
    #[error("the batches of topic {} partition {} in bytes {}..{} do not match their footer: {reason}", run.partition.topic_id, run.partition.partition, run.range.start, run.range.end)]
    Run {
        /// Which run.
        run: Box<WalRun>,
        /// What differs.
        reason: RunMismatch,
    },
}

/// How a run differs from its footer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunMismatch {
    /// Not as many bytes.
    #[error("{0} bytes were read")]
    Length(u64),
    /// Not whole batches.
    #[error(transparent)]
    Batches(#[from] BatchWalkError),
    /// Another digest.
    #[error("the digest of the batch headers differs")]
    Digest,
}

#[derive(Clone, PartialEq, Message)]
struct FooterMessage {
    #[prost(message, repeated, tag = "1")]
    runs: Vec<RunMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct RunMessage {
    #[prost(bytes = "vec", tag = "1")]
    topic_id: Vec<u8>,
    #[prost(int32, tag = "2")]
    partition: i32,
    #[prost(uint64, tag = "3")]
    start: u64,
    #[prost(uint64, tag = "4")]
    end: u64,
    #[prost(uint32, tag = "5")]
    batches: u32,
    #[prost(fixed32, tag = "6")]
    headers_digest: u32,
}

impl WalRun {
    /// Checks the bytes of this run against its length and the digest of its batch headers. Records are guarded by
    /// the batches' own CRCs: [`crate::verify_batches`].
    ///
    /// # Errors
    /// [`WalReadError::Run`].
    pub fn check(&self, bytes: &[u8]) -> Result<(), WalReadError> {
        let error = |reason| WalReadError::Run { run: Box::new(self.clone()), reason };
        if bytes.len() as u64 != self.range.end - self.range.start {
            return Err(error(RunMismatch::Length(bytes.len() as u64)));
        }
        match headers_digest(bytes) {
            Ok(digest) if digest == self.headers_digest => Ok(()),
            Ok(_) => Err(error(RunMismatch::Digest)),
            Err(walk) => Err(error(walk.into())),
        }
    }
}

impl WalFooter {
    /// Footer and trailer as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let runs = self.runs.iter().map(|run| RunMessage {
            topic_id: run.partition.topic_id.0.to_vec(),
            partition: run.partition.partition,
            start: run.range.start,
            end: run.range.end,
            batches: run.batches,
            headers_digest: run.headers_digest,
        });
        let mut bytes = FooterMessage { runs: runs.collect() }.encode_to_vec();
        let length = bytes.len() as u32;
        let crc = crc_fast::crc32_iscsi(&bytes);
        for number in [length, crc, FORMAT_VERSION] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&MAGIC);
        bytes
    }

    /// Reads the footer of an object of `file_bytes` from its last bytes (or from all of it).
    ///
    /// # Errors
    /// [`WalReadError::NeedsMore`] if `tail` is too short; else the object is not a segment that can be read.
    pub fn read(tail: &Bytes, file_bytes: u64) -> Result<Self, WalReadError> {
        if file_bytes < TRAILER_BYTES as u64 || tail.len() as u64 > file_bytes {
            return Err(WalReadError::NotASegment("it is shorter than a trailer"));
        }
        let Some((rest, trailer)) = tail.split_last_chunk::<TRAILER_BYTES>() else {
            return Err(WalReadError::NeedsMore { tail_bytes: TRAILER_BYTES as u64 });
        };
        let [length, crc, version] =
            [0, 4, 8].map(|at| u32::from_be_bytes([trailer[at], trailer[at + 1], trailer[at + 2], trailer[at + 3]]));
        if trailer[12..] != MAGIC {
            return Err(WalReadError::NotASegment("it does not end with the magic"));
        }
        if version == 0 || version > FORMAT_VERSION {
            return Err(WalReadError::Version(version));
        }
        let tail_bytes = u64::from(length) + TRAILER_BYTES as u64;
        if tail_bytes > file_bytes {
            return Err(WalReadError::Footer("its length is larger than the object"));
        }
        let Some(start) = rest.len().checked_sub(length as usize) else {
            return Err(WalReadError::NeedsMore { tail_bytes });
        };
        let encoded = &rest[start..];
        if crc_fast::crc32_iscsi(encoded) != crc {
            return Err(WalReadError::Footer("its checksum differs"));
        }
        let message = FooterMessage::decode(encoded).map_err(|_| WalReadError::Footer("it is not a footer"))?;
        let runs = message.runs.into_iter().map(WalRun::try_from).collect::<Result<Vec<_>, _>>()?;
        let footer = Self { runs };
        footer.check_order(file_bytes - tail_bytes)?;
        Ok(footer)
    }

    /// The run of a partition.
    pub fn run(&self, partition: TopicPartition) -> Option<&WalRun> {
        self.runs.binary_search_by_key(&partition, |run| run.partition).ok().map(|at| &self.runs[at])
    }

    fn check_order(&self, batch_bytes: u64) -> Result<(), WalReadError> {
        let mut at = 0;
        for run in &self.runs {
            if run.range.start != at || run.range.end <= at {
                return Err(WalReadError::Footer("its runs do not follow one another"));
            }
            at = run.range.end;
        }
        if at != batch_bytes {
            return Err(WalReadError::Footer("its runs do not end where it begins"));
        }
        if !self.runs.is_sorted_by(|a, b| a.partition < b.partition) {
            return Err(WalReadError::Footer("its runs are not in the order of partitions"));
        }
        Ok(())
    }
}

impl TryFrom<RunMessage> for WalRun {
    type Error = WalReadError;

    fn try_from(run: RunMessage) -> Result<Self, WalReadError> {
        let topic_id = TopicId::from_slice(&run.topic_id).ok_or(WalReadError::Footer("a topic id does not have 16 bytes"))?;
        Ok(Self {
            partition: TopicPartition { topic_id, partition: run.partition },
            range: run.start..run.end,
            batches: run.batches,
            headers_digest: run.headers_digest,
        })
    }
}
