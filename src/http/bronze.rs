//! `strandline bronze`: the Parquet, as the node knows it.

use super::Failure;
use crate::node::{Parts, answering_fresh};
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_bronze::manifest::{DayManifest, ManifestFile, RootManifest, day_path, root_path};
use strandline_bronze::{Day, Fetched, SegmentFooter, SegmentScan};
use strandline_commands::NewFile;
use strandline_object_store::Purpose;
use strandline_types::{RecordRef, TopicId};

/// What `bronze list` shows of a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BronzeTopic {
    /// Its name.
    pub topic: String,
    /// Its id.
    pub topic_id: String,
    /// Its folder under `bronze/`.
    pub folder: String,
    /// Its files, sealed ones first.
    pub files: Vec<BronzeFile>,
    /// Records that are not in a file yet.
    pub records_in_wal: i64,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BronzeFile {
    /// Relative to the root of the bucket.
    pub path: String,
    /// Sealed, or fresh.
    pub sealed: bool,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// CRC-32C of all of it.
    pub crc32c: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct TopicQuery {
    pub topic: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HeadQuery {
    rows: Option<usize>,
}

pub(super) fn find(parts: &Parts, name: &str) -> Result<TopicId, Failure> {
    let id = parts.cell.view().names.get(name).copied();
    id.ok_or_else(|| Failure::not_found(format!("there is no topic `{name}`; `strandline topic list` shows them all")))
}

/// The files that answer for a topic: the sealed ones of the segment index and of open plans, then the fresh ones.
pub(super) async fn files(parts: &Parts, id: TopicId) -> anyhow::Result<Vec<ManifestFile>> {
    let mut files: BTreeMap<String, ManifestFile> = BTreeMap::new();
    let listed = |file: &NewFile| {
        let covered = file.ranges.iter().map(|range| (range.partition, range.start, range.end)).collect();
        ManifestFile { path: file.path.clone(), size: file.size, rows: file.rows, crc32c: file.crc32c, covered }
    };
    for file in parts.compactor.sealed_files(id).await? {
        files.insert(file.path.clone(), listed(&file));
    }
    let view = parts.cell.view();
    if let Some(topic) = view.topics.get(&id) {
        let planned = topic.plans.values().filter_map(|plan| plan.file.as_ref());
        let fresh = answering_fresh(topic).map(|segment| &segment.file);
        for file in planned.chain(fresh) {
            files.insert(file.path.clone(), listed(file));
        }
    }
    Ok(files.into_values().collect())
}

pub(super) async fn list(
    State(parts): State<Arc<Parts>>,
    Query(query): Query<TopicQuery>,
) -> Result<Json<Vec<BronzeTopic>>, Failure> {
    if let Some(name) = &query.topic {
        find(&parts, name)?;
    }
    let topics: Vec<(String, TopicId, i64)> = {
        let view = parts.cell.view();
        let of = |topic: &strandline_index::Topic| {
            topic.partitions.iter().map(|partition| partition.next_offset - partition.frontier).sum()
        };
        view.topics
            .values()
            .filter(|topic| query.topic.as_ref().is_none_or(|name| *name == topic.name))
            .map(|topic| (topic.name.clone(), topic.id, of(topic)))
            .collect()
    };
    let mut listed = Vec::new();
    for (topic, id, records_in_wal) in topics {
        let files = files(&parts, id).await?.into_iter().map(|file| BronzeFile {
            sealed: file.path.starts_with("bronze/"),
            path: file.path,
            size: file.size,
            rows: file.rows,
            crc32c: file.crc32c,
        });
        listed.push(BronzeTopic {
            folder: strandline_bronze::topic_folder("bronze", &topic, id),
            topic,
            topic_id: id.to_string(),
            files: files.collect(),
            records_in_wal,
        });
    }
    listed.sort_by(|a, b| a.topic.cmp(&b.topic));
    Ok(Json(listed))
}

pub(super) async fn manifest(
    State(parts): State<Arc<Parts>>,
    Path(topic): Path<String>,
) -> Result<Json<serde_json::Value>, Failure> {
    let id = find(&parts, &topic)?;
    parts.compactor.write_manifest_once(id).await?;
    let Ok(root) = parts.objects.get(Purpose::Manifest, &root_path(&topic, id)).await else {
        return Err(Failure::not_found(format!("topic `{topic}` has no manifest yet: nothing of it is in Parquet")));
    };
    let root = RootManifest::parse(&root)?;
    let mut days = Vec::new();
    for day in &root.days {
        let day: Day = day.day.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let bytes = parts.objects.get(Purpose::Manifest, &day_path(&topic, id, day)).await?;
        days.push(DayManifest::parse(&bytes)?);
    }
    Ok(Json(serde_json::json!({ "root": root, "days": days })))
}

pub(super) async fn schema(State(parts): State<Arc<Parts>>, Path(topic): Path<String>) -> Result<String, Failure> {
    find(&parts, &topic)?;
    let schema = strandline_bronze::arrow_schema();
    let lines = schema.fields().iter().map(|field| {
        let id = field.metadata().get("PARQUET:field_id").map_or("", String::as_str);
        let null = if field.is_nullable() { "null" } else { "not null" };
        format!("{id:>3}  {:<24} {:<60} {null}\n", field.name(), field.data_type().to_string())
    });
    Ok(lines.collect())
}

/// The first rows of a topic's newest file, as JSON lines.
pub(super) async fn head(
    State(parts): State<Arc<Parts>>,
    Path(topic): Path<String>,
    Query(query): Query<HeadQuery>,
) -> Result<String, Failure> {
    let id = find(&parts, &topic)?;
    let wanted = query.rows.unwrap_or(10).min(1_000);
    let Some(file) = files(&parts, id).await?.into_iter().next_back() else {
        return Err(Failure::not_found(format!(
            "nothing of topic `{topic}` is in Parquet yet; `strandline bronze seal` hurries it"
        )));
    };
    let bytes = parts.objects.get(Purpose::Read, &file.path).await?;
    let rows = parts.runtime.spawner.blocking("read a file", move || -> anyhow::Result<String> {
        let footer = SegmentFooter::parse(&file.path, bytes.len() as u64, &bytes)?;
        let mut lines = String::new();
        let mut scan = SegmentScan::new(&footer, &Fetched::whole(bytes));
        let mut left = wanted;
        while let Some(batch) = scan.next_batch()? {
            for run in 0..batch.runs() {
                let rows = batch.run(run)?;
                for row in 0..rows.len().min(left) {
                    lines.push_str(&row_line(rows.partition(), rows.ingest_ms(row), &rows.record(row)));
                    left -= 1;
                }
            }
            if left == 0 {
                break;
            }
        }
        Ok(lines)
    });
    Ok(rows.await??)
}

fn row_line(partition: i32, ingest_ms: i64, record: &RecordRef<'_>) -> String {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers: Vec<_> = record.headers.iter().map(|header| (header.key, text(header.value))).collect();
    let row = serde_json::json!({
        "kafka_partition": partition, "kafka_offset": record.offset, "kafka_timestamp_ms": record.timestamp_ms,
        "ingest_timestamp_ms": ingest_ms, "key": text(record.key), "value": text(record.value), "headers": headers,
    });
    format!("{row}\n")
}

pub(super) async fn seal(State(parts): State<Arc<Parts>>, Query(query): Query<TopicQuery>) -> Result<String, Failure> {
    if let Some(name) = &query.topic {
        find(&parts, name)?;
    }
    crate::node::seal(&parts, query.topic.as_deref()).await?;
    Ok("sealed\n".to_owned())
}
