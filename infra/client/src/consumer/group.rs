//! Membership in a group, from the consumer's side: when to join, and what an assignment changes.

use super::Consumer;
use super::assignor::Assignor;
use super::heartbeat::{Change, Member, Pulse, beat};
use super::join::{Join, Joined};
use super::position::Position;
use crate::admin::PartitionName;
use crate::connection::Connection;
use crate::error::ClientError;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_runtime::TaskGroup;
use strandline_wire::messages::LeaveGroupRequest;
use strandline_wire::messages::leave_group::MemberIdentity;

pub(super) struct Group {
    id: String,
    topics: BTreeSet<String>,
    member_id: String,
    generation: i32,
    state: State,
    pulse: Arc<Pulse>,
    /// Partitions of each topic when the assignment was made.
    partitions: BTreeMap<String, usize>,
}

enum State {
    Out,
    Joining(BoxFuture<'static, Result<Joined, ClientError>>),
    /// A join that is done and not yet looked at.
    Arrived(Box<Result<Joined, ClientError>>),
    In {
        member: Member,
        connection: Arc<Connection>,
        heartbeats: Heartbeats,
    },
}

/// Ends the heartbeats with the membership.
struct Heartbeats(TaskGroup);

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

impl Group {
    pub(super) fn new(id: String, topics: BTreeSet<String>) -> Self {
        Self {
            id,
            topics,
            member_id: String::new(),
            generation: -1,
            state: State::Out,
            pulse: Arc::default(),
            partitions: BTreeMap::new(),
        }
    }

    pub(super) fn topics(&self) -> &BTreeSet<String> {
        &self.topics
    }

    /// The membership, while there is one.
    pub(super) fn member(&self) -> Option<(&Member, &Arc<Connection>)> {
        match &self.state {
            State::In { member, connection, .. } => Some((member, connection)),
            _ => None,
        }
    }

    /// Waits until there is something for [`Consumer::drive_group`] to do.
    pub(super) async fn changed(group: Option<&mut Group>) {
        let Some(group) = group else { return std::future::pending().await };
        match &mut group.state {
            State::Joining(join) => {
                let result = join.await;
                group.state = State::Arrived(Box::new(result));
            }
            State::In { .. } => group.pulse.notify.notified().await,
            State::Out | State::Arrived(_) => {}
        }
    }
}

impl Consumer {
    /// Whether members keep what stays theirs while they join again.
    fn is_cooperative(&self) -> bool {
        self.options.assignors.iter().all(|assignor| *assignor == Assignor::CooperativeSticky)
    }

    /// The generation of its membership, while it has one.
    pub fn generation(&self) -> Option<i32> {
        Some(self.group.as_ref()?.member()?.0.generation)
    }

    /// Joins, joins again, or takes an assignment in, without waiting.
    pub(super) fn drive_group(&mut self) -> Result<(), ClientError> {
        let now = self.client.now();
        let Some(group) = &mut self.group else { return Ok(()) };
        group.pulse.polled(now);
        match std::mem::replace(&mut group.state, State::Out) {
            State::Joining(join) => group.state = State::Joining(join),
            State::Arrived(result) => return result.and_then(|joined| self.take_in(joined)),
            State::Out => self.rejoin(BTreeMap::new()),
            State::In { member, connection, heartbeats } => match group.pulse.take() {
                None => group.state = State::In { member, connection, heartbeats },
                Some(Change::Rebalance) => {
                    let commit = self.positions_to_commit();
                    self.rejoin(commit);
                }
                Some(Change::Lost) => {
                    // Somebody else may read these by now: nothing of them is committed.
                    group.member_id.clear();
                    group.generation = -1;
                    self.positions.clear();
                    self.rejoin(BTreeMap::new());
                }
                Some(Change::Fatal(error)) => return Err(error),
            },
        }
        Ok(())
    }

    /// What is committed before a rebalance takes partitions away.
    fn positions_to_commit(&self) -> BTreeMap<PartitionName, i64> {
        if self.options.auto_commit.is_some() { self.known_positions() } else { BTreeMap::new() }
    }

