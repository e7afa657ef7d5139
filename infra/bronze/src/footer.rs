//! An opened segment: its footer, parsed and cross-checked once, cheap to share.

use crate::columns::{FORMAT_VERSION, at, read_schema};
use crate::fetched::Fetched;
use crate::file_check::{FileCheck, check};
use crate::footer_keys::{FooterKeys, KeysError, PartitionSummary, Run};
use crate::format::Preference;
use crate::layout;
use crate::outline;
use crate::plan::RECORD_LEAVES;
use arrow_schema::Schema;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::reader::Length;
use parquet::file::statistics::Statistics;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use strandline_types::TopicId;

/// A segment that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FooterError {
    /// The bytes handed in do not hold the whole footer. Fetch this many from the end and parse again.
    #[error("the footer of {file} needs its last {tail_bytes} bytes: fetch those and parse again")]
    NeedsMore {
        /// The file.
        file: Arc<str>,
        /// How many of the last bytes hold it.
        tail_bytes: u64,
    },
    /// Written by a newer version. Never worth a retry.
    #[error("{file} has format {format}, this version reads up to {FORMAT_VERSION}: run a newer version")]
    Format {
        /// The file.
        file: Arc<str>,
        /// Its format.
        format: u32,
    },
    /// The footer is damaged, or this is no segment. Never worth a retry.
    #[error("{file} is no segment, or its footer is damaged: {reason}")]
    Damaged {
        /// The file.
        file: Arc<str>,
        /// What is wrong with it.
        reason: String,
    },
}

impl FooterError {
    /// How many of the file's last bytes are needed to parse again, if that is what is wrong.
    pub fn needed_bytes(&self) -> Option<u64> {
        match self {
            Self::NeedsMore { tail_bytes, .. } => Some(*tail_bytes),
            Self::Format { .. } | Self::Damaged { .. } => None,
        }
    }
}

/// The footer of a segment. A clone is a pointer.
#[derive(Clone)]
pub struct SegmentFooter {
    inner: Arc<Inner>,
}

struct Inner {
    file: Arc<str>,
    file_bytes: u64,
    reader: ArrowReaderMetadata,
    /// Of [`RECORD_LEAVES`], once records are read.
    record_levels: OnceLock<Arc<FieldLevels>>,
    keys: FooterKeys,
    memory_bytes: usize,
}

