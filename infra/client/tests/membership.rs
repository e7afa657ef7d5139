//! Members of a group on a simulated network: busy, put out, and closed.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::VecDeque;
use std::time::Duration;
use strandline_client::{Assignor, Consumer, ConsumerOptions, StartAt};
use strandline_wire::ErrorCode;
use support::{Cluster, fill, simulated};

fn cooperative() -> ConsumerOptions {
    ConsumerOptions {
        group: Some("g".into()),
        assignors: vec![Assignor::CooperativeSticky],
        heartbeat_interval: Duration::from_millis(5),
        ..Default::default()
    }
}

/// A member that has joined and read all there is.
async fn member(cluster: &Cluster, options: ConsumerOptions) -> Consumer {
    let mut consumer = cluster.client().consumer(options);
    consumer.subscribe(&["t"]).unwrap();
    while !consumer.poll(Duration::from_secs(2)).await.unwrap().is_empty() {}
    assert_eq!(consumer.generation(), Some(1));
    consumer
}

#[test]
fn a_join_goes_on_however_much_there_is_to_read() {
    simulated(async {
        let cluster = Cluster::new(1, 2);
        fill(&cluster, 2, 4_000).await;
        let mut consumer = cluster.client().consumer(cooperative());
        consumer.subscribe(&["t"]).unwrap();
        assert!(!consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
        assert_eq!(consumer.generation(), Some(1));
        cluster.state().group.is_rebalancing = true;
        for _ in 0..40 {
            assert!(!consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
            // What is done with it: answers come meanwhile.
            cluster.runtime.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(consumer.generation(), Some(2));
    });
}

#[test]
fn what_stays_is_read_on_while_the_group_waits_for_others() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        let mut consumer = member(&cluster, cooperative()).await;
        {
            let mut state = cluster.state();
            state.group.is_rebalancing = true;
            state.group.parks_joins = true;
        }
        // It joins again meanwhile, at the broker that leads its partition.
        assert!(consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
        fill(&cluster, 1, 10).await;
        let before = cluster.runtime.clock.monotonic();
        let mut read = 0;
        while read < 10 {
            read += consumer.poll(Duration::from_secs(30)).await.unwrap().records().unwrap().len();
        }
        assert!(cluster.runtime.clock.monotonic() - before < Duration::from_secs(2), "it waited for the join");
        assert_eq!(cluster.state().group.generation, 1, "the join came back");
    });
}

#[test]
fn a_member_that_is_put_out_while_it_joins_goes_on_where_the_group_is() {
    put_out(VecDeque::new());
}

#[test]
fn so_does_one_that_may_not_join_again_at_first() {
    put_out(VecDeque::from([ErrorCode::GroupAuthorizationFailed]));
}

fn put_out(join_faults: VecDeque<ErrorCode>) {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        fill(&cluster, 1, 10).await;
        let partition = ("t".to_owned(), 0);
        let auto_commit = Some(Duration::from_secs(1));
        let mut consumer = member(&cluster, ConsumerOptions { auto_commit, ..cooperative() }).await;
        // It reads no more for a while, and others do.
        consumer.pause(&partition, true).unwrap();
        let faults = join_faults.len();
        {
            let mut state = cluster.state();
            state.group.members.clear();
            state.group.is_rebalancing = true;
            state.group.join_faults = join_faults;
            state.committed.insert(0, vec![20]);
        }
        fill(&cluster, 1, 10).await;
        let mut failed = 0;
        for _ in 0..10 {
            match consumer.poll(Duration::from_secs(1)).await {
                Ok(fetched) => assert!(fetched.is_empty()),
                Err(_) => failed += 1,
            }
        }
        assert_eq!(failed, faults);
        assert_eq!(consumer.generation(), Some(2));
        assert_eq!(consumer.progress()[&partition].position, Some(20));
        let committed = cluster.state().committed[&0].clone();
        assert!(committed.len() > 1 && committed.iter().all(|offset| *offset == 20), "{committed:?}");
    });
}

