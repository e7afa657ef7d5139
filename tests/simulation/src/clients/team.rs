//! Members of consumer groups by the classic protocol: they join, share the partitions out, read on from what is committed, and
//! commit; leave, or go without a word. No partition has two owners in one generation, and what is committed never goes back.

use super::groups::coordinator;
use crate::core::locked;
use crate::dice::Dice;
use crate::network::Link;
use crate::node::Node;
use crate::world::{TopicInfo, World};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::join_group::JoinGroupRequestProtocol;
use strandline_wire::messages::leave_group::MemberIdentity;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use strandline_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use strandline_wire::messages::sync_group::SyncGroupRequestAssignment;
use strandline_wire::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};

const SESSION: Duration = Duration::from_secs(8);
/// Tries of a member to find its place once there are no faults.
const PATIENCE: usize = 60;

/// What the members of a group say to a checker.
pub(crate) struct Team {
    number: u64,
    name: String,
    topic: TopicInfo,
    /// (generation, partition) → its owner.
    owners: Mutex<BTreeMap<(i32, i32), String>>,
    /// Per partition, the largest offset that is surely committed, and the largest that was tried.
    kept: Mutex<BTreeMap<i32, (i64, i64)>>,
}

struct Member {
    world: Arc<World>,
    team: Arc<Team>,
    link: Link,
    dice: Dice,
    name: String,
    id: String,
    /// Where it has read to: (generation, partition → offset).
    place: Option<(i32, BTreeMap<i32, i64>)>,
    /// A commit of an earlier generation that is still on its way.
    late: Option<(i32, Vec<(i32, i64)>)>,
}

impl Team {
    pub fn new(number: u32, topic: TopicInfo) -> Arc<Self> {
        Arc::new(Self {
            number: number.into(),
            name: format!("team-{number}"),
            topic,
            owners: Mutex::default(),
            kept: Mutex::default(),
        })
    }
}

/// A member works until the run ends, and then finds its place once more. False if it does not.
pub(crate) async fn take_part(world: Arc<World>, team: Arc<Team>, number: u32) {
    let dice = Dice::new(world.seed, 600 + u64::from(number));
    let name = format!("{} member {number}", team.name);
    let link = Link::new(&world, 6_000 + 100 * team.number + u64::from(number));
    let mut member = Member { world, team, link, dice, name, id: String::new(), place: None, late: None };
    while !member.world.is_ending() {
        member.step().await;
        let wait = member.dice.millis(100, 2_000);
        member.world.core.runtime.sleep(wait).await;
        if member.dice.chance(3) {
            member.go_away().await;
        }
    }
}

/// The group goes on: a member that comes when all is quiet gets its place, and what was committed is there.
pub(crate) async fn goes_on(world: Arc<World>, team: Arc<Team>, number: u32) {
    let dice = Dice::new(world.seed, 700 + u64::from(number));
    let name = format!("{} late member {number}", team.name);
    let link = Link::new(&world, 7_000 + 100 * team.number + u64::from(number));
    let mut member = Member { world, team, link, dice, name, id: String::new(), place: None, late: None };
    for _ in 0..PATIENCE {
        if member.world.core.has_failed() {
            return;
        }
        member.step().await;
        if member.place.is_some() && member.commit().await == Some(ErrorCode::None) {
            return member.leave().await;
        }
        member.world.core.runtime.sleep(Duration::from_secs(1)).await;
    }
    member.world.core.fail(format!("{} does not get a place in its group, without any fault", member.name));
}

impl Member {
    fn say(&self, line: &str) {
        self.world.core.trace(format!("{} {line}", self.name));
    }

    /// Whoever some node says it is.
    async fn coordinator(&self) -> Option<Arc<Node>> {
        coordinator(&self.world, &self.link, &self.dice, &self.team.name).await
    }

    async fn step(&mut self) {
        if self.place.is_none() {
            self.find_place().await;
            return;
        }
        if self.dice.chance(15) {
            self.commit_late().await;
        } else if self.dice.chance(50) {
            self.beat().await;
        } else {
            self.commit().await;
        }
    }

