//! The row group that is being written: one column writer for each leaf, fed page by page.

use crate::sink::Sink;
use arrow_array::ArrayRef;
use arrow_schema::Schema;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedFileWriter;

pub(crate) struct RowGroup {
    index: usize,
    writers: Vec<ArrowColumnWriter>,
    rows: usize,
    weight: usize,
}

impl RowGroup {
    pub fn open(factory: &ArrowRowGroupWriterFactory, index: usize) -> Result<Self> {
        Ok(Self { index, writers: factory.create_column_writers(index)?, rows: 0, weight: 0 })
    }

    /// Its place in the file.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Rows written, those of the page that is being filled not counted.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weight of the rows written.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Bytes of its finished pages and an estimate of what is not encoded yet.
    pub fn encoded_bytes(&self) -> usize {
        self.writers.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }

    /// Writes one page. All but the last page of a row group are full, so that every column's pages end at the same rows.
    pub fn write(&mut self, schema: &Schema, page: &[ArrayRef], rows: usize, weight: usize) -> Result<()> {
        let mut writers = self.writers.iter_mut();
        for (field, array) in schema.fields().iter().zip(page) {
            for leaf in compute_leaves(field, array)? {
                let writer = writers.next().ok_or_else(|| ParquetError::General("more leaves than columns".to_owned()))?;
                writer.write(&leaf)?;
            }
        }
        self.rows += rows;
        self.weight += weight;
        Ok(())
    }

    /// Appends the row group to the file.
    pub fn close(self, file: &mut SerializedFileWriter<Sink>) -> Result<()> {
        let mut group = file.next_row_group()?;
        for writer in self.writers {
            writer.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }
}
