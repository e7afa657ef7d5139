//! Encoded bytes in segments, ready for a vectored write.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes in segments. It is a [`Buf`], so a socket's `write_all_buf` sends many segments by one system call.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    segments: VecDeque<Bytes>,
    length: usize,
}

impl Frame {
    /// The segments in order; empty ones are dropped.
    pub fn new(segments: impl IntoIterator<Item = Bytes>) -> Self {
        let segments: VecDeque<Bytes> = segments.into_iter().filter(|segment| !segment.is_empty()).collect();
        let length = segments.iter().map(Bytes::len).sum();
        Self { segments, length }
    }

    /// Puts another one behind this one.
    pub fn append(&mut self, mut other: Self) {
        self.length += other.length;
        self.segments.append(&mut other.segments);
    }

    /// Bytes left.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no bytes are left.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The segments left.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.segments.iter()
    }

    /// All of it in one piece: a copy if there is more than one segment.
    pub fn into_bytes(mut self) -> Bytes {
        if self.segments.len() <= 1 {
            return self.segments.pop_front().unwrap_or_default();
        }
        let mut bytes = BytesMut::with_capacity(self.length);
        for segment in &self.segments {
            bytes.extend_from_slice(segment);
        }
        bytes.freeze()
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.segments.len());
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(segment);
        }
        count
    }

    /// Drops bytes from the front; more than there are drops all.
    fn advance(&mut self, mut count: usize) {
        count = count.min(self.length);
        self.length -= count;
        while let Some(front) = self.segments.front_mut() {
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.segments.pop_front();
        }
    }
}