    fn rejoin(&mut self, commit: BTreeMap<PartitionName, i64>) {
        if !self.is_cooperative() {
            self.positions.clear();
        }
        let owned = self.positions.keys().cloned().collect();
        let Some(group) = &mut self.group else { return };
        group.pulse = Arc::default();
        group.pulse.polled(self.client.now());
        let join = Join {
            client: self.client.clone(),
            pool: self.pool.clone(),
            options: self.options.clone(),
            group: group.id.clone(),
            topics: group.topics.clone(),
            member_id: group.member_id.clone(),
            generation: group.generation,
            owned,
            commits: self.commits.clone(),
            commit,
        };
        group.state = State::Joining(Box::pin(join.run()));
    }

    fn take_in(&mut self, joined: Joined) -> Result<(), ClientError> {
        let Joined { member, connection, assignment, partitions } = joined;
        let owned: BTreeSet<PartitionName> = self.positions.keys().cloned().collect();
        let gives_up = owned.difference(&assignment).next().is_some();
        // A cooperative member went on reading while it joined: what it gives up is committed as far as it came.
        let commit = self.positions_to_commit();
        self.positions.retain(|name, _| assignment.contains(name));
        self.epoch += 1;
        let (epoch, start) = (self.epoch, self.options.start);
        for name in &assignment {
            self.positions.entry(name.clone()).or_insert_with(|| Position::new(epoch, start, true));
        }
        let Some(group) = &mut self.group else { return Ok(()) };
        tracing::debug!(group = group.id, generation = member.generation, partitions = assignment.len(), "joined");
        group.member_id.clone_from(&member.member_id);
        group.generation = member.generation;
        group.partitions = partitions;
        if gives_up {
            // What was given up can be read by its new owner once we are back (KIP-429).
            self.rejoin(commit);
            return Ok(());
        }
        let spawner = self.client.runtime().spawner.new_group();
        spawner.spawn(
            "client heartbeats",
            beat(
                self.client.clone(),
                self.pool.clone(),
                self.options.clone(),
                member.clone(),
                connection.clone(),
                group.pulse.clone(),
            ),
        );
        group.state = State::In { member, connection, heartbeats: Heartbeats(spawner.group().clone()) };
        Ok(())
    }

    /// Joins again if a topic has other partitions than when they were distributed.
    pub(super) fn look_for_new_partitions(&mut self) {
        let cluster = self.client.known();
        let Some(group) = &self.group else { return };
        let count = |topic: &String| cluster.topics.get(topic).map_or(0, |topic| topic.partitions.len());
        let changed = group.topics.iter().any(|topic| count(topic) != group.partitions.get(topic).copied().unwrap_or(0));
        if changed && group.member().is_some() {
            group.pulse.report(Change::Rebalance);
        }
    }

    /// Leaves its group, if it has one, so that others need not wait for its session to end. Positions are committed
    /// before that with automatic commits. A static member stays: it is expected back.
    ///
    /// # Errors
    /// The offsets could not be committed, or the group could not be left; it is out of the group sooner or later.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let committed = if self.options.auto_commit.is_some() && self.group_is_joined() { self.commit().await } else { Ok(()) };
        let Some(group) = self.group.take() else { return committed };
        let State::In { member, connection, heartbeats } = group.state else { return committed };
        drop(heartbeats);
        if member.group_instance_id.is_some() {
            return committed;
        }
        let request = LeaveGroupRequest {
            group_id: member.group.clone(),
            member_id: member.member_id.clone(),
            members: vec![MemberIdentity {
                member_id: member.member_id,
                group_instance_id: None,
                reason: Some("the consumer is closed".into()),
            }],
        };
        connection.call(&request).await?;
        committed
    }

    fn group_is_joined(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.member().is_some())
    }

    /// The positions that are known.
    pub(super) fn known_positions(&self) -> BTreeMap<PartitionName, i64> {
        // A position that nobody read from yet is where the group is, or where it would begin.
        let known = self.positions.iter().filter_map(|(name, position)| Some((name.clone(), position.offset?)));
        known.collect()
    }
}