impl std::fmt::Debug for SegmentFooter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentFooter").field("file", &self.inner.file).field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl SegmentFooter {
    /// Opens a file of `file_bytes` from its last bytes (or from all of it); `file` is its name in messages.
    ///
    /// # Errors
    /// [`FooterError::NeedsMore`] if `tail` is too short; else the file cannot be read.
    pub fn parse(file: &str, file_bytes: u64, tail: &Bytes) -> Result<Self, FooterError> {
        // Offsets and timestamps are looked up by the digest runs, so the column index stays where it is.
        Self::parse_with(file, file_bytes, tail, PageIndexPolicy::Skip)
    }

    fn parse_with(file: &str, file_bytes: u64, tail: &Bytes, pages: PageIndexPolicy) -> Result<Self, FooterError> {
        let file: Arc<str> = file.into();
        let damaged = |reason: String| FooterError::Damaged { file: file.clone(), reason };
        if tail.len() as u64 > file_bytes {
            return Err(damaged(format!("{} bytes were read of {file_bytes}", tail.len())));
        }
        let metadata = match guarded(|| read_metadata(tail, file_bytes, pages)) {
            Ok(metadata) => metadata,
            Err(ParquetError::NeedMoreData(bytes)) if bytes > tail.len() => {
                return Err(FooterError::NeedsMore { file: file.clone(), tail_bytes: bytes as u64 });
            }
            Err(error) => return Err(damaged(error.to_string())),
        };
        let pairs = metadata.file_metadata().key_value_metadata().map_or(&[][..], Vec::as_slice);
        let keys = FooterKeys::decode(pairs).map_err(|error| match error {
            KeysError::Format(format) => FooterError::Format { file: file.clone(), format },
            error => damaged(error.to_string()),
        })?;
        check_layout(&metadata, &keys, file_bytes).map_err(damaged)?;
        let reader = guarded(|| reader_metadata(metadata)).map_err(|error| damaged(error.to_string()))?;
        // Parquet's part is summed up value by value, and caches ask at each use.
        let memory_bytes = reader.metadata().memory_size()
            + std::mem::size_of_val(keys.runs.as_slice())
            + std::mem::size_of_val(keys.partitions.as_slice());
        let record_levels = OnceLock::new();
        Ok(Self { inner: Arc::new(Inner { file, file_bytes, reader, record_levels, keys, memory_bytes }) })
    }

    /// As [`Self::parse`], with what it takes to copy row groups: the statistics of pages and of their encodings, which nothing here reads.
    ///
    /// # Errors
    /// As above.
    pub fn parse_to_copy(file: &str, file_bytes: u64, tail: &Bytes) -> Result<Self, FooterError> {
        Self::parse_with(file, file_bytes, tail, PageIndexPolicy::Optional)
    }

    /// Opens a file of which the end, or all of it, is at hand.
    ///
    /// # Errors
    /// The file cannot be read, or its footer is not among the bytes at hand.
    pub fn open(file: &str, fetched: &Fetched) -> Result<Self, FooterError> {
        let file_bytes = fetched.len();
        let mut tail_bytes = layout::TAIL_GUESS_BYTES.min(file_bytes);
        loop {
            let Some(tail) = fetched.get(file_bytes - tail_bytes..file_bytes) else {
                return Err(FooterError::NeedsMore { file: file.into(), tail_bytes });
            };
            match Self::parse(file, file_bytes, &tail) {
                Err(FooterError::NeedsMore { tail_bytes: more, .. }) if more > tail_bytes && more <= file_bytes => {
                    tail_bytes = more
                }
                result => return result,
            }
        }
    }

    /// The name it was opened with.
    pub fn file(&self) -> &str {
        &self.inner.file
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.inner.file_bytes
    }

    /// The topic's id.
    pub fn topic_id(&self) -> TopicId {
        self.inner.keys.topic_id
    }

    /// The name under which the file was planned.
    pub fn plan_name(&self) -> &str {
        &self.inner.keys.plan
    }

    /// What wrote it.
    pub fn writer(&self) -> &str {
        &self.inner.keys.writer
    }

    /// How its keys and values were laid out, in this order.
    pub fn preferences(&self) -> (Preference, Preference) {
        (self.inner.keys.key, self.inner.keys.value)
    }

    /// Records.
    pub fn rows(&self) -> u64 {
        self.inner.keys.partitions.iter().map(|summary| summary.rows).sum()
    }

    /// What it covers and holds of each partition, ascending.
    pub fn partitions(&self) -> &[PartitionSummary] {
        &self.inner.keys.partitions
    }

    /// What it covers and holds of one partition.
    pub fn partition(&self, partition: i32) -> Option<&PartitionSummary> {
        let summaries = self.partitions();
        summaries.binary_search_by_key(&partition, |summary| summary.partition).ok().map(|at| &summaries[at])
    }

    /// Key, value and header bytes of the records, by partition; without a record there is none.
    pub fn record_bytes(&self) -> BTreeMap<i32, u64> {
        let mut all = BTreeMap::new();
        for run in self.runs() {
            let bytes: &mut u64 = all.entry(run.partition).or_default();
            *bytes = bytes.saturating_add(run.bytes);
        }
        all
    }

    /// Row groups.
    pub fn row_groups(&self) -> usize {
        self.metadata().num_row_groups()
    }

    /// Compares the file with the checksum that it carries of itself; `pieces` are all of its bytes, in order.
    pub fn check_file(&self, pieces: &[Bytes]) -> FileCheck {
        check(self.inner.keys.file_crc32c.as_deref(), pieces)
    }

    /// Least and greatest time of ingest, in milliseconds; none without a row.
    pub fn ingest_ms(&self) -> Option<(i64, i64)> {
        let mut range: Option<(i64, i64)> = None;
        for group in self.metadata().row_groups() {
            let Some(Statistics::Int64(statistics)) = group.column(at::INGEST).statistics() else { continue };
            if let (Some(min), Some(max)) = (statistics.min_opt(), statistics.max_opt()) {
                let (min, max) = (min.div_euclid(1_000), max.div_euclid(1_000));
                range = Some(range.map_or((min, max), |(low, high)| (low.min(min), high.max(max))));
            }
        }
        range
    }

    /// About what it takes in memory, for a cache's account.
    pub fn memory_bytes(&self) -> usize {
        self.inner.memory_bytes
    }

    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        self.inner.reader.metadata()
    }

    /// How these leaves become columns of the types that they are read as.
    pub(crate) fn field_levels(&self, leaves: &[usize]) -> Result<Arc<FieldLevels>, ParquetError> {
        let kept = (leaves == RECORD_LEAVES).then_some(&self.inner.record_levels);
        if let Some(levels) = kept.and_then(OnceLock::get) {
            return Ok(levels.clone());
        }
        let schema = self.metadata().file_metadata().schema_descr();
        let mask = ProjectionMask::leaves(schema, leaves.iter().copied());
        let levels = parquet_to_arrow_field_levels(schema, mask, Some(self.inner.reader.schema().fields()))?;
        let levels = Arc::new(levels);
        Ok(kept.map_or(levels.clone(), |kept| kept.get_or_init(|| levels).clone()))
    }

    /// The digest runs, in the order of the file, which is that of (partition, offset).
    pub(crate) fn runs(&self) -> &[Run] {
        &self.inner.keys.runs
    }

    /// The runs of a partition that end at or after an offset.
    pub(crate) fn runs_from(&self, partition: i32, offset: i64) -> Range<usize> {
        let start = self.runs().partition_point(|run| (run.partition, run.last_offset) < (partition, offset));
        let end = self.runs().partition_point(|run| run.partition <= partition);
        start..end.max(start)
    }
}

