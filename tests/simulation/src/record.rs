//! Records that follow from their id, so that what comes back can be held against what was sent, byte for byte.

use crate::ledger::RecordId;
use bytes::Bytes;
use std::ops::ControlFlow;
use strandline_types::{HeaderRef, TimestampType};
use strandline_wire::Records;
use strandline_wire::records::{
    BatchBuilder, BatchOptions, BatchPlace, Compression, RecordScratch, for_each_record, split_batches,
};

/// A record as it was sent or came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Record {
    /// The record of that id. All shapes: null, empty, text, bytes, large, repeated header keys.
    pub fn of(id: RecordId, start_ms: i64) -> Self {
        let word = mix(id.wrapping_add(0x9e37_79b9));
        let key = match word % 5 {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(word.to_be_bytes().to_vec()),
            _ => Some(format!("key {}", word % 17).into_bytes()),
        };
        let length = match (word >> 8) % 16 {
            0 => 3_000,
            1..=3 => 400,
            _ => (word >> 16) % 60,
        };
        let value = match (word >> 24) % 8 {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some((0..length).map(|at| mix(word ^ at) as u8).collect()),
            _ => Some(format!("{{\"id\":{id},\"text\":\"{}\"}}", "é".repeat(length as usize)).into_bytes()),
        };
        let mut headers = vec![("id".to_owned(), Some(id.to_be_bytes().to_vec()))];
        if (word >> 32).is_multiple_of(3) {
            headers.extend([("a".to_owned(), None), ("a".to_owned(), Some(Vec::new()))]);
        }
        // About as old as it is: a producer sends some three a second. Now and then older than the one before.
        let since_start_ms = (id & 0xffff_ffff) % 1_000 * 300 + (word >> 40) % 1_000;
        Self { timestamp_ms: start_ms + since_start_ms as i64, key, value, headers }
    }

    /// The id that it carries.
    pub fn id(&self) -> Option<RecordId> {
        let (_, value) = self.headers.first()?;
        Some(u64::from_be_bytes(value.as_deref()?.try_into().ok()?))
    }
}

/// Who sent a batch, for idempotent producers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

/// One batch of these records.
pub(crate) fn batch(ids: &[RecordId], start_ms: i64, compression: Compression, sender: Option<Sender>) -> Bytes {
    let mut options = BatchOptions { compression, ..BatchOptions::default() };
    if let Some(sender) = sender {
        options = BatchOptions {
            producer_id: sender.producer_id,
            producer_epoch: sender.producer_epoch,
            base_sequence: sender.base_sequence,
            ..options
        };
    }
    let mut builder = BatchBuilder::new(options);
    for id in ids {
        let record = Record::of(*id, start_ms);
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| HeaderRef { key, value: value.as_deref() }).collect();
        builder.push_next(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers).unwrap();
    }
    builder.finish(None).unwrap()
}

/// What one answer held.
pub(crate) struct Answer {
    pub records: Vec<(i64, Record, TimestampType)>,
    /// The first offset that no batch covers.
    pub next: i64,
}

/// Takes an answer to a read from `offset` apart; batches must be sound and cover every offset once (I5).
pub(crate) fn take_apart(records: Records, offset: i64) -> Result<Answer, String> {
    let bytes = records.into_bytes();
    strandline_wal::verify_batches(&bytes).map_err(|error| format!("an answer with a bad batch: {error:?}"))?;
    let mut answer = Answer { records: Vec::new(), next: offset };
    let mut next: Option<i64> = None;
    for batch in split_batches(bytes).map_err(|error| format!("an answer that is no batches: {error:?}"))? {
        let header = batch.header;
        match next {
            None if header.base_offset > offset || header.last_offset() < offset => {
                return Err(format!(
                    "asked for {offset}, got a batch of [{}, {}] (I5)",
                    header.base_offset,
                    header.last_offset()
                ));
            }
            Some(next) if header.base_offset != next => {
                return Err(format!("a batch at {} where {next} is due (I5)", header.base_offset));
            }
            _ => {}
        }
        next = Some(header.last_offset() + 1);
        answer.next = header.last_offset() + 1;
        if header.is_control() {
            continue;
        }
        for_each_record(&batch.bytes, BatchPlace::of(&header), &mut RecordScratch::default(), |record| {
            // Clients drop what lies before the offset that they asked for.
            if record.offset >= offset {
                let own = Record {
                    timestamp_ms: record.timestamp_ms,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record
                        .headers
                        .iter()
                        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                        .collect(),
                };
                answer.records.push((record.offset, own, record.timestamp_type));
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| format!("an answer with a bad record: {error:?}"))?;
    }
    Ok(answer)
}
