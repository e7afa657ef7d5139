//! What the tests with a node in this process share.

#![allow(clippy::unwrap_used)] // helpers of tests may, as tests do

use strandline::node::{Node, NodeOptions};
use strandline_config::Settings;

/// A node of these settings on a free port, without HTTP, and on however full a disk.
pub async fn start_with(settings: Settings) -> Node {
    let settings = Settings { listen: "127.0.0.1:0".to_owned(), http: None, min_free_bytes: 0, ..settings };
    Node::start(NodeOptions { settings, ..NodeOptions::default() }).await.unwrap()
}
