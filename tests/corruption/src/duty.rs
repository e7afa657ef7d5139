//! Who has to speak of a damage, and of which bytes nobody has to.
//!
//! `bronze verify` has to find every damage that a start survives, in the result that is about the damaged file (where the log is lost, the rebuild has to, of copies
//! and snapshots; of a manifest root and day speak for each other). The bytes about which all may be
//! silent are these, each with the reason; docs/corruption.md has the reasons in the same words.

use crate::examine::State;
use crate::folder::{Change, Damage, Files};
use crate::sample::Sample;
use std::ops::Range;
use strandline::http::VerifyResult;
use strandline::node::FOLDER_FORMAT;
use strandline_compactor::LogCopyName;

const END_FRAME: &str = "the end frame: without a sound one a start reads the file through, as after a kill";
const BEHIND_THE_COPIES: &str = "the end of the log, of which there is no copy: it looks as after a kill, and has no record";
const GARBAGE: &str = "on the garbage list: nothing refers to it, and it is deleted after its grace";
const DERIVED: &str = "the segment index: bytes of the library's that hold no row, or a file that is made anew from the footers";
const AGE: &str = "a manifest's `applied_seq` alone: it says which of two manifests is newer, and the next one is newer still";
const WRITTEN_ANEW: &str = "a manifest before a rebuild: that deletes them all, and the next start writes them anew";
const FORMAT: &str = "`format` where it still reads as a number that is known";
const LOCK: &str = "`lock`: the number of a process, for people";
const TEMPORARY: &str = "`tmp/`: a start empties it";

/// How the result of `bronze verify` is called that is about the commit log.
const LOG: &str = "commit-log";

/// Who has to speak of a damage, unless it keeps the node from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// `bronze verify`, in a result with one of these paths.
    Verify(Vec<String>),
    /// The rebuild, in a line that names this object: no node looks at it afterwards.
    Rebuild(String),
    /// The start: no node may come up on it.
    Start,
    /// Nobody, and why.
    Nobody(&'static str),
}

impl Duty {
    /// Who has to speak of a damage that is no torn write ([`is_torn`]).
    pub fn of(sample: &Sample, state: State, damage: &Damage) -> Self {
        let files = sample.files(state);
        let Some(path) = damage.file.strip_prefix("store/") else { return of_local(files, state, damage) };
        match (path.split('/').next().unwrap_or_default(), state) {
            ("manifest", State::LogLost) => Self::Nobody(WRITTEN_ANEW),
            ("manifest", _) => of_manifest(files, damage, path),
            ("log" | "index", State::LogLost) => Self::Rebuild(path.to_owned()),
            _ if sample.garbage.contains(path) => Self::Nobody(GARBAGE),
            _ => Self::Verify(vec![path.to_owned()]),
        }
    }

    /// Whether it is done: `None` if those speak who have to, else why nobody has to.
    ///
    /// # Errors
    /// They are silent. `results` are those of `bronze verify`, `said` the lines of the rebuild.
    pub fn silence(&self, results: &[VerifyResult], said: &[String]) -> Result<Option<&'static str>, String> {
        match self {
            Self::Nobody(reason) => Ok(Some(*reason)),
            Self::Start => Err("the node starts on it".to_owned()),
            Self::Rebuild(name) => {
                let is_told = said.iter().any(|line| tells_of_damage(line) && line.contains(name.as_str()));
                if is_told { Ok(None) } else { Err(format!("the rebuild says nothing of {name}")) }
            }
            Self::Verify(paths) => {
                let complains = results.iter().any(|result| !result.problems.is_empty() && paths.contains(&result.path));
                if complains || paths.iter().any(|path| is_moved(said, path)) {
                    return Ok(None);
                }
                Err(format!("verify says nothing of {}", paths.join(", ")))
            }
        }
    }
}

/// Whether it is damage to the last frame of a killed log, which passes for a torn write.
pub fn is_torn(sample: &Sample, state: State, damage: &Damage) -> bool {
    state == State::Killed
        && damage.file.ends_with(".log")
        && match damage.what {
            Change::Flip { at, .. } => at as u64 >= sample.last_frame,
            // No copy tells yet that there was more.
            Change::Cut { length } => length as u64 >= sample.copied,
        }
}

/// A line of a rebuild's report that an undamaged folder's has not.
pub fn tells_of_damage(line: &str) -> bool {
    let begins = ["damaged: ", "moved ", "not known: ", "passed over: "].iter().any(|begin| line.starts_with(begin));
    begins || line.contains("nothing after it is known") || line.contains("are not known")
}

/// A manifest without its `applied_seq`; nothing if it is none.
pub fn without_age(manifest: &[u8]) -> serde_json::Value {
    let mut json: serde_json::Value = serde_json::from_slice(manifest).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        fields.remove("applied_seq");
    }
    json
}

