//! One page of the values of headers, which is a column that repeats, encoded as PLAIN while they come: they are copied once, from the
//! record to the page.

use crate::levels::Levels;
use crate::value_page::{PlainPage, PlainValues};
use strandline_types::HeaderRef;

/// Room before the values for the levels to begin with: those of a full page of rows with seven headers each fit.
const LEVELS_BYTES: usize = 4 << 10;

/// The page that is being filled. Its memory is used again by the next one.
pub(crate) struct HeaderPage {
    rows: usize,
    /// 0 for the first header of a row and for a row without headers, 1 for the others.
    repetition: Levels,
    /// 0 for a row without headers, 1 for a header without a value, 2 for one with a value.
    definition: Levels,
    values: PlainValues,
}

impl HeaderPage {
    pub fn new() -> Self {
        Self { rows: 0, repetition: Levels::new(1), definition: Levels::new(2), values: PlainValues::new(LEVELS_BYTES) }
    }

    /// Adds a row.
    pub fn push(&mut self, headers: &[HeaderRef<'_>]) {
        self.rows += 1;
        if headers.is_empty() {
            self.repetition.push(0);
            self.definition.push(0);
        }
        for (at, header) in headers.iter().enumerate() {
            self.repetition.push(u8::from(at > 0));
            self.definition.push(1 + u8::from(header.value.is_some()));
            if let Some(value) = header.value {
                self.values.push(value);
            }
        }
    }
}

impl PlainPage for HeaderPage {
    fn rows(&self) -> usize {
        self.rows
    }

    fn levels(&self) -> usize {
        self.definition.count()
    }

    fn value_bytes(&self) -> usize {
        self.values.bytes()
    }

    fn encoded(&mut self) -> &[u8] {
        self.values.encoded(&[&self.repetition, &self.definition])
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.repetition.clear();
        self.definition.clear();
        self.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{at, header_element, header_fields, writer_properties};
    use crate::value_chunk::{PageCompressor, ValueChunk};
    use arrow_array::builder::{BinaryBuilder, ListBuilder, StringBuilder, StructBuilder};
    use arrow_array::cast::AsArray;
    use arrow_array::{Array, ArrayRef};
    use arrow_schema::{DataType, Field, Schema};
    use bytes::Bytes;
    use parquet::arrow::ArrowSchemaConverter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
    use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
    use parquet::file::writer::SerializedFileWriter;
    use proptest::prelude::*;
    use std::sync::Arc;
    use strandline_types::limits;

    /// The values of one row's headers.
    type Row = Vec<Option<Vec<u8>>>;

    fn push(page: &mut HeaderPage, row: &Row) {
        page.push(&row.iter().map(|value| HeaderRef { key: "key", value: value.as_deref() }).collect::<Vec<_>>());
    }

    fn array(rows: &[Row]) -> ArrayRef {
        let fields = header_fields(DataType::Utf8, DataType::Binary);
        let header = StructBuilder::new(fields, vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())]);
        let mut list = ListBuilder::new(header).with_field(header_element(DataType::Utf8, DataType::Binary));
        for row in rows {
            for value in row {
                list.values().field_builder::<StringBuilder>(0).unwrap().append_value("key");
                list.values().field_builder::<BinaryBuilder>(1).unwrap().append_option(value.as_deref());
                list.values().append(true);
            }
            list.append(true);
        }
        Arc::new(list.finish())
    }

