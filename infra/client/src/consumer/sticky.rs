//! The sticky assignor: even, and as it was before where that is possible.

use super::assignor::MemberSubscription;
use crate::admin::PartitionName;
use std::collections::{BTreeMap, BTreeSet};

/// Who is to read what in the end.
pub(super) fn assign(
    members: &BTreeMap<String, MemberSubscription>,
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<PartitionName>> {
    let mut assignment: BTreeMap<String, BTreeSet<PartitionName>> =
        members.keys().map(|id| (id.clone(), BTreeSet::new())).collect();
    for (partition, owner) in owners(members) {
        let exists = partitions.get(&partition.0).is_some_and(|count| (0..*count).contains(&partition.1));
        if exists && members[&owner].topics.contains(&partition.0) {
            assignment.entry(owner).or_default().insert(partition);
        }
    }
    let taken: BTreeSet<PartitionName> = assignment.values().flatten().cloned().collect();
    for (topic, count) in partitions {
        for partition in (0..*count).map(|partition| (topic.clone(), partition)) {
            if !taken.contains(&partition)
                && let Some(reader) = least_loaded(&assignment, members, topic)
            {
                assignment.entry(reader).or_default().insert(partition);
            }
        }
    }
    balance(&mut assignment, members);
    assignment.into_iter().map(|(id, partitions)| (id, partitions.into_iter().collect())).collect()
}

/// Leaves out what somebody else still reads: that member gives it up in this generation, its new one gets it in the next.
pub(super) fn give_up_first(
    members: &BTreeMap<String, MemberSubscription>,
    mut assignment: BTreeMap<String, Vec<PartitionName>>,
) -> BTreeMap<String, Vec<PartitionName>> {
    let mut readers: BTreeMap<&PartitionName, BTreeSet<&str>> = BTreeMap::new();
    for (id, member) in members {
        for partition in &member.owned {
            readers.entry(partition).or_default().insert(id);
        }
    }
    for (id, partitions) in &mut assignment {
        partitions.retain(|partition| readers.get(partition).is_none_or(|readers| readers.iter().all(|reader| reader == id)));
    }
    assignment
}

/// Who owns what: the claim of the latest generation counts; two of the same one cancel out.
fn owners(members: &BTreeMap<String, MemberSubscription>) -> BTreeMap<PartitionName, String> {
    let mut claims: BTreeMap<PartitionName, (i32, Vec<&String>)> = BTreeMap::new();
    for (id, member) in members {
        let owned: BTreeSet<&PartitionName> = member.owned.iter().collect();
        for partition in owned {
            let (generation, claimants) = claims.entry(partition.clone()).or_insert((i32::MIN, Vec::new()));
            if member.generation > *generation {
                *generation = member.generation;
                claimants.clear();
            }
            if member.generation == *generation {
                claimants.push(id);
            }
        }
    }
    let sole = |(partition, (_, claimants)): (PartitionName, (i32, Vec<&String>))| match claimants[..] {
        [owner] => Some((partition, owner.clone())),
        _ => None,
    };
    claims.into_iter().filter_map(sole).collect()
}

fn least_loaded(
    assignment: &BTreeMap<String, BTreeSet<PartitionName>>,
    members: &BTreeMap<String, MemberSubscription>,
    topic: &str,
) -> Option<String> {
    let readers = assignment.iter().filter(|(id, _)| members[*id].topics.contains(topic));
    readers.min_by_key(|(_, partitions)| partitions.len()).map(|(id, _)| id.clone())
}

/// Moves single partitions from members with more to members with at least two fewer, until there is no such move. Each
/// move lowers the sum of squares of the loads, so it ends.
fn balance(assignment: &mut BTreeMap<String, BTreeSet<PartitionName>>, members: &BTreeMap<String, MemberSubscription>) {
    while let Some((from, to, partition)) = next_move(assignment, members) {
        assignment.entry(from).or_default().remove(&partition);
        assignment.entry(to).or_default().insert(partition);
    }
}

fn next_move(
    assignment: &BTreeMap<String, BTreeSet<PartitionName>>,
    members: &BTreeMap<String, MemberSubscription>,
) -> Option<(String, String, PartitionName)> {
    let mut by_load: Vec<(&String, &BTreeSet<PartitionName>)> = assignment.iter().collect();
    by_load.sort_by_key(|(_, partitions)| partitions.len());
    for (from, partitions) in by_load.iter().rev() {
        for (to, fewer) in &by_load {
            if partitions.len() < fewer.len() + 2 {
                break;
            }
            // The last ones move, so that the first partitions of a topic stay where they are.
            let movable = partitions.iter().rev().find(|partition| members[*to].topics.contains(&partition.0));
            if let Some(partition) = movable {
                return Some(((*from).clone(), (*to).clone(), partition.clone()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn equal_group(members: usize, owned: Vec<Vec<i32>>) -> BTreeMap<String, MemberSubscription> {
        let member = |index: usize| MemberSubscription {
            topics: ["t".to_owned()].into(),
            owned: owned.get(index).into_iter().flatten().map(|partition| ("t".to_owned(), *partition)).collect(),
            generation: 1,
            group_instance_id: None,
        };
        (0..members).map(|index| (format!("m{index}"), member(index))).collect()
    }

    fn owning(
        assignment: &BTreeMap<String, Vec<PartitionName>>,
        mut members: BTreeMap<String, MemberSubscription>,
    ) -> BTreeMap<String, MemberSubscription> {
        for (id, member) in &mut members {
            member.owned = assignment.get(id).cloned().unwrap_or_default();
            member.generation = 7;
        }
        members
    }

    proptest! {
        #[test]
        fn equal_members_get_equal_shares_and_keep_them(count in 0_i32..40, members in 1_usize..9) {
            let group = equal_group(members, vec![]);
            let partitions: BTreeMap<String, i32> = [("t".to_owned(), count)].into();
            let first = assign(&group, &partitions);
            let loads: Vec<usize> = first.values().map(Vec::len).collect();
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
            // The same group again moves nothing.
            let group = owning(&first, group);
            prop_assert_eq!(&assign(&group, &partitions), &first);
            prop_assert_eq!(&give_up_first(&group, assign(&group, &partitions)), &first);
        }

        #[test]
        fn a_new_member_takes_its_share_and_no_more_moves(count in 1_i32..40, members in 1_usize..8) {
            let partitions: BTreeMap<String, i32> = [("t".to_owned(), count)].into();
            let before = assign(&equal_group(members, vec![]), &partitions);
            let group = owning(&before, equal_group(members + 1, vec![]));
            let after = assign(&group, &partitions);
            let newcomer = format!("m{members}");
            for (id, mine) in &before {
                for partition in &after[id] {
                    prop_assert!(mine.contains(partition), "moved between old members");
                }
            }
            prop_assert_eq!(after[&newcomer].len(), count as usize / (members + 1));
            // Nothing changes hands before its old reader gave it up; one more round and all is in place.
            let during = give_up_first(&group, after.clone());
            prop_assert!(during[&newcomer].is_empty());
            let group = owning(&during, group);
            prop_assert_eq!(give_up_first(&group, assign(&group, &partitions)), after);
        }
    }

    #[test]
    fn the_latest_claim_counts_and_two_equal_ones_do_not() {
        let partition = ("t".to_owned(), 0);
        let mut group = equal_group(2, vec![vec![0], vec![0]]);
        assert!(owners(&group).is_empty());
        group.get_mut("m1").unwrap().generation = 2;
        assert_eq!(owners(&group).get(&partition).map(String::as_str), Some("m1"));
    }
}
