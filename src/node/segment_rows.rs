//! The segment index made anew from the footers under `bronze/`: it holds nothing that is not there.

use futures::StreamExt;
use std::collections::BTreeSet;
use strandline_bronze::{FileCheck, FooterError, NameError, SealedName, SegmentFooter};
use strandline_cell::Cell;
use strandline_object_store::{GetError, ListError, Objects, Purpose};
use strandline_segment_index::{PutError, SealedRow, SegmentIndex};
use strandline_types::{Seq, TopicPartition};

/// Why the rows could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SegmentRowsError {
    /// `bronze/` cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// A file cannot be read.
    #[error(transparent)]
    Get(#[from] GetError),
    /// A file's footer is damaged.
    #[error("the segment index cannot be rebuilt: {0}. Move the file to another folder to go on without its rows")]
    Footer(#[from] FooterError),
    /// A name under `bronze/` is not ours.
    #[error("the segment index cannot be rebuilt: {0}. Move the file to another folder to go on")]
    Name(#[from] NameError),
    /// The rows cannot be written.
    #[error(transparent)]
    Put(#[from] PutError),
}

/// Writes the rows of every file under `bronze/` that belongs to a topic of the index, is in no open plan, and is not
/// garbage. Says how many.
///
/// # Errors
/// A file that cannot be read or is not ours; rows written so far stay, and do no harm.
pub async fn rebuild_segment_rows(cell: &Cell, objects: &Objects, rows: &dyn SegmentIndex) -> Result<u64, SegmentRowsError> {
    let (planned, garbage): (BTreeSet<String>, BTreeSet<String>) = {
        let view = cell.view();
        let planned = view.topics.values().flat_map(|topic| topic.plans.keys().cloned()).collect();
        (planned, view.garbage.keys().cloned().collect())
    };
    let mut written = 0;
    let mut listed = objects.list(Purpose::Rebuild, "bronze");
    while let Some(found) = listed.next().await {
        let found = found?;
        if planned.contains(&found.path) || garbage.contains(&found.path) {
            continue;
        }
        let file = rows_of_file(objects, &found.path).await?;
        let known = {
            let view = cell.view();
            file.first().is_some_and(|row| view.topics.contains_key(&row.topic_partition.topic_id))
        };
        if known {
            written += file.len() as u64;
            for chunk in file.chunks(strandline_types::limits::SEGMENT_INDEX_BATCH_ROWS) {
                rows.put(chunk.to_vec()).await?;
            }
        }
    }
    Ok(written)
}

/// The rows of one file, from its footer. What the footer does not tell: the bytes as sent, which are taken as the
/// partition's share of the file's size; and the CRC, which is that of the bytes that are there.
///
/// # Errors
/// The file's name is not ours.
pub fn rows_of_footer(footer: &SegmentFooter, path: &str, crc32c: u32) -> Result<Vec<SealedRow>, NameError> {
    // A fresh file has no generation; its name is checked where it is used.
    let generation = match path.starts_with("bronze/") {
        true => path.parse::<SealedName>()?.generation,
        false => 0,
    };
    let size = footer.file_bytes();
    let mut first_row = 0;
    let rows = footer.partitions().iter().map(|partition| {
        let at = first_row;
        first_row += partition.rows;
        SealedRow {
            topic_partition: TopicPartition { topic_id: footer.topic_id(), partition: partition.partition },
            start_offset: partition.start,
            end_offset: partition.end,
            path: path.to_owned(),
            generation,
            size,
            crc32c,
            rows: partition.rows,
            first_row: at,
            row_group: partition.row_group.unwrap_or(0),
            min_timestamp_ms: partition.timestamps.map_or(-1, |timestamps| timestamps.min_ms),
            max_timestamp_ms: partition.timestamps.map_or(-1, |timestamps| timestamps.max_ms),
            max_timestamp_offset: partition.timestamps.map_or(-1, |timestamps| timestamps.max_offset),
            sent_bytes: share(size, partition.rows, footer.rows()),
            sealed_seq: Seq::ZERO,
        }
    });
    Ok(rows.collect())
}

/// The rows of the file at `path`, which is damaged or not: that is told, and left to `bronze verify`.
async fn rows_of_file(objects: &Objects, path: &str) -> Result<Vec<SealedRow>, SegmentRowsError> {
    let whole = objects.get(Purpose::Rebuild, path).await?;
    let footer = SegmentFooter::parse(path, whole.len() as u64, &whole)?;
    let pieces = [whole];
    if footer.check_file(&pieces) == FileCheck::Differs {
        tracing::error!(path, "a sealed file is damaged; `strandline bronze verify` says more");
    }
    Ok(rows_of_footer(&footer, path, strandline_object_store::crc32c(&pieces))?)
}

fn share(size: u64, rows: u64, of: u64) -> u64 {
    if of == 0 { 0 } else { u64::try_from(u128::from(size) * u128::from(rows) / u128::from(of)).unwrap_or(size) }
}
