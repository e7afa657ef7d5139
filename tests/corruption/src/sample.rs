//! A small folder in which every format is: each kind of place where a record can lie, and all that is kept beside records.

use crate::examine::State;
use crate::folder::{Files, read_folder};
use crate::observe::{Seen, observe};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use strandline::node::{Node, NodeOptions};
use strandline_cache::Cache;

use strandline_client::{Client, ClientOptions, Compression, HeaderRef, NewTopic, ProducerOptions, ProducerRecord};
use strandline_compactor::{Compactor, CompactorOptions};
use strandline_config::Settings;
use strandline_extents::ExtentReader;
use strandline_object_store::Purpose;
use strandline_runtime::Runtime;

/// The folder as it was at two moments, and what consumers get from it.
pub struct Sample {
    /// After a graceful stop.
    pub stopped: Files,
    /// The same without the stop: the log has no end frame, and disk taken ahead.
    pub killed: Files,
    /// What consumers get; the same for both.
    pub truth: Seen,
    /// Where the part of the log ends that the bucket's copies hold.
    pub copied: u64,
    /// What is on the garbage list: nothing refers to it.
    pub garbage: BTreeSet<String>,
    /// Where the last frame of the killed log begins: from there on a flipped byte is a torn write.
    pub last_frame: u64,
}

impl Sample {
    /// The folder as it is before it is damaged.
    pub fn files(&self, state: State) -> &Files {
        match state {
            State::Killed => &self.killed,
            State::Stopped | State::LogLost => &self.stopped,
        }
    }
}

/// The topic that gets the last entry, and its partition.
pub const LAST_TOPIC: &str = "hot";
/// Records in it.
pub const LAST_RECORDS: i64 = 1;

/// Those of a node on a sample: free ports, nothing converted by itself.
pub fn settings(data: &Path) -> Settings {
    Settings {
        data: data.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        http: None,
        min_free_bytes: 0,
        conversion_paused: true,
        ..Settings::default()
    }
}

/// Makes it in `data`, which must be empty.
///
/// # Errors
/// Whatever goes wrong: nothing may.
pub async fn make(data: &Path) -> anyhow::Result<Sample> {
    let node = Node::start(NodeOptions { settings: settings(data), ..NodeOptions::default() }).await?;
    let client = Client::tcp(Runtime::system(), ClientOptions::new(&node.kafka_address().to_string()))?;
    let admin = client.admin();
    for (name, partitions) in [("wal", 1), ("hot", 2), ("fresh", 2), ("sealed", 2), ("gone", 1)] {
        admin.create_topic(NewTopic::new(name, partitions).config("retention.ms", "-1")).await?;
    }
    admin
        .create_topic(NewTopic::new("stamped", 1).config("message.timestamp.type", "LogAppendTime").config("retention.ms", "-1"))
        .await?;
    admin.delete_topics(&["gone"]).await?;

    send(&client, "sealed", 0..20, Compression::Lz4).await?;
    seal(&node, "sealed").await?;
    send(&client, "sealed", 20..40, Compression::Zstd).await?;
    seal(&node, "sealed").await?;
    // Moved out of the log, because a snapshot follows.
    send(&client, "wal", 0..12, Compression::None).await?;
    send(&client, "wal", 12..16, Compression::Gzip).await?;
    snapshot(&node).await?;

    send(&client, "fresh", 0..15, Compression::Snappy).await?;
    convert(&node, "fresh").await?;
    send(&client, "fresh", 15..25, Compression::None).await?;
    convert(&node, "fresh").await?;
    send(&client, "stamped", 0..5, Compression::None).await?;
    send(&client, "hot", 0..10, Compression::Zstd).await?;
    send(&client, "hot", 10..16, Compression::None).await?;
    let offsets = [("hot", 0, 3), ("sealed", 1, 7), ("wal", 0, 2)];
    let offsets = offsets.map(|(topic, partition, offset)| ((topic.to_owned(), partition), offset));
    admin.commit_group_offsets("group", &BTreeMap::from(offsets)).await?;
    for topic in ["fresh", "sealed"] {
        let topic_id = node.parts().cell.view().names[topic];
        node.parts().compactor.write_manifest_once(topic_id).await?;
    }
    let copied = used(&std::fs::read(log_path(data)?)?) as u64;
    node.parts().compactor.copy_log_once().await?;
    // The last entry: one batch.
    let before = std::fs::read(log_path(data)?)?;
    send(&client, LAST_TOPIC, 1_000..1_001, Compression::None).await?;
    let last_frame = used(&before) as u64;
    let killed = read_folder(data)?;
    let truth = observe(node.parts()).await;
    let garbage = node.parts().cell.view().garbage.keys().cloned().collect();
    node.stop().await;
    Ok(Sample { stopped: read_folder(data)?, killed, truth, copied, garbage, last_frame })
}

