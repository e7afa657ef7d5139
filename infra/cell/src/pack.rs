//! Many submissions, one commit: positions and object numbers move with the bytes, and the bytes of a partition are put side by side.

use crate::api::{Queued, Submission, SubmitError, Submitted};
use bytes::Bytes;
use std::collections::VecDeque;
use strandline_commands::{Command, CommandKind, Commit, NewObject, Produce};
use strandline_commit_log::parts;
use strandline_index::Outcome;
use strandline_runtime::Held;
use strandline_types::{Incarnation, Seq, limits};
use tokio::sync::oneshot;

/// Who waits for which part of a commit's outcomes.
pub(crate) struct Waiter {
    pub(crate) commands: usize,
    /// Has batches, inline or in an object: refused when there is no room, so that none overtakes another.
    pub(crate) produces: bool,
    reply: oneshot::Sender<Result<Submitted, SubmitError>>,
    _room: Held,
}

/// Submissions that were packed, before they have a place in the log.
#[derive(Default)]
pub(crate) struct Packed {
    pub(crate) commands: Vec<Command>,
    pub(crate) objects: Vec<NewObject>,
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) payload_length: u64,
    pub(crate) waiters: Vec<Waiter>,
}

/// Bytes of the payload that one command names.
struct Run {
    command: usize,
    position: u64,
    length: u64,
}

impl Run {
    fn of(command: usize, produce: &Produce) -> Self {
        Self { command, position: produce.position, length: produce.bytes() }
    }
}

impl Packed {
    /// Takes from the front of the queue what fits into one entry with so much payload; at least one.
    /// Where `parted`, batches that may be refused for what another in the same entry has changed, or alone, are not with what follows them: else that would
    /// overtake them.
    pub(crate) fn take(queue: &mut VecDeque<Queued>, payload_bytes: usize, parted: bool) -> Self {
        let mut packed = Self::default();
        let mut command_total = 0;
        let (mut produces, mut ends) = (false, false);
        while let Some(next) = queue.front() {
            let payload = next.submission.payload_bytes() as u64;
            let commands = next.command_bytes;
            let fits = packed.payload_length + payload <= payload_bytes as u64
                && command_total + commands <= limits::ENTRY_BYTES / 2
                && packed.commands.len() + next.submission.commands.len() <= limits::ENTRY_COMMANDS;
            if !fits && !packed.waiters.is_empty() || ends || (parted && produces && next.submission.makes_room()) {
                break;
            }
            let has_batches = next.submission.produces();
            produces |= has_batches;
            ends = parted && has_batches && !next.submission.objects.is_empty();
            command_total += commands;
            if let Some(queued) = queue.pop_front() {
                packed.add(queued);
            }
        }
        packed.put_together();
        packed
    }

    /// Puts the bytes of each partition side by side, in the order of the commands, whose order stays: they become one extent then, which is
    /// less to keep in the index, and one read.
    fn put_together(&mut self) {
        let mut keyed: Vec<((&[u8], i32), Run)> = Vec::with_capacity(self.commands.len());
        for (command, of) in self.commands.iter().enumerate() {
            if let Some(CommandKind::Produce(produce)) = &of.kind
                && produce.object == 0
            {
                keyed.push(((&produce.topic_id, produce.partition), Run::of(command, produce)));
            }
        }
        let mut end = 0;
        // Whatever else there may be in a payload stays where it is.
        let is_all = keyed.iter().all(|(_, run)| std::mem::replace(&mut end, run.position + run.length) == run.position);
        if keyed.is_sorted_by_key(|(partition, _)| *partition) || !is_all || end != self.payload_length {
            return;
        }
        keyed.sort_by_key(|(partition, _)| *partition);
        let runs: Vec<Run> = keyed.into_iter().map(|(_, run)| run).collect();
        let mut starts = Vec::with_capacity(self.chunks.len());
        self.chunks.iter().fold(0_u64, |start, chunk| {
            starts.push(start);
            start + chunk.len() as u64
        });
        let mut chunks = Vec::with_capacity(self.chunks.len());
        let mut at = 0;
        for run in runs {
            let first = starts.partition_point(|start| *start <= run.position).saturating_sub(1);
            let start = starts.get(first).copied().unwrap_or_default();
            chunks.extend(parts(&self.chunks[first..], start, run.position..run.position + run.length));
            if let Some(CommandKind::Produce(produce)) =
                self.commands.get_mut(run.command).and_then(|command| command.kind.as_mut())
            {
                produce.position = at;
            }
            at += run.length;
        }
        self.chunks = chunks;
    }

    fn add(&mut self, queued: Queued) {
        let Queued { submission, reply, _room, .. } = queued;
        let produces = submission.produces();
        let Submission { commands, payload, objects } = submission;
        self.waiters.push(Waiter { commands: commands.len(), produces, reply, _room });
        let objects_before = u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        for mut command in commands {
            match &mut command.kind {
                Some(CommandKind::Produce(produce)) if produce.object == 0 => produce.position += self.payload_length,
                Some(CommandKind::Produce(produce)) => produce.object += objects_before,
                Some(CommandKind::Rehome(rehome)) => rehome.object += objects_before,
                _ => {}
            }
            self.commands.push(command);
        }
        for chunk in payload {
            self.payload_length += chunk.len() as u64;
            self.chunks.push(chunk);
        }
        self.objects.extend(objects);
    }

