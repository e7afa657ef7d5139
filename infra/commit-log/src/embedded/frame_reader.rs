//! Reads frames one after another: large reads over entries, none over large payloads.

use super::format::{FRAME_HEADER, FrameHeader, Kind, crc32c};
use crate::disk::{DiskFile, read_exact_at};
use bytes::Bytes;
use std::io;
use strandline_types::limits::LOG_READ_BUFFER_BYTES;

/// The first read, and the first one after a jump.
const FIRST_READ: usize = 16 << 10;

/// A window that moves over a file up to `end`.
pub(super) struct FrameReader<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    buffer: Vec<u8>,
    start: u64,
    next_read: usize,
}

/// What stands at a position.
pub(super) enum Found {
    /// Nothing: the end.
    End,
    /// Not a sound frame. Its length, if its header at least is sound.
    Bad(Option<u64>),
    /// A frame whose header and entry bytes are as written.
    Frame(Frame),
}

/// One frame.
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    pub(super) entry: Bytes,
    /// False if the payload was stepped over.
    pub(super) payload_checked: bool,
}

impl<'a> FrameReader<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, end: u64) -> Self {
        Self { file, end, buffer: Vec::new(), start: 0, next_read: FIRST_READ }
    }

    /// `length` bytes at `position`, or none if the file ends before.
    pub(super) fn bytes(&mut self, position: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if position.checked_add(length as u64).is_none_or(|end| end > self.end) {
            return Ok(None);
        }
        let held_end = self.start + self.buffer.len() as u64;
        if position < self.start || position + length as u64 > held_end {
            if position >= self.start && position <= held_end {
                self.buffer.drain(..(position - self.start) as usize);
                self.next_read = (self.next_read * 2).min(LOG_READ_BUFFER_BYTES);
            } else {
                self.buffer.clear();
                self.next_read = FIRST_READ;
            }
            self.start = position;
            let held = self.buffer.len();
            let wanted = (self.end - position).min(length.max(self.next_read) as u64) as usize;
            self.buffer.resize(wanted.max(held), 0);
            if let Err(error) = read_exact_at(self.file, &mut self.buffer[held..], position + held as u64) {
                self.buffer.clear();
                return Err(error);
            }
        }
        let at = (position - self.start) as usize;
        Ok(Some(&self.buffer[at..at + length]))
    }

    /// The frame at `position`. A payload of more than `skipped_payload_bytes` is stepped over.
    pub(super) fn frame(&mut self, position: u64, nonce: &[u8; 16], skipped_payload_bytes: u64) -> io::Result<Found> {
        if position >= self.end {
            return Ok(Found::End);
        }
        let header = self.bytes(position, FRAME_HEADER)?;
        let Some(header) = header.and_then(|bytes| FrameHeader::decode(bytes, nonce, position)) else {
            return Ok(Found::Bad(None));
        };
        let bad = Ok(Found::Bad(Some(header.frame_length())));
        if position.checked_add(header.frame_length()).is_none_or(|end| end > self.end) {
            return bad;
        }
        let entry_position = position + FRAME_HEADER as u64;
        let Some(entry) = self.bytes(entry_position, header.entry_length as usize)? else {
            return bad;
        };
        if crc32c(entry) != header.entry_crc {
            return bad;
        }
        let entry = Bytes::copy_from_slice(entry);
        let payload_checked = header.kind == Kind::End || header.payload_length <= skipped_payload_bytes;
        if payload_checked && !self.payload_is_sound(position, &header)? {
            return bad;
        }
        Ok(Found::Frame(Frame { header, entry, payload_checked }))
    }

    /// Reads the payload of the frame at `position` through and compares its CRC.
    pub(super) fn payload_is_sound(&mut self, position: u64, header: &FrameHeader) -> io::Result<bool> {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        let mut at = position + FRAME_HEADER as u64 + u64::from(header.entry_length);
        let end = at.saturating_add(header.payload_length);
        while at < end {
            let length = (end - at).min(LOG_READ_BUFFER_BYTES as u64);
            let Some(bytes) = self.bytes(at, length as usize)? else {
                return Ok(false);
            };
            digest.update(bytes);
            at += length;
        }
        Ok(digest.finalize() as u32 == header.payload_crc)
    }
}
