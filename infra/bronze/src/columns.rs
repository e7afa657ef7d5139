//! The columns of version 1 and the writer properties that go with them. Physical types, names and field ids never change.

use crate::layout;
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use std::sync::{Arc, OnceLock};
use strandline_types::limits;

/// The format that this crate writes, `strandline.format` in the footer. A reader refuses a higher one. Columns and layout are the
/// same since version 1; with version 2 came the file's checksum of itself.
pub const FORMAT_VERSION: u32 = 2;

/// Where arrow-rs looks for a column's field id.
const FIELD_ID: &str = "PARQUET:field_id";

/// Places of the top-level columns, which are also the places of their leaves up to the headers.
pub(crate) mod at {
    pub const PARTITION: usize = 1;
    pub const OFFSET: usize = 2;
    pub const TIMESTAMP: usize = 3;
    pub const TIMESTAMP_TYPE: usize = 4;
    pub const INGEST: usize = 5;
    pub const KEY: usize = 6;
    pub const KEY_TEXT: usize = 7;
    pub const VALUE: usize = 8;
    pub const VALUE_TEXT: usize = 9;
    pub const ENCODING: usize = 10;
    pub const HEADER_KEY_LEAF: usize = 13;
    pub const HEADER_VALUE_LEAF: usize = 14;
    pub const CE_ID_LEAF: usize = 16;
}

/// Values of `kafka_value_encoding`.
pub(crate) mod encoding {
    pub const NULL: &str = "null";
    pub const TEXT: &str = "text";
    pub const RAW: &str = "raw";
}

/// Which statistics a column keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    None,
    Chunk,
    Page,
}

/// How a leaf is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoded {
    Dictionary,
    Plain,
    Delta,
}

struct Column {
    id: i32,
    name: &'static str,
    data_type: DataType,
    nullable: bool,
    encoded: Encoded,
    kept: Kept,
}

/// Microseconds UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn field(id: i32, name: &str, data_type: DataType, nullable: bool) -> Field {
    Field::new(name, data_type, nullable).with_metadata([(FIELD_ID.to_owned(), id.to_string())].into())
}

/// Key and value of one header.
pub(crate) fn header_fields(text: DataType, bytes: DataType) -> Fields {
    Fields::from(vec![field(24, "key", text, false), field(25, "value", bytes, true)])
}

/// The list's child is named `element`, as the Parquet specification has it.
pub(crate) fn header_element(text: DataType, bytes: DataType) -> FieldRef {
    element(header_fields(text, bytes))
}

fn element(fields: Fields) -> FieldRef {
    Arc::new(field(23, "element", DataType::Struct(fields), false))
}

/// The key of one header alone, and the list's child with nothing else in it: what the key's leaf is written from.
pub(crate) fn header_key_fields() -> Fields {
    Fields::from(vec![field(24, "key", DataType::Utf8, false)])
}

/// See [`header_key_fields`].
pub(crate) fn header_key_element() -> FieldRef {
    element(header_key_fields())
}

/// The column of which the key's leaf is written: `kafka_headers` without the values.
pub(crate) fn header_keys() -> FieldRef {
    Arc::new(field(14, "kafka_headers", DataType::List(header_key_element()), false))
}

