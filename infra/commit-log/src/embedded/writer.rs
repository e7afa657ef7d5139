//! The one writer: one frame, one write, one sync an append; the next begins after it returned.

use super::direct::DirectWriter;
use super::end_frame;
use super::format::{FILE_HEADER, FileHeader, FrameHeader, Kind, crc32c, file_name};
use super::log_file::LogFile;
use super::page_cache::PageCache;
use super::shared::Shared;
use crate::disk::{is_full, write_all_at};
use crate::{AppendError, Entry};
use std::io::{self, IoSlice};
use std::sync::Arc;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{ChainHash, Seq};

/// What only the writer knows. Held under a lock for as long as an append runs.
pub(super) struct Writer {
    active: Option<Arc<LogFile>>,
    /// The newest file ends with an end frame, or there is none.
    ended: bool,
    /// The file system takes space ahead.
    preallocates: bool,
    page_cache: PageCache,
    direct: DirectWriter,
    state: State,
    /// An append was begun and did not come back: what it left is unknown.
    under_way: bool,
}

enum State {
    Open,
    Closed,
    Fatal(String),
}

/// Why a frame is not there.
enum Failure {
    /// Surely not written.
    Full(String),
    /// Surely not written.
    Unavailable(String),
    /// Unknown, for ever.
    Fatal(String),
}

impl From<Failure> for AppendError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full(reason) => Self::Full { reason },
            Failure::Unavailable(reason) => Self::Unavailable { reason },
            Failure::Fatal(reason) => Self::Fatal { reason },
        }
    }
}

impl Writer {
    pub(super) fn new(active: Option<Arc<LogFile>>, ended: bool) -> Self {
        Self {
            active,
            ended,
            preallocates: true,
            page_cache: PageCache::default(),
            direct: DirectWriter::default(),
            state: State::Open,
            under_way: false,
        }
    }

    fn check_open(&mut self) -> Result<(), AppendError> {
        if self.under_way {
            self.state = State::Fatal("an append did not come back".into());
        }
        match &self.state {
            State::Open => Ok(()),
            State::Closed => Err(AppendError::Unavailable { reason: "this log was closed".into() }),
            State::Fatal(reason) => Err(AppendError::Fatal { reason: reason.clone() }),
        }
    }

