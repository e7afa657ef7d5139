//! Rows of the segment index.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline_fuzz::{decoding, within};
use strandline_segment_index::{RowKey, decode_row, encode_row};
use strandline_types::{TopicId, TopicPartition};

fuzz_target!(|data: &[u8]| {
    let key = RowKey { topic_partition: TopicPartition { topic_id: TopicId([3; 16]), partition: 2 }, end_offset: 2_500 };
    within(decoding(data, 64), || {
        let Ok(row) = decode_row(key, data) else { return };
        assert!(row.start_offset < row.end_offset);
        assert_eq!(decode_row(key, &encode_row(&row)).unwrap(), row);
    });
});
