//! Requests that take long to compute, and wait for nothing meanwhile: hundreds of thousands of names to be taken apart, looked up and answered.
//!
//! A worker that is busy with one keeps others waiting that it has been told of already, also where another worker has nothing to do: nobody looks at
//! the sockets meanwhile. So the rest of what it has goes to another thread first.

use std::future::poll_fn;
use std::pin::pin;
use strandline_cluster::asks_for_all_topics;
use strandline_wire::ApiKey;
use strandline_wire::messages::RequestBody;
use tokio::runtime::{Handle, RuntimeFlavor};

/// A request of fewer bytes is no work to speak of, unless its answer is.
const HEAVY_BYTES: usize = 64 << 10;

/// Whether a request may be much work for one that has come already. What a Produce request carries is checked elsewhere, and it has its order.
pub(super) fn is_heavy(api: ApiKey, frame_bytes: usize) -> bool {
    match api {
        ApiKey::Produce => false,
        // A few bytes ask for all topics, groups or configurations.
        ApiKey::DescribeTopicPartitions
        | ApiKey::DescribeConfigs
        | ApiKey::DescribeLogDirs
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::OffsetFetch => true,
        _ => frame_bytes >= HEAVY_BYTES,
    }
}

/// Whether a Metadata request asks for all topics.
pub(super) fn asks_for_all(body: &RequestBody, version: i16) -> bool {
    matches!(body, RequestBody::Metadata(request) if asks_for_all_topics(request, version))
}

/// Does what takes long. Where there is one thread for all, on it.
#[allow(
    clippy::disallowed_methods,
    reason = "it only computes, on the thread where it is: nothing is handed to others but what waits behind it"
)]
pub(super) fn compute<T>(work: impl FnOnce() -> T) -> T {
    let has_workers = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_workers { tokio::task::block_in_place(work) } else { work() }
}

/// The same for what computes long and waits in between.
pub(super) async fn compute_all<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| compute(|| work.as_mut().poll(context))).await
}
