//! The walk over the records of a batch without taking anything out: over a slice, or over a decompressing stream with a
//! buffer that stays small whatever the records' size.

use super::{BatchError, Compression, RecordRule, compression, varint};
use std::io::{ErrorKind, Read};
use strandline_types::limits;

/// What a walk tells about a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordFacts {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub has_key: bool,
}

#[derive(Debug)]
pub(super) enum WalkError {
    Rule(RecordRule),
    Batch(BatchError),
}

impl From<RecordRule> for WalkError {
    fn from(rule: RecordRule) -> Self {
        Self::Rule(rule)
    }
}

/// Where a walk reads from. Every call fails instead of going past the end.
pub(super) trait Source {
    fn int(&mut self) -> Result<i32, WalkError>;
    fn long(&mut self) -> Result<i64, WalkError>;
    fn skip(&mut self, bytes: usize) -> Result<(), WalkError>;
    fn utf8(&mut self, bytes: usize) -> Result<(), WalkError>;
    /// Bytes read since the start.
    fn consumed(&self) -> u64;
}

/// Walks over one record after its length. That the record is as long as it says is the caller's to check.
#[inline(always)]
pub(super) fn walk_record<S: Source>(source: &mut S) -> Result<RecordFacts, WalkError> {
    source.skip(1)?;
    let timestamp_delta = source.long()?;
    let offset_delta = source.int()?;
    let has_key = skip_bytes(source)?;
    skip_bytes(source)?;
    let headers = source.int()?;
    if headers < 0 {
        return Err(RecordRule::Malformed.into());
    }
    // What is announced may not be there: what is said of the record then does not matter.
    if headers as usize > limits::RECORD_HEADERS {
        return Err(RecordRule::Headers { max: limits::RECORD_HEADERS }.into());
    }
    for _ in 0..headers {
        let key = source.int()?;
        source.utf8(usize::try_from(key).map_err(|_| RecordRule::Malformed)?)?;
        skip_bytes(source)?;
    }
    Ok(RecordFacts { timestamp_delta, offset_delta, has_key })
}

/// Skips bytes with their length, and says whether they are there and not null.
#[inline(always)]
fn skip_bytes<S: Source>(source: &mut S) -> Result<bool, WalkError> {
    match source.int()? {
        -1 => Ok(false),
        length => {
            source.skip(usize::try_from(length).map_err(|_| RecordRule::Malformed)?)?;
            Ok(true)
        }
    }
}

/// A slice.
pub(super) struct SliceSource<'a> {
    pub bytes: &'a [u8],
    pub position: usize,
}

impl Source for SliceSource<'_> {
    #[inline(always)]
    fn int(&mut self) -> Result<i32, WalkError> {
        varint::read_int(self.bytes, &mut self.position).ok_or(WalkError::Rule(RecordRule::Malformed))
    }

    #[inline(always)]
    fn long(&mut self) -> Result<i64, WalkError> {
        varint::read_long(self.bytes, &mut self.position).ok_or(WalkError::Rule(RecordRule::Malformed))
    }

    #[inline(always)]
    fn skip(&mut self, bytes: usize) -> Result<(), WalkError> {
        if bytes > self.bytes.len() - self.position {
            return Err(RecordRule::Malformed.into());
        }
        self.position += bytes;
        Ok(())
    }

    #[inline]
    fn utf8(&mut self, bytes: usize) -> Result<(), WalkError> {
        let start = self.position;
        self.skip(bytes)?;
        match simdutf8::basic::from_utf8(&self.bytes[start..start + bytes]) {
            Ok(_) => Ok(()),
            Err(_) => Err(RecordRule::HeaderKey.into()),
        }
    }

    fn consumed(&self) -> u64 {
        self.position as u64
    }
}

/// Decompressed bytes seen at once.
const WINDOW_BYTES: usize = 32 << 10;

/// A stream of decompressed bytes, at most `bytes_left` of them.
pub(super) struct StreamSource<'a> {
    decoder: Box<dyn Read + 'a>,
    compression: Compression,
    window: Vec<u8>,
    position: usize,
    filled: usize,
    passed: u64,
    max_bytes: usize,
    bytes_left: usize,
}

