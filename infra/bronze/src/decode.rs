//! Pages to arrays, and arrays to records. Keys and values are views into the decoded pages: they are not copied.

use crate::columns::encoding;
use crate::fetched::Fetched;
use crate::footer::{SegmentFooter, guarded};
use crate::page::NO_TIMESTAMP_MS;
use crate::page_reader::Source;
use crate::plan::Piece;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, BinaryViewArray, Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelector};
use parquet::errors::ParquetError;
use std::collections::VecDeque;
use std::ops::Range;
use strandline_types::{HeaderRef, RecordRef, TimestampType, limits};

/// Decodes pieces, batch by batch; a batch has at most the rows of a page, and crosses a page's end only if it is a whole piece.
pub(crate) struct Batches {
    source: Source,
    leaves: &'static [usize],
    pieces: VecDeque<Piece>,
    current: Option<(ParquetRecordBatchReader, Piece)>,
}

impl Batches {
    pub fn new(footer: SegmentFooter, fetched: Fetched, pieces: Vec<Piece>, leaves: &'static [usize]) -> Self {
        Self { source: Source::new(footer, fetched), leaves, pieces: pieces.into(), current: None }
    }

    /// The next batch and where its first row lies: row group, and row within it.
    pub fn next(&mut self) -> Option<Result<(usize, usize, RecordBatch), ParquetError>> {
        loop {
            if self.current.is_none() {
                let piece = self.pieces.pop_front()?;
                match guarded(|| self.open(&piece)) {
                    Ok(reader) => self.current = Some((reader, piece)),
                    Err(error) => return Some(Err(error)),
                }
            }
            let Some((reader, piece)) = self.current.as_mut() else { continue };
            if piece.rows.is_empty() {
                self.current = None;
                continue;
            }
            let expected = piece.rows.len().min(limits::PAGE_ROWS);
            let batch = guarded(|| reader.next().transpose().map_err(ParquetError::from));
            let batch = match batch {
                Ok(Some(batch)) if batch.num_rows() == expected => batch,
                Ok(_) => return Some(Err(ParquetError::General("rows are missing".to_owned()))),
                Err(error) => return Some(Err(error)),
            };
            let first_row = piece.rows.start;
            piece.rows.start += expected;
            return Some(Ok((piece.row_group, first_row, batch)));
        }
    }

    fn open(&self, piece: &Piece) -> Result<ParquetRecordBatchReader, ParquetError> {
        let levels = self.source.footer().field_levels(self.leaves)?;
        let selection = vec![RowSelector::skip(piece.rows.start), RowSelector::select(piece.rows.len())];
        let batch_rows = piece.rows.len().min(limits::PAGE_ROWS);
        let pages = self.source.row_group(piece.row_group)?;
        ParquetRecordBatchReader::try_new_with_row_groups(&levels, &pages, batch_rows, Some(RowSelection::from(selection)))
    }
}

/// The columns of [`crate::plan::RECORD_LEAVES`] as arrays.
#[derive(Debug)]
pub(crate) struct RecordArrays {
    offset: Int64Array,
    timestamp: TimestampMicrosecondArray,
    timestamp_type: Int32Array,
    ingest: TimestampMicrosecondArray,
    key: BinaryViewArray,
    key_text: StringViewArray,
    value: BinaryViewArray,
    value_text: StringViewArray,
    encoding: StringViewArray,
    headers: ListArray,
}

fn unexpected() -> ParquetError {
    ParquetError::General("a column has another type than the format says".to_owned())
}

impl RecordArrays {
    pub fn new(batch: &RecordBatch) -> Result<Self, ParquetError> {
        let [offset, timestamp, timestamp_type, ingest, key, key_text, value, value_text, encoding, headers] = batch.columns()
        else {
            return Err(unexpected());
        };
        let time =
            |array: &arrow_array::ArrayRef| array.as_primitive_opt::<TimestampMicrosecondType>().cloned().ok_or_else(unexpected);
        Ok(Self {
            offset: offset.as_primitive_opt::<Int64Type>().cloned().ok_or_else(unexpected)?,
            timestamp: time(timestamp)?,
            timestamp_type: timestamp_type.as_primitive_opt::<Int32Type>().cloned().ok_or_else(unexpected)?,
            ingest: time(ingest)?,
            key: key.as_binary_view_opt().cloned().ok_or_else(unexpected)?,
            key_text: key_text.as_string_view_opt().cloned().ok_or_else(unexpected)?,
            value: value.as_binary_view_opt().cloned().ok_or_else(unexpected)?,
            value_text: value_text.as_string_view_opt().cloned().ok_or_else(unexpected)?,
            encoding: encoding.as_string_view_opt().cloned().ok_or_else(unexpected)?,
            headers: headers.as_list_opt::<i32>().cloned().ok_or_else(unexpected)?,
        })
    }

    /// The headers of these rows, all in one list.
    pub fn headers(&self, rows: Range<usize>) -> Result<Vec<HeaderRef<'_>>, ParquetError> {
        let ends = self.headers.value_offsets();
        let (first, end) = (ends[rows.start] as usize, ends[rows.end] as usize);
        if first == end {
            return Ok(Vec::new());
        }
        let fields = self.headers.values().as_struct_opt().ok_or_else(unexpected)?;
        let [keys, values] = fields.columns() else { return Err(unexpected()) };
        let keys = keys.as_string_view_opt().ok_or_else(unexpected)?;
        let values = values.as_binary_view_opt().ok_or_else(unexpected)?;
        Ok((first..end)
            .map(|at| HeaderRef { key: keys.value(at), value: values.is_valid(at).then(|| values.value(at)) })
            .collect())
    }

    /// The encoding of a value in `rows` that this version does not know.
    pub fn unknown_encoding(&self, mut rows: Range<usize>) -> Option<String> {
        let known = [encoding::TEXT, encoding::NULL, encoding::RAW];
        rows.find(|row| !known.contains(&self.encoding.value(*row))).map(|row| self.encoding.value(row).to_owned())
    }

    pub fn ingest_ms(&self, row: usize) -> i64 {
        self.ingest.value(row).div_euclid(1_000)
    }

    /// How many headers the row has.
    pub fn header_range(&self, row: usize, first_row: usize) -> Range<usize> {
        let ends = self.headers.value_offsets();
        let base = ends[first_row];
        (ends[row] - base) as usize..(ends[row + 1] - base) as usize
    }

    pub fn record<'a>(&'a self, row: usize, headers: &'a [HeaderRef<'a>]) -> RecordRef<'a> {
        RecordRef {
            offset: self.offset.value(row),
            timestamp_ms: time_ms(&self.timestamp, row),
            timestamp_type: if self.timestamp_type.value(row) == 0 { TimestampType::Create } else { TimestampType::LogAppend },
            key: text_or_bytes(&self.key_text, &self.key, row),
            value: text_or_bytes(&self.value_text, &self.value, row),
            headers,
        }
    }
}

fn text_or_bytes<'a>(text: &'a StringViewArray, bytes: &'a BinaryViewArray, row: usize) -> Option<&'a [u8]> {
    if text.is_valid(row) { Some(text.value(row).as_bytes()) } else { bytes.is_valid(row).then(|| bytes.value(row)) }
}

/// Null is Kafka's -1.
pub(crate) fn time_ms(times: &TimestampMicrosecondArray, row: usize) -> i64 {
    if times.is_valid(row) { times.value(row).div_euclid(1_000) } else { NO_TIMESTAMP_MS }
}
