//! The table of columns and the layout of version 1, looked at with the Parquet library alone.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, PageType, Repetition};
use parquet::column::page::Page;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::schema::types::{ColumnDescriptor, Type};
use strandline_bronze::{FileCheck, Preference, SegmentFooter, verify};
use support::{Row, covering, open, spec, whole, write, write_as};

fn metadata(bytes: &Bytes) -> ParquetMetaData {
    let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
    ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .with_metadata_options(Some(options))
        .parse_and_finish(bytes)
        .unwrap()
}

/// Rows that put a value into every column that version 1 fills.
fn full_rows() -> Vec<Row> {
    let row = |at: i64| {
        let mut row = Row::new((at / 2_000) as i32, at, if at % 2 == 0 { b"{\"speed\":1}" } else { b"\xff\x00" });
        row.key = Some(if at % 2 == 0 { b"vehicle".to_vec() } else { vec![0xff] });
        let headers = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", format!("id-{at}")),
            ("ce_source", format!("/fleet/{}", "x".repeat(100))),
            ("ce_type", "eu.vehicle.moved".to_owned()),
            ("ce_subject", format!("vehicle-{}", at % 10)),
            ("ce_time", format!("2026-11-23T14:15:00.{:03}Z", at % 1_000)),
            ("content-type", "application/json".to_owned()),
            ("ce_dataschema", "https://example.eu/schema".to_owned()),
        ];
        row.headers = headers.into_iter().map(|(key, value)| (key.to_owned(), Some(value.into_bytes()))).collect();
        row
    };
    (0..4_000).map(row).collect()
}

fn describe(leaf: &ColumnDescriptor, metadata: &ParquetMetaData, at: usize) -> String {
    let chunk = metadata.row_group(0).column(at);
    assert_eq!(chunk.compression(), Compression::ZSTD(Default::default()), "{}", leaf.path());
    let info = leaf.self_type().get_basic_info();
    let required = if leaf.max_def_level() == 0 || info.repetition() == Repetition::REQUIRED { "required" } else { "optional" };
    let logical = match leaf.logical_type_ref() {
        Some(LogicalType::String) => " STRING",
        Some(LogicalType::Timestamp { is_adjusted_to_u_t_c: true, unit }) if format!("{unit:?}").contains("MICROS") => {
            " TIMESTAMP(us, UTC)"
        }
        Some(other) => panic!("{other:?}"),
        None => "",
    };
    let mut encodings: Vec<_> = chunk
        .page_encoding_stats()
        .unwrap()
        .iter()
        .filter(|stats| stats.page_type != PageType::DICTIONARY_PAGE)
        .map(|stats| stats.encoding)
        .collect();
    assert!(chunk.page_encoding_stats().unwrap().iter().all(|stats| stats.page_type != PageType::DATA_PAGE_V2));
    encodings.sort_unstable();
    encodings.dedup();
    let encoding = match encodings[..] {
        [Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY] => "dictionary",
        [Encoding::PLAIN] => "PLAIN",
        [Encoding::DELTA_BINARY_PACKED] => "DELTA_BINARY_PACKED",
        _ => panic!("{}: {encodings:?}", leaf.path()),
    };
    let has_pages = metadata.column_index().is_some_and(|groups| !matches!(groups[0][at], ColumnIndexMetaData::NONE));
    let statistics = match (chunk.statistics(), has_pages) {
        (Some(_), true) => "page",
        (Some(_), false) => "chunk",
        (None, false) => "none",
        (None, true) => panic!("{}", leaf.path()),
    };
    format!("{} {} {:?}{logical} {required}, {encoding}, {statistics}", info.id(), leaf.path().string(), leaf.physical_type())
}

