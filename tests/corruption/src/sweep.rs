//! All damages of a folder, or every n-th, one after another.

use crate::examine::{State, Verdict, examine};
use crate::folder::{Change, Damage, Files};
use crate::sample::Sample;
use std::collections::BTreeMap;
use std::path::Path;

/// Which damages are tried.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Of each file every so many bytes; those with the same remainder by `phase`.
    pub stride: usize,
    /// Which of them.
    pub phase: usize,
    /// The stride of the segment index and of zeros taken ahead in a log: megabytes.
    pub large_stride: usize,
    /// Only files whose path contains this.
    pub only: Option<String>,
}

/// What was found of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Damages that something spoke of.
    pub found: usize,
    /// That no consumer could tell.
    pub harmless: usize,
    /// That were cut as a torn write.
    pub torn: usize,
    /// What went wrong.
    pub wrong: Vec<String>,
}

const MASKS: [u8; 4] = [0x01, 0x80, 0xff, 0x10];
/// Files larger than this are damaged at the large stride.
const LARGE_BYTES: usize = 50_000;

/// The damages of a state's files.
pub fn damages(files: &Files, state: State, choice: &Choice) -> Vec<Damage> {
    let mut all = Vec::new();
    for (file, bytes) in &files.files {
        let wanted = choice.only.as_ref().is_none_or(|part| file.contains(part.as_str()));
        // Without its log a folder is only its store.
        let there = match state {
            State::LogLost => file.starts_with("store/"),
            State::Killed => file.ends_with(".log"),
            State::Stopped => true,
        };
        if !wanted || !there {
            continue;
        }
        // Megabytes are disk taken ahead, and the segment index.
        let used = if state == State::Killed {
            bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
        } else {
            bytes.len()
        };
        let stride = |at: usize| if at >= used || used > LARGE_BYTES { choice.large_stride } else { choice.stride };
        let chosen = |at: &usize| at % stride(*at) == choice.phase % stride(*at);
        let flips = (0..bytes.len()).filter(chosen).map(|at| Change::Flip { at, mask: MASKS[(at / stride(at)) % MASKS.len()] });
        let cuts = (0..bytes.len()).filter(chosen).map(|length| Change::Cut { length });
        all.extend(flips.chain(cuts).map(|what| Damage { file: file.clone(), what }));
    }
    all
}

/// Tries them; `root` is a folder that may be filled and emptied.
pub fn sweep(sample: &Sample, state: State, choice: &Choice, root: &Path) -> BTreeMap<String, Tally> {
    let files = match state {
        State::Killed => &sample.killed,
        State::Stopped | State::LogLost => &sample.stopped,
    };
    let mut tallies = BTreeMap::<String, Tally>::new();
    for (number, damage) in damages(files, state, choice).into_iter().enumerate() {
        let folder = root.join(number.to_string());
        let verdict = examine(sample, state, Some(&damage), &folder);
        // What cannot be removed is found by the next that fills the disk.
        let _ = std::fs::remove_dir_all(&folder);
        let tally = tallies.entry(damage.file.clone()).or_default();
        match verdict {
            Ok(Verdict::Found(_)) => tally.found += 1,
            Ok(Verdict::Harmless) => tally.harmless += 1,
            Ok(Verdict::Torn) => tally.torn += 1,
            Err(wrong) => tally.wrong.push(format!("{damage}: {wrong}")),
        }
    }
    tallies
}
