//! How a group's leader distributes partitions: Kafka's assignors, by their names.

use super::sticky;
use crate::admin::PartitionName;
use std::collections::{BTreeMap, BTreeSet};

/// An assignor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// Neighbouring partitions of each topic to each member; partition n of all topics to the same one.
    Range,
    /// One by one, round and round.
    RoundRobin,
    /// Evenly, and as it was before where possible; what moves is first given up by its old reader (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Range, Self::RoundRobin, Self::CooperativeSticky].into_iter().find(|assignor| assignor.name() == name)
    }
}

/// What a member wants, and had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberSubscription {
    /// The topics.
    pub topics: BTreeSet<String>,
    /// The partitions that it reads now.
    pub owned: Vec<PartitionName>,
    /// The generation in which it got those; -1 is unknown.
    pub generation: i32,
    /// Its name, if it is a static member: it sorts by that.
    pub group_instance_id: Option<String>,
}

/// Who reads what. `partitions` gives each topic's number of partitions; topics that are not in it get no reader.
pub fn assign(
    assignor: Assignor,
    members: &BTreeMap<String, MemberSubscription>,
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<PartitionName>> {
    match assignor {
        Assignor::Range => range(members, partitions),
        Assignor::RoundRobin => round_robin(members, partitions),
        Assignor::CooperativeSticky => sticky::give_up_first(members, sticky::assign(members, partitions)),
    }
}

/// Members in Kafka's order: static ones by their name, before the others by their id.
fn in_order(members: &BTreeMap<String, MemberSubscription>) -> Vec<(&String, &MemberSubscription)> {
    let mut ordered: Vec<_> = members.iter().collect();
    ordered.sort_by_key(|(id, member)| (member.group_instance_id.is_none(), member.group_instance_id.clone(), (*id).clone()));
    ordered
}

fn nobody_yet(members: &BTreeMap<String, MemberSubscription>) -> BTreeMap<String, Vec<PartitionName>> {
    members.keys().map(|id| (id.clone(), Vec::new())).collect()
}

fn range(
    members: &BTreeMap<String, MemberSubscription>,
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<PartitionName>> {
    let mut assignment = nobody_yet(members);
    for (topic, &count) in partitions {
        let readers: Vec<_> = in_order(members).into_iter().filter(|(_, member)| member.topics.contains(topic)).collect();
        let mut next = 0;
        for (place, (id, _)) in (0_i32..).zip(&readers) {
            let share = count / readers.len() as i32 + i32::from(place < count % readers.len() as i32);
            let mine = (next..next + share).map(|partition| (topic.clone(), partition));
            assignment.entry((*id).clone()).or_default().extend(mine);
            next += share;
        }
    }
    assignment
}

fn round_robin(
    members: &BTreeMap<String, MemberSubscription>,
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<PartitionName>> {
    let mut assignment = nobody_yet(members);
    let ordered = in_order(members);
    let mut turn = 0;
    for (topic, &count) in partitions {
        if !ordered.iter().any(|(_, member)| member.topics.contains(topic)) {
            continue;
        }
        for partition in 0..count {
            while !ordered[turn % ordered.len()].1.topics.contains(topic) {
                turn += 1;
            }
            let (id, _) = ordered[turn % ordered.len()];
            assignment.entry(id.clone()).or_default().push((topic.clone(), partition));
            turn += 1;
        }
    }
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(topics: &[&str]) -> MemberSubscription {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        MemberSubscription { topics, generation: -1, ..Default::default() }
    }

    fn named(assignment: &BTreeMap<String, Vec<PartitionName>>, id: &str) -> Vec<String> {
        assignment[id].iter().map(|(topic, partition)| format!("{topic}{partition}")).collect()
    }

    /// The examples of Kafka's own documentation of the two assignors.
    #[test]
    fn range_and_round_robin_are_kafkas() {
        let members: BTreeMap<_, _> = [("C0".to_owned(), member(&["a", "b"])), ("C1".to_owned(), member(&["a", "b"]))].into();
        let partitions: BTreeMap<_, _> = [("a".to_owned(), 3), ("b".to_owned(), 3)].into();
        let assignment = assign(Assignor::Range, &members, &partitions);
        assert_eq!(named(&assignment, "C0"), ["a0", "a1", "b0", "b1"]);
        assert_eq!(named(&assignment, "C1"), ["a2", "b2"]);
        let assignment = assign(Assignor::RoundRobin, &members, &partitions);
        assert_eq!(named(&assignment, "C0"), ["a0", "a2", "b1"]);
        assert_eq!(named(&assignment, "C1"), ["a1", "b0", "b2"]);

        let members: BTreeMap<_, _> = [
            ("C0".to_owned(), member(&["a"])),
            ("C1".to_owned(), member(&["a", "b"])),
            ("C2".to_owned(), member(&["a", "b", "c"])),
        ]
        .into();
        let partitions: BTreeMap<_, _> = [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)].into();
        let assignment = assign(Assignor::RoundRobin, &members, &partitions);
        assert_eq!(named(&assignment, "C0"), ["a0"]);
        assert_eq!(named(&assignment, "C1"), ["b0"]);
        assert_eq!(named(&assignment, "C2"), ["b1", "c0", "c1", "c2"]);
    }

    #[test]
    fn static_members_go_first_in_the_order_of_their_names() {
        let mut second = member(&["a"]);
        second.group_instance_id = Some("2".into());
        let mut first = member(&["a"]);
        first.group_instance_id = Some("1".into());
        let members: BTreeMap<_, _> =
            [("x".to_owned(), second), ("z".to_owned(), first), ("a".to_owned(), member(&["a"]))].into();
        let assignment = assign(Assignor::Range, &members, &[("a".to_owned(), 3)].into());
        assert_eq!((named(&assignment, "z"), named(&assignment, "x")), (vec!["a0".into()], vec!["a1".into()]));
        assert_eq!(named(&assignment, "a"), ["a2"]);
    }

    pub(crate) fn groups() -> impl Strategy<Value = (BTreeMap<String, MemberSubscription>, BTreeMap<String, i32>)> {
        let topics = ["a", "b", "c", "d"];
        let counts = proptest::collection::vec(0_i32..12, topics.len());
        let member = (
            proptest::collection::btree_set(0_usize..topics.len(), 0..=topics.len()),
            proptest::collection::vec((0_usize..topics.len(), 0_i32..12), 0..10),
            -1_i32..3,
        );
        (counts, proptest::collection::btree_map("[a-z]{1,4}", member, 1..8)).prop_map(move |(counts, members)| {
            let partitions = topics.iter().map(|topic| (*topic).to_owned()).zip(counts).collect();
            let subscription = |(wanted, owned, generation): (BTreeSet<usize>, Vec<(usize, i32)>, i32)| MemberSubscription {
                topics: wanted.into_iter().map(|index| topics[index].to_owned()).collect(),
                owned: owned.into_iter().map(|(index, partition)| (topics[index].to_owned(), partition)).collect(),
                generation,
                group_instance_id: None,
            };
            (members.into_iter().map(|(id, member)| (id, subscription(member))).collect(), partitions)
        })
    }

    proptest! {
        /// Every partition that somebody wants has exactly one reader, who wants it.
        #[test]
        fn every_wanted_partition_has_one_reader((members, partitions) in groups()) {
            for assign in [range, round_robin, sticky::assign] {
                let assignment = assign(&members, &partitions);
                let mut readers: BTreeMap<PartitionName, usize> = BTreeMap::new();
                for (id, mine) in &assignment {
                    for partition in mine {
                        prop_assert!(members[id].topics.contains(&partition.0));
                        *readers.entry(partition.clone()).or_default() += 1;
                    }
                }
                for (topic, count) in &partitions {
                    let wanted = members.values().any(|member| member.topics.contains(topic));
                    for partition in 0..*count {
                        let found = readers.remove(&(topic.clone(), partition)).unwrap_or(0);
                        prop_assert_eq!(found, usize::from(wanted));
                    }
                }
                prop_assert!(readers.is_empty());
            }
        }
    }
}