/// Runs a call into the Parquet library, which may panic on bytes that are damaged.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(ParquetError::General("the bytes cannot be decoded".to_owned())))
}

fn read_metadata(tail: &Bytes, file_bytes: u64, pages: PageIndexPolicy) -> Result<ParquetMetaData, ParquetError> {
    if let Some(footer) = footer_of(tail) {
        outline::check(&outline::FOOTER, footer).map_err(|reason| ParquetError::General(format!("the footer: {reason}")))?;
    }
    // As a mask they would be left out where row groups are copied.
    let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(pages == PageIndexPolicy::Skip);
    let mut reader = ParquetMetaDataReader::new().with_metadata_options(Some(options));
    reader.try_parse_sized(tail, file_bytes)?;
    let metadata = reader.finish()?;
    check_page_index(&metadata, tail, file_bytes).map_err(|reason| ParquetError::General(format!("the page index: {reason}")))?;
    let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
        .with_column_index_policy(pages)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    reader.read_page_indexes_sized(tail, file_bytes)?;
    reader.finish()
}

/// The footer's bytes: a length and the magic stand behind them. None where they are not all here.
fn footer_of(tail: &Bytes) -> Option<&[u8]> {
    let (before, end) = tail.split_last_chunk::<8>()?;
    let length = u32::from_le_bytes(*end.first_chunk()?) as usize;
    before.get(before.len().checked_sub(length)?..)
}

/// As far as it is here; the Parquet library asks for what is missing.
fn check_page_index(metadata: &ParquetMetaData, tail: &Bytes, file_bytes: u64) -> Result<(), &'static str> {
    let before = file_bytes - tail.len() as u64;
    for column in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        let places = [
            (&outline::OFFSET_INDEX, column.offset_index_offset(), column.offset_index_length()),
            (&outline::COLUMN_INDEX, column.column_index_offset(), column.column_index_length()),
        ];
        for (shape, offset, length) in places {
            let (Some(offset), Some(length)) = (offset, length) else { continue };
            let start = u64::try_from(offset).ok().and_then(|offset| usize::try_from(offset.checked_sub(before)?).ok());
            let end = start.zip(usize::try_from(length).ok()).and_then(|(start, length)| start.checked_add(length));
            if let Some(bytes) = start.zip(end).and_then(|(start, end)| tail.get(start..end)) {
                outline::check(shape, bytes)?;
            }
        }
    }
    Ok(())
}

