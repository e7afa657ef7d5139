//! The reader: every length is checked against what is there before anything is reserved (I11).

use super::{DecodeError, DecodeErrorKind};
use bytes::Bytes;
use strandline_types::limits;

/// Reads a frame front to back. Byte fields are slices of the frame; strings and arrays are owned, and their memory is
/// counted against a budget, since an array element of one byte can take a hundred in memory.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    end: usize,
    budget: usize,
}

impl Reader {
    /// A reader whose message may take [`limits::DECODED_MESSAGE_BYTES`] of memory beside the frame.
    pub fn new(bytes: Bytes) -> Self {
        Self::with_budget(bytes, limits::DECODED_MESSAGE_BYTES)
    }

    /// A reader whose message may take `budget` bytes of memory beside the frame.
    pub fn with_budget(bytes: Bytes, budget: usize) -> Self {
        let end = bytes.len();
        Self { bytes, position: 0, end, budget }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Bytes read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Everything not read yet, as one slice of the frame.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.position..self.end);
        self.position = self.end;
        rest
    }

    /// An error here, if bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            trailing => Err(self.error(DecodeErrorKind::Trailing(trailing))),
        }
    }

    pub(crate) fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { kind, position: self.position, field: "" }
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], DecodeError> {
        let start = self.advance(length)?;
        Ok(&self.bytes[start..start + length])
    }

    fn advance(&mut self, length: usize) -> Result<usize, DecodeError> {
        let remaining = self.remaining();
        if length > remaining {
            return Err(self.error(DecodeErrorKind::Truncated { needed: length, remaining }));
        }
        let start = self.position;
        self.position += length;
        Ok(start)
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(N)?);
        Ok(array)
    }

    /// The next `length` bytes, as a slice of the frame.
    pub fn bytes(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let start = self.advance(length)?;
        Ok(self.bytes.slice(start..start + length))
    }

    /// The next `length` bytes as UTF-8, copied.
    pub fn string(&mut self, length: usize) -> Result<String, DecodeError> {
        let at = self.position;
        let remaining = self.remaining();
        if length > remaining {
            return Err(self.error(DecodeErrorKind::Truncated { needed: length, remaining }));
        }
        self.charge(length)?;
        match simdutf8::basic::from_utf8(self.slice(length)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError { kind: DecodeErrorKind::NotUtf8, position: at, field: "" }),
        }
    }

    /// One signed byte.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// Two bytes, signed.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Four bytes, signed.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// An unsigned varint of at most five bytes and 32 bits.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let at = self.position;
        let mut value = 0_u32;
        for index in 0..5 {
            let [byte] = self.array()?;
            if index == 4 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError { kind: DecodeErrorKind::Varint, position: at, field: "" })
    }

    /// A zigzag varint of 32 bits.
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let value = self.unsigned_varint()?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    /// A zigzag varint of 64 bits.
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let at = self.position;
        let mut value = 0_u64;
        for index in 0..10 {
            let [byte] = self.array()?;
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(DecodeError { kind: DecodeErrorKind::Varint, position: at, field: "" })
    }

    /// The length of a string: two bytes, or a varint of length + 1; `None` is null.
    pub(crate) fn string_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length();
        }
        let length = self.i16()?;
        self.legacy_length(i64::from(length))
    }

    /// The length of bytes or an array: four bytes, or a varint of length + 1; `None` is null.
    pub(crate) fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length();
        }
        let length = self.i32()?;
        self.legacy_length(i64::from(length))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
    }

    fn legacy_length(&self, length: i64) -> Result<Option<usize>, DecodeError> {
        match length {
            -1 => Ok(None),
            0.. => Ok(Some(length as usize)),
            _ => Err(self.error(DecodeErrorKind::NegativeLength(length))),
        }
    }

    /// Checks an array's count against the bytes left (an element takes at least one) and counts the memory of its
    /// elements. What it returns may be reserved.
    pub(crate) fn admit_array(&mut self, count: usize, element_bytes: usize) -> Result<usize, DecodeError> {
        let remaining = self.remaining();
        if count > remaining {
            return Err(self.error(DecodeErrorKind::ArrayBeyondEnd { count, remaining }));
        }
        self.charge(count.saturating_mul(element_bytes))?;
        Ok(count.min(RESERVED_ELEMENTS))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.error(DecodeErrorKind::OverBudget(bytes))),
        }
    }

    /// Reads the tagged fields. `known` reads the one it is given and says so; others are skipped.
    pub(crate) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let length = self.unsigned_varint()? as usize;
            let remaining = self.remaining();
            if length > remaining {
                return Err(self.error(DecodeErrorKind::Truncated { needed: length, remaining }));
            }
            let outer_end = std::mem::replace(&mut self.end, self.position + length);
            if known(tag, self)? {
                self.finish()?;
            }
            self.position = self.end;
            self.end = outer_end;
        }
        Ok(())
    }

    /// Skips tagged fields, all of them unknown.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

/// Elements reserved ahead at most; longer arrays grow as their elements turn out to be there.
const RESERVED_ELEMENTS: usize = 1_024;