/// Whether the rebuild says that it has moved this file to `lost/`: another one is in its place then, or none.
fn is_moved(said: &[String], path: &str) -> bool {
    said.iter().any(|line| line.starts_with(&format!("moved {path} to lost/")))
}

/// Of what does not lie in the bucket.
fn of_local(files: &Files, state: State, damage: &Damage) -> Duty {
    match damage.file.as_str() {
        "format" if is_known_format(&files.damaged_bytes(damage)) => Duty::Nobody(FORMAT),
        "lock" => Duty::Nobody(LOCK),
        "segment-index.redb" => Duty::Nobody(DERIVED),
        file if file.starts_with("tmp/") => Duty::Nobody(TEMPORARY),
        file if file.ends_with(".log") => of_log(files, state, damage),
        // The folder's format, the floor.
        _ => Duty::Start,
    }
}

fn is_known_format(bytes: &[u8]) -> bool {
    let format = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse::<u32>().ok());
    format.is_some_and(|format| (1..=FOLDER_FORMAT).contains(&format))
}

fn of_log(files: &Files, state: State, damage: &Damage) -> Duty {
    let log = files.files.get(&damage.file).map(Vec::as_slice).unwrap_or_default();
    let frames = frames(log);
    let excuse = match (state, damage.what) {
        // Nothing says where it ends, so a start reads all of it.
        (State::Killed | State::LogLost, _) => None,
        (State::Stopped, Change::Flip { at, .. }) => {
            frames.iter().any(|frame| frame.is_end && frame.bytes.contains(&at)).then_some(END_FRAME)
        }
        (State::Stopped, Change::Cut { length }) => {
            let copied = copied(files);
            let mut with_copy = frames.iter().filter(|frame| !frame.is_end && frame.seq <= copied);
            with_copy.all(|frame| frame.bytes.end <= length).then_some(BEHIND_THE_COPIES)
        }
    };
    excuse.map_or_else(|| Duty::Verify(vec![LOG.to_owned()]), Duty::Nobody)
}

/// The last entry of which there is a copy.
fn copied(files: &Files) -> u64 {
    let names = files.files.keys().filter_map(|file| file.strip_prefix("store/")?.parse::<LogCopyName>().ok());
    names.map(|name| name.to.0).max().unwrap_or(0)
}

const FILE_HEADER: usize = 64;
const FRAME_HEADER: usize = 56;
const FRAME_MAGIC: &[u8] = b"sLfR";
const END: u8 = 2;

/// A frame of a log file (docs/formats.md).
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    bytes: Range<usize>,
    seq: u64,
    /// It is the end frame, and nothing follows it.
    is_end: bool,
}

/// The frames of a sound log file.
fn frames(log: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut at = FILE_HEADER;
    while let Some(header) = log.get(at..at + FRAME_HEADER).filter(|header| header.starts_with(FRAME_MAGIC)) {
        let number = |range: Range<usize>| little_endian(&header[range]);
        let end = at + FRAME_HEADER + (number(32..36) + number(40..48)) as usize;
        frames.push(Frame { bytes: at..end, seq: number(8..16), is_end: header[4] == END && end == log.len() });
        at = end;
    }
    frames
}

/// A number as logs have it.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
}

fn of_manifest(files: &Files, damage: &Damage, path: &str) -> Duty {
    let sound = files.files.get(&damage.file).map(Vec::as_slice).unwrap_or_default();
    let damaged = files.damaged_bytes(damage);
    if without_age(&damaged) == without_age(sound) {
        return Duty::Nobody(AGE);
    }
    let mut paths = vec![path.to_owned()];
    let (folder, _) = path.rsplit_once('/').unwrap_or_default();
    if folder.split('/').count() == 3 {
        // Of a day: what it lists differs from the index, which is complained of under the root's path.
        paths.push(format!("{folder}.json"));
    } else {
        // A root: what it says of a day is complained of under that day's path, as the root has it.
        paths.extend(days_of(&damaged));
    }
    Duty::Verify(paths)
}

