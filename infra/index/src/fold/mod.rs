//! The fold: one entry at a time, one commit at a time, one command at a time.

mod bronze;
mod cell;
mod check;
mod groups;
mod produce;
mod references;
mod seal;
mod topics;

pub use cell::FOLD_VERSION;
pub(crate) use groups::detached;

use crate::outcome::{CommitOutcome, FoldError, Folded, Outcome, Refusal};
use crate::state::Index;
use bytes::Bytes;
use strandline_commands::{Command, CommandKind, Commit, DecodedEntry, EntryBody, LeaseKind, NewObject, chain_hash, decode};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Incarnation, LeaseNumber, ObjectName, Seq, TopicId, limits};

/// Where a command stands.
pub(crate) struct Context<'a> {
    pub(crate) seq: Seq,
    pub(crate) now_ms: i64,
    pub(crate) incarnation: Incarnation,
    pub(crate) commit: &'a Commit,
    pub(crate) folded: &'a mut Folded,
    /// A node has joined in this entry already (the incarnation is the entry's seq, so one at most).
    pub(crate) joined: &'a mut bool,
}

impl Context<'_> {
    /// The commit's `number`-th new object, if its name may still be used (I8).
    pub(crate) fn object(&self, number: u32, horizon: Seq) -> Result<(&NewObject, ObjectName), Refusal> {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let object =
            at.and_then(|at| self.commit.objects.get(at)).ok_or(Refusal::Malformed { what: "no such object in the commit" })?;
        Ok((object, object_name(&object.path, horizon, Rule::B1)?))
    }
}

/// The name in a path, if it may still be used (docs/rules.md, B1 and B5).
pub(crate) fn object_name(path: &str, horizon: Seq, rule: Rule) -> Result<ObjectName, Refusal> {
    let name: ObjectName = path.parse().map_err(|_| Refusal::Malformed { what: "an object's name" })?;
    if name.seq < horizon && holds(rule) { Err(Refusal::BelowHorizon) } else { Ok(name) }
}

pub(crate) fn topic_id(bytes: &[u8]) -> Result<TopicId, Refusal> {
    TopicId::from_slice(bytes).ok_or(Refusal::Malformed { what: "a topic id has 16 bytes" })
}

impl Index {
    /// Folds the next entry. On an error nothing has changed and the node must stop: what cannot be folded is never skipped.
    pub fn fold(&mut self, seq: Seq, bytes: &Bytes) -> Result<Folded, FoldError> {
        if seq != self.cell.seq.next() {
            return Err(FoldError::Gap { last: self.cell.seq, found: seq });
        }
        let decoded = decode(bytes).map_err(|source| FoldError::Decode { seq, source })?;
        self.fold_decoded(seq, bytes, &decoded)
    }

    /// The same for an entry that this process has encoded itself, so that it need not decode it: `bytes` are what
    /// [`strandline_commands::encode`] made of `body`.
    pub fn fold_encoded(&mut self, seq: Seq, bytes: &Bytes, body: EntryBody) -> Result<Folded, FoldError> {
        if seq != self.cell.seq.next() {
            return Err(FoldError::Gap { last: self.cell.seq, found: seq });
        }
        let decoded = DecodedEntry::Body(body);
        debug_assert_eq!(decode(bytes).as_ref(), Ok(&decoded), "what is folded here is what others fold");
        self.fold_decoded(seq, bytes, &decoded)
    }

    fn fold_decoded(&mut self, seq: Seq, bytes: &Bytes, decoded: &DecodedEntry) -> Result<Folded, FoldError> {
        let mut folded = Folded::default();
        if let DecodedEntry::Body(body) = decoded {
            if body.hash_before != self.cell.hash.0 {
                return Err(FoldError::Chain { seq });
            }
            if !self.cell.cluster_id.is_empty() && body.cell_epoch != self.cell.cell_epoch {
                let expected = self.cell.cell_epoch;
                return Err(FoldError::CellEpoch { seq, found: body.cell_epoch, expected });
            }
        }
        self.cell.hash = chain_hash(self.cell.hash, bytes);
        self.cell.seq = seq;
        if let DecodedEntry::Body(body) = decoded {
            self.cell.now_ms = self.cell.now_ms.max(body.time_ms);
            if self.cell.cluster_id.is_empty() {
                self.cell.cell_epoch = body.cell_epoch;
            }
            let mut joined = false;
            for commit in &body.commits {
                let outcome = self.fold_commit(seq, commit, &mut folded, &mut joined);
                folded.commits.push(outcome);
            }
        }
        Ok(folded)
    }

