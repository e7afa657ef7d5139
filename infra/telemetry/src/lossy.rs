//! Where log lines go, from whoever writes them: also from the thread on which the commit log is written, which must wait for no one who reads logs.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

/// A reader that does not keep up is waited for so long, once in [`LINES_A_WAIT`] lines that it takes. What it does not take then is lost.
const PATIENCE: Duration = Duration::from_millis(100);
const LINES_A_WAIT: u32 = 1_000;
/// A pipe that can be written to at all takes so many bytes without waiting (`PIPE_BUF`).
const PIECE_BYTES: usize = 4096;

/// Another thread's line is written by then.
const TRIES: usize = 10_000;

/// A place for lines.
pub(crate) trait Place: Write + AsFd + Send {}

impl<T: Write + AsFd + Send> Place for T {}

/// Takes every line. One that cannot be written, on a full disk, to a pipe or terminal whose reader is gone or has stopped reading, is lost and counted,
/// and whoever wrote it goes on.
pub(crate) struct Lossy(Mutex<State>);

struct State {
    to: Box<dyn Place>,
    /// A write does not wait, but says that it would.
    never_waits: bool,
    /// Lines that were taken since somebody waited.
    taken: u32,
    lost: u64,
    /// The last line is there in part.
    is_cut: bool,
    tell_lost: fn(u64) -> String,
}

impl Lossy {
    /// `tell_lost` makes the line that says how many were lost.
    pub(crate) fn new(place: impl Place + 'static, tell_lost: fn(u64) -> String) -> Self {
        let reopened = reopened(&place);
        let never_waits = reopened.is_some();
        let to: Box<dyn Place> = reopened.map_or_else(|| Box::new(place) as Box<dyn Place>, |file| Box::new(file));
        Self(Mutex::new(State { to, never_waits, taken: LINES_A_WAIT, lost: 0, is_cut: false, tell_lost }))
    }

    /// One that is worth more than others is waited for so long.
    pub(crate) fn line(&self, line: &[u8], patience: Option<Duration>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).line(line, patience);
    }

    /// The same, by whoever may be writing a line already: then it is lost.
    pub(crate) fn line_from_anywhere(&self, line: &[u8]) {
        for _ in 0..TRIES {
            match self.0.try_lock() {
                Ok(mut state) => return state.line(line, None),
                Err(TryLockError::Poisoned(state)) => return state.into_inner().line(line, None),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
    }

    #[cfg(test)]
    fn lost(&self) -> u64 {
        self.0.lock().unwrap().lost
    }
}

impl Write for &Lossy {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line, None);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same pipe or terminal, so that no write waits, of whoever else writes to it either. None where that cannot be had: a file has its place to write in
/// its descriptor, a socket cannot be opened, and a pipe may be somebody else's.
fn reopened(place: &impl AsFd) -> Option<File> {
    let kind = FileType::from_raw_mode(fstat(place).ok()?.st_mode);
    if !matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).ok().map(File::from)
}

impl State {
    fn line(&mut self, line: &[u8], patience: Option<Duration>) {
        // What was lost is told first.
        let mut notice = if self.is_cut { "\n".to_owned() } else { String::new() };
        if self.lost > 0 {
            notice += &(self.tell_lost)(self.lost);
        }
        let mut written = self.pieces(notice.as_bytes(), patience);
        if written.is_ok() {
            (self.lost, self.is_cut) = (0, false);
            written = self.pieces(line, patience);
        }
        match written {
            Ok(()) => self.taken = self.taken.saturating_add(1),
            Err(written) => {
                self.lost += 1;
                self.is_cut |= written > 0;
                metrics::counter!("strandline_log_lines_lost_total").increment(1);
            }
        }
    }

