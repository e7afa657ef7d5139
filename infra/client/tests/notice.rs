//! What a person hears of a client that goes on trying.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;
use strandline_client::{Client, ClientError, ClientOptions, Notice, OffsetAt, Producer, ProducerOptions, ProducerRecord};
use strandline_wire::ErrorCode;
use support::{Cluster, Fault, simulated};

/// Options of a client that is listened to, and what it says.
fn heard(bootstrap: &str) -> (ClientOptions, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let lines = heard.clone();
    let notice = Some(Notice::new(move |line| lines.lock().unwrap().push(line.to_owned())));
    (ClientOptions { notice, ..ClientOptions::new(bootstrap) }, heard)
}

const WRONG: &str = "b1:1 answers, but tells clients to connect to b1:11, which cannot be reached";

#[test]
fn an_advertised_address_that_cannot_be_reached_ends_a_question_in_seconds() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().misleads = true;
        let client = cluster.client_with(heard("b1:1").0);
        let before = cluster.runtime.clock.monotonic();
        let error = client.admin().offsets_at(&[("t".into(), 0)], OffsetAt::Latest).await.unwrap_err();
        assert!(matches!(error, ClientError::Advertised { .. }), "{error}");
        assert!(error.to_string().starts_with(WRONG) && error.to_string().contains("--advertise"), "{error}");
        assert!(cluster.runtime.clock.monotonic() - before < Duration::from_secs(10));
    });
}

#[test]
fn what_could_not_be_reached_hours_ago_is_given_its_seconds_again() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().misleads = true;
        let client = cluster.client_with(heard("b1:1").0);
        for _ in 0..2 {
            let before = cluster.runtime.clock.monotonic();
            let error = client.admin().offsets_at(&[("t".into(), 0)], OffsetAt::Latest).await.unwrap_err();
            assert!(matches!(error, ClientError::Advertised { .. }), "{error}");
            assert!(cluster.runtime.clock.monotonic() - before >= Duration::from_secs(3));
            cluster.runtime.sleep(Duration::from_secs(3_600)).await;
        }
    });
}

async fn deliver(producer: &Producer) {
    let record = ProducerRecord { topic: "t", partition: Some(0), value: Some(b"v"), ..Default::default() };
    producer.send(record).await.unwrap().wait().await.unwrap();
}

#[test]
fn each_outage_is_named_once_and_an_old_one_makes_no_outage_of_a_short_error() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        let (options, heard) = heard("b1:1,b2:2");
        let producer = cluster.client_with(options).producer(ProducerOptions::default());
        // How often the record is refused, and how much was heard by its end.
        for (refused, lines) in [(1, 0), (1, 0), (100, 1), (1, 1), (100, 2)] {
            cluster.state().faults = vec![Fault::Refused(ErrorCode::KafkaStorageError); refused].into();
            deliver(&producer).await;
            assert_eq!(heard.lock().unwrap().len(), lines);
            cluster.runtime.sleep(Duration::from_secs(60)).await;
        }
    });
}

#[test]
fn an_outage_whose_tries_take_long_is_named_once() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().faults = vec![Fault::Silence; 3].into();
        let (options, heard) = heard("b1:1,b2:2");
        assert!(options.request_timeout >= Duration::from_secs(30));
        let client = Client::new(cluster.runtime.clone(), Arc::new(cluster.clone()), options).unwrap();
        deliver(&client.producer(ProducerOptions::default())).await;
        let heard = heard.lock().unwrap();
        assert!(heard.len() == 1 && heard[0].contains("did not answer"), "{heard:?}");
    });
}

async fn produce(cluster: &Cluster, options: ClientOptions, wait: Duration) {
    let producer = cluster.client_with(options).producer(ProducerOptions::default());
    let record = ProducerRecord { topic: "t", partition: Some(0), value: Some(b"v"), ..Default::default() };
    let delivery = producer.send(record).await.unwrap();
    let _ = tokio::time::timeout(wait, delivery.wait()).await;
}

#[test]
fn a_producer_that_cannot_get_there_says_so_once() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        cluster.state().misleads = true;
        let (options, heard) = heard("b1:1");
        produce(&cluster, options, Duration::from_secs(20)).await;
        let heard = heard.lock().unwrap();
        assert!(heard.len() == 1 && heard[0].starts_with(WRONG) && heard[0].ends_with("trying again"), "{heard:?}");
    });
}

#[test]
fn an_error_that_is_tried_again_is_named_once_and_a_short_one_not_at_all() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        let (options, heard) = heard("b1:1,b2:2");
        cluster.state().faults = vec![Fault::Refused(ErrorCode::KafkaStorageError)].into();
        produce(&cluster, options.clone(), Duration::from_secs(60)).await;
        assert!(heard.lock().unwrap().is_empty());
        cluster.state().faults = vec![Fault::Refused(ErrorCode::KafkaStorageError); 100].into();
        produce(&cluster, options, Duration::from_secs(60)).await;
        let heard = heard.lock().unwrap();
        assert!(heard.len() == 1 && heard[0].contains("KAFKA_STORAGE_ERROR"), "{heard:?}");
    });
}
