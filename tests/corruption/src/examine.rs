//! One damaged folder: opened, read, verified, worked on, read again.

use crate::alarms;
use crate::duty::{Duty, is_torn, tells_of_damage, without_age};
use crate::folder::{Damage, Files};
use crate::observe::{Seen, SeenPartition, observe};
use crate::sample::{LAST_RECORDS, LAST_TOPIC, Sample, settings};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use strandline::http::{VerifyResult, verify_bronze};
use strandline::node::{Node, NodeOptions, Upkeep};
use strandline_segment_index::SealedRow;

const MANIFESTS: &str = "store/manifest/";

/// Which state of the folder is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// After a graceful stop.
    Stopped,
    /// As a kill leaves it.
    Killed,
    /// After a stop, and then its log is lost and the cell is rebuilt.
    LogLost,
}

/// What became of a damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Something said so.
    Found(String),
    /// No consumer can tell, and nothing has to speak of it: why.
    Harmless(&'static str),
    /// The last frame of a killed log: a torn write.
    Torn,
    /// Nothing was damaged, and nothing is complained of.
    Sound,
}

/// Opens the damaged folder in `root`, which must be empty, and looks at everything.
///
/// # Errors
/// What a consumer got wrong, a gap that nothing spoke of, or damage of which those are silent who have to speak.
pub fn examine(sample: &Sample, state: State, damage: Option<&Damage>, root: &Path) -> Result<Verdict, String> {
    let files = sample.files(state);
    let files = damage.map_or_else(|| files.clone(), |damage| files.damaged(damage));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|error| error.to_string())?;
    let verdict = runtime.block_on(look(sample, state, damage, &files, root));
    runtime.shutdown_timeout(Duration::from_secs(5));
    verdict
}

async fn look(sample: &Sample, state: State, damage: Option<&Damage>, files: &Files, root: &Path) -> Result<Verdict, String> {
    let torn = damage.is_some_and(|damage| is_torn(sample, state, damage));
    let duty = damage.filter(|_| !torn).map(|damage| Duty::of(sample, state, damage));
    // A node at work writes a damaged manifest anew, perhaps before anybody asks.
    let is_asked_at_rest = state == State::Stopped && damage.is_none_or(|damage| damage.file.starts_with(MANIFESTS));
    let at_rest = if is_asked_at_rest { Some(verify_at_rest(files, root).await?) } else { None };
    alarms::take();
    files.write(root).map_err(|error| error.to_string())?;
    let mut said = Vec::new();
    let mut lost = 0;
    let mut found = Vec::new();
    let mut history_ends = false;
    if state == State::LogLost {
        std::fs::remove_dir_all(root.join("commit-log")).map_err(|error| error.to_string())?;
        match strandline::rebuild::rebuild(root).await {
            Ok(report) => {
                lost = usize::try_from(report.records_lost).unwrap_or(usize::MAX);
                said = report.lines;
                found.extend(said.iter().find(|line| tells_of_damage(line)).cloned());
                history_ends = said.iter().any(|line| line.contains("nothing after it is known"));
            }
            Err(error) => return Ok(Verdict::Found(format!("{error:#}"))),
        }
    }
    let node = match Node::start(NodeOptions { settings: settings(root), ..NodeOptions::default() }).await {
        Ok(node) => node,
        Err(error) => return Ok(Verdict::Found(format!("{error:#}"))),
    };
    let parts = node.parts();
    let judged = Judge { sample, state, lost, torn, history_ends };
    found.extend(judged.compare(&observe(parts).await).map_err(|wrong| format!("{wrong}; said: {said:?}"))?);

    // Who has to speak of the damage does, or it means nothing.
    let verified = verify_bronze(parts, None).await;
    found.extend(verified.as_ref().err().map(|error| format!("verify: {error:#}")));
    let results = verified.unwrap_or_default();
    found.extend(results.iter().filter_map(complaint));
    let silence = match &duty {
        None => None,
        Some(duty) => {
            duty.silence(at_rest.as_deref().unwrap_or(&results), &said).map_err(|silent| format!("{silent}; found: {found:?}"))?
        }
    };

    // Engines that go by manifests: they find what is right, or `verify` has complained. (After a kill some are still to be written.)
    if found.is_empty() && state == State::Stopped && manifests(root) != manifests_of(&sample.stopped) {
        return Err("manifests list other files, and nothing says so".to_owned());
    }

    // What is damaged must not be carried on as if it were sound.
    let ids: Vec<_> = parts.cell.view().topics.keys().copied().collect();
    for id in ids {
        if let Err(error) = parts.compactor.seal_everything(id).await {
            found.push(format!("seal: {error}"));
        }
    }
    found.extend(judged.compare(&observe(parts).await).map_err(|wrong| format!("after sealing: {wrong}; said: {said:?}"))?);
    let violations = parts.cell.view().violations();
    if !violations.is_empty() {
        return Err(format!("broken invariants: {violations:?}"));
    }
    drop(node);
    // Last: what it says of the folder as it lay there excuses nothing that a node at work does with it.
    found.extend(at_rest.iter().flatten().filter_map(complaint));
    Ok(match (found.into_iter().next(), silence) {
        (Some(reason), _) => Verdict::Found(reason),
        (None, _) if torn => Verdict::Torn,
        (None, Some(reason)) => Verdict::Harmless(reason),
        (None, None) => Verdict::Sound,
    })
}

