//! All damages of a folder, or every n-th, one after another.

use crate::examine::{State, Verdict, examine};
use crate::folder::{Change, Damage, Files};
use crate::sample::Sample;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Of each kind of file only the first.
    pub one_of_a_kind: bool,
}

/// What was found of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Damages that something spoke of.
    pub found: usize,
    /// That no consumer could tell, by the reason why nothing spoke of them.
    pub harmless: BTreeMap<&'static str, usize>,
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
    let mut kinds = BTreeSet::new();
    for (file, bytes) in &files.files {
        let wanted = choice.only.as_ref().is_none_or(|part| file.contains(part.as_str()));
        // Without its log a folder is only its store.
        let there = match state {
            State::LogLost => file.starts_with("store/"),
            State::Killed => file.ends_with(".log"),
            State::Stopped => true,
        };
        if !wanted || !there || (!kinds.insert(kind(file)) && choice.one_of_a_kind) {
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

/// Files of one kind have one format: how deep it lies, in which folder, with which extension. Manifests are of several kinds.
fn kind(file: &str) -> (usize, Vec<&str>, Option<&str>) {
    let parts: Vec<&str> = file.split('/').collect();
    let (name, folders) = parts.split_last().unwrap_or((&"", &[]));
    let told_apart = if file.starts_with("store/manifest/") { 3 } else { 2 };
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    (parts.len(), folders.iter().take(told_apart).copied().collect(), extension)
}

/// Tries them, and says what became of each file once it is done with it; `root` is a folder that may be filled and emptied.
pub fn sweep(
    sample: &Sample,
    state: State,
    choice: &Choice,
    root: &Path,
    mut done: impl FnMut(&str, &Tally),
) -> BTreeMap<String, Tally> {
    let mut tallies = BTreeMap::<String, Tally>::new();
    let damages = damages(sample.files(state), state, choice);
    for (number, damage) in damages.iter().enumerate() {
        let folder = root.join(number.to_string());
        let verdict = examine(sample, state, Some(damage), &folder);
        // What cannot be removed is found by the next that fills the disk.
        let _ = std::fs::remove_dir_all(&folder);
        let tally = tallies.entry(damage.file.clone()).or_default();
        match verdict {
            Ok(Verdict::Found(_)) => tally.found += 1,
            Ok(Verdict::Harmless(reason)) => *tally.harmless.entry(reason).or_default() += 1,
            Ok(Verdict::Torn) => tally.torn += 1,
            Ok(Verdict::Sound) => tally.wrong.push(format!("{damage}: it passes for sound")),
            Err(wrong) => tally.wrong.push(format!("{damage}: {wrong}")),
        }
        if damages.get(number + 1).is_none_or(|next| next.file != damage.file) {
            done(&damage.file, tally);
        }
    }
    tallies
}
