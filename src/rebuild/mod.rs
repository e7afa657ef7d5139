//! `strandline index rebuild`: the cell brought back from the folder's other files after its commit log is lost (I10).
//!
//! The index comes from the newest whole snapshot, in a dispute the newest that was agreed to, and the copies of the log after it.
//! Files that the copies did not know are adopted where they continue a partition, else moved to `lost/`. What cannot be found is
//! declared lost, by offset. The cell goes on in a new epoch, with offsets and producer ids moved up so that none is given out twice.

mod adopt;
mod adopting;
mod gone;
mod look;
mod lost;
mod named;
mod past;

use crate::node::Folder;
use anyhow::{Context as _, bail};
use futures::TryStreamExt;
use look::FileState;
use std::path::Path;
use std::sync::Arc;
use strandline_bronze::FILE_CHECKSUM_DIFFERS;
use strandline_commands::{Command, Commit, EntryBody, Rebuilt, encode};
use strandline_commit_log::embedded::begin;
use strandline_commit_log::{Floor, SnapshotRef};
use strandline_compactor::SnapshotName;
use strandline_index::{Index, Outcome, digest_of, encode_snapshot};
use strandline_object_store::{FolderStore, Objects, Purpose, RetryPolicy};
use strandline_runtime::Runtime;

/// What a rebuild did, in lines for people.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order in which it happened.
    pub lines: Vec<String>,
    /// Records that are known to be gone, wherever they lay; where no footer tells, offsets.
    pub records_lost: i64,
    /// The lines that say so, each with its records.
    pub losses: Vec<(i64, String)>,
    /// Files that were adopted.
    pub adopted: usize,
    /// Files that were moved to `lost/`.
    pub set_aside: usize,
    /// Files that are damaged and stay: their offsets have no other, or their records are sound.
    pub damaged: usize,
    /// Files of which only the records could be checked.
    pub unproven: usize,
}

impl Report {
    fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    fn lose(&mut self, records: i64, line: String) {
        self.records_lost = self.records_lost.saturating_add(records);
        self.losses.push((records, line.clone()));
        self.say(line);
    }

    fn damaged(&mut self, path: &str, problem: &str) {
        self.damaged += 1;
        self.say(format!(
            "damaged: {path}: {problem}; it stays, since no other file has its offsets: reads of what is damaged fail, and `strandline bronze verify` says what that is"
        ));
    }

    fn unreadable(&mut self, path: &str, problem: &str) {
        self.damaged += 1;
        self.say(format!(
            "damaged: {path}: {problem}; it stays, since by its name no other file has its offsets. The node starts without it, and reads of its offsets fail: put the whole file back from a backup and start the node again"
        ));
    }

    /// Tells of a file of which every record, but not every byte, is known to be sound.
    fn note_records_alone(&mut self, path: &str, state: &FileState) {
        self.unproven += usize::from(*state == FileState::RecordsAreSound);
        if *state == FileState::OnlyRecordsAreSound {
            self.damaged += 1;
            self.say(format!(
                "damaged: {path}: {FILE_CHECKSUM_DIFFERS}; its records agree with their digests, so it answers for its offsets: what is damaged are bytes that only engines read (statistics, other columns), and `strandline bronze verify` goes on saying so"
            ));
        }
    }
}

