//! The consumer and the connections below it, on a simulated network.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use bytes::Bytes;
use std::time::Duration;
use strandline_client::{
    Client, ClientError, ClientOptions, ConnectionError, Consumer, ConsumerOptions, OffsetAt, Retry, StartAt,
};
use strandline_wire::ErrorCode;
use support::{Cluster, Fault, fill, simulated};

/// What comes until nothing more does.
async fn drain(consumer: &mut Consumer) -> Vec<(i32, i64)> {
    let mut seen = Vec::new();
    loop {
        let fetched = consumer.poll(Duration::from_secs(2)).await.unwrap();
        if fetched.is_empty() {
            return seen;
        }
        seen.extend(fetched.records().unwrap().iter().map(|record| (record.partition, record.offset)));
    }
}

#[test]
fn all_partitions_of_all_brokers_are_read_once_in_order() {
    simulated(async {
        let cluster = Cluster::new(1, 3);
        fill(&cluster, 3, 90).await;
        let mut consumer = cluster.client().consumer(ConsumerOptions::default());
        consumer.assign_topics(&["t"], StartAt::Earliest).await.unwrap();
        let seen = drain(&mut consumer).await;
        for partition in 0..3 {
            let offsets: Vec<i64> = seen.iter().filter(|seen| seen.0 == partition).map(|seen| seen.1).collect();
            assert_eq!(offsets, (0..30).collect::<Vec<i64>>());
        }
        assert!(consumer.progress().values().all(|progress| progress.lag() == Some(0)));
    });
}

