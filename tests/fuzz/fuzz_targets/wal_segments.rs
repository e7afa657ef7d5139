//! WAL segments: footers, and runs against them.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline_fuzz::{decoding, within};
use strandline_wal::{TRAILER_BYTES, WalFooter, WalReadError, headers_digest, verify_batches};

fuzz_target!(|data: &[u8]| {
    check(&Bytes::copy_from_slice(data));
    // The footer's checksum put right.
    if let Some(at) = data.len().checked_sub(TRAILER_BYTES) {
        let mut right = data.to_vec();
        let length = u32::from_be_bytes([right[at], right[at + 1], right[at + 2], right[at + 3]]) as usize;
        let length = length.min(at);
        let crc = crc_fast::crc32_iscsi(&right[at - length..at]);
        right[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
        right[at + 4..at + 8].copy_from_slice(&crc.to_be_bytes());
        right[at + 8..at + 12].copy_from_slice(&1_u32.to_be_bytes());
        right[at + 12..].copy_from_slice(b"SWAL");
        check(&right.into());
    }
});

fn check(segment: &Bytes) {
    within(decoding(segment, 64), || {
        let size = segment.len() as u64;
        // From a tail that is too short the reader learns how much it needs, and no more than there is.
        for tail in [0, TRAILER_BYTES, segment.len() / 2] {
            let tail = segment.slice(segment.len().saturating_sub(tail)..);
            if let Err(WalReadError::NeedsMore { tail_bytes }) = WalFooter::read(&tail, size) {
                assert!(tail_bytes > tail.len() as u64 && tail_bytes <= size.max(TRAILER_BYTES as u64));
            }
        }
        let Ok(footer) = WalFooter::read(segment, size) else { return };
        for run in &footer.runs {
            assert!(run.range.start < run.range.end && run.range.end <= size);
            assert_eq!(footer.run(run.partition).map(|found| &found.range), Some(&run.range));
            let bytes = &segment[run.range.start as usize..run.range.end as usize];
            let _ = run.check(bytes);
            let _ = headers_digest(bytes);
            let _ = verify_batches(bytes);
        }
    });
}
