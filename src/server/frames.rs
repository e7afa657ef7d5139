//! Memory of requests' frames, used again.
//!
//! A large frame comes into memory that the allocator has just asked the system for, and the system clears each page of it: that costs
//! as much as reading the frame. Its records stay in memory for the tail's readers, so that it goes back at about the pace at which
//! others come.

use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strandline_types::limits;

/// Smaller ones are the allocator's: it has them at hand.
const SMALLEST_BYTES: usize = 32 << 10;
/// Larger ones grow as their bytes come.
pub(super) const LARGEST_BYTES: usize = 1 << 20;

/// Buffers that nobody uses, at most [`limits::IDLE_FRAME_BYTES`] of them, and none where no frame comes for a while.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    idle: Mutex<Idle>,
    /// A frame came since the last look, of whatever length.
    is_used: AtomicBool,
}

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
    /// Looks in a row that saw no frame come.
    looks: u32,
}

/// What is kept for a frame of this length: an eighth more than it at most, so that buffers fit frames that are about as long.
fn capacity_for(length: usize) -> usize {
    length.next_multiple_of((length.next_power_of_two() / 16).max(1))
}

impl Frames {
    /// An empty buffer with room for a frame of this length; none if such a frame is not for here.
    pub(super) fn take(&self, length: usize) -> Option<Vec<u8>> {
        if !self.0.is_used.load(Ordering::Relaxed) {
            self.0.is_used.store(true, Ordering::Relaxed);
        }
        if !(SMALLEST_BYTES..=LARGEST_BYTES).contains(&length) {
            return None;
        }
        let wanted = capacity_for(length);
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that was used last is most likely still in the processor's cache.
        let Some(at) = idle.buffers.iter().rposition(|buffer| buffer.capacity() == wanted) else {
            drop(idle);
            return Some(Vec::with_capacity(wanted));
        };
        let buffer = idle.buffers.remove(at);
        idle.bytes -= buffer.capacity();
        report(idle.bytes);
        Some(buffer)
    }

    /// The frame in a buffer that was taken here. The buffer comes back when the last slice of it is dropped.
    pub(super) fn freeze(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Used { buffer, frames: self.clone() })
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.bytes += buffer.capacity();
        idle.buffers.push(buffer);
        let mut oldest = Vec::new();
        while idle.bytes > limits::IDLE_FRAME_BYTES {
            let buffer = idle.buffers.remove(0);
            idle.bytes -= buffer.capacity();
            oldest.push(buffer);
        }
        report(idle.bytes);
        drop(idle);
        drop(oldest);
    }

    /// To be called every [`limits::IDLE_FRAME_LOOK`]. Lets every buffer go that nobody uses once no frame came for
    /// [`limits::IDLE_FRAME_LOOKS`] calls, and says whether it did so just now.
    pub(super) fn let_go_if_idle(&self) -> bool {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.looks = if self.0.is_used.swap(false, Ordering::Relaxed) { 0 } else { idle.looks.saturating_add(1) };
        // Some may come back later, from who took their time.
        let came_back = idle.looks > limits::IDLE_FRAME_LOOKS && !idle.buffers.is_empty();
        if idle.looks != limits::IDLE_FRAME_LOOKS && !came_back {
            return false;
        }
        let buffers = std::mem::take(&mut idle.buffers);
        idle.bytes = 0;
        report(0);
        drop(idle);
        drop(buffers);
        true
    }
}

fn report(bytes: usize) {
    metrics::gauge!("strandline_idle_frame_bytes").set(bytes as f64);
}

struct Used {
    buffer: Vec<u8>,
    frames: Frames,
}

impl AsRef<[u8]> for Used {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.frames.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nobody_holds_a_slice_of_it() {
        let frames = Frames::default();
        assert!(frames.take(SMALLEST_BYTES - 1).is_none() && frames.take(LARGEST_BYTES + 1).is_none());
        let mut buffer = frames.take(100_000).unwrap();
        assert!((100_000..112_501).contains(&buffer.capacity()));
        buffer.extend_from_slice(&[7; 100_000]);
        let place = buffer.as_ptr();
        let frame = frames.freeze(buffer);
        let slice = frame.slice(10..20);
        drop(frame);
        let other = frames.take(100_000).unwrap();
        assert_ne!(other.as_ptr(), place, "a slice is left");
        assert_eq!(slice[..], [7; 10]);
        drop(slice);
        let again = frames.take(101_000).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(frames.0.idle.lock().unwrap().buffers.is_empty());
    }

    #[test]
    fn where_no_frame_comes_for_a_while_nothing_is_kept() {
        let frames = Frames::default();
        let kept = || frames.0.idle.lock().unwrap().bytes;
        // A first frame, and a small one in between, which is not kept itself.
        for length in [100_000, 1] {
            drop(frames.take(length).map(|buffer| frames.freeze(buffer)));
            assert!((0..limits::IDLE_FRAME_LOOKS).all(|_| !frames.let_go_if_idle()));
            assert!(kept() >= 100_000);
        }
        let slow = frames.take(200_000).map(|buffer| frames.freeze(buffer));
        assert!((0..limits::IDLE_FRAME_LOOKS).all(|_| !frames.let_go_if_idle()));
        assert!(frames.let_go_if_idle());
        assert!(kept() == 0 && !frames.let_go_if_idle(), "once");
        drop(slow);
        assert!(kept() > 0 && frames.let_go_if_idle() && kept() == 0, "what came back later");
        assert!(!frames.let_go_if_idle());
    }

    #[test]
    fn what_is_idle_is_bounded() {
        let frames = Frames::default();
        let used: Vec<Bytes> = (0..40).map(|_| frames.freeze(frames.take(LARGEST_BYTES).unwrap())).collect();
        drop(used);
        let idle = frames.0.idle.lock().unwrap();
        let bytes: usize = idle.buffers.iter().map(Vec::capacity).sum();
        assert_eq!(idle.bytes, bytes);
        assert!(bytes <= limits::IDLE_FRAME_BYTES && bytes + LARGEST_BYTES > limits::IDLE_FRAME_BYTES);
    }
}
