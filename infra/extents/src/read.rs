//! Reading.

use crate::ExtentError;
use crate::span::{Home, Span, home_of, spans};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::ops::Range;
use std::sync::Arc;
use strandline_commit_log::CommitLog;
use strandline_index::Extent;
use strandline_object_store::{Objects, Purpose};
use strandline_types::limits;
use strandline_wal::{BATCH_HEADER_BYTES, verify_batches};

/// Reads extents. Cheap to clone.
#[derive(Clone)]
pub struct ExtentReader {
    log: Arc<dyn CommitLog>,
    objects: Objects,
    purpose: Purpose,
}

impl ExtentReader {
    /// Reads from this log and this store, without a cache: what a compactor wants, which reads everything once.
    pub fn new(log: Arc<dyn CommitLog>, objects: Objects, purpose: Purpose) -> Self {
        Self { log, objects, purpose }
    }

    /// The batches of one extent as the producer sent them (base offsets not patched); empty for markers and holes.
    ///
    /// # Errors
    /// [`ExtentError`].
    pub async fn bytes(&self, extent: &Extent) -> Result<Bytes, ExtentError> {
        let Some((home, range)) = home_of(extent) else {
            return Ok(Bytes::new());
        };
        let bytes = self.range(home, range).await?;
        check(home, extent, &bytes)?;
        Ok(bytes)
    }

    /// The batches of many extents, in the same order, one per extent. Neighbours in one payload or object are read
    /// together, [`limits::BLOCKS_IN_FLIGHT`] requests at once. Holds as many bytes as the extents have, so bound them.
    ///
    /// # Errors
    /// [`ExtentError`] of the first that failed.
    pub async fn bytes_of(&self, extents: &[Extent]) -> Result<Vec<Bytes>, ExtentError> {
        let mut found = vec![Bytes::new(); extents.len()];
        let reads = stream::iter(spans(extents)).map(|span| self.span(span)).buffer_unordered(limits::BLOCKS_IN_FLIGHT);
        let parts: Vec<(Home, Vec<(usize, Bytes)>)> = reads.try_collect().await?;
        for (home, parts) in parts {
            for (at, bytes) in parts {
                check(home, &extents[at], &bytes)?;
                found[at] = bytes;
            }
        }
        Ok(found)
    }

    async fn span(&self, span: Span) -> Result<(Home, Vec<(usize, Bytes)>), ExtentError> {
        let bytes = self.range(span.home, span.range.clone()).await?;
        let part = |range: &Range<u64>| {
            bytes.slice((range.start - span.range.start) as usize..(range.end - span.range.start) as usize)
        };
        Ok((span.home, span.extents.iter().map(|(at, range)| (*at, part(range))).collect()))
    }

    async fn range(&self, home: Home, range: Range<u64>) -> Result<Bytes, ExtentError> {
        let length = range.end - range.start;
        let bytes = match home {
            Home::Entry(seq) => {
                self.log.read_payload(seq, range).await.map_err(|error| ExtentError::of_log(home.place(), error))?
            }
            Home::Object(_) => self
                .objects
                .get_range(self.purpose, &home.place(), range)
                .await
                .map_err(|error| ExtentError::of_store(home.place(), error))?,
        };
        if bytes.len() as u64 != length {
            let reason = format!("{} bytes came where {length} were asked", bytes.len());
            return Err(ExtentError::Damaged { place: home.place(), reason });
        }
        Ok(bytes)
    }
}

/// Where a batch's last offset delta lies.
const LAST_OFFSET_DELTA: Range<usize> = 23..27;

/// Holds the bytes against the batches' own CRCs, and the offsets that they take against the extent's.
fn check(home: Home, extent: &Extent, bytes: &Bytes) -> Result<(), ExtentError> {
    let damaged = |reason: String| ExtentError::Damaged { place: home.place(), reason };
    verify_batches(bytes).map_err(|error| damaged(error.to_string()))?;
    let mut rest = &bytes[..];
    let mut offsets: i64 = 0;
    while let Some(header) = rest.get(..BATCH_HEADER_BYTES) {
        let number = |range: Range<usize>| header[range].try_into().map(i32::from_be_bytes).unwrap_or(-1);
        let length = usize::try_from(i64::from(number(8..12)) + 12).unwrap_or(usize::MAX);
        offsets += i64::from(number(LAST_OFFSET_DELTA)) + 1;
        rest = rest.get(length..).unwrap_or_default();
    }
    if offsets == extent.end - extent.start {
        return Ok(());
    }
    Err(damaged(format!("its batches take {offsets} offsets where the index has {} to {}", extent.start, extent.end)))
}
