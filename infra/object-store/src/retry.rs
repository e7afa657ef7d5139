//! The decorator that tries again.

use crate::cause::Cause;
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use strandline_runtime::Runtime;
use strandline_types::limits;

/// How often and how long a request is tried. The defaults are those of `limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries, the first one included.
    pub tries: u32,
    /// The longest that all tries take together, waits included. Whoever waits is answered by then.
    pub total: Duration,
    /// The wait before the second try; doubled for each further one, half of it random.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: limits::STORE_TRIES,
            total: limits::STORE_RETRY,
            first_wait: limits::STORE_RETRY_WAIT,
            longest_wait: limits::STORE_RETRY_WAIT_LONGEST,
        }
    }
}

impl RetryPolicy {
    /// One try, bounded in time.
    pub fn once() -> Self {
        Self { tries: 1, ..Self::default() }
    }
}

/// Tries again what failed on the way, bounded in tries and in time.
///
/// Puts, gets, heads and deletes are tried again; listings, copies and parts of uploads are not, their
/// callers begin anew. After a lost reply a create-only put may find its own object and answer
/// `AlreadyExists`: [`put_new`](crate::put_new) looks at what is there. A try that was given up for its time
/// may still take effect later.
pub struct Retry {
    inner: Arc<dyn ObjectStore>,
    tries: Tries,
}

#[derive(Clone)]
struct Tries {
    policy: RetryPolicy,
    runtime: Runtime,
}

impl Retry {
    /// Retries requests to `inner`; time and jitter come from `runtime`.
    pub fn new(inner: Arc<dyn ObjectStore>, policy: RetryPolicy, runtime: &Runtime) -> Self {
        Self { inner, tries: Tries { policy, runtime: runtime.clone() } }
    }
}

impl Tries {
    async fn run<T, F, Fut>(&self, name: &'static str, location: &Path, attempt: F) -> Result<T>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let clock = &self.runtime.clock;
        let started = clock.monotonic();
        let left = || self.policy.total.saturating_sub(clock.monotonic().saturating_sub(started));
        let mut wait = self.policy.first_wait;
        let mut tried = 1;
        loop {
            let result = tokio::select! {
                biased;
                result = attempt() => result,
                () = clock.sleep(left()) => Err(no_answer(name, location, self.policy.total)),
            };
            let error = match result {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let half = wait / 2;
            let jitter = self.runtime.random.below(u64::try_from(half.as_nanos()).unwrap_or(u64::MAX));
            let pause = half + Duration::from_nanos(jitter);
            if !Cause::of(&error).is_retriable() || tried >= self.policy.tries || pause >= left() {
                return Err(error);
            }
            tracing::warn!(request = name, path = %location, tried, %error, "the object store failed, trying again");
            metrics::counter!("strandline_store_retries_total", "request" => name).increment(1);
            clock.sleep(pause).await;
            wait = (wait * 2).min(self.policy.longest_wait);
            tried += 1;
        }
    }

    async fn delete(&self, inner: &Arc<dyn ObjectStore>, location: &Path) -> Result<Path> {
        match self.run("delete", location, || inner.delete(location)).await {
            // The try before may have done it.
            Err(error) if Cause::of(&error) == Cause::NotFound => Ok(location.clone()),
            other => other.map(|()| location.clone()),
        }
    }
}

fn no_answer(name: &str, location: &Path, total: Duration) -> object_store::Error {
    let source = format!("no answer to the {name} of `{location}` within {} ms", total.as_millis());
    object_store::Error::Generic { store: "retry", source: source.into() }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("policy", &self.tries.policy).field("inner", &self.inner).finish()
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl ObjectStore for Retry {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        // The payload is shared, not copied.
        let attempt = || self.inner.put_opts(location, payload.clone(), options.clone());
        self.tries.run("put", location, attempt).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let name = if options.head { "head" } else { "get" };
        self.tries.run(name, location, || self.inner.get_opts(location, options.clone())).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, tries) = (Arc::clone(&self.inner), self.tries.clone());
        locations
            .ready_chunks(limits::STORE_DELETE_BATCH)
            .then(move |batch| {
                let (inner, tries) = (Arc::clone(&inner), tries.clone());
                async move {
                    let names: Vec<Option<Path>> = batch.iter().map(|path| path.as_ref().ok().cloned()).collect();
                    // All together first, as the store may do that in one request; what failed, one by one.
                    let results: Vec<Result<Path>> = inner.delete_stream(stream::iter(batch).boxed()).collect().await;
                    let mut done = Vec::with_capacity(results.len());
                    for (name, result) in names.into_iter().zip(results) {
                        done.push(match (name, result) {
                            (Some(name), Err(error)) if Cause::of(&error).is_retriable() => tries.delete(&inner, &name).await,
                            (_, result) => result,
                        });
                    }
                    stream::iter(done)
                }
            })
            .flatten()
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
