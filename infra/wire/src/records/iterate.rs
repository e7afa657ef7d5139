//! Records out of a batch, borrowed.

use super::header::BATCH_HEADER_BYTES;
use super::varint::{read_int, read_long};
use super::{BatchError, BatchHeader, Compression, RecordRule, compression};
use std::ops::ControlFlow;
use strandline_types::{HeaderRef, RecordRef, TimestampType, limits};

/// Where a stored batch stands in its partition: what the fold decided, and the stored header does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlace {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Its append time, where the topic has append times.
    pub log_append_time_ms: Option<i64>,
}

impl BatchPlace {
    /// The place that the batch's own header gives, as for a batch that came out of a Fetch.
    pub fn of(header: &BatchHeader) -> Self {
        let log_append = header.timestamp_type() == TimestampType::LogAppend;
        Self { base_offset: header.base_offset, log_append_time_ms: log_append.then_some(header.max_timestamp) }
    }
}

/// What reading compressed batches takes again and again.
#[derive(Debug, Default)]
pub struct RecordScratch {
    decompressed: Vec<u8>,
}

/// Kept between batches at most.
const KEPT_BYTES: usize = 8 << 20;

/// Hands every record of a batch to `visit`, in order, until it breaks. Key, value and headers are slices of the batch,
/// or of `scratch` if it is compressed. The checksum is not looked at.
///
/// # Errors
/// A batch that is damaged; records before the damage were handed out.
pub fn for_each_record(
    batch: &[u8],
    place: BatchPlace,
    scratch: &mut RecordScratch,
    mut visit: impl FnMut(&RecordRef<'_>) -> ControlFlow<()>,
) -> Result<(), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let data = &batch[BATCH_HEADER_BYTES..];
    let records = match header.compression()? {
        Compression::None => data,
        codec => {
            if scratch.decompressed.capacity() > KEPT_BYTES {
                scratch.decompressed = Vec::new();
            }
            compression::decompress(codec, data, &mut scratch.decompressed, limits::DECOMPRESSED_BATCH_BYTES)?;
            &scratch.decompressed
        }
    };
    let timestamp_type = if place.log_append_time_ms.is_some() { TimestampType::LogAppend } else { TimestampType::Create };
    let mut headers = Vec::new();
    let mut position = 0;
    for index in 0..header.record_count {
        let malformed = BatchError::Record { index, rule: RecordRule::Malformed };
        let Some(bytes) = read_length(records, &mut position).and_then(|length| take(records, &mut position, length)) else {
            return Err(malformed);
        };
        let record = parse(bytes, &mut headers).map_err(|rule| BatchError::Record { index, rule })?;
        let record = RecordRef {
            offset: place.base_offset.saturating_add(i64::from(record.offset_delta)),
            timestamp_ms: place.log_append_time_ms.unwrap_or_else(|| header.base_timestamp.wrapping_add(record.timestamp_delta)),
            timestamp_type,
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        if visit(&record).is_break() {
            break;
        }
    }
    Ok(())
}

struct Parsed<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

#[inline(always)]
fn parse<'a>(record: &'a [u8], headers: &mut Vec<HeaderRef<'a>>) -> Result<Parsed<'a>, RecordRule> {
    const MAX: usize = limits::RECORD_HEADERS_READ;
    let mut position = 1;
    let malformed = || RecordRule::Malformed;
    let timestamp_delta = read_long(record, &mut position).ok_or_else(malformed)?;
    let offset_delta = read_int(record, &mut position).ok_or_else(malformed)?;
    let key = read_nullable(record, &mut position).ok_or_else(malformed)?;
    let value = read_nullable(record, &mut position).ok_or_else(malformed)?;
    headers.clear();
    let count = read_length(record, &mut position).ok_or_else(malformed)?;
    if count > MAX {
        return Err(RecordRule::Headers { max: MAX });
    }
    for _ in 0..count {
        headers.push(read_header(record, &mut position).ok_or_else(malformed)?);
    }
    if position != record.len() {
        return Err(RecordRule::Malformed);
    }
    Ok(Parsed { timestamp_delta, offset_delta, key, value })
}

#[inline(always)]
fn read_header<'a>(record: &'a [u8], position: &mut usize) -> Option<HeaderRef<'a>> {
    let length = read_length(record, position)?;
    let key = simdutf8::basic::from_utf8(take(record, position, length)?).ok()?;
    Some(HeaderRef { key, value: read_nullable(record, position)? })
}

#[inline(always)]
fn read_length(bytes: &[u8], position: &mut usize) -> Option<usize> {
    usize::try_from(read_int(bytes, position)?).ok()
}

#[inline(always)]
fn take<'a>(bytes: &'a [u8], position: &mut usize, length: usize) -> Option<&'a [u8]> {
    let taken = bytes.get(*position..)?.get(..length)?;
    *position += length;
    Some(taken)
}

#[inline(always)]
fn read_nullable<'a>(bytes: &'a [u8], position: &mut usize) -> Option<Option<&'a [u8]>> {
    match read_int(bytes, position)? {
        -1 => Some(None),
        length => take(bytes, position, usize::try_from(length).ok()?).map(Some),
    }
}
