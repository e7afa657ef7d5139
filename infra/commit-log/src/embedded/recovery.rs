//! What stands in the folder at start: which files, where the log ends, what is a torn write and what is damage.
//!
//! One write is under way at a time, and it begins only after the one before was synced. So what a crash leaves is
//! a sound log, then at most one frame of which any part may be missing, then zeros taken ahead. Anything else is
//! damage, and the log is not opened:
//! - a bad frame with a sound frame header behind it: the bad one had been synced when that was written (a header's
//!   CRC covers its position and the file's nonce, so that bytes of a producer cannot pass for one);
//! - a bad frame with anything but zeros behind the largest frame that could have been under way;
//! - a bad frame in a file that has a successor, for that was made only after the file was closed and synced.

use super::end_frame;
use super::format::{
    BadHeader, FILE_HEADER, FRAME_HEADER, FRAME_MAGIC, FileHeader, FrameHeader, Kind, VERSION, file_name, first_seq,
};
use super::frame_reader::{Found, Frame, FrameReader};
use super::log_file::LogFile;
use super::open_error::{At, OpenError};
use crate::Floor;
use crate::disk::{Disk, DiskFile, read_exact_at, write_all_at};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_types::Seq;
use strandline_types::limits::{ENTRY_BYTES, ENTRY_PAYLOAD_BYTES, LOG_READ_BUFFER_BYTES};

/// The largest frame that one write can have left behind.
const LARGEST_FRAME: u64 = (FRAME_HEADER + ENTRY_BYTES + ENTRY_PAYLOAD_BYTES) as u64;

/// What an opened log found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The log had been closed: nothing had to be read to open it.
    pub clean: bool,
    /// Bytes of a torn last write that were cut off (zeros taken ahead not counted).
    pub torn_bytes: u64,
    /// Bytes of files that were read through, payloads that were stepped over counted.
    pub scanned_bytes: u64,
}

/// The files of a log, sound and durable up to where they say.
pub(super) struct Recovered {
    pub(super) files: BTreeMap<Seq, Arc<LogFile>>,
    /// The newest file ends with an end frame.
    pub(super) ended: bool,
    pub(super) recovery: Recovery,
}

/// Where a file's sound part ends.
struct Scanned {
    positions: Vec<u32>,
    sound: u64,
    last_frame: u64,
    ended: bool,
    /// Where the first bad frame begins, if one does, and how long it is, if its header tells.
    bad: Option<(u64, Option<u64>)>,
}

struct Opened {
    header: FileHeader,
    file: Arc<dyn DiskFile>,
    length: u64,
}

/// Opens every file of the log in `dir`. Looks first and refuses what is damaged; only then cuts a torn last
/// write, removes what a cut-short creation or trim left, and makes the rest durable.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, floor: &Floor, skipped_payload_bytes: u64) -> Result<Recovered, OpenError> {
    let names = disk.list(dir).at(dir, "listing the folder")?;
    let mut firsts: Vec<Seq> = names.iter().filter_map(|name| first_seq(name)).collect();
    firsts.sort_unstable();
    let torn_creation = torn_creation(disk, dir, &mut firsts)?;

    let mut files = BTreeMap::new();
    let mut recovery = Recovery { clean: true, ..Recovery::default() };
    let mut newest = None;
    for (nth, first) in firsts.iter().enumerate() {
        let path = dir.join(file_name(*first));
        let opened = open(disk, &path, *first)?;
        let file = match firsts.get(nth + 1) {
            Some(successor) => closed_file(&path, opened, skipped_payload_bytes, *successor)?,
            None => {
                let (file, tail) = newest_file(&path, opened, skipped_payload_bytes, &mut recovery)?;
                newest = Some(tail);
                file
            }
        };
        files.insert(*first, Arc::new(file));
    }
    let trimmed = split_off_trimmed(&mut files, floor)?;
    check_coverage(dir, &files, floor)?;

    for path in torn_creation.iter().chain(trimmed.values().map(|file| &file.path)) {
        tracing::info!(path = %path.display(), "removing a log file that was being made or trimmed when the power went");
        disk.remove(path).at(path, "removing")?;
    }
    let ended = newest.as_ref().is_none_or(|tail| tail.ended);
    if let (Some(tail), Some(file)) = (newest, files.values().next_back()) {
        make_durable(file, &tail)?;
    }
    // A name that is there may still be one that a power cut takes back.
    disk.sync_dir(dir).at(dir, "syncing the folder")?;
    Ok(Recovered { files, ended, recovery })
}

