//! Batches that are built and compressed before a run. In it each is copied and given its producer, sequence and time, so
//! that the generator takes little of the CPU that it shares with the broker.

use crate::payload::Payload;
use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm;
use strandline_wire::records::{BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, BatchOptions, Compression};

/// What the checksum covers begins here.
const CHECKED_FROM: usize = 21;

/// A batch to be stamped.
#[derive(Debug, Clone)]
pub struct Template {
    header: BatchHeader,
    bytes: Bytes,
    /// Its records.
    pub records: u32,
    /// Bytes of their keys, values and headers.
    pub record_bytes: u64,
}

/// Who sends a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The producer id, or -1.
    pub id: i64,
    /// Its epoch, or -1.
    pub epoch: i16,
}

/// No producer id: not idempotent.
pub const ANONYMOUS: Identity = Identity { id: -1, epoch: -1 };

/// Builds batches of at most `batch_bytes` before compression from all payloads in order.
///
/// # Errors
/// A payload that fits into no batch.
pub fn templates(payloads: &[Payload], compression: Compression, batch_bytes: usize) -> anyhow::Result<Vec<Template>> {
    let options = BatchOptions { compression, ..BatchOptions::default() };
    let mut templates = Vec::new();
    let mut builder = BatchBuilder::with_capacity(options, batch_bytes);
    let mut record_bytes = 0;
    for payload in payloads {
        let headers = payload.header_refs();
        let bytes = BatchBuilder::record_bytes(payload.key.as_deref(), Some(&payload.value), &headers);
        if builder.record_count() > 0 && builder.bytes() + bytes > batch_bytes {
            let full = std::mem::replace(&mut builder, BatchBuilder::with_capacity(options, batch_bytes));
            templates.push(finish(full, std::mem::take(&mut record_bytes))?);
        }
        builder.push_next(0, payload.key.as_deref(), Some(&payload.value), &headers).context("a record that fits no batch")?;
        record_bytes += payload.bytes() as u64;
    }
    // The last one is not full: it is left out where there are others.
    if templates.is_empty() {
        ensure!(builder.record_count() > 0, "no records to send");
        templates.push(finish(builder, record_bytes)?);
    }
    Ok(templates)
}

fn finish(builder: BatchBuilder, record_bytes: u64) -> anyhow::Result<Template> {
    let bytes = builder.finish(None)?;
    let header = BatchHeader::parse(&bytes)?;
    Ok(Template { header, bytes, records: header.record_count.unsigned_abs(), record_bytes })
}

impl Template {
    /// Bytes on the wire.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A copy with producer, sequence and time; all its records get that time.
    pub fn stamp(&self, identity: Identity, base_sequence: i32, timestamp_ms: i64) -> Bytes {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        let mut header = self.header;
        header.producer_id = identity.id;
        header.producer_epoch = identity.epoch;
        header.base_sequence = base_sequence;
        header.base_timestamp = timestamp_ms;
        header.max_timestamp = timestamp_ms;
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        header.crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &bytes[CHECKED_FROM..]) as u32;
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_wire::records::{ValidationRules, validate_batch};

    #[test]
    fn a_stamped_batch_is_what_a_producer_would_send() {
        let payload = |index: usize| Payload { key: Some("k".into()), value: vec![b'v'; 100 + index % 7].into(), headers: None };
        let payloads: Vec<Payload> = (0..1_000).map(payload).collect();
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Snappy, Compression::Gzip] {
            let templates = templates(&payloads, compression, 8 << 10).unwrap();
            assert!(templates.len() > 10);
            for template in &templates {
                assert!(template.record_bytes > 6_000 && template.record_bytes <= 8 << 10);
                let bytes = template.stamp(Identity { id: 9, epoch: 3 }, 17, 1_234);
                let summary = validate_batch(&bytes, &ValidationRules::kafka_defaults(2_000)).unwrap();
                assert_eq!((summary.producer_id, summary.producer_epoch, summary.base_sequence), (9, 3, 17));
                assert_eq!(summary.record_count.unsigned_abs(), template.records);
                assert_eq!(BatchHeader::parse(&bytes).unwrap().max_timestamp, 1_234);
            }
        }
        assert!(templates(&[], Compression::None, 100).is_err());
    }
}