/// The paths of the days that a root names.
fn days_of(root: &[u8]) -> Vec<String> {
    let root: serde_json::Value = serde_json::from_slice(root).unwrap_or_default();
    let days = root["days"].as_array().into_iter().flatten();
    days.filter_map(|day| Some(day["path"].as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG_FILE: &str = "commit-log/00000000000000000001.log";

    #[test]
    fn the_page_has_every_reason() {
        let page = include_str!("../../../docs/corruption.md");
        let reasons = [END_FRAME, BEHIND_THE_COPIES, GARBAGE, DERIVED, AGE, WRITTEN_ANEW, FORMAT, LOCK, TEMPORARY];
        for reason in reasons {
            assert!(page.contains(reason), "docs/corruption.md does not say: {reason}");
        }
    }

    fn result(path: &str, problem: Option<&str>) -> VerifyResult {
        VerifyResult { path: path.to_owned(), rows: 0, problems: problem.map(str::to_owned).into_iter().collect() }
    }

    #[test]
    fn a_silent_verify_is_an_error_and_another_files_complaint_does_not_count() {
        let duty = Duty::Verify(vec!["bronze/a".to_owned()]);
        for silent in [vec![], vec![result("bronze/a", None)], vec![result("bronze/a", None), result("bronze/b", Some("bad"))]] {
            assert!(duty.silence(&silent, &[]).is_err(), "{silent:?}");
        }
        assert_eq!(duty.silence(&[result("bronze/a", Some("bad"))], &[]), Ok(None));
        let moved = ["moved bronze/a to lost/00000000/bronze/a: bad".to_owned()];
        assert_eq!(duty.silence(&[], &moved), Ok(None));
        assert!(Duty::Start.silence(&[result("format", Some("bad"))], &[]).is_err());
        let duty = Duty::Rebuild("log/1-1-2".to_owned());
        assert!(duty.silence(&[], &moved).is_err());
        assert_eq!(duty.silence(&[], &["log/1-1-2: bad; nothing after it is known".to_owned()]), Ok(None));
    }

    fn frame(kind: u8, seq: u64, entry_bytes: u32, payload_bytes: u64) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_HEADER + entry_bytes as usize + payload_bytes as usize];
        bytes[..4].copy_from_slice(FRAME_MAGIC);
        bytes[4] = kind;
        bytes[8..16].copy_from_slice(&seq.to_le_bytes());
        bytes[32..36].copy_from_slice(&entry_bytes.to_le_bytes());
        bytes[40..48].copy_from_slice(&payload_bytes.to_le_bytes());
        bytes
    }

    /// Entries 1 to 4, of which three have a copy.
    fn closed_log() -> Files {
        let mut log = vec![0; FILE_HEADER];
        for frame in [frame(1, 1, 10, 5), frame(1, 2, 10, 0), frame(1, 3, 0, 7), frame(1, 4, 1, 0), frame(END, 5, 20, 0)] {
            log.extend_from_slice(&frame);
        }
        let copy = "store/log/0000000001-00000000000000000001-00000000000000000003".to_owned();
        let mut files = Files::default();
        files.files.extend([(LOG_FILE.to_owned(), log), (copy, Vec::new())]);
        files
    }

    #[test]
    fn of_a_closed_log_its_end_may_be_passed_over() {
        let files = closed_log();
        let duty = |state, what| of_log(&files, state, &Damage { file: LOG_FILE.to_owned(), what });
        let verify = Duty::Verify(vec![LOG.to_owned()]);
        let expected = [(0..321, verify.clone()), (321..397, Duty::Nobody(END_FRAME))];
        assert_eq!(files.files[LOG_FILE].len(), 397);
        for (bytes, of_range) in expected {
            for at in bytes {
                assert_eq!(duty(State::Stopped, Change::Flip { at, mask: 1 }), of_range, "byte {at}");
                assert_eq!(duty(State::Killed, Change::Flip { at, mask: 1 }), verify, "byte {at}");
            }
        }
        for length in 0..397 {
            let of_cut = if length < 264 { verify.clone() } else { Duty::Nobody(BEHIND_THE_COPIES) };
            assert_eq!(duty(State::Stopped, Change::Cut { length }), of_cut, "cut to {length}");
        }
    }

    #[test]
    fn of_a_manifest_its_age_alone_may_be_passed_over() {
        let root = br#"{"applied_seq":5,"days":[{"path":"manifest/t/01/2026-11-24.json"}]}"#;
        let day = br#"{"applied_seq":5,"files":[]}"#;
        let (of_root, of_day) = ("manifest/t/01.json", "manifest/t/01/2026-11-24.json");
        let mut files = Files::default();
        files.files.insert(format!("store/{of_root}"), root.to_vec());
        files.files.insert(format!("store/{of_day}"), day.to_vec());
        let duty = |path: &str, what| of_manifest(&files, &Damage { file: format!("store/{path}"), what }, path);
        let seq_at = root.iter().position(|byte| *byte == b'5').unwrap();
        for path in [of_root, of_day] {
            assert_eq!(duty(path, Change::Flip { at: seq_at, mask: 1 }), Duty::Nobody(AGE));
        }
        // The day's path as the root has it begins with another letter.
        let name_at = root.windows(8).position(|window| window == b"manifest").unwrap();
        let named = Duty::Verify(vec![of_root.to_owned(), of_day.replacen('m', "l", 1)]);
        assert_eq!(duty(of_root, Change::Flip { at: name_at, mask: 1 }), named);
        assert_eq!(duty(of_root, Change::Cut { length: 20 }), Duty::Verify(vec![of_root.to_owned()]));
        let both = Duty::Verify(vec![of_day.to_owned(), of_root.to_owned()]);
        assert_eq!(duty(of_day, Change::Cut { length: 0 }), both);
    }
}
