//! Who asks.

use crate::Seq;

/// Who sent a request, carried by every request from the start, also before there is authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Kafka's principal, `User:ANONYMOUS` without authentication.
    pub principal: String,
    /// From the request's header.
    pub client_id: Option<String>,
    /// The client's address, as DescribeGroups shows it (`/127.0.0.1`).
    pub host: String,
    /// The connection's zone; empty when unknown.
    pub zone: String,
    /// The connection began when the node had folded this or more: what comes over it was sent later.
    pub connected_at: Seq,
}

impl Caller {
    /// A caller without authentication.
    pub fn anonymous(client_id: Option<String>, host: String, connected_at: Seq) -> Self {
        Self { principal: "User:ANONYMOUS".to_owned(), client_id, host, zone: String::new(), connected_at }
    }
}