#[test]
fn columns_are_those_of_version_1() {
    let bytes = whole(&write(&full_rows()));
    let metadata = metadata(&bytes);
    let schema = metadata.file_metadata().schema_descr();
    let found: Vec<String> = schema.columns().iter().enumerate().map(|(at, leaf)| describe(leaf, &metadata, at)).collect();
    let expected = [
        "1 kafka_topic BYTE_ARRAY STRING required, dictionary, chunk",
        "2 kafka_partition INT32 required, dictionary, page",
        "3 kafka_offset INT64 required, DELTA_BINARY_PACKED, page",
        "4 kafka_timestamp INT64 TIMESTAMP(us, UTC) optional, DELTA_BINARY_PACKED, page",
        "5 kafka_timestamp_type INT32 required, dictionary, chunk",
        "6 ingest_timestamp INT64 TIMESTAMP(us, UTC) required, dictionary, page",
        "7 kafka_key BYTE_ARRAY optional, dictionary, none",
        "8 kafka_key_text BYTE_ARRAY STRING optional, dictionary, none",
        "9 kafka_value BYTE_ARRAY optional, PLAIN, none",
        "10 kafka_value_text BYTE_ARRAY STRING optional, PLAIN, none",
        "11 kafka_value_encoding BYTE_ARRAY STRING required, dictionary, chunk",
        "12 kafka_value_schema_id INT32 optional, dictionary, chunk",
        "13 kafka_value_error BYTE_ARRAY STRING optional, dictionary, none",
        "24 kafka_headers.list.element.key BYTE_ARRAY STRING required, dictionary, none",
        "25 kafka_headers.list.element.value BYTE_ARRAY optional, PLAIN, none",
        "15 ce_specversion BYTE_ARRAY STRING optional, dictionary, chunk",
        "16 ce_id BYTE_ARRAY STRING optional, PLAIN, none",
        "17 ce_source BYTE_ARRAY STRING optional, dictionary, chunk",
        "18 ce_type BYTE_ARRAY STRING optional, dictionary, chunk",
        "19 ce_subject BYTE_ARRAY STRING optional, dictionary, chunk",
        "20 ce_time INT64 TIMESTAMP(us, UTC) optional, PLAIN, chunk",
        "21 ce_datacontenttype BYTE_ARRAY STRING optional, dictionary, chunk",
        "22 ce_dataschema BYTE_ARRAY STRING optional, dictionary, chunk",
    ];
    assert_eq!(found, expected);
    let Type::GroupType { fields, .. } = schema.root_schema() else { panic!() };
    assert_eq!(fields.len(), 22);
    assert_eq!(fields.iter().map(|field| field.get_basic_info().id()).collect::<Vec<_>>(), (1..=22).collect::<Vec<_>>());
    let headers = &fields[13];
    assert_eq!(headers.get_basic_info().logical_type_ref(), Some(&LogicalType::List));
    assert_eq!(headers.get_basic_info().repetition(), Repetition::REQUIRED);
    let element = &headers.get_fields()[0].get_fields()[0];
    assert_eq!(
        (element.name(), element.get_basic_info().id(), element.get_basic_info().repetition()),
        ("element", 23, Repetition::REQUIRED)
    );
}

#[test]
fn the_footer_says_what_it_must() {
    let bytes = whole(&write(&full_rows()));
    let metadata = metadata(&bytes);
    let file = metadata.file_metadata();
    assert_eq!(file.version(), 1);
    let keys: Vec<&str> = file.key_value_metadata().unwrap().iter().map(|pair| pair.key.as_str()).collect();
    let wanted = ["format", "topic_id", "covered", "plan", "schemas", "columns", "writer", "digests", "file_crc32c"]
        .map(|key| format!("strandline.{key}"));
    assert_eq!(keys, wanted, "and no ARROW:schema");
    // The checksum is of everything but its own digits, and stands last.
    let digits = file.key_value_metadata().unwrap().last().unwrap().value.clone().unwrap();
    let at = bytes.windows(8).rposition(|window| window == digits.as_bytes()).unwrap();
    let others = [&bytes[..at], &bytes[at + 8..]].concat();
    assert_eq!(digits, format!("{:08x}", support::slow_crc32c(&others)));
    for group in metadata.row_groups() {
        let sorted: Vec<_> =
            group.sorting_columns().unwrap().iter().map(|column| (column.column_idx, column.descending)).collect();
        assert_eq!(sorted, [(1, false), (2, false)]);
    }
    let source = metadata.row_group(0).column(17);
    assert_eq!(source.column_path().string(), "ce_source");
    let Some(Statistics::ByteArray(statistics)) = source.statistics() else { panic!() };
    assert_eq!(statistics.min_bytes_opt().unwrap().len(), 64);
    assert!(statistics.max_bytes_opt().unwrap().len() <= 64);
}

