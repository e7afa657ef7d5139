//! A batch with another codec: what `compression.type` of a topic asks for.

use super::header::{BATCH_HEADER_BYTES, CHECKED_FROM, LENGTH_OVERHEAD};
use super::validate::checksum;
use super::{BatchError, BatchHeader, Compression, compression};
use bytes::Bytes;

const CODEC_BITS: i16 = 0x07;

/// The batch with its records compressed by `target` at `level` (the codec's own numbers; None: the one that costs least).
/// Offsets, timestamps, producer, sequence and the records' own bytes stay; length, codec and checksum are new. At most
/// `max_bytes` are decompressed.
///
/// # Errors
/// Damaged data, more of it than `max_bytes`, or a result that is longer than a batch can say.
pub fn recompress(batch: &[u8], target: Compression, level: Option<i32>, max_bytes: usize) -> Result<Bytes, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let mut decompressed = Vec::new();
    let records = match header.compression()? {
        Compression::None => &batch[BATCH_HEADER_BYTES..],
        codec => {
            compression::decompress(codec, &batch[BATCH_HEADER_BYTES..], &mut decompressed, max_bytes)?;
            &decompressed
        }
    };
    let expected = if target == Compression::None { records.len() } else { records.len() / 2 };
    let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + expected);
    bytes.resize(BATCH_HEADER_BYTES, 0);
    compression::compress(target, level, records, &mut bytes)?;
    let too_large = |_| BatchError::TooLarge { bytes: bytes.len(), max: i32::MAX as usize };
    let mut header = BatchHeader {
        batch_length: i32::try_from(bytes.len() - LENGTH_OVERHEAD).map_err(too_large)?,
        attributes: header.attributes & !CODEC_BITS | target.bits(),
        ..header
    };
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    header.crc = checksum(&bytes[CHECKED_FROM..]);
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    // It stays in memory for a while, counted by its length.
    bytes.shrink_to_fit();
    Ok(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, BatchOptions, ValidationRules, decompress, validate_batch};

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn batch(compression: Compression) -> Bytes {
        let options =
            BatchOptions { compression, producer_id: 7, producer_epoch: 3, base_sequence: 11, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        for at in 0..200_i64 {
            builder.push_next(1_000 + at % 7, Some(b"key"), Some(at.to_string().repeat(20).as_bytes()), &[]).unwrap();
        }
        builder.finish(None).unwrap()
    }

    fn records(batch: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let codec = BatchHeader::parse(batch).unwrap().compression().unwrap();
        decompress(codec, &batch[BATCH_HEADER_BYTES..], &mut output, 1 << 20).unwrap();
        output
    }

    #[test]
    fn every_codec_becomes_every_other_and_only_the_codec_changes() {
        let rules = ValidationRules { timestamp_after_max_ms: i64::MAX, ..ValidationRules::kafka_defaults(0) };
        for from in CODECS {
            let source = batch(from);
            let before = BatchHeader::parse(&source).unwrap();
            for target in CODECS {
                for level in [None, Some(1), Some(-1), Some(22)] {
                    let other = recompress(&source, target, level, 1 << 20).unwrap();
                    let after = BatchHeader::parse(&other).unwrap();
                    assert_eq!(after.compression(), Ok(target));
                    assert_eq!(records(&source), records(&other), "{from:?} to {target:?}");
                    let same = BatchHeader {
                        batch_length: before.batch_length,
                        attributes: before.attributes,
                        crc: before.crc,
                        ..after
                    };
                    assert_eq!(same, before);
                    // Checksum, length and count, as any batch.
                    validate_batch(&other, &rules).unwrap();
                }
            }
            assert!(recompress(&source, Compression::Zstd, None, 100).is_err() || from == Compression::None);
        }
    }
}