fn open(disk: &dyn Disk, path: &Path, first: Seq) -> Result<Opened, OpenError> {
    let file = disk.open(path).at(path, "opening")?;
    let length = file.length().at(path, "reading the length")?;
    let mut bytes = [0; FILE_HEADER as usize];
    let damaged = |reason: &str| OpenError::damaged(path, 0, reason);
    if length < FILE_HEADER {
        return Err(damaged("the file ends inside its header"));
    }
    read_exact_at(&*file, &mut bytes, 0).at(path, "reading")?;
    match FileHeader::decode(&bytes) {
        Ok(header) if header.first == first => Ok(Opened { header, file, length }),
        Ok(header) => Err(damaged(&format!("the header says that the file begins with entry {}", header.first))),
        Err(BadHeader::Damaged) => Err(damaged("the file header is not what was written")),
        Err(BadHeader::Newer(version)) => Err(OpenError::Newer { path: path.into(), version, known: VERSION }),
    }
}

/// The newest file's header is written and synced before its first frame: a bad one with nothing behind it is
/// a file whose making was cut short. Takes it from the list and returns its path.
fn torn_creation(disk: &dyn Disk, dir: &Path, firsts: &mut Vec<Seq>) -> Result<Option<PathBuf>, OpenError> {
    let Some(newest) = firsts.last() else {
        return Ok(None);
    };
    let path = dir.join(file_name(*newest));
    let file = disk.open(&path).at(&path, "opening")?;
    let length = file.length().at(&path, "reading the length")?;
    if length >= FILE_HEADER {
        let mut bytes = [0; FILE_HEADER as usize];
        read_exact_at(&*file, &mut bytes, 0).at(&path, "reading")?;
        let sound = FileHeader::decode(&bytes) != Err(BadHeader::Damaged);
        if sound || last_nonzero(&*file, FILE_HEADER, length).at(&path, "reading")?.is_some() {
            return Ok(None);
        }
    }
    firsts.pop();
    Ok(Some(path))
}

/// A file with a successor: closed, so that its end frame holds its index.
fn closed_file(path: &Path, opened: Opened, skipped: u64, successor: Seq) -> Result<LogFile, OpenError> {
    let Some(scanned) = read_end(path, &opened)? else {
        // Says where, not only that.
        let scanned = scan(path, &opened, skipped)?;
        let (position, reason) = match scanned.bad {
            Some((position, _)) => (position, "the frame is not what was written, and a later file follows"),
            None => (scanned.sound, "the end frame is missing, and a later file follows"),
        };
        return Err(OpenError::damaged(path, position, reason));
    };
    let Opened { header, file, length } = opened;
    let file = LogFile::new(path.into(), header, file, scanned.positions, length);
    // A gap may be what is left of a trim; `split_off_trimmed` decides. An overlap can only be damage.
    if file.next() > successor {
        let reason = format!("it holds entries up to {}, and a file that begins with {successor} follows", file.next());
        return Err(OpenError::damaged(path, length, &reason));
    }
    Ok(file)
}

/// What the newest file's tail needs before the log may go on.
struct Tail {
    length: u64,
    last_frame: u64,
    ended: bool,
}

fn newest_file(path: &Path, opened: Opened, skipped: u64, recovery: &mut Recovery) -> Result<(LogFile, Tail), OpenError> {
    let scanned = match read_end(path, &opened)? {
        Some(scanned) => scanned,
        None => {
            let scanned = scan(path, &opened, skipped)?;
            recovery.clean = false;
            recovery.scanned_bytes = scanned.sound;
            scanned
        }
    };
    if let Some((position, length)) = scanned.bad {
        recovery.torn_bytes = check_torn(path, &opened, position, length)?;
    }
    let tail = Tail { length: opened.length, last_frame: scanned.last_frame, ended: scanned.ended };
    let Opened { header, file, .. } = opened;
    Ok((LogFile::new(path.into(), header, file, scanned.positions, scanned.sound), tail))
}

