//! What the tests with a node in this process share.

#![allow(clippy::unwrap_used)] // helpers of tests may, as tests do
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod raw;

use strandline::node::{Node, NodeOptions};
use strandline_config::Settings;

/// These settings on a free port, without HTTP, and on however full a disk.
pub fn alone(settings: Settings) -> Settings {
    Settings { listen: "127.0.0.1:0".to_owned(), http: None, min_free_bytes: 0, ..settings }
}

/// A node of these settings, [`alone`].
pub async fn start_with(settings: Settings) -> Node {
    Node::start(NodeOptions { settings: alone(settings), ..NodeOptions::default() }).await.unwrap()
}
