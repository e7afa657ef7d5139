//! Commands about topics.

/// One configuration value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigEntry {
    /// Kafka's name of it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value, as text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Makes a topic. Values were validated at the door; the fold refuses a name in use.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateTopic {
    /// Random, chosen by the proposer.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// How many partitions.
    #[prost(int32, tag = "3")]
    pub partitions: i32,
    /// Kept and reported; storage replicates.
    #[prost(int32, tag = "4")]
    pub replication_factor: i32,
    /// What differs from the defaults.
    #[prost(message, repeated, tag = "5")]
    pub configs: Vec<ConfigEntry>,
}

/// Drops a topic with all that belongs to it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteTopic {
    /// Which.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
}

/// Adds partitions. Refused unless there are fewer now.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GrowTopic {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// The new total.
    #[prost(int32, tag = "2")]
    pub partitions: i32,
}

/// What to do with one configuration value (KIP-339).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ConfigOperation {
    /// Sets it.
    Set = 0,
    /// Back to the default.
    Delete = 1,
    /// Adds to a list.
    Append = 2,
    /// Takes from a list.
    Subtract = 3,
}

/// One change.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfigChange {
    /// Which value.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What to do.
    #[prost(enumeration = "ConfigOperation", tag = "2")]
    pub operation: i32,
    /// With what; empty for Delete.
    #[prost(string, tag = "3")]
    pub value: String,
    /// For Append and Subtract: the default that an unset list starts from.
    #[prost(string, tag = "4")]
    pub default: String,
}

/// Changes a topic's configuration.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfigureTopic {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// First drop every value that is set (the old AlterConfigs).
    #[prost(bool, tag = "2")]
    pub replace_all: bool,
    /// The changes, in order.
    #[prost(message, repeated, tag = "3")]
    pub changes: Vec<ConfigChange>,
}

/// Moves a partition's log start up; never down. The log start moves only by this.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MoveLogStart {
    /// Which topic.
    #[prost(bytes = "vec", tag = "1")]
    pub topic_id: Vec<u8>,
    /// Which partition.
    #[prost(int32, tag = "2")]
    pub partition: i32,
    /// Where to; -1 is the high watermark when this folds. Beyond it: OFFSET_OUT_OF_RANGE.
    #[prost(int64, tag = "3")]
    pub to: i64,
}