/// Cuts what is not sound. The last frame may be in the system's memory only, and after a sync that failed the
/// system can take it for written though it is not, and sync nothing: so it is written again, the same bytes, and
/// then synced.
fn make_durable(log_file: &LogFile, tail: &Tail) -> Result<(), OpenError> {
    let (path, file, end) = (&log_file.path, &*log_file.file, log_file.sound());
    if tail.length != end {
        tracing::info!(path = %path.display(), position = end, "cutting what follows the last sound frame");
        file.set_length(end).at(path, "cutting")?;
    }
    let mut position = tail.last_frame;
    let mut buffer = vec![0; (end - position).min(LOG_READ_BUFFER_BYTES as u64) as usize];
    while position < end {
        let length = (end - position).min(buffer.len() as u64) as usize;
        let bytes = &mut buffer[..length];
        read_exact_at(file, bytes, position).at(path, "reading")?;
        write_all_at(file, &mut [IoSlice::new(bytes)], position).at(path, "writing the last frame again")?;
        position += length as u64;
    }
    file.sync_data().at(path, "syncing")
}

/// The index in the end frame at the very end of a file that was closed; none if there is no sound one.
fn read_end(path: &Path, opened: &Opened) -> Result<Option<Scanned>, OpenError> {
    let mut trailer = [0; end_frame::TRAILER];
    let Some(at) = opened.length.checked_sub(end_frame::TRAILER as u64) else {
        return Ok(None);
    };
    read_exact_at(&*opened.file, &mut trailer, at).at(path, "reading")?;
    let Some(position) = end_frame::position(&trailer) else {
        return Ok(None);
    };
    if position < FILE_HEADER || position >= at {
        return Ok(None);
    }
    let mut reader = FrameReader::new(&*opened.file, opened.length);
    let found = reader.frame(position, &opened.header.nonce, 0).at(path, "reading")?;
    let Found::Frame(Frame { header, entry, .. }) = found else {
        return Ok(None);
    };
    if header.kind != Kind::End || position + header.frame_length() != opened.length {
        return Ok(None);
    }
    let count = header.seq.0.checked_sub(opened.header.first.0);
    let positions = count.and_then(|count| end_frame::decode(&entry, count));
    Ok(positions.map(|positions| Scanned { positions, sound: opened.length, last_frame: position, ended: true, bad: None }))
}

/// Reads the frames from the first on, up to the first that is not sound.
fn scan(path: &Path, opened: &Opened, skipped: u64) -> Result<Scanned, OpenError> {
    let Opened { header, file, length } = opened;
    let mut reader = FrameReader::new(&**file, *length);
    let mut scanned = Scanned { positions: Vec::new(), sound: FILE_HEADER, last_frame: 0, ended: false, bad: None };
    let mut unchecked = None;
    loop {
        let position = scanned.sound;
        let frame = match reader.frame(position, &header.nonce, skipped).at(path, "reading")? {
            Found::End => break,
            Found::Bad(frame_length) => {
                scanned.bad = Some((position, frame_length));
                break;
            }
            Found::Frame(frame) => frame,
        };
        check_place(path, opened, &scanned, &frame.header)?;
        scanned.last_frame = position;
        scanned.sound = position + frame.header.frame_length();
        scanned.ended = frame.header.kind == Kind::End;
        unchecked = None;
        if frame.header.kind == Kind::Entry {
            let narrow = u32::try_from(position)
                .map_err(|_| OpenError::damaged(path, position, "the file is larger than a log file can be"))?;
            scanned.positions.push(narrow);
            unchecked = (!frame.payload_checked).then_some((position, frame.header));
        }
    }
    if let Some((position, frame)) = unchecked
        && !reader.payload_is_sound(position, &frame).at(path, "reading")?
    {
        // A torn write, unless `check_torn` finds that something was written behind it. Frames before it were synced
        // before it was begun: nothing of them is written again.
        scanned = Scanned {
            sound: position,
            last_frame: position,
            ended: false,
            bad: Some((position, Some(frame.frame_length()))),
            ..scanned
        };
        scanned.positions.pop();
    }
    Ok(scanned)
}

/// A sound frame header with the wrong seq cannot come from a torn write.
fn check_place(path: &Path, opened: &Opened, scanned: &Scanned, frame: &FrameHeader) -> Result<(), OpenError> {
    let expected = Seq(opened.header.first.0 + scanned.positions.len() as u64);
    if frame.seq != expected {
        let reason = format!("the frame holds entry {} where {expected} belongs", frame.seq);
        return Err(OpenError::damaged(path, scanned.sound, &reason));
    }
    Ok(())
}

