//! What a Strandline node says over HTTP; Apache Kafka has no such thing.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use strandline_runtime::Runtime;

/// What is wanted of `/status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Records that are not rows yet.
    pub wal_records: i64,
    /// Rows in fresh and sealed files.
    pub bronze_rows: u64,
    /// Bytes of fresh files.
    pub fresh_bytes: u64,
    /// Bytes of sealed files.
    pub sealed_bytes: u64,
}

/// Asks a node.
#[derive(Clone)]
pub struct NodeHttp {
    runtime: Runtime,
    address: String,
    agent: ureq::Agent,
}

impl NodeHttp {
    /// A node's HTTP address.
    pub fn new(runtime: &Runtime, address: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(600))).build();
        Self { runtime: runtime.clone(), address: address.to_owned(), agent: config.into() }
    }

    /// Its numbers now.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let (agent, url) = (self.agent.clone(), format!("http://{}/status", self.address));
        let text = self.runtime.spawner.blocking("ask a node", move || -> anyhow::Result<String> {
            Ok(agent.get(&url).call()?.body_mut().read_to_string()?)
        });
        let text = text.await?.with_context(|| format!("the node at {} does not answer", self.address))?;
        Ok(serde_json::from_str(&text)?)
    }
}
