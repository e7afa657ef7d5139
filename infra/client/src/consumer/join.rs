//! Joining a group: JoinGroup, the leader's assignment, SyncGroup (the classic protocol).

use super::ConsumerOptions;
use super::assignor::{Assignor, MemberSubscription, assign};
use super::heartbeat::{Member, coordinator};
use crate::admin::PartitionName;
use crate::client::Client;
use crate::connection::Connection;
use crate::error::{ClientError, Retry, check};
use crate::pool::Pool;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strandline_wire::ErrorCode;
use strandline_wire::messages::consumer_protocol::{
    CONSUMER_PROTOCOL_VERSION, ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartitions,
};
use strandline_wire::messages::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use strandline_wire::messages::sync_group::SyncGroupRequestAssignment;
use strandline_wire::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest};

const PROTOCOL_TYPE: &str = "consumer";
/// The version in which assignments are written; all clients read it.
const ASSIGNMENT_VERSION: i16 = 1;

/// The id that the group gave, empty before; shared with the join, which may be given up just after it got one.
#[derive(Debug, Clone, Default)]
pub(super) struct MemberId(Arc<Mutex<String>>);

impl MemberId {
    pub(super) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, id: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = id.to_owned();
    }

    /// As somebody new.
    pub(super) fn clear(&self) {
        self.set("");
    }
}

/// What a join needs; it runs on its own.
pub(super) struct Join {
    pub(super) client: Client,
    pub(super) pool: Arc<Pool>,
    pub(super) options: Arc<ConsumerOptions>,
    pub(super) group: String,
    pub(super) topics: BTreeSet<String>,
    pub(super) member_id: MemberId,
    pub(super) generation: i32,
    pub(super) owned: Vec<PartitionName>,
    /// Set once the group puts this member out: others may read, and commit, what it had.
    pub(super) lost: Arc<AtomicBool>,
    pub(super) commits: super::commit::Turns,
    /// Offsets to commit before anything is given up.
    pub(super) commit: BTreeMap<PartitionName, i64>,
}

/// What a join brought.
pub(super) struct Joined {
    pub(super) member: Member,
    pub(super) connection: Arc<Connection>,
    pub(super) assignment: BTreeSet<PartitionName>,
    /// Partitions of each topic, as the assignment's makers may have seen them.
    pub(super) partitions: BTreeMap<String, usize>,
}

