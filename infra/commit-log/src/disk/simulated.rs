//! A disk in memory whose failures are ordered, and whose power can be cut: then what was not synced is gone,
//! or there in part, sector by sector.

use super::{DIRECT_ALIGNMENT, Disk, DiskDir, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_runtime::Random;

const SECTOR: usize = 512;

/// How a life of the disk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process dies and the machine goes on: what was not synced is there, and is still not synced.
    Killed,
    /// The power goes: what was not synced is lost.
    PowerLost,
    /// The power goes: each sector that was not synced is there by chance, lengths and names too.
    PowerMixed,
}

/// A folder in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync of the folder, in order, each whole or not at all: names, and what
    /// they stand for then.
    unsynced_names: Vec<Vec<(PathBuf, Option<usize>)>>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Handles of an earlier life are dead.
    life: u64,
    capacity: Option<u64>,
    write_fails_after: Option<(u64, i32)>,
    sync_fails_in: Option<u64>,
    cut_fails: bool,
    reads_fail: bool,
    opens_left: Option<u64>,
    allocate_fails_late: bool,
    off_in: Option<u64>,
    longest_write: Option<usize>,
    takes_direct: bool,
    direct_reads: u64,
    synced: u64,
    forgotten: Vec<(PathBuf, Range<u64>)>,
}

#[derive(Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last sync.
    dirty: Option<Range<usize>>,
    /// Who has it open.
    handles: usize,
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())
}

impl Contents {
    fn touch(&mut self, range: Range<usize>) {
        self.dirty = Some(match self.dirty.take() {
            Some(dirty) => dirty.start.min(range.start)..dirty.end.max(range.end),
            None => range,
        });
    }