/// The columns of this version as views, and whatever later columns a file may have.
fn reader_metadata(metadata: ParquetMetaData) -> Result<ArrowReaderMetadata, ParquetError> {
    let found = parquet_to_arrow_schema(metadata.file_metadata().schema_descr(), None)?;
    let own = read_schema();
    if found.fields().len() < own.fields().len() {
        return Err(ParquetError::General("columns are missing".to_owned()));
    }
    let later = found.fields().iter().skip(own.fields().len());
    let schema = Schema::new(own.fields().iter().chain(later).cloned().collect::<Vec<_>>());
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::new(metadata), options)
}

/// Parquet's footer and ours must tell the same story.
fn check_layout(metadata: &ParquetMetaData, keys: &FooterKeys, file_bytes: u64) -> Result<(), String> {
    let mut runs = keys.runs.iter().peekable();
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let mut row = 0;
        while let Some(run) = runs.next_if(|run| run.row_group as usize == index) {
            if run.first_row != row || run.rows == 0 || run.first_offset > run.last_offset {
                return Err(format!("the digest runs of row group {index} do not follow one another"));
            }
            row = row.saturating_add(run.rows);
        }
        if i64::from(row) != group.num_rows() {
            return Err(format!("row group {index} has {} rows, its digests cover {row}", group.num_rows()));
        }
        let pages = metadata.offset_index().and_then(|groups| groups.get(index)).map_or(&[][..], Vec::as_slice);
        if pages.len() != group.num_columns() || pages.len() < at::HEADER_VALUE_LEAF + 1 {
            return Err(format!("the page index of row group {index} is missing"));
        }
        if !group.columns().iter().zip(pages).all(|(column, pages)| lies_within(column, pages, file_bytes)) {
            return Err(format!("the page index of row group {index} leads out of the file"));
        }
    }
    if runs.next().is_some() {
        return Err("there are digests of a row group that is not there".to_owned());
    }
    if !keys.runs.is_sorted_by(|a, b| (a.partition, a.last_offset) < (b.partition, b.first_offset)) {
        return Err("the digest runs are not in the order of partition and offset".to_owned());
    }
    if !keys.partitions.is_sorted_by(|a, b| a.partition < b.partition) {
        return Err("the covered ranges are not in the order of partitions".to_owned());
    }
    check_partitions(keys)
}

/// Nobody else checks where Parquet's own footer says that pages are, and they are fetched from there.
fn lies_within(column: &ColumnChunkMetaData, pages: &OffsetIndexMetaData, file_bytes: u64) -> bool {
    let lies = |offset: i64, bytes: i64| {
        let end = offset.checked_add(bytes).filter(|_| offset >= 0 && bytes >= 0);
        end.is_some_and(|end| end as u64 <= file_bytes)
    };
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    lies(start, column.compressed_size())
        && pages.page_locations().iter().all(|page| lies(page.offset, i64::from(page.compressed_page_size)))
}

/// Every run lies in its partition's covered range, and every range has the rows it claims.
fn check_partitions(keys: &FooterKeys) -> Result<(), String> {
    let mut runs = keys.runs.iter().peekable();
    for summary in &keys.partitions {
        let mut rows = 0;
        while let Some(run) = runs.next_if(|run| run.partition == summary.partition) {
            if run.first_offset < summary.start || run.last_offset >= summary.end {
                return Err(format!("partition {} has offsets that it does not cover", summary.partition));
            }
            rows += u64::from(run.rows);
        }
        if rows != summary.rows {
            return Err(format!("partition {} claims {} rows, its digests cover {rows}", summary.partition, summary.rows));
        }
    }
    match runs.next() {
        None => Ok(()),
        Some(run) => Err(format!("partition {} has rows but no covered range", run.partition)),
    }
}
