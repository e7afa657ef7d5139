//! Nodes, leases, snapshots, the cell itself.

use super::Context;
use crate::outcome::{Outcome, Refusal};
use crate::state::{Extent, ExtentPlace, Index, Lease, NodeRun, Slot};
use std::sync::Arc;
use strandline_commands::{
    AgreeSnapshot, ClearDisagreement, CreateCell, DeclareGone, DropLease, Join, LeaseKind, LogCopied, RaiseFoldVersion, Rebuilt,
    Report, TakeLease, WroteSnapshot,
};
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Incarnation, LeaseNumber, NodeId, Seq, limits};

/// The newest rules that this build folds by.
pub const FOLD_VERSION: u32 = 2;

/// The longest nonce of a join.
const NONCE_BYTES: usize = 64;
/// The most roles of a node.
const ROLES: usize = 16;

impl Index {
    pub(super) fn create_cell(&mut self, context: &mut Context<'_>, command: &CreateCell) -> Result<Outcome, Refusal> {
        if context.seq != Seq(1) || !self.cell.cluster_id.is_empty() {
            return Err(Refusal::Superseded { what: "the cell exists" });
        }
        if command.cluster_id.is_empty() || command.fold_version == 0 {
            return Err(Refusal::Malformed { what: "a cell needs an id and a fold version" });
        }
        self.cell.cluster_id.clone_from(&command.cluster_id);
        self.cell.fold_version = command.fold_version;
        self.cell.next_producer_id = 0;
        Ok(Outcome::Done)
    }

    pub(super) fn join(&mut self, context: &mut Context<'_>, command: &Join) -> Result<Outcome, Refusal> {
        if *context.joined || self.cell.cluster_id.is_empty() {
            return Err(Refusal::Superseded { what: "one node joins in an entry, and only an existing cell" });
        }
        if command.fold_version_supported < self.cell.fold_version {
            return Err(Refusal::Superseded { what: "the cell's fold version is newer than the node" });
        }
        if self.has_version_2() {
            let free = command.sole || self.slots.values().any(|slot| slot.holder.is_none());
            if !free && self.slots.len() >= limits::NODES {
                return Err(Refusal::Limit { what: "nodes" });
            }
            let (host, zone) = (command.host.len(), command.zone.len());
            if host > limits::NODE_HOST_BYTES || zone > limits::NODE_ZONE_BYTES || command.nonce.len() > NONCE_BYTES {
                return Err(Refusal::Malformed { what: "a node's host, zone or nonce is too long" });
            }
            if command.roles.len() > ROLES {
                return Err(Refusal::Malformed { what: "a node has few roles" });
            }
        }
        let incarnation = Incarnation(context.seq.0);
        let node_id =
            if command.sole { self.take_over(incarnation) } else { None }.unwrap_or_else(|| self.free_slot(&command.zone));
        let slot = Slot { host: command.host.clone(), port: command.port, zone: command.zone.clone(), holder: Some(incarnation) };
        self.slots.insert(node_id, slot);
        let run = NodeRun {
            node_id,
            nonce: command.nonce.clone(),
            roles: command.roles.clone(),
            zone: command.zone.clone(),
            last_n: 0,
            folded: context.seq,
            fold_version_supported: command.fold_version_supported,
        };
        self.nodes.insert(incarnation, run);
        *context.joined = true;
        context.folded.metadata = true;
        Ok(Outcome::Joined { incarnation, node_id })
    }

    /// All earlier runs are dead; their slot and their claims pass to `incarnation`.
    fn take_over(&mut self, incarnation: Incarnation) -> Option<NodeId> {
        self.nodes.clear();
        self.leases.clear();
        for slot in self.slots.values_mut() {
            slot.holder = None;
        }
        for group in self.groups.values_mut() {
            if group.claim.is_some()
                && let Some(claim) = &mut Arc::make_mut(group).claim
            {
                claim.holder = incarnation;
            }
        }
        self.slots.keys().next().copied()
    }

