//! What the clients of a group know of its committed offsets: what they were told is kept, unless it was deleted since, and what they have
//! tried.

use crate::core::locked;
use crate::node::Node;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::Mutex;
use strandline_index::Group;
use strandline_types::TopicPartition;

/// Of one partition.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Surely committed, when it had been deleted so often.
    least: i64,
    deletions: u64,
    /// The largest that was tried.
    tried: i64,
}

const NOTHING: Place = Place { least: -1, deletions: 0, tried: -1 };

/// What is true when somebody asks what is committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Surely committed; -1 for nothing.
    least: i64,
    /// By the log; -1 for nothing.
    there: i64,
    deletions: u64,
}

/// Of all partitions for which a group commits.
pub(super) struct Kept {
    group: String,
    places: Mutex<BTreeMap<TopicPartition, Place>>,
}

fn committed_in(group: Option<&Group>, at: TopicPartition) -> i64 {
    group.and_then(|group| group.offsets.get(&at)).map_or(-1, |committed| committed.offset)
}

impl Kept {
    pub fn new(group: &str) -> Self {
        Self { group: group.to_owned(), places: Mutex::default() }
    }

    fn place(&self, at: TopicPartition) -> Place {
        locked(&self.places).get(&at).copied().unwrap_or(NOTHING)
    }

    /// How often the log has deleted it. A commit that is asked for now comes after these deletions.
    pub fn deletions(&self, world: &World, at: TopicPartition) -> u64 {
        world.core.oracle().committed.deletions(&self.group, at)
    }

    /// The largest offset that was tried; -1 for none.
    pub fn tried(&self, at: TopicPartition) -> i64 {
        self.place(at).tried
    }

    /// An offset is about to be committed.
    pub fn tries(&self, at: TopicPartition, offset: i64) {
        let mut places = locked(&self.places);
        let place = places.entry(at).or_insert(NOTHING);
        place.tried = place.tried.max(offset);
    }

    /// A client was told that it is committed; when it asked for that, there had been so many deletions. What was deleted meanwhile may have
    /// been this.
    pub fn has(&self, world: &World, at: TopicPartition, offset: i64, deletions: u64) {
        if self.deletions(world, at) != deletions {
            return;
        }
        let mut places = locked(&self.places);
        let place = places.entry(at).or_insert(NOTHING);
        let before = if place.deletions == deletions { place.least } else { -1 };
        (place.least, place.deletions) = (before.max(offset), deletions);
    }

    /// This node is about to be asked what is committed.
    pub fn ask(&self, world: &World, node: &Node, at: TopicPartition) -> Asked {
        let there = committed_in(world.known_group(node, &self.group).as_deref(), at);
        let (deletions, place) = (self.deletions(world, at), self.place(at));
        let least = if place.deletions == deletions { place.least } else { -1 };
        Asked { least, there, deletions }
    }

    /// What a node has said, held against what is known: no less than was kept, no more than was tried, and as the log had it between question
    /// and answer. Where it was deleted in between, it may be gone, or newer.
    pub fn check(&self, world: &World, node: &Node, at: TopicPartition, asked: Asked, found: i64) {
        let (now, deletions) = {
            let oracle = world.core.oracle();
            let group = oracle.index().groups.get(&self.group).map(AsRef::as_ref);
            (committed_in(group, at), oracle.committed.deletions(&self.group, at))
        };
        let tried = self.tried(at);
        let (least, most) = if deletions == asked.deletions {
            (asked.least.max(asked.there.min(now)), tried.min(asked.there.max(now)))
        } else {
            (-1, tried)
        };
        if found < least || found > most {
            world.core.fail(format!(
                "{} says that {} is at {found} of {at:?}; {least} was kept, {most} was tried, the log had {} and has {now}",
                node.name(),
                self.group,
                asked.there
            ));
        }
    }
}
