//! Parquet files of ours: footers, digests, pages. What the library panics at is an error to us, so a panic counts only if it gets out.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline_bronze::{Fetched, SegmentFooter, SegmentScan, plan_timestamp, read_timestamp, verify};
use strandline_fuzz::{catching, within};
use strandline_types::limits;

/// A row group at work, decompressed, and a page's arrays beside it.
const MOST: usize = 4 * limits::ROW_GROUP_BYTES;

fuzz_target!(init: catching(), |data: &[u8]| {
    check(&Bytes::copy_from_slice(data));
    // Magic and the footer's length put right, if they are near the end at all.
    if data.len() > 12 {
        let mut right = data.to_vec();
        let at = right.len() - 8;
        let length = u32::from_le_bytes([right[at], right[at + 1], right[at + 2], right[at + 3]]).min(at as u32 - 4);
        right[..4].copy_from_slice(b"PAR1");
        right[at..at + 4].copy_from_slice(&length.to_le_bytes());
        right[at + 4..].copy_from_slice(b"PAR1");
        check(&right.into());
    }
});

fn check(file: &Bytes) {
    within(MOST, || {
        let _ = verify("a", std::slice::from_ref(file), None);
        let Ok(footer) = SegmentFooter::parse("a", file.len() as u64, file) else { return };
        let fetched = Fetched::whole(file.clone());
        let mut rows = 0;
        let scanned = SegmentScan::new(&footer, &fetched).for_each_row(|_, _, record| {
            rows += 1;
            std::hint::black_box(record.offset);
            Ok::<(), strandline_bronze::ReadError>(())
        });
        if scanned.is_ok() {
            assert_eq!(rows, footer.rows());
        }
        for partition in footer.partitions().iter().take(4) {
            if let Some(plan) = footer.plan(partition.partition, partition.start, 1 << 20) {
                let _ = strandline_bronze::read(&footer, &plan, &fetched, |_, _| std::ops::ControlFlow::Continue(()));
            }
            if let Some(plan) = plan_timestamp(&footer, partition.partition, partition.start, 0) {
                let _ = read_timestamp(&footer, &plan, &fetched);
            }
        }
    });
}
