//! Record batches: what the door lets in can be read, whatever the codec; decompression is bounded.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;
use strandline_fuzz::{decoding, within};
use strandline_types::limits;
use strandline_wire::records::{
    BATCH_HEADER_BYTES, BatchHeader, BatchPlace, RecordScratch, ValidationRules, for_each_record, rebase, split_batches,
    split_whole_batches, validate_batch,
};

/// A window of a codec, and for Snappy its largest block.
const WINDOW_BYTES: usize = 16 << 20;
const MOST_DECOMPRESSED: usize = 8 << 20;

fuzz_target!(|data: &[u8]| {
    let whole = Bytes::copy_from_slice(data);
    within(decoding(data, 64), || {
        let _ = split_batches(whole.clone());
        let _ = split_whole_batches(whole.clone());
        let _ = strandline_wal::verify_batches(data);
        let _ = rebase(&whole, 5);
    });
    check(&whole);
    if data.len() >= BATCH_HEADER_BYTES {
        // Length and checksum put right, so that what is behind them is reached.
        let mut right = data.to_vec();
        right[8..12].copy_from_slice(&(data.len() as u32 - 12).to_be_bytes());
        right[16] = 2;
        let crc = crc_fast::crc32_iscsi(&right[21..]);
        right[17..21].copy_from_slice(&crc.to_be_bytes());
        check(&right.into());
    }
});

fn check(batch: &Bytes) {
    let rules = ValidationRules {
        timestamp_after_max_ms: i64::MAX,
        max_decompressed_bytes: MOST_DECOMPRESSED,
        ..ValidationRules::kafka_defaults(1_780_000_000_000)
    };
    let valid = within(WINDOW_BYTES, || validate_batch(batch, &rules));
    let Ok(header) = BatchHeader::parse(batch) else {
        assert!(valid.is_err());
        return;
    };
    let mut records = 0;
    let most = limits::DECOMPRESSED_BATCH_BYTES * 2 + WINDOW_BYTES;
    let read = within(most, || {
        for_each_record(batch, BatchPlace::of(&header), &mut RecordScratch::default(), |record| {
            records += 1;
            assert!(records <= header.record_count);
            std::hint::black_box(record.headers.len());
            ControlFlow::Continue(())
        })
    });
    if let Ok(summary) = valid {
        assert_eq!(read, Ok(()));
        assert_eq!(records, summary.record_count);
        assert!(summary.decompressed_bytes <= MOST_DECOMPRESSED);
        let all = rebase(batch, 77).unwrap().concat();
        assert_eq!(BatchHeader::parse(&all).unwrap().base_offset, 77);
        assert_eq!(strandline_wal::verify_batches(&all), Ok(1));
    }
}
