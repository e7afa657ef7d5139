//! The node, as the demo uses it: the one file that knows how a node is started.

use crate::node::{Node, NodeOptions, NodeStatus};
use anyhow::Context as _;
use std::net::SocketAddr;
use std::path::Path;
use strandline_config::Settings;

pub(super) struct DemoNode(Node);

impl DemoNode {
    /// Starts a node on a folder and free ports of this machine alone.
    pub(super) async fn start(data: &Path) -> anyhow::Result<Self> {
        let settings = Settings {
            data: data.to_owned(),
            listen: "127.0.0.1:0".into(),
            http: Some("127.0.0.1:0".into()),
            group_initial_rebalance_delay_ms: 0,
            ..Settings::default()
        };
        Node::start(NodeOptions { settings, ..NodeOptions::default() }).await.map(Self).context("the node did not start")
    }

    pub(super) fn kafka(&self) -> SocketAddr {
        self.0.kafka_address()
    }

    pub(super) fn http(&self) -> String {
        self.0.http_address().map_or_else(|| "-".to_owned(), |address| address.to_string())
    }

    pub(super) async fn status(&self) -> NodeStatus {
        self.0.status().await
    }

    /// Converts and seals everything.
    pub(super) async fn seal(&self) -> anyhow::Result<()> {
        self.0.seal_all().await
    }

    pub(super) async fn stop(self) {
        self.0.stop().await;
    }
}
