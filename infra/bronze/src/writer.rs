//! Writes one segment in memory, on the caller's thread: rows in, a file out.

use crate::columns::{arrow_schema, writer_properties};
use crate::digest::{RunDigest, record_bytes, record_weight};
use crate::fetched::Fetched;
use crate::footer::SegmentFooter;
use crate::footer_keys::{FooterKeys, PartitionSummary, Run, TimestampSummary, writer_name};
use crate::format::Preference;
use crate::layout;
use crate::page::{NO_TIMESTAMP_MS, PageBuilder};
use crate::row_group::RowGroup;
use crate::sink::Sink;
use crate::stage::Stage;
use crate::value_chunk::PageCompressor;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use std::sync::Arc;
use strandline_types::calendar::{Day, is_shown_by_readers};
use strandline_types::{RecordRef, TopicId, limits};

/// Offsets `[start, end)` of one partition that a file answers for, holes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoveredRange {
    /// The partition.
    pub partition: i32,
    /// First offset.
    pub start: i64,
    /// The offset after the last.
    pub end: i64,
}

/// What a file is to be.
#[derive(Debug, Clone)]
pub struct SegmentSpec {
    /// The topic's name, for the column.
    pub topic: String,
    /// The topic's id.
    pub topic_id: TopicId,
    /// What the file covers, ascending by partition; a partition without rows may be among them.
    pub covered: Vec<CoveredRange>,
    /// The name under which the file was planned, so that a file that was moved can be told.
    pub plan: String,
    /// Text or bytes, as the index holds it for this topic's keys.
    pub key: Preference,
    /// Text or bytes, as the index holds it for this topic's values.
    pub value: Preference,
}

/// A spec that no file can have. A fault of the caller.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The covered ranges are not ascending by partition, or one ends before it starts.
    #[error(
        "the covered ranges of a segment must be ascending by partition and not end before they start; partition {0} does not fit"
    )]
    Covered(i32),
    /// The Parquet library refused the schema.
    #[error("the Parquet writer cannot be set up: {0}")]
    Parquet(#[from] ParquetError),
}