    /// The lowest free slot of the zone, else the lowest free one, else a new one.
    fn free_slot(&self, zone: &str) -> NodeId {
        let free = || self.slots.iter().filter(|(_, slot)| slot.holder.is_none());
        let of_zone = free().find(|(_, slot)| slot.zone == zone).map(|(id, _)| *id);
        of_zone.unwrap_or_else(|| self.slots.keys().next_back().map_or(1, |last| last.saturating_add(1)))
    }

    pub(super) fn leave(&mut self, context: &mut Context<'_>, incarnation: Incarnation) -> Result<Outcome, Refusal> {
        if self.nodes.remove(&incarnation).is_none() {
            return Err(Refusal::Superseded { what: "the node is gone already" });
        }
        self.leases.retain(|_, lease| lease.holder != incarnation);
        for slot in self.slots.values_mut().filter(|slot| slot.holder == Some(incarnation)) {
            slot.holder = None;
        }
        context.folded.metadata = true;
        Ok(Outcome::Done)
    }

    pub(super) fn declare_gone(&mut self, context: &mut Context<'_>, command: &DeclareGone) -> Result<Outcome, Refusal> {
        let incarnation = Incarnation(command.incarnation);
        match self.nodes.get(&incarnation) {
            Some(run) if run.last_n == command.last_n && incarnation != context.incarnation => self.leave(context, incarnation),
            _ => Err(Refusal::Superseded { what: "the node has shown a sign of life, or is gone" }),
        }
    }

    pub(super) fn report(&mut self, context: &mut Context<'_>, command: &Report) -> Result<Outcome, Refusal> {
        let run = self.nodes.get_mut(&context.incarnation).ok_or(Refusal::Superseded { what: "the node is gone" })?;
        if command.folded >= context.seq.0 {
            return Err(Refusal::Malformed { what: "nobody has folded this entry yet" });
        }
        run.folded = run.folded.max(Seq(command.folded));
        Ok(Outcome::Done)
    }

    pub(super) fn raise_fold_version(
        &mut self,
        context: &mut Context<'_>,
        command: &RaiseFoldVersion,
    ) -> Result<Outcome, Refusal> {
        if command.to <= self.cell.fold_version {
            return Err(Refusal::Superseded { what: "the fold version is there already" });
        }
        if self.nodes.values().any(|run| run.fold_version_supported < command.to) && holds(Rule::FoldVersion) {
            return Err(Refusal::Superseded { what: "a live node does not support it" });
        }
        self.cell.fold_version = command.to;
        self.cell.features_epoch = self.cell.features_epoch.saturating_add(1);
        context.folded.metadata = true;
        Ok(Outcome::Done)
    }

    pub(super) fn take_lease(&mut self, context: &mut Context<'_>, command: &TakeLease) -> Result<Outcome, Refusal> {
        let kind = LeaseKind::try_from(command.kind).map_err(|_| Refusal::Malformed { what: "an unknown kind of lease" })?;
        match kind {
            LeaseKind::Convert | LeaseKind::Merge | LeaseKind::Seal => {
                let id = super::topic_id(&command.scope)?;
                if !self.topics.contains_key(&id) {
                    return Err(Refusal::UnknownTopic);
                }
            }
            LeaseKind::Snapshot | LeaseKind::Garbage | LeaseKind::Retention => {
                if !command.scope.is_empty() {
                    return Err(Refusal::Malformed { what: "this lease is the cell's" });
                }
            }
        }
        let key = (command.kind, command.scope.clone());
        let held = self.leases.get(&key).map_or(0, |lease| lease.number.0);
        if held != command.replaces {
            return Err(Refusal::Superseded { what: "the lease is held" });
        }
        let number = LeaseNumber(context.seq.0);
        if held == number.0 {
            return Err(Refusal::Superseded { what: "the lease was taken in this entry" });
        }
        self.leases.insert(key, Lease { number, holder: context.incarnation });
        Ok(Outcome::Leased(number))
    }

    pub(super) fn drop_lease(&mut self, context: &mut Context<'_>, command: &DropLease) -> Result<Outcome, Refusal> {
        let kind = LeaseKind::try_from(command.kind).map_err(|_| Refusal::Malformed { what: "an unknown kind of lease" })?;
        self.demand_lease(context, kind, &command.scope, command.lease)?;
        self.leases.remove(&(command.kind, command.scope.clone()));
        Ok(Outcome::Done)
    }

