//! Files whose pages are stored in another way than this version writes them are read, and what a page's frame says of its length
//! makes the reader take no memory. A counting allocator watches.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use strandline_bronze::{ReadError, SegmentFooter, arrow_schema};
use strandline_counting_allocator::allocated;
use support::{Row, open, scan, write};

fn rows() -> Vec<Row> {
    let row = |at: i64| {
        let mut row = Row::new((at / 900) as i32, at, format!("{{\"n\":{at}}}").as_bytes());
        row.key = (at % 3 > 0).then(|| format!("vehicle-{}", at % 100).into_bytes());
        row.value = if at % 10 == 0 { None } else { row.value };
        row.headers = vec![("a".to_owned(), Some(at.to_string().into_bytes())), ("a".to_owned(), None)];
        row
    };
    (0..2_500).map(row).collect()
}

#[test]
fn pages_of_another_codec_or_version_are_read() {
    let rows = rows();
    let (_, bytes) = open(&write(&rows));
    let options = ArrowReaderOptions::new().with_schema(arrow_schema());
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options).unwrap();
    let keys = builder.metadata().file_metadata().key_value_metadata().cloned();
    let batches: Vec<_> = builder.with_batch_size(1_024).build().unwrap().map(Result::unwrap).collect();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for (compression, version) in [
        (zstd, WriterVersion::PARQUET_1_0),
        (Compression::UNCOMPRESSED, WriterVersion::PARQUET_1_0),
        (Compression::UNCOMPRESSED, WriterVersion::PARQUET_2_0),
        (zstd, WriterVersion::PARQUET_2_0),
    ] {
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_writer_version(version)
            .set_data_page_row_count_limit(1_024)
            .set_write_batch_size(1_024)
            .set_key_value_metadata(keys.clone())
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(), options).unwrap();
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        let other = Bytes::from(writer.into_inner().unwrap());
        let footer = SegmentFooter::parse("a", other.len() as u64, &other).unwrap();
        assert_eq!(scan(&footer, &other).unwrap(), rows, "{compression:?} {version:?}");
    }
}

#[test]
fn a_page_that_lies_about_its_length_takes_no_memory() {
    let mut state = 7_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        b'a' + (state >> 59) as u8 % 26
    });
    let rows = [Row::new(0, 7, &noise.take(200_000).collect::<Vec<u8>>())];
    let (footer, bytes) = open(&write(&rows));
    assert_eq!(scan(&footer, &bytes).unwrap(), rows);
    // A frame of one segment whose length has four bytes: the value's page.
    let at = bytes.windows(5).position(|window| window == [0x28, 0xb5, 0x2f, 0xfd, 0xa0]).unwrap() + 5;
    let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert!((200_000..200_100).contains(&length));
    for lie in [0_u32, 1, length - 1, length + 1, length * 2, 0x7fff_ffff, u32::MAX] {
        let mut lying = bytes.to_vec();
        lying[at..at + 4].copy_from_slice(&lie.to_le_bytes());
        let lying = Bytes::from(lying);
        let (answer, bytes) = allocated(|| scan(&footer, &lying));
        let error = answer.unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. }), "{lie}: {error}");
        assert!(bytes < 800_000, "{lie}: {bytes}");
    }
    assert_eq!(scan(&footer, &bytes).unwrap(), rows);
}
