//! Many submissions, one commit: positions and object numbers move with the bytes.

use crate::api::{Queued, Submission, SubmitError, Submitted};
use bytes::Bytes;
use std::collections::VecDeque;
use strandline_commands::{Command, CommandKind, Commit, NewObject};
use strandline_index::Outcome;
use strandline_runtime::Held;
use strandline_types::{Incarnation, Seq, limits};
use tokio::sync::oneshot;

/// Who waits for which part of a commit's outcomes.
pub(crate) struct Waiter {
    pub(crate) commands: usize,
    /// Carries record bytes: the first to be refused when there is no room.
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

impl Packed {
    /// Takes from the front of the queue what fits into one entry with so much payload; at least one.
    pub(crate) fn take(queue: &mut VecDeque<Queued>, payload_bytes: usize) -> Self {
        let mut packed = Self::default();
        let mut command_total = 0;
        while let Some(next) = queue.front() {
            let payload = next.submission.payload_bytes() as u64;
            let commands = next.command_bytes;
            let fits = packed.payload_length + payload <= payload_bytes as u64
                && command_total + commands <= limits::ENTRY_BYTES / 2
                && packed.commands.len() + next.submission.commands.len() <= limits::ENTRY_COMMANDS;
            if !fits && !packed.waiters.is_empty() {
                break;
            }
            command_total += commands;
            if let Some(queued) = queue.pop_front() {
                packed.add(queued);
            }
        }
        packed
    }

    fn add(&mut self, queued: Queued) {
        let Queued { submission, reply, _room, .. } = queued;
        let Submission { commands, payload, objects } = submission;
        let produces = !payload.is_empty();
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

    /// No room: refuses those that carry bytes, and keeps the rest to be tried again. Positions of what is left do not
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
