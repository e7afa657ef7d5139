//! Rows gathered into the columns of one page. Memory is sized by the page before, and columns without a value cost nothing.

use crate::cloud_events::{Attributes, TEXT_ATTRIBUTES, attributes};
use crate::columns::{at, encoding, header_key_element, header_key_fields};
use crate::format::Preference;
use crate::header_page::HeaderPage;
use crate::value_page::ValuePage;
use arrow_array::builder::{GenericByteBuilder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::types::{BinaryType, ByteArrayType, Utf8Type};
use arrow_array::{
    ArrayRef, Int32Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};
use std::sync::Arc;
use strandline_types::{RecordRef, TimestampType, limits};

const ROWS: usize = limits::PAGE_ROWS;

/// Kafka's 'no timestamp'.
pub(crate) const NO_TIMESTAMP_MS: i64 = -1;

/// A nullable string or bytes column; a page that has only nulls is a slice of one that lives as long as the writer.
struct ByteColumn<T: ByteArrayType> {
    builder: GenericByteBuilder<T>,
    nulls: usize,
    has_values: bool,
    all_null: ArrayRef,
}

impl<T: ByteArrayType> ByteColumn<T> {
    fn new(data_type: &DataType) -> Self {
        Self {
            builder: GenericByteBuilder::with_capacity(ROWS, 0),
            nulls: 0,
            has_values: false,
            all_null: new_null_array(data_type, ROWS),
        }
    }

    fn push(&mut self, value: Option<&T::Native>) {
        let Some(value) = value else {
            self.nulls += 1;
            return;
        };
        self.append_nulls();
        self.builder.append_value(value);
        self.has_values = true;
    }

    fn append_nulls(&mut self) {
        for _ in 0..self.nulls {
            self.builder.append_null();
        }
        self.nulls = 0;
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        if !self.has_values {
            self.nulls = 0;
            return self.all_null.slice(0, rows);
        }
        self.append_nulls();
        self.has_values = false;
        let array = self.builder.finish();
        // The next page is likely as large: a sixteenth more saves moving it all as it grows.
        let bytes = array.value_data().len();
        self.builder = GenericByteBuilder::with_capacity(ROWS, bytes + bytes / 16);
        Arc::new(array)
    }
}

/// A column of the page that was filled.
pub(crate) enum PageColumn<'a> {
    Array(ArrayRef),
    /// Already encoded. Whoever writes it empties it.
    Values(&'a mut ValuePage),
    /// Keys of headers as an array, their values already encoded.
    Headers(ArrayRef, &'a mut HeaderPage),
}

/// The page that is being filled.
pub(crate) struct PageBuilder {
    key_preference: Preference,
    value_preference: Preference,
    rows: usize,
    weight: usize,
    topic: ArrayRef,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    timestamps: TimestampMicrosecondBuilder,
    timestamp_types: Vec<i32>,
    ingest: Vec<i64>,
    key: ByteColumn<BinaryType>,
    key_text: ByteColumn<Utf8Type>,
    value: ValuePage,
    value_text: ValuePage,
    encoding: StringBuilder,
    no_schema_id: ArrayRef,
    no_error: ArrayRef,
    header_ends: Vec<i32>,
    header_keys: StringBuilder,
    header_values: HeaderPage,
    /// Of CloudEvents, in the order of the columns; the id, which has no like, is not among them.
    attributes: [ByteColumn<Utf8Type>; TEXT_ATTRIBUTES - 1],
    event_id: ValuePage,
    event_times: TimestampMicrosecondBuilder,
}

impl PageBuilder {
    pub fn new(topic: &str, key_preference: Preference, value_preference: Preference) -> Self {
        Self {
            key_preference,
            value_preference,
            rows: 0,
            weight: 0,
            topic: Arc::new(StringArray::from_iter_values(std::iter::repeat_n(topic, ROWS))),
            partitions: Vec::with_capacity(ROWS),
            offsets: Vec::with_capacity(ROWS),
            timestamps: TimestampMicrosecondBuilder::with_capacity(ROWS),
            timestamp_types: Vec::with_capacity(ROWS),
            ingest: Vec::with_capacity(ROWS),
            key: ByteColumn::new(&DataType::Binary),
            key_text: ByteColumn::new(&DataType::Utf8),
            value: ValuePage::new(),
            value_text: ValuePage::new(),
            encoding: StringBuilder::with_capacity(ROWS, 4 * ROWS),
            no_schema_id: new_null_array(&DataType::Int32, ROWS),
            no_error: new_null_array(&DataType::Utf8, ROWS),
            header_ends: vec![0],
            header_keys: StringBuilder::new(),
            header_values: HeaderPage::new(),
            attributes: std::array::from_fn(|_| ByteColumn::new(&DataType::Utf8)),
            event_id: ValuePage::new(),
            event_times: TimestampMicrosecondBuilder::with_capacity(ROWS),
        }
    }

    /// Rows so far; a page is full at [`limits::PAGE_ROWS`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weight of the rows so far.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Adds a row of this weight. Times were checked to fit.
    pub fn push(&mut self, partition: i32, ingest_ms: i64, weight: usize, record: &RecordRef<'_>) {
        self.rows += 1;
        self.weight += weight;
        self.partitions.push(partition);
        self.offsets.push(record.offset);
        self.timestamps.append_option((record.timestamp_ms != NO_TIMESTAMP_MS).then(|| record.timestamp_ms * 1_000));
        self.timestamp_types.push(i32::from(record.timestamp_type == TimestampType::LogAppend));
        self.ingest.push(ingest_ms * 1_000);
        self.push_key(record.key);
        self.push_value(record.value);
        self.push_headers(record);
    }

    fn push_key(&mut self, key: Option<&[u8]>) {
        let text = key.and_then(|key| self.key_preference.text(key));
        self.key.push(if text.is_none() { key } else { None });
        self.key_text.push(text);
    }

    fn push_value(&mut self, value: Option<&[u8]>) {
        let text = value.and_then(|value| self.value_preference.text(value));
        let (raw, encoding) = match (value, text) {
            (None, _) => (None, encoding::NULL),
            (Some(_), Some(_)) => (None, encoding::TEXT),
            (Some(value), None) => (Some(value), encoding::RAW),
        };
        self.value.push(raw);
        self.value_text.push(text.map(str::as_bytes));
        self.encoding.append_value(encoding);
    }

    fn push_headers(&mut self, record: &RecordRef<'_>) {
        for header in record.headers {
            self.header_keys.append_value(header.key);
        }
        self.header_values.push(record.headers);
        // Headers have weight, so a page ends long before 2^31 of them.
        let end = self.header_ends.last().copied().unwrap_or_default();
        self.header_ends.push(end.saturating_add(record.headers.len() as i32));
        let Attributes { text: [spec_version, id, rest @ ..], time_us } = attributes(record.headers).unwrap_or_default();
        self.event_id.push(id.map(str::as_bytes));
        for (column, value) in self.attributes.iter_mut().zip(std::iter::once(spec_version).chain(rest)) {
            column.push(value);
        }
        self.event_times.append_option(time_us);
    }

    /// The rows, column by column; the builder is empty again when all of them are written.
    pub fn finish(&mut self) -> Result<Vec<PageColumn<'_>>, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        self.weight = 0;
        let header_keys = self.finish_header_keys()?;
        let [spec_version, source, event_type, subject, content_type, data_schema] =
            self.attributes.each_mut().map(|column| column.finish(rows));
        let take =
            |ints: &mut Vec<i32>| -> ArrayRef { Arc::new(Int32Array::from(std::mem::replace(ints, Vec::with_capacity(ROWS)))) };
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(ROWS));
        let ingest = std::mem::replace(&mut self.ingest, Vec::with_capacity(ROWS));
        let before: [ArrayRef; at::VALUE] = [
            self.topic.slice(0, rows),
            take(&mut self.partitions),
            Arc::new(Int64Array::from(offsets)),
            Arc::new(self.timestamps.finish().with_timezone("UTC")),
            take(&mut self.timestamp_types),
            Arc::new(TimestampMicrosecondArray::from(ingest).with_timezone("UTC")),
            self.key.finish(rows),
            self.key_text.finish(rows),
        ];
        let between: [ArrayRef; 3] =
            [Arc::new(self.encoding.finish()), self.no_schema_id.slice(0, rows), self.no_error.slice(0, rows)];
        let after: [ArrayRef; 6] =
            [source, event_type, subject, Arc::new(self.event_times.finish().with_timezone("UTC")), content_type, data_schema];
        let mut columns = before.into_iter().map(PageColumn::Array).collect::<Vec<_>>();
        columns.extend([PageColumn::Values(&mut self.value), PageColumn::Values(&mut self.value_text)]);
        columns.extend(between.into_iter().map(PageColumn::Array));
        columns.push(PageColumn::Headers(header_keys, &mut self.header_values));
        columns.extend([PageColumn::Array(spec_version), PageColumn::Values(&mut self.event_id)]);
        columns.extend(after.into_iter().map(PageColumn::Array));
        Ok(columns)
    }

    fn finish_header_keys(&mut self) -> Result<ArrayRef, ArrowError> {
        let ends = std::mem::replace(&mut self.header_ends, vec![0]);
        let keys = self.header_keys.finish();
        self.header_keys = StringBuilder::with_capacity(keys.value_offsets().len(), keys.value_data().len());
        let headers = StructArray::try_new(header_key_fields(), vec![Arc::new(keys)], None)?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        Ok(Arc::new(ListArray::try_new(header_key_element(), offsets, Arc::new(headers), None)?))
    }
}
