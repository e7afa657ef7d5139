//! The one table of APIs and versions: what is spoken, and how its headers look.

use crate::codec::Context;

/// The lowest Produce version that is carried out. Versions below are announced, so that older librdkafka goes on
/// compressing, and refused with UNSUPPORTED_VERSION.
pub const PRODUCE_SERVED_FROM: i16 = 3;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRange {
    /// The API.
    pub key: ApiKey,
    /// Kafka's name of it.
    pub name: &'static str,
    /// The lowest version announced.
    pub min: i16,
    /// The highest version announced.
    pub max: i16,
    /// From this version on, headers and bodies are flexible (KIP-482); `None` is never.
    pub flexible_from: Option<i16>,
}

impl ApiRange {
    /// Whether a message of this version is encoded and decoded here.
    pub const fn is_served(&self, version: i16) -> bool {
        let min = if matches!(self.key, ApiKey::Produce) { PRODUCE_SERVED_FROM } else { self.min };
        min <= version && version <= self.max
    }

    /// Whether this version has compact lengths and tagged fields.
    pub const fn is_flexible(&self, version: i16) -> bool {
        match self.flexible_from {
            Some(from) => version >= from,
            None => false,
        }
    }

    /// The version of the request header: 1, or 2 if flexible.
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response header: 0, or 1 if flexible. ApiVersions always has 0, since its asker cannot know more (KIP-511).
    pub const fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self.key, ApiKey::ApiVersions) { 1 } else { 0 }
    }

    /// The highest version that both this table and a peer's range have.
    pub fn common(&self, peer_min: i16, peer_max: i16) -> Option<i16> {
        let version = self.max.min(peer_max);
        (version >= peer_min && self.is_served(version)).then_some(version)
    }

    pub(crate) const fn context(&self, version: i16) -> Context {
        Context { version, flexible: self.is_flexible(version), nullable: false }
    }
}

macro_rules! apis {
    (
        supported { $($name:ident = $key:literal, $min:literal ..= $max:literal $(, flexible $flexible:literal)?;)* }
        later { $($later:ident = $later_key:literal, $later_min:literal ..= $later_max:literal $(, flexible $later_flexible:literal)?;)* }
    ) => {
        /// Kafka's API keys, as far as this crate speaks them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[allow(missing_docs, reason = "the names are Kafka's")]
        pub enum ApiKey {
            $($name = $key,)*
            $($later = $later_key,)*
        }

        impl ApiKey {
            /// The API with this key.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($key => Some(Self::$name),)*
                    $($later_key => Some(Self::$later),)*
                    _ => None,
                }
            }

            /// Its row of the table.
            pub const fn range(self) -> &'static ApiRange {
                match self {
                    $(Self::$name => &const { range(Self::$name, stringify!($name), $min, $max, flexible!($($flexible)?)) },)*
                    $(Self::$later => &const { range(Self::$later, stringify!($later), $later_min, $later_max, flexible!($($later_flexible)?)) },)*
                }
            }
        }

        /// What a node of this release announces, in order of keys.
        pub const SUPPORTED: &[ApiRange] = &[$(*ApiKey::$name.range(),)*];

        /// What this crate speaks and no node announces yet.
        pub const LATER: &[ApiRange] = &[$(*ApiKey::$later.range(),)*];
    };
}

macro_rules! flexible {
    () => {
        None
    };
    ($from:literal) => {
        Some($from)
    };
}

const fn range(key: ApiKey, name: &'static str, min: i16, max: i16, flexible_from: Option<i16>) -> ApiRange {
    ApiRange { key, name, min, max, flexible_from }
}

impl ApiKey {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        self.range().name
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

apis! {
    supported {
        Produce = 0, 0..=13, flexible 9;
        Fetch = 1, 4..=18, flexible 12;
        ListOffsets = 2, 1..=11, flexible 6;
        Metadata = 3, 0..=13, flexible 9;
        OffsetCommit = 8, 2..=10, flexible 8;
        OffsetFetch = 9, 1..=10, flexible 6;
        FindCoordinator = 10, 0..=6, flexible 3;
        JoinGroup = 11, 0..=9, flexible 6;
        Heartbeat = 12, 0..=4, flexible 4;
        LeaveGroup = 13, 0..=5, flexible 4;
        SyncGroup = 14, 0..=5, flexible 4;
        DescribeGroups = 15, 0..=6, flexible 5;
        ListGroups = 16, 0..=5, flexible 3;
        ApiVersions = 18, 0..=4, flexible 3;
        CreateTopics = 19, 2..=7, flexible 5;
        DeleteTopics = 20, 1..=6, flexible 4;
        DeleteRecords = 21, 0..=2, flexible 2;
        InitProducerId = 22, 0..=5, flexible 2;
        OffsetForLeaderEpoch = 23, 2..=4, flexible 4;
        DescribeConfigs = 32, 1..=4, flexible 4;
        AlterConfigs = 33, 0..=2, flexible 2;
        DescribeLogDirs = 35, 1..=4, flexible 2;
        CreatePartitions = 37, 0..=3, flexible 2;
        DeleteGroups = 42, 0..=2, flexible 2;
        IncrementalAlterConfigs = 44, 0..=1, flexible 1;
        OffsetDelete = 47, 0..=0;
        DescribeCluster = 60, 0..=2, flexible 0;
        DescribeTopicPartitions = 75, 0..=0, flexible 0;
    }
    later {
        SaslHandshake = 17, 0..=1;
        AddPartitionsToTxn = 24, 0..=5, flexible 3;
        AddOffsetsToTxn = 25, 0..=4, flexible 3;
        EndTxn = 26, 0..=5, flexible 3;
        TxnOffsetCommit = 28, 0..=5, flexible 3;
        SaslAuthenticate = 36, 0..=2, flexible 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_finds_itself() {
        assert!(SUPPORTED.windows(2).all(|pair| pair[0].key < pair[1].key));
        for range in SUPPORTED.iter().chain(LATER) {
            assert_eq!(ApiKey::from_code(range.key.code()), Some(range.key));
            assert_eq!(range.key.range(), range);
            assert!(range.min <= range.max);
        }
        assert_eq!(SUPPORTED.len(), 28);
        assert_eq!(ApiKey::from_code(4), None);
    }

    #[test]
    fn header_versions_follow_flexibility() {
        let fetch = ApiKey::Fetch.range();
        assert_eq!((fetch.request_header_version(11), fetch.response_header_version(11)), (1, 0));
        assert_eq!((fetch.request_header_version(12), fetch.response_header_version(12)), (2, 1));
        let api_versions = ApiKey::ApiVersions.range();
        assert_eq!((api_versions.request_header_version(3), api_versions.response_header_version(3)), (2, 0));
        assert_eq!(ApiKey::OffsetDelete.range().request_header_version(0), 1);
    }

    #[test]
    fn produce_below_three_is_announced_and_not_served() {
        let produce = ApiKey::Produce.range();
        assert_eq!(produce.min, 0);
        assert!(!produce.is_served(2) && produce.is_served(3) && produce.is_served(13) && !produce.is_served(14));
        assert_eq!(produce.common(0, 2), None);
        assert_eq!(produce.common(3, 11), Some(11));
        assert_eq!(produce.common(14, 20), None);
    }
}
