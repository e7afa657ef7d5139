//! The row group that is being written: one column writer for each leaf, fed page by page.

use crate::columns::{at, header_keys};
use crate::fetched::Fetched;
use crate::footer::SegmentFooter;
use crate::layout;
use crate::page::PageColumn;
use crate::sink::Sink;
use crate::value_chunk::{PageCompressor, ValueChunk};
use arrow_array::ArrayRef;
use arrow_schema::{Field, Schema};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;
use strandline_types::limits;

fn unexpected() -> ParquetError {
    ParquetError::General("a column has no writer of its kind".to_owned())
}

fn write_array<'a>(leaves: &mut impl Iterator<Item = &'a mut LeafWriter>, field: &Field, array: &ArrayRef) -> Result<()> {
    for leaf in compute_leaves(field, array)? {
        let Some(LeafWriter::Arrow(writer)) = leaves.next() else { return Err(unexpected()) };
        writer.write(&leaf)?;
    }
    Ok(())
}

fn values_of<'a>(leaves: &mut impl Iterator<Item = &'a mut LeafWriter>) -> Result<&'a mut ValueChunk> {
    let Some(LeafWriter::Values(chunk)) = leaves.next() else { return Err(unexpected()) };
    Ok(chunk)
}

/// Who writes a leaf.
enum LeafWriter {
    Arrow(Box<ArrowColumnWriter>),
    Values(ValueChunk),
}

pub(crate) struct RowGroup {
    index: usize,
    writers: Vec<LeafWriter>,
    rows: usize,
    weight: usize,
}

impl RowGroup {
    pub fn open(factory: &ArrowRowGroupWriterFactory, schema: &SchemaDescriptor, index: usize) -> Result<Self> {
        let writers = factory.create_column_writers(index)?.into_iter().enumerate().map(|(leaf, writer)| match leaf {
            at::VALUE | at::VALUE_TEXT | at::HEADER_VALUE_LEAF | at::CE_ID_LEAF => {
                LeafWriter::Values(ValueChunk::new(schema.column(leaf)))
            }
            _ => LeafWriter::Arrow(Box::new(writer)),
        });
        Ok(Self { index, writers: writers.collect(), rows: 0, weight: 0 })
    }

    /// Its place in the file.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Rows written, those of the page that is being filled not counted.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of its finished pages and an estimate of what is not encoded yet.
    pub fn encoded_bytes(&self) -> usize {
        let bytes = self.writers.iter().map(|writer| match writer {
            LeafWriter::Arrow(writer) => writer.get_estimated_total_bytes(),
            LeafWriter::Values(chunk) => chunk.bytes(),
        });
        bytes.sum()
    }

    /// No more pages are to be written.
    pub fn is_full(&self) -> bool {
        self.rows >= layout::ROW_GROUP_ROWS
            || self.weight >= limits::ROW_GROUP_BYTES
            || self.encoded_bytes() >= limits::ROW_GROUP_ENCODED_BYTES
    }

    /// Writes one page. All but the last page of a row group are full, so that every column's pages end at the same rows.
    pub fn write(
        &mut self,
        schema: &Schema,
        page: Vec<PageColumn<'_>>,
        compressor: &mut PageCompressor,
        rows: usize,
        weight: usize,
    ) -> Result<()> {
        let mut leaves = self.writers.iter_mut();
        for (field, column) in schema.fields().iter().zip(page) {
            match column {
                PageColumn::Array(array) => write_array(&mut leaves, field, &array)?,
                PageColumn::Values(values) => values_of(&mut leaves)?.write(values, compressor)?,
                PageColumn::Headers(keys, values) => {
                    write_array(&mut leaves, &header_keys(), &keys)?;
                    values_of(&mut leaves)?.write(values, compressor)?;
                }
            }
        }
        self.rows += rows;
        self.weight += weight;
        Ok(())
    }

    /// Appends a row group of another file as it is. `fetched` has its bytes.
    pub fn copy(
        footer: &SegmentFooter,
        row_group: usize,
        fetched: &Fetched,
        file: &mut SerializedFileWriter<Sink>,
    ) -> Result<()> {
        let missing = || ParquetError::General("the row group is missing".to_owned());
        let metadata = footer.metadata();
        let source = metadata.row_groups().get(row_group).ok_or_else(missing)?;
        let pages = metadata.offset_index().and_then(|groups| groups.get(row_group)).ok_or_else(missing)?;
        let statistics = metadata.column_index().and_then(|groups| groups.get(row_group));
        let mut group = file.next_row_group()?;
        for (at, column) in source.columns().iter().enumerate() {
            let column_index = statistics.and_then(|columns| columns.get(at));
            let close = ColumnCloseResult {
                bytes_written: column.compressed_size() as u64,
                rows_written: source.num_rows() as u64,
                metadata: column.clone(),
                bloom_filter: None,
                column_index: column_index.filter(|index| !matches!(index, ColumnIndexMetaData::NONE)).cloned(),
                offset_index: Some(pages.get(at).ok_or_else(missing)?.clone()),
            };
            group.append_column(fetched, close)?;
        }
        group.close()?;
        Ok(())
    }

    /// Appends the row group to the file.
    pub fn close(self, file: &mut SerializedFileWriter<Sink>) -> Result<()> {
        let mut group = file.next_row_group()?;
        for writer in self.writers {
            match writer {
                LeafWriter::Arrow(writer) => writer.close()?.append_to_row_group(&mut group)?,
                LeafWriter::Values(chunk) => chunk.close(&mut group)?,
            }
        }
        group.close()?;
        Ok(())
    }
}
