//! Room for the bytes of answers that are not sent yet (I11), and who gets how much of it.
//!
//! A client that asks for much and takes nothing holds its answer. So no answer gets more than a part of what is free: however
//! many hold theirs, there is some left for those that read. A connection has one answer at a time, so this bounds what one
//! client holds, too. Whoever sends the answers looks at [`AnswerRoom::is_short`], and closes connections that take
//! nothing while it says so.

use crate::byte_room::ByteRoom;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strandline_runtime::Held;
use strandline_types::limits;

/// All the room.
#[derive(Debug)]
pub(crate) struct AnswerRoom {
    room: ByteRoom,
    waiting: AtomicUsize,
}

/// Part of it; given back when it is dropped.
pub(crate) type Room = Held;

impl AnswerRoom {
    pub(crate) fn new(bytes: usize) -> Self {
        let room = ByteRoom::new(bytes, || metrics::gauge!("strandline_fetch_answers_bytes"));
        Self { room, waiting: AtomicUsize::new(0) }
    }

    /// Others wait, or will soon.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.room.free() < self.room.total() / 2
    }

    /// Room for an answer: for `wanted` bytes if that is a fair part, else for fewer, but not for fewer than `least`.
    /// None if there was none within `patience`.
    pub(crate) async fn take(&self, wanted: usize, least: usize, patience: Duration) -> Option<Room> {
        let free = self.room.free();
        let fair = (free / limits::FETCH_ANSWER_SHARE).max(limits::FETCH_ANSWER_LEAST_BYTES);
        let bytes = wanted.min(fair).max(least).clamp(1, self.room.total());
        if let Some(room) = self.room.try_take(bytes) {
            return Some(room);
        }
        // What is left will do for something.
        let left = self.room.free().min(bytes);
        if left >= least.max(USEFUL_BYTES)
            && let Some(room) = self.room.try_take(left)
        {
            return Some(room);
        }
        let bytes = bytes.min(limits::FETCH_ANSWER_LEAST_BYTES).max(least).max(1);
        let _counted = Waiting::new(&self.waiting);
        self.room.take(bytes, patience).await
    }

    /// Room for exactly so many bytes (at most all), if there is some right now and nobody waits.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Room> {
        if self.waiting.load(Ordering::Relaxed) > 0 { None } else { self.room.try_take(bytes) }
    }

    /// More room for the same answer, if there is some right now.
    pub(crate) fn grow(&self, room: &mut Room, bytes: usize) -> bool {
        self.room.grow(room, bytes)
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.room.free()
    }
}

/// Less is not worth an answer, if more can be had by waiting.
const USEFUL_BYTES: usize = 64 << 10;

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn however_many_hold_their_answers_there_is_room_for_one_more() {
        let all = AnswerRoom::new(64 * MIB);
        let mut held = Vec::new();
        for number in 0..50 {
            let room = all.take(50 * MIB, 100_000, Duration::ZERO).await.unwrap();
            assert!(room.bytes() >= 128 << 10, "{number}: {}", room.bytes());
            held.push(room);
        }
        assert!(all.is_short());
        assert!(all.take(50 * MIB, 100_000, Duration::ZERO).await.unwrap().bytes() >= 128 << 10);
        held.clear();
        assert!(!all.is_short());
        assert_eq!(all.take(100, 1, Duration::ZERO).await.unwrap().bytes(), 100, "no more than is wanted");
        assert_eq!(all.take(100, 20 * MIB, Duration::ZERO).await.unwrap().bytes(), 20 * MIB, "a batch goes whole");
        assert_eq!(all.take(100, 200 * MIB, Duration::ZERO).await.unwrap().bytes(), 64 * MIB, "at most all");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_counted_and_gets_what_is_given_back() {
        let all = AnswerRoom::new(MIB);
        let mut held = all.take(MIB, MIB, PATIENCE).await.unwrap();
        let part = held.split(MIB / 2).unwrap();
        drop(held.split(1_000));
        assert!(all.hold(1_001).is_none() && all.hold(1_000).is_some());
        let waits = all.take(MIB, 1, PATIENCE);
        let gives_back = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(all.is_short());
            assert!(all.hold(1).is_none(), "others wait");
            drop(part);
        };
        let (room, ()) = tokio::join!(waits, gives_back);
        assert!(room.is_some_and(|room| room.bytes() >= 64 << 10));
        assert_eq!(all.waiting.load(Ordering::Relaxed), 0);
        assert!(all.grow(&mut held, MIB) && held.bytes() == MIB);
        assert!(all.take(1, 1, PATIENCE).await.is_none());
    }
}
