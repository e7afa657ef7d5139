//! The machine's own file system.

use super::{Disk, DiskDir, DiskFile};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

/// Files of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(above) = dir.parent() {
            if !above.as_os_str().is_empty() {
                self.create_dir(above)?;
            }
            match fs::create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            self.sync_dir(above)?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for found in fs::read_dir(dir)? {
            if let Ok(name) = found?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(SystemFile::new(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SystemFile::new(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn DiskDir>> {
        Ok(Box::new(SystemDir(File::open(dir)?)))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct SystemDir(File);

impl DiskDir for SystemDir {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

struct SystemFile {
    file: File,
    /// The same file, open for reads and writes past the page cache; none if the file system has none.
    #[cfg(target_os = "linux")]
    direct: OnceLock<Option<File>>,
}

impl SystemFile {
    fn new(file: File) -> Self {
        Self {
            file,
            #[cfg(target_os = "linux")]
            direct: OnceLock::new(),
        }
    }

    /// Opened by the descriptor, so that it is this file whatever became of its name.
    #[cfg(target_os = "linux")]
    fn direct(&self) -> Option<&File> {
        let open = || {
            use std::os::fd::AsRawFd;
            use std::os::unix::fs::OpenOptionsExt;
            let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).ok()
        };
        self.direct.get_or_init(open).as_ref()
    }
}

impl DiskFile for SystemFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    #[cfg(target_os = "linux")]
    fn write_at(&self, chunks: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.file, chunks, position)?)
    }

    // macOS has pwritev only from version 11 on; the log's writer is the only one that writes, so that moving
    // the file's own position is safe.
    #[cfg(not(target_os = "linux"))]
    fn write_at(&self, chunks: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = &self.file;
        file.seek(SeekFrom::Start(position))?;
        file.write_vectored(chunks)
    }

    #[cfg(target_os = "linux")]
    fn read_direct(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let file = self.direct().ok_or(io::ErrorKind::Unsupported)?;
        file.read_at(buffer, position).map_err(refused_direct)
    }

    #[cfg(not(target_os = "linux"))]
    fn read_direct(&self, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(target_os = "linux")]
    fn write_direct(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let file = self.direct().ok_or(io::ErrorKind::Unsupported)?;
        file.write_at(bytes, position).map_err(refused_direct)
    }

    #[cfg(not(target_os = "linux"))]
    fn write_direct(&self, _bytes: &[u8], _position: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        // Also right on macOS, where the standard library asks the drive to flush.
        self.file.sync_data()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, from: u64, length: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), from, length)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, _from: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(target_os = "linux")]
    fn forget(&self, from: u64, length: u64) {
        if let Some(length) = std::num::NonZeroU64::new(length) {
            let _a_hint = rustix::fs::fadvise(&self.file, from, Some(length), rustix::fs::Advice::DontNeed);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn forget(&self, _from: u64, _length: u64) {}
}

/// So a file system, or a disk with larger sectors, says that it has no way past the page cache.
#[cfg(target_os = "linux")]
fn refused_direct(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::InvalidInput { io::ErrorKind::Unsupported.into() } else { error }
}
