//! The segment index made anew from the footers under `bronze/`: it holds nothing that is not there.
//!
//! A file that cannot be read keeps nothing else from being served. Its rows are missing, so that reads of its offsets fail, which is
//! remembered; and every start looks whether it can be read by now.

use super::gaps::{Coverage, Gap};
use bytes::Bytes;
use futures::StreamExt;
use strandline_bronze::manifest::{RootManifest, root_path};
use strandline_bronze::{FileCheck, FooterError, NameError, SealedName, SegmentFooter};
use strandline_cell::Cell;
use strandline_index::SealedObject;
use strandline_object_store::{GetError, ListError, Objects, Purpose, PutReplaceError};
use strandline_segment_index::{PutError, ReadError, RedbSegmentIndex, SealedRow, SegmentIndex, for_each};
use strandline_types::{Seq, TopicId, TopicPartition, limits};

/// Why the rows could not be made: the store or the table fails. Never because of what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum SegmentRowsError {
    /// `bronze/` cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// The rows cannot be written.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The rows cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a file has no rows.
#[derive(Debug, thiserror::Error)]
enum UnreadError {
    #[error(transparent)]
    Get(#[from] GetError),
    #[error(transparent)]
    Footer(#[from] FooterError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("its topic's manifest cannot be written anew: {0}")]
    Manifest(#[from] PutReplaceError),
    #[error("it is another topic's file")]
    Topic,
    #[error("it is a copy of `{0}`")]
    Copy(String),
}

/// Makes the rows of a new table, of every file under `bronze/` that belongs to a topic of the index, is in no open plan, and is not
/// garbage. Where that left gaps at an earlier start, those of the files that no row names are made now, if they can be.
///
/// # Errors
/// The store or the table fails; rows written so far stay, and do no harm.
pub async fn complete_segment_rows(cell: &Cell, objects: &Objects, rows: &RedbSegmentIndex) -> Result<(), SegmentRowsError> {
    let (is_new, had_gaps) = (rows.needs_rebuild().await?, rows.has_gaps().await?);
    if !is_new && !had_gaps {
        report(&[], 0);
        return Ok(());
    }
    if is_new {
        // Their days may lack files that were not to be had when they were written.
        let topics: Vec<TopicId> = cell.view().topics.keys().copied().collect();
        for topic_id in topics {
            if let Err(error) = expire_manifest(cell, objects, topic_id).await {
                tracing::warn!(%topic_id, %error, "a manifest may lack files until something changes in its topic");
            }
        }
    }
    let (mut written, mut unread) = (0, 0);
    let mut listed = objects.list(Purpose::Rebuild, "bronze");
    while let Some(found) = listed.next().await {
        let path = found?.path;
        let topic_id = match cell.view().sealed_object(&path) {
            SealedObject::Of(topic) => topic.id,
            SealedObject::Expected => continue,
            SealedObject::Foreign => {
                tracing::warn!(
                    path,
                    "an object under bronze/ is of no topic: it is left alone, and engines that read bronze/ see it"
                );
                continue;
            }
        };
        if !is_new && is_named(rows, topic_id, &path).await? {
            continue;
        }
        let mut made = rows_of_file(objects, topic_id, &path).await;
        if !is_new && made.is_ok() {
            // First: else a start that ends here would leave a manifest without the file behind.
            if let Err(error) = expire_manifest(cell, objects, topic_id).await {
                made = Err(error);
            }
        }
        match made {
            Ok(made) => {
                if !is_new {
                    tracing::info!(path, rows = made.len(), "a sealed file can be read again: it answers for its offsets");
                }
                written += made.len();
                for chunk in made.chunks(strandline_types::limits::SEGMENT_INDEX_BATCH_ROWS) {
                    rows.put(chunk.to_vec()).await?;
                }
            }
            Err(reason) => {
                unread += 1;
                tracing::error!(
                    path,
                    %reason,
                    "an object under bronze/ cannot be taken into the segment index: it is left alone, and what only it holds cannot be read. Put the whole file back from a backup and start again"
                );
            }
        }
    }
    let gaps = gaps(cell, rows).await?;
    report(&gaps, unread);
    rows.mark_rebuilt(!gaps.is_empty()).await?;
    if is_new && written > 0 {
        tracing::warn!(rows = written, "the segment index was missing and has been rebuilt from the footers under bronze/");
    }
    Ok(())
}

/// Offsets below the sealed ends for which there is no row.
async fn gaps(cell: &Cell, rows: &dyn SegmentIndex) -> Result<Vec<Gap>, ReadError> {
    let mut coverage = Coverage::of_index(&cell.view());
    for_each(rows, |row| {
        let at = row.topic_partition;
        coverage.cover(at.topic_id, at.partition, row.start_offset, row.end_offset);
    })
    .await?;
    Ok(coverage.gaps(&cell.view()))
}

fn report(gaps: &[Gap], unread: usize) {
    /// Gaps that are named one by one.
    const NAMED: usize = 100;
    for gap in gaps.iter().take(NAMED) {
        let Gap { topic, partition, start, end, .. } = gap;
        tracing::error!(
            topic,
            partition,
            start,
            end,
            "no sealed file answers for these offsets: reads of them fail until their file is back. `strandline bronze verify` says more"
        );
    }
    if gaps.len() > NAMED {
        tracing::error!(gaps = gaps.len(), "so it is with more offsets: `strandline bronze verify` lists them all");
    }
    let offsets: i64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
    metrics::gauge!("strandline_unanswered_offsets").set(offsets as f64);
    metrics::gauge!("strandline_unread_sealed_files").set(unread as f64);
}

/// Whether the row at a file's first offset is that file's.
async fn is_named(rows: &dyn SegmentIndex, topic_id: TopicId, path: &str) -> Result<bool, ReadError> {
    let Ok(name) = path.parse::<SealedName>() else { return Ok(false) };
    let row = rows.find(TopicPartition { topic_id, partition: name.partition }, name.offset).await?;
    Ok(row.is_some_and(|row| row.path == path))
}

/// The topic's manifests are written anew soon, whatever they say. Until then they stay as they are, for who goes by them.
async fn expire_manifest(cell: &Cell, objects: &Objects, topic_id: TopicId) -> Result<(), UnreadError> {
    let Some(name) = cell.view().topics.get(&topic_id).map(|topic| topic.name.clone()) else { return Ok(()) };
    let path = root_path(&name, topic_id);
    let (json, seen) = match objects.get_seen(Purpose::Manifest, &path).await {
        Ok(found) => found,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // One that cannot be read is replaced anyway.
    let expired = RootManifest::parse(&json).and_then(|root| RootManifest { applied_seq: 0, ..root }.encode());
    if let Ok(expired) = expired {
        // Nobody else writes it at a start, so another one is this one, put by a try whose answer was lost.
        objects.put_instead(Purpose::Manifest, &path, Bytes::from(expired), seen).await?;
    }
    Ok(())
}

/// The rows of one file, from its footer. What the footer does not tell: the bytes as sent, which are taken as the partition's share of the
/// file's size, by the bytes of its records (retention by size deletes by it); and the CRC, which is that of the bytes that are there.
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
    let record_bytes = footer.record_bytes();
    let weight = |partition: i32, rows: u64| {
        record_bytes.get(&partition).copied().unwrap_or(0).saturating_add(rows.saturating_mul(limits::ROW_WEIGHT))
    };
    let whole = footer.partitions().iter().fold(0, |sum: u64, part| sum.saturating_add(weight(part.partition, part.rows)));
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
            sent_bytes: share(size, weight(partition.partition, partition.rows), whole),
            sealed_seq: Seq::ZERO,
        }
    });
    Ok(rows.collect())
}

