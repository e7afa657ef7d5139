//! The column chunk of a column of values, PLAIN and zstd, without statistics: what the Parquet library's own writer makes of it, byte
//! for byte where a page's rows are alike, with a third of its copies. Values are most of a file, so that pays here alone.

use crate::value_page::{KEPT_BYTES, PlainPage};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use std::collections::VecDeque;
use std::io::{Read, Write};

/// Room for a page's header.
const HEADER_BYTES: usize = 64;

/// Compresses pages, one after the other: its context and its memory last as long as the file's writer.
pub(crate) struct PageCompressor {
    context: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
}

impl PageCompressor {
    pub fn new() -> Result<Self> {
        let context = zstd::bulk::Compressor::new(ZstdLevel::default().compression_level())?;
        Ok(Self { context, compressed: Vec::new() })
    }

    /// The page of PLAIN values with its header, and how long both would be if the values were not compressed.
    fn page(&mut self, plain: &[u8], levels: usize) -> Result<(Bytes, usize)> {
        let mut compressed = std::mem::take(&mut self.compressed);
        compressed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.context.compress_to_buffer(plain, &mut compressed)?;
        let compressed = Bytes::from(compressed);
        let page = Page::DataPage {
            buf: compressed.clone(),
            num_values: u32::try_from(levels)?,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let mut written = TrackedWrite::new(Vec::with_capacity(compressed.len() + HEADER_BYTES));
        let spec = SerializedPageWriter::new(&mut written).write_page(CompressedPage::new(page, plain.len()))?;
        // Nobody else holds it any more, so that it comes back without being copied. What a huge page took is given up.
        self.compressed = Vec::from(compressed);
        self.compressed.clear();
        self.compressed.shrink_to(KEPT_BYTES);
        written.flush()?;
        Ok((Bytes::from(written.into_inner()?), spec.uncompressed_size))
    }
}

/// The chunk that is being written.
pub(crate) struct ValueChunk {
    descriptor: ColumnDescPtr,
    /// One for each page.
    pages: VecDeque<Bytes>,
    pages_index: OffsetIndexBuilder,
    bytes: usize,
    uncompressed_bytes: usize,
    rows: usize,
    levels: usize,
}

impl ValueChunk {
    pub fn new(descriptor: ColumnDescPtr) -> Self {
        Self {
            descriptor,
            pages: VecDeque::new(),
            pages_index: OffsetIndexBuilder::new(),
            bytes: 0,
            uncompressed_bytes: 0,
            rows: 0,
            levels: 0,
        }
    }

    /// Bytes of its pages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the page, which is empty afterwards.
    pub fn write(&mut self, page: &mut impl PlainPage, compressor: &mut PageCompressor) -> Result<()> {
        let (rows, levels, value_bytes) = (page.rows(), page.levels(), page.value_bytes());
        let (compressed, uncompressed_bytes) = compressor.page(page.encoded(), levels)?;
        self.uncompressed_bytes += uncompressed_bytes;
        self.pages_index.append_row_count(i64::try_from(rows)?);
        self.pages_index.append_unencoded_byte_array_data_bytes(Some(i64::try_from(value_bytes)?));
        self.pages_index.append_offset_and_size(i64::try_from(self.bytes)?, i32::try_from(compressed.len())?);
        self.bytes += compressed.len();
        self.rows += rows;
        self.levels += levels;
        self.pages.push_back(compressed);
        page.clear();
        Ok(())
    }

    /// Appends the chunk to the row group.
    pub fn close<W: Write + Send>(self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        let pages = PageEncodingStats {
            page_type: PageType::DATA_PAGE,
            encoding: Encoding::PLAIN,
            count: i32::try_from(self.pages.len())?,
        };
        let metadata = ColumnChunkMetaData::builder(self.descriptor)
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_encodings_mask(EncodingMask::new_from_encodings([Encoding::PLAIN, Encoding::RLE].iter()))
            .set_page_encoding_stats(vec![pages])
            .set_total_compressed_size(i64::try_from(self.bytes)?)
            .set_total_uncompressed_size(i64::try_from(self.uncompressed_bytes)?)
            .set_num_values(i64::try_from(self.levels)?)
            .set_data_page_offset(0)
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: self.bytes as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(self.pages_index.build()),
        };
        group.append_column(&Pages { pages: self.pages, bytes: self.bytes as u64 }, close)
    }
}

