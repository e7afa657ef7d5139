//! A Parquet file as it tells of itself: what it covers, and whether it is as it was written.

use crate::node::rows_of_footer;
use bytes::Bytes;
use strandline_bronze::{Day, FileCheck, SegmentFooter, verify};
use strandline_commands::{FileRange, NewFile};
use strandline_object_store::{Objects, Purpose, crc32c};
use strandline_runtime::Runtime;
use strandline_segment_index::SealedRow;
use strandline_types::TopicId;

/// A file as its footer tells it.
#[derive(Clone)]
pub(super) struct Found {
    pub topic_id: TopicId,
    pub file: NewFile,
    pub state: FileState,
}

/// Whether it is as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum FileState {
    /// Every byte is.
    Sound,
    /// Every record is; of its other bytes it has no checksum (format version 1).
    RecordsAreSound,
    /// It is not: what is wrong.
    Damaged(String),
}

/// Reads a whole file and checks it against what it carries itself. None if it covers nothing.
///
/// # Errors
/// It cannot be read, or its footer cannot: a reason for people.
pub(super) async fn look(objects: &Objects, runtime: &Runtime, path: &str) -> Result<Option<Found>, String> {
    let bytes = objects.get(Purpose::Rebuild, path).await.map_err(|error| error.to_string())?;
    let size = bytes.len() as u64;
    let name = path.to_owned();
    let checked = runtime.spawner.blocking("check a file", move || open_and_check(&name, bytes)).await;
    let (footer, crc32c, state) = checked.map_err(|error| error.to_string())??;
    let rows = rows_of_footer(&footer, path, crc32c).map_err(|error| error.to_string())?;
    let Some(first) = rows.first() else { return Ok(None) };
    let range = |row: &SealedRow| FileRange {
        partition: row.topic_partition.partition,
        start: row.start_offset,
        end: row.end_offset,
        rows: row.rows,
        first_row: row.first_row,
        max_timestamp_ms: row.max_timestamp_ms,
        max_timestamp_offset: row.max_timestamp_offset,
        sent_bytes: row.sent_bytes,
    };
    let file = NewFile {
        path: path.to_owned(),
        size,
        crc32c,
        rows: footer.rows(),
        record_bytes: size,
        ingest_day: day_of(path, &footer)?,
        ranges: rows.iter().map(range).collect(),
    };
    Ok(Some(Found { topic_id: first.topic_partition.topic_id, file, state }))
}

fn open_and_check(path: &str, bytes: Bytes) -> Result<(SegmentFooter, u32, FileState), String> {
    let footer = SegmentFooter::parse(path, bytes.len() as u64, &bytes).map_err(|error| error.to_string())?;
    let pieces = [bytes];
    let state = match footer.check_file(&pieces) {
        FileCheck::Sound => FileState::Sound,
        // What is wrong in it, in the words of `bronze verify`.
        FileCheck::Differs | FileCheck::None => match verify(path, &pieces, None).problems.first() {
            Some(problem) => FileState::Damaged(problem.clone()),
            None => FileState::RecordsAreSound,
        },
    };
    Ok((footer, crc32c(&pieces), state))
}

fn day_of(path: &str, footer: &SegmentFooter) -> Result<i32, String> {
    if let Some(day) = path.split('/').find_map(|part| part.strip_prefix("ingest_date=")) {
        return day.parse::<Day>().map(|day| day.0).map_err(|error| error.to_string());
    }
    Ok(footer.ingest_ms().map_or(0, |(first, _)| Day::of_ms(first).0))
}