/// Rows of a file by row group: how many, and of which partitions.
fn groups(bytes: &Bytes) -> Vec<(i64, i32, i32)> {
    let metadata = metadata(bytes);
    let describe = |group: &parquet::file::metadata::RowGroupMetaData| {
        let Some(Statistics::Int32(partition)) = group.column(1).statistics() else { panic!() };
        (group.num_rows(), *partition.min_opt().unwrap(), *partition.max_opt().unwrap())
    };
    metadata.row_groups().iter().map(describe).collect()
}

#[test]
fn long_runs_have_row_groups_of_their_own_and_short_ones_share() {
    let rows = |counts: &[(i32, i64)]| -> Vec<Row> {
        counts.iter().flat_map(|(partition, count)| (0..*count).map(|at| Row::new(*partition, at, b"x"))).collect()
    };
    let check = |counts: &[(i32, i64)], expected: &[(i64, i32, i32)]| {
        let rows = rows(counts);
        // Once with ranges that fit, once with ranges of which nothing can be guessed.
        let mut wide = spec(covering(&rows));
        for range in &mut wide.covered {
            (range.start, range.end) = (-5, i64::MAX);
        }
        for spec in [spec(covering(&rows)), wide] {
            let segment = write_as(spec, &rows);
            assert_eq!(groups(&whole(&segment)), expected, "{counts:?}");
            assert!(verify("a", &segment.bytes, None).is_sound());
        }
    };
    check(&[(0, 9_999), (1, 9_999), (2, 1)], &[(19_999, 0, 2)]);
    check(&[(0, 10_000), (1, 5)], &[(10_000, 0, 0), (5, 1, 1)]);
    check(&[(0, 5), (1, 10_000), (2, 5), (3, 5)], &[(5, 0, 0), (10_000, 1, 1), (10, 2, 3)]);
    check(&[(0, 12_000), (1, 12_000)], &[(12_000, 0, 0), (12_000, 1, 1)]);
    check(&[(0, 3), (7, 200_000), (8, 3)], &[(3, 0, 0), (131_072, 7, 7), (68_928, 7, 7), (3, 8, 8)]);
}

#[test]
fn pages_of_all_columns_end_at_the_same_rows() {
    let mut rows = full_rows();
    // A dictionary that grows too large falls back to PLAIN in the middle of a row group, and rows of all sizes.
    for (at, row) in rows.iter_mut().enumerate() {
        row.partition = i32::from(at >= 700);
        row.key = Some(format!("{at:0800}").into_bytes());
        row.value = Some(vec![b'v'; at % 900]);
    }
    let bytes = whole(&write(&rows));
    let metadata = metadata(&bytes);
    for (group, columns) in metadata.offset_index().unwrap().iter().enumerate() {
        let rows = metadata.row_group(group).num_rows();
        let expected: Vec<i64> = (0..rows).step_by(1_024).collect();
        for (leaf, column) in columns.iter().enumerate() {
            let starts: Vec<i64> = column.page_locations().iter().map(|page| page.first_row_index).collect();
            assert_eq!(starts, expected, "row group {group}, leaf {leaf}");
        }
    }
}

