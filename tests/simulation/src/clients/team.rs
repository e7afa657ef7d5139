//! Groups with members, and what their members say to a checker. No partition has two owners in one generation, what a member has to read stays
//! the same in it, and what is committed never goes back.

use super::groups::coordinator;
use super::kept::Kept;
use super::member::Member;
use crate::core::locked;
use crate::dice::Dice;
use crate::network::Link;
use crate::node::Node;
use crate::world::{TopicInfo, World};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strandline_types::TopicPartition;
use strandline_wire::ErrorCode;

/// Tries of a member to find its place once there are no faults.
const PATIENCE: usize = 60;

/// A generation, and in which life of the group it is: one that was deleted begins with the first.
type Generation = (u64, i32);

/// A group.
pub(crate) struct Team {
    pub(super) number: u64,
    name: String,
    topic: TopicInfo,
    are_consumers: bool,
    pub(super) kept: Kept,
    /// Who owns a partition: a member, or whoever has a static member's id.
    owners: Mutex<BTreeMap<(Generation, i32), String>>,
    /// What an owner has.
    shares: Mutex<BTreeMap<(Generation, String), Vec<i32>>>,
}

impl Team {
    pub fn new(world: &World, number: u32, topic: TopicInfo) -> Arc<Self> {
        let name = format!("team-{number}");
        Arc::new(Self {
            number: number.into(),
            kept: Kept::new(&name),
            name,
            topic,
            are_consumers: Dice::new(world.seed, 680 + u64::from(number)).chance(50),
            owners: Mutex::default(),
            shares: Mutex::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn topic(&self) -> &TopicInfo {
        &self.topic
    }

    /// Whether its members speak consumers' own protocol, so that its coordinator knows what they read.
    pub fn are_consumers(&self) -> bool {
        self.are_consumers
    }

    pub(super) fn protocol_type(&self) -> &'static str {
        if self.are_consumers { "consumer" } else { "simulated" }
    }

    /// What its members say of themselves: consumers, their subscription.
    pub(super) fn metadata(&self) -> Bytes {
        if !self.are_consumers {
            return Bytes::from_static(b"all");
        }
        // Version 0: one topic, and no data of the user's.
        let mut bytes: Vec<u8> = vec![0, 0, 0, 0, 0, 1];
        bytes.extend((self.topic.name.len() as u16).to_be_bytes());
        bytes.extend(self.topic.name.as_bytes());
        bytes.extend((-1_i32).to_be_bytes());
        bytes.into()
    }

    /// How many partitions its topic has by now.
    pub(super) fn partitions(&self, world: &World) -> i32 {
        world.topic(self.topic.id).map_or(self.topic.partitions, |topic| topic.partitions)
    }

    pub(super) fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic_id: self.topic.id, partition }
    }

    /// A member was given these partitions.
    pub(super) fn own(&self, world: &World, generation: i32, member_id: &str, owner: &str, partitions: &[i32]) {
        let life = world.core.oracle().committed.life_of(&self.name, member_id);
        let Some(life) = life else {
            let what = format!("{} generation {generation}: a place was acknowledged to {member_id}", self.name);
            return world.core.fail(format!("{what}, of whom the log knows nothing (I1)"));
        };
        let generation = (life, generation);
        for partition in partitions {
            let first = locked(&self.owners).entry((generation, *partition)).or_insert_with(|| owner.to_owned()).clone();
            if first != owner {
                world.core.fail(format!(
                    "{} generation {generation:?}: partition {partition} is given to {first} and to {owner}",
                    self.name
                ));
            }
        }
        let mut shares = locked(&self.shares);
        let share = shares.entry((generation, owner.to_owned())).or_insert_with(|| partitions.to_vec());
        if share.as_slice() != partitions {
            let what = format!("{} generation {generation:?}: {owner} was given {share:?}, and then {partitions:?}", self.name);
            drop(shares);
            world.core.fail(what);
        }
    }

    /// Whoever some node says it is.
    pub(super) async fn coordinator(&self, world: &World, link: &Link, dice: &Dice) -> Option<Arc<Node>> {
        coordinator(world, link, dice, &self.name).await
    }
}

/// A member works until the run ends.
pub(crate) async fn take_part(world: Arc<World>, team: Arc<Team>, number: u32) {
    let dice = Dice::new(world.seed, 600 + 10 * team.number + u64::from(number));
    let name = format!("{} member {number}", team.name);
    let instance = dice.chance(40).then(|| format!("{}-instance-{number}", team.name));
    let client = 6_000 + 100 * team.number + u64::from(number);
    let mut member = Member::new(world.clone(), team, dice, name, client, instance);
    while !world.is_ending() {
        member.step().await;
        member.pause(100, 2_000).await;
        member.go_away_at_times().await;
    }
}

/// The group goes on: a member that comes when all is quiet gets its place, and what was committed is there.
pub(crate) async fn goes_on(world: Arc<World>, team: Arc<Team>, number: u32) {
    let dice = Dice::new(world.seed, 700 + u64::from(number));
    let name = format!("{} late member {number}", team.name);
    let client = 7_000 + 100 * team.number + u64::from(number);
    let mut member = Member::new(world.clone(), team, dice, name, client, None);
    for _ in 0..PATIENCE {
        if world.core.has_failed() {
            return;
        }
        member.step().await;
        if member.has_place() && member.commit().await == Some(ErrorCode::None) {
            return member.leave().await;
        }
        world.core.runtime.sleep(Duration::from_secs(1)).await;
    }
    world.core.fail(format!("{} does not get a place in its group, without any fault", member.name()));
}
