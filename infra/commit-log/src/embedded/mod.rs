//! The commit log of one process: files in a folder. The default.
//!
//! Limits, by design:
//! 1. One process (the binary holds the folder's lock); one append at a time, a group of commits each.
//! 2. An append is one frame: one vectored write and one sync. It is visible only after the sync (I1).
//! 3. After a failed write the file is cut back to where it was; after a failed sync, or a cut that failed, every
//!    append is `Fatal` and the process must end: what is on the disk is unknown until the next start reads it.
//! 4. A file is at most [`Options::file_bytes`] large, or one frame; trim removes whole files, never the newest.
//! 5. Memory: four bytes an entry, the newest rows, one buffer of 1 MiB for large writes, and one a read.
//! 6. Only the newest file can hold a torn write. It is read through at start, unless it was closed. Older files are
//!    opened by the index in their end frame; every frame is checked again whenever it is read.
//! 7. `read` and the start step over payloads of more than 64 KiB; `read_payload` compares the CRC of a payload when it is
//!    asked for the whole of it. For parts of one, the CRCs inside (of the batches) are the reader's to check.

mod begin;
mod check;
mod direct;
mod end_frame;
mod floor_file;
mod format;
mod frame_reader;
mod log_file;
mod open_error;
mod options;
mod page_cache;
mod recent_rows;
mod recovery;
mod room;
mod shared;
mod writer;

pub use begin::begin;
pub use open_error::OpenError;
pub use options::Options;
pub use recovery::Recovery;

use crate::disk::{Disk, SystemDisk};
use crate::{AppendError, CommitLog, Entry, Floor, FloorError, ReadAgain, ReadError, Tail, TrimError};
use async_trait::async_trait;
use bytes::Bytes;
use open_error::At;
use room::Room;
use shared::Shared;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use strandline_runtime::{BlockingError, Runtime};
use strandline_types::Seq;
use tokio::sync::Mutex;
use writer::Writer;

/// What the log takes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// Log files.
    pub files: usize,
    /// Their bytes, with what was taken ahead of writes.
    pub bytes: u64,
    /// The reserve.
    pub reserve_bytes: u64,
}

/// The commit log in a folder.
pub struct EmbeddedCommitLog {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    /// Held while the floor moves, so that moves are one after another.
    floor_moves: Arc<Mutex<()>>,
    recovery: Recovery,
    runtime: Runtime,
}

impl EmbeddedCommitLog {
    /// Opens the log in `dir`, making it if needed, on the machine's disk. The caller holds the folder's lock
    /// ([`crate::lock::DirLock`]).
    pub async fn open(dir: &Path, options: Options, runtime: Runtime) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(SystemDisk), dir, options, runtime).await
    }

    /// Opens the log in `dir` of `disk`.
    pub async fn open_on(disk: Arc<dyn Disk>, dir: &Path, options: Options, runtime: Runtime) -> Result<Self, OpenError> {
        if options.file_bytes == 0 || options.file_bytes > Options::LARGEST_FILE_BYTES {
            return Err(OpenError::Option {
                setting: "file_bytes",
                value: options.file_bytes,
                reason: "a log file has 1 byte to 1 GiB",
            });
        }
        let (path, opening) = (dir.to_path_buf(), runtime.clone());
        let work = move || open_blocking(disk, &path, options, opening);
        match runtime.spawner.blocking("opening the log", work).await {
            Ok(opened) => opened,
            Err(error) => Err(std::io::Error::other(error)).at(dir, "opening"),
        }
    }

    /// What opening found.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The last entry; 0 while there is none.
    pub fn head(&self) -> Seq {
        self.shared.head()
    }

    /// Bytes that may still be written to the disk, as of the last half second; none if the system does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        self.shared.room.free_bytes()
    }

    /// Whether [`Options::min_free_bytes`] are free. Without, Produce is to be refused while small entries go on.
    pub fn has_room(&self) -> bool {
        self.shared.room.has_room()
    }

    /// Lets the reserve go, for a snapshot or a delete on a full disk; false if there is none. An append takes it
    /// again once there is room.
    pub fn release_reserve(&self) -> bool {
        self.shared.room.release_reserve()
    }

    /// What the log takes on the disk.
    pub fn disk_use(&self) -> DiskUse {
        let (files, bytes) = self.shared.size();
        DiskUse { files, bytes, reserve_bytes: self.shared.room.reserve_bytes() }
    }

    /// Reads all files and says what in them is not as it was written: their headers, every frame's header and entry, end frames, the floor's file, and the
    /// payloads of entries below the floor. Those of later ones are for [`CommitLog::read_payloads`]. A frame that is damaged fails a
    /// read of it, too; of all else nobody but a start would know. What cannot be read is among the answers, as it is where it was.
    pub async fn check_files(&self) -> Vec<ReadError> {
        let moving = self.floor_moves.clone().lock_owned().await;
        let shared = self.shared.clone();
        let work = move || {
            let _moving = moving;
            shared.check_floor()
        };
        let checked = self.runtime.spawner.blocking("checking the log's floor", work).await;
        let mut problems: Vec<ReadError> = match checked {
            Ok(checked) => checked.err().into_iter().collect(),
            Err(error) => vec![ReadError::Unavailable { reason: error.to_string() }],
        };
        let (files, floor) = (self.shared.files(), self.shared.floor().seq);
        let (newest, direct_read_bytes) = (files.last().map(|file| file.header.first), self.shared.options.direct_read_bytes);
        for file in files {
            let has_successor = newest != Some(file.header.first);
            let work = move || check::problems(&file, has_successor, floor, direct_read_bytes);
            match self.runtime.spawner.blocking("checking a log file", work).await {
                Ok(found) => problems.extend(found),
                Err(error) => problems.push(ReadError::Unavailable { reason: error.to_string() }),
            }
        }
        problems
    }

    async fn reading<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Shared) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = self.shared.clone();
        let done = self.runtime.spawner.blocking(name, move || work(&shared)).await;
        done.unwrap_or_else(|error| Err(ReadError::Unavailable { reason: error.to_string() }))
    }
}

