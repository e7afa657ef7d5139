//! One connection's way in.

use crate::pending::PendingProduce;
use crate::produce::Ingest;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strandline_types::{Caller, limits};
use strandline_wire::messages::produce::ProduceRequest;

/// An ingest as one connection sees it: it knows how many of its requests wait for an answer. A client that keeps a few
/// requests in flight and sends no more until one is answered must not wait for the linger each time.
#[derive(Clone)]
pub struct ProduceConnection {
    ingest: Ingest,
    unanswered: Arc<AtomicUsize>,
}

/// One unanswered request; answered when it is dropped.
pub(crate) struct Unanswered(Arc<AtomicUsize>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ProduceConnection {
    pub(crate) fn new(ingest: Ingest) -> Self {
        Self { ingest, unanswered: Arc::default() }
    }

    /// As [`Ingest::accept`], for this connection. `held_bytes` is what the request's records keep in memory: the frame that they are
    /// slices of.
    pub async fn accept(&self, caller: &Caller, version: i16, request: ProduceRequest, held_bytes: usize) -> PendingProduce {
        let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
        let unanswered = Unanswered(self.unanswered.clone());
        let urgent = before + 1 >= limits::URGENT_REQUESTS;
        let mut pending = self.ingest.take_in(caller, version, request, held_bytes, urgent).await;
        pending.unanswered = Some(unanswered);
        pending
    }
}
