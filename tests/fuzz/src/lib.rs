//! What the fuzz targets share: an allocator that counts, and checksums put right so that damage gets past them.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    /// What may live at once; the allocation that passes it says where it was made.
    static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn grow(bytes: usize) {
    let _ = LIVE.try_with(|live| {
        live.set(live.get().wrapping_add(bytes));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
        let _ = MOST.try_with(|most| {
            if live.get() > most.get() {
                // Once only: what follows allocates, too.
                most.set(usize::MAX);
                eprintln!("{bytes} bytes more are too much\n{}", std::backtrace::Backtrace::force_capture());
            }
        });
    });
}

fn shrink(bytes: usize) {
    // Saturating: what another thread allocated may be freed here.
    let _ = LIVE.try_with(|live| live.set(live.get().saturating_sub(bytes)));
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may live side by side for a moment; only the difference stays.
        grow(size);
        let grown = unsafe { System.realloc(pointer, layout, size) };
        shrink(layout.size());
        grown
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does work and fails if it held more than `bytes` of memory at any moment (on this thread).
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = LIVE.get();
    PEAK.set(before);
    MOST.set(before.saturating_add(bytes));
    let result = work();
    MOST.set(usize::MAX);
    let held = PEAK.get().saturating_sub(before);
    assert!(held <= bytes, "it held {held} bytes, more than the {bytes} that are allowed");
    result
}

/// Memory that decoding may take: so many bytes for each byte of the input, and something for tables.
pub fn decoding(data: &[u8], factor: usize) -> usize {
    data.len() * factor + (256 << 10)
}

/// The input as it is, and with a checksum of `bytes` at its end put right.
pub fn with_crc32c_at_end(data: &[u8]) -> [Bytes; 2] {
    let mut right = data.to_vec();
    if let Some(at) = right.len().checked_sub(4) {
        let crc = crc_fast::crc32_iscsi(&right[..at]);
        right[at..].copy_from_slice(&crc.to_be_bytes());
    }
    [Bytes::copy_from_slice(data), right.into()]
}

/// The input as it is, and with a SHA-256 at its end put right.
pub fn with_sha256_at_end(data: &[u8]) -> [Bytes; 2] {
    let mut right = data.to_vec();
    if let Some(at) = right.len().checked_sub(32) {
        let digest = Sha256::digest(&right[..at]);
        right[at..].copy_from_slice(&digest);
    }
    [Bytes::copy_from_slice(data), right.into()]
}

/// Panics of a library that our code catches and turns into an error are no finding: only one that leaves the target is.
/// One that cannot be caught (the standard library found `unsafe` code to break its promise) ends the process, and says why.
pub fn catching() {
    std::panic::set_hook(Box::new(|info| {
        let said = info.to_string();
        let ours = info.location().is_some_and(|at| at.file().starts_with("src/") || at.file().starts_with("fuzz_targets/"));
        if ours || said.contains("unsafe precondition") {
            eprintln!("{said}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}