    /// A file of the headers alone, the values' leaf by our writer or the library's.
    fn file(pages: &[Vec<Row>], ours: bool) -> Vec<u8> {
        let element = header_element(DataType::Utf8, DataType::Binary);
        let schema = Arc::new(Schema::new(vec![Field::new("kafka_headers", DataType::List(element), false)]));
        let parquet_schema = ArrowSchemaConverter::new().schema_root("strandline").convert(&schema).unwrap();
        let properties = Arc::new(writer_properties().into_builder().set_sorting_columns(None).build());
        let mut file = SerializedFileWriter::new(Vec::new(), parquet_schema.root_schema_ptr(), properties).unwrap();
        let mut writers = ArrowRowGroupWriterFactory::new(&file, schema.clone()).create_column_writers(0).unwrap();
        let (mut page, mut compressor) = (HeaderPage::new(), PageCompressor::new().unwrap());
        let mut chunk = ValueChunk::new(file.schema_descr().column(at::HEADER_VALUE_LEAF - at::HEADER_KEY_LEAF));
        for rows in pages {
            rows.iter().for_each(|row| push(&mut page, row));
            let values = rows.iter().flatten().flatten().map(Vec::len).sum::<usize>();
            assert_eq!((page.rows(), page.value_bytes()), (rows.len(), values));
            chunk.write(&mut page, &mut compressor).unwrap();
            let leaves = compute_leaves(schema.field(0), &array(rows)).unwrap();
            writers.iter_mut().zip(&leaves).for_each(|(writer, leaf)| writer.write(leaf).unwrap());
        }
        let mut group = file.next_row_group().unwrap();
        let [keys, values] = writers.try_into().ok().unwrap();
        keys.close().unwrap().append_to_row_group(&mut group).unwrap();
        if ours {
            chunk.close(&mut group).unwrap();
        } else {
            values.close().unwrap().append_to_row_group(&mut group).unwrap();
        }
        group.close().unwrap();
        file.into_inner().unwrap()
    }

    fn read(file: Vec<u8>) -> Vec<Row> {
        let batches = ParquetRecordBatchReader::try_new(Bytes::from(file), limits::PAGE_ROWS).unwrap();
        let rows = batches.flat_map(|batch| {
            let batch = batch.unwrap();
            let lists = batch.column(0).as_list::<i32>();
            let row = |at| {
                let headers: ArrayRef = lists.value(at);
                let values = headers.as_struct().column(1).as_binary::<i32>().clone();
                (0..values.len()).map(|at| values.is_valid(at).then(|| values.value(at).to_vec())).collect::<Row>()
            };
            (0..lists.len()).map(row).collect::<Vec<_>>()
        });
        rows.collect()
    }

    #[test]
    fn levels_of_rows_are_packed_and_alike_ones_are_a_run() {
        let mut page = HeaderPage::new();
        for row in [vec![Some(b"ab".to_vec()), None, Some(Vec::new())], vec![], vec![Some(b"c".to_vec())]] {
            push(&mut page, &row);
        }
        assert_eq!((page.rows(), page.levels(), page.value_bytes()), (3, 5, 3));
        let levels = [2, 0, 0, 0, 3, 0b00110, 3, 0, 0, 0, 3, 0b00_10_01_10, 0b10];
        let values = [2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0, 1, 0, 0, 0, b'c'];
        assert_eq!(page.encoded(), [&levels[..], &values].concat());
        page.clear();
        // What was there before leaves no trace.
        (0..100).for_each(|_| push(&mut page, &vec![]));
        assert_eq!(page.encoded(), [3, 0, 0, 0, 0xc8, 1, 0, 3, 0, 0, 0, 0xc8, 1, 0]);
    }

    #[test]
    fn where_rows_are_alike_the_file_is_the_librarys_byte_for_byte() {
        for row in [vec![], vec![None], vec![Some(b"one".to_vec())]] {
            for rows in [1, 7, 8, 9, 64, 1_000] {
                let pages = [vec![row.clone(); limits::PAGE_ROWS], vec![row.clone(); rows]];
                assert!(file(&pages, true) == file(&pages, false), "{rows} of {row:?}");
            }
        }
    }

    #[test]
    fn levels_may_take_more_room_than_those_of_the_page_before() {
        let many = vec![Some(b"value".to_vec()), None].into_iter().cycle().take(30_000).collect::<Row>();
        let pages =
            [vec![vec![Some(b"first".to_vec())]], vec![many, vec![]], vec![vec![None, Some(vec![7; 9 << 20])]], vec![vec![]]];
        assert!(read(file(&pages, true)) == pages.concat());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            rows in prop::collection::vec(prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 0..6), 1..40),
            count in 1_usize..3_000,
        ) {
            let rows = rows.into_iter().cycle().take(count).collect::<Vec<_>>();
            let pages = rows.chunks(limits::PAGE_ROWS).map(<[Row]>::to_vec).collect::<Vec<_>>();
            prop_assert_eq!(read(file(&pages, true)), rows.clone());
            prop_assert_eq!(read(file(&pages, false)), rows);
        }
    }
}
