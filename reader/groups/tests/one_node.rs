//! One node: the protocol through the handlers, commits, deletes, restarts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test; its clients are tasks of the test, not of a node"
)]

mod support;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use strandline_cell::Submission;
use strandline_commands::{ClaimGroup, GroupMember, MemberProtocol, StoreGroup};
use strandline_groups::{GroupsOptions, OldConnection};
use strandline_index::{Outcome, Refusal};
use strandline_types::{TopicId, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use strandline_wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use strandline_wire::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use strandline_wire::messages::*;
use support::*;

#[tokio::test(start_paused = true)]
async fn two_members_join_sync_heartbeat_commit_and_leave() {
    let world = World::new(1);
    let node = Node::start(&world, true, 9092).await;
    node.topic(1, "orders", 2).await;
    let (mut a, b) = pair(&node.groups, "readers").await;
    assert_eq!((a.generation, b.generation, node.generation("readers")), (1, 1, 1));
    assert_eq!((&a.assignment[..], &b.assignment[..]), (a.member_id.as_bytes(), b.member_id.as_bytes()));
    assert!(a.member_id.starts_with("client-"));
    for _ in 0..20 {
        sleep(3).await;
        assert_eq!((a.heartbeat(&node.groups).await, b.heartbeat(&node.groups).await), (ErrorCode::None, ErrorCode::None));
    }
    assert_eq!(b.commit(&node.groups, "orders", 0, 7).await, ErrorCode::None);
    assert_eq!(node.committed("readers", "orders", 0).await, 7);
    assert_eq!(b.commit(&node.groups, "orders", 2, 7).await, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(node.state("readers").await, "Stable");

    assert_eq!(b.leave(&node.groups).await, ErrorCode::None);
    assert_eq!(a.heartbeat(&node.groups).await, ErrorCode::RebalanceInProgress);
    assert_eq!(b.commit(&node.groups, "orders", 0, 9).await, ErrorCode::UnknownMemberId);
    assert_eq!(a.commit(&node.groups, "orders", 0, 8).await, ErrorCode::None);
    assert_eq!(a.join_and_sync(&node.groups).await, Ok(()));
    assert_eq!((a.generation, node.state("readers").await.as_str()), (2, "Stable"));
    assert_eq!(a.leave(&node.groups).await, ErrorCode::None);
    assert_eq!((node.generation("readers"), node.state("readers").await.as_str()), (3, "Empty"));
    assert!(node.cell.view().groups["readers"].is_empty());
    assert_eq!(node.committed("readers", "orders", 0).await, 8);
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_generation_and_needs_no_rebalance() {
    let world = World::new(2);
    let node = Node::start(&world, true, 9092).await;
    node.topic(1, "orders", 1).await;
    let (a, b) = pair(&node.groups, "readers").await;
    assert_eq!(a.commit(&node.groups, "orders", 0, 5).await, ErrorCode::None);
    let claim = node.cell.view().groups["readers"].claim;
    node.kill();
    sleep(30).await;

    let again = Node::start(&world, true, 9092).await;
    assert_eq!(again.cell.view().groups["readers"].claim.map(|claim| claim.epoch), claim.map(|claim| claim.epoch));
    for _ in 0..5 {
        assert_eq!((a.heartbeat(&again.groups).await, b.heartbeat(&again.groups).await), (ErrorCode::None, ErrorCode::None));
        sleep(3).await;
    }
    assert_eq!(b.commit(&again.groups, "orders", 0, 6).await, ErrorCode::None);
    assert_eq!(again.generation("readers"), 1);
    assert_eq!(again.committed("readers", "orders", 0).await, 6);
}

#[tokio::test(start_paused = true)]
async fn members_that_do_not_come_back_after_a_restart_expire_without_being_asked_for() {
    let world = World::new(3);
    let node = Node::start(&world, true, 9092).await;
    pair(&node.groups, "readers").await;
    node.kill();
    let again = Node::start(&world, true, 9092).await;
    sleep(9).await;
    assert_eq!(again.cell.view().groups["readers"].members.len(), 2);
    sleep(10).await;
    assert!(again.cell.view().groups["readers"].is_empty());
    assert_eq!(again.state("readers").await, "Empty");
}

#[tokio::test(start_paused = true)]
async fn a_crash_during_a_rebalance_loses_no_generation() {
    let world = World::new(4);
    let node = Node::start(&world, true, 9092).await;
    let (mut a, mut b) = (Member::new("g"), Member::new("g"));
    let (ja, jb) = tokio::join!(a.join(&node.groups), b.join(&node.groups));
    let leads = !ja.unwrap().members.is_empty();
    assert_eq!(leads, jb.unwrap().members.is_empty());
    node.kill();
    let again = Node::start(&world, true, 9092).await;
    assert_eq!(again.state("g").await, "CompletingRebalance");
    assert_eq!(a.heartbeat(&again.groups).await, ErrorCode::None);
    let (mut leader, mut follower) = if leads { (a, b) } else { (b, a) };
    let assignments = BTreeMap::from([(follower.member_id.clone(), Bytes::from_static(b"all"))]);
    let (sl, sf) = tokio::join!(leader.sync(&again.groups, assignments), follower.sync(&again.groups, BTreeMap::new()));
    assert_eq!((sl, sf), (Ok(()), Ok(())));
    assert_eq!((&follower.assignment[..], again.generation("g")), (&b"all"[..], 1));
}

#[tokio::test(start_paused = true)]
async fn cooperative_members_give_up_and_join_again_while_the_others_go_on() {
    let world = World::new(5);
    let node = Node::start(&world, true, 9092).await;
    node.topic(1, "orders", 4).await;
    let cooperative = || Member { protocols: vec!["cooperative-sticky"], ..Member::new("g") };
    let mut a = cooperative();
    assert_eq!(a.join_and_sync(&node.groups).await, Ok(()));
    let (groups, mut b) = (node.groups.clone(), cooperative());
    let joining = tokio::spawn(async move {
        b.join_and_sync(&groups).await.unwrap();
        b
    });
    sleep(1).await;
    // While the newcomer waits, the owner keeps its partitions, reads on, and commits.
    assert_eq!(a.heartbeat(&node.groups).await, ErrorCode::RebalanceInProgress);
    assert_eq!(a.commit(&node.groups, "orders", 1, 10).await, ErrorCode::None);
    assert_eq!(a.join_and_sync(&node.groups).await, Ok(()));
    let mut b = joining.await.unwrap();
    assert_eq!((a.generation, b.generation), (2, 2));
    // Having revoked, a member joins again at once, which makes one more generation.
    let (ja, jb) = tokio::join!(a.join_and_sync(&node.groups), async {
        sleep(1).await;
        assert_eq!(b.heartbeat(&node.groups).await, ErrorCode::RebalanceInProgress);
        b.join_and_sync(&node.groups).await
    });
    assert_eq!((ja, jb, a.generation, b.generation), (Ok(()), Ok(()), 3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_static_member_is_replaced_without_a_rebalance_also_after_a_restart() {
    let world = World::new(6);
    let node = Node::start(&world, true, 9092).await;
    node.topic(1, "orders", 1).await;
    let (mut a, mut b) = (Member::with_instance("g", "one"), Member::with_instance("g", "two"));
    let (ja, jb) = tokio::join!(a.join_and_sync(&node.groups), b.join_and_sync(&node.groups));
    assert_eq!((ja, jb), (Ok(()), Ok(())));
    node.kill();
    let node = Node::start(&world, true, 9092).await;
    let mut again = Member::with_instance("g", "two");
    assert_eq!(again.join_and_sync(&node.groups).await, Ok(()));
    assert_eq!((again.generation, &again.assignment), (1, &b.assignment));
    assert_eq!(b.heartbeat(&node.groups).await, ErrorCode::FencedInstanceId);
    assert_eq!(b.commit(&node.groups, "orders", 0, 1).await, ErrorCode::FencedInstanceId);
    assert_eq!(again.commit(&node.groups, "orders", 0, 2).await, ErrorCode::None);
    assert_eq!(a.heartbeat(&node.groups).await, ErrorCode::None);
    assert_eq!(node.generation("g"), 1);
}

/// In as many groups as one likes, none of them stored yet.
#[tokio::test(start_paused = true)]
async fn members_of_all_groups_together_take_no_more_than_they_may() {
    const METADATA_BYTES: usize = 7 << 20;
    let world = World::new(17);
    let node = Node::start(&world, true, 9092).await;
    let join = |group: &str, bytes: usize| {
        let mut request = Member::new(group).join_request();
        request.protocols[0].metadata = vec![0; bytes].into();
        let groups = node.groups.clone();
        async move { code(groups.join_group(&caller(), 3, request).await.error_code) }
    };
    let (mut a, mut b) = (Member::new("known"), Member::new("known"));
    let (ja, jb) = tokio::join!(a.join_and_sync(&node.groups), b.join_and_sync(&node.groups));
    assert_eq!((ja, jb), (Ok(()), Ok(())));
    let many = limits::GROUPS_AT_WORK_BYTES / METADATA_BYTES;
    let waiting: Vec<_> = (0..many).map(|number| tokio::spawn(join(&format!("g{number}"), METADATA_BYTES))).collect();
    sleep(1).await;
    assert_eq!(join("one-more", METADATA_BYTES).await, ErrorCode::CoordinatorNotAvailable);
    assert!(!node.cell.view().groups.contains_key("one-more"));
    // Those that are members go on, and what is small has its place.
    assert_eq!((a.heartbeat(&node.groups).await, b.heartbeat(&node.groups).await), (ErrorCode::None, ErrorCode::None));
    assert_eq!(join("small", 10).await, ErrorCode::None);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn requests_are_checked_at_the_door() {
    let world = World::new(7);
    let node = Node::start(&world, true, 9092).await;
    node.topic(1, "orders", 1).await;
    let groups = &node.groups;
    let join = |change: fn(&mut JoinGroupRequest)| {
        let mut request = Member::new("g").join_request();
        change(&mut request);
        async move { code(groups.join_group(&caller(), 9, request).await.error_code) }
    };
    assert_eq!(join(|request| request.group_id.clear()).await, ErrorCode::InvalidGroupId);
    assert_eq!(join(|request| request.session_timeout_ms = 5_999).await, ErrorCode::InvalidSessionTimeout);
    assert_eq!(join(|request| request.session_timeout_ms = 1_800_001).await, ErrorCode::InvalidSessionTimeout);
    assert_eq!(join(|request| request.session_timeout_ms = -1).await, ErrorCode::InvalidSessionTimeout);
    assert_eq!(join(|request| request.protocols.clear()).await, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(join(|request| request.member_id = "x".to_owned()).await, ErrorCode::UnknownMemberId);
    // None of them made a group.
    assert!(node.cell.view().groups.is_empty());
    let nobody = Member { member_id: "x".to_owned(), generation: 1, ..Member::new("g") };
    assert_eq!(nobody.heartbeat(groups).await, ErrorCode::UnknownMemberId);
    assert_eq!(nobody.clone().sync(groups, BTreeMap::new()).await, Err(ErrorCode::UnknownMemberId));
    assert_eq!(nobody.leave(groups).await, ErrorCode::UnknownMemberId);
    assert_eq!(nobody.commit(groups, "orders", 0, 1).await, ErrorCode::GroupIdNotFound);
    let old = commit_request("g", "x", 1, "orders", 0, 1);
    assert_eq!(
        code(groups.offset_commit(&caller(), 8, old).await.unwrap().topics[0].partitions[0].error_code),
        ErrorCode::IllegalGeneration
    );
    assert!(node.cell.view().groups.is_empty());

    // Versions: 0 to 3 join at once, and version 5 of SyncGroup names its protocol.
    let first =
        groups.join_group(&caller(), 3, JoinGroupRequest { rebalance_timeout_ms: -1, ..Member::new("g").join_request() }).await;
    assert_eq!((first.error_code, first.generation_id, first.leader == first.member_id), (0, 1, true));
    let sync =
        SyncGroupRequest { group_id: "g".to_owned(), generation_id: 1, member_id: first.member_id.clone(), ..Default::default() };
    assert_eq!(code(groups.sync_group(&caller(), 5, sync.clone()).await.error_code), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(code(groups.sync_group(&caller(), 4, sync).await.error_code), ErrorCode::None);
    let leave = LeaveGroupRequest { group_id: "g".to_owned(), member_id: first.member_id, members: Vec::new() };
    assert_eq!(groups.leave_group(&caller(), 2, leave.clone()).await, LeaveGroupResponse::default());
    assert_eq!(code(groups.leave_group(&caller(), 2, leave).await.error_code), ErrorCode::UnknownMemberId);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_committed_and_fetched_in_every_shape() {
    let world = World::new(8);
    let node = Node::start(&world, true, 9092).await;
    node.topic(1, "orders", 3).await;
    node.topic(2, "returns", 1).await;
    let groups = &node.groups;
    // A consumer that assigns itself makes its group by committing.
    let mut request = commit_request("simple", "", -1, "orders", 0, 11);
    let first = request.topics[0].partitions[0].clone();
    request.topics[0].partitions.extend([
        OffsetCommitRequestPartition { partition_index: 9, ..first.clone() },
        OffsetCommitRequestPartition { partition_index: 1, committed_metadata: Some("x".repeat(4_097)), ..first },
    ]);
    let nothing = OffsetCommitRequestTopic { name: "nothing".to_owned(), ..request.topics[0].clone() };
    request.topics.push(nothing);
    let answer = groups.offset_commit(&caller(), 9, request).await.unwrap();
    let codes =
        |topic: usize| answer.topics[topic].partitions.iter().map(|partition| code(partition.error_code)).collect::<Vec<_>>();
    assert_eq!(codes(0), [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::OffsetMetadataTooLarge]);
    assert_eq!(codes(1), [ErrorCode::UnknownTopicOrPartition; 3]);
    assert_eq!((answer.topics[0].name.as_str(), answer.topics[1].name.as_str()), ("orders", "nothing"));

    // Version 10 speaks of ids.
    let by_id = |id: u8| {
        let mut request = commit_request("simple", "", -1, "", 0, 12);
        request.topics[0].topic_id = TopicId([id; 16]);
        request
    };
    assert_eq!(groups.offset_commit(&caller(), 10, by_id(2)).await.unwrap().topics[0].partitions[0].error_code, 0);
    let unknown = groups.offset_commit(&caller(), 10, by_id(9)).await.unwrap();
    assert_eq!(code(unknown.topics[0].partitions[0].error_code), ErrorCode::UnknownTopicId);
    assert_eq!(unknown.topics[0].topic_id, TopicId([9; 16]));

    // All topics of many groups, then by id, then as old versions ask.
    let all = |group: &str| OffsetFetchRequestGroup { group_id: group.to_owned(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![all("simple"), all("nobody")], require_stable: true, ..Default::default() };
    let answer = groups.offset_fetch(&caller(), 9, request).await;
    let found: Vec<(&str, i64)> =
        answer.groups[0].topics.iter().map(|topic| (topic.name.as_str(), topic.partitions[0].committed_offset)).collect();
    assert_eq!(found, [("orders", 11), ("returns", 12)]);
    assert_eq!(answer.groups[0].topics[0].partitions[0].metadata.as_deref(), Some("m"));
    assert_eq!((answer.groups[1].error_code, answer.groups[1].topics.len()), (0, 0));
    let topics = [2, 9].map(|id| OffsetFetchRequestTopics {
        topic_id: TopicId([id; 16]),
        partition_indexes: vec![0, 5],
        ..Default::default()
    });
    let by_id = OffsetFetchRequestGroup { group_id: "simple".to_owned(), topics: Some(topics.to_vec()), ..Default::default() };
    let answer = groups.offset_fetch(&caller(), 10, OffsetFetchRequest { groups: vec![by_id], ..Default::default() }).await;
    let found: Vec<(i64, ErrorCode)> = answer.groups[0]
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| (partition.committed_offset, code(partition.error_code)))
        .collect();
    assert_eq!(
        found,
        [(12, ErrorCode::None), (-1, ErrorCode::None), (-1, ErrorCode::UnknownTopicId), (-1, ErrorCode::UnknownTopicId)]
    );
    let old = OffsetFetchRequest {
        group_id: "simple".to_owned(),
        topics: Some(vec![OffsetFetchRequestTopic { name: "orders".to_owned(), partition_indexes: vec![0, 1] }]),
        ..Default::default()
    };
    for version in 1..=7 {
        let answer = groups.offset_fetch(&caller(), version, old.clone()).await;
        let offsets: Vec<i64> = answer.topics[0].partitions.iter().map(|partition| partition.committed_offset).collect();
        assert_eq!((answer.error_code, offsets), (0, vec![11, -1]));
    }
    // What is asked again and again is answered once.
    let often = OffsetFetchRequestTopics {
        name: "orders".to_owned(),
        partition_indexes: [0, 1].repeat(1_000),
        ..OffsetFetchRequestTopics::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: "simple".to_owned(),
        topics: Some(vec![often.clone(), often]),
        ..OffsetFetchRequestGroup::default()
    };
    let request = OffsetFetchRequest { groups: vec![group.clone(), group], ..OffsetFetchRequest::default() };
    let answer = groups.offset_fetch(&caller(), 9, request).await;
    let partitions = answer.groups.iter().flat_map(|group| &group.topics).flat_map(|topic| &topic.partitions);
    assert_eq!(partitions.map(|partition| partition.committed_offset).collect::<Vec<_>>(), [11, -1]);

    // Who has ended its connection commits nothing any more that waited there, and deletes nothing.
    let gone = caller();
    gone.gone.set();
    let late = commit_request("simple", "", -1, "orders", 0, 5);
    assert_eq!(groups.offset_commit(&gone, 9, late).await.err(), Some(OldConnection));
    let delete = DeleteGroupsRequest { groups_names: vec!["simple".to_owned()] };
    assert_eq!(groups.delete_groups(&gone, 2, delete).await.err(), Some(OldConnection));
    let topics = vec![OffsetDeleteRequestTopic {
        name: "orders".to_owned(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    }];
    let delete = OffsetDeleteRequest { group_id: "simple".to_owned(), topics };
    assert_eq!(groups.offset_delete(&gone, 0, delete).await.err(), Some(OldConnection));
    assert_eq!(node.committed("simple", "orders", 0).await, 11);

    // With members a commit from outside is refused.
    let mut member = Member::new("simple");
    member.join_and_sync(groups).await.unwrap();
    let answer = groups.offset_commit(&caller(), 9, commit_request("simple", "", -1, "orders", 0, 1)).await.unwrap();
    assert_eq!(code(answer.topics[0].partitions[0].error_code), ErrorCode::UnknownMemberId);
    assert_eq!(member.commit(groups, "orders", 0, 20).await, ErrorCode::None);
    let wrong = Member { generation: 0, ..member.clone() };
    assert_eq!(wrong.commit(groups, "orders", 0, 1).await, ErrorCode::IllegalGeneration);
    assert_eq!(node.committed("simple", "orders", 0).await, 20);
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_described_and_deleted() {
    let world = World::new(9);
    let node = Node::start(&world, true, 9092).await;
    node.topic(1, "orders", 1).await;
    node.topic(2, "returns", 1).await;
    let groups = &node.groups;
    let (a, _) = pair(groups, "busy").await;
    assert_eq!(a.commit(groups, "orders", 0, 3).await, ErrorCode::None);
    assert_eq!(a.commit(groups, "returns", 0, 4).await, ErrorCode::None);
    groups.offset_commit(&caller(), 9, commit_request("simple", "", -1, "orders", 0, 1)).await.unwrap();

    let list = |states: &[&str], types: &[&str]| {
        let owned = |filter: &[&str]| filter.iter().map(|one| (*one).to_owned()).collect();
        let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
        async move {
            let answer = groups.list_groups(&caller(), 5, request).await;
            answer
                .groups
                .into_iter()
                .map(|group| (group.group_id, group.group_state, group.protocol_type, group.group_type))
                .collect::<Vec<_>>()
        }
    };
    let own = |texts: [&str; 4]| {
        let [a, b, c, d] = texts.map(str::to_owned);
        (a, b, c, d)
    };
    let (busy, simple) = (own(["busy", "Stable", "consumer", "classic"]), own(["simple", "Empty", "", "classic"]));
    assert_eq!(list(&[], &[]).await, [busy.clone(), simple.clone()]);
    assert_eq!(list(&["stable"], &["Classic"]).await, [busy]);
    assert_eq!(list(&["Empty", "Dead"], &[]).await, [simple]);
    assert_eq!(list(&[], &["consumer"]).await, []);

    let request =
        DescribeGroupsRequest { groups: vec!["busy".to_owned(), "nobody".to_owned()], include_authorized_operations: true };
    let answer = groups.describe_groups(&caller(), 6, request.clone()).await;
    let described = &answer.groups[0];
    assert_eq!(
        (described.group_state.as_str(), described.protocol_data.as_str(), described.members.len()),
        ("Stable", "range", 2)
    );
    assert_eq!(described.members[0].client_host, "/127.0.0.1");
    assert!(described.members.iter().all(|member| member.member_assignment == member.member_id.as_bytes()));
    assert!(described.members.iter().all(|member| !member.member_metadata.is_empty()));
    assert_eq!(described.authorized_operations, 3_400);
    assert_eq!((code(answer.groups[1].error_code), answer.groups[1].group_state.as_str()), (ErrorCode::GroupIdNotFound, "Dead"));
    assert_eq!(groups.describe_groups(&caller(), 5, request).await.groups[1].error_code, 0);

    // Offsets of a topic that is read stay; the others go.
    let topic = |name: &str| OffsetDeleteRequestTopic {
        name: name.to_owned(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    };
    let delete = |group: &str| OffsetDeleteRequest {
        group_id: group.to_owned(),
        topics: vec![topic("orders"), topic("returns"), topic("nothing")],
    };
    let answer = groups.offset_delete(&caller(), 0, delete("busy")).await.unwrap();
    let codes: Vec<ErrorCode> = answer.topics.iter().map(|topic| code(topic.partitions[0].error_code)).collect();
    assert_eq!(codes, [ErrorCode::GroupSubscribedToTopic, ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
    assert_eq!((node.committed("busy", "orders", 0).await, node.committed("busy", "returns", 0).await), (3, -1));
    assert_eq!(code(groups.offset_delete(&caller(), 0, delete("nobody")).await.unwrap().error_code), ErrorCode::GroupIdNotFound);

    let request = DeleteGroupsRequest { groups_names: ["busy", "simple", "nobody"].map(str::to_owned).to_vec() };
    let answer = groups.delete_groups(&caller(), 2, request).await.unwrap();
    let codes: Vec<ErrorCode> = answer.results.iter().map(|result| code(result.error_code)).collect();
    assert_eq!(codes, [ErrorCode::NonEmptyGroup, ErrorCode::None, ErrorCode::GroupIdNotFound]);
    assert_eq!(node.cell.view().groups.keys().collect::<Vec<_>>(), ["busy"]);
}

#[tokio::test(start_paused = true)]
async fn coordinators_are_found_and_transactions_refused() {
    let world = World::new(10);
    let node = Node::start(&world, true, 9093).await;
    let find = |version, request| {
        let groups = &node.groups;
        async move { groups.find_coordinator(&caller(), version, request).await }
    };
    let old = find(1, FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() }).await;
    assert_eq!((old.error_code, old.node_id, old.host.as_str(), old.port), (0, node.cell.node_id(), "127.0.0.1", 9093));
    let keys = vec!["g".to_owned(), "h".to_owned()];
    let many = find(4, FindCoordinatorRequest { coordinator_keys: keys.clone(), ..Default::default() }).await;
    assert_eq!(many.coordinators.iter().map(|one| (one.key.as_str(), one.port)).collect::<Vec<_>>(), [("g", 9093), ("h", 9093)]);
    for key_type in [1, 2, 7] {
        let answer = find(6, FindCoordinatorRequest { key_type, coordinator_keys: keys.clone(), ..Default::default() }).await;
        assert_eq!(code(answer.coordinators[0].error_code), ErrorCode::InvalidRequest);
        assert!(answer.coordinators[0].error_message.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_expires() {
    let world = World::new(11);
    let day = Duration::from_secs(24 * 3_600);
    let options = GroupsOptions { offsets_retention: 2 * day, ..GroupsOptions::default() };
    let node = Node::with(&world, true, 9092, options).await;
    node.topic(1, "orders", 1).await;
    let groups = &node.groups;
    groups.offset_commit(&caller(), 9, commit_request("simple", "", -1, "orders", 0, 1)).await.unwrap();
    let mut member = Member::new("without offsets");
    member.join_and_sync(groups).await.unwrap();
    member.leave(groups).await;
    assert_eq!(node.cell.view().groups.len(), 2);
    sleep(3_600).await;
    assert_eq!(node.cell.view().groups.keys().collect::<Vec<_>>(), ["simple"]);
    sleep(40 * 3_600).await;
    groups.offset_commit(&caller(), 9, commit_request("simple", "", -1, "orders", 0, 2)).await.unwrap();
    sleep(40 * 3_600).await;
    assert_eq!(node.committed("simple", "orders", 0).await, 2);
    sleep(9 * 3_600).await;
    assert!(node.cell.view().groups.is_empty());
    assert_eq!(node.committed("simple", "orders", 0).await, -1);
}

/// KIP-211: what a group with members still reads stays, however long ago it was committed.
#[tokio::test(start_paused = true)]
async fn offsets_that_are_not_committed_again_expire_where_nobody_reads_on() {
    let world = World::new(27);
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let options = GroupsOptions { offsets_retention: hours(48), ..GroupsOptions::default() };
    let node = Node::with(&world, true, 9092, options).await;
    node.topic(1, "orders", 2).await;
    node.topic(2, "returns", 1).await;
    let groups = &node.groups;
    let mut member = Member { session_timeout_ms: 1_800_000, ..Member::new("g") };
    member.join_and_sync(groups).await.unwrap();
    assert_eq!(member.commit(groups, "orders", 0, 1).await, ErrorCode::None);
    assert_eq!(member.commit(groups, "returns", 0, 2).await, ErrorCode::None);
    for partition in [0, 1] {
        groups.offset_commit(&caller(), 9, commit_request("simple", "", -1, "orders", partition, 3)).await.unwrap();
    }
    for _ in 0..3 * 50 {
        sleep(1_200).await;
        assert_eq!(member.heartbeat(groups).await, ErrorCode::None);
        groups.offset_commit(&caller(), 9, commit_request("simple", "", -1, "orders", 0, 4)).await.unwrap();
    }
    assert_eq!((node.committed("g", "orders", 0).await, node.committed("g", "returns", 0).await), (1, -1));
    assert_eq!((node.committed("simple", "orders", 0).await, node.committed("simple", "orders", 1).await), (4, -1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_in_the_midst_of_it_disturbs_nobody() {
    let world = World::new(12);
    let node = Node::start(&world, true, 9092).await;
    let (mut a, b) = pair(&node.groups, "g").await;
    // Its JoinGroup is dropped while it waits, as a closed connection drops it.
    let mut gone = Member::new("g");
    let joining = tokio::time::timeout(Duration::from_secs(1), gone.join_and_sync(&node.groups)).await;
    assert!(joining.is_err());
    assert_eq!(b.heartbeat(&node.groups).await, ErrorCode::RebalanceInProgress);
    let mut b = b;
    let (ja, jb) = tokio::join!(a.join(&node.groups), b.join(&node.groups));
    assert_eq!((ja.unwrap().generation_id, jb.unwrap().generation_id), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_while_its_group_is_claimed_leaves_nothing_for_ever() {
    let world = World::new(14);
    let node = Node::start(&world, true, 9092).await;
    let mut gone = Member::new("g");
    // Begun, and dropped in the same moment.
    assert!(tokio::time::timeout(Duration::ZERO, gone.join_and_sync(&node.groups)).await.is_err());
    sleep(1).await;
    assert!(node.cell.view().groups.contains_key("g"), "the claim was on its way");
    sleep(3_600).await;
    assert!(node.cell.view().groups.is_empty());
}

/// Looks so many times whether it is done, and drops it then.
async fn begun(looks: usize, work: impl Future) {
    let mut work = std::pin::pin!(work);
    let mut left = looks;
    std::future::poll_fn(|context| {
        left = left.saturating_sub(1);
        let is_over = work.as_mut().poll(context).is_ready() || left == 0;
        if is_over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_while_offsets_are_deleted_leaves_nothing_for_ever() {
    let world = World::new(16);
    let options = GroupsOptions { offsets_retention: Duration::from_secs(3_600), ..GroupsOptions::default() };
    let node = Node::with(&world, true, 9092, options).await;
    node.topic(1, "orders", 1).await;
    node.topic(2, "returns", 1).await;
    let groups = &node.groups;
    for looks in 1..10 {
        for (name, partition) in [("offsets", 0), ("groups", 0)] {
            let group = format!("{name} {looks}");
            groups.offset_commit(&caller(), 9, commit_request(&group, "", -1, "orders", partition, 1)).await.unwrap();
            // A slot of an own, so that the one of the commit is no help.
            sleep(1).await;
            if name == "offsets" {
                let topics = vec![OffsetDeleteRequestTopic {
                    name: "returns".to_owned(),
                    partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
                }];
                begun(looks, groups.offset_delete(&caller(), 0, OffsetDeleteRequest { group_id: group, topics })).await;
            } else {
                begun(looks, groups.delete_groups(&caller(), 2, DeleteGroupsRequest { groups_names: vec![group] })).await;
            }
        }
    }
    sleep(3 * 3_600).await;
    assert_eq!(node.cell.view().groups.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_lets_parked_members_go() {
    let world = World::new(13);
    let node = Node::start(&world, true, 9092).await;
    let (_, b) = pair(&node.groups, "g").await;
    let (groups, mut c) = (node.groups.clone(), Member::new("g"));
    let parked = tokio::spawn(async move { c.join(&groups).await.err() });
    sleep(1).await;
    node.groups.stop().await;
    assert_eq!(parked.await.unwrap(), Some(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(b.heartbeat(&node.groups).await, ErrorCode::CoordinatorNotAvailable);
    node.cell.stop().await;
    let again = Node::start(&world, true, 9092).await;
    assert_eq!(b.heartbeat(&again.groups).await, ErrorCode::None);
}

#[tokio::test(start_paused = true)]
async fn a_rebalance_whose_store_was_in_doubt_counts_when_it_lands() {
    let world = World::new(14);
    let node = Node::start(&world, true, 9092).await;
    let patient = || Member { session_timeout_ms: 600_000, ..Member::new("g") };
    let (mut a, mut b) = (patient(), patient());
    let (ja, jb) = tokio::join!(a.join_and_sync(&node.groups), b.join_and_sync(&node.groups));
    assert_eq!((ja, jb), (Ok(()), Ok(())));
    let (before_a, before_b) = (a.clone(), b.clone());
    node.log.faults().pause();
    let (ja, jb) = tokio::join!(a.join(&node.groups), b.join(&node.groups));
    // Neither yes nor no: they look for the coordinator and join again.
    assert_eq!((ja.err(), jb.err()), (Some(ErrorCode::CoordinatorNotAvailable), Some(ErrorCode::CoordinatorNotAvailable)));
    // Meanwhile the group is loaded again as it was.
    sleep(70).await;
    assert_eq!(node.generation("g"), 1);
    node.log.faults().resume();
    sleep(1).await;
    assert_eq!(node.generation("g"), 2);
    for member in [&before_a, &before_b] {
        assert_eq!(member.heartbeat(&node.groups).await, ErrorCode::IllegalGeneration);
    }
    let (ja, jb) = tokio::join!(a.join_and_sync(&node.groups), b.join_and_sync(&node.groups));
    assert_eq!((ja, jb, a.generation, node.state("g").await.as_str()), (Ok(()), Ok(()), 2, "Stable"));
}

#[tokio::test(start_paused = true)]
async fn a_full_bound_of_all_groups_is_told_as_such() {
    let world = World::new(15);
    let node = Node::start(&world, true, 9092).await;
    // Groups of members with much to say, until no more of them goes in.
    let metadata = Bytes::from(vec![0; 6 << 20]);
    let protocols = vec![MemberProtocol { name: "range".to_owned(), metadata }];
    let member = GroupMember { member_id: "m".to_owned(), protocols, session_timeout_ms: 1_800_000, ..GroupMember::default() };
    for number in 0.. {
        let group = format!("large {number}");
        let claim = Submission::one(ClaimGroup { group: group.clone(), replaces: 0 });
        let Outcome::Claimed(claim) = node.cell.submit(claim).await.unwrap().outcomes.remove(0) else { panic!("not claimed") };
        let store = StoreGroup { group, claim: claim.0, generation: 1, members: vec![member.clone()], ..StoreGroup::default() };
        let outcome = node.cell.submit(Submission::one(store)).await.unwrap().outcomes.remove(0);
        if outcome != Outcome::Done {
            assert!(matches!(outcome, Outcome::Refused(Refusal::Limit { .. })), "{outcome:?}");
            break;
        }
    }
    // A group that is there, and finds no room for its members.
    let mut last = Member::new("g");
    let mut request = last.join_request();
    for protocol in &mut request.protocols {
        protocol.metadata = Bytes::from(vec![0; 6 << 20]);
    }
    let answer = node.groups.join_group(&caller(), 9, request.clone()).await;
    last.member_id = answer.member_id;
    request.member_id.clone_from(&last.member_id);
    let answer = node.groups.join_group(&caller(), 9, request).await;
    assert_eq!(code(answer.error_code), ErrorCode::CoordinatorNotAvailable);
}
