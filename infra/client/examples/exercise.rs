//! Exercises the whole client against a running cluster, Apache Kafka or Strandline, and says what it measured:
//!
//!     cargo run --release -p strandline-client --example exercise -- 127.0.0.1:9092 [RECORDS]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a tool that stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;
use strandline_client::*;
use strandline_runtime::Runtime;

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().expect("HOST:PORT");
    let records: i64 = arguments.next().map_or(100_000, |count| count.parse().unwrap());
    let runtime = Runtime::system();
    let client = Client::tcp(runtime.clone(), ClientOptions::new(&bootstrap)).unwrap();
    let topic = format!("exercise-{:x}", runtime.random.next_u64());
    topics(&client, &topic).await;
    let mut total = 0;
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        produce(&client, &topic, records / 5, compression, total).await;
        total += records / 5;
    }
    fire_and_forget(&client, &topic).await;
    consume(&client, &topic, total).await;
    for assignors in [vec![Assignor::Range], vec![Assignor::RoundRobin], vec![Assignor::CooperativeSticky]] {
        group(&client, &topic, total, assignors).await;
    }
    offsets(&client, &topic).await;
    println!("all is well");
}

async fn topics(client: &Client, topic: &str) {
    let admin = client.admin();
    let created = admin.create_topic(NewTopic::new(topic, 6).config("retention.ms", "3600000")).await.unwrap();
    println!("created {} with {} partitions, id {}", created.name, created.partitions, created.topic_id);
    let again = admin.create_topic(NewTopic::new(topic, 6)).await.unwrap_err();
    println!("again: {again}");
    admin.create_partitions(topic, 8).await.unwrap();
    let described = loop {
        let described = admin.describe_topics(&[topic]).await.unwrap();
        if described[0].partitions.len() == 8 {
            break described;
        }
    };
    assert!(described[0].partitions.iter().all(|partition| partition.leader >= 0));
    let resource = Resource::Topic(topic.into());
    admin.alter_configs(&resource, &[ConfigChange::Set("retention.ms".into(), "-1".into())]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let configs = admin.describe_configs(&resource, Some(&["retention.ms"])).await.unwrap();
    assert_eq!(configs[0].value.as_deref(), Some("-1"));
    let listed = admin.list_topics().await.unwrap();
    assert!(listed.iter().any(|listed| listed.name == topic));
    let missing = admin.describe_topics(&["there-is-none"]).await.unwrap_err();
    println!("missing: {missing}");
    let nobody = Client::tcp(client.runtime().clone(), ClientOptions::new("127.0.0.1:1")).unwrap();
    println!("nobody: {}", nobody.cluster().await.unwrap_err());
}

async fn produce(client: &Client, topic: &str, count: i64, compression: Compression, from: i64) {
    let producer = client.producer(ProducerOptions { compression, ..Default::default() });
    let started = client.runtime().clock.monotonic();
    let padding = "x".repeat(400);
    let mut deliveries = std::collections::VecDeque::new();
    let mut latencies = Vec::new();
    for number in from..from + count {
        let key = format!("key-{}", number % 1000);
        let value = format!("{number} {padding}");
        let headers = [HeaderRef { key: "h", value: Some(b"1") }, HeaderRef { key: "h", value: None }];
        let key = (number % 3 > 0).then_some(key.as_bytes());
        let record = ProducerRecord { topic, key, value: Some(value.as_bytes()), headers: &headers, ..Default::default() };
        deliveries.push_back(producer.send(record).await.unwrap());
        while let Some(Some(result)) = deliveries.front().map(Delivery::now) {
            latencies.push(result.unwrap().latency);
            deliveries.pop_front();
        }
    }
    producer.flush().await.unwrap();
    for delivery in deliveries {
        latencies.push(delivery.wait().await.unwrap().latency);
    }
    producer.close().await.unwrap();
    latencies.sort();
    let elapsed = client.runtime().clock.monotonic() - started;
    println!(
        "{:>7}: {:.0} records/s, p50 {:?}, p99 {:?}",
        compression.name(),
        count as f64 / elapsed.as_secs_f64(),
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100]
    );
}

async fn fire_and_forget(client: &Client, topic: &str) {
    let producer = client.producer(ProducerOptions { acks: Acks::None, ..Default::default() });
    let record = ProducerRecord { topic, partition: Some(0), value: Some(b"-1"), ..Default::default() };
    assert_eq!(producer.send(record).await.unwrap().wait().await.unwrap().offset, -1);
    let record = ProducerRecord { topic, partition: Some(99), ..Default::default() };
    println!("no partition: {}", producer.send(record).await.unwrap_err());
    producer.close().await.unwrap();
}

/// Every number once, numbers of a partition in order.
async fn consume(client: &Client, topic: &str, total: i64) {
    let mut consumer = client.consumer(ConsumerOptions::default());
    consumer.assign_topics(&[topic], StartAt::Earliest).await.unwrap();
    let started = client.runtime().clock.monotonic();
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    let mut bytes = 0;
    while (seen.len() as i64) < total {
        let fetched = consumer.poll(Duration::from_secs(5)).await.unwrap();
        assert!(!fetched.is_empty(), "{} of {total} came", seen.len());
        for partition in &fetched.partitions {
            bytes += partition.bytes;
            partition
                .for_each(|record| {
                    let text = std::str::from_utf8(record.value.unwrap()).unwrap();
                    let number: i64 = text.split(' ').next().unwrap().parse().unwrap();
                    if number >= 0 {
                        assert!(seen.insert(number), "{number} came twice");
                        let (offset, before) = last.insert(partition.partition, (record.offset, number)).unwrap_or((-1, -1));
                        assert!(record.offset > offset && number > before);
                        assert_eq!(record.headers.len(), 2);
                    }
                    ControlFlow::Continue(())
                })
                .unwrap();
        }
    }
    let elapsed = client.runtime().clock.monotonic() - started;
    println!(
        "consumed: {:.0} records/s, {:.0} MB/s on the wire",
        total as f64 / elapsed.as_secs_f64(),
        bytes as f64 / 1e6 / elapsed.as_secs_f64()
    );
    assert!(consumer.progress().values().all(|progress| progress.position.is_some()));
    consumer.close().await.unwrap();
}