#[test]
fn reading_goes_on_at_the_new_leader() {
    simulated(async {
        let cluster = Cluster::new(1, 2);
        fill(&cluster, 2, 20).await;
        let mut consumer = cluster.client().consumer(ConsumerOptions::default());
        consumer.assign_topics(&["t"], StartAt::Latest).await.unwrap();
        assert!(drain(&mut consumer).await.is_empty());
        cluster.state().faults = vec![Fault::Moved].into();
        fill(&cluster, 2, 20).await;
        let mut seen = drain(&mut consumer).await;
        seen.sort_unstable();
        let expected: Vec<(i32, i64)> = (0..2).flat_map(|partition| (10..20).map(move |offset| (partition, offset))).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_poll_that_is_given_up_loses_nothing() {
    simulated(async {
        let cluster = Cluster::new(1, 2);
        let mut consumer = cluster.client().consumer(ConsumerOptions::default());
        consumer.assign_topics(&["t"], StartAt::Earliest).await.unwrap();
        let mut seen = Vec::new();
        for round in 0..40_u64 {
            if round == 10 {
                fill(&cluster, 2, 50).await;
            }
            let poll = consumer.poll(Duration::from_secs(1));
            // Too soon for most answers.
            if let Ok(fetched) = tokio::time::timeout(Duration::from_millis(round % 5), poll).await {
                seen.extend(fetched.unwrap().records().unwrap().iter().map(|record| (record.partition, record.offset)));
            }
        }
        seen.extend(drain(&mut consumer).await);
        seen.sort_unstable();
        let expected: Vec<(i32, i64)> = (0..2).flat_map(|partition| (0..25).map(move |offset| (partition, offset))).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_damaged_partition_costs_the_others_nothing_and_is_said() {
    simulated(async {
        let cluster = Cluster::new(1, 3);
        fill(&cluster, 3, 900).await;
        {
            // Partition 0 has the same leader.
            let mut state = cluster.state();
            let batch = &mut state.topics.get_mut("t").unwrap().1[2].1[0];
            let mut damaged = batch.to_vec();
            *damaged.last_mut().unwrap() ^= 1;
            *batch = damaged.into();
        }
        let mut consumer = cluster.client().consumer(ConsumerOptions::default());
        consumer.assign_topics(&["t"], StartAt::Earliest).await.unwrap();
        let mut seen = Vec::new();
        let mut failed = Vec::new();
        for round in 0..100 {
            match consumer.poll(Duration::from_millis(100)).await {
                Ok(fetched) => seen.extend(fetched.records().unwrap().iter().map(|record| (record.partition, record.offset))),
                Err(error) => {
                    assert!(matches!(error, ClientError::Batch { .. }), "{error}");
                    failed.push(round);
                }
            }
        }
        for (partition, count) in [(0, 300), (1, 300), (2, 0)] {
            let offsets: Vec<i64> = seen.iter().filter(|seen| seen.0 == partition).map(|seen| seen.1).collect();
            assert_eq!(offsets, (0..count).collect::<Vec<i64>>(), "partition {partition}");
        }
        // While the others still bring records, too, and again and again.
        assert!(failed.len() > 10 && failed[0] < 6, "{failed:?}");
        assert_eq!(consumer.progress()[&("t".to_owned(), 2)].position, Some(0));
    });
}

#[test]
fn an_error_that_was_kept_back_is_not_said_of_what_is_read_elsewhere_by_then() {
    simulated(async {
        let cluster = Cluster::new(1, 3);
        fill(&cluster, 3, 90).await;
        // They have the same leader, and there is no such offset in the second.
        let [good, bad] = [0, 2].map(|partition| ("t".to_owned(), partition));
        let options = ConsumerOptions { start: StartAt::Fail, ..Default::default() };
        let mut consumer = cluster.client().consumer(options.clone());
        consumer.assign([(good.clone(), StartAt::Offset(0)), (bad.clone(), StartAt::Offset(99))]);
        assert!(!consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
        let error = consumer.poll(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
        let mut consumer = cluster.client().consumer(options);
        consumer.assign([(good, StartAt::Offset(0)), (bad.clone(), StartAt::Offset(99))]);
        assert!(!consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
        consumer.seek(&bad, StartAt::Offset(25)).unwrap();
        let seen = drain(&mut consumer).await;
        assert!(seen.iter().filter(|seen| seen.0 == 2).map(|seen| seen.1).eq(25..30), "{seen:?}");
    });
}

/// What waits to be sent again is older than what was committed since.
#[test]
fn a_commit_that_is_sent_again_takes_back_no_later_one() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        fill(&cluster, 1, 10).await;
        let every = Some(Duration::from_secs(1));
        let options = ConsumerOptions { group: Some("g".into()), auto_commit: every, ..Default::default() };
        let mut consumer = cluster.client().consumer(options);
        consumer.assign_topics(&["t"], StartAt::Earliest).await.unwrap();
        assert_eq!((drain(&mut consumer).await.len(), drain(&mut consumer).await.len()), (10, 0));
        assert_eq!(cluster.state().committed[&0].last(), Some(&10));
        // It begins to commit once more, and is refused; somebody who knows better commits meanwhile.
        cluster.state().commit_faults = vec![ErrorCode::CoordinatorLoadInProgress; 3].into();
        while cluster.state().commit_faults.len() == 3 {
            assert!(consumer.poll(Duration::from_millis(1)).await.unwrap().is_empty());
        }
        cluster.state().commit_faults.clear();
        fill(&cluster, 1, 10).await;
        consumer.commit_offsets([(("t".to_owned(), 0), 20)].into()).await.unwrap();
        assert_eq!((drain(&mut consumer).await.len(), drain(&mut consumer).await.len()), (10, 0));
        let committed = cluster.state().committed[&0].clone();
        assert!(committed.last() == Some(&20) && committed.is_sorted(), "{committed:?}");
    });
}

#[test]
fn seeks_pauses_and_offsets_that_are_gone() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        fill(&cluster, 1, 20).await;
        let partition = ("t".to_owned(), 0);
        let mut consumer = cluster.client().consumer(ConsumerOptions::default());
        consumer.assign([(partition.clone(), StartAt::Offset(15))]);
        assert_eq!(drain(&mut consumer).await.first(), Some(&(0, 15)));
        consumer.seek(&partition, StartAt::Offset(18)).unwrap();
        assert_eq!(drain(&mut consumer).await, [(0, 18), (0, 19)]);
        consumer.pause(&partition, true).unwrap();
        consumer.seek(&partition, StartAt::Earliest).unwrap();
        assert!(drain(&mut consumer).await.is_empty());
        consumer.pause(&partition, false).unwrap();
        assert_eq!(drain(&mut consumer).await.len(), 20);
        consumer.seek(&partition, StartAt::Offset(99)).unwrap();
        assert_eq!(drain(&mut consumer).await.len(), 20);
        assert!(matches!(consumer.seek(&("t".into(), 7), StartAt::Earliest), Err(ClientError::Invalid(_))));

        let mut strict = cluster.client().consumer(ConsumerOptions { start: StartAt::Fail, ..Default::default() });
        strict.assign([(partition, StartAt::Offset(99))]);
        let error = strict.poll(Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
    });
}

#[test]
fn offsets_come_from_the_leaders_wherever_they_are() {
    simulated(async {
        let cluster = Cluster::new(1, 4);
        fill(&cluster, 4, 40).await;
        let client = cluster.client();
        client.topic("t").await.unwrap();
        cluster.state().topics.get_mut("t").unwrap().1.iter_mut().for_each(|log| log.0 = 3 - log.0);
        let partitions: Vec<_> = (0..4).map(|partition| ("t".to_owned(), partition)).collect();
        let latest = client.admin().offsets_at(&partitions, OffsetAt::Latest).await.unwrap();
        assert!(latest.values().all(|offset| *offset == Some(10)));
    });
}

#[test]
fn an_old_broker_is_spoken_to_in_its_own_version() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().api_versions = 0;
        assert_eq!(cluster.client().cluster().await.unwrap().topics.len(), 1);
    });
}

#[test]
fn brokers_that_are_not_there_or_not_kafka_are_said_plainly() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        // The second address answers.
        assert!(cluster.client_at("gone:9,b2:2").cluster().await.is_ok());
        let error = cluster.client_at("gone:9").cluster().await.unwrap_err();
        assert!(matches!(error, ClientError::NoBroker { .. }));
        assert!(error.to_string().contains("gone:9"), "{error}");
        for address in ["b1", "b1:", ":1", "b1:x", ""] {
            let options = ClientOptions::new(address);
            assert!(Client::new(cluster.runtime.clone(), std::sync::Arc::new(cluster.clone()), options).is_err(), "{address}");
        }
        for (garbage, retry) in [
            // A length of 2 GiB, an answer to nothing, a body that ends too early.
            (Bytes::from_static(b"\x7f\xff\xff\xff"), Retry::Never),
            (Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Retry::Never),
            (Bytes::from_static(b"\0\0\0\x06\0\0\0\0\0\0"), Retry::Never),
        ] {
            cluster.state().garbage.insert(3, garbage.clone());
            let error = cluster.client().cluster().await.unwrap_err();
            assert!(matches!(error, ClientError::Connection(_)), "{error}");
            assert_eq!(error.retry(), retry, "{garbage:?}: {error}");
        }
    });
}

#[test]
fn a_request_without_an_answer_ends_its_connection_in_time() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        // Announces more than it sends.
        cluster.state().garbage.insert(3, Bytes::from_static(b"\0\0\x10\0\0\0\0\0"));
        let before = cluster.runtime.clock.monotonic();
        let connection = cluster.client().any_connection().await.unwrap();
        let error = connection.call(&strandline_wire::messages::MetadataRequest::default()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::TimedOut { .. }), "{error}");
        assert_eq!(cluster.runtime.clock.monotonic() - before, Duration::from_secs(5));
        assert!(!connection.is_open());
    });
}