fn open_blocking(disk: Arc<dyn Disk>, dir: &Path, options: Options, runtime: Runtime) -> Result<EmbeddedCommitLog, OpenError> {
    disk.create_dir(dir).at(dir, "making the folder")?;
    let floor = floor_file::load(&*disk, dir)?;
    let recovered = recovery::recover(&*disk, dir, &floor, options.skipped_payload_bytes)?;
    let room = Room::new(disk.clone(), runtime.clock.clone(), dir, &options);
    room.hold_reserve();
    let active = recovered.files.values().next_back().cloned();
    let writer = Writer::new(active, recovered.ended);
    let shared = Shared::new(disk, runtime.random.clone(), dir.into(), options, room, recovered.files, floor);
    shared.report_size();
    Ok(EmbeddedCommitLog {
        shared: Arc::new(shared),
        writer: Arc::new(Mutex::new(writer)),
        floor_moves: Arc::default(),
        recovery: recovered.recovery,
        runtime,
    })
}

fn lost(error: &BlockingError) -> AppendError {
    AppendError::Ambiguous { reason: error.to_string() }
}

#[async_trait]
impl CommitLog for EmbeddedCommitLog {
    async fn append(&self, at: Seq, entry: Entry) -> Result<(), AppendError> {
        entry.check_size(true)?;
        let begun = self.runtime.clock.monotonic();
        // The lock goes with the work: a caller that stops waiting does not let the next append begin early.
        let mut writer = self.writer.clone().lock_owned().await;
        let shared = self.shared.clone();
        let work = move || writer.append(&shared, at, &entry);
        let answer = self.runtime.spawner.blocking("appending to the log", work).await;
        let took = self.runtime.clock.monotonic().saturating_sub(begun);
        metrics::histogram!("strandline_log_append_seconds").record(took.as_secs_f64());
        answer.unwrap_or_else(|error| Err(lost(&error)))
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Tail, ReadError> {
        if from > self.shared.head() {
            // Nothing to read: no thread is needed to say so.
            return self.shared.read(from, max_bytes);
        }
        if let Some(tail) = self.shared.read_recent(from, max_bytes) {
            return Ok(tail);
        }
        self.reading("reading the log", move |shared| shared.read(from, max_bytes)).await
    }

    async fn read_payload(&self, at: Seq, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.reading("reading a payload", move |shared| shared.read_payload(at, range, ReadAgain::Maybe)).await
    }

    async fn read_payloads(&self, reads: Vec<(Seq, Range<u64>)>, again: ReadAgain) -> Result<Vec<Bytes>, ReadError> {
        let read = move |shared: &Shared| reads.into_iter().map(|(at, range)| shared.read_payload(at, range, again)).collect();
        self.reading("reading payloads", read).await
    }

    async fn floor(&self) -> Result<Floor, ReadError> {
        Ok(self.shared.floor())
    }

    async fn raise_floor(&self, expected: Floor, to: Floor) -> Result<(), FloorError> {
        let moving = self.floor_moves.clone().lock_owned().await;
        let shared = self.shared.clone();
        let work = move || {
            let _moving = moving;
            shared.raise_floor(&expected, to)
        };
        let done = self.runtime.spawner.blocking("raising the floor", work).await;
        done.unwrap_or_else(|error| Err(FloorError::Unavailable { reason: error.to_string() }))
    }

    async fn trim(&self, below: Seq) -> Result<(), TrimError> {
        let moving = self.floor_moves.clone().lock_owned().await;
        let shared = self.shared.clone();
        let work = move || {
            let _moving = moving;
            shared.trim(below)
        };
        let done = self.runtime.spawner.blocking("trimming the log", work).await;
        done.unwrap_or_else(|error| Err(TrimError::Unavailable { reason: error.to_string() }))
    }

    fn takes_any_payload(&self) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        EmbeddedCommitLog::has_room(self)
    }

    fn release_reserve(&self) -> bool {
        EmbeddedCommitLog::release_reserve(self)
    }

    fn let_go(&self) {
        self.shared.let_go();
    }

    async fn close(&self) -> Result<(), AppendError> {
        let mut writer = self.writer.clone().lock_owned().await;
        let shared = self.shared.clone();
        let work = move || writer.close(&shared);
        self.runtime.spawner.blocking("closing the log", work).await.unwrap_or_else(|error| Err(lost(&error)))
    }
}
