//! What a node gives to consumers: topics, their settings and ends, committed offsets, and every record.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use strandline::node::Parts;
use strandline_cache::Cache;
use strandline_reader::{Reader, ReaderOptions};
use strandline_segment_index::SealedRow;
use strandline_types::{TimestampType, TopicId, TopicPartition};
use strandline_wire::records::{BatchPlace, RecordScratch, for_each_record, split_batches};

/// A record, all that a consumer sees of it (I6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Time and whose it is.
    pub timestamp: (i64, TimestampType),
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenPartition {
    /// Where it begins.
    pub log_start: i64,
    /// Where it ends.
    pub high_watermark: i64,
    /// Its records, by offset.
    pub records: BTreeMap<i64, Record>,
    /// Why reading ended before the end, if it did.
    pub error: Option<String>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTopic {
    /// Its id.
    pub id: TopicId,
    /// Its settings.
    pub configs: BTreeMap<String, String>,
    /// Its partitions.
    pub partitions: Vec<SeenPartition>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Topics by name.
    pub topics: BTreeMap<String, SeenTopic>,
    /// Rows of the segment index: what is looked up by offset and by time, and what retention goes by.
    pub rows: Vec<SealedRow>,
    /// Why they cannot be read, if they cannot.
    pub rows_error: Option<String>,
    /// Committed offsets: group, topic, partition.
    pub offsets: BTreeMap<(String, TopicId, i32), i64>,
}

const READ_BYTES: usize = 64 << 10;

/// Reads everything that the node has, with empty caches.
pub async fn observe(parts: &Parts) -> Seen {
    let cache = Cache::foyer(8 << 20);
    let options = ReaderOptions { read_ahead: 0, ..ReaderOptions::default() };
    let reader = Reader::new(options, parts.cell.clone(), parts.objects.clone(), parts.segment_index.clone(), cache);
    let mut seen = Seen::default();
    let view = parts.cell.view().clone();
    for (name, group) in &view.groups {
        for (at, offset) in &group.offsets {
            seen.offsets.insert((name.clone(), at.topic_id, at.partition), offset.offset);
        }
    }
    for topic in view.topics.values() {
        let mut partitions = Vec::new();
        for (number, partition) in (0..).zip(&topic.partitions) {
            let mut found = SeenPartition {
                log_start: partition.log_start,
                high_watermark: partition.next_offset,
                ..SeenPartition::default()
            };
            read(&reader, TopicPartition { topic_id: topic.id, partition: number }, &mut found).await;
            partitions.push(found);
        }
        seen.topics.insert(topic.name.clone(), SeenTopic { id: topic.id, configs: topic.configs.clone(), partitions });
    }
    let mut rows = Vec::new();
    if let Err(error) = strandline_segment_index::for_each(&*parts.segment_index, |row| rows.push(row)).await {
        seen.rows_error = Some(error.to_string());
    }
    seen.rows = rows;
    seen
}

async fn read(reader: &Reader, at: TopicPartition, found: &mut SeenPartition) {
    let mut next = found.log_start;
    while next < found.high_watermark {
        let before = next;
        let read = reader.read_records(at, next, READ_BYTES).await.map_err(|error| error.to_string());
        let taken = read.and_then(|records| take(records.into_bytes(), &mut next, &mut found.records));
        if let Err(error) = taken {
            // What lies behind is read too: an error in one place must not hide a wrong record in another.
            found.error.get_or_insert(error);
            next = before + 1;
        } else if next <= before {
            found.error.get_or_insert(format!("nothing at offset {before}, below the high watermark"));
            next = before + 1;
        }
    }
}

/// Takes batches apart as a client does, checksums looked at.
fn take(bytes: bytes::Bytes, next: &mut i64, records: &mut BTreeMap<i64, Record>) -> Result<(), String> {
    let from = *next;
    for batch in split_batches(bytes).map_err(|error| error.to_string())? {
        let rules = strandline_wire::records::BatchHeader::parse(&batch.bytes).map_err(|error| error.to_string())?;
        *next = (*next).max(rules.last_offset() + 1);
        if rules.is_control() {
            continue;
        }
        let visit = |record: &strandline_types::RecordRef<'_>| {
            if record.offset >= from {
                let own = Record {
                    timestamp: (record.timestamp_ms, record.timestamp_type),
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record
                        .headers
                        .iter()
                        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                        .collect(),
                };
                records.insert(record.offset, own);
            }
            ControlFlow::Continue(())
        };
        for_each_record(&batch.bytes, BatchPlace::of(&rules), &mut RecordScratch::default(), visit)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
