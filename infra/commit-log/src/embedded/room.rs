//! Free disk, and the reserve that is let go when there is none.

use super::options::Options;
use crate::disk::Disk;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strandline_runtime::Clock;

/// The file system is asked this often at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A reserve that could not be made (a quota, say) is tried again so often at most: trying costs more than an append.
const RESERVE_INTERVAL: Duration = Duration::from_secs(60);
const RESERVE_NAME: &str = "reserve";

/// How much disk is left, asked rarely; and the reserve file.
pub(super) struct Room {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    min_free_bytes: u64,
    reserve_bytes: u64,
    reserve_held: AtomicBool,
    /// When the reserve could not be made.
    reserve_failed: Mutex<Option<Duration>>,
    looked: Mutex<Option<(Duration, u64)>>,
    /// Less than what must stay free was there at the last look.
    is_short: AtomicBool,
}

impl Room {
    pub(super) fn new(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, dir: &Path, options: &Options) -> Self {
        Self {
            disk,
            clock,
            dir: dir.into(),
            min_free_bytes: options.min_free_bytes,
            reserve_bytes: options.reserve_bytes,
            reserve_held: AtomicBool::new(false),
            reserve_failed: Mutex::new(None),
            looked: Mutex::new(None),
            is_short: AtomicBool::new(false),
        }
    }

    /// Bytes that may still be written, as of the last half second; none if the system does not say.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let now = self.clock.monotonic();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, free)) = *looked
            && now.saturating_sub(at) < LOOK_INTERVAL
        {
            return Some(free);
        }
        let free = self.disk.free_bytes(&self.dir).ok()?;
        *looked = Some((now, free));
        Some(free)
    }

    fn forget_look(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A system that does not say how much is free is taken at its writes' word.
    pub(super) fn has_room(&self) -> bool {
        let Some(free_bytes) = self.free_bytes() else { return true };
        let (is_short, min_free_bytes) = (free_bytes < self.min_free_bytes, self.min_free_bytes);
        // Said once a change: clients hear of it with every refusal.
        match (is_short, self.is_short.swap(is_short, Ordering::Relaxed)) {
            (true, false) => {
                tracing::warn!(free_bytes, min_free_bytes, dir = %self.dir.display(), "too little disk is free: records are refused until there is room");
            }
            (false, true) => tracing::info!(free_bytes, dir = %self.dir.display(), "there is room again: records are taken"),
            _ => {}
        }
        !is_short
    }

    pub(super) fn reserve_bytes(&self) -> u64 {
        if self.reserve_held.load(Ordering::Relaxed) { self.reserve_bytes } else { 0 }
    }

    /// Makes the reserve, or takes over the one that is there. Without room the log goes on without it.
    pub(super) fn hold_reserve(&self) {
        if self.reserve_bytes == 0 || self.reserve_held.load(Ordering::Relaxed) {
            return;
        }
        match self.make_reserve() {
            Ok(()) => self.reserve_held.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(%error, dir = %self.dir.display(), "no room for the log's reserve");
                let _ = self.disk.remove(&self.dir.join(RESERVE_NAME));
                *self.reserve_failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.monotonic());
            }
        }
        self.forget_look();
    }

    fn make_reserve(&self) -> io::Result<()> {
        let path = self.dir.join(RESERVE_NAME);
        let held = self.disk.open(&path).and_then(|file| file.length());
        if held.is_ok_and(|length| length == self.reserve_bytes) {
            return Ok(());
        }
        let file = self.disk.create(&path)?;
        match file.allocate(0, self.reserve_bytes) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            answer => return answer,
        }
        let zeros = vec![0; 1 << 20];
        let mut position = 0;
        while position < self.reserve_bytes {
            let length = (self.reserve_bytes - position).min(zeros.len() as u64) as usize;
            crate::disk::write_all_at(&*file, &mut [IoSlice::new(&zeros[..length])], position)?;
            position += length as u64;
        }
        file.sync_data()
    }

    /// Lets the reserve go; false if there is none.
    pub(super) fn release_reserve(&self) -> bool {
        if !self.reserve_held.swap(false, Ordering::Relaxed) {
            return false;
        }
        tracing::warn!(dir = %self.dir.display(), "the disk is full: letting the log's reserve go");
        self.forget_look();
        self.disk.remove(&self.dir.join(RESERVE_NAME)).is_ok()
    }

    /// Takes the reserve again once there is room for it above what must stay free.
    pub(super) fn restore_reserve(&self) {
        if self.reserve_bytes == 0 || self.reserve_held.load(Ordering::Relaxed) {
            return;
        }
        let failed = *self.reserve_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|at| self.clock.monotonic().saturating_sub(at) < RESERVE_INTERVAL) {
            return;
        }
        let needed = self.min_free_bytes.saturating_add(self.reserve_bytes.saturating_mul(2));
        if self.free_bytes().is_some_and(|free| free >= needed) {
            self.hold_reserve();
        }
    }
}