    /// Writes all of it, or says how much is there.
    fn pieces(&mut self, bytes: &[u8], patience: Option<Duration>) -> Result<(), usize> {
        let mut written = 0;
        let mut refused = 0;
        while written < bytes.len() {
            let most = if self.never_waits { bytes.len() } else { bytes.len().min(written + PIECE_BYTES) };
            if !self.never_waits && !self.is_ready(patience) {
                return Err(written);
            }
            match self.to.write(&bytes[written..most]) {
                Ok(0) => return Err(written),
                Ok(now) => (written, refused) = (written + now, 0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It may have said that it is ready, and take nothing all the same; not for ever.
                Err(error) if error.kind() == ErrorKind::WouldBlock && refused < 2 && self.is_ready(patience) => refused += 1,
                Err(_) => return Err(written),
            }
        }
        Ok(())
    }

    /// Whether something can be written without waiting long.
    fn is_ready(&mut self, patience: Option<Duration>) -> bool {
        if self.is_ready_within(Duration::ZERO) {
            return true;
        }
        if patience.is_none() {
            if self.taken < LINES_A_WAIT {
                return false;
            }
            self.taken = 0;
        }
        self.is_ready_within(patience.unwrap_or(PATIENCE))
    }

    fn is_ready_within(&self, time: Duration) -> bool {
        let timeout =
            Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.to, PollFlags::OUT)];
        loop {
            match poll(&mut fds, Some(&timeout)) {
                Ok(ready) => return ready > 0,
                Err(Errno::INTR) => {}
                // Who cannot be asked is written to, as ever.
                Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "real pipes, and a reader that takes real time")]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    fn tell(lines: u64) -> String {
        format!("lost: {lines}\n")
    }

    fn write(lossy: &Lossy, line: &str) {
        let mut to = lossy;
        to.write_all(line.as_bytes()).unwrap();
        to.flush().unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_no_error() {
        let lossy = Lossy::new(File::options().write(true).open("/dev/full").unwrap(), tell);
        write(&lossy, "a line\n");
        assert_eq!(lossy.lost(), 1);
    }

    #[test]
    fn who_is_writing_already_loses_the_line_and_does_not_wait_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let lossy = Lossy::new(File::create(&path).unwrap(), tell);
        let writing = lossy.0.lock().unwrap();
        lossy.line_from_anywhere(b"lost\n");
        drop(writing);
        lossy.line_from_anywhere(b"written\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "written\n");
    }

    #[test]
    fn a_file_is_written_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"first\n").unwrap();
        write(&Lossy::new(file, tell), "second\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "first\nsecond\n");
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error_and_nothing_waits_for_it() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let lossy = Lossy::new(writer, tell);
        (0..100).for_each(|_| write(&lossy, "a line\n"));
        assert_eq!(lossy.lost(), 100);
    }

    /// Writes until a thousand lines are lost. Had each been waited for, that would take minutes.
    fn lose(lossy: &Lossy, line: impl Fn(usize) -> String) -> usize {
        let begun = Instant::now();
        let mut number = 0;
        while lossy.lost() < 1_000 {
            write(lossy, &line(number));
            number += 1;
            assert!(begun.elapsed() < Duration::from_secs(50), "{number} lines, {} of them lost", lossy.lost());
        }
        number
    }

    #[test]
    fn a_terminal_and_a_socket_that_nobody_reads_keep_nobody_waiting() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        for length in [100, 500, 5_000] {
            lose(&Lossy::new(File::from(terminal.try_clone().unwrap()), tell), |_| "x".repeat(length) + "\n");
            let (_unread, socket) = UnixStream::pair().unwrap();
            lose(&Lossy::new(socket, tell), |_| "x".repeat(length) + "\n");
        }
    }

    #[test]
    fn a_reader_that_begins_again_is_told_what_it_missed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let line = |number: usize| format!("{number:05} {}\n", "x".repeat(if number == 7 { 9_000 } else { 500 }));
        let lossy = Lossy::new(writer, tell);
        let sent = lose(&lossy, line);
        let read = std::thread::spawn(move || {
            let mut all = String::new();
            reader.read_to_string(&mut all).unwrap();
            all
        });
        // The reader takes what is there, and then lines come through again.
        let begun = Instant::now();
        while lossy.lost() > 0 {
            write(&lossy, "again\n");
            std::thread::sleep(Duration::from_millis(1));
            assert!(begun.elapsed() < Duration::from_secs(50));
        }
        drop(lossy);
        let all = read.join().unwrap();
        let whole = all.lines().zip(0..).take_while(|(read, number)| *read == line(*number).trim_end()).count();
        // A pipe without room for a line may have room to tell of it.
        let told: usize = all.lines().filter_map(|line| line.strip_prefix("lost: ")?.parse::<usize>().ok()).sum();
        assert!(whole > 7 && told >= sent - whole, "{told} of {sent}, {whole} of them whole");
        assert!(all.ends_with("\nagain\n"), "{:?}", &all[all.len() - 100..]);
    }
}
