//! The producer against faults: every record once, in order, or an error that says so.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod support;

use proptest::prelude::*;
use std::time::Duration;
use strandline_client::{Acks, ClientError, Compression, Delivery, ProducerOptions, ProducerRecord};
use strandline_wire::ErrorCode;
use support::{Cluster, Fault, simulated};

/// One record a batch, so that many requests are under way.
fn options() -> ProducerOptions {
    ProducerOptions { linger: Duration::ZERO, batch_bytes: 80, ..Default::default() }
}

async fn send(producer: &strandline_client::Producer, partition: i32, value: &str) -> Delivery {
    let record = ProducerRecord { topic: "t", partition: Some(partition), value: Some(value.as_bytes()), ..Default::default() };
    producer.send(record).await.unwrap()
}

async fn run_with(seed: u64, faults: Vec<Fault>, partitions: usize, records: usize) -> Cluster {
    let cluster = Cluster::new(seed, partitions);
    cluster.state().faults = faults.into();
    let producer = cluster.client().producer(options());
    let mut deliveries = Vec::new();
    for number in 0..records {
        deliveries.push(send(&producer, (number % partitions) as i32, &number.to_string()).await);
        if number.is_multiple_of(7) {
            cluster.runtime.sleep(Duration::from_millis(3)).await;
        }
    }
    producer.flush().await.unwrap();
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let acknowledged = delivery.wait().await.unwrap();
        // A repeat that the broker no longer remembers has no offset.
        assert!(acknowledged.offset == (number / partitions) as i64 || acknowledged.offset == -1, "{number}: {acknowledged:?}");
    }
    for partition in 0..partitions {
        let expected: Vec<String> = (partition..records).step_by(partitions).map(|number| number.to_string()).collect();
        assert_eq!(cluster.values(partition), expected);
    }
    producer.close().await.unwrap();
    cluster
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        4 => Just(Fault::None),
        2 => Just(Fault::LostRequest),
        2 => Just(Fault::LostAnswer),
        1 => Just(Fault::Silence),
        1 => Just(Fault::Slow),
        1 => Just(Fault::Moved),
        2 => Just(Fault::Refused(ErrorCode::NotLeaderOrFollower)),
        1 => Just(Fault::Refused(ErrorCode::KafkaStorageError)),
        1 => Just(Fault::Refused(ErrorCode::RequestTimedOut)),
        // The broker forgot the producer, or takes it for an old one.
        1 => Just(Fault::Refused(ErrorCode::UnknownProducerId)),
        1 => Just(Fault::Refused(ErrorCode::InvalidProducerEpoch)),
    ];
    proptest::collection::vec(fault, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn every_record_is_written_once_and_in_order(seed in any::<u64>(), faults in faults(), partitions in 1_usize..4) {
        simulated(run_with(seed, faults, partitions, 60));
    }
}

#[test]
fn answers_that_are_lost_five_at_a_time_double_nothing() {
    simulated(run_with(1, vec![Fault::LostAnswer; 12], 1, 30));
    simulated(run_with(2, vec![Fault::Moved, Fault::LostAnswer, Fault::Moved, Fault::LostRequest, Fault::Silence], 2, 30));
}

#[test]
fn the_same_seed_asks_for_the_same() {
    let once = || {
        simulated(async {
            let cluster = run_with(5, vec![Fault::LostAnswer, Fault::None, Fault::Slow, Fault::Moved], 3, 60).await;
            let state = cluster.state();
            (state.connections, state.produce_requests, cluster.runtime.clock.monotonic())
        })
    };
    assert_eq!(once(), once());
}

#[test]
fn a_record_that_is_refused_fails_alone_and_those_behind_it_go_on() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().faults = vec![Fault::None, Fault::Refused(ErrorCode::MessageTooLarge)].into();
        let producer = cluster.client().producer(options());
        let mut deliveries = Vec::new();
        for number in 0..20 {
            deliveries.push(send(&producer, 0, &number.to_string()).await);
        }
        let error = producer.flush().await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
        let mut failed = 0;
        for delivery in deliveries {
            failed += usize::from(delivery.wait().await.is_err());
        }
        assert_eq!(failed, 1);
        let expected: Vec<String> = (0..20).filter(|number| *number != 1).map(|number| number.to_string()).collect();
        assert_eq!(cluster.values(0), expected);
    });
}

