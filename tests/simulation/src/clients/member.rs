//! Members of consumer groups by the classic protocol: they join, share the partitions out, read on from what is committed; leave, or go
//! without a word.

use super::team::Team;
use crate::dice::Dice;
use crate::network::Link;
use crate::node::Node;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_wire::ErrorCode;
use strandline_wire::messages::join_group::JoinGroupRequestProtocol;
use strandline_wire::messages::leave_group::MemberIdentity;
use strandline_wire::messages::sync_group::SyncGroupRequestAssignment;
use strandline_wire::messages::{HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest};

const SESSION: Duration = Duration::from_secs(8);

/// Where a member has read to: its generation, and partition → offset.
pub(super) type Place = (i32, BTreeMap<i32, i64>);

pub(super) struct Member {
    pub(super) world: Arc<World>,
    pub(super) team: Arc<Team>,
    pub(super) link: Link,
    pub(super) dice: Dice,
    name: String,
    /// Of its links in the run: the first, and how many there were.
    client: u64,
    links: u64,
    /// As the coordinator gave it; empty for none.
    pub(super) id: String,
    /// A static member's id, which it has from elsewhere (KIP-345).
    pub(super) instance: Option<String>,
    pub(super) place: Option<Place>,
    /// How many partitions it has dealt out, as the leader of its generation.
    dealt: Option<i32>,
    /// A commit of an earlier generation that is still on its way.
    pub(super) late: Option<(i32, Vec<(i32, i64)>)>,
}

impl Member {
    pub fn new(world: Arc<World>, team: Arc<Team>, dice: Dice, name: String, client: u64, instance: Option<String>) -> Self {
        let link = Link::new(&world, client);
        let id = String::new();
        Self { world, team, link, dice, name, client, links: 0, id, instance, place: None, dealt: None, late: None }
    }