async fn group(client: &Client, topic: &str, total: i64, assignors: Vec<Assignor>) {
    let name = format!("{topic}-{}", assignors[0].name());
    let options = ConsumerOptions {
        group: Some(name.clone()),
        assignors,
        heartbeat_interval: Duration::from_millis(300),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(10),
        auto_commit: Some(Duration::from_millis(200)),
        ..Default::default()
    };
    let mut first = client.consumer(options.clone());
    first.subscribe(&[topic]).unwrap();
    let mut seen = BTreeSet::new();
    let take = |fetched: Fetched, seen: &mut BTreeSet<i64>| {
        for record in fetched.records().unwrap() {
            seen.insert(std::str::from_utf8(&record.value.unwrap()).unwrap().split(' ').next().unwrap().parse().unwrap());
        }
    };
    while seen.is_empty() {
        take(first.poll(Duration::from_secs(1)).await.unwrap(), &mut seen);
    }
    assert_eq!(first.progress().len(), 8);
    let mut second = client.consumer(options);
    second.subscribe(&[topic]).unwrap();
    let started = client.runtime().clock.monotonic();
    loop {
        let (one, two) = tokio::join!(first.poll(Duration::from_millis(100)), second.poll(Duration::from_millis(100)));
        take(one.unwrap(), &mut seen);
        take(two.unwrap(), &mut seen);
        let balanced = first.progress().len() == 4 && second.progress().len() == 4;
        if balanced && first.generation() == second.generation() && seen.len() as i64 > total {
            break;
        }
        assert!(client.runtime().clock.monotonic() - started < Duration::from_secs(30), "{} of {total}", seen.len());
    }
    let described = client.admin().describe_group(&name).await.unwrap();
    assert_eq!((described.state.as_str(), described.members.len()), ("Stable", 2));
    assert!(described.members.iter().all(|member| member.assignment.len() == 4));
    second.close().await.unwrap();
    while first.progress().len() < 8 {
        first.poll(Duration::from_millis(100)).await.unwrap();
    }
    first.close().await.unwrap();
    let committed = client.admin().group_offsets(&name, None).await.unwrap();
    let sum: i64 = committed.values().map(|committed| committed.offset).sum();
    assert_eq!(sum, total + 1);
    println!("group {name}: all read and committed");
}

async fn offsets(client: &Client, topic: &str) {
    let admin = client.admin();
    let partitions: Vec<PartitionName> = (0..8).map(|partition| (topic.to_owned(), partition)).collect();
    let latest = admin.offsets_at(&partitions, OffsetAt::Latest).await.unwrap();
    let now = client.runtime().clock.now_ms();
    assert!(admin.offsets_at(&partitions, OffsetAt::Timestamp(now + 60_000)).await.unwrap().values().all(Option::is_none));
    assert!(admin.offsets_at(&partitions, OffsetAt::Timestamp(0)).await.unwrap().values().all(|offset| *offset == Some(0)));
    let group = format!("{topic}-range");
    let changes = admin.plan_reset(&group, &partitions, ResetTo::Shift(-5)).await.unwrap();
    assert!(changes.iter().all(|change| change.from.unwrap() - change.to == 5));
    admin.reset_offsets(&group, &changes).await.unwrap();
    let committed = admin.group_offsets(&group, Some(&partitions)).await.unwrap();
    assert!(committed.iter().all(|(partition, committed)| Some(committed.offset + 5) == latest[partition]));
    admin.delete_group_offsets(&group, &partitions[..1]).await.unwrap();
    assert_eq!(admin.group_offsets(&group, None).await.unwrap().len(), 7);
    for assignor in ["range", "roundrobin", "cooperative-sticky"] {
        admin.delete_group(&format!("{topic}-{assignor}")).await.unwrap();
    }
    println!("deleted group: {}", admin.describe_group(&group).await.unwrap_err());
    assert!(!admin.list_groups().await.unwrap().iter().any(|listed| listed.group == group));
    let deleted = admin.delete_records([(partitions[0].clone(), 10)].into()).await.unwrap();
    assert_eq!(deleted[&partitions[0]].as_ref().unwrap(), &10);
    let mut consumer = client.consumer(ConsumerOptions::default());
    consumer.assign([(partitions[0].clone(), StartAt::Offset(0))]);
    let fetched = loop {
        let fetched = consumer.poll(Duration::from_secs(5)).await.unwrap();
        if !fetched.is_empty() {
            break fetched;
        }
    };
    assert_eq!(fetched.records().unwrap()[0].offset, 10);
    for (name, result) in admin.delete_topics(&[topic, "there-is-none"]).await.unwrap() {
        println!("deleted {name}: {result:?}");
    }
}