/// The rows of the file at `path`, whose records may be damaged or not: that is told, and left to `bronze verify`.
async fn rows_of_file(objects: &Objects, topic_id: TopicId, path: &str) -> Result<Vec<SealedRow>, UnreadError> {
    path.parse::<SealedName>()?;
    let whole = objects.get(Purpose::Rebuild, path).await?;
    let footer = SegmentFooter::parse(path, whole.len() as u64, &whole)?;
    if footer.topic_id() != topic_id {
        return Err(UnreadError::Topic);
    }
    if footer.plan_name() != path {
        return Err(UnreadError::Copy(footer.plan_name().to_owned()));
    }
    let pieces = [whole];
    if footer.check_file(&pieces) == FileCheck::Differs {
        tracing::error!(path, "a sealed file is damaged; `strandline bronze verify` says more");
    }
    Ok(rows_of_footer(&footer, path, strandline_object_store::crc32c(&pieces))?)
}

fn share(size: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 { 0 } else { u64::try_from(u128::from(size) * u128::from(part) / u128::from(whole)).unwrap_or(size) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_bronze::{CoveredRange, Preference, SegmentSpec, SegmentWriter};
    use strandline_types::{RecordRef, TimestampType};

    #[test]
    fn many_small_records_do_not_count_as_much_as_few_large_ones() {
        let topic_id = TopicId([7; 16]);
        let rows = [(0, 10_usize, 20_000), (1, 1_000, 10)];
        let covered = rows.map(|(partition, rows, _)| CoveredRange { partition, start: 0, end: rows as i64 });
        let path = "fresh/t/0/1-2-3.parquet".to_owned();
        let mut writer = SegmentWriter::new(SegmentSpec {
            topic: "t".to_owned(),
            topic_id,
            covered: covered.to_vec(),
            plan: path.clone(),
            key: Preference::Text,
            value: Preference::Text,
        })
        .unwrap();
        for (partition, rows, bytes) in rows {
            for offset in 0..rows as i64 {
                let value = vec![b'a'; bytes];
                let timestamp_type = TimestampType::Create;
                let record = RecordRef { offset, timestamp_ms: 1, timestamp_type, key: None, value: Some(&value), headers: &[] };
                writer.push(partition, 1, &record).unwrap();
            }
        }
        let written = writer.finish().unwrap();
        let bytes = Bytes::from(written.bytes.concat());
        let footer = SegmentFooter::parse(&path, bytes.len() as u64, &bytes).unwrap();
        assert_eq!(footer.record_bytes().into_iter().collect::<Vec<_>>(), [(0, 200_000), (1, 10_000)]);
        let rows = rows_of_footer(&footer, &path, written.crc32c).unwrap();
        let [large, small] = [rows[0].sent_bytes, rows[1].sent_bytes];
        assert!(
            large > 7 * small && small > 0 && large + small <= written.file_bytes,
            "{large} and {small} of {}",
            written.file_bytes
        );
    }
}