    /// The same client once more, which knows nothing but its static id.
    pub fn anew(&self) -> Self {
        let links = self.links + 1;
        let link = Link::new(&self.world, 60_000 + 100 * self.client + links);
        let (world, team, dice) = (self.world.clone(), self.team.clone(), self.dice.clone());
        let (name, instance, id) = (self.name.clone(), self.instance.clone(), String::new());
        Self { world, team, link, dice, name, client: self.client, links, id, instance, place: None, dealt: None, late: None }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn has_place(&self) -> bool {
        self.place.is_some()
    }

    pub fn say(&self, line: &str) {
        self.world.core.trace(format!("{} {line}", self.name));
    }

    pub async fn pause(&self, least_ms: u64, most_ms: u64) {
        self.world.core.runtime.sleep(self.dice.millis(least_ms, most_ms)).await;
    }

    pub async fn coordinator(&self) -> Option<Arc<Node>> {
        self.team.coordinator(&self.world, &self.link, &self.dice).await
    }

    pub async fn step(&mut self) {
        // A leader deals anew what has come since. For that it joins again.
        if self.dealt.take_if(|dealt| *dealt < self.team.partitions(&self.world)).is_some() {
            self.say("leads, and there are more partitions");
            self.place = None;
        }
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
    pub fn lose_place(&mut self, code: ErrorCode) {
        match code {
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::GroupIdNotFound => {
                self.id = String::new();
                self.place = None;
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.place = None,
            _ => {}
        }
    }

    async fn join(&mut self, node: &Arc<Node>) -> Option<JoinGroupResponse> {
        let protocols = vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata: self.team.metadata() }];
        let request = JoinGroupRequest {
            group_id: self.team.name().to_owned(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: 10_000,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            protocol_type: self.team.protocol_type().to_owned(),
            protocols,
            ..JoinGroupRequest::default()
        };
        // From version 9 on a static leader that comes back is told not to deal anew.
        let version = if self.instance.is_some() { 9 } else { 7 };
        let Some(joined) = self.link.call(node, version, &request).await else {
            self.say(&format!("joins at {}: no answer", node.name()));
            return None;
        };
        let code = ErrorCode::from_code(joined.error_code);
        if code == ErrorCode::MemberIdRequired {
            self.id.clone_from(&joined.member_id);
            return None;
        }
        if code != ErrorCode::None {
            self.say(&format!("joins at {}: {code}", node.name()));
            self.lose_place(code);
            return None;
        }
        self.id.clone_from(&joined.member_id);
        Some(joined)
    }

    /// The leader deals the partitions out, one after another.
    fn deal(&mut self, joined: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
        self.dealt = None;
        if joined.skip_assignment || joined.members.is_empty() {
            return Vec::new();
        }
        let mut shares: BTreeMap<String, Vec<u8>> =
            joined.members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect();
        let names: Vec<String> = shares.keys().cloned().collect();
        let partitions = self.team.partitions(&self.world);
        self.dealt = Some(partitions);
        for partition in 0..partitions {
            if let Some(share) = names.get(partition as usize % names.len()).and_then(|name| shares.get_mut(name)) {
                share.push(partition as u8);
            }
        }
        shares.into_iter().map(|(member_id, share)| SyncGroupRequestAssignment { member_id, assignment: share.into() }).collect()
    }

    pub async fn find_place(&mut self) {
        let Some(node) = self.coordinator().await else { return self.say("finds no coordinator") };
        let Some(joined) = self.join(&node).await else { return };
        let generation = joined.generation_id;
        let request = SyncGroupRequest {
            group_id: self.team.name().to_owned(),
            generation_id: generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            protocol_type: Some(self.team.protocol_type().to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: self.deal(&joined),
        };
        let Some(synced) = self.link.call(&node, 5, &request).await else { return };
        let code = ErrorCode::from_code(synced.error_code);
        self.say(&format!("at {}: generation {generation}, {code}, {:?}", node.name(), synced.assignment));
        if code != ErrorCode::None {
            return self.lose_place(code);
        }
        let partitions: Vec<i32> = synced.assignment.iter().map(|partition| i32::from(*partition)).collect();
        let owner = self.instance.as_ref().unwrap_or(&self.id);
        self.team.own(&self.world, generation, &self.id, owner, &partitions);
        let mut offsets = BTreeMap::new();
        for partition in partitions {
            let Some(offset) = self.committed(partition).await else { return };
            offsets.insert(partition, offset);
        }
        self.place = Some((generation, offsets));
    }

    async fn beat(&mut self) {
        let (Some(node), Some((generation_id, _))) = (self.coordinator().await, &self.place) else { return };
        let request = HeartbeatRequest {
            group_id: self.team.name().to_owned(),
            generation_id: *generation_id,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
        };
        let Some(answer) = self.link.call(&node, 4, &request).await else { return };
        let code = ErrorCode::from_code(answer.error_code);
        if code != ErrorCode::None {
            self.say(&format!("beats at {}: {code}", node.name()));
            self.lose_place(code);
        }
    }

    pub async fn leave(&mut self) {
        let Some(node) = self.coordinator().await else { return };
        // Static members do not leave: an operator takes them out, by their static id.
        let member_id = if self.instance.is_some() { String::new() } else { self.id.clone() };
        let members = vec![MemberIdentity { member_id, group_instance_id: self.instance.clone(), ..MemberIdentity::default() }];
        let request = LeaveGroupRequest { group_id: self.team.name().to_owned(), members, ..LeaveGroupRequest::default() };
        let answer = self.link.call(&node, 5, &request).await;
        self.say(&format!("leaves: {:?}", answer.map(|answer| ErrorCode::from_code(answer.error_code))));
        self.id = String::new();
        self.place = None;
    }

    /// Now and then it leaves, or is silent for longer than its session, and may go on as if nothing had been. Static members do more.
    pub async fn go_away_at_times(&mut self) {
        if self.instance.is_some() {
            return self.break_down_at_times().await;
        }
        if !self.dice.chance(3) {
            return;
        }
        if self.dice.chance(40) {
            return self.leave().await;
        }
        self.say("is silent");
        self.pause(5_000, 30_000).await;
    }
}
