//! Nodes over one commit log in memory, on virtual time, and members that speak to them as clients do.
#![allow(dead_code, reason = "each test binary uses its part")]

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::{Cell, CellOptions, JoinAs, Submission};
use strandline_commands::{CreateTopic, DeclareGone, Role};
use strandline_commit_log::{CommitLog, MemoryCommitLog};
use strandline_groups::{Groups, GroupsOptions};
use strandline_index::{Index, Outcome};
use strandline_runtime::Runtime;
use strandline_types::{Caller, Gone, Seq, TopicId};
use strandline_wire::ErrorCode;
use strandline_wire::messages::join_group::JoinGroupRequestProtocol;
use strandline_wire::messages::leave_group::MemberIdentity;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use strandline_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use strandline_wire::messages::sync_group::SyncGroupRequestAssignment;
use strandline_wire::messages::*;

pub const START_MS: i64 = 1_790_000_000_000;

/// One run of a node.
pub struct Node {
    pub cell: Cell,
    pub groups: Groups,
    /// This node's way to the log, with its faults.
    pub log: MemoryCommitLog,
    runtime: Runtime,
    killed: tokio::sync::watch::Sender<bool>,
}

impl Node {
    pub async fn start(world: &World, sole: bool, port: u16) -> Self {
        Self::with(world, sole, port, GroupsOptions::default()).await
    }

    pub async fn with(world: &World, sole: bool, port: u16, options: GroupsOptions) -> Self {
        let runtime = Runtime { spawner: world.runtime.spawner.new_group(), ..world.runtime.clone() };
        let log = world.log.for_node();
        let seam: Arc<dyn CommitLog> = Arc::new(log.clone());
        let roles = vec![Role::Ingest, Role::Reader];
        let join = JoinAs { host: "127.0.0.1".to_owned(), port, zone: String::new(), roles, sole };
        let cell_options = CellOptions { join, accept_clock: false, poll: Duration::from_millis(200) };
        let cell = Cell::start(runtime.clone(), seam, Index::default(), cell_options).await.unwrap();
        let groups = Groups::new(options, cell.clone());
        Self { cell, groups, log, runtime, killed: tokio::sync::watch::channel(false).0 }
    }

    /// Ends as a crash ends it.
    pub fn kill(&self) {
        self.runtime.spawner.group().abort_all();
        self.killed.send_replace(true);
    }

    /// What a connection to this node does: the answer, or none if the node dies first.
    pub async fn ask<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut killed = self.killed.subscribe();
        tokio::select! {
            answer = answer => Some(answer),
            _ = killed.wait_for(|killed| *killed) => None,
        }
    }

    /// Declares another run over.
    pub async fn declare_gone(&self, other: &Node) {
        self.cell.barrier().await.unwrap();
        let incarnation = other.cell.incarnation();
        let last_n = self.cell.view().nodes[&incarnation].last_n;
        let gone = DeclareGone { incarnation: incarnation.0, last_n };
        let outcome = self.cell.submit(Submission::one(gone)).await.unwrap().outcomes;
        assert_eq!(outcome, vec![Outcome::Done]);
    }

    pub async fn topic(&self, id: u8, name: &str, partitions: i32) {
        let topic =
            CreateTopic { topic_id: vec![id; 16], name: name.to_owned(), partitions, replication_factor: 1, configs: Vec::new() };
        let outcome = self.cell.submit(Submission::one(topic)).await.unwrap().outcomes;
        assert_eq!(outcome, vec![Outcome::Done]);
    }

    pub fn generation(&self, group: &str) -> i32 {
        self.cell.view().groups.get(group).map_or(-1, |group| group.generation)
    }

    pub async fn state(&self, group: &str) -> String {
        let request = DescribeGroupsRequest { groups: vec![group.to_owned()], ..DescribeGroupsRequest::default() };
        let answer = self.groups.describe_groups(&caller(), 5, request).await;
        answer.groups[0].group_state.clone()
    }

    pub async fn committed(&self, group: &str, topic: &str, partition: i32) -> i64 {
        let topics =
            vec![OffsetFetchRequestTopics { name: topic.to_owned(), partition_indexes: vec![partition], ..Default::default() }];
        let groups = vec![OffsetFetchRequestGroup { group_id: group.to_owned(), topics: Some(topics), ..Default::default() }];
        let answer = self.groups.offset_fetch(&caller(), 8, OffsetFetchRequest { groups, ..Default::default() }).await;
        assert_eq!(answer.groups[0].error_code, 0);
        answer.groups[0].topics[0].partitions[0].committed_offset
    }
}

/// What outlives the nodes.
pub struct World {
    pub runtime: Runtime,
    pub log: MemoryCommitLog,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let runtime = Runtime::simulated(seed, START_MS);
        let log = MemoryCommitLog::new(runtime.clone());
        Self { runtime, log }
    }
}