#[test]
fn what_cannot_be_delivered_fails_in_time_and_gives_its_room_back() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().faults = vec![Fault::Refused(ErrorCode::NotLeaderOrFollower); 100_000].into();
        let producer = cluster.client().producer(ProducerOptions { delivery_timeout: Duration::from_secs(10), ..options() });
        let deliveries = [send(&producer, 0, "a").await, send(&producer, 0, "b").await];
        let before = cluster.runtime.clock.monotonic();
        for delivery in deliveries {
            assert!(matches!(delivery.wait().await, Err(ClientError::TimedOut { .. })));
        }
        assert!(cluster.runtime.clock.monotonic() - before < Duration::from_secs(12));
        cluster.runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!(producer.buffered_bytes(), 0);
        // And after that it goes on.
        cluster.state().faults.clear();
        send(&producer, 0, "c").await.wait().await.unwrap();
        assert_eq!(cluster.values(0), ["c"]);
    });
}

#[test]
fn a_full_buffer_makes_senders_wait() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().faults = vec![Fault::Slow; 10].into();
        let producer =
            cluster.client().producer(ProducerOptions { buffer_bytes: 1_000, linger: Duration::from_secs(60), ..options() });
        let before = cluster.runtime.clock.monotonic();
        for number in 0..200 {
            drop(send(&producer, 0, &format!("{number:050}")).await);
            assert!(producer.buffered_bytes() <= 1_000);
        }
        assert!(cluster.runtime.clock.monotonic() - before >= Duration::from_secs(1), "the buffer never filled");
        producer.close().await.unwrap();
        assert_eq!(cluster.values(0).len(), 200);
        let record = ProducerRecord { topic: "t", ..Default::default() };
        assert!(matches!(producer.send(record).await, Err(ClientError::Closed(_))));
    });
}

#[test]
fn batches_fill_while_they_linger_in_every_codec() {
    simulated(async {
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let cluster = Cluster::new(1, 1);
            let producer = cluster.client().producer(ProducerOptions { compression, ..Default::default() });
            let deliveries: Vec<Delivery> = futures::future::join_all((0..100).map(|_| send(&producer, 0, "value"))).await;
            for (offset, delivery) in deliveries.into_iter().enumerate() {
                assert_eq!(delivery.wait().await.unwrap().offset, offset as i64);
            }
            let requests = cluster.state().produce_requests;
            assert_eq!((requests, cluster.values(0).len()), (1, 100));
        }
    });
}

#[test]
fn without_acks_nothing_is_known_but_that_it_was_written() {
    simulated(async {
        let cluster = Cluster::new(1, 2);
        let producer = cluster.client().producer(ProducerOptions { acks: Acks::Leader, ..options() });
        assert_eq!(send(&producer, 1, "a").await.wait().await.unwrap().offset, 0);
        let unknown = ProducerRecord { topic: "none", ..Default::default() };
        assert_eq!(producer.send(unknown).await.unwrap_err().code(), Some(ErrorCode::UnknownTopicOrPartition));
        let beyond = ProducerRecord { topic: "t", partition: Some(2), ..Default::default() };
        assert!(matches!(producer.send(beyond).await, Err(ClientError::NoPartition { partitions: 2, .. })));
        let huge = vec![0; 33 << 20];
        let huge = ProducerRecord { topic: "t", value: Some(&huge), ..Default::default() };
        assert!(matches!(producer.send(huge).await, Err(ClientError::RecordTooLarge { .. })));
        assert_eq!(producer.buffered_bytes(), 0);
    });
}

#[test]
fn dropping_the_producer_fails_what_waits() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        let producer = cluster.client().producer(ProducerOptions { linger: Duration::from_secs(60), ..Default::default() });
        let delivery = send(&producer, 0, "a").await;
        drop(producer);
        assert!(matches!(delivery.wait().await, Err(ClientError::Closed(_))));
    });
}
