//! The decorator that counts.

use crate::cause::Cause;
use crate::purpose::{Operation, Purpose};
use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use strandline_runtime::Clock;

/// Names in one page of a listing: each page is billed as a request.
const PAGE: usize = 1_000;

/// Counts requests, bytes, errors and time by operation and by the one purpose it was made for:
/// `strandline_store_requests_total`, `strandline_store_bytes_total`, `strandline_store_errors_total` (with
/// the cause) and `strandline_store_request_seconds`. Placed below [`Retry`](crate::Retry), it counts tries.
pub struct Metered {
    inner: Arc<dyn ObjectStore>,
    meter: Meter,
}

#[derive(Clone)]
struct Meter {
    purpose: Purpose,
    clock: Arc<dyn Clock>,
}

impl Metered {
    /// Counts what goes through to `inner` under `purpose`.
    pub fn new(inner: Arc<dyn ObjectStore>, purpose: Purpose, clock: Arc<dyn Clock>) -> Self {
        Self { inner, meter: Meter { purpose, clock } }
    }
}

impl Meter {
    fn labels(&self, operation: Operation) -> [(&'static str, &'static str); 2] {
        [("operation", operation.as_str()), ("purpose", self.purpose.as_str())]
    }

    fn request(&self, operation: Operation) {
        metrics::counter!("strandline_store_requests_total", &self.labels(operation)).increment(1);
    }

    fn bytes(&self, operation: Operation, bytes: u64) {
        metrics::counter!("strandline_store_bytes_total", &self.labels(operation)).increment(bytes);
    }

    fn error(&self, operation: Operation, error: &object_store::Error) {
        let [operation, purpose] = self.labels(operation);
        let cause = ("cause", Cause::of(error).as_str());
        metrics::counter!("strandline_store_errors_total", &[operation, purpose, cause]).increment(1);
    }

    fn time(&self, operation: Operation, time: Duration) {
        metrics::histogram!("strandline_store_request_seconds", &self.labels(operation)).record(time.as_secs_f64());
    }

    async fn count<T>(&self, operation: Operation, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let started = self.clock.monotonic();
        self.request(operation);
        let result = work.await;
        self.time(operation, self.clock.monotonic().saturating_sub(started));
        if let Err(error) = &result {
            self.error(operation, error);
        }
        result
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("purpose", &self.meter.purpose).field("inner", &self.inner).finish()
    }
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let result = self.meter.count(Operation::Put, self.inner.put_opts(location, payload, options)).await?;
        self.meter.bytes(Operation::Put, bytes);
        Ok(result)
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(location, options);
        let inner = self.meter.count(Operation::Multipart, begun).await?;
        Ok(Box::new(MeteredUpload { inner, meter: self.meter.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = Operation::of_get(&options);
        let result = self.meter.count(operation, self.inner.get_opts(location, options)).await?;
        if operation == Operation::Get {
            self.meter.bytes(operation, result.range.end.saturating_sub(result.range.start));
        }
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let meter = self.meter.clone();
        let counted = move |result: &Result<Path>| {
            meter.request(Operation::Delete);
            if let Err(error) = result {
                meter.error(Operation::Delete, error);
            }
        };
        self.inner.delete_stream(locations).inspect(counted).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted_list(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted_list(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meter.count(Operation::List, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.meter.count(Operation::Copy, self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.meter.count(Operation::Copy, self.inner.rename_opts(from, to, options)).await
    }
}

impl Metered {
    fn counted_list(&self, list: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let meter = self.meter.clone();
        meter.request(Operation::List);
        list.enumerate()
            .map(move |(position, result)| {
                if position > 0 && position.is_multiple_of(PAGE) {
                    meter.request(Operation::List);
                }
                if let Err(error) = &result {
                    meter.error(Operation::List, error);
                }
                result
            })
            .boxed()
    }
}

struct MeteredUpload {
    inner: Box<dyn MultipartUpload>,
    meter: Meter,
}

impl fmt::Debug for MeteredUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (meter, bytes) = (self.meter.clone(), data.content_length() as u64);
        let part = self.inner.put_part(data);
        async move {
            meter.count(Operation::Multipart, part).await?;
            meter.bytes(Operation::Multipart, bytes);
            Ok(())
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.meter.count(Operation::Multipart, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.meter.count(Operation::Multipart, self.inner.abort()).await
    }
}