/// A row that cannot be written. A fault of the caller, never worth a retry; the writer must be dropped.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The record lies outside what the spec covers.
    #[error("offset {offset} of partition {partition} is not covered by the segment's spec")]
    NotCovered {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// Records must come ascending by (partition, offset).
    #[error("offset {offset} of partition {partition} comes after a later record: push in the order of partition and offset")]
    OutOfOrder {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// Ingest refuses such times; readers of Parquet fail on the whole file.
    #[error("the time {time_ms} ms of offset {offset} of partition {partition} lies outside the years 1 to 9999")]
    Time {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// The time.
        time_ms: i64,
    },
    /// A file's rows share one UTC day of ingest.
    #[error("offset {offset} of partition {partition} was ingested on another UTC day than the rows before it")]
    OtherDay {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// The Parquet library failed.
    #[error("the Parquet writer failed: {0}")]
    Parquet(#[from] ParquetError),
    /// The footer could not be encoded.
    #[error("the footer cannot be encoded: {0}")]
    Footer(#[from] serde_json::Error),
}

/// A file that is finished.
#[derive(Debug, Clone)]
pub struct FinishedSegment {
    /// The file, in pieces; without those that [`SegmentWriter::take_pieces`] took.
    pub bytes: Vec<Bytes>,
    /// Its length.
    pub file_bytes: u64,
    /// CRC-32C of all of it, kept in the index and the segment index.
    pub crc32c: u32,
    /// Length of its end from the page index on: what a reader fetches to open it.
    pub tail_bytes: u64,
    /// Records.
    pub rows: u64,
    /// Key, value and header bytes of the records.
    pub record_bytes: u64,
    /// The UTC day of ingest; none if there is no row.
    pub day: Option<Day>,
    /// What it holds of each partition, in the order of the spec.
    pub partitions: Vec<PartitionSummary>,
}

/// Where the rows of the current partition go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placing {
    /// Into the open row group.
    Direct,
    /// Aside, until it is known whether the run is long enough for row groups of its own.
    Staged,
}

/// Takes rows ascending by (partition, offset). Holds at most one row group's compressed pages, one page of rows, and the rows
/// that [`limits`] lets a partition set aside, besides the finished part of the file.
pub struct SegmentWriter {
    keys: FooterKeys,
    schema: SchemaRef,
    file: SerializedFileWriter<Sink>,
    factory: ArrowRowGroupWriterFactory,
    row_groups: usize,
    group: Option<RowGroup>,
    page: PageBuilder,
    compressor: PageCompressor,
    digest: RunDigest,
    run: Option<Run>,
    /// Place in `keys.partitions` and last offset of the current partition.
    current: Option<(usize, i64)>,
    placing: Placing,
    stage: Stage,
    day: Option<Day>,
    rows: u64,
    record_bytes: u64,
}

impl SegmentWriter {
    /// An empty file.
    ///
    /// # Errors
    /// The spec contradicts itself.
    pub fn new(spec: SegmentSpec) -> Result<Self, SpecError> {
        if let Some(pair) = spec.covered.windows(2).find(|pair| pair[0].partition >= pair[1].partition) {
            return Err(SpecError::Covered(pair[1].partition));
        }
        if let Some(range) = spec.covered.iter().find(|range| range.start > range.end) {
            return Err(SpecError::Covered(range.partition));
        }
        let schema = arrow_schema();
        let parquet_schema = ArrowSchemaConverter::new().schema_root("strandline").convert(&schema)?;
        let file = SerializedFileWriter::new(Sink::new(), parquet_schema.root_schema_ptr(), Arc::new(writer_properties()))?;
        let factory = ArrowRowGroupWriterFactory::new(&file, schema.clone());
        let partitions = spec.covered.iter().map(|range| PartitionSummary {
            partition: range.partition,
            start: range.start,
            end: range.end,
            rows: 0,
            row_group: None,
            last_row_group: None,
            first_row: None,
            timestamps: None,
        });
        Ok(Self {
            page: PageBuilder::new(&spec.topic, spec.key, spec.value),
            compressor: PageCompressor::new()?,
            keys: FooterKeys {
                topic_id: spec.topic_id,
                partitions: partitions.collect(),
                plan: spec.plan,
                runs: Vec::new(),
                key: spec.key,
                value: spec.value,
                writer: writer_name(),
                file_crc32c: None,
            },
            schema,
            file,
            factory,
            row_groups: 0,
            group: None,
            digest: RunDigest::new(),
            run: None,
            current: None,
            placing: Placing::Direct,
            stage: Stage::default(),
            day: None,
            rows: 0,
            record_bytes: 0,
        })
    }

    /// Adds a record; `ingest_ms` is the folded `now` of the entry that brought it.
    ///
    /// # Errors
    /// The record does not fit: see [`PushError`].
    pub fn push(&mut self, partition: i32, ingest_ms: i64, record: &RecordRef<'_>) -> Result<(), PushError> {
        self.enter(partition, record.offset)?;
        self.check_times(partition, ingest_ms, record)?;
        if self.placing == Placing::Direct {
            return self.place(partition, ingest_ms, record);
        }
        self.stage.push(ingest_ms, record);
        if self.stage.rows() >= layout::OWN_ROW_GROUP_ROWS || self.stage.weight() >= limits::STAGED_ROWS_BYTES {
            self.close_group()?;
            self.place_staged(partition)?;
            self.placing = Placing::Direct;
        }
        Ok(())
    }

    /// Record bytes so far, those of a staged partition not yet counted: what a caller looks at to cut files.
    pub fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    /// Bytes of the file so far, the open row group's compressed pages included.
    pub fn file_bytes(&self) -> u64 {
        self.file.bytes_written() as u64 + self.group.as_ref().map_or(0, |group| group.encoded_bytes() as u64)
    }

    /// Pieces of the file that are finished and follow those that were taken before; the writer does not hold them any more.
    pub fn take_pieces(&mut self) -> Vec<Bytes> {
        self.file.inner_mut().take()
    }

    /// Whether row groups of that file can be appended as they are: it was laid out like this one.
    pub fn can_copy_from(&self, footer: &SegmentFooter) -> bool {
        let schema = footer.metadata().file_metadata().schema_descr();
        let same = schema.root_schema() == self.file.schema_descr().root_schema();
        same && footer.preferences() == (self.keys.key, self.keys.value) && footer.topic_id() == self.keys.topic_id
    }

    /// Appends a row group that holds rows of one partition alone, all of which this file takes. `fetched` has its bytes, which were
    /// checked: its digests are carried on, not looked at.
    ///
    /// # Errors
    /// The rows do not fit: see [`PushError`].
    pub fn copy_row_group(&mut self, footer: &SegmentFooter, row_group: usize, fetched: &Fetched) -> Result<(), PushError> {
        let runs = footer.runs();
        let start = runs.partition_point(|run| (run.row_group as usize) < row_group);
        let end = runs.partition_point(|run| (run.row_group as usize) <= row_group);
        let runs = &runs[start..end];
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
        let partition = first.partition;
        self.enter(partition, first.first_offset)?;
        let Some((place, _)) = self.current else { return Ok(()) };
        if last.partition != partition || last.last_offset >= self.keys.partitions[place].end {
            return Err(PushError::NotCovered { partition, offset: last.last_offset });
        }
        let of_day = |day: &Day| footer.ingest_ms().is_some_and(|(min, max)| Day::of_ms(min) == *day && Day::of_ms(max) == *day);
        let day = self.day.or_else(|| footer.ingest_ms().map(|(min, _)| Day::of_ms(min)));
        self.day = Some(day.filter(of_day).ok_or(PushError::OtherDay { partition, offset: first.first_offset })?);
        self.place_staged(partition)?;
        self.close_group()?;
        RowGroup::copy(footer, row_group, fetched, &mut self.file)?;
        let index = self.row_groups as u32;
        self.row_groups += 1;
        self.keys.runs.extend(runs.iter().map(|run| Run { row_group: index, ..*run }));
        let summary = &mut self.keys.partitions[place];
        summary.row_group.get_or_insert(index);
        summary.first_row.get_or_insert(0);
        summary.last_row_group = Some(index);
        for run in runs {
            summary.rows += u64::from(run.rows);
            self.rows += u64::from(run.rows);
            self.record_bytes += run.bytes;
        }
        // All that the file has of the partition is copied, row group by row group, so its timestamps are theirs.
        let copied = footer.partition(partition).filter(|copied| copied.last_row_group == Some(row_group as u32));
        if let Some(TimestampSummary { min_ms, max_ms, max_offset }) = copied.and_then(|copied| copied.timestamps) {
            TimestampSummary::include(&mut summary.timestamps, min_ms, max_offset);
            TimestampSummary::include(&mut summary.timestamps, max_ms, max_offset);
        }
        self.current = Some((place, last.last_offset));
        self.placing = Placing::Direct;
        Ok(())
    }

    /// Writes the footer.
    ///
    /// # Errors
    /// The Parquet library failed, which it does not for lack of anything but memory.
    pub fn finish(mut self) -> Result<FinishedSegment, PushError> {
        self.leave()?;
        self.close_group()?;
        let pages_end = self.file.bytes_written() as u64;
        self.file.inner_mut().begin_tail();
        for pair in self.keys.encode()? {
            self.file.append_key_value_metadata(pair);
        }
        let (bytes, file_bytes, crc32c) = self.file.into_inner()?.finish()?;
        Ok(FinishedSegment {
            bytes,
            file_bytes,
            crc32c,
            tail_bytes: file_bytes - pages_end,
            rows: self.rows,
            record_bytes: self.record_bytes,
            day: self.day,
            partitions: self.keys.partitions,
        })
    }

    /// Makes `partition` the current one and checks that `offset` follows and is covered.
    fn enter(&mut self, partition: i32, offset: i64) -> Result<(), PushError> {
        let place = match self.current {
            Some((place, last)) if self.keys.partitions[place].partition == partition => {
                if offset <= last {
                    return Err(PushError::OutOfOrder { partition, offset });
                }
                place
            }
            current => {
                let found = self.keys.partitions.binary_search_by_key(&partition, |summary| summary.partition);
                let place = found.map_err(|_| PushError::NotCovered { partition, offset })?;
                if current.is_some_and(|(before, _)| before > place) {
                    return Err(PushError::OutOfOrder { partition, offset });
                }
                self.leave()?;
                self.placing = self.placing_of(place);
                place
            }
        };
        let summary = &self.keys.partitions[place];
        if offset < summary.start || offset >= summary.end {
            return Err(PushError::NotCovered { partition, offset });
        }
        self.current = Some((place, offset));
        Ok(())
    }

    /// A range that can hold a long run is staged, unless it begins a row group anyway.
    fn placing_of(&self, place: usize) -> Placing {
        let summary = &self.keys.partitions[place];
        let may_be_long = summary.end.saturating_sub(summary.start) >= layout::OWN_ROW_GROUP_ROWS as i64;
        if may_be_long && self.group.is_some() { Placing::Staged } else { Placing::Direct }
    }

    /// Ends the current partition: a short run stays in the shared row group, a long one ends its own.
    fn leave(&mut self) -> Result<(), PushError> {
        let Some((place, _)) = self.current else { return Ok(()) };
        let partition = self.keys.partitions[place].partition;
        self.place_staged(partition)?;
        self.close_run();
        if self.keys.partitions[place].rows >= layout::OWN_ROW_GROUP_ROWS as u64 {
            self.close_group()?;
        }
        Ok(())
    }

    fn check_times(&mut self, partition: i32, ingest_ms: i64, record: &RecordRef<'_>) -> Result<(), PushError> {
        let offset = record.offset;
        for time_ms in [record.timestamp_ms, ingest_ms] {
            if !is_shown_by_readers(time_ms) {
                return Err(PushError::Time { partition, offset, time_ms });
            }
        }
        let day = Day::of_ms(ingest_ms);
        if *self.day.get_or_insert(day) != day {
            return Err(PushError::OtherDay { partition, offset });
        }
        Ok(())
    }

    fn place_staged(&mut self, partition: i32) -> Result<(), PushError> {
        let mut stage = std::mem::take(&mut self.stage);
        stage.for_each(|ingest_ms, record| self.place(partition, ingest_ms, record))?;
        stage.clear();
        self.stage = stage;
        Ok(())
    }

    /// Puts a record into the open row group.
    fn place(&mut self, partition: i32, ingest_ms: i64, record: &RecordRef<'_>) -> Result<(), PushError> {
        let group = match &mut self.group {
            Some(group) => group,
            none => {
                let group = RowGroup::open(&self.factory, self.file.schema_descr(), self.row_groups)?;
                self.row_groups += 1;
                none.insert(group)
            }
        };
        let row = (group.rows() + self.page.rows()) as u32;
        let row_group = group.index() as u32;
        let bytes = record_bytes(record);
        self.note(partition, row_group, row, bytes as u64, record);
        self.digest.update(ingest_ms, bytes, record);
        self.page.push(partition, ingest_ms, record_weight(record, bytes), record);
        if self.page.rows() == limits::PAGE_ROWS {
            self.close_page()?;
            if self.group.as_ref().is_some_and(RowGroup::is_full) {
                self.close_group()?;
            }
        } else if self.page.weight() >= limits::PAGE_BYTES {
            self.close_group()?;
        }
        Ok(())
    }

    /// Counts a record in its run and its partition.
    fn note(&mut self, partition: i32, row_group: u32, row: u32, bytes: u64, record: &RecordRef<'_>) {
        let RecordRef { offset, timestamp_ms, .. } = *record;
        let run = self.run.get_or_insert(Run {
            row_group,
            first_row: row,
            rows: 0,
            partition,
            first_offset: offset,
            last_offset: offset,
            max_timestamp_ms: timestamp_ms,
            bytes: 0,
            crc32c: 0,
            ingest_crc32c: 0,
        });
        run.rows += 1;
        run.last_offset = offset;
        run.max_timestamp_ms = run.max_timestamp_ms.max(timestamp_ms);
        run.bytes += bytes;
        self.rows += 1;
        self.record_bytes += bytes;
        let Some((place, _)) = self.current else { return };
        let summary = &mut self.keys.partitions[place];
        summary.rows += 1;
        summary.row_group.get_or_insert(row_group);
        summary.first_row.get_or_insert(row);
        summary.last_row_group = Some(row_group);
        if timestamp_ms != NO_TIMESTAMP_MS {
            TimestampSummary::include(&mut summary.timestamps, timestamp_ms, offset);
        }
    }

    fn close_run(&mut self) {
        if let Some(mut run) = self.run.take() {
            (run.crc32c, run.ingest_crc32c) = self.digest.finish();
            self.keys.runs.push(run);
        }
    }

    fn close_page(&mut self) -> Result<(), PushError> {
        self.close_run();
        let (rows, weight) = (self.page.rows(), self.page.weight());
        if let Some(group) = self.group.as_mut().filter(|_| rows > 0) {
            let page = self.page.finish().map_err(ParquetError::from)?;
            group.write(&self.schema, page, &mut self.compressor, rows, weight)?;
        }
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), PushError> {
        self.close_page()?;
        if let Some(group) = self.group.take() {
            group.close(&mut self.file)?;
        }
        Ok(())
    }
}
