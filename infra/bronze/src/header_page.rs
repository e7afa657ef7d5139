//! One page of the values of headers, which is a column that repeats, encoded as PLAIN while they come: they are copied once, from the
//! record to the page.

use crate::value_page::{KEPT_BYTES, PlainPage};
use strandline_types::HeaderRef;

/// Levels of one kind, packed as they come; the lowest bits of a byte first.
struct Levels {
    bits: usize,
    count: usize,
    packed: Vec<u8>,
    /// Of the level that all have so far.
    first: u8,
    are_alike: bool,
}

impl Levels {
    /// `bits` a level: 1, 2, 4 or 8.
    fn new(bits: usize) -> Self {
        Self { bits, count: 0, packed: Vec::new(), first: 0, are_alike: true }
    }

    fn push(&mut self, level: u8) {
        let bit = self.count * self.bits % 8;
        match self.packed.last_mut() {
            Some(last) if bit > 0 => *last |= level << bit,
            _ => self.packed.push(level),
        }
        if self.count == 0 {
            self.first = level;
        }
        self.are_alike &= level == self.first;
        self.count += 1;
    }

    /// Appends them with their length before them, in the hybrid of runs and packed bits: one run where all are alike.
    fn encode(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&[0; 4]);
        if self.are_alike {
            push_varint(self.count << 1, into);
            into.push(self.first);
        } else {
            let groups = self.count.div_ceil(8);
            push_varint(groups << 1 | 1, into);
            into.extend_from_slice(&self.packed);
            into.resize(into.len() + groups * self.bits - self.packed.len(), 0);
        }
        let length = (into.len() - start - 4) as u32;
        into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn clear(&mut self) {
        self.count = 0;
        self.packed.clear();
        self.packed.shrink_to(KEPT_BYTES);
        self.are_alike = true;
    }
}

fn push_varint(mut number: usize, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Room before the values for the levels to begin with: those of a full page of rows with seven headers each fit.
const LEVELS_BYTES: usize = 4 << 10;

/// The page that is being filled. Its memory is used again by the next one.
pub(crate) struct HeaderPage {
    rows: usize,
    values: usize,
    /// 0 for the first header of a row and for a row without headers, 1 for the others.
    repetition: Levels,
    /// 0 for a row without headers, 1 for a header without a value, 2 for one with a value.
    definition: Levels,
    /// [`LEVELS_BYTES`], or more, once the levels of a page took more.
    room: usize,
    /// `room` for the levels, whose length is known only at the end, then the values, each after its length.
    bytes: Vec<u8>,
    encoded_levels: Vec<u8>,
}

impl HeaderPage {
    pub fn new() -> Self {
        Self {
            rows: 0,
            values: 0,
            repetition: Levels::new(1),
            definition: Levels::new(2),
            room: LEVELS_BYTES,
            bytes: vec![0; LEVELS_BYTES],
            encoded_levels: Vec::new(),
        }
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
            let Some(value) = header.value else {
                self.definition.push(1);
                continue;
            };
            self.definition.push(2);
            self.values += 1;
            // Record sizes are bounded far below 2^32.
            self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(value);
        }
    }
}

impl PlainPage for HeaderPage {
    fn rows(&self) -> usize {
        self.rows
    }

    fn levels(&self) -> usize {
        self.definition.count
    }

    fn value_bytes(&self) -> usize {
        self.bytes.len() - self.room - 4 * self.values
    }

    fn encoded(&mut self) -> &[u8] {
        self.encoded_levels.clear();
        self.repetition.encode(&mut self.encoded_levels);
        self.definition.encode(&mut self.encoded_levels);
        let length = self.encoded_levels.len();
        if length > self.room {
            self.bytes.splice(..0, std::iter::repeat_n(0, length - self.room));
            self.room = length;
        }
        let start = self.room - length;
        self.bytes[start..self.room].copy_from_slice(&self.encoded_levels);
        &self.bytes[start..]
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.values = 0;
        self.repetition.clear();
        self.definition.clear();
        self.bytes.truncate(self.room);
        // One huge value is not held until the file ends.
        self.bytes.shrink_to(KEPT_BYTES);
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
