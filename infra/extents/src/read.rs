//! Reading.

use crate::check::{check, ends_with_a_batch};
use crate::salvage::{Salvaged, salvage};
use crate::span::{Home, Span, groups, home_of, spans};
use crate::{ExtentError, is_most_of};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::ops::Range;
use std::sync::Arc;
use strandline_cache::{BlockReader, Cache, CacheKey, ReadRangeError};
use strandline_cell::Cell;
use strandline_commit_log::{CommitLog, ReadAgain, ReadError, Tail};
use strandline_index::Extent;
use strandline_object_store::{GetError, Objects, Purpose};
use strandline_types::{ObjectName, Seq, limits};

/// The bytes of one extent, in order, in pieces of whole batches; none for markers and holes.
pub type Pieces = Vec<Bytes>;

/// Reads extents. Cheap to clone.
#[derive(Clone)]
pub struct ExtentReader {
    log: Arc<dyn CommitLog>,
    objects: Objects,
    purpose: Purpose,
    shortcut: Option<Shortcut>,
    again: ReadAgain,
}

/// What spares a reader of the tail the log and the store.
#[derive(Clone)]
struct Shortcut {
    cell: Cell,
    blocks: BlockReader,
}

/// The bytes of one extent, by its position in the caller's list.
struct Part {
    home: Home,
    at: usize,
    bytes: Bytes,
}

impl ExtentReader {
    /// Reads from this log and this store, without a cache: for one who reads everything once.
    pub fn new(log: Arc<dyn CommitLog>, objects: Objects, purpose: Purpose) -> Self {
        Self { log, objects, purpose, shortcut: None, again: ReadAgain::No }
    }

    /// Reads what this node appended lately from its memory, and the rest in blocks through `cache`: each is fetched once, however
    /// many wait. Payloads of a local log do not go through it: the system's page cache keeps them already.
    pub fn through(cell: &Cell, objects: Objects, cache: Cache, purpose: Purpose) -> Self {
        let blocks = BlockReader::new(cache, objects.clone(), purpose);
        let shortcut = Some(Shortcut { cell: cell.clone(), blocks });
        Self { log: cell.log().clone(), objects, purpose, shortcut, again: ReadAgain::Maybe }
    }

    /// The same for one after whom hardly anybody reads the same: large reads of a local log go past the system's page cache. Where a backlog
    /// is converted, each page of it would be memory that was never used, and on a virtual machine, where the host has to find it,
    /// that took five times the processor time.
    pub fn once(self) -> Self {
        Self { again: ReadAgain::No, ..self }
    }

    /// The batches of one extent as the producer sent them (base offsets not patched); empty for markers and holes.
    ///
    /// # Errors
    /// [`ExtentError`].
    pub async fn bytes(&self, extent: &Extent) -> Result<Bytes, ExtentError> {
        let mut bytes = self.bytes_of(std::slice::from_ref(extent)).await?;
        Ok(bytes.pop().unwrap_or_default())
    }

    /// What is left of an extent that [`Self::bytes`] called damaged; all of it, if what is wrong lies elsewhere.
    ///
    /// # Errors
    /// [`ExtentError`]; `Damaged` if it cannot be told which of its batches are sound, or none is.
    pub async fn salvaged(&self, extent: &Extent) -> Result<Salvaged, ExtentError> {
        let bytes = self.raw(extent).await?;
        let Some((home, _)) = home_of(extent) else { return Ok(Salvaged { bytes, damaged: None }) };
        match check(home, extent, &bytes) {
            Ok(()) => Ok(Salvaged { bytes, damaged: None }),
            Err(error) => salvage(extent, &bytes).ok_or(error),
        }
    }

    /// The bytes of one extent as they lie there, whatever they are, and as many as there are; empty for markers and holes.
    ///
    /// # Errors
    /// [`ExtentError`]; `Damaged` where nothing is there.
    pub async fn raw(&self, extent: &Extent) -> Result<Bytes, ExtentError> {
        let Some((home, range)) = home_of(extent) else { return Ok(Bytes::new()) };
        let Home::Entry(seq) = home else { return self.raw_object(home, range).await };
        // A payload that is read whole is held against its checksum, and refused.
        let middle = range.start + (range.end - range.start) / 2;
        let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
        for part in [range.start..middle, middle..range.end] {
            match self.log.read_payload(seq, part).await {
                Ok(part) => bytes.extend_from_slice(&part),
                Err(ReadError::Corrupt { .. }) if !bytes.is_empty() => break,
                Err(error) => return Err(ExtentError::of_log(home.place(), error)),
            }
        }
        Ok(bytes.freeze())
    }

