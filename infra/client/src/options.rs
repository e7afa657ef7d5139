//! What every use of a client shares. Plain values; [`crate::Client`] is the component.

use crate::notice::Notice;
use std::time::Duration;

/// Settings of a [`crate::Client`].
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Brokers to begin with, as `host:port`; the rest is learned from them.
    pub bootstrap: Vec<String>,
    /// How the client names itself. `zone=…` in it tells Strandline the zone.
    pub client_id: String,
    /// How long one connection may take to be there, with its ApiVersions.
    pub connect_timeout: Duration,
    /// How long one request may take. After that its connection is closed, since answers come in order.
    pub request_timeout: Duration,
    /// How long an operation goes on trying before its last error is returned.
    pub operation_timeout: Duration,
    /// The wait before the second try; it doubles up to [`Self::backoff_longest`], half of it random.
    pub backoff: Duration,
    /// The longest wait between two tries.
    pub backoff_longest: Duration,
    /// Metadata that is older is asked for again.
    pub metadata_age: Duration,
    /// How long a topic that does not exist is asked for again: it may just have been created.
    pub unknown_topic_wait: Duration,
    /// Whether asking for a topic that does not exist creates it, where the cluster allows that.
    pub allow_auto_topic_creation: bool,
    /// Told of errors that are tried again.
    pub notice: Option<Notice>,
}

impl ClientOptions {
    /// Defaults, with brokers from a list separated by commas.
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect(),
            client_id: "strandline".into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(60),
            backoff: Duration::from_millis(50),
            backoff_longest: Duration::from_secs(1),
            metadata_age: Duration::from_secs(60),
            unknown_topic_wait: Duration::from_secs(3),
            allow_auto_topic_creation: false,
            notice: None,
        }
    }
}
