//! Ids. Everything is keyed by id; names are resolved once, at the door.

use std::fmt;
use uuid::Uuid;

/// A place in the commit log, from 1. 0 is 'before the first entry'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Seq = Seq(0);

    /// The next place.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One run of a node: the seq of the entry in which it joined. 0 is 'not joined yet'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The seq of the entry that granted a lease; commands that need the lease carry it (I9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseNumber(pub u64);

/// A Kafka node id: a slot leased in the fold.
pub type NodeId = i32;

/// A Kafka producer id; -1 is 'none'.
pub type ProducerId = i64;

/// The hash of an entry: SHA-256 cut to 16 bytes, over the hash before it and the entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChainHash(pub [u8; 16]);

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A topic's id. A topic that is created again has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// Kafka's 'no id'.
    pub const ZERO: TopicId = TopicId([0; 16]);

    /// The id in these bytes, if there are 16.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The id as a UUID.
    pub const fn uuid(self) -> Uuid {
        Uuid::from_bytes(self.0)
    }

    /// The first 8 hex digits, as they stand in object names.
    pub fn id8(self) -> String {
        self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid(), f)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition, from 0.
    pub partition: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_clients_see_them() {
        let id = TopicId(*b"0123456789abcdef");
        assert_eq!(id.to_string(), "30313233-3435-3637-3839-616263646566");
        assert_eq!(id.id8(), "30313233");
        assert_eq!(TopicId::from_slice(&id.0), Some(id));
        assert_eq!(TopicId::from_slice(b"short"), None);
        assert_eq!(ChainHash([0xab; 16]).to_string(), "ab".repeat(16));
    }
}