    /// Not in blocks: of an object that was cut a block may not be there, and this part of it is.
    async fn raw_object(&self, home: Home, range: Range<u64>) -> Result<Bytes, ExtentError> {
        let place = home.place();
        let read = match self.objects.get_range(self.purpose, &place, range.clone()).await {
            Err(GetError::OutOfRange { size, .. }) if size > range.start && size < range.end => {
                self.objects.get_range(self.purpose, &place, range.start..size).await
            }
            read => read,
        };
        read.map_err(|error| ExtentError::of_store(place, error))
    }

    /// The batches of many extents, in the same order, one per extent. Neighbours in one payload or object are read
    /// together, [`limits::BLOCKS_IN_FLIGHT`] requests at once. Holds as many bytes as the extents have, so bound them.
    ///
    /// # Errors
    /// [`ExtentError`] of the first that failed.
    pub async fn bytes_of(&self, extents: &[Extent]) -> Result<Vec<Bytes>, ExtentError> {
        Ok(self.pieces_of(extents).await?.into_iter().map(whole).collect())
    }

    /// The same without putting together what lies in memory in several pieces: each is some whole batches, and an extent's follow each other.
    ///
    /// # Errors
    /// [`ExtentError`] of the first that failed.
    pub async fn pieces_of(&self, extents: &[Extent]) -> Result<Vec<Pieces>, ExtentError> {
        let mut found: Vec<Option<Pieces>> = extents.iter().map(|extent| self.recent(extent)).collect();
        let wanted = |at: usize| found[at].is_none();
        let groups = groups(spans(extents, wanted), |home| self.is_local(home));
        let reads = stream::iter(groups).map(|group| self.group(group)).buffer_unordered(limits::BLOCKS_IN_FLIGHT);
        let parts: Vec<Vec<Part>> = reads.try_collect().await?;
        for Part { home, at, bytes } in parts.into_iter().flatten() {
            match check(home, &extents[at], &bytes) {
                Ok(()) => found[at] = Some(vec![bytes]),
                // Past the page cache perhaps. Records are given up only for what the usual way says, too.
                Err(_) if self.again == ReadAgain::No && self.is_local(home) => {
                    let Some((_, range)) = home_of(&extents[at]) else { continue };
                    let bytes = self.range(home, range).await?;
                    check(home, &extents[at], &bytes)?;
                    found[at] = Some(vec![bytes]);
                }
                Err(error) => {
                    self.forget(home, &extents[at]);
                    return Err(error);
                }
            }
        }
        Ok(found.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Damaged blocks leave the cache: the object may be put back as it was.
    fn forget(&self, home: Home, extent: &Extent) {
        if let (Some(shortcut), Home::Object(_), Some((_, range))) = (&self.shortcut, home, home_of(extent)) {
            shortcut.blocks.forget_range(&Arc::from(home.place().as_str()), range);
        }
    }

    /// Whether it lies in a log of this machine.
    fn is_local(&self, home: Home) -> bool {
        matches!(home, Home::Entry(_)) && self.log.takes_any_payload()
    }

    /// What this node itself appended lately. It was checked when it came in.
    fn recent(&self, extent: &Extent) -> Option<Pieces> {
        let (Home::Entry(seq), range) = home_of(extent)? else { return None };
        let pieces = self.shortcut.as_ref()?.cell.recent_payload(seq, range)?;
        let is_apart = pieces.len() > 1 && !pieces.iter().all(|piece| ends_with_a_batch(piece));
        Some(if is_apart { vec![whole(pieces)] } else { pieces })
    }

    /// The extents of spans that are read together: several of a local log, else one.
    async fn group(&self, spans: Vec<Span>) -> Result<Vec<Part>, ExtentError> {
        let read = match spans.as_slice() {
            [span] if !self.is_local(span.home) => vec![self.range(span.home, span.range.clone()).await?],
            _ => self.payloads(&spans).await?,
        };
        if read.len() != spans.len() {
            let reason = format!("{} payloads came where {} were asked", read.len(), spans.len());
            return Err(ExtentError::Unavailable { place: "the log".to_owned(), reason });
        }
        let mut parts = Vec::new();
        for (span, bytes) in spans.iter().zip(read) {
            let (home, length) = (span.home, span.range.end - span.range.start);
            if bytes.len() as u64 != length {
                let reason = format!("{} bytes came where {length} were asked", bytes.len());
                return Err(ExtentError::Damaged { place: home.place(), reason });
            }
            let of_span = |at: u64| (at - span.range.start) as usize;
            let copies = !is_most_of(span.used(), self.held(span));
            let part = |(at, range): &(usize, Range<u64>)| {
                let range = of_span(range.start)..of_span(range.end);
                let bytes = if copies { Bytes::copy_from_slice(&bytes[range]) } else { bytes.slice(range) };
                Part { home, at: *at, bytes }
            };
            parts.extend(span.extents.iter().map(part));
        }
        Ok(parts)
    }

    /// Bytes that a slice of what is read for this span keeps in memory, for as long as somebody has it: answers count only their own, so
    /// where they are few they are copied.
    fn held(&self, span: &Span) -> u64 {
        let length = span.range.end - span.range.start;
        match (span.home, &self.shortcut) {
            // A part of a block; of several, they were put together.
            (Home::Object(_), Some(_)) if length < limits::BLOCK_BYTES as u64 => limits::BLOCK_BYTES as u64,
            _ => length,
        }
    }

    async fn payloads(&self, spans: &[Span]) -> Result<Vec<Bytes>, ExtentError> {
        let reads = spans.iter().filter_map(|span| match span.home {
            Home::Entry(seq) => Some((seq, span.range.clone())),
            Home::Object(_) => None,
        });
        if let Ok(found) = self.log.read_payloads(reads.collect(), self.again).await {
            return Ok(found);
        }
        // Which of them failed was not said, and whoever asked wants to know.
        let mut found = Vec::with_capacity(spans.len());
        for span in spans {
            found.push(self.range(span.home, span.range.clone()).await?);
        }
        Ok(found)
    }

    async fn range(&self, home: Home, range: Range<u64>) -> Result<Bytes, ExtentError> {
        Ok(match (home, &self.shortcut) {
            (Home::Entry(seq), Some(shortcut)) if !self.is_local(home) => self.small_payload(shortcut, seq, range).await?,
            (Home::Entry(seq), _) => {
                self.log.read_payload(seq, range).await.map_err(|error| ExtentError::of_log(home.place(), error))?
            }
            (Home::Object(name), Some(shortcut)) => Self::blocks(shortcut, name, home, range).await?,
            (Home::Object(_), None) => self
                .objects
                .get_range(self.purpose, &home.place(), range)
                .await
                .map_err(|error| ExtentError::of_store(home.place(), error))?,
        })
    }

    async fn blocks(shortcut: &Shortcut, name: ObjectName, home: Home, range: Range<u64>) -> Result<Bytes, ExtentError> {
        let place = home.place();
        // An object that the newest view does not know any more was converted or dropped: the caller plans again.
        let size = shortcut.cell.view().wal_objects.get(&name).map(|object| object.size);
        let size = size.ok_or_else(|| ExtentError::Missing { place: place.clone() })?;
        let read = shortcut.blocks.read_range(&Arc::from(place.as_str()), size, range).await;
        read.map_err(|error| match error {
            ReadRangeError::Get(error) => ExtentError::of_store(place, error),
            ReadRangeError::OutOfRange { .. } => ExtentError::Damaged { place, reason: error.to_string() },
            ReadRangeError::Other(_) => ExtentError::Unavailable { place, reason: error.to_string() },
        })
    }

    /// Where the log is remote, payloads are small and each read is billed: the whole one is read, once.
    async fn small_payload(&self, shortcut: &Shortcut, seq: Seq, range: Range<u64>) -> Result<Bytes, ExtentError> {
        let log = self.log.clone();
        let fetch = || async move {
            let length = match log.read(seq, 1).await? {
                Tail::Rows { rows, .. } => rows.first().filter(|row| row.seq == seq).map(|row| row.payload_length),
                Tail::Trimmed { .. } => None,
            };
            log.read_payload(seq, 0..length.ok_or(ReadError::Gone { seq })?).await
        };
        let place = Home::Entry(seq).place();
        let payload = shortcut.blocks.cache().get_or_fetch(CacheKey::Inline { seq: seq.0 }, fetch).await;
        let payload = payload.map_err(|error| match error.cause::<ReadError>() {
            Some(cause) => ExtentError::of_log_ref(place.clone(), cause),
            None => ExtentError::Unavailable { place: place.clone(), reason: error.to_string() },
        })?;
        if range.end > payload.len() as u64 {
            let reason = format!("its payload ends at byte {} and {} are asked", payload.len(), range.end);
            return Err(ExtentError::Damaged { place, reason });
        }
        Ok(payload.slice(range.start as usize..range.end as usize))
    }
}

/// Pieces put together.
fn whole(mut pieces: Pieces) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.freeze()
}

impl ExtentError {
    fn of_store(place: String, error: GetError) -> Self {
        match error {
            GetError::NotFound { .. } => Self::Missing { place },
            GetError::OutOfRange { .. } | GetError::TooLarge { .. } => Self::Damaged { place, reason: error.to_string() },
            GetError::Refused { .. } | GetError::Failed { .. } => Self::Unavailable { place, reason: error.to_string() },
        }
    }

    fn of_log(place: String, error: ReadError) -> Self {
        Self::of_log_ref(place, &error)
    }

    fn of_log_ref(place: String, error: &ReadError) -> Self {
        match error {
            ReadError::Gone { .. } => Self::Missing { place },
            ReadError::Corrupt { .. } => Self::Damaged { place, reason: error.to_string() },
            ReadError::Unavailable { reason } => Self::Unavailable { place, reason: reason.clone() },
        }
    }
}