    /// Takes out the commit that asks for all of it.
    pub(crate) fn take_commit(&mut self, incarnation: Incarnation, n: u64) -> Commit {
        Commit {
            incarnation: incarnation.0,
            n,
            payload_start: 0,
            payload_length: self.payload_length,
            objects: std::mem::take(&mut self.objects),
            commands: std::mem::take(&mut self.commands),
        }
    }

    /// Puts back what was taken out: it has to be asked for once more.
    pub(crate) fn put_back(&mut self, commit: Commit) {
        (self.objects, self.commands) = (commit.objects, commit.commands);
    }

    /// Tells everybody their outcomes, as the fold gave them.
    pub(crate) fn resolve(self, seq: Seq, outcomes: Vec<Outcome>) {
        let mut outcomes = outcomes.into_iter();
        for waiter in self.waiters {
            let outcomes = outcomes.by_ref().take(waiter.commands).collect();
            let _ = waiter.reply.send(Ok(Submitted { seq, outcomes }));
        }
    }

    /// Tells everybody that there is no outcome.
    pub(crate) fn fail(self, error: &SubmitError) {
        for waiter in self.waiters {
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }

    /// No room: refuses those that have batches, and keeps the rest to be tried again. Positions of what is left do not
    /// change, since it has no bytes; object numbers stay, since objects stay.
    pub(crate) fn without_payload(self, error: &SubmitError) -> Self {
        let mut kept = Self { objects: self.objects, ..Self::default() };
        let mut commands = self.commands.into_iter();
        for waiter in self.waiters {
            let own = commands.by_ref().take(waiter.commands);
            if waiter.produces {
                own.for_each(drop);
                let _ = waiter.reply.send(Err(error.clone()));
            } else {
                kept.commands.extend(own);
                kept.waiters.push(waiter);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strandline_commands::Batch;

    /// One submission: runs of (topic, partition, bytes), in pieces that may be cut anywhere.
    fn submission(runs: &[(u8, i32, usize)], fill: &mut u8, pieces: usize) -> Submission {
        let mut submission = Submission::default();
        let mut payload = Vec::new();
        for (topic, partition, bytes) in runs {
            let position = payload.len() as u64;
            *fill = fill.wrapping_add(1);
            payload.extend(std::iter::repeat_n(*fill, *bytes));
            let batch = Batch { length: *bytes as u32, ..Batch::default() };
            let (topic_id, partition) = (vec![*topic; 16], *partition);
            let produce = Produce { topic_id, partition, object: 0, position, batches: vec![batch] };
            submission.commands.push(produce.into());
        }
        submission.payload = payload.chunks(pieces.max(1)).map(Bytes::copy_from_slice).collect();
        submission
    }

    fn packed(submissions: Vec<Submission>) -> Packed {
        let mut packed = Packed::default();
        for submission in submissions {
            let (reply, _) = oneshot::channel();
            let room = std::sync::Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
            let _room = Held::new(room, metrics::Gauge::noop());
            packed.add(Queued { submission, command_bytes: 0, reply, _room });
        }
        packed
    }

    /// What each command's bytes are, by what the commit says.
    fn named(packed: &Packed) -> Vec<Vec<u8>> {
        let payload = packed.chunks.concat();
        let produces = packed.commands.iter().filter_map(|command| match &command.kind {
            Some(CommandKind::Produce(produce)) => Some(produce),
            _ => None,
        });
        let bytes =
            produces.map(|produce| payload[produce.position as usize..(produce.position + produce.bytes()) as usize].to_vec());
        bytes.collect()
    }

    proptest! {
        #[test]
        fn every_command_names_the_same_bytes_and_a_partitions_lie_side_by_side(
            of in prop::collection::vec((prop::collection::vec((0_u8..3, 0_i32..4, 0_usize..50), 1..5), 1_usize..80), 1..12),
        ) {
            let mut fill = 0;
            let submissions = of.iter().map(|(runs, pieces)| submission(runs, &mut fill, *pieces)).collect();
            let mut packed = packed(submissions);
            let (before, length) = (named(&packed), packed.payload_length);
            packed.put_together();
            prop_assert_eq!(named(&packed), before);
            prop_assert_eq!(packed.chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>(), length);
            let mut ends = std::collections::BTreeMap::new();
            for (command, of) in packed.commands.iter().enumerate() {
                let Some(CommandKind::Produce(produce)) = &of.kind else { continue };
                let run = Run::of(command, produce);
                let end = ends.insert((produce.topic_id.clone(), produce.partition), run.position + run.length);
                prop_assert!(end.is_none_or(|end| end == run.position));
            }
        }
    }
}
