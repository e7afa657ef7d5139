//! One file of the log, open, with the positions of its entries.

use super::format::{FILE_HEADER, FRAME_HEADER, FileHeader, Kind};
use super::frame_reader::{Found, FrameReader};
use crate::disk::{DiskFile, read_exact_at, read_exact_direct};
use crate::{ReadError, Row};
use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use strandline_types::Seq;

/// A file. Readers and the writer share it; readers see only what was published after its sync.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) header: FileHeader,
    pub(super) file: Arc<dyn DiskFile>,
    /// Of each entry's frame, from the first on: four bytes an entry.
    positions: RwLock<Vec<u32>>,
    /// Up to here frames are sound and durable.
    sound: AtomicU64,
    /// Length on the disk, with what was taken ahead.
    on_disk: AtomicU64,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, header: FileHeader, file: Arc<dyn DiskFile>, positions: Vec<u32>, sound: u64) -> Self {
        Self {
            path,
            header,
            file,
            positions: RwLock::new(positions),
            sound: AtomicU64::new(sound),
            on_disk: AtomicU64::new(sound),
        }
    }

    /// The seq after its last entry.
    pub(super) fn next(&self) -> Seq {
        let positions = self.positions.read().unwrap_or_else(PoisonError::into_inner);
        Seq(self.header.first.0 + positions.len() as u64)
    }

    pub(super) fn sound(&self) -> u64 {
        self.sound.load(Ordering::Acquire)
    }

    pub(super) fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Relaxed)
    }

    pub(super) fn set_on_disk(&self, length: u64) {
        self.on_disk.store(length, Ordering::Relaxed);
    }

    /// It is at least so long on the disk.
    pub(super) fn is_at_least(&self, length: u64) {
        self.on_disk.fetch_max(length, Ordering::Relaxed);
    }

    /// Lets readers see frames up to `end`; `position` is that of a new entry.
    pub(super) fn publish(&self, position: Option<u32>, end: u64) {
        let mut positions = self.positions.write().unwrap_or_else(PoisonError::into_inner);
        positions.extend(position);
        self.sound.store(end, Ordering::Release);
        self.on_disk.fetch_max(end, Ordering::Relaxed);
    }

    pub(super) fn positions(&self) -> Vec<u32> {
        self.positions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn position(&self, seq: Seq) -> Option<u64> {
        let nth = usize::try_from(seq.0.checked_sub(self.header.first.0)?).ok()?;
        let positions = self.positions.read().unwrap_or_else(PoisonError::into_inner);
        positions.get(nth).copied().map(u64::from)
    }

    pub(super) fn corrupt(&self, position: u64, reason: &str) -> ReadError {
        ReadError::Corrupt { place: format!("{} byte {position}", self.path.display()), reason: reason.to_owned() }
    }

    /// An error of the system; a file that ends too early is damage, not a passing failure.
    pub(super) fn failed(&self, position: u64, error: &io::Error) -> ReadError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.corrupt(position, "the file ends before the entry does");
        }
        ReadError::Unavailable { reason: format!("{} at byte {position}: {error}", self.path.display()) }
    }

    /// Appends to `rows` the entries from `from` to `last`, as far as this file holds them and `max_bytes` (over all
    /// rows, `used` of it so far; the first row is free) allows. Returns false once there is no more room.
    pub(super) fn read_rows(
        &self,
        from: Seq,
        last: Seq,
        skipped_payload_bytes: u64,
        max_bytes: usize,
        used: &mut usize,
        rows: &mut Vec<Row>,
    ) -> Result<bool, ReadError> {
        let mut reader = FrameReader::new(&*self.file, self.sound());
        let mut seq = from;
        while seq <= last
            && let Some(position) = self.position(seq)
        {
            let found = reader
                .frame(position, &self.header.nonce, skipped_payload_bytes)
                .map_err(|error| self.failed(position, &error))?;
            let Found::Frame(frame) = found else {
                return Err(self.corrupt(position, "the frame is not what was written"));
            };
            if frame.header.kind != Kind::Entry || frame.header.seq != seq {
                return Err(self.corrupt(position, "another frame stands where the index says"));
            }
            *used = used.saturating_add(frame.entry.len());
            if !rows.is_empty() && *used > max_bytes {
                return Ok(false);
            }
            rows.push(Row {
                seq,
                hash_before: frame.header.hash_before,
                bytes: frame.entry,
                payload_length: frame.header.payload_length,
            });
            seq = seq.next();
        }
        Ok(true)
    }

    /// The bytes at `range` of the payload of entry `seq`; its CRC is compared when the whole of it is asked for. `direct`: they are read
    /// past the system's page cache, where there is such a way.
    pub(super) fn read_payload(&self, seq: Seq, range: Range<u64>, direct: bool) -> Result<Bytes, ReadError> {
        let Some(position) = self.position(seq) else {
            return Err(self.corrupt(FILE_HEADER, "the index does not know the entry"));
        };
        let mut header = [0; FRAME_HEADER];
        read_exact_at(&*self.file, &mut header, position).map_err(|error| self.failed(position, &error))?;
        let header = super::format::FrameHeader::decode(&header, &self.header.nonce, position)
            .filter(|header| header.seq == seq && header.kind == Kind::Entry)
            .ok_or_else(|| self.corrupt(position, "the frame header is not what was written"))?;
        let end = position.saturating_add(header.frame_length());
        if range.start > range.end || range.end > header.payload_length || end > self.sound() {
            let reason = format!("bytes {}..{} of a payload of {} were asked for", range.start, range.end, header.payload_length);
            return Err(self.corrupt(position, &reason));
        }
        let length = (range.end - range.start) as usize;
        let at = position + FRAME_HEADER as u64 + u64::from(header.entry_length) + range.start;
        // Whatever fails past the cache is asked for in the usual way, whose answer counts.
        let payload: Bytes = match direct.then(|| read_exact_direct(&*self.file, length, at)) {
            Some(Ok(payload)) => payload,
            _ => {
                let mut payload = vec![0; length];
                read_exact_at(&*self.file, &mut payload, at).map_err(|error| self.failed(at, &error))?;
                payload.into()
            }
        };
        let whole = range.end - range.start == header.payload_length;
        if whole && super::format::crc32c(&payload) != header.payload_crc {
            return Err(self.corrupt(position, "the payload is not what was written"));
        }
        Ok(payload)
    }
}