/// What `bronze verify --data` says of these files: the node that it starts does no upkeep.
async fn verify_at_rest(files: &Files, root: &Path) -> Result<Vec<VerifyResult>, String> {
    let root = root.with_extension("at-rest");
    files.write(&root).map_err(|error| error.to_string())?;
    let options = NodeOptions { settings: settings(&root), upkeep: Upkeep::Asked };
    let results = match Node::start(options).await {
        Ok(node) => {
            let results = verify_bronze(node.parts(), None).await;
            node.stop().await;
            results
        }
        Err(error) => Err(error),
    };
    std::fs::remove_dir_all(&root).map_err(|error| error.to_string())?;
    results.map_err(|error| format!("at rest: {error:#}"))
}

/// What a result says is wrong.
fn complaint(result: &VerifyResult) -> Option<String> {
    result.problems.first().map(|problem| format!("verify: {}: {problem}", result.path))
}

/// What manifests say: without the seqs, and without what an engine does not read.
fn manifests_of(files: &Files) -> BTreeMap<String, serde_json::Value> {
    let manifests = files.files.iter().filter(|(path, _)| path.starts_with(MANIFESTS));
    manifests.map(|(path, bytes)| (path.clone(), without_age(bytes))).collect()
}

fn manifests(root: &Path) -> BTreeMap<String, serde_json::Value> {
    crate::folder::read_folder(root).map(|files| manifests_of(&files)).unwrap_or_default()
}

struct Judge<'a> {
    sample: &'a Sample,
    state: State,
    lost: usize,
    torn: bool,
    /// A copy of the log could not be read, and the rebuild says that it knows nothing of what came after.
    history_ends: bool,
}

impl Judge<'_> {
    /// What says that something is missing; an error if something is wrong or missing and nothing says so.
    fn compare(&self, seen: &Seen) -> Result<Vec<String>, String> {
        let mut heard = alarms::take();
        if self.state == State::LogLost {
            // A rebuild deletes the segment index, whatever else.
            heard.retain(|line| !line.contains("the segment index was missing"));
        }
        let truth = &self.sample.truth;
        let mut missing = 0;
        for (name, topic) in &truth.topics {
            let Some(found) = seen.topics.get(name) else {
                if self.history_ends {
                    continue;
                }
                return Err(format!("topic {name} is gone"));
            };
            if (found.id, &found.configs, found.partitions.len()) != (topic.id, &topic.configs, topic.partitions.len()) {
                return Err(format!("topic {name} is another: {:?}", found.configs));
            }
            for (number, (right, found)) in topic.partitions.iter().zip(&found.partitions).enumerate() {
                let at_end = name == LAST_TOPIC && self.torn;
                missing += self.partition(right, found, at_end).map_err(|wrong| format!("{name}-{number}: {wrong}"))?;
                heard.extend(found.error.clone());
            }
        }
        if seen.topics.keys().any(|name| !truth.topics.contains_key(name)) {
            return Err("there is a topic that was never made".to_owned());
        }
        let known = |(place, offset): (&_, &i64)| truth.offsets.get(place) == Some(offset);
        let forgotten = self.history_ends && seen.offsets.iter().all(known);
        if seen.offsets != truth.offsets && !forgotten {
            return Err(format!("committed offsets are {:?}", seen.offsets));
        }
        // A rebuild takes a file's size for what was sent, and another seq.
        heard.extend(seen.rows_error.clone());
        if self.state != State::LogLost {
            for row in &seen.rows {
                let right = truth.rows.iter().find(|right| right.key() == row.key());
                // A seal after the damage adds rows; those that are there must be as they were, or as the footers tell them.
                let same = right.is_none_or(|right| {
                    SealedRow { sent_bytes: right.sent_bytes, sealed_seq: right.sealed_seq, ..row.clone() } == *right
                });
                if !same {
                    return Err(format!("a row of the segment index is {row:?} instead of {right:?}"));
                }
            }
            if heard.is_empty() && truth.rows.iter().any(|right| !seen.rows.iter().any(|row| row.key() == right.key())) {
                return Err("rows of the segment index are gone and nothing says so".to_owned());
            }
        }
        if missing > 0 && heard.is_empty() && missing > self.lost && !self.history_ends {
            return Err(format!("{missing} records are missing and nothing says so"));
        }
        Ok(heard)
    }

    /// How many records are missing.
    fn partition(&self, right: &SeenPartition, found: &SeenPartition, at_end: bool) -> Result<usize, String> {
        for (offset, record) in &found.records {
            match right.records.get(offset) {
                Some(expected) if expected == record => {}
                other => return Err(format!("offset {offset} holds {record:?} instead of {other:?}")),
            }
        }
        if found.log_start != right.log_start {
            return Err(format!("it begins at {} instead of {}", found.log_start, right.log_start));
        }
        let ends = found.high_watermark == right.high_watermark
            || (at_end && found.high_watermark == right.high_watermark - LAST_RECORDS)
            // Far beyond anything that was ever given out.
            || (self.state == State::LogLost && found.high_watermark >= right.high_watermark);
        if !ends {
            return Err(format!("it ends at {} instead of {}", found.high_watermark, right.high_watermark));
        }
        let torn = if found.high_watermark < right.high_watermark { LAST_RECORDS as usize } else { 0 };
        Ok(right.records.len() - found.records.len() - torn)
    }
}