impl Join {
    /// Joins, again and again until it works or cannot.
    pub(super) async fn run(mut self) -> Result<Joined, ClientError> {
        let mut backoff = self.client.backoff();
        self.commit_before().await;
        loop {
            let error = match self.attempt().await {
                Ok(joined) => return Ok(joined),
                Err(error) => error,
            };
            match error.code() {
                // The coordinator gave us an id to join with (KIP-394), or the group moved on: at once again.
                Some(ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress) => continue,
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    self.member_id.clear();
                    self.owned.clear();
                    self.generation = -1;
                    self.lost.store(true, Ordering::Release);
                }
                _ if error.retry() == Retry::Never => return Err(error),
                _ => {}
            }
            tracing::debug!(group = self.group, %error, "joining again");
            self.client.retried(&error);
            self.client.runtime().sleep(backoff.next(self.client.runtime())).await;
        }
    }

    async fn commit_before(&mut self) {
        let member_id = self.member_id.get();
        if self.commit.is_empty() || member_id.is_empty() {
            return;
        }
        let commit = super::commit::Commit {
            turn: self.commits.next(&self.commit),
            client: self.client.clone(),
            pool: self.pool.clone(),
            member: Member {
                group: self.group.clone(),
                member_id,
                group_instance_id: self.options.group_instance_id.clone(),
                generation: self.generation,
            },
            offsets: std::mem::take(&mut self.commit),
        };
        if let Err(error) = commit.run().await {
            tracing::warn!(group = self.group, %error, "offsets were not committed before the rebalance");
        }
    }

    async fn attempt(&mut self) -> Result<Joined, ClientError> {
        let connection = coordinator(&self.client, &self.pool, &self.group).await?;
        let joined = self.join(&connection).await?;
        let protocol = joined.protocol_name.clone().unwrap_or_default();
        let (assignments, partitions) = if joined.leader == joined.member_id && !joined.skip_assignment {
            self.lead(&protocol, &joined.members).await?
        } else {
            (Vec::new(), self.partition_counts(self.topics.clone()).await?)
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: self.options.group_instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(protocol),
            assignments,
        };
        let response = connection.call_capped(i16::MAX, self.rebalance_wait(), &request).await?;
        check(response.error_code, || format!("group \"{}\"", self.group), None)?;
        let assignment = self.read_assignment(response.assignment)?;
        self.generation = joined.generation_id;
        Ok(Joined {
            member: Member {
                group: self.group.clone(),
                member_id: joined.member_id,
                group_instance_id: self.options.group_instance_id.clone(),
                generation: joined.generation_id,
            },
            connection,
            assignment,
            partitions: partitions.into_iter().map(|(topic, count)| (topic, count.max(0) as usize)).collect(),
        })
    }

    async fn join(&mut self, connection: &Arc<Connection>) -> Result<JoinGroupResponse, ClientError> {
        let milliseconds = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let metadata = self.subscription();
        let protocol =
            |assignor: &Assignor| JoinGroupRequestProtocol { name: assignor.name().into(), metadata: metadata.clone() };
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: milliseconds(self.options.session_timeout),
            rebalance_timeout_ms: milliseconds(self.options.rebalance_timeout),
            member_id: self.member_id.get(),
            group_instance_id: self.options.group_instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: self.options.assignors.iter().map(protocol).collect(),
            reason: None,
        };
        let response = connection.call_capped(i16::MAX, self.rebalance_wait(), &request).await?;
        if !response.member_id.is_empty() {
            self.member_id.set(&response.member_id);
        }
        check(response.error_code, || format!("group \"{}\"", self.group), None)?;
        Ok(response)
    }

    /// The others get as long as a rebalance may take; some time more for the way.
    fn rebalance_wait(&self) -> Duration {
        self.options.rebalance_timeout + Duration::from_secs(10)
    }

    fn subscription(&self) -> Bytes {
        let subscription = ConsumerProtocolSubscription {
            topics: self.topics.iter().cloned().collect(),
            // Where older clients of the cooperative assignor look for the generation.
            user_data: Some(Bytes::copy_from_slice(&self.generation.to_be_bytes())),
            owned_partitions: by_topic(&self.owned),
            generation_id: self.generation,
            rack_id: Some(self.options.rack.clone()).filter(|rack| !rack.is_empty()),
        };
        subscription.to_bytes(CONSUMER_PROTOCOL_VERSION)
    }

    /// As the leader: who reads what.
    async fn lead(
        &self,
        protocol: &str,
        members: &[JoinGroupResponseMember],
    ) -> Result<(Vec<SyncGroupRequestAssignment>, BTreeMap<String, i32>), ClientError> {
        let assignor = Assignor::of_name(protocol).ok_or_else(|| {
            ClientError::Invalid(format!("group \"{}\" chose the assignor `{protocol}`, which is not known here", self.group))
        })?;
        let mut subscriptions = BTreeMap::new();
        for member in members {
            subscriptions.insert(member.member_id.clone(), self.read_subscription(member)?);
        }
        let topics = subscriptions.values().flat_map(|member: &MemberSubscription| member.topics.iter().cloned()).collect();
        let partitions = self.partition_counts(topics).await?;
        let assignments = assign(assignor, &subscriptions, &partitions)
            .into_iter()
            .map(|(member_id, partitions)| {
                let assignment = ConsumerProtocolAssignment { assigned_partitions: by_topic(&partitions), user_data: None };
                SyncGroupRequestAssignment { member_id, assignment: assignment.to_bytes(ASSIGNMENT_VERSION) }
            })
            .collect();
        Ok((assignments, partitions))
    }

    /// Topics that do not exist have no partitions and no error: they may come to be.
    async fn partition_counts(&self, topics: BTreeSet<String>) -> Result<BTreeMap<String, i32>, ClientError> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        match self.client.refresh(&names).await {
            Ok(()) => {}
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
            Err(error) => return Err(error),
        }
        let cluster = self.client.known();
        let known = names.iter().filter_map(|name| cluster.topics.get(*name));
        Ok(known.map(|topic| (topic.name.clone(), topic.partitions.len() as i32)).collect())
    }

    fn read_subscription(&self, member: &JoinGroupResponseMember) -> Result<MemberSubscription, ClientError> {
        let what = || format!("group \"{}\": a subscription that can be read from member {}", self.group, member.member_id);
        let subscription =
            ConsumerProtocolSubscription::from_bytes(member.metadata.clone()).map_err(|_| ClientError::Missing(what()))?;
        let in_user_data = subscription.user_data.as_ref().and_then(|data| data.first_chunk::<4>());
        let generation = match (subscription.generation_id, in_user_data) {
            (-1, Some(bytes)) => i32::from_be_bytes(*bytes),
            (generation, _) => generation,
        };
        Ok(MemberSubscription {
            topics: subscription.topics.into_iter().collect(),
            owned: flat(subscription.owned_partitions),
            generation,
            group_instance_id: member.group_instance_id.clone(),
        })
    }

    fn read_assignment(&self, bytes: Bytes) -> Result<BTreeSet<PartitionName>, ClientError> {
        if bytes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let assignment = ConsumerProtocolAssignment::from_bytes(bytes)
            .map_err(|_| ClientError::Missing(format!("group \"{}\": an assignment that can be read", self.group)))?;
        Ok(flat(assignment.assigned_partitions).into_iter().collect())
    }
}

fn by_topic(partitions: &[PartitionName]) -> Vec<ConsumerProtocolTopicPartitions> {
    let mut topics: BTreeMap<&String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    let topic = |(topic, partitions): (&String, Vec<i32>)| ConsumerProtocolTopicPartitions { topic: topic.clone(), partitions };
    topics.into_iter().map(topic).collect()
}

fn flat(topics: Vec<ConsumerProtocolTopicPartitions>) -> Vec<PartitionName> {
    let partitions = |topic: ConsumerProtocolTopicPartitions| {
        topic.partitions.into_iter().map(move |partition| (topic.topic.clone(), partition))
    };
    topics.into_iter().flat_map(partitions).collect()
}
