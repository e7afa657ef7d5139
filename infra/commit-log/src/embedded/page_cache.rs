//! Keeps the log's share of the system's page cache small: pages behind the newest ones are given back, and the next
//! writes take them again.
//!
//! Nobody reads them soon (what is read soon lies in the cache above), and a log that is only ever written forward
//! would otherwise take memory that was never used for every page: on a virtual machine each such page costs a fault
//! of the host, measured at five times the processor time of the whole append. It also leaves the page cache to Parquet.

use super::log_file::LogFile;
use std::sync::{Arc, Weak};

/// Given back at once, so that the hint itself costs nothing, and never so much that a commit waits for it.
const STEP: u64 = 4 << 20;

/// How far pages were given back, in the newest file and in the one before it. Neither is kept open by this: who closes a file that was
/// trimmed frees all its blocks, which takes many times as long as an append.
#[derive(Default)]
pub(super) struct PageCache {
    newest: Option<Followed>,
    before: Option<Followed>,
}

struct Followed {
    file: Weak<LogFile>,
    given_back: u64,
}

impl Followed {
    fn new(file: &Arc<LogFile>) -> Self {
        Self { file: Arc::downgrade(file), given_back: 0 }
    }

    /// Gives back all but the last `keep` bytes, once that is a step. With nothing to keep, at once. False if there is nothing left to do.
    fn keep_last(&mut self, keep: u64) -> bool {
        let Some(file) = self.file.upgrade() else { return false };
        let end = file.sound();
        if end.saturating_sub(self.given_back) >= keep.saturating_add(STEP.min(keep)) {
            file.file.forget(self.given_back, end - keep - self.given_back);
            self.given_back = end - keep;
        }
        keep > 0
    }
}

impl PageCache {
    /// Gives back what lies more than `keep` bytes behind the end of `file`, the newest, in it and in the one before it.
    pub(super) fn follow(&mut self, file: &Arc<LogFile>, keep: u64) {
        let is_known = self.newest.as_ref().is_some_and(|newest| std::ptr::eq(newest.file.as_ptr(), Arc::as_ptr(file)));
        if !is_known && let Some(mut older) = std::mem::replace(&mut self.before, self.newest.take()) {
            older.keep_last(0);
        }
        self.newest.get_or_insert_with(|| Followed::new(file)).keep_last(keep);
        let left = keep.saturating_sub(file.sound());
        if self.before.as_mut().is_some_and(|older| !older.keep_last(left)) {
            self.before = None;
        }
    }
}
