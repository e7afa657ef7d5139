//! A node whose segment index has to be made anew while sealed files are damaged, foreign or gone: it starts, serves all that is
//! sound, says what is not, and has everything again once the file is back.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use strandline::node::Node;
use strandline_bronze::manifest::{DayManifest, RootManifest, root_path};
use strandline_cache::Cache;
use strandline_cell::Submission;
use strandline_client::{Client, ClientOptions, NewTopic, ProducerOptions, ProducerRecord};
use strandline_commands::MoveLogStart;
use strandline_config::Settings;
use strandline_reader::{Reader, ReaderOptions};
use strandline_runtime::Runtime;
use strandline_types::TopicPartition;
use strandline_wire::ErrorCode;
use strandline_wire::records::{BatchHeader, split_batches};
use support::start_with;

const PARTITIONS: i32 = 3;
/// Records of one partition in each of a topic's three sealed files.
const ROWS: i64 = 20;

async fn start(data: &Path) -> Node {
    start_with(Settings { data: data.to_owned(), conversion_paused: true, ..Settings::default() }).await
}

/// Two topics of three sealed files each, and the folder of a stopped node without its segment index.
struct Sample {
    data: tempfile::TempDir,
    /// The second sealed file of topic `hit`, whole.
    whole: Vec<u8>,
    /// Where it lies below `store/`.
    path: String,
    /// What is at each place of both topics, as it is served.
    served: Served,
}

type Served = BTreeMap<(String, i32, i64), Vec<u8>>;

impl Sample {
    async fn make() -> Self {
        let data = tempfile::tempdir().unwrap();
        let node = start(data.path()).await;
        let client = Client::tcp(Runtime::system(), ClientOptions::new(&node.kafka_address().to_string())).unwrap();
        for topic in ["hit", "other"] {
            client.admin().create_topic(NewTopic::new(topic, PARTITIONS).config("retention.ms", "-1")).await.unwrap();
        }
        for round in 0..3 {
            for topic in ["hit", "other"] {
                produce(&client, topic, round).await;
            }
            node.seal_all().await.unwrap();
        }
        let (served, refused) = read_all(&node).await;
        assert_eq!((served.len() as i64, refused), (2 * 3 * ROWS * i64::from(PARTITIONS), BTreeMap::new()));
        let id = node.parts().cell.view().names["hit"];
        let files = node.parts().compactor.sealed_files(id).await.unwrap();
        assert_eq!(files.len(), 3);
        let second = files.into_iter().find(|file| file.ranges[0].start == ROWS).unwrap();
        assert_eq!(second.ranges.len(), 3);
        node.stop().await;
        std::fs::remove_file(data.path().join("segment-index.redb")).unwrap();
        let whole = std::fs::read(data.path().join("store").join(&second.path)).unwrap();
        Self { data, whole, path: second.path, served }
    }

    fn file(&self) -> PathBuf {
        self.data.path().join("store").join(&self.path)
    }

    /// What is left when the file cannot be read.
    fn without(&self) -> Served {
        let gone = |(topic, _, offset): &(String, i32, i64)| topic == "hit" && (ROWS..2 * ROWS).contains(offset);
        self.served.iter().filter(|(place, _)| !gone(place)).map(|(place, bytes)| (place.clone(), bytes.clone())).collect()
    }

    /// The offsets of the file, each refused with an error that clients try again, never passed over.
    fn refused(&self) -> BTreeMap<(String, i32, i64), ErrorCode> {
        let partitions = (0..PARTITIONS).flat_map(|partition| (ROWS..2 * ROWS).map(move |offset| (partition, offset)));
        partitions.map(|(partition, offset)| (("hit".to_owned(), partition, offset), ErrorCode::KafkaStorageError)).collect()
    }

    async fn check_damaged(&self, node: &Node) {
        let (served, refused) = read_all(node).await;
        assert_eq!(refused, self.refused());
        assert!(served == self.without(), "what is sound is served as it was");
    }

    async fn check_whole(&self, node: &Node) {
        let (served, refused) = read_all(node).await;
        assert_eq!(refused, BTreeMap::new());
        assert!(served == self.served, "byte for byte");
        assert_eq!(problems(node).await, BTreeMap::new());
    }
}