#[test]
fn large_rows_end_row_groups_so_that_pages_stay_small() {
    let rows: Vec<Row> = (0..40).map(|at| Row::new(0, at, &vec![b'x'; 1 << 20])).collect();
    let bytes = whole(&write(&rows));
    assert_eq!(groups(&bytes), vec![(4, 0, 0); 10]);
    let reader = SerializedFileReader::new(bytes).unwrap();
    for group in 0..reader.num_row_groups() {
        let mut pages = reader.get_row_group(group).unwrap().get_column_page_reader(9).unwrap();
        while let Some(page) = pages.get_next_page().unwrap() {
            assert!(matches!(page, Page::DataPage { .. }));
            assert!(page.buffer().len() < 5 << 20);
        }
    }
}

/// Text goes to the text columns and bytes to the others, never both.
#[test]
fn text_and_bytes_go_where_readers_look_for_them() {
    let values: [Option<&[u8]>; 5] = [None, Some(b""), Some(b"text"), Some(b"\xff"), Some(b"a\0b")];
    let rows: Vec<Row> = values
        .iter()
        .zip(0..)
        .map(|(value, at)| Row { key: value.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec), ..Row::new(0, at, b"") })
        .collect();
    for (preference, text, encodings) in [
        (Preference::Text, [false, true, true, false, false], ["null", "text", "text", "raw", "raw"]),
        (Preference::Binary, [false; 5], ["null", "raw", "raw", "raw", "raw"]),
    ] {
        let mut spec = spec(covering(&rows));
        (spec.key, spec.value) = (preference, preference);
        let segment = write_as(spec, &rows);
        let reader = SerializedFileReader::new(whole(&segment)).unwrap();
        let found: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        for (at, row) in found.iter().enumerate() {
            let value = values[at];
            let column = |name: &str| row.split(&format!("{name}: ")).nth(1).unwrap().to_owned();
            assert_eq!(!column("kafka_value_text").starts_with("null"), text[at], "{row}");
            assert_eq!(!column("kafka_key_text").starts_with("null"), text[at], "{row}");
            assert_eq!(!column("kafka_value").starts_with("null"), value.is_some() && !text[at], "{row}");
            assert_eq!(!column("kafka_key").starts_with("null"), value.is_some() && !text[at], "{row}");
            assert!(column("kafka_value_encoding").starts_with(&format!("\"{}\"", encodings[at])), "{row}");
        }
    }
}

/// Written once by each version; must be read for ever.
#[test]
fn golden() {
    for (golden, check) in [
        (&include_bytes!("golden/v1.parquet")[..], FileCheck::None),
        (&include_bytes!("golden/v2.parquet")[..], FileCheck::Sound),
    ] {
        golden_file(Bytes::from_static(golden), check);
    }
}

fn golden_file(golden: Bytes, check: FileCheck) {
    let footer = SegmentFooter::parse("golden.parquet", golden.len() as u64, &golden).unwrap();
    assert_eq!(footer.check_file(std::slice::from_ref(&golden)), check);
    let rows = support::scan(&footer, &golden).unwrap();
    assert_eq!(rows, golden_rows());
    assert!(verify("golden.parquet", &[golden], None).is_sound());
    // Today's writer says the same, though its bytes may differ with the Parquet library.
    let (today, bytes) = open(&write(&golden_rows()));
    assert_eq!(today.partitions(), footer.partitions());
    assert_eq!(support::scan(&today, &bytes).unwrap(), rows);
}

fn golden_rows() -> Vec<Row> {
    let mut rows = full_rows();
    rows.retain(|row| row.offset < 40 || row.partition == 1 && row.offset < 2_010);
    rows[3].value = None;
    rows[4].key = None;
    rows[5].timestamp_ms = -1;
    rows[6].append_time = true;
    rows[7].headers.push(("ce_id".to_owned(), None));
    rows[8].headers.clear();
    rows.remove(9);
    rows
}
