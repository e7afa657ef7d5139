//! Keeps the log's share of the system's page cache small: pages behind the newest ones are given back, and the next
//! writes take them again.
//!
//! Nobody reads them soon (what is read soon lies in the cache above), and a log that is only ever written forward
//! would otherwise take memory that was never used for every page: on a virtual machine each such page costs a fault
//! of the host, measured at five times the processor time of the whole append. It also leaves the page cache to Parquet.

use super::log_file::LogFile;
use std::sync::Arc;

/// Given back at once, so that the hint itself costs nothing.
const STEP: u64 = 4 << 20;

/// How far pages were given back, in the newest file and in the one before it.
#[derive(Default)]
pub(super) struct PageCache {
    newest: Option<(Arc<LogFile>, u64)>,
    before: Option<(Arc<LogFile>, u64)>,
}

impl PageCache {
    /// Gives back what lies more than `keep` bytes behind the end of `file`, the newest.
    pub(super) fn follow(&mut self, file: &Arc<LogFile>, keep: u64) {
        let newest = match self.newest.take() {
            Some((known, given_back)) if Arc::ptr_eq(&known, file) => (known, given_back),
            other => {
                if let Some((older, given_back)) = std::mem::replace(&mut self.before, other) {
                    older.file.forget(given_back, older.sound() - given_back);
                }
                (file.clone(), 0)
            }
        };
        let (_, given_back) = *self.newest.insert(newest);
        let end = file.sound();
        if end.saturating_sub(given_back) >= keep.saturating_add(STEP.min(keep)) {
            file.file.forget(given_back, end - keep - given_back);
            self.newest = Some((file.clone(), end - keep));
        }
        if end >= keep
            && let Some((older, given_back)) = self.before.take()
        {
            older.file.forget(given_back, older.sound() - given_back);
        }
    }
}
