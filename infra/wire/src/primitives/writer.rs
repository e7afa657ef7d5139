//! The writer: small values go into one buffer, large pieces stay where they are.

use super::{Frame, Records};
use bytes::{BufMut, Bytes, BytesMut};

/// Pieces of at least this many bytes are taken as they are instead of being copied.
pub const SHARED_FROM_BYTES: usize = 1_024;

/// Writes a message as a rope of segments. Writing never fails.
#[derive(Debug, Default)]
pub struct Writer {
    segments: Vec<Segment>,
    segments_bytes: usize,
    tail: BytesMut,
}

#[derive(Debug)]
enum Segment {
    Owned(BytesMut),
    Shared(Bytes),
}

impl Writer {
    /// An empty writer; nothing is reserved.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `bytes` before it has to grow.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { segments: Vec::new(), segments_bytes: 0, tail: BytesMut::with_capacity(bytes) }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.segments_bytes + self.tail.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One signed byte.
    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.tail.put_i8(value);
    }

    /// Two bytes, signed.
    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    /// Four bytes, signed.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    /// An unsigned varint.
    #[inline]
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    /// A zigzag varint of 32 bits.
    pub fn varint(&mut self, value: i32) {
        self.unsigned_varint((value << 1 ^ value >> 31) as u32);
    }

    /// A zigzag varint of 64 bits.
    pub fn varlong(&mut self, value: i64) {
        let mut value = (value << 1 ^ value >> 63) as u64;
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    /// Bytes without a length, copied.
    #[inline]
    pub fn slice(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    /// Bytes without a length: shared from [`SHARED_FROM_BYTES`] on, copied below.
    pub fn shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_FROM_BYTES {
            return self.slice(bytes);
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split();
            self.push(Segment::Owned(tail));
        }
        self.push(Segment::Shared(bytes.clone()));
    }

    /// The pieces of a rope without a length.
    pub fn records(&mut self, records: &Records) {
        for chunk in records.chunks() {
            self.shared(chunk);
        }
    }

    fn push(&mut self, segment: Segment) {
        self.segments_bytes += match &segment {
            Segment::Owned(bytes) => bytes.len(),
            Segment::Shared(bytes) => bytes.len(),
        };
        self.segments.push(segment);
    }

    /// The length of a string; `None` is null.
    pub(crate) fn string_length(&mut self, flexible: bool, length: Option<usize>) {
        if flexible {
            self.compact_length(length);
        } else {
            self.i16(length.map_or(-1, |length| length as i16));
        }
    }

    /// The length of bytes or an array; `None` is null.
    pub(crate) fn length(&mut self, flexible: bool, length: Option<usize>) {
        if flexible {
            self.compact_length(length);
        } else {
            self.i32(length.map_or(-1, |length| length as i32));
        }
    }

    fn compact_length(&mut self, length: Option<usize>) {
        self.unsigned_varint(length.map_or(0, |length| length as u32 + 1));
    }

    /// A string, or null. One without a compact length ends, at a character, before 32,768 bytes: it has no room for more.
    pub fn string(&mut self, flexible: bool, text: Option<&str>) {
        let text = match text {
            Some(text) if !flexible && text.len() > i16::MAX as usize => {
                Some(&text[..text.floor_char_boundary(i16::MAX as usize)])
            }
            text => text,
        };
        self.string_length(flexible, text.map(str::len));
        self.slice(text.unwrap_or_default().as_bytes());
    }

    /// No tagged fields.
    pub fn no_tagged_fields(&mut self) {
        self.unsigned_varint(0);
    }

    /// Takes over all that `other` wrote.
    pub(crate) fn append(&mut self, other: Writer) {
        for segment in other.segments {
            match segment {
                Segment::Owned(bytes) => self.slice(&bytes),
                Segment::Shared(bytes) => self.shared(&bytes),
            }
        }
        self.slice(&other.tail);
    }

    /// What was written.
    pub fn finish(mut self) -> Frame {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.push(Segment::Owned(tail));
        }
        Frame::new(self.segments.into_iter().map(|segment| match segment {
            Segment::Owned(bytes) => bytes.freeze(),
            Segment::Shared(bytes) => bytes,
        }))
    }

    /// What was written, as a frame: its first four bytes, which the caller wrote as a place-holder, become the length of the rest.
    pub(crate) fn finish_frame(mut self) -> Frame {
        let length = (self.len().saturating_sub(4) as u32).to_be_bytes();
        let first = match self.segments.first_mut() {
            Some(Segment::Owned(bytes)) => bytes,
            _ => &mut self.tail,
        };
        if let Some(place) = first.get_mut(..4) {
            place.copy_from_slice(&length);
        }
        self.finish()
    }
}