    fn fold_commit(&mut self, seq: Seq, commit: &Commit, folded: &mut Folded, joined: &mut bool) -> CommitOutcome {
        let incarnation = Incarnation(commit.incarnation);
        let refused = CommitOutcome { incarnation, n: commit.n, outcomes: None };
        if commit.incarnation == 0 {
            // Only what makes or joins a cell comes from nobody.
            let founding = |command: &Command| {
                matches!(
                    command.kind,
                    Some(
                        CommandKind::CreateCell(_)
                            | CommandKind::Join(_)
                            | CommandKind::Rebuilt(_)
                            | CommandKind::Lost(_)
                            | CommandKind::AdoptSealed(_)
                    )
                )
            };
            if commit.n != 0 || !commit.commands.iter().all(founding) {
                return refused;
            }
        } else {
            match self.nodes.get_mut(&incarnation) {
                Some(run) if commit.n == run.last_n.wrapping_add(1) || !holds(Rule::A4) => run.last_n = commit.n,
                None if !holds(Rule::A6) => {}
                _ => return refused,
            }
        }
        let now_ms = self.cell.now_ms;
        let mut outcomes = Vec::with_capacity(commit.commands.len());
        for command in &commit.commands {
            let mut context = Context { seq, now_ms, incarnation, commit, folded, joined };
            outcomes.push(self.fold_command(&mut context, command).unwrap_or_else(Outcome::Refused));
        }
        CommitOutcome { incarnation, n: commit.n, outcomes: Some(outcomes) }
    }

    fn fold_command(&mut self, context: &mut Context<'_>, command: &Command) -> Result<Outcome, Refusal> {
        let Some(kind) = &command.kind else { return Err(Refusal::Malformed { what: "an unknown command" }) };
        match kind {
            CommandKind::CreateCell(command) => self.create_cell(context, command),
            CommandKind::Join(command) => self.join(context, command),
            CommandKind::Leave(_) => self.leave(context, context.incarnation),
            CommandKind::DeclareGone(command) => self.declare_gone(context, command),
            CommandKind::Report(command) => self.report(context, command),
            CommandKind::RaiseFoldVersion(command) => self.raise_fold_version(context, command),
            CommandKind::TakeLease(command) => self.take_lease(context, command),
            CommandKind::DropLease(command) => self.drop_lease(context, command),
            CommandKind::WroteSnapshot(command) => self.wrote_snapshot(context, command),
            CommandKind::AgreeSnapshot(command) => self.agree_snapshot(command),
            CommandKind::LogCopied(command) => self.log_copied(context, command),
            CommandKind::Rebuilt(command) => self.rebuilt(context, command),
            CommandKind::ClearDisagreement(command) => self.clear_disagreement(command),
            CommandKind::CreateTopic(command) => self.create_topic(context, command),
            CommandKind::DeleteTopic(command) => self.delete_topic(context, command),
            CommandKind::GrowTopic(command) => self.grow_topic(context, command),
            CommandKind::ConfigureTopic(command) => self.configure_topic(context, command),
            CommandKind::MoveLogStart(command) => self.move_log_start(context, command),
            CommandKind::Produce(command) => self.produce(context, command),
            CommandKind::InitProducer(command) => self.init_producer(context, command),
            CommandKind::ExpireProducers(command) => self.expire_producers(command),
            CommandKind::ClaimGroup(command) => self.claim_group(context, command),
            CommandKind::StoreGroup(command) => self.store_group(context, command),
            CommandKind::CommitOffsets(command) => self.commit_offsets(context, command),
            CommandKind::DeleteOffsets(command) => self.delete_offsets(context, command),
            CommandKind::DeleteGroup(command) => self.delete_group(context, command),
            CommandKind::ExpireGroup(command) => self.expire_group(context, command),
            CommandKind::Convert(command) => self.convert(context, command),
            CommandKind::Merge(command) => self.merge(context, command),
            CommandKind::Rehome(command) => self.rehome(context, command),
            CommandKind::SealPlan(command) => self.seal_plan(context, command),
            CommandKind::Sealed(command) => self.sealed(context, command),
            CommandKind::SealDone(command) => self.seal_done(context, command),
            CommandKind::DropSealed(command) => self.drop_sealed(context, command),
            CommandKind::CollectGarbage(command) => self.collect_garbage(context, command),
            CommandKind::RaiseHorizon(command) => self.raise_horizon(context, command),
            CommandKind::Lost(command) => self.lost(context, command),
            CommandKind::AdoptSealed(command) => self.adopt_sealed(context, command),
            CommandKind::ForgetTopic(command) => self.forget_topic(context, command),
            CommandKind::SealExtents(command) => self.seal_extents(context, command),
        }
    }

    /// The cell follows the rules of version 2 (or later): bounds in bytes of every part, seals straight from extents.
    pub(crate) fn has_version_2(&self) -> bool {
        self.cell.fold_version >= 2
    }

    /// What came with version 2 is refused under older rules.
    pub(crate) fn demand_version_2(&self) -> Result<(), Refusal> {
        if self.has_version_2() {
            Ok(())
        } else {
            Err(Refusal::Superseded { what: "the cell's fold version is older than the command" })
        }
    }

    /// A new object is refused while the garbage list is full: nothing that is forgotten could go (I11).
    pub(crate) fn demand_room_for_objects(&self) -> Result<(), Refusal> {
        let full = self.has_version_2() && self.fill.garbage_bytes >= limits::GARBAGE_BYTES;
        if full { Err(Refusal::Limit { what: "garbage" }) } else { Ok(()) }
    }

    /// The sender holds this very lease (I9).
    pub(crate) fn demand_lease(&self, context: &Context<'_>, kind: LeaseKind, scope: &[u8], number: u64) -> Result<(), Refusal> {
        match self.leases.get(&(kind as i32, scope.to_vec())) {
            Some(lease) if lease.number == LeaseNumber(number) && lease.holder == context.incarnation => Ok(()),
            _ => Err(Refusal::LeaseLost),
        }
    }
}