async fn produce(client: &Client, topic: &str, round: i64) {
    let producer = client.producer(ProducerOptions::default());
    let mut deliveries = Vec::new();
    for n in 0..ROWS {
        for partition in 0..PARTITIONS {
            let value = format!("{topic} {partition} {}", round * ROWS + n);
            let sent = ProducerRecord {
                topic,
                partition: Some(partition),
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
                timestamp_ms: None,
            };
            deliveries.push(producer.send(sent).await.unwrap());
        }
    }
    producer.close().await.unwrap();
    for delivery in deliveries {
        delivery.wait().await.unwrap();
    }
}

/// Every offset of every topic, asked for by itself: the bytes of the batch that has it, or the error.
async fn read_all(node: &Node) -> (Served, BTreeMap<(String, i32, i64), ErrorCode>) {
    let parts = node.parts();
    let options = ReaderOptions { read_ahead: 0, ..ReaderOptions::default() };
    let cache = Cache::foyer(8 << 20);
    let reader = Reader::new(options, parts.cell.clone(), parts.objects.clone(), parts.segment_index.clone(), cache);
    let view = parts.cell.view().clone();
    let (mut served, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for topic in view.topics.values() {
        for (number, partition) in (0..).zip(&topic.partitions) {
            let at = TopicPartition { topic_id: topic.id, partition: number };
            for offset in partition.log_start..partition.next_offset {
                let place = (topic.name.clone(), number, offset);
                match reader.read_records(at, offset, 1).await {
                    Ok(records) => {
                        let batch = split_batches(records.into_bytes()).unwrap().into_iter().next().unwrap();
                        let header = BatchHeader::parse(&batch.bytes).unwrap();
                        let holds = header.base_offset <= offset && offset <= header.last_offset() && !header.is_control();
                        assert!(holds, "{place:?} was passed over: {header:?}");
                        served.insert(place, batch.bytes.to_vec());
                    }
                    Err(error) => drop(refused.insert(place, error.code)),
                }
            }
        }
    }
    (served, refused)
}

/// What `bronze verify` complains of.
async fn problems(node: &Node) -> BTreeMap<String, Vec<String>> {
    let results = strandline::http::verify_bronze(node.parts(), None).await.unwrap();
    results.into_iter().filter(|result| !result.problems.is_empty()).map(|result| (result.path, result.problems)).collect()
}

/// Files that the manifests of topic `hit` name.
async fn listed(node: &Node, data: &Path) -> Vec<String> {
    let parts = node.parts();
    let id = parts.cell.view().names["hit"];
    parts.compactor.write_manifest_once(id).await.unwrap();
    let read = |path: &str| std::fs::read(data.join("store").join(path)).unwrap();
    let root = RootManifest::parse(&read(&root_path("hit", id))).unwrap();
    let days = root.days.iter().map(|day| DayManifest::parse(&read(&day.path)).unwrap());
    days.flat_map(|day| day.files).map(|file| file.path).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_keeps_no_node_from_starting_and_is_taken_in_once_it_is_whole() {
    let sample = Sample::make().await;
    let data = sample.data.path();
    for (damage, bytes) in [
        ("its last byte", {
            let mut bytes = sample.whole.clone();
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        }),
        ("cut", sample.whole[..sample.whole.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("no Parquet at all", b"what some other program wrote there".to_vec()),
    ] {
        std::fs::write(sample.file(), &bytes).unwrap();
        // The first start makes the rows anew, the next one looks at what was left.
        for _ in 0..2 {
            let node = start(data).await;
            sample.check_damaged(&node).await;
            assert!(problems(&node).await.contains_key(&sample.path), "{damage}: verify names it");
            assert_eq!(node.parts().compactor.sweep_once().await.unwrap(), 0, "{damage}");
            assert_eq!(std::fs::read(sample.file()).unwrap(), bytes, "{damage}: it is left alone");
            let listed = listed(&node, data).await;
            assert!(listed.len() == 2 && !listed.contains(&sample.path), "{damage}: {listed:?}");
            node.stop().await;
        }
        std::fs::write(sample.file(), &sample.whole).unwrap();
        let node = start(data).await;
        sample.check_whole(&node).await;
        assert_eq!(listed(&node, data).await.len(), 3, "{damage}");
        node.stop().await;
        std::fs::remove_file(data.join("segment-index.redb")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_gone_for_a_while_is_taken_in_when_it_is_back() {
    let sample = Sample::make().await;
    let data = sample.data.path();
    std::fs::write(sample.file(), &sample.whole[..100]).unwrap();
    start(data).await.stop().await;
    // Moved away to be looked at: nothing changes, and the place is remembered.
    std::fs::remove_file(sample.file()).unwrap();
    let node = start(data).await;
    sample.check_damaged(&node).await;
    let found = problems(&node).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let text = format!("{found:?}");
    assert!(text.contains("offsets 20 to 39 of partition 2"), "{text}");
    node.stop().await;
    // Another file's bytes under its name are not its own.
    let other = std::fs::read_dir(sample.file().parent().unwrap()).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(other, sample.file()).unwrap();
    let node = start(data).await;
    sample.check_damaged(&node).await;
    node.stop().await;
    std::fs::write(sample.file(), &sample.whole).unwrap();
    let node = start(data).await;
    sample.check_whole(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_under_bronze_keeps_no_node_from_starting() {
    let sample = Sample::make().await;
    let folder = sample.file().parent().unwrap().to_owned();
    for foreign in [folder.join("_SUCCESS"), folder.join("copy of a file.parquet"), sample.data.path().join("store/bronze/notes")]
    {
        std::fs::write(&foreign, &sample.whole).unwrap();
    }
    // A second name that could be ours.
    let twin = sample.path.replace("-g0.parquet", "-g1.parquet");
    std::fs::write(sample.data.path().join("store").join(&twin), &sample.whole).unwrap();
    let node = start(sample.data.path()).await;
    let (served, refused) = read_all(&node).await;
    assert_eq!(refused, BTreeMap::new());
    assert!(served == sample.served);
    let found = problems(&node).await;
    let named: Vec<&str> = found.keys().map(|path| path.rsplit('/').next().unwrap()).collect();
    let twin_name = twin.rsplit('/').next().unwrap();
    assert_eq!(named.iter().filter(|name| ["_SUCCESS", "copy of a file.parquet", "notes", twin_name].contains(name)).count(), 4);
    assert_eq!(named.len(), 4, "{found:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_stays_as_long_as_nobody_knows_what_it_holds() {
    let sample = Sample::make().await;
    let mut bytes = sample.whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(sample.file(), &bytes).unwrap();
    let node = start(sample.data.path()).await;
    let parts = node.parts();
    let id = parts.cell.view().names["hit"];
    // What its name says that it begins with is deleted; its other partitions are not.
    let moved = MoveLogStart { topic_id: id.0.to_vec(), partition: 0, to: 2 * ROWS };
    parts.cell.submit(Submission::one(moved)).await.unwrap();
    parts.compactor.retain_once().await.unwrap();
    assert_eq!(parts.compactor.sweep_once().await.unwrap(), 0);
    assert!(sample.file().exists());
    // Put back while the node runs: it is sound, and it is the only one that has those offsets.
    std::fs::write(sample.file(), &sample.whole).unwrap();
    assert_eq!(parts.compactor.sweep_once().await.unwrap(), 0);
    assert!(sample.file().exists());
    node.stop().await;
    let node = start(sample.data.path()).await;
    let (served, refused) = read_all(&node).await;
    assert_eq!(refused, BTreeMap::new());
    let expected =
        sample.served.iter().filter(|((topic, partition, offset), _)| !(topic == "hit" && *partition == 0 && *offset < 2 * ROWS));
    assert_eq!(served.len(), expected.count());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_file_in_a_folder_of_no_topic_is_left_alone() {
    let sample = Sample::make().await;
    let aside = sample.data.path().join("store/bronze/aside/damaged.parquet");
    std::fs::create_dir_all(aside.parent().unwrap()).unwrap();
    std::fs::rename(sample.file(), &aside).unwrap();
    let node = start(sample.data.path()).await;
    sample.check_damaged(&node).await;
    assert_eq!(node.parts().compactor.sweep_once().await.unwrap(), 0);
    assert_eq!(std::fs::read(&aside).unwrap(), sample.whole, "the only copy");
    node.stop().await;
    std::fs::rename(&aside, sample.file()).unwrap();
    let node = start(sample.data.path()).await;
    sample.check_whole(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_cannot_be_read_keeps_no_node_from_starting() {
    let sample = Sample::make().await;
    let manifests = std::fs::read_dir(sample.data.path().join("store/manifest/hit")).unwrap().map(|entry| entry.unwrap().path());
    let root = manifests.into_iter().find(|path| path.is_file()).unwrap();
    std::fs::remove_file(&root).unwrap();
    // A name that leads to itself: every look at it fails.
    std::os::unix::fs::symlink(&root, &root).unwrap();
    let node = start(sample.data.path()).await;
    let (served, refused) = read_all(&node).await;
    assert_eq!(refused, BTreeMap::new());
    assert!(served == sample.served);
    node.stop().await;
}
