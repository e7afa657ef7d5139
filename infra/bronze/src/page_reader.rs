//! The pages of a row group for the Parquet library's decoders, decompressed once, straight to where arrays then point.
//!
//! The library's own reader makes a compressor and a decompressor for each column chunk that is opened, decompresses each page into
//! one buffer and copies it into another. This one takes pages as they are stored, and gives each the memory that its Zstandard
//! frame says it needs. Pages of another codec, of version 2, or whose frame does not say its length go the library's path. A page of
//! several frames is taken for damage: no writer makes one.

use crate::fetched::Fetched;
use crate::footer::SegmentFooter;
use crate::plan::chunk_pages;
use crate::repetition::check_repetition_levels;
use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::properties::{ReaderProperties, ReaderPropertiesPtr};
use parquet::file::serialized_reader::SerializedPageReader;
use std::cell::Cell;
use std::sync::Arc;
use zstd::zstd_safe::{DCtx, get_frame_content_size};

/// A Zstandard block has at least four bytes if anything comes out of it, and 128 KiB come out of it at most.
const MOST_BYTES_FROM_ONE: u64 = 32 << 10;

thread_local! {
    /// Making a context costs as much as a small page, so each thread keeps one. It has no window of its own: it decompresses whole
    /// frames to where they stay.
    static CONTEXT: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

/// One row group of a file, of which the pages that are asked for were fetched.
pub(crate) struct RowGroupPages {
    source: Source,
    group: usize,
}

/// What all column chunks of a scan are read from.
#[derive(Clone)]
pub(crate) struct Source {
    footer: SegmentFooter,
    fetched: Arc<Fetched>,
    properties: ReaderPropertiesPtr,
}

impl Source {
    pub fn new(footer: SegmentFooter, fetched: Fetched) -> Self {
        Self { footer, fetched: Arc::new(fetched), properties: Arc::new(ReaderProperties::builder().build()) }
    }

    pub fn footer(&self) -> &SegmentFooter {
        &self.footer
    }

    /// # Errors
    /// The file has no such row group.
    pub fn row_group(&self, group: usize) -> Result<RowGroupPages> {
        if group >= self.footer.row_groups() {
            return Err(ParquetError::General("the row group is missing".to_owned()));
        }
        Ok(RowGroupPages { source: self.clone(), group })
    }
}

impl RowGroupPages {
    fn metadata(&self) -> &RowGroupMetaData {
        self.source.footer.metadata().row_group(self.group)
    }
}

impl RowGroups for RowGroupPages {
    fn num_rows(&self) -> usize {
        self.metadata().num_rows() as usize
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        let (dictionary, pages) = chunk_pages(self.source.footer.metadata(), self.group, leaf)
            .ok_or_else(|| ParquetError::General("the page index of a column is missing".to_owned()))?;
        let dictionary = match dictionary {
            Some(range) => Some(PageLocation {
                offset: range.start as i64,
                compressed_page_size: i32::try_from(range.end - range.start)?,
                first_row_index: 0,
            }),
            None => None,
        };
        let pages = ChunkPages {
            source: self.source.clone(),
            group: self.group,
            leaf,
            rows: self.num_rows(),
            count: pages.len(),
            dictionary,
            next: 0,
        };
        Ok(Box::new(OneChunk(Some(Box::new(pages)))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.source.footer.metadata()
    }
}

/// The column chunks of one row group: one.
struct OneChunk(Option<Box<dyn PageReader>>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for OneChunk {}

/// The pages of one column chunk, where the page index says that they are. A page that is skipped is not looked at.
struct ChunkPages {
    source: Source,
    group: usize,
    leaf: usize,
    rows: usize,
    count: usize,
    /// The dictionary's page, until it was read or skipped.
    dictionary: Option<PageLocation>,
    next: usize,
}

impl ChunkPages {
    fn chunk(&self) -> &ColumnChunkMetaData {
        self.source.footer.metadata().row_group(self.group).column(self.leaf)
    }

    fn location(&self, page: usize) -> Option<&PageLocation> {
        let (_, pages) = chunk_pages(self.source.footer.metadata(), self.group, self.leaf)?;
        pages.get(page)
    }

    fn page(&self, location: &PageLocation) -> Result<Page> {
        let page = self.whole(location)?;
        check_repetition_levels(&page, self.chunk().column_descr().max_rep_level())?;
        Ok(page)
    }

    fn whole(&self, location: &PageLocation) -> Result<Page> {
        let compression = self.chunk().compression();
        if matches!(compression, Compression::ZSTD(_))
            && let Some(page) = decompressed(self.stored(location, Compression::UNCOMPRESSED)?, self.chunk().uncompressed_size())?
        {
            return Ok(page);
        }
        self.stored(location, compression)
    }

    /// The page as the Parquet library reads it from a chunk that has only this one, compressed in this way.
    fn stored(&self, location: &PageLocation, compression: Compression) -> Result<Page> {
        let chunk = ColumnChunkMetaData::builder(self.chunk().column_descr_ptr())
            .set_compression(compression)
            .set_data_page_offset(location.offset)
            .set_total_compressed_size(i64::from(location.compressed_page_size))
            .build()?;
        let (fetched, properties) = (self.source.fetched.clone(), self.source.properties.clone());
        let mut reader =
            SerializedPageReader::new_with_properties(fetched, &chunk, self.rows, Some(vec![location.clone()]), properties)?;
        reader.get_next_page()?.ok_or_else(|| ParquetError::General("a page is missing".to_owned()))
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        if let Some(dictionary) = self.dictionary.take() {
            return self.page(&dictionary).map(Some);
        }
        let Some(location) = self.location(self.next) else { return Ok(None) };
        let page = self.page(location)?;
        self.next += 1;
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        if self.dictionary.is_some() {
            return Ok(Some(PageMetadata { num_rows: None, num_levels: None, is_dict: true }));
        }
        let Some(page) = self.location(self.next) else { return Ok(None) };
        let end = self.location(self.next + 1).map_or(self.rows as i64, |following| following.first_row_index);
        let rows = end.checked_sub(page.first_row_index).and_then(|rows| usize::try_from(rows).ok());
        let rows = rows.ok_or_else(|| ParquetError::General("the page index is not in the order of rows".to_owned()))?;
        Ok(Some(PageMetadata { num_rows: Some(rows), num_levels: None, is_dict: false }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        if self.dictionary.take().is_none() && self.next < self.count {
            self.next += 1;
        }
        Ok(())
    }

    /// The page index says where rows begin.
    fn at_record_boundary(&mut self) -> Result<bool> {
        Ok(true)
    }
}

impl Iterator for ChunkPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// The page with what its frame holds, at most `chunk_bytes`. None if only the Parquet library knows how to read it.
fn decompressed(mut page: Page, chunk_bytes: i64) -> Result<Option<Page>> {
    let buffer = match &mut page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => buf,
        // Its levels are not compressed, and its values need not be.
        Page::DataPageV2 { .. } => return Ok(None),
    };
    let Some(bytes) = frame(buffer, chunk_bytes)? else { return Ok(None) };
    *buffer = bytes;
    Ok(Some(page))
}

/// What a Zstandard frame holds; none if it does not say how much that is.
fn frame(compressed: &[u8], most_bytes: i64) -> Result<Option<Bytes>> {
    let Ok(Some(length)) = get_frame_content_size(compressed) else { return Ok(None) };
    // Parquet gives a page's length in 32 bits.
    let possible = (compressed.len() as u64).saturating_mul(MOST_BYTES_FROM_ONE).min(i32::MAX as u64);
    if length > possible || i64::try_from(length).is_ok_and(|length| length > most_bytes) {
        return Err(ParquetError::General(format!("a page claims to have {length} bytes")));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length as usize).map_err(|error| ParquetError::General(error.to_string()))?;
    let mut context = match CONTEXT.take() {
        Some(context) => context,
        None => DCtx::try_create().ok_or_else(|| ParquetError::General("there is no memory to decompress".to_owned()))?,
    };
    let decompressed = context.decompress(&mut bytes, compressed);
    CONTEXT.set(Some(context));
    match decompressed {
        Ok(found) if found as u64 == length => Ok(Some(bytes.into())),
        Ok(found) => Err(ParquetError::General(format!("a page has {found} bytes, not {length}"))),
        Err(code) => Err(ParquetError::General(format!("a page: {}", zstd::zstd_safe::get_error_name(code)))),
    }
}

#[cfg(test)]
mod tests;
