//! Rendezvous hashing: who of several nodes answers for a key.

use crate::NodeId;

/// How strongly a node claims a key; the highest weight wins, and a node that comes or goes moves only its own share.
/// FNV-1a over the node id (four bytes, big-endian) and the key, then a finalizer, for FNV's high bits are weak. Nodes
/// of several builds must agree on it: it never changes.
pub fn rendezvous_weight(node_id: NodeId, key: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in node_id.to_be_bytes().iter().chain(key) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_frozen() {
        assert_eq!(rendezvous_weight(1, b"orders"), 0x50c4_5feb_f94a_ff7a);
        assert_eq!(rendezvous_weight(7, b""), 0xfd20_8702_5a7a_4edc);
    }
}