/// The table of the format, with `text` and `bytes` as the types in memory.
fn columns(text: &DataType, bytes: &DataType) -> Vec<Column> {
    use Encoded::{Delta, Dictionary, Plain};
    use Kept::{Chunk, Page};
    let column = |id, name, data_type: &DataType, nullable, encoded, kept| Column {
        id,
        name,
        data_type: data_type.clone(),
        nullable,
        encoded,
        kept,
    };
    let int = &DataType::Int32;
    let time = &timestamp();
    vec![
        column(1, "kafka_topic", text, false, Dictionary, Chunk),
        column(2, "kafka_partition", int, false, Dictionary, Page),
        column(3, "kafka_offset", &DataType::Int64, false, Delta, Page),
        column(4, "kafka_timestamp", time, true, Delta, Page),
        column(5, "kafka_timestamp_type", int, false, Dictionary, Chunk),
        column(6, "ingest_timestamp", time, false, Dictionary, Page),
        column(7, "kafka_key", bytes, true, Dictionary, Kept::None),
        column(8, "kafka_key_text", text, true, Dictionary, Kept::None),
        column(9, "kafka_value", bytes, true, Plain, Kept::None),
        column(10, "kafka_value_text", text, true, Plain, Kept::None),
        column(11, "kafka_value_encoding", text, false, Dictionary, Chunk),
        column(12, "kafka_value_schema_id", int, true, Dictionary, Chunk),
        column(13, "kafka_value_error", text, true, Dictionary, Kept::None),
        // Its leaves are set apart in `properties`.
        column(14, "kafka_headers", &DataType::List(header_element(text.clone(), bytes.clone())), false, Plain, Kept::None),
        column(15, "ce_specversion", text, true, Dictionary, Chunk),
        column(16, "ce_id", text, true, Plain, Kept::None),
        column(17, "ce_source", text, true, Dictionary, Chunk),
        column(18, "ce_type", text, true, Dictionary, Chunk),
        column(19, "ce_subject", text, true, Dictionary, Chunk),
        column(20, "ce_time", time, true, Plain, Chunk),
        column(21, "ce_datacontenttype", text, true, Dictionary, Chunk),
        column(22, "ce_dataschema", text, true, Dictionary, Chunk),
    ]
}

fn schema(text: &DataType, bytes: &DataType) -> SchemaRef {
    let fields = columns(text, bytes).into_iter().map(|column| field(column.id, column.name, column.data_type, column.nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns as Arrow types, in order, with their field ids.
pub fn arrow_schema() -> SchemaRef {
    static SCHEMA: OnceLock<SchemaRef> = OnceLock::new();
    SCHEMA.get_or_init(|| schema(&DataType::Utf8, &DataType::Binary)).clone()
}

/// The same columns as they are read: strings and bytes are views into the pages, so that values are not copied.
pub(crate) fn read_schema() -> SchemaRef {
    static SCHEMA: OnceLock<SchemaRef> = OnceLock::new();
    SCHEMA.get_or_init(|| schema(&DataType::Utf8View, &DataType::BinaryView)).clone()
}

/// Encodings, statistics and layout of version 1. Public so that the bare Parquet writer can be measured with them.
pub fn writer_properties() -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(limits::PAGE_ROWS)
        // Pages end by rows alone, at the same rows in every column; bytes are bounded by ending the row group.
        .set_data_page_size_limit(usize::MAX)
        .set_write_batch_size(limits::PAGE_ROWS)
        .set_max_row_group_row_count(None)
        .set_statistics_truncate_length(Some(layout::STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(layout::STATISTICS_BYTES))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_sorting_columns(Some(vec![sorted_by(at::PARTITION), sorted_by(at::OFFSET)]));
    let leaf = |path: &[&str]| ColumnPath::new(path.iter().map(|part| (*part).to_owned()).collect());
    let headers = |name| leaf(&["kafka_headers", "list", "element", name]);
    let leaves =
        columns(&DataType::Utf8, &DataType::Binary).into_iter().map(|column| (leaf(&[column.name]), column.encoded, column.kept));
    let leaves =
        leaves.chain([(headers("key"), Encoded::Dictionary, Kept::None), (headers("value"), Encoded::Plain, Kept::None)]);
    for (path, encoded, kept) in leaves {
        let statistics = match kept {
            Kept::None => EnabledStatistics::None,
            Kept::Chunk => EnabledStatistics::Chunk,
            Kept::Page => EnabledStatistics::Page,
        };
        builder = builder
            .set_column_statistics_enabled(path.clone(), statistics)
            .set_column_dictionary_enabled(path.clone(), encoded == Encoded::Dictionary);
        // A column with a dictionary falls back to PLAIN by itself in writer version 1.0.
        builder = match encoded {
            Encoded::Dictionary => builder,
            Encoded::Plain => builder.set_column_encoding(path, Encoding::PLAIN),
            Encoded::Delta => builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        };
    }
    builder.build()
}

fn sorted_by(leaf: usize) -> SortingColumn {
    SortingColumn { column_idx: leaf as i32, descending: false, nulls_first: false }
}