/// Over a connection that has only now begun.
pub fn caller() -> Caller {
    Caller::anonymous(Some("client".to_owned()), "/127.0.0.1".to_owned(), Seq(u64::MAX), Gone::default())
}

pub fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}

/// A member as a client library keeps it.
#[derive(Debug, Clone, Default)]
pub struct Member {
    pub group: String,
    pub member_id: String,
    pub instance: Option<String>,
    pub generation: i32,
    pub assignment: Bytes,
    pub protocols: Vec<&'static str>,
    pub session_timeout_ms: i32,
}

impl Member {
    pub fn new(group: &str) -> Self {
        Self { group: group.to_owned(), generation: -1, protocols: vec!["range"], session_timeout_ms: 10_000, ..Self::default() }
    }

    pub fn with_instance(group: &str, instance: &str) -> Self {
        Self { instance: Some(instance.to_owned()), ..Self::new(group) }
    }

    pub fn join_request(&self) -> JoinGroupRequest {
        // As the consumer protocol has it: version 0, one topic named `orders`, no user data.
        let metadata = Bytes::from_static(b"\0\0\0\0\0\x01\0\x06orders\xff\xff\xff\xff");
        let protocol = |name: &&str| JoinGroupRequestProtocol { name: (*name).to_owned(), metadata: metadata.clone() };
        JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: 60_000,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: self.protocols.iter().map(protocol).collect(),
            reason: None,
        }
    }

    /// Joins, as often as the coordinator asks it to.
    pub async fn join(&mut self, groups: &Groups) -> Result<JoinGroupResponse, ErrorCode> {
        loop {
            let answer = groups.join_group(&caller(), 9, self.join_request()).await;
            match code(answer.error_code) {
                ErrorCode::None => {
                    self.member_id.clone_from(&answer.member_id);
                    self.generation = answer.generation_id;
                    return Ok(answer);
                }
                ErrorCode::MemberIdRequired => self.member_id = answer.member_id,
                error => return Err(error),
            }
        }
    }

    pub async fn sync(&mut self, groups: &Groups, assignments: BTreeMap<String, Bytes>) -> Result<(), ErrorCode> {
        let assignments =
            assignments.into_iter().map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment });
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some(self.protocols[0].to_owned()),
            assignments: assignments.collect(),
        };
        let answer = groups.sync_group(&caller(), 5, request).await;
        match code(answer.error_code) {
            ErrorCode::None => {
                self.assignment = answer.assignment;
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Joins and syncs; a leader gives each member its own id as its assignment.
    pub async fn join_and_sync(&mut self, groups: &Groups) -> Result<(), ErrorCode> {
        let answer = self.join(groups).await?;
        let assignments = answer.members.iter().map(|member| (member.member_id.clone(), Bytes::from(member.member_id.clone())));
        let assignments = if answer.skip_assignment { BTreeMap::new() } else { assignments.collect() };
        self.sync(groups, assignments).await
    }

    pub async fn heartbeat(&self, groups: &Groups) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance.clone(),
        };
        code(groups.heartbeat(&caller(), 4, request).await.error_code)
    }

    pub async fn leave(&self, groups: &Groups) -> ErrorCode {
        let members =
            vec![MemberIdentity { member_id: self.member_id.clone(), group_instance_id: self.instance.clone(), reason: None }];
        let request = LeaveGroupRequest { group_id: self.group.clone(), members, ..LeaveGroupRequest::default() };
        let answer = groups.leave_group(&caller(), 5, request).await;
        if answer.error_code != 0 { code(answer.error_code) } else { code(answer.members[0].error_code) }
    }

    pub async fn commit(&self, groups: &Groups, topic: &str, partition: i32, offset: i64) -> ErrorCode {
        let request = commit_request(&self.group, &self.member_id, self.generation, topic, partition, offset);
        let request = OffsetCommitRequest { group_instance_id: self.instance.clone(), ..request };
        let answer = groups.offset_commit(&caller(), 9, request).await.unwrap();
        code(answer.topics[0].partitions[0].error_code)
    }
}

pub fn commit_request(
    group: &str,
    member_id: &str,
    generation: i32,
    topic: &str,
    partition: i32,
    offset: i64,
) -> OffsetCommitRequest {
    let partitions = vec![OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some("m".to_owned()),
    }];
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.to_owned(),
        topics: vec![OffsetCommitRequestTopic { name: topic.to_owned(), topic_id: TopicId::ZERO, partitions }],
        ..OffsetCommitRequest::default()
    }
}

/// Two members join at once and sync; the leader comes first.
pub async fn pair(groups: &Groups, group: &str) -> (Member, Member) {
    let (mut a, mut b) = (Member::new(group), Member::new(group));
    let (ja, jb) = tokio::join!(a.join_and_sync(groups), b.join_and_sync(groups));
    assert_eq!((ja, jb), (Ok(()), Ok(())));
    (a, b)
}

pub async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
