//! For tests alone: how much a piece of work allocates. A test that links this crate has its allocator, which counts and hands everything
//! to the system's. It must never be a dependency of anything but tests.

#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does the work, and says how many bytes it allocated on this thread, whether or not it freed them again.
pub fn allocated<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.get();
    let result = work();
    (result, ALLOCATED.get() - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_counts_and_what_was_there_before_does_not() {
        let kept = vec![1_u8; 10_000];
        let (length, bytes) = allocated(|| kept.len() + vec![0_u8; 1_000].len() + Vec::<u8>::with_capacity(500).len());
        assert_eq!((length, bytes), (11_000, 1_500));
    }
}