/// Pages one after the other, read from the beginning, which is all that is asked for.
#[derive(Clone)]
struct Pages {
    pages: VecDeque<Bytes>,
    bytes: u64,
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Pages {
    type T = Self;

    fn get_read(&self, start: u64) -> Result<Self> {
        if start > 0 {
            return Err(ParquetError::General("a chunk that was just written is read from its beginning".to_owned()));
        }
        Ok(self.clone())
    }

    fn get_bytes(&self, _: u64, _: usize) -> Result<Bytes> {
        Err(ParquetError::General("a chunk that was just written is read as a whole".to_owned()))
    }
}

impl Read for Pages {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let Some(page) = self.pages.front_mut() else { return Ok(0) };
        let length = page.len().min(into.len());
        into[..length].copy_from_slice(&page.split_to(length));
        if page.is_empty() {
            self.pages.pop_front();
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{at, writer_properties};
    use crate::value_page::ValuePage;
    use arrow_array::{Array, ArrayRef, BinaryArray};
    use arrow_schema::{DataType, Field, Schema};
    use parquet::arrow::ArrowSchemaConverter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
    use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
    use parquet::file::writer::SerializedFileWriter;
    use proptest::prelude::*;
    use std::sync::Arc;
    use strandline_types::limits;

    type Value = Option<Vec<u8>>;

    /// A file of one column, of row groups of pages, by our writer or the library's.
    fn file(row_groups: &[Vec<Vec<Value>>], ours: bool) -> Vec<u8> {
        let name = crate::columns::arrow_schema().field(at::VALUE).name().clone();
        let schema = Arc::new(Schema::new(vec![Field::new(name, DataType::Binary, true)]));
        let parquet_schema = ArrowSchemaConverter::new().schema_root("strandline").convert(&schema).unwrap();
        let mut properties = writer_properties().into_builder();
        properties = properties.set_sorting_columns(None);
        let mut file =
            SerializedFileWriter::new(Vec::new(), parquet_schema.root_schema_ptr(), Arc::new(properties.build())).unwrap();
        let factory = ArrowRowGroupWriterFactory::new(&file, schema.clone());
        let mut compressor = PageCompressor::new().unwrap();
        for (index, pages) in row_groups.iter().enumerate() {
            let mut chunk = ValueChunk::new(file.schema_descr().column(0));
            let mut writer = factory.create_column_writers(index).unwrap().remove(0);
            for values in pages {
                let mut page = ValuePage::new();
                values.iter().for_each(|value| page.push(value.as_deref()));
                chunk.write(&mut page, &mut compressor).unwrap();
                let array: ArrayRef = Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>());
                compute_leaves(schema.field(0), &array).unwrap().iter().for_each(|leaf| writer.write(leaf).unwrap());
            }
            let mut group = file.next_row_group().unwrap();
            if ours {
                chunk.close(&mut group).unwrap();
            } else {
                writer.close().unwrap().append_to_row_group(&mut group).unwrap();
            }
            group.close().unwrap();
        }
        file.into_inner().unwrap()
    }

    fn read(file: Vec<u8>) -> Vec<Value> {
        let batches = ParquetRecordBatchReader::try_new(Bytes::from(file), limits::PAGE_ROWS).unwrap();
        let arrays = batches.map(|batch| batch.unwrap().column(0).clone());
        let values = arrays.flat_map(|array| {
            let array = array.as_any().downcast_ref::<BinaryArray>().unwrap().clone();
            (0..array.len()).map(|row| array.is_valid(row).then(|| array.value(row).to_vec())).collect::<Vec<_>>()
        });
        values.collect()
    }

    /// Pages of which all but the last of a row group are full.
    fn paged(rows: Vec<Value>) -> Vec<Vec<Value>> {
        rows.chunks(limits::PAGE_ROWS).map(<[Value]>::to_vec).collect()
    }

    fn cycled(values: Vec<Value>, rows: usize) -> Vec<Value> {
        values.into_iter().cycle().take(rows).collect()
    }

    #[test]
    fn where_rows_are_alike_the_file_is_the_librarys_byte_for_byte() {
        let texts: Vec<Value> = (0..300_usize).map(|at| Some(vec![b'a' + (at % 26) as u8; at * 7 % 1_500])).collect();
        for rows in [1, 7, 8, 63, 64, 65, 1_023, 1_024, 1_025, 5_000] {
            for values in [vec![None], vec![Some(Vec::new())], texts.clone()] {
                let row_groups = [paged(cycled(values.clone(), rows)), paged(cycled(values, 3))];
                assert!(file(&row_groups, true) == file(&row_groups, false), "{rows} rows");
            }
        }
    }

    #[test]
    fn a_page_after_a_large_one_is_written_from_the_same_memory() {
        let row_groups = [vec![vec![Some(vec![7; 9 << 20])]], vec![vec![Some(vec![8; 10])]]];
        let bytes = file(&row_groups, true);
        assert!(bytes == file(&row_groups, false));
        assert!(read(bytes) == row_groups.concat().concat());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 1..60),
            rows in 1_usize..3_000,
        ) {
            let rows = cycled(values, rows);
            let row_groups = [paged(rows.clone())];
            let ours = file(&row_groups, true);
            prop_assert_eq!(read(ours), rows.clone());
            prop_assert_eq!(read(file(&row_groups, false)), rows);
        }
    }
}