fn used(log: &[u8]) -> usize {
    log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn log_path(data: &Path) -> anyhow::Result<std::path::PathBuf> {
    let names = std::fs::read_dir(data.join("commit-log"))?.collect::<Result<Vec<_>, _>>()?;
    let log = names.into_iter().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "log")).max();
    log.ok_or_else(|| anyhow::anyhow!("there is no log file"))
}

#[allow(clippy::cast_possible_truncation)]
async fn send(client: &Client, topic: &str, numbers: std::ops::Range<i64>, compression: Compression) -> anyhow::Result<()> {
    let partitions = client.topic(topic).await?.partitions.len() as i64;
    let producer = client.producer(ProducerOptions { compression, ..ProducerOptions::default() });
    let mut deliveries = Vec::new();
    for number in numbers {
        let key = format!("key {number}");
        let value = format!("{{\"topic\":\"{topic}\",\"number\":{number},\"speed\":{}}}", number * 7 % 50);
        let binary = [0xff, number as u8, 0, 0x80];
        let id = number.to_string();
        let headers = [
            HeaderRef { key: "ce_id", value: Some(id.as_bytes()) },
            HeaderRef { key: "ce_type", value: Some(b"ride") },
            HeaderRef { key: "empty", value: None },
        ];
        let value = match number % 5 {
            3 => None,
            4 => Some(&binary[..]),
            _ => Some(value.as_bytes()),
        };
        let record = ProducerRecord {
            topic,
            partition: Some((number % partitions) as i32),
            key: (number % 3 != 2).then_some(key.as_bytes()),
            value,
            headers: &headers[..(number % 4) as usize],
            timestamp_ms: Some(1_780_000_000_000 + number * 1_000),
        };
        deliveries.push(producer.send(record).await?);
    }
    producer.close().await?;
    for delivery in deliveries {
        delivery.wait().await?;
    }
    Ok(())
}

async fn convert(node: &Node, topic: &str) -> anyhow::Result<()> {
    let id = node.parts().cell.view().names[topic];
    while node.parts().compactor.convert_once(id).await? {}
    Ok(())
}

async fn seal(node: &Node, topic: &str) -> anyhow::Result<()> {
    let id = node.parts().cell.view().names[topic];
    node.parts().compactor.seal_everything(id).await?;
    Ok(())
}

/// A snapshot that first moves every inline batch into a WAL segment, whatever its age.
async fn snapshot(node: &Node) -> anyhow::Result<()> {
    let parts = node.parts();
    let options = CompactorOptions { conversion_paused: true, rehome_age: Duration::ZERO, ..CompactorOptions::default() };
    let extents = ExtentReader::through(&parts.cell, parts.objects.clone(), Cache::foyer(1 << 20), Purpose::Read);
    let compactor = Compactor::new(options, parts.cell.clone(), parts.objects.clone(), parts.segment_index.clone(), extents);
    // 'Older than now' is what counts: the batches must be a millisecond old.
    tokio::time::sleep(Duration::from_millis(20)).await;
    compactor.snapshot_once(true).await?;
    Ok(())
}
