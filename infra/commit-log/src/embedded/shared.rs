//! What the writer, the readers and the floor share.

use super::floor_file;
use super::log_file::LogFile;
use super::options::Options;
use super::recent_rows::RecentRows;
use super::room::Room;
use crate::disk::{Disk, DiskFile, is_full};
use crate::{Floor, FloorError, ReadAgain, ReadError, Row, Tail, TrimError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use strandline_runtime::Random;
use strandline_types::Seq;

pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) random: Arc<dyn Random>,
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) room: Room,
    files: RwLock<BTreeMap<Seq, Arc<LogFile>>>,
    /// The last entry that readers may see: synced.
    head: AtomicU64,
    floor: Mutex<Floor>,
    /// Floors that were to be written since, and are perhaps: each try failed at some step.
    tried_floors: Mutex<Vec<Floor>>,
    recent_rows: RecentRows,
}

/// More are not remembered; the first is the one that the disk has most likely.
const TRIED_FLOORS: usize = 8;

fn lock<T>(floors: &Mutex<T>) -> MutexGuard<'_, T> {
    floors.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        dir: PathBuf,
        options: Options,
        room: Room,
        files: BTreeMap<Seq, Arc<LogFile>>,
        floor: Floor,
    ) -> Self {
        let head = files.values().next_back().map_or(0, |file| file.next().0 - 1);
        let files = RwLock::new(files);
        let recent_rows = RecentRows::new(options.recent_row_bytes);
        let (floor, tried_floors) = (Mutex::new(floor), Mutex::default());
        Self { disk, random, dir, options, room, files, head: head.into(), floor, tried_floors, recent_rows }
    }

    pub(super) fn head(&self) -> Seq {
        Seq(self.head.load(Ordering::Acquire))
    }

    /// Lets readers see this entry. It must be durable (I1).
    pub(super) fn publish(&self, row: Row) {
        debug_assert_eq!(row.seq, self.head().next());
        let seq = row.seq;
        self.recent_rows.keep(row);
        self.head.store(seq.0, Ordering::Release);
        self.report_size();
    }

    /// What is kept in memory besides the files goes.
    pub(super) fn let_go(&self) {
        self.recent_rows.let_go();
    }

    pub(super) fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        metrics::counter!("strandline_log_fsyncs_total").increment(1);
        file.sync_data()
    }

    pub(super) fn add_file(&self, file: Arc<LogFile>) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(file.header.first, file);
    }

    /// The number of files, and their bytes on the disk with what was taken ahead.
    pub(super) fn size(&self) -> (usize, u64) {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        (files.len(), files.values().map(|file| file.on_disk()).sum())
    }

    pub(super) fn report_size(&self) {
        metrics::gauge!("strandline_log_bytes").set(self.size().1 as f64);
    }

    /// All files, in order.
    pub(super) fn files(&self) -> Vec<Arc<LogFile>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether the floor's file says what the floor is. Callers hold the floor's own lock across it.
    pub(super) fn check_floor(&self) -> Result<(), ReadError> {
        match floor_file::load(&*self.disk, &self.dir) {
            Ok(stored) if stored == self.floor() || lock(&self.tried_floors).contains(&stored) => Ok(()),
            Err(error) if error.may_pass() => Err(ReadError::Unavailable { reason: error.to_string() }),
            _ => Err(ReadError::Corrupt {
                place: self.dir.join(floor_file::NAME).display().to_string(),
                reason: "the floor is not what was written".to_owned(),
            }),
        }
    }

    /// The file that holds `seq`, if it is still there.
    fn file_of(&self, seq: Seq) -> Option<Arc<LogFile>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.range(..=seq).next_back().map(|(_, file)| file.clone())
    }

    pub(super) fn floor(&self) -> Floor {
        lock(&self.floor).clone()
    }

    /// The row at `seq`, if it is there.
    pub(super) fn row(&self, seq: Seq) -> Result<Option<Row>, ReadError> {
        if seq > self.head() {
            return Ok(None);
        }
        let Some(file) = self.file_of(seq) else {
            return Ok(None);
        };
        let mut rows = Vec::new();
        file.read_rows(seq, seq, 0, usize::MAX, &mut 0, &mut rows)?;
        Ok(rows.pop())
    }

    /// The same as [`Self::read`], where it needs no file.
    pub(super) fn read_recent(&self, from: Seq, max_bytes: usize) -> Option<Tail> {
        let head = self.head();
        let mut rows = self.recent_rows.read(from, max_bytes)?;
        rows.retain(|row| row.seq <= head);
        let floor = self.floor();
        if from < floor.seq {
            return Some(Tail::Trimmed { floor });
        }
        (!rows.is_empty()).then_some(Tail::Rows { rows, head, store_time_ms: None })
    }

    /// Rows first, then the floor.
    pub(super) fn read(&self, from: Seq, max_bytes: usize) -> Result<Tail, ReadError> {
        let head = self.head();
        let rows = self.rows(from, head, max_bytes);
        let floor = self.floor();
        if from < floor.seq {
            return Ok(Tail::Trimmed { floor });
        }
        let rows = rows?;
        if rows.is_empty() && from <= head {
            return Err(ReadError::Corrupt {
                place: self.dir.display().to_string(),
                reason: format!("the file that holds entry {from} is gone"),
            });
        }
        Ok(Tail::Rows { rows, head, store_time_ms: None })
    }

    fn rows(&self, from: Seq, head: Seq, max_bytes: usize) -> Result<Vec<Row>, ReadError> {
        let (mut rows, mut used, mut seq) = (Vec::new(), 0, from);
        while seq <= head
            && let Some(file) = self.file_of(seq)
        {
            let skipped = self.options.skipped_payload_bytes;
            let more = file.read_rows(seq, head, skipped, max_bytes, &mut used, &mut rows)?;
            let reached = rows.last().map_or(seq, |row| row.seq.next());
            if !more || reached == seq {
                break;
            }
            seq = reached;
        }
        Ok(rows)
    }

    pub(super) fn read_payload(&self, at: Seq, range: Range<u64>, again: ReadAgain) -> Result<Bytes, ReadError> {
        let head = self.head();
        if at > head {
            let reason = format!("entry {at} lies beyond the log's last, {head}");
            return Err(ReadError::Unavailable { reason });
        }
        let file = self.file_of(at).ok_or(ReadError::Gone { seq: at })?;
        let direct = again == ReadAgain::No && range.end.saturating_sub(range.start) >= self.options.direct_read_bytes;
        file.read_payload(at, range, direct)
    }

    /// Moves the floor, on the disk first. Callers hold the floor's own lock across it.
    pub(super) fn raise_floor(&self, expected: &Floor, to: Floor) -> Result<(), FloorError> {
        let found = self.floor();
        if found != *expected {
            return Err(FloorError::Conflict { found });
        }
        if !expected.may_move_to(&to, self.head().next()) {
            return Err(FloorError::Refused { from: expected.seq, to: to.seq });
        }
        let mut tried = lock(&self.tried_floors);
        if !tried.contains(&to) {
            tried.truncate(TRIED_FLOORS - 1);
            tried.push(to.clone());
        }
        drop(tried);
        let mut stored = floor_file::store(&*self.disk, &self.dir, &to);
        if stored.as_ref().is_err_and(is_full) && self.room.release_reserve() {
            stored = floor_file::store(&*self.disk, &self.dir, &to);
        }
        stored.map_err(|error| FloorError::Unavailable { reason: error.to_string() })?;
        *lock(&self.floor) = to;
        lock(&self.tried_floors).clear();
        Ok(())
    }

    /// Removes whole files below `below`, oldest first, never the newest.
    pub(super) fn trim(&self, below: Seq) -> Result<(), TrimError> {
        let floor = self.floor().seq;
        if below > floor {
            return Err(TrimError::AboveFloor { below, floor });
        }
        let mut removed = false;
        while let Some(file) = self.first_below(below) {
            self.disk
                .remove(&file.path)
                .map_err(|error| TrimError::Unavailable { reason: format!("{}: {error}", file.path.display()) })?;
            // Readers that have it open go on with it.
            self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&file.header.first);
            removed = true;
        }
        if removed {
            self.report_size();
            self.disk
                .sync_dir(&self.dir)
                .map_err(|error| TrimError::Unavailable { reason: format!("{}: {error}", self.dir.display()) })?;
        }
        Ok(())
    }

    fn first_below(&self, below: Seq) -> Option<Arc<LogFile>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let mut in_order = files.values();
        let (first, second) = (in_order.next()?, in_order.next()?);
        (second.header.first <= below).then(|| first.clone())
    }
}