/// Refuses if the bad frame at `position` cannot be a torn write; else says how many bytes of it are there.
fn check_torn(path: &Path, opened: &Opened, position: u64, length: Option<u64>) -> Result<u64, OpenError> {
    let last = last_nonzero(&*opened.file, position, opened.length).at(path, "reading")?;
    let Some(last) = last else { return Ok(0) };
    let longest = length.unwrap_or(LARGEST_FRAME);
    if last >= position.saturating_add(longest) {
        let reason = format!("the frame is not what was written, and bytes follow it up to byte {last}");
        return Err(OpenError::damaged(path, position, &reason));
    }
    if let Some((at, seq)) = sound_header_after(opened, position).at(path, "reading")? {
        let reason = format!("the frame is not what was written, and entry {seq} follows it at byte {at}");
        return Err(OpenError::damaged(path, position, &reason));
    }
    Ok(last + 1 - position)
}

/// The first sound frame header behind `position`.
fn sound_header_after(opened: &Opened, position: u64) -> std::io::Result<Option<(u64, Seq)>> {
    let mut reader = FrameReader::new(&*opened.file, opened.length);
    let mut at = position + 1;
    while at + (FRAME_HEADER as u64) <= opened.length {
        // Windows overlap by one header less a byte, so that none is missed between two.
        let length = (opened.length - at).min(LOG_READ_BUFFER_BYTES as u64) as usize;
        let Some(window) = reader.bytes(at, length)? else {
            break;
        };
        let candidates = window.windows(FRAME_HEADER).enumerate();
        for (offset, bytes) in candidates.filter(|(_, bytes)| bytes[..4] == FRAME_MAGIC) {
            let place = at + offset as u64;
            if let Some(header) = FrameHeader::decode(bytes, &opened.header.nonce, place) {
                return Ok(Some((place, header.seq)));
            }
        }
        at += (length + 1 - FRAME_HEADER) as u64;
    }
    Ok(None)
}

/// Where the last byte that is not zero stands in `[from, to)`.
fn last_nonzero(file: &dyn DiskFile, from: u64, to: u64) -> std::io::Result<Option<u64>> {
    let mut buffer = vec![0; (to.saturating_sub(from)).min(LOG_READ_BUFFER_BYTES as u64) as usize];
    let mut end = to;
    while end > from {
        let start = end.saturating_sub(buffer.len() as u64).max(from);
        let window = &mut buffer[..(end - start) as usize];
        read_exact_at(file, window, start)?;
        if let Some(at) = window.iter().rposition(|byte| *byte != 0) {
            return Ok(Some(start + at as u64));
        }
        end = start;
    }
    Ok(None)
}

/// A power cut during a trim can take back some of its removals. What stands before a gap, all of it below the
/// floor, is what such a trim left; a gap above the floor is damage.
fn split_off_trimmed(files: &mut BTreeMap<Seq, Arc<LogFile>>, floor: &Floor) -> Result<BTreeMap<Seq, Arc<LogFile>>, OpenError> {
    let pairs: Vec<_> = files.values().zip(files.values().skip(1)).collect();
    let gap = pairs.into_iter().rev().find(|(file, after)| file.next() != after.header.first);
    let Some((before, after)) = gap else {
        return Ok(BTreeMap::new());
    };
    let first = after.header.first;
    if first > floor.seq {
        let reason = format!("entries {} to {} are missing: their file is gone", before.next(), first.0 - 1);
        return Err(OpenError::damaged(&before.path, before.sound(), &reason));
    }
    let kept = files.split_off(&first);
    Ok(std::mem::replace(files, kept))
}

/// Everything from the floor on must be there.
fn check_coverage(dir: &Path, files: &BTreeMap<Seq, Arc<LogFile>>, floor: &Floor) -> Result<(), OpenError> {
    let first = files.values().next().map_or(Seq(1), |file| file.header.first);
    let next = files.values().next_back().map_or(Seq(1), |file| file.next());
    if first > floor.seq || next < floor.seq {
        let reason =
            format!("the floor is at {} and the files hold entries {first} up to {next}, that one not included", floor.seq);
        return Err(OpenError::damaged(dir, 0, &reason));
    }
    Ok(())
}
