//! Several nodes over one log: who coordinates what, and what happens when that changes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test; its clients are tasks of the test, not of a node")]

mod support;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strandline_groups::{OldConnection, coordinator_of};
use strandline_runtime::Random;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use strandline_wire::messages::*;
use support::*;

/// A group that `node` coordinates.
fn group_of(node: &Node) -> String {
    another_group_of(node, "group")
}

fn another_group_of(node: &Node, prefix: &str) -> String {
    let is_mine = |name: &String| coordinator_of(&node.cell.view(), name) == Some(node.cell.node_id());
    (0..).map(|n| format!("{prefix}-{n}")).find(is_mine).unwrap()
}

fn caller_now(node: &Node) -> Caller {
    Caller { connected_at: node.cell.seq(), ..caller() }
}

#[tokio::test(start_paused = true)]
async fn one_node_coordinates_and_the_others_say_so() {
    let world = World::new(20);
    let (one, two) = (Node::start(&world, false, 1).await, Node::start(&world, false, 2).await);
    one.cell.barrier().await.unwrap();
    one.topic(1, "orders", 1).await;
    two.cell.barrier().await.unwrap();
    let name = group_of(&two);
    let find = FindCoordinatorRequest { coordinator_keys: vec![name.clone()], ..Default::default() };
    for node in [&one, &two] {
        let found = node.groups.find_coordinator(&caller(), 4, find.clone()).await;
        assert_eq!((found.coordinators[0].node_id, found.coordinators[0].port), (two.cell.node_id(), 2));
    }
    let mut member = Member::new(&name);
    assert_eq!(member.join(&one.groups).await, Err(ErrorCode::NotCoordinator));
    assert_eq!(member.join_and_sync(&two.groups).await, Ok(()));
    assert_eq!(member.heartbeat(&one.groups).await, ErrorCode::NotCoordinator);
    assert_eq!(member.commit(&one.groups, "orders", 0, 1).await, ErrorCode::NotCoordinator);
    assert_eq!(member.leave(&one.groups).await, ErrorCode::NotCoordinator);
    let fetch = OffsetFetchRequest { group_id: name.clone(), topics: None, ..Default::default() };
    assert_eq!(code(one.groups.offset_fetch(&caller(), 7, fetch).await.error_code), ErrorCode::NotCoordinator);
    assert_eq!(one.groups.list_groups(&caller(), 5, ListGroupsRequest::default()).await.groups.len(), 0);
    assert_eq!(two.groups.list_groups(&caller(), 5, ListGroupsRequest::default()).await.groups.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_coordinator_is_replaced_without_a_rebalance() {
    let world = World::new(21);
    let (one, two) = (Node::start(&world, false, 1).await, Node::start(&world, false, 2).await);
    one.cell.barrier().await.unwrap();
    one.topic(1, "orders", 1).await;
    two.cell.barrier().await.unwrap();
    let name = group_of(&two);
    let (a, b) = pair(&two.groups, &name).await;
    assert_eq!(a.commit(&two.groups, "orders", 0, 5).await, ErrorCode::None);
    two.kill();
    one.declare_gone(&two).await;
    for _ in 0..5 {
        assert_eq!((a.heartbeat(&one.groups).await, b.heartbeat(&one.groups).await), (ErrorCode::None, ErrorCode::None));
        sleep(3).await;
    }
    assert_eq!((one.committed(&name, "orders", 0).await, one.generation(&name)), (5, 1));
    assert_eq!(b.commit(&one.groups, "orders", 0, 6).await, ErrorCode::None);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_moves_takes_its_parked_members_along() {
    let world = World::new(22);
    let one = Node::start(&world, false, 1).await;
    one.topic(1, "orders", 1).await;
    // A group that will be the second node's, by the ids that they will have.
    let ids = [one.cell.node_id(), one.cell.node_id() + 1];
    let mut index = strandline_index::Index::default();
    for (at, node_id) in ids.iter().enumerate() {
        let run = strandline_index::NodeRun { node_id: *node_id, ..one.cell.view().nodes.values().next().unwrap().clone() };
        index.nodes.insert(strandline_types::Incarnation(at as u64 + 1), run);
    }
    let name = (0..).map(|n| format!("group-{n}")).find(|name| coordinator_of(&index, name) == Some(ids[1])).unwrap();
    let (mut a, b) = pair(&one.groups, &name).await;
    let (groups, mut c) = (one.groups.clone(), Member::new(&name));
    let parked = tokio::spawn(async move { (c.join(&groups).await.err(), c) });
    sleep(1).await;
    let two = Node::start(&world, false, 2).await;
    assert_eq!(two.cell.node_id(), ids[1]);
    // Told within a poll and a moment, not when the rebalance ends.
    let (told, mut c) = tokio::time::timeout(Duration::from_millis(400), parked).await.unwrap().unwrap();
    assert_eq!(told, Some(ErrorCode::NotCoordinator));
    assert_eq!(b.heartbeat(&one.groups).await, ErrorCode::NotCoordinator);
    assert_eq!(a.heartbeat(&two.groups).await, ErrorCode::None);
    // It was given an id and had not joined when the group moved: it begins again.
    assert_eq!(c.join(&two.groups).await, Err(ErrorCode::UnknownMemberId));
    c.member_id.clear();
    let mut b = b;
    let joining = async {
        sleep(1).await;
        tokio::join!(a.join(&two.groups), b.join(&two.groups))
    };
    let (jc, (ja, jb)) = tokio::join!(c.join(&two.groups), joining);
    assert_eq!((ja.unwrap().generation_id, jb.unwrap().generation_id, jc.unwrap().generation_id), (2, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_read_the_log_stops_saying_yes() {
    let world = World::new(23);
    let (one, two) = (Node::start(&world, false, 1).await, Node::start(&world, false, 2).await);
    one.cell.barrier().await.unwrap();
    one.topic(1, "orders", 1).await;
    two.cell.barrier().await.unwrap();
    let name = group_of(&two);
    let (a, b) = pair(&two.groups, &name).await;
    two.log.faults().set_reads_down(true);
    one.declare_gone(&two).await;
    assert_eq!(a.heartbeat(&one.groups).await, ErrorCode::None);
    // The old one does not know. Within a third of the shortest session it may say yes; never after.
    sleep(3).await;
    assert_eq!(b.heartbeat(&two.groups).await, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(b.heartbeat(&one.groups).await, ErrorCode::None);
    // And whatever it lets through, the fold refuses: its run is over.
    assert_ne!(b.commit(&two.groups, "orders", 0, 99).await, ErrorCode::None);
    assert_eq!(one.committed(&name, "orders", 0).await, -1);
}

#[tokio::test(start_paused = true)]
async fn an_old_coordinator_does_not_answer_from_its_old_view() {
    for fetches in [true, false] {
        old_view(fetches).await;
    }
}

async fn old_view(fetches: bool) {
    let world = World::new(24);
    let (one, two) = (Node::start(&world, false, 1).await, Node::start(&world, false, 2).await);
    one.cell.barrier().await.unwrap();
    one.topic(1, "orders", 1).await;
    two.cell.barrier().await.unwrap();
    let name = group_of(&two);
    let (a, _) = pair(&two.groups, &name).await;
    assert_eq!(a.commit(&two.groups, "orders", 0, 1).await, ErrorCode::None);
    one.declare_gone(&two).await;
    assert_eq!(a.commit(&one.groups, "orders", 0, 2).await, ErrorCode::None);
    // The old one's view has not moved (its next poll is 200 ms away), and it still takes itself for the coordinator.
    assert_eq!(coordinator_of(&two.cell.view(), &name), Some(two.cell.node_id()));
    if fetches {
        let fetch = OffsetFetchRequest { group_id: name.clone(), topics: None, ..Default::default() };
        assert_eq!(code(two.groups.offset_fetch(&caller(), 7, fetch).await.error_code), ErrorCode::NotCoordinator);
    } else {
        // It has no such member; the new coordinator might.
        let stranger = Member { member_id: "stranger".to_owned(), ..a };
        assert_eq!(stranger.heartbeat(&two.groups).await, ErrorCode::NotCoordinator);
    }
}

/// A consumer commits, hears nothing and commits on elsewhere; what it sent first comes once the group is back.
#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_while_another_node_had_the_group_changes_nothing() {
    let world = World::new(26);
    let one = Node::start(&world, false, 1).await;
    one.topic(1, "orders", 1).await;
    let waiting = caller_now(&one);
    let two = Node::start(&world, false, 2).await;
    let (name, team, other) = (group_of(&two), another_group_of(&two, "team"), another_group_of(&two, "other"));
    let commit = async |node: &Node, caller: &Caller, offset| {
        committed(node, caller, commit_request(&name, "", -1, "orders", 0, offset)).await
    };
    let early = caller_now(&two);
    assert_eq!(commit(&two, &early, 1).await, Err(OldConnection), "it may have come before anything");
    assert_eq!(commit(&two, &caller_now(&two), 2).await, Ok(ErrorCode::None));
    let by_other = commit_request(&other, "", -1, "orders", 0, 1);
    assert_eq!(committed(&two, &early, by_other.clone()).await, Err(OldConnection));
    assert_eq!(committed(&two, &caller_now(&two), by_other).await, Ok(ErrorCode::None));
    // A member that joined since knows a generation that tells.
    let (member, _) = pair(&two.groups, &team).await;
    let by_member = |offset| commit_request(&team, &member.member_id, member.generation, "orders", 0, offset);
    assert_eq!(committed(&two, &early, by_member(2)).await, Ok(ErrorCode::None));
    one.declare_gone(&two).await;
    let delete_both = || DeleteGroupsRequest { groups_names: vec![name.clone(), other.clone()] };
    let between = caller_now(&one);
    for caller in [&waiting, &between, &waiting] {
        assert_eq!(commit(&one, caller, 1).await, Err(OldConnection));
        // The generation is the same.
        assert_eq!(committed(&one, caller, by_member(1)).await, Err(OldConnection));
        let topics = vec![OffsetDeleteRequestTopic {
            name: "orders".to_owned(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }];
        let delete = OffsetDeleteRequest { group_id: name.clone(), topics };
        assert_eq!(one.groups.offset_delete(caller, 0, delete).await.err(), Some(OldConnection));
        assert_eq!(one.groups.delete_groups(caller, 2, delete_both()).await.err(), Some(OldConnection));
    }
    assert_eq!((one.committed(&name, "orders", 0).await, one.committed(&team, "orders", 0).await), (2, 2));
    let anew = caller_now(&one);
    assert_eq!(commit(&one, &anew, 3).await, Ok(ErrorCode::None));
    assert_eq!(committed(&one, &anew, by_member(3)).await, Ok(ErrorCode::None));
    // Both were claimed when the first connection was refused.
    let deleted = one.groups.delete_groups(&anew, 2, delete_both()).await.unwrap();
    assert_eq!(deleted.results.iter().map(|result| result.error_code).collect::<Vec<_>>(), [0, 0]);
}

async fn committed(node: &Node, caller: &Caller, request: OffsetCommitRequest) -> Result<ErrorCode, OldConnection> {
    let answer = node.groups.offset_commit(caller, 9, request).await?;
    Ok(code(answer.topics[0].partitions[0].error_code))
}

/// What a partition's readers share: what was acknowledged.
type Acknowledged = Arc<Mutex<BTreeMap<i32, i64>>>;
type Nodes = Arc<Mutex<Vec<Arc<Node>>>>;

const PARTITIONS: i32 = 4;

/// One round of a consumer's life: join, take what the leader gives, go on from the committed offsets, commit, until
/// something is wrong. Gives back how many commits were acknowledged.
async fn consume(node: &Node, member: &mut Member, acknowledged: &Acknowledged, random: &dyn Random) -> usize {
    let groups = &node.groups;
    let Some(Ok(joined)) = node.ask(member.join(groups)).await else {
        member.member_id.clear();
        return 0;
    };
    let mut assignments: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        if !joined.members.is_empty() {
            let owner = &joined.members[usize::try_from(partition).unwrap() % joined.members.len()];
            assignments.entry(owner.member_id.clone()).or_default().push(u8::try_from(partition).unwrap());
        }
    }
    let assignments = if joined.skip_assignment { BTreeMap::new() } else { assignments };
    let assignments = assignments.into_iter().map(|(id, partitions)| (id, Bytes::from(partitions))).collect();
    if !matches!(node.ask(member.sync(groups, assignments)).await, Some(Ok(()))) {
        return 0;
    }
    let partitions: Vec<i32> = member.assignment.iter().map(|partition| i32::from(*partition)).collect();
    let mut positions = BTreeMap::new();
    for partition in partitions {
        let at_least = acknowledged.lock().unwrap().get(&partition).copied().unwrap_or(-1);
        let request = OffsetFetchRequest {
            group_id: member.group.clone(),
            topics: Some(vec![offset_fetch::OffsetFetchRequestTopic {
                name: "orders".to_owned(),
                partition_indexes: vec![partition],
            }]),
            ..Default::default()
        };
        let Some(answer) = node.ask(groups.offset_fetch(&caller(), 7, request)).await else { return 0 };
        if answer.error_code != 0 {
            return 0;
        }
        let committed = answer.topics[0].partitions[0].committed_offset;
        assert!(committed >= at_least, "partition {partition} went back from {at_least} to {committed}");
        positions.insert(partition, committed.max(0));
    }
    let mut commits = 0;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(200 + random.below(1_500))).await;
        for (partition, position) in &mut positions {
            *position += 1;
            match node.ask(member.commit(groups, "orders", *partition, *position)).await {
                Some(ErrorCode::None) => {
                    commits += 1;
                    let mut acknowledged = acknowledged.lock().unwrap();
                    let highest = acknowledged.entry(*partition).or_insert(-1);
                    *highest = (*highest).max(*position);
                }
                Some(ErrorCode::RebalanceInProgress) => break,
                Some(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::IllegalGeneration) => {
                    member.member_id.clear();
                    return commits;
                }
                _ => return commits,
            }
        }
        match node.ask(member.heartbeat(groups)).await {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::RebalanceInProgress) => return commits,
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::IllegalGeneration) => {
                member.member_id.clear();
                return commits;
            }
            _ => return commits,
        }
    }
    if random.below(4) == 0 && member.instance.is_none() {
        let _ = node.ask(member.leave(groups)).await;
        member.member_id.clear();
    }
    commits
}

/// Consumers come and go, nodes die, come back and pause; what was committed never goes back.
#[tokio::test(start_paused = true)]
async fn committed_offsets_never_go_back() {
    for seed in 0..12 {
        let world = World::new(1_000 + seed);
        let random = world.runtime.random.clone();
        let first = Node::start(&world, false, 1).await;
        first.topic(1, "orders", PARTITIONS).await;
        let nodes: Nodes = Arc::new(Mutex::new(vec![Arc::new(first), Arc::new(Node::start(&world, false, 2).await)]));
        let acknowledged: Acknowledged = Arc::default();
        let commits = Arc::new(Mutex::new(0_usize));
        let mut clients = Vec::new();
        for n in 0..4 {
            let (nodes, acknowledged, random, commits) = (nodes.clone(), acknowledged.clone(), random.clone(), commits.clone());
            clients.push(tokio::spawn(async move {
                let mut member = if n == 0 { Member::with_instance("g", "static") } else { Member::new("g") };
                for _ in 0..40 {
                    let node = {
                        let nodes = nodes.lock().unwrap();
                        nodes[usize::try_from(random.below(nodes.len() as u64)).unwrap()].clone()
                    };
                    let made = consume(&node, &mut member, &acknowledged, &*random).await;
                    *commits.lock().unwrap() += made;
                    tokio::time::sleep(Duration::from_millis(random.below(1_000))).await;
                }
            }));
        }
        for round in 0..12_u16 {
            tokio::time::sleep(Duration::from_millis(2_000 + random.below(10_000))).await;
            match random.below(4) {
                0 => {
                    let node = Arc::new(Node::start(&world, false, 10 + round).await);
                    nodes.lock().unwrap().push(node);
                }
                1 => {
                    let killed = {
                        let mut nodes = nodes.lock().unwrap();
                        (nodes.len() > 1).then(|| (nodes.remove(0), nodes[0].clone()))
                    };
                    if let Some((dead, alive)) = killed {
                        dead.kill();
                        tokio::time::sleep(Duration::from_millis(random.below(3_000))).await;
                        alive.declare_gone(&dead).await;
                    }
                }
                2 => {
                    let node = nodes.lock().unwrap()[0].clone();
                    node.log.faults().set_reads_down(true);
                    tokio::time::sleep(Duration::from_millis(random.below(4_000))).await;
                    node.log.faults().set_reads_down(false);
                }
                _ => {
                    let node = nodes.lock().unwrap()[0].clone();
                    node.log.faults().pause();
                    tokio::time::sleep(Duration::from_millis(random.below(8_000))).await;
                    node.log.faults().resume();
                }
            }
        }
        for client in clients {
            client.await.unwrap();
        }
        let made = *commits.lock().unwrap();
        assert!(made > 50, "seed {seed}: only {made} commits, which tests nothing");
        let nodes = nodes.lock().unwrap().clone();
        nodes[0].cell.barrier().await.unwrap();
        let index = nodes[0].cell.view();
        for (place, committed) in &index.groups["g"].offsets {
            let highest = acknowledged.lock().unwrap().get(&place.partition).copied().unwrap_or(-1);
            assert!(committed.offset >= highest, "seed {seed}: {place:?} holds {} after {highest}", committed.offset);
        }
        assert_eq!(index.violations(), Vec::<String>::new());
    }
}