    pub(super) fn wrote_snapshot(&mut self, context: &mut Context<'_>, command: &WroteSnapshot) -> Result<Outcome, Refusal> {
        let digest = digest(&command.digest)?;
        if command.seq >= context.seq.0 || command.key.is_empty() {
            return Err(Refusal::Malformed { what: "a snapshot of the future, or without a key" });
        }
        if self.cell.snapshot.written.as_ref().is_some_and(|(seq, ..)| seq.0 >= command.seq) {
            return Err(Refusal::Superseded { what: "a newer snapshot is there" });
        }
        self.cell.snapshot.written = Some((Seq(command.seq), digest, command.key.clone(), command.fold_version));
        Ok(Outcome::Done)
    }

    pub(super) fn agree_snapshot(&mut self, command: &AgreeSnapshot) -> Result<Outcome, Refusal> {
        let found = digest(&command.digest)?;
        match &self.cell.snapshot.written {
            Some(written) if written.0.0 == command.seq => {
                if written.1 == found {
                    self.cell.snapshot.agreed = Some(written.clone());
                } else {
                    self.cell.snapshot.disagreed = true;
                }
                Ok(Outcome::Done)
            }
            _ => Err(Refusal::Superseded { what: "another snapshot is there" }),
        }
    }

    pub(super) fn clear_disagreement(&mut self, command: &ClearDisagreement) -> Result<Outcome, Refusal> {
        self.demand_version_2()?;
        let snapshot = &mut self.cell.snapshot;
        let newest = snapshot.written.as_ref().filter(|written| Some(*written) == snapshot.agreed.as_ref());
        if newest.is_none_or(|(seq, ..)| seq.0 != command.seq) {
            return Err(Refusal::Superseded { what: "the newest snapshot is another, or nobody has agreed to it" });
        }
        snapshot.disagreed = false;
        Ok(Outcome::Done)
    }

    pub(super) fn log_copied(&mut self, context: &mut Context<'_>, command: &LogCopied) -> Result<Outcome, Refusal> {
        if command.to >= context.seq.0 {
            return Err(Refusal::Malformed { what: "a copy of the future" });
        }
        self.cell.log_copied = self.cell.log_copied.max(Seq(command.to));
        Ok(Outcome::Done)
    }

    pub(super) fn rebuilt(&mut self, context: &mut Context<'_>, command: &Rebuilt) -> Result<Outcome, Refusal> {
        if context.incarnation.0 != 0 || self.cell.cluster_id.is_empty() {
            return Err(Refusal::Malformed { what: "only a rebuild does that" });
        }
        if command.cell_epoch <= self.cell.cell_epoch {
            return Err(Refusal::Superseded { what: "the epoch is there already" });
        }
        self.cell.cell_epoch = command.cell_epoch;
        self.cell.next_producer_id = self.cell.next_producer_id.saturating_add(limits::REBUILD_OFFSET_STEP);
        self.nodes.clear();
        self.leases.clear();
        for slot in self.slots.values_mut() {
            slot.holder = None;
        }
        for group in self.groups.values_mut() {
            Arc::make_mut(group).claim = None;
        }
        let mut references = super::references::references!(self, context);
        for topic in self.topics.values_mut() {
            let topic = Arc::make_mut(topic);
            topic.bronze_changed = context.seq;
            for partition in &mut topic.partitions {
                let (start, end) = (partition.next_offset, partition.next_offset.saturating_add(limits::REBUILD_OFFSET_STEP));
                let hole = Extent {
                    start,
                    end,
                    place: ExtentPlace::Hole,
                    length: 0,
                    ingest_ms: context.now_ms,
                    log_append_time: false,
                    max_timestamp_ms: -1,
                    max_timestamp_offset: -1,
                };
                partition.open_transactions.clear();
                references.add(&hole, None);
                partition.extents.push_back(hole);
                partition.next_offset = end;
            }
        }
        context.folded.metadata = true;
        Ok(Outcome::Done)
    }
}

fn digest(bytes: &[u8]) -> Result<[u8; 32], Refusal> {
    bytes.try_into().map_err(|_| Refusal::Malformed { what: "a digest has 32 bytes" })
}
