//! What clients ask about the cluster and its topics, and how they change them: Metadata, ApiVersions, topics,
//! configurations, log starts.
//!
//! What it must never do: say 'unknown' from a view older than the request (it waits for a barrier first); act on a name
//! beyond the door (commands carry ids); report a leader epoch other than -1.

mod api_versions;
mod cluster;
mod configs;
mod create;
mod describe_configs;
mod describe_topics;
mod log_dirs;
mod metadata;
mod partitions;
mod placement;
mod records;
mod topics;

pub use cluster::{Cluster, ClusterOptions, DiskUse};
pub use metadata::asks_for_all_topics;