/// Rebuilds the cell in `data`. Its `commit-log/` must be gone or empty.
///
/// # Errors
/// The log is there, or nothing to begin from is, or a file cannot be looked at (the store does not give it, a newer version wrote
/// it): then nothing was changed. Else a later step failed, and the rebuild can be repeated.
pub async fn rebuild(data: &Path) -> anyhow::Result<Report> {
    match std::fs::metadata(data.join("store")) {
        Ok(store) if store.is_dir() => {}
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot look into {}", data.display()));
        }
        _ => bail!("{} has no folder store/, so there is nothing to rebuild from: is it the data folder?", data.display()),
    }
    let folder = Folder::open_to_rebuild(data)?;
    let log_dir = folder.path("commit-log");
    if holds_log(&log_dir)? {
        bail!(
            "{} still holds a commit log, and the log is the truth: start the node on it. To rebuild without it, move that folder aside first",
            log_dir.display()
        );
    }
    let runtime = Runtime::system();
    let store = FolderStore::open(folder.path("store"), folder.path("tmp"), runtime.spawner.clone()).await?;
    let objects = Objects::new(Arc::new(store), RetryPolicy::default(), &runtime);
    let mut report = Report::default();

    let mut index = past::newest_index(&objects, &mut report).await?;
    let named_before = named::read(&folder, index.cell.cell_epoch)?;
    // Beyond every epoch that any name tells of: none is ever used twice.
    let epoch = past::newest_epoch(&objects).await?.max(index.cell.cell_epoch).checked_add(1).context("the cell's epoch")?;
    apply(&mut index, &runtime, vec![Rebuilt { cell_epoch: epoch }.into()], &mut report)?;
    // Every file is looked at before any is moved: what cannot be looked at ends the rebuild with everything in its place.
    let mut bronze = adopt::Bronze::look(&objects, &runtime).await?;
    let fresh = adopt::Fresh::look(&index, &objects, &runtime).await?;
    let places =
        adopt::Places { copies: lost::Copies::list(&objects).await?, objects: objects.clone(), runtime: runtime.clone() };
    for commands in adopt::planned_files(&index, &objects, &mut bronze, &mut report).await? {
        apply(&mut index, &runtime, commands, &mut report)?;
    }
    for commands in adopt::unknown_files(&index, &places, &fresh, &mut bronze, &mut report).await? {
        apply(&mut index, &runtime, commands, &mut report)?;
    }
    let replaced = gone::missing_fresh(&index, &objects, &mut report).await?;
    apply(&mut index, &runtime, replaced, &mut report)?;
    gone::missing_sealed(&index, &bronze, &mut report);
    let lost = gone::lost_extents(&index, &objects, &mut report).await?;
    apply(&mut index, &runtime, lost, &mut report)?;
    if report.unproven > 0 {
        report.say(format!(
            "not known: {} files of Parquet format 1 carry no checksum of their own; their records agree with their digests, but a change of other bytes (statistics, columns that only engines read) would not be noticed",
            report.unproven
        ));
    }
    let violations = index.violations();
    if !violations.is_empty() {
        bail!(
            "the rebuilt index breaks its own rules, which is a defect of strandline; the log was not begun: {}",
            violations.join("; ")
        );
    }

    named::write(&folder, epoch, named_before, &mut report)?;
    let snapshot = encode_snapshot(&index);
    let name = SnapshotName { cell_epoch: epoch, seq: index.cell.seq, digest: digest_of(&snapshot) };
    let key = name.to_string();
    objects.put_new_in_parts(Purpose::Rebuild, &key, snapshot).await?;
    // Manifests tell of seqs that the lost log may have reached: the next start writes them anew.
    let mut manifests = objects.list(Purpose::Rebuild, "manifest");
    while let Some(found) = manifests.try_next().await? {
        objects.delete(Purpose::Rebuild, &found.path).await?;
    }
    // Derived, and older than what was adopted: the next start makes it anew from the footers.
    match std::fs::remove_file(folder.path("segment-index.redb")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("the segment index could not be removed");
        }
        _ => {}
    }
    let floor =
        Floor { seq: index.cell.seq.next(), snapshot: Some(SnapshotRef { seq: index.cell.seq, key, digest: name.digest }) };
    folder.claim()?;
    begin(&log_dir, &floor, index.cell.hash, &*runtime.random)?;
    named::forget(&folder, &mut report);
    report.say(format!("the cell goes on as epoch {epoch} after entry {}; start the node as usual", index.cell.seq));
    Ok(report)
}

fn holds_log(dir: &Path) -> anyhow::Result<bool> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", dir.display())),
        Ok(entries) => {
            for entry in entries {
                let name = entry.with_context(|| format!("{} cannot be read", dir.display()))?.file_name();
                if name.to_string_lossy().ends_with(".log") {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// Folds commands of nobody, a bounded number an entry.
fn apply(index: &mut Index, runtime: &Runtime, commands: Vec<Command>, report: &mut Report) -> anyhow::Result<()> {
    const AT_ONCE: usize = 1_000;
    for chunk in commands.chunks(AT_ONCE) {
        let body = EntryBody {
            time_ms: runtime.clock.now_ms(),
            hash_before: index.cell.hash.0.to_vec(),
            cell_epoch: index.cell.cell_epoch,
            commits: vec![Commit { commands: chunk.to_vec(), ..Commit::default() }],
            ..EntryBody::default()
        };
        let folded = index.fold(index.cell.seq.next(), &encode(&body)?)?;
        for outcome in folded.commits.into_iter().flat_map(|commit| commit.outcomes.unwrap_or_default()) {
            if let Outcome::Refused(refusal) = outcome {
                report.say(format!("a step was refused: {refusal}"));
            }
        }
    }
    Ok(())
}