    /// Runs `work`, once more if the disk was full and the reserve could be let go for it.
    fn guarded(
        &mut self,
        shared: &Shared,
        may_use_reserve: bool,
        work: impl Fn(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), AppendError> {
        self.under_way = true;
        let mut answer = work(self);
        if may_use_reserve && matches!(answer, Err(Failure::Full(_))) && shared.room.release_reserve() {
            answer = work(self);
        }
        self.under_way = false;
        if let Err(Failure::Fatal(reason)) = &answer {
            tracing::error!(reason, "the commit log has failed; the process must end");
            self.state = State::Fatal(reason.clone());
        }
        Ok(answer?)
    }

    /// Appends `entry` at `at`, if that is the next seq. On `Ok` it is durable, and readers see it.
    pub(super) fn append(&mut self, shared: &Shared, at: Seq, entry: &Entry) -> Result<(), AppendError> {
        self.check_open()?;
        let next = shared.head().next();
        if at != next {
            return Err(match shared.row(at) {
                Ok(Some(winner)) => AppendError::Conflict { winner },
                Ok(None) => AppendError::Gap { at, next },
                // It is sure that nothing was written.
                Err(error) => AppendError::Unavailable { reason: format!("the entry at {at}: {error}") },
            });
        }
        // What only frees space may use the space that was kept for it.
        let may_use_reserve = entry.payload.length == 0;
        self.guarded(shared, may_use_reserve, |writer| writer.append_frame(shared, at, entry))?;
        shared.room.restore_reserve();
        Ok(())
    }

    /// Ends the newest file, so that the next start has nothing to check. Later appends fail.
    pub(super) fn close(&mut self, shared: &Shared) -> Result<(), AppendError> {
        if matches!(self.state, State::Closed) {
            return Ok(());
        }
        self.check_open()?;
        let answer = self.guarded(shared, true, |writer| writer.end_file(shared));
        if matches!(self.state, State::Open) {
            self.state = State::Closed;
        }
        answer
    }

    fn append_frame(&mut self, shared: &Shared, seq: Seq, entry: &Entry) -> Result<(), Failure> {
        let payload_length: u64 = entry.payload.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if payload_length != entry.payload.length {
            let claimed = entry.payload.length;
            let reason = format!("entry {seq} carries {payload_length} bytes and claims {claimed}");
            return Err(Failure::Unavailable(reason));
        }
        let header = FrameHeader {
            kind: Kind::Entry,
            seq,
            hash_before: entry.hash_before,
            entry_length: entry.bytes.len() as u32,
            entry_crc: crc32c(&entry.bytes),
            payload_length: entry.payload.length,
            payload_crc: entry.payload.crc32c,
        };
        let file = self.file_for(shared, seq, entry.hash_before, header.frame_length())?;
        let position = file.sound();
        self.take_ahead(shared, &file, position, header.frame_length());
        let header_bytes = header.encode(&file.header.nonce, position);
        let mut chunks = Vec::with_capacity(2 + entry.payload.chunks.len());
        chunks.push(IoSlice::new(&header_bytes));
        chunks.push(IoSlice::new(&entry.bytes));
        chunks.extend(entry.payload.chunks.iter().map(|chunk| IoSlice::new(chunk)));
        let direct =
            (header.frame_length() >= shared.options.direct_bytes).then(|| self.direct.write(&file, position, &chunks)).flatten();
        let written = direct.unwrap_or_else(|| write_all_at(&*file.file, &mut chunks, position));
        if written.is_err() || holds(Rule::Synced) {
            finish_frame(shared, &file, position, written)?;
        }
        self.ended = false;
        // Positions fit: a file is closed before it is 1 GiB large, and a frame is far smaller than the rest.
        file.publish(Some(position as u32), position + header.frame_length());
        shared.publish(entry.row(seq));
        self.page_cache.follow(&file, shared.options.page_cache_bytes);
        Ok(())
    }

    /// The file that a frame of this length goes to: the newest, or a new one.
    fn file_for(
        &mut self,
        shared: &Shared,
        first: Seq,
        hash_before: ChainHash,
        frame_length: u64,
    ) -> Result<Arc<LogFile>, Failure> {
        if let Some(file) = &self.active {
            // Without an entry it has the very name that a new one would have.
            let empty = file.next() == file.header.first;
            if empty || file.sound().saturating_add(frame_length) <= shared.options.file_bytes {
                return Ok(file.clone());
            }
            self.end_file(shared)?;
        }
        let header = FileHeader { first, hash_before, nonce: shared.random.id() };
        let file = create_file(shared, header)?;
        self.active = Some(file.clone());
        self.ended = false;
        Ok(file)
    }

    /// Takes disk space ahead of a frame, and zeroes it where frames are small: one that is written there changes nothing but its bytes
    /// then, and its sync is one write. For large ones the zeros would cost more than they save. A failure is nobody's concern: the
    /// write finds out.
    fn take_ahead(&mut self, shared: &Shared, file: &LogFile, position: u64, frame_length: u64) {
        let (needed, on_disk, options) = (position + frame_length, file.on_disk(), &shared.options);
        if needed <= on_disk || !self.preallocates || options.preallocate_bytes == 0 {
            return;
        }
        let from = on_disk.max(position);
        let most = options.file_bytes.max(needed);
        let to = needed.saturating_add(options.preallocate_bytes).min(most);
        match file.file.allocate(from, to - from) {
            Ok(()) => file.set_on_disk(to),
            Err(error) if is_full(&error) => return,
            Err(error) => {
                tracing::info!(%error, "the file system takes no space ahead; appends go without");
                self.preallocates = false;
                return;
            }
        }
        if frame_length < options.zeroed_below_bytes
            && let Err(error) = self.direct.write_zeros(file, from.max(needed), to)
        {
            tracing::debug!(%error, "space that was taken ahead could not be zeroed");
        }
    }

    /// Writes the end frame and cuts what was taken ahead, unless the file ends so already.
    fn end_file(&mut self, shared: &Shared) -> Result<(), Failure> {
        let Some(file) = self.active.clone().filter(|_| !self.ended) else {
            return Ok(());
        };
        let position = file.sound();
        let index = end_frame::encode(&file.positions(), position);
        let header = FrameHeader {
            kind: Kind::End,
            seq: file.next(),
            hash_before: ChainHash::default(),
            entry_length: index.len() as u32,
            entry_crc: crc32c(&index),
            payload_length: 0,
            payload_crc: 0,
        };
        let end = position + header.frame_length();
        // Always: a failed attempt to take space ahead may have made the file longer than we know.
        file.file.set_length(end).map_err(|error| fatal(&file, "it could not be cut", &error))?;
        file.set_on_disk(end);
        let header_bytes = header.encode(&file.header.nonce, position);
        let written = write_all_at(&*file.file, &mut [IoSlice::new(&header_bytes), IoSlice::new(&index)], position);
        finish_frame(shared, &file, position, written)?;
        file.publish(None, end);
        self.ended = true;
        self.direct.file_ended();
        shared.report_size();
        Ok(())
    }
}

/// One sync after the write. After a failed write the file is as before.
fn finish_frame(shared: &Shared, file: &LogFile, position: u64, written: io::Result<()>) -> Result<(), Failure> {
    if let Err(error) = written {
        cut_back(shared, file, position)
            .map_err(|cut| fatal(file, &format!("a write failed ({error}), and cutting it off too"), &cut))?;
        return Err(not_written(file, &error));
    }
    shared.sync(&*file.file).map_err(|error| fatal(file, "a sync failed", &error))
}

fn cut_back(shared: &Shared, file: &LogFile, position: u64) -> io::Result<()> {
    file.file.set_length(position)?;
    shared.sync(&*file.file)?;
    file.set_on_disk(position);
    Ok(())
}

fn fatal(file: &LogFile, what: &str, error: &io::Error) -> Failure {
    Failure::Fatal(format!("{}: {what}: {error}", file.path.display()))
}

fn not_written(file: &LogFile, error: &io::Error) -> Failure {
    let reason = format!("{}: {error}", file.path.display());
    if is_full(error) { Failure::Full(reason) } else { Failure::Unavailable(reason) }
}

/// A new file, its header and its name durable before the first frame is written.
fn create_file(shared: &Shared, header: FileHeader) -> Result<Arc<LogFile>, Failure> {
    let path = shared.dir.join(file_name(header.first));
    let failed = |error: &io::Error| {
        let reason = format!("{}: {error}", path.display());
        if is_full(error) { Failure::Full(reason) } else { Failure::Unavailable(reason) }
    };
    // Before there is a file: without a descriptor left for the folder it could neither be synced nor be relied on.
    let dir = shared.disk.open_dir(&shared.dir).map_err(|error| failed(&error))?;
    let file = shared.disk.create(&path).map_err(|error| failed(&error))?;
    if let Err(error) = write_all_at(&*file, &mut [IoSlice::new(&header.encode())], 0) {
        // If it stayed, entries might go on in the file before, and then it would stand in the way.
        return Err(match shared.disk.remove(&path) {
            Ok(()) => failed(&error),
            Err(stays) => Failure::Fatal(format!("{}: it could not be written ({error}) nor removed: {stays}", path.display())),
        });
    }
    let synced = shared.sync(&*file).and_then(|()| dir.sync());
    synced.map_err(|error| Failure::Fatal(format!("{}: a sync failed: {error}", path.display())))?;
    let log_file = Arc::new(LogFile::new(path, header, file, Vec::new(), FILE_HEADER));
    shared.add_file(log_file.clone());
    Ok(log_file)
}