#[test]
fn a_partition_without_an_offset_keeps_no_other_from_being_read() {
    simulated(async {
        let cluster = Cluster::new(1, 2);
        fill(&cluster, 2, 20).await;
        cluster.state().committed.insert(1, vec![3]);
        let mut consumer = cluster.client().consumer(ConsumerOptions { start: StartAt::Fail, ..cooperative() });
        consumer.subscribe(&["t"]).unwrap();
        let mut seen = Vec::new();
        let mut failed = 0;
        for _ in 0..20 {
            match consumer.poll(Duration::from_secs(1)).await {
                Ok(fetched) => seen.extend(fetched.records().unwrap().iter().map(|record| (record.partition, record.offset))),
                Err(_) => failed += 1,
            }
        }
        assert_eq!(seen, (3..10).map(|offset| (1, offset)).collect::<Vec<(i32, i64)>>());
        assert!(failed > 0);
    });
}

#[test]
fn closing_leaves_the_group_after_a_restart_of_its_coordinator() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        let consumer = member(&cluster, cooperative()).await;
        cluster.restart();
        consumer.close().await.unwrap();
        assert_eq!(cluster.state().group.left, ["m1"]);
    });
}

#[test]
fn closing_leaves_a_group_that_is_only_being_joined() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().group.parks_joins = true;
        let mut consumer = cluster.client().consumer(cooperative());
        consumer.subscribe(&["t"]).unwrap();
        assert!(consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
        assert_eq!(consumer.generation(), None);
        let before = cluster.runtime.clock.monotonic();
        consumer.close().await.unwrap();
        assert!(cluster.runtime.clock.monotonic() - before < Duration::from_secs(1), "it waited for the join");
        assert_eq!(cluster.state().group.left, ["m1"]);
    });
}

/// What closing says, and who has left, where leaving is answered like this.
async fn closed(faults: &[(ErrorCode, ErrorCode)]) -> (Option<ErrorCode>, Vec<String>) {
    let cluster = Cluster::new(1, 1);
    let consumer = member(&cluster, cooperative()).await;
    cluster.state().group.leave_faults = faults.to_vec().into();
    let code = consumer.close().await.err().and_then(|error| error.code());
    let left = cluster.state().group.left.clone();
    (code, left)
}

#[test]
fn closing_tries_again_where_that_helps_and_says_what_was_refused() {
    simulated(async {
        let (fine, refused) = (ErrorCode::None, ErrorCode::GroupAuthorizationFailed);
        let left = vec!["m1".to_owned()];
        assert_eq!(closed(&[(ErrorCode::NotCoordinator, fine)]).await, (None, left.clone()));
        assert_eq!(closed(&[(fine, ErrorCode::CoordinatorLoadInProgress)]).await, (None, left));
        assert_eq!(closed(&[(refused, fine)]).await, (Some(refused), vec![]));
        assert_eq!(closed(&[(fine, refused)]).await, (Some(refused), vec![]));
        // It is out, whoever put it out.
        assert_eq!(closed(&[(fine, ErrorCode::UnknownMemberId)]).await, (None, vec![]));
    });
}

#[test]
fn closing_leaves_whatever_became_of_the_last_commit() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        fill(&cluster, 1, 10).await;
        let auto_commit = Some(Duration::from_secs(60));
        let consumer = member(&cluster, ConsumerOptions { auto_commit, ..cooperative() }).await;
        cluster.state().commit_faults = vec![ErrorCode::GroupAuthorizationFailed].into();
        let error = consumer.close().await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::GroupAuthorizationFailed));
        assert_eq!(cluster.state().group.left, ["m1"]);
    });
}

#[test]
fn closing_ends_in_time_where_nobody_answers() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        let consumer = member(&cluster, cooperative()).await;
        cluster.state().group.ignores_leaving = true;
        let before = cluster.runtime.clock.monotonic();
        assert!(consumer.close().await.is_err());
        assert!(cluster.runtime.clock.monotonic() - before <= Duration::from_secs(6));
    });
}
