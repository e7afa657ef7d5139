//! Membership in a group, from the consumer's side: when to join, and what an assignment changes.

use super::Consumer;
use super::assignor::Assignor;
use super::heartbeat::{Change, Member, Pulse, beat};
use super::join::{Join, Joined, MemberId};
use super::position::Position;
use crate::admin::PartitionName;
use crate::client::Client;
use crate::error::{ClientError, Retry, check};
use crate::wait::within;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_runtime::TaskGroup;
use strandline_wire::ErrorCode;
use strandline_wire::messages::LeaveGroupRequest;
use strandline_wire::messages::leave_group::MemberIdentity;

/// How often leaving is tried: what finds the coordinator and what leads to it may both be gone, unnoticed.
const LEAVE_TRIES: usize = 3;

pub(super) struct Group {
    id: String,
    topics: BTreeSet<String>,
    member_id: MemberId,
    generation: i32,
    /// The join was told that this member is out.
    lost: Arc<AtomicBool>,
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
            member_id: MemberId::default(),
            generation: -1,
            lost: Arc::default(),
            state: State::Out,
            pulse: Arc::default(),
            partitions: BTreeMap::new(),
        }
    }

    pub(super) fn topics(&self) -> &BTreeSet<String> {
        &self.topics
    }

    /// The membership, while there is one.
    pub(super) fn member(&self) -> Option<&Member> {
        match &self.state {
            State::In { member, .. } => Some(member),
            _ => None,
        }
    }

    /// Takes in what the group said to a commit: it has gone on without this member, or is about to.
    pub(super) fn heard(&self, error: &ClientError) {
        // A commit is told so where the group is gone.
        let is_gone = error.code() == Some(ErrorCode::GroupIdNotFound);
        let change = if is_gone { Some(Change::Lost) } else { Change::of(error) };
        if let Some(change) = change.filter(|_| self.member().is_some()) {
            self.pulse.report(change);
        }
    }

    /// Waits until there is something for [`Consumer::drive_group`] to do. Given up half-way it loses nothing: a join goes
    /// on where it was, and a notice that nobody took stays.
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
        Some(self.group.as_ref()?.member()?.generation)
    }

    /// Forgets what it read if it is out of the group, also while it joins as somebody new: others may have read these by now, and
    /// have committed further, so that nothing of them is committed.
    pub(super) fn give_up_lost(&mut self) {
        let Some(group) = &mut self.group else { return };
        if group.lost.swap(false, Ordering::AcqRel) {
            group.generation = -1;
            self.positions.clear();
        }
    }

    /// Joins, joins again, or takes an assignment in, without waiting.
    pub(super) fn drive_group(&mut self) -> Result<(), ClientError> {
        self.give_up_lost();
        let now = self.client.now();
        let Some(group) = &mut self.group else { return Ok(()) };
        group.pulse.polled(now);
        match std::mem::replace(&mut group.state, State::Out) {
            State::Joining(join) => group.state = State::Joining(join),
            State::Arrived(result) => return result.and_then(|joined| self.take_in(joined)),
            State::Out => self.rejoin(BTreeMap::new()),
            State::In { member, heartbeats } => match group.pulse.take() {
                None => group.state = State::In { member, heartbeats },
                Some(Change::Rebalance) => {
                    let commit = self.positions_to_commit();
                    self.rejoin(commit);
                }
                Some(Change::Lost) => {
                    group.member_id.clear();
                    group.lost.store(true, Ordering::Release);
                    self.give_up_lost();
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
            pool: self.group_pool.clone(),
            options: self.options.clone(),
            group: group.id.clone(),
            topics: group.topics.clone(),
            member_id: group.member_id.clone(),
            generation: group.generation,
            owned,
            lost: group.lost.clone(),
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
                self.group_pool.clone(),
                self.options.clone(),
                member.clone(),
                connection,
                group.pulse.clone(),
            ),
        );
        group.state = State::In { member, heartbeats: Heartbeats(spawner.group().clone()) };
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

    /// Leaves its group, if it has one or is about to join it, so that others need not wait for its session to end. Positions
    /// are committed before that with automatic commits. A static member stays: it is expected back.
    ///
    /// # Errors
    /// The offsets could not be committed, or the group could not be left; it is out of the group sooner or later.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let committed = if self.options.auto_commit.is_some() && self.group_is_joined() { self.commit().await } else { Ok(()) };
        let Some(Group { id, member_id, state, .. }) = self.group.take() else { return committed };
        // Ends heartbeats, and a join.
        drop(state);
        let member_id = member_id.get();
        if self.options.group_instance_id.is_some() || member_id.is_empty() {
            return committed;
        }
        let after = self.client.options().request_timeout;
        let left = within(self.client.runtime(), after, leave(&self.client, &id, &member_id)).await;
        let late = || Err(ClientError::TimedOut { what: format!("leaving group \"{id}\""), after, last: None });
        committed.and(left.unwrap_or_else(late))
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

/// Tells the coordinator, which is found anew: the one that was joined may have been started again since, or be another.
async fn leave(client: &Client, group: &str, member_id: &str) -> Result<(), ClientError> {
    let request = LeaveGroupRequest {
        group_id: group.to_owned(),
        member_id: member_id.to_owned(),
        members: vec![MemberIdentity {
            member_id: member_id.to_owned(),
            group_instance_id: None,
            reason: Some("the consumer is closed".into()),
        }],
    };
    let mut backoff = client.backoff();
    let mut tries = 1;
    loop {
        match leave_once(client, &request).await {
            // It is out already, maybe by a try whose answer was lost.
            Err(error) if error.code() == Some(ErrorCode::UnknownMemberId) => return Ok(()),
            Err(error) if error.retry() != Retry::Never && tries < LEAVE_TRIES => {
                tracing::debug!(group, %error, "leaving again");
                client.runtime().sleep(backoff.next(client.runtime())).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

async fn leave_once(client: &Client, request: &LeaveGroupRequest) -> Result<(), ClientError> {
    let broker = client.find_coordinator(&request.group_id).await?;
    // Not over the member's own connection: a join may still be waiting on that, and the answer would wait behind it.
    let response = client.connection(&broker).await?.call(request).await?;
    let what = || format!("group \"{}\"", request.group_id);
    check(response.error_code, what, None)?;
    response.members.iter().try_for_each(|member| check(member.error_code, what, None))
}
