//! CloudEvents: what a record's headers say in columns of their own, and all its headers, which a file gives back as they came.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline_bronze::cloud_events::{TEXT_ATTRIBUTES, attributes};
use strandline_bronze::{
    CoveredRange, Fetched, Preference, ReadError, SegmentFooter, SegmentScan, SegmentSpec, SegmentWriter, verify,
};
use strandline_fuzz::within;
use strandline_types::calendar::civil;
use strandline_types::{HeaderRef, RecordRef, TimestampType, TopicId, limits};

/// Names by number, so that they need not be found letter by letter: of attributes in text columns, in the order of `Attributes`; of the
/// time; of none.
const NAMES: [&str; TEXT_ATTRIBUTES + 2] = [
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_subject",
    "content-type",
    "ce_dataschema",
    "ce_time",
    "ce_datacontenttype",
];
/// Instead of a value's length.
const NULL: u8 = u8::MAX;
/// 2026-11-23, 14:15 UTC.
const INGEST_MS: i64 = 1_795_443_300_000;
const DAY_US: i64 = 86_400_000_000;

fuzz_target!(|data: &[u8]| {
    let headers = headers(data);
    // They are looked at where they lie.
    let found = within(0, || attributes(&headers));
    let any = headers.iter().any(|header| NAMES[..=TEXT_ATTRIBUTES].contains(&header.key));
    assert_eq!(found.is_some(), any);
    let found = found.unwrap_or_default();
    for (name, text) in NAMES.iter().zip(found.text) {
        let last = headers.iter().rfind(|header| header.key == *name).and_then(|header| header.value);
        let expected = last.and_then(|value| std::str::from_utf8(value).ok()).filter(|text| !text.contains('\0'));
        assert_eq!(text, expected, "{name}");
    }
    if let Some(time_us) = found.time_us {
        // A time that is taken is one that readers can show, and written anew it is the same.
        let text = rfc3339(time_us);
        let again = attributes(&[HeaderRef { key: "ce_time", value: Some(text.as_bytes()) }]);
        assert_eq!(again.and_then(|again| again.time_us), Some(time_us), "{text}");
    }
    within(limits::WRITER_BYTES, || check_file(&headers));
});

/// Number of a name, or the length of another one; length of the value; what has these lengths; and so on.
fn headers(mut data: &[u8]) -> Vec<HeaderRef<'_>> {
    let mut headers = Vec::new();
    while let [name, length, rest @ ..] = data {
        let (key, rest) = match NAMES.get(usize::from(*name)) {
            Some(known) => (Some(*known), rest),
            None => {
                let (key, rest) = rest.split_at((usize::from(*name) % 32).min(rest.len()));
                (std::str::from_utf8(key).ok(), rest)
            }
        };
        let bytes = if *length == NULL { 0 } else { usize::from(*length) };
        let (value, rest) = rest.split_at(bytes.min(rest.len()));
        data = rest;
        // No other key is let in.
        if let Some(key) = key {
            headers.push(HeaderRef { key, value: (*length != NULL).then_some(value) });
        }
    }
    headers
}

fn rfc3339(time_us: i64) -> String {
    let (year, month, day) = civil(time_us.div_euclid(DAY_US));
    let (seconds, fraction) = (time_us.rem_euclid(DAY_US) / 1_000_000, time_us.rem_euclid(1_000_000));
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

/// A file of one record with these headers is sound, and has them.
fn check_file(headers: &[HeaderRef<'_>]) {
    let spec = SegmentSpec {
        topic: "events".to_owned(),
        topic_id: TopicId([3; 16]),
        covered: vec![CoveredRange { partition: 0, start: 0, end: 1 }],
        plan: "20261123T141500000Z-p00000-o00000000000000000000-g0".to_owned(),
        key: Preference::Text,
        value: Preference::Text,
    };
    let timestamp_type = TimestampType::Create;
    let record = RecordRef { offset: 0, timestamp_ms: INGEST_MS, timestamp_type, key: None, value: None, headers };
    let mut writer = SegmentWriter::new(spec).unwrap();
    writer.push(0, INGEST_MS, &record).unwrap();
    let segment = writer.finish().unwrap();
    let report = verify("a", &segment.bytes, Some(segment.crc32c));
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let bytes = Bytes::from(segment.bytes.concat());
    let footer = SegmentFooter::parse("a", bytes.len() as u64, &bytes).unwrap();
    let mut rows = 0;
    let read = SegmentScan::new(&footer, &Fetched::whole(bytes)).for_each_row(|_, _, record| {
        assert_eq!(record.headers, headers);
        rows += 1;
        Ok::<(), ReadError>(())
    });
    read.unwrap();
    assert_eq!(rows, 1);
}
