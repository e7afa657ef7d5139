//! Committed segments for readers: the cache's blocks, without a GET.

use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use strandline_cache::{Cache, CacheKey};
use strandline_types::limits;

/// Puts the blocks of a committed object into the cache. Copies, since a slice would keep the whole frame it came in.
pub(crate) fn keep(cache: Option<&Cache>, path: &str, chunks: &[Bytes]) {
    let Some(cache) = cache else { return };
    let path: Arc<str> = path.into();
    let mut left: usize = chunks.iter().map(Bytes::len).sum();
    let mut block = BytesMut::with_capacity(left.min(limits::BLOCK_BYTES));
    let mut number = 0;
    for chunk in chunks {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(limits::BLOCK_BYTES - block.len()));
            block.extend_from_slice(part);
            rest = after;
            left -= part.len();
            if block.len() == limits::BLOCK_BYTES || left == 0 {
                let full = std::mem::replace(&mut block, BytesMut::with_capacity(left.min(limits::BLOCK_BYTES)));
                cache.insert(CacheKey::Object { path: path.clone(), block: number }, full.freeze());
                number += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_cut_into_the_blocks_that_readers_ask_for() {
        let cache = Cache::simple(64 << 20);
        let whole: Vec<u8> = (0..limits::BLOCK_BYTES * 2 + 5).map(|at| (at % 251) as u8).collect();
        let chunks: Vec<Bytes> = whole.chunks(1 << 20 | 77).map(Bytes::copy_from_slice).collect();
        keep(Some(&cache), "wal/x", &chunks);
        for (number, expected) in whole.chunks(limits::BLOCK_BYTES).enumerate() {
            let key = CacheKey::Object { path: "wal/x".into(), block: number as u64 };
            assert!(cache.get(&key).is_some_and(|block| block == expected), "block {number}");
        }
        assert!(cache.usage() >= whole.len());
    }
}
