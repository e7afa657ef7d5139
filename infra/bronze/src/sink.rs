//! Where a file's bytes go: pieces in memory, and the checksum of them all on the way.

use crate::file_check::{digits_of, find_digits};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use parquet::errors::{ParquetError, Result};
use std::io::Write;

/// A full piece is set aside, so that a large file is never moved as it grows.
const PIECE_BYTES: usize = 1 << 20;

pub(crate) struct Sink {
    pieces: Vec<Bytes>,
    piece: Vec<u8>,
    crc: Digest,
    written: u64,
    /// The file's end is being written, which stays in one piece.
    is_tail: bool,
}

impl Sink {
    pub fn new() -> Self {
        Self { pieces: Vec::new(), piece: Vec::new(), crc: Digest::new(CrcAlgorithm::Crc32Iscsi), written: 0, is_tail: false }
    }

    fn set_aside(&mut self) {
        self.crc.update(&self.piece);
        // What is this large goes on, so the next piece does not have to grow.
        let next = Vec::with_capacity(if self.piece.len() >= PIECE_BYTES / 2 { PIECE_BYTES } else { 0 });
        self.pieces.push(std::mem::replace(&mut self.piece, next).into());
    }

    /// The pieces that are full; they leave.
    pub fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.pieces)
    }

    /// What is written from now on stays in one piece, for [`Self::finish`] to put the file's checksum of itself into it.
    pub fn begin_tail(&mut self) {
        if !self.piece.is_empty() {
            self.set_aside();
        }
        self.is_tail = true;
    }

    /// The pieces that were not taken, the length of all and the CRC-32C of all. The last has the file's checksum of itself.
    pub fn finish(mut self) -> Result<(Vec<Bytes>, u64, u32)> {
        let digits = find_digits(&self.piece)
            .ok_or_else(|| ParquetError::General("the place for the file's checksum is not where it was written".to_owned()))?;
        let mut own = self.crc;
        own.update(&self.piece[..digits.start]);
        own.update(&self.piece[digits.end..]);
        self.piece[digits].copy_from_slice(digits_of(own.finalize() as u32).as_bytes());
        self.set_aside();
        Ok((self.pieces, self.written, self.crc.finalize() as u32))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.is_tail && !self.piece.is_empty() && self.piece.len() + bytes.len() > PIECE_BYTES {
            self.set_aside();
        }
        self.piece.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