impl<'a> StreamSource<'a> {
    pub(super) fn new(compression: Compression, data: &'a [u8], max_bytes: usize) -> Result<Self, BatchError> {
        let decoder =
            compression::decoder(compression, data, max_bytes).map_err(|_| BatchError::Compression(compression.name()))?;
        let window = vec![0; WINDOW_BYTES];
        Ok(Self { decoder, compression, window, position: 0, filled: 0, passed: 0, max_bytes, bytes_left: max_bytes })
    }

    /// What is in the window and not read.
    fn ahead(&self) -> &[u8] {
        &self.window[self.position..self.filled]
    }

    /// Reads on until the window holds `bytes` (at most its size) or the stream ends; says whether it does.
    fn fill(&mut self, bytes: usize) -> Result<bool, WalkError> {
        if self.filled - self.position >= bytes {
            return Ok(true);
        }
        self.window.copy_within(self.position..self.filled, 0);
        self.passed += self.position as u64;
        self.filled -= self.position;
        self.position = 0;
        while self.filled < bytes {
            match self.decoder.read(&mut self.window[self.filled..]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.filled += read;
                    self.bytes_left =
                        self.bytes_left.checked_sub(read).ok_or(WalkError::Batch(BatchError::Bomb { max: self.max_bytes }))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                    return Err(WalkError::Batch(BatchError::Bomb { max: self.max_bytes }));
                }
                Err(_) => return Err(WalkError::Batch(BatchError::Compression(self.compression.name()))),
            }
        }
        Ok(true)
    }

    /// Bytes that came out of the decompressor so far.
    pub(super) fn decompressed_bytes(&self) -> usize {
        self.max_bytes - self.bytes_left
    }

    /// Whether everything was read.
    pub(super) fn is_at_end(&mut self) -> Result<bool, WalkError> {
        Ok(!self.fill(1)?)
    }

    /// Walks over one record of `length` bytes: by the window if it is in there whole, else piece by piece.
    pub(super) fn walk(&mut self, length: usize) -> Result<RecordFacts, WalkError> {
        if length <= WINDOW_BYTES && self.fill(length)? {
            let mut source = SliceSource { bytes: &self.ahead()[..length], position: 0 };
            let facts = walk_record(&mut source)?;
            if source.position != length {
                return Err(RecordRule::Malformed.into());
            }
            self.position += length;
            return Ok(facts);
        }
        let end = self.consumed() + length as u64;
        let facts = walk_record(self)?;
        if self.consumed() == end { Ok(facts) } else { Err(RecordRule::Malformed.into()) }
    }
}

impl Source for StreamSource<'_> {
    fn int(&mut self) -> Result<i32, WalkError> {
        self.fill(10)?;
        let mut read = 0;
        let value = varint::read_int(self.ahead(), &mut read).ok_or(WalkError::Rule(RecordRule::Malformed))?;
        self.position += read;
        Ok(value)
    }

    fn long(&mut self) -> Result<i64, WalkError> {
        self.fill(10)?;
        let mut read = 0;
        let value = varint::read_long(self.ahead(), &mut read).ok_or(WalkError::Rule(RecordRule::Malformed))?;
        self.position += read;
        Ok(value)
    }

    fn skip(&mut self, mut bytes: usize) -> Result<(), WalkError> {
        loop {
            let step = bytes.min(self.filled - self.position);
            self.position += step;
            bytes -= step;
            if bytes == 0 {
                return Ok(());
            }
            if !self.fill(1)? {
                return Err(RecordRule::Malformed.into());
            }
        }
    }

    fn utf8(&mut self, mut bytes: usize) -> Result<(), WalkError> {
        while bytes > 0 {
            // A character that the window cuts stays in it for the next round.
            let wanted = bytes.min(WINDOW_BYTES);
            if !self.fill(wanted)? {
                return Err(RecordRule::Malformed.into());
            }
            let piece = &self.ahead()[..wanted];
            let valid = match std::str::from_utf8(piece) {
                Ok(text) => text.len(),
                Err(error) if error.error_len().is_none() && wanted < bytes => error.valid_up_to(),
                Err(_) => return Err(RecordRule::HeaderKey.into()),
            };
            self.position += valid;
            bytes -= valid;
        }
        Ok(())
    }

    fn consumed(&self) -> u64 {
        self.passed + self.position as u64
    }
}
