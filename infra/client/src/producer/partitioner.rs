//! Which partition a record goes to: by key as Java's client, without key by sticking to one for a while (KIP-480, KIP-794).

use strandline_runtime::Random;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// Java's `Utils.murmur2`.
pub fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(MULTIPLIER);
        word ^= word >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ word.wrapping_mul(MULTIPLIER);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The partition that Java's default partitioner gives a key.
pub fn partition_of_key(key: &[u8], partitions: usize) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)) as i32
}

/// Where records without a key go at the moment.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    current: Option<i32>,
    bytes: usize,
}

impl Sticky {
    /// The partition for the next record of `bytes`; another one, by chance, after every `batch_bytes`.
    pub(super) fn next(&mut self, available: &[i32], bytes: usize, batch_bytes: usize, random: &dyn Random) -> i32 {
        let current = self.current.filter(|current| self.bytes < batch_bytes && available.contains(current));
        let partition = current.unwrap_or_else(|| {
            self.bytes = 0;
            let others = available.len().saturating_sub(usize::from(available.len() > 1 && self.current.is_some()));
            let chosen = random.below(others.max(1) as u64) as usize;
            // Never the same twice in a row where there is a choice.
            let skipped = available.iter().copied().filter(|one| available.len() == 1 || Some(*one) != self.current);
            skipped.clone().nth(chosen).or_else(|| available.first().copied()).unwrap_or(0)
        });
        self.current = Some(partition);
        self.bytes += bytes;
        partition
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strandline_runtime::SeededRandom;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_javas() {
        let known: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_one_partition_that_exists(key in proptest::collection::vec(any::<u8>(), 0..100), partitions in 1_usize..200) {
            let partition = partition_of_key(&key, partitions);
            prop_assert!((0..partitions as i32).contains(&partition));
            prop_assert_eq!(partition, partition_of_key(&key, partitions));
        }

        #[test]
        fn sticky_stays_for_a_batch_and_then_moves(seed in any::<u64>(), partitions in 2_i32..20) {
            let random = SeededRandom::new(seed);
            let available: Vec<i32> = (0..partitions).collect();
            let mut sticky = Sticky::default();
            let mut last = None;
            for _ in 0..20 {
                let chosen: Vec<i32> = (0..10).map(|_| sticky.next(&available, 100, 1_000, &random)).collect();
                prop_assert!(chosen.iter().all(|one| *one == chosen[0] && available.contains(one)));
                prop_assert_ne!(Some(chosen[0]), last);
                last = Some(chosen[0]);
            }
        }
    }

    #[test]
    fn sticky_leaves_a_partition_that_is_gone() {
        let random = SeededRandom::new(1);
        let mut sticky = Sticky::default();
        let first = sticky.next(&[0, 1], 1, 1_000, &random);
        assert_eq!(sticky.next(&[1 - first], 1, 1_000, &random), 1 - first);
        assert_eq!(sticky.next(&[], 1, 1_000, &random), 0);
    }
}
