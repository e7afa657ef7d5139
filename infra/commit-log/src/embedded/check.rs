//! Whether the files still hold what was written, also what nobody reads any more: below the floor, the headers of files that are open,
//! the indexes in end frames. A disk that returns something else there is better known before it does so elsewhere.

use super::end_frame;
use super::format::{FILE_HEADER, FileHeader, FrameHeader, Kind};
use super::frame_reader::{Found, Frame, FrameReader};
use super::log_file::LogFile;
use crate::ReadError;
use crate::disk::read_exact_at;
use strandline_types::Seq;

/// No more than these are told of one file.
const PROBLEMS: usize = 100;

/// What is wrong with a file, in the order of its bytes. Payloads are looked at where their entries lie before `payloads_to`; those of others are left
/// to whoever reads them. A file that has a successor ends with an end frame.
pub(super) fn problems(file: &LogFile, has_successor: bool, payloads_to: Seq, direct_read_bytes: u64) -> Vec<ReadError> {
    // Before the positions: what is sound has its position already.
    let sound = file.sound();
    let mut checked = Checked { file, positions: file.positions(), next: 0, ended: false, problems: Vec::new() };
    checked.header();
    let mut reader = FrameReader::new(&*file.file, sound);
    let mut position = FILE_HEADER;
    while position < sound && checked.problems.len() < PROBLEMS {
        position = match reader.frame(position, &file.header.nonce, 0) {
            Ok(Found::Frame(frame)) => match checked.frame(position, &frame) {
                Err(problem) => checked.skip(position, problem),
                Ok(()) => {
                    if frame.header.seq < payloads_to {
                        checked.payload(&mut reader, position, &frame.header, direct_read_bytes);
                    }
                    Some(position + frame.header.frame_length())
                }
            },
            Ok(_) => checked.skip(position, file.corrupt(position, "the frame is not what was written")),
            Err(error) => checked.skip(position, file.failed(position, &error)),
        }
        .unwrap_or(sound);
    }
    if has_successor {
        checked.end(sound);
        // Nobody asks for these pages soon.
        file.file.forget(0, sound);
    }
    checked.problems
}

struct Checked<'a> {
    file: &'a LogFile,
    positions: Vec<u32>,
    /// Which entry's frame is next.
    next: usize,
    /// The last frame was an end frame, or not sound, which has been said.
    ended: bool,
    problems: Vec<ReadError>,
}

impl Checked<'_> {
    fn corrupt(&mut self, position: u64, reason: &str) {
        self.problems.push(self.file.corrupt(position, reason));
    }

    fn header(&mut self) {
        let mut bytes = [0; FILE_HEADER as usize];
        match read_exact_at(&*self.file.file, &mut bytes, 0) {
            Err(error) => self.problems.push(self.file.failed(0, &error)),
            Ok(()) if FileHeader::decode(&bytes).as_ref() != Ok(&self.file.header) => {
                self.corrupt(0, "the file header is not what was written");
            }
            Ok(()) => {}
        }
    }

    /// Whether a sound frame is the one that belongs there.
    fn frame(&mut self, position: u64, frame: &Frame) -> Result<(), ReadError> {
        let header = &frame.header;
        let seq = Seq(self.file.header.first.0 + self.next as u64);
        self.ended = header.kind == Kind::End;
        let is_known = match header.kind {
            // A log that was closed went on behind it, or it is the file's last.
            Kind::End => {
                let index = end_frame::decode(&frame.entry, self.next as u64);
                index.as_deref() == self.positions.get(..self.next)
            }
            Kind::Entry => self.positions.get(self.next).is_some_and(|known| u64::from(*known) == position),
        };
        if header.seq != seq || !is_known {
            return Err(self.file.corrupt(position, "another frame stands where the index says"));
        }
        self.next += usize::from(header.kind == Kind::Entry);
        Ok(())
    }

    /// A small one lies in what was read already, one of so many bytes is read past the page cache; what that says counts only if the usual way
    /// says it, too.
    fn payload(&mut self, reader: &mut FrameReader<'_>, position: u64, header: &FrameHeader, direct_read_bytes: u64) {
        let whole = 0..header.payload_length;
        let problem = if header.payload_length < direct_read_bytes {
            match reader.payload_is_sound(position, header) {
                Ok(true) => None,
                Ok(false) => Some(self.file.corrupt(position, "the payload is not what was written")),
                Err(error) => Some(self.file.failed(position, &error)),
            }
        } else {
            let direct = self.file.read_payload(header.seq, whole.clone(), true);
            direct.err().and_then(|_| self.file.read_payload(header.seq, whole, false).err())
        };
        self.problems.extend(problem);
    }

    /// Goes on with the first entry that begins behind a place where there is no sound frame.
    fn skip(&mut self, position: u64, problem: ReadError) -> Option<u64> {
        self.problems.push(problem);
        self.ended = true;
        self.next = self.positions.partition_point(|known| u64::from(*known) <= position);
        self.positions.get(self.next).map(|known| u64::from(*known))
    }

    /// The end of a file that is written no more.
    fn end(&mut self, sound: u64) {
        if !self.ended && self.problems.len() < PROBLEMS {
            self.corrupt(sound, "the end frame is missing");
        }
        match self.file.file.length() {
            Err(error) => self.problems.push(self.file.failed(sound, &error)),
            Ok(length) if length != sound => self.corrupt(sound, &format!("the file has {length} bytes and should end here")),
            Ok(_) => {}
        }
    }
}
