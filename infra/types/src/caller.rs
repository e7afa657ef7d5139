//! Who asks.

use crate::Seq;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether who asks is known to hear no answer any more: the connection was ended from the other side, and an answer has gone into it since.
/// What comes behind on it is done for nobody, and may be older than what was done for the same client over another connection.
#[derive(Debug, Clone, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// From now on it is.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who sent a request, carried by every request from the start, also before there is authentication.
#[derive(Debug, Clone)]
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
    /// Set while requests of it may still wait for their turn.
    pub gone: Gone,
}

impl Caller {
    /// A caller without authentication.
    pub fn anonymous(client_id: Option<String>, host: String, connected_at: Seq, gone: Gone) -> Self {
        Self { principal: "User:ANONYMOUS".to_owned(), client_id, host, zone: String::new(), connected_at, gone }
    }
}