    /// A member that is not known any more begins anew; one of an older generation joins again.
    fn lose_place(&mut self, code: ErrorCode) {
        match code {
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.id = String::new();
                self.place = None;
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.place = None,
            _ => {}
        }
    }

    async fn find_place(&mut self) {
        let Some(node) = self.coordinator().await else { return self.say("finds no coordinator") };
        let protocols = vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::from_static(b"all") }];
        let request = JoinGroupRequest {
            group_id: self.team.name.clone(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: 10_000,
            member_id: self.id.clone(),
            protocol_type: "simulated".to_owned(),
            protocols,
            ..JoinGroupRequest::default()
        };
        let Some(joined) = self.link.call(&node, 7, &request).await else {
            return self.say(&format!("joins at {}: no answer", node.name()));
        };
        let code = ErrorCode::from_code(joined.error_code);
        if code == ErrorCode::MemberIdRequired {
            self.id.clone_from(&joined.member_id);
            return;
        }
        if code != ErrorCode::None {
            self.say(&format!("joins at {}: {code}", node.name()));
            return self.lose_place(code);
        }
        self.id.clone_from(&joined.member_id);
        let generation = joined.generation_id;
        // The leader deals the partitions out, one after another.
        let mut shares: BTreeMap<String, Vec<u8>> =
            joined.members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect();
        let names: Vec<String> = shares.keys().cloned().collect();
        for partition in 0..self.team.topic.partitions {
            if let Some(share) = names.get(partition as usize % names.len().max(1)).and_then(|name| shares.get_mut(name)) {
                share.push(partition as u8);
            }
        }
        let assignments =
            shares.into_iter().map(|(member_id, share)| SyncGroupRequestAssignment { member_id, assignment: share.into() });
        let request = SyncGroupRequest {
            group_id: self.team.name.clone(),
            generation_id: generation,
            member_id: self.id.clone(),
            protocol_type: Some("simulated".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: assignments.collect(),
            ..SyncGroupRequest::default()
        };
        let Some(synced) = self.link.call(&node, 5, &request).await else { return };
        let code = ErrorCode::from_code(synced.error_code);
        self.say(&format!("at {}: generation {generation}, {code}, {:?}", node.name(), synced.assignment));
        if code != ErrorCode::None {
            return self.lose_place(code);
        }
        let mut offsets = BTreeMap::new();
        for partition in synced.assignment.iter().map(|partition| i32::from(*partition)) {
            let owner = locked(&self.team.owners).entry((generation, partition)).or_insert_with(|| self.id.clone()).clone();
            if owner != self.id {
                self.world.core.fail(format!(
                    "{} generation {generation}: partition {partition} is given to {owner} and to {}",
                    self.team.name, self.id
                ));
            }
            let Some(offset) = self.committed(partition).await else { return };
            offsets.insert(partition, offset);
        }
        self.place = Some((generation, offsets));
    }

    /// What is committed; none if nobody says.
    async fn committed(&self, partition: i32) -> Option<i64> {
        let node = self.coordinator().await?;
        let least = locked(&self.team.kept).get(&partition).map_or(-1, |(kept, _)| *kept);
        let topics = vec![OffsetFetchRequestTopics {
            name: self.team.topic.name.clone(),
            partition_indexes: vec![partition],
            ..Default::default()
        }];
        let groups =
            vec![OffsetFetchRequestGroup { group_id: self.team.name.clone(), topics: Some(topics), ..Default::default() }];
        let request = OffsetFetchRequest { groups, ..Default::default() };
        let answer = self.link.call(&node, 8, &request).await?;
        let group = answer.groups.first()?;
        let found = group.topics.first()?.partitions.first()?;
        if group.error_code != 0 || found.error_code != 0 {
            return None;
        }
        let most = locked(&self.team.kept).get(&partition).map_or(-1, |(_, tried)| *tried);
        if found.committed_offset < least || found.committed_offset > most {
            self.world.core.fail(format!(
                "{} says that {}-{partition} is at {}; {least} was kept, {most} was tried",
                node.name(),
                self.team.name,
                found.committed_offset
            ));
        }
        Some(found.committed_offset)
    }

    async fn beat(&mut self) {
        let (Some(node), Some((generation_id, _))) = (self.coordinator().await, &self.place) else { return };
        let request = HeartbeatRequest {
            group_id: self.team.name.clone(),
            generation_id: *generation_id,
            member_id: self.id.clone(),
            ..HeartbeatRequest::default()
        };
        let Some(answer) = self.link.call(&node, 4, &request).await else { return };
        let code = ErrorCode::from_code(answer.error_code);
        if code != ErrorCode::None {
            self.say(&format!("beats at {}: {code}", node.name()));
            self.lose_place(code);
        }
    }

    /// Reads on, and says so.
    async fn commit(&mut self) -> Option<ErrorCode> {
        let node = self.coordinator().await?;
        let step = self.dice.between(0, 3) as i64;
        let (generation, offsets) = self.place.as_mut()?;
        let generation = *generation;
        let offsets: Vec<(i32, i64)> = offsets
            .iter_mut()
            .map(|(partition, offset)| {
                *offset = (*offset).max(0) + step;
                (*partition, *offset)
            })
            .collect();
        for (partition, offset) in &offsets {
            let mut kept = locked(&self.team.kept);
            let (_, tried) = kept.entry(*partition).or_insert((-1, -1));
            *tried = (*tried).max(*offset);
        }
        let code = self.send_commit(&node, generation, &offsets).await?;
        self.late = Some((generation, offsets.clone()));
        if code == ErrorCode::None {
            for (partition, offset) in &offsets {
                if let Some((kept, _)) = locked(&self.team.kept).get_mut(partition) {
                    *kept = (*kept).max(*offset);
                }
            }
        } else {
            self.say(&format!("commits at {}: {code}", node.name()));
            self.lose_place(code);
        }
        Some(code)
    }

    /// The last commit of an earlier generation arrives only now: it must not count.
    async fn commit_late(&mut self) {
        let (Some(node), Some((now, _)), Some((generation, offsets))) = (self.coordinator().await, &self.place, &self.late)
        else {
            return;
        };
        let (now, generation) = (*now, *generation);
        if generation >= now || offsets.is_empty() {
            return;
        }
        let code = self.send_commit(&node, generation, offsets).await;
        self.say(&format!("commits late, of generation {generation} in {now}: {code:?}"));
        if code == Some(ErrorCode::None) {
            self.world.core.fail(format!("{} took a commit of generation {generation} in {now}", node.name()));
        }
    }

    async fn send_commit(&self, node: &Arc<Node>, generation: i32, offsets: &[(i32, i64)]) -> Option<ErrorCode> {
        let partitions = offsets
            .iter()
            .map(|(partition, offset)| OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_leader_epoch: -1,
                committed_metadata: None,
            })
            .collect();
        let request = OffsetCommitRequest {
            group_id: self.team.name.clone(),
            generation_id_or_member_epoch: generation,
            member_id: self.id.clone(),
            topics: vec![OffsetCommitRequestTopic { name: self.team.topic.name.clone(), topic_id: TopicId::ZERO, partitions }],
            ..OffsetCommitRequest::default()
        };
        let answer = self.link.call(node, 9, &request).await?;
        let code = match answer.topics.first().and_then(|topic| topic.partitions.first()) {
            Some(partition) => ErrorCode::from_code(partition.error_code),
            // It owns nothing.
            None => ErrorCode::None,
        };
        Some(code)
    }

    async fn leave(&mut self) {
        let Some(node) = self.coordinator().await else { return };
        let members = vec![MemberIdentity { member_id: self.id.clone(), ..MemberIdentity::default() }];
        let request = LeaveGroupRequest { group_id: self.team.name.clone(), members, ..LeaveGroupRequest::default() };
        let answer = self.link.call(&node, 5, &request).await;
        self.say(&format!("leaves: {:?}", answer.map(|answer| ErrorCode::from_code(answer.error_code))));
        self.id = String::new();
        self.place = None;
    }

    /// Leaves, or is silent for longer than its session, and may go on as if nothing had been.
    async fn go_away(&mut self) {
        if self.dice.chance(40) {
            return self.leave().await;
        }
        let silence = self.dice.millis(5_000, 30_000);
        self.say("is silent");
        self.world.core.runtime.sleep(silence).await;
    }
}