    fn set_length(&mut self, length: usize) {
        let before = self.now.len();
        self.now.resize(length, 0);
        self.touch(before.min(length)..before.max(length));
    }

    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        if let Some(dirty) = self.dirty.take() {
            let end = dirty.end.min(self.now.len());
            if dirty.start < end {
                self.durable[dirty.start..end].copy_from_slice(&self.now[dirty.start..end]);
            }
        }
    }

    fn lose_power(&mut self, mixed: Option<&dyn Random>) {
        if self.now != self.durable {
            match mixed {
                Some(random) => self.mix(random),
                None => self.now = self.durable.clone(),
            }
        }
        self.durable = self.now.clone();
        self.dirty = None;
    }

    fn mix(&mut self, random: &dyn Random) {
        let (shorter, longer) = (self.now.len().min(self.durable.len()), self.now.len().max(self.durable.len()));
        let length = match random.below(3) {
            0 => self.durable.len(),
            1 => self.now.len(),
            _ => shorter + random.below((longer - shorter) as u64 + 1) as usize,
        };
        // Of 8 sectors this many are kept, so that nearly all and nearly none happen too.
        let kept = random.below(9);
        let mut mixed = vec![0; length];
        for start in (0..length).step_by(SECTOR) {
            let end = (start + SECTOR).min(length);
            let from = if random.below(8) < kept { &self.now } else { &self.durable };
            if start < from.len() {
                let end = end.min(from.len());
                mixed[start..end].copy_from_slice(&from[start..end]);
            }
        }
        self.now = mixed;
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].now.len() as u64).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(1 << 40, |capacity| capacity.saturating_sub(self.used()))
    }

    /// Counts one operation; from the ordered one on, everything fails.
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.off_in {
            None => Ok(()),
            Some(0) => Err(broken()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Takes one of the descriptors that are left.
    fn open(&mut self) -> io::Result<()> {
        match &mut self.opens_left {
            None => Ok(()),
            Some(0) => Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn set_names(&mut self, change: Vec<(PathBuf, Option<usize>)>) {
        apply(&mut self.names, &change);
        self.unsynced_names.push(change);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &[(PathBuf, Option<usize>)]) {
    for (path, file) in change {
        match file {
            Some(file) => names.insert(path.clone(), *file),
            None => names.remove(path),
        };
    }
}

impl SimulatedDisk {
    /// An empty disk without bounds.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that fit on the disk.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// After this many more bytes a write fails with this error of the system (`EIO`, `ENOSPC`, …), once.
    pub fn fail_write_after(&self, bytes: u64, errno: i32) {
        self.state().write_fails_after = Some((bytes, errno));
    }

    /// The `nth` sync of a file from now on (1 is the next) fails, and the system then takes its bytes for written,
    /// as Linux does: a later sync succeeds without having written them.
    pub fn fail_sync(&self, nth: u64) {
        self.state().sync_fails_in = Some(nth);
    }

    /// Cutting a file fails while this is set.
    pub fn set_cut_fails(&self, fails: bool) {
        self.state().cut_fails = fails;
    }

    /// Reads fail while this is set.
    pub fn set_reads_fail(&self, fails: bool) {
        self.state().reads_fail = fails;
    }

    /// So many more files and folders can be opened, however many are closed.
    pub fn set_opens_left(&self, opens: Option<u64>) {
        self.state().opens_left = opens;
    }

    /// While set, taking space ahead makes the file longer and then fails, the disk being full.
    pub fn set_allocate_fails_late(&self, fails: bool) {
        self.state().allocate_fails_late = fails;
    }

    /// No call writes more than this at once.
    pub fn set_longest_write(&self, bytes: Option<usize>) {
        self.state().longest_write = bytes;
    }

    /// Whether files take reads and writes past the page cache; without, none does.
    pub fn set_takes_direct(&self, takes: bool) {
        self.state().takes_direct = takes;
    }

    /// How many reads went past the page cache.
    pub fn direct_reads(&self) -> u64 {
        self.state().direct_reads
    }

    /// After this many more operations that change the disk, all of them fail until [`SimulatedDisk::restart`].
    pub fn turn_off_after(&self, operations: u64) {
        self.state().off_in = Some(operations);
    }

    /// Ends the life of all open files and takes back all ordered faults (not the capacity); what was not synced
    /// fares as `crash` says.
    pub fn restart(&self, crash: Crash, random: &dyn Random) {
        let mut state = self.state();
        let state = &mut *state;
        state.life += 1;
        state.write_fails_after = None;
        state.sync_fails_in = None;
        state.cut_fails = false;
        state.reads_fail = false;
        state.opens_left = None;
        state.off_in = None;
        let (mixed, kept) = match crash {
            Crash::Killed => return,
            Crash::PowerLost => (None, 0),
            // Names are journalled: a prefix survives.
            Crash::PowerMixed => (Some(random), random.below(state.unsynced_names.len() as u64 + 1) as usize),
        };
        for change in state.unsynced_names.drain(..).take(kept) {
            apply(&mut state.durable_names, &change);
        }
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            file.lose_power(mixed);
        }
    }

    /// What is in a file, if it is there.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|file| state.files[*file].now.clone())
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let file = state.files.len();
        state.files.push(Contents { durable: bytes.clone(), now: bytes, ..Contents::default() });
        state.names.insert(path.into(), file);
        state.durable_names.insert(path.into(), file);
    }

    /// All files' paths, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// Which ranges were given back, in order.
    pub fn forgotten(&self) -> Vec<(PathBuf, Range<u64>)> {
        self.state().forgotten.clone()
    }

    /// How many files have lost their name and are held open all the same.
    pub fn held_without_a_name(&self) -> usize {
        let state = self.state();
        let named: BTreeSet<usize> = state.names.values().copied().collect();
        state.files.iter().enumerate().filter(|(file, contents)| contents.handles > 0 && !named.contains(file)).count()
    }

    fn handle(&self, state: &mut State, file: usize) -> Arc<dyn DiskFile> {
        state.files[file].handles += 1;
        Arc::new(SimulatedFile { disk: self.clone(), life: state.life, file })
    }

    /// How often a file was synced.
    pub fn synced(&self) -> u64 {
        self.state().synced
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.state().operate()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.open()?;
        state.operate()?;
        let file = state.files.len();
        state.files.push(Contents::default());
        state.set_names(vec![(path.into(), Some(file))]);
        Ok(self.handle(&mut state, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.open()?;
        let file = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&mut state, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let file = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.set_names(vec![(from.into(), None), (to.into(), Some(file))]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.set_names(vec![(path.into(), None)]);
        Ok(())
    }

    fn open_dir(&self, _dir: &Path) -> io::Result<Box<dyn DiskDir>> {
        self.state().open()?;
        Ok(Box::new(SimulatedDir(self.clone())))
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.state().free())
    }
}

struct SimulatedDir(SimulatedDisk);

impl DiskDir for SimulatedDir {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.operate()?;
        state.unsynced_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    life: u64,
    file: usize,
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        self.disk.state().files[self.file].handles -= 1;
    }
}

impl SimulatedFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life == self.life { Ok(state) } else { Err(broken()) }
    }

    /// What a real disk asks of what goes past its cache.
    fn check_direct(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if !self.state()?.takes_direct {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let aligned = |value: usize| value.is_multiple_of(DIRECT_ALIGNMENT);
        if !aligned(position as usize) || !aligned(bytes.len()) || bytes.as_ptr().align_offset(DIRECT_ALIGNMENT) != 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.state()?.files[self.file].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.state()?;
        if state.reads_fail {
            return Err(broken());
        }
        let bytes = &state.files[self.file].now;
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
        let length = buffer.len().min(bytes.len() - start);
        buffer[..length].copy_from_slice(&bytes[start..start + length]);
        Ok(length)
    }

    fn write_at(&self, chunks: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        state.operate()?;
        let asked: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let start = position as usize;
        let mut length = asked.min(state.longest_write.unwrap_or(usize::MAX));
        if let Some((left, errno)) = &mut state.write_fails_after {
            if *left == 0 {
                let error = io::Error::from_raw_os_error(*errno);
                state.write_fails_after = None;
                return Err(error);
            }
            length = length.min(*left as usize);
            *left -= length as u64;
        }
        let inside = state.files[self.file].now.len().saturating_sub(start) as u64;
        let room = inside + state.free();
        length = length.min(usize::try_from(room).unwrap_or(usize::MAX));
        if length == 0 && asked > 0 {
            return Err(full());
        }
        let contents = &mut state.files[self.file];
        if contents.now.len() < start + length {
            contents.set_length(start + length);
        }
        let mut rest = &mut contents.now[start..start + length];
        for chunk in chunks {
            let part = chunk.len().min(rest.len());
            rest[..part].copy_from_slice(&chunk[..part]);
            rest = &mut rest[part..];
        }
        contents.touch(start..start + length);
        Ok(length)
    }

    fn read_direct(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.check_direct(buffer, position)?;
        let read = self.read_at(buffer, position)?;
        self.state()?.direct_reads += 1;
        Ok(read)
    }

    fn write_direct(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.check_direct(bytes, position)?;
        self.write_at(&[IoSlice::new(bytes)], position)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        state.operate()?;
        state.synced += 1;
        match &mut state.sync_fails_in {
            Some(1) => {
                state.sync_fails_in = None;
                state.files[self.file].dirty = None;
                return Err(broken());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        state.files[self.file].sync();
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.operate()?;
        if state.cut_fails {
            return Err(broken());
        }
        state.files[self.file].set_length(length as usize);
        Ok(())
    }

    fn allocate(&self, from: u64, length: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.operate()?;
        let end = from + length;
        let grows = end.saturating_sub(state.files[self.file].now.len() as u64);
        if grows > state.free() {
            return Err(full());
        }
        if grows > 0 {
            state.files[self.file].set_length(end as usize);
        }
        if state.allocate_fails_late { Err(full()) } else { Ok(()) }
    }

    fn forget(&self, from: u64, length: u64) {
        if let Ok(mut state) = self.state() {
            let file = self.file;
            let path = state.names.iter().find(|(_, known)| **known == file).map(|(path, _)| path.clone());
            state.forgotten.extend(path.map(|path| (path, from..from + length)));
        }
    }
}
