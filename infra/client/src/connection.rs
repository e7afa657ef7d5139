//! One connection to one broker: requests are pipelined, answers are matched by correlation id.

use crate::connect::Connect;
use crate::error::ConnectionError;
use crate::options::ClientOptions;
use crate::wait::within;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use strandline_runtime::Runtime;
use strandline_types::limits;
use strandline_wire::frame::{decode_response, encode_request, response_correlation_id, split_frame};
use strandline_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use strandline_wire::{ApiKey, ErrorCode, Frame, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Read at once at most; an answer's buffer grows with what has come, not with what was announced.
const READ_BYTES: usize = 256 << 10;

/// A connection that is up, with the versions that the broker speaks. Dropping the last handle closes it.
pub struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    versions: OnceLock<BTreeMap<i16, (i16, i16)>>,
    next_correlation_id: AtomicI32,
    slots: Arc<Semaphore>,
    client_id: String,
    runtime: Runtime,
    request_timeout: Duration,
    _close: DropGuard,
}

struct Outgoing {
    frame: Frame,
    /// Set for requests that get no answer.
    written: Option<(oneshot::Sender<()>, OwnedSemaphorePermit)>,
}

struct Shared {
    address: String,
    close: CancellationToken,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    waiting: BTreeMap<i32, Waiting>,
    closed: Option<ConnectionError>,
}

struct Waiting {
    answer: oneshot::Sender<Result<Bytes, ConnectionError>>,
    _slot: OwnedSemaphorePermit,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection; all who wait learn why. The first reason stays.
    fn fail(&self, error: ConnectionError) {
        self.close.cancel();
        let (waiting, error) = {
            let mut pending = self.pending();
            let error = pending.closed.get_or_insert(error).clone();
            (std::mem::take(&mut pending.waiting), error)
        };
        for (_, waiting) in waiting {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }

    fn closed(&self, reason: impl ToString) -> ConnectionError {
        ConnectionError::Closed { address: self.address.clone(), reason: reason.to_string() }
    }
}

/// A request that was handed to the connection; requests are written in the order in which they were handed over.
pub struct Answer<R> {
    receiver: oneshot::Receiver<Result<Bytes, ConnectionError>>,
    connection: Arc<Connection>,
    version: i16,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Answer<R> {
    /// Waits for the answer. Without one in time the connection is closed: answers come in order, so none would follow.
    ///
    /// # Errors
    /// The connection ended, the time is over, or the answer cannot be read.
    pub async fn wait(self, timeout: Duration) -> Result<R::Response, ConnectionError> {
        let shared = &self.connection.shared;
        let frame = match within(&self.connection.runtime, timeout, self.receiver).await {
            Some(Ok(frame)) => frame?,
            Some(Err(_)) => return Err(shared.closed("it was closed")),
            None => {
                let error = ConnectionError::TimedOut { address: shared.address.clone(), api: R::API_KEY, after: timeout };
                shared.fail(error.clone());
                return Err(error);
            }
        };
        decode::<R>(&shared.address, self.version, frame)
    }
}

fn decode<R: Request>(address: &str, version: i16, frame: Bytes) -> Result<R::Response, ConnectionError> {
    decode_response::<R::Response>(version, frame).map(|(_, response)| response).map_err(|error| ConnectionError::Decode {
        address: address.to_owned(),
        api: R::API_KEY,
        error,
    })
}

impl Connection {
    /// Connects and learns the broker's versions.
    ///
    /// # Errors
    /// No connection, or a peer that does not speak Kafka.
    pub async fn open(
        runtime: &Runtime,
        connector: &dyn Connect,
        options: &ClientOptions,
        host: &str,
        port: u16,
    ) -> Result<Arc<Self>, ConnectionError> {
        let address = format!("{host}:{port}");
        let timeout = options.connect_timeout;
        let failed = |reason: String| ConnectionError::Connect { address: address.clone(), reason };
        let stream = match within(runtime, timeout, connector.connect(host, port)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return Err(failed(error.to_string())),
            None => return Err(failed(format!("no answer within {timeout:?}"))),
        };
        let close = CancellationToken::new();
        let shared = Arc::new(Shared { address, close: close.clone(), pending: Mutex::default() });
        let (outgoing, queue) = mpsc::channel(limits::CLIENT_REQUESTS_IN_FLIGHT);
        let (read, write) = tokio::io::split(stream);
        runtime.spawner.spawn("client connection", run(shared.clone(), read, write, queue));
        let connection = Arc::new(Self {
            shared,
            outgoing,
            versions: OnceLock::new(),
            next_correlation_id: AtomicI32::new(0),
            slots: Arc::new(Semaphore::new(limits::CLIENT_REQUESTS_IN_FLIGHT)),
            client_id: options.client_id.clone(),
            runtime: runtime.clone(),
            request_timeout: options.request_timeout,
            _close: close.drop_guard(),
        });
        let versions = connection.ask_versions(timeout).await?;
        let _ = connection.versions.set(versions);
        Ok(connection)
    }

    /// KIP-511: a broker that does not know our version answers in version 0 and says which it knows.
    async fn ask_versions(self: &Arc<Self>, timeout: Duration) -> Result<BTreeMap<i16, (i16, i16)>, ConnectionError> {
        const VERSION: i16 = 3;
        let request = ApiVersionsRequest {
            client_software_name: "strandline-client".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let mut version = VERSION;
        loop {
            let answer = self.submit(version, &request)?;
            let frame = match within(&self.runtime, timeout, answer.receiver).await {
                Some(Ok(frame)) => frame?,
                _ => {
                    return Err(self
                        .shared
                        .closed(format!("it did not answer ApiVersions within {timeout:?}; is it a Kafka broker?")));
                }
            };
            let unknown = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes()[..]);
            if unknown && version > 0 {
                version = 0;
                continue;
            }
            let response: ApiVersionsResponse = decode::<ApiVersionsRequest>(&self.shared.address, version, frame)?;
            return Ok(response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect());
        }
    }

    /// The broker's address.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Whether requests can still be sent.
    pub fn is_open(&self) -> bool {
        !self.shared.close.is_cancelled()
    }

    /// The highest version, up to `cap`, that both sides speak.
    ///
    /// # Errors
    /// There is none.
    pub fn version<R: Request>(&self, cap: i16) -> Result<i16, ConnectionError> {
        let theirs = self.versions.get().and_then(|versions| versions.get(&R::API_KEY.code()).copied());
        let version = theirs.and_then(|(min, max)| R::API_KEY.range().common(min, max.min(cap)));
        version.ok_or_else(|| ConnectionError::Unsupported {
            address: self.shared.address.clone(),
            api: R::API_KEY,
            theirs: theirs.map_or_else(|| "none".to_owned(), |(min, max)| format!("{min} to {max}")),
        })
    }

    /// Whether the broker announces an API at all.
    pub fn speaks(&self, api: ApiKey) -> bool {
        self.versions.get().is_some_and(|versions| versions.contains_key(&api.code()))
    }

    /// Sends a request in the best common version and waits for the answer.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn call<R: Request>(self: &Arc<Self>, request: &R) -> Result<R::Response, ConnectionError> {
        self.call_capped(i16::MAX, self.request_timeout, request).await
    }

    /// Like [`Self::call`], in a version up to `cap` and with another time-out.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn call_capped<R: Request>(
        self: &Arc<Self>,
        cap: i16,
        timeout: Duration,
        request: &R,
    ) -> Result<R::Response, ConnectionError> {
        let version = self.version::<R>(cap)?;
        let slot = self.slot().await?;
        self.submit_in(slot, version, request)?.wait(timeout).await
    }

    /// Hands a request over without waiting; what is handed over first is written first.
    ///
    /// # Errors
    /// The connection is closed, or has too many unanswered requests.
    pub fn submit<R: Request>(self: &Arc<Self>, version: i16, request: &R) -> Result<Answer<R>, ConnectionError> {
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| ConnectionError::Busy(self.shared.address.clone()))?;
        self.submit_in(slot, version, request)
    }

    fn submit_in<R: Request>(
        self: &Arc<Self>,
        slot: OwnedSemaphorePermit,
        version: i16,
        request: &R,
    ) -> Result<Answer<R>, ConnectionError> {
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let frame = encode_request(version, correlation_id, Some(&self.client_id), request);
        let (answer, receiver) = oneshot::channel();
        {
            let mut pending = self.shared.pending();
            if let Some(error) = &pending.closed {
                return Err(error.clone());
            }
            pending.waiting.insert(correlation_id, Waiting { answer, _slot: slot });
        }
        if self.outgoing.try_send(Outgoing { frame, written: None }).is_err() {
            self.shared.pending().waiting.remove(&correlation_id);
            return Err(self.gone());
        }
        Ok(Answer { receiver, connection: self.clone(), version, request: PhantomData })
    }

    /// Hands a request over that gets no answer (`acks=0`); what is returned is done once it is written.
    ///
    /// # Errors
    /// The connection is closed, or has too many requests that are not written yet.
    pub fn submit_unanswered<R: Request>(
        self: &Arc<Self>,
        version: i16,
        request: &R,
    ) -> Result<impl Future<Output = Result<(), ConnectionError>> + Send + 'static, ConnectionError> {
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| ConnectionError::Busy(self.shared.address.clone()))?;
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let frame = encode_request(version, correlation_id, Some(&self.client_id), request);
        let (written, done) = oneshot::channel();
        self.outgoing.try_send(Outgoing { frame, written: Some((written, slot)) }).map_err(|_| self.gone())?;
        let connection = self.clone();
        Ok(async move { done.await.map_err(|_| connection.gone()) })
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, ConnectionError> {
        self.slots.clone().acquire_owned().await.map_err(|_| self.gone())
    }

    fn gone(&self) -> ConnectionError {
        self.shared.pending().closed.clone().unwrap_or_else(|| self.shared.closed("it was closed"))
    }
}

async fn run(shared: Arc<Shared>, read: impl AsyncRead + Unpin, write: impl AsyncWrite + Unpin, queue: mpsc::Receiver<Outgoing>) {
    let error = tokio::select! {
        // In a fixed order, so that a simulation is the same each time.
        biased;
        () = shared.close.cancelled() => shared.closed("it was closed here"),
        error = read_answers(&shared, read) => error,
        error = write_requests(&shared, write, queue) => error,
    };
    shared.fail(error);
}

async fn write_requests(
    shared: &Shared,
    mut write: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Outgoing>,
) -> ConnectionError {
    while let Some(mut outgoing) = queue.recv().await {
        if let Err(error) = write.write_all_buf(&mut outgoing.frame).await {
            return shared.closed(error);
        }
        if queue.is_empty()
            && let Err(error) = write.flush().await
        {
            return shared.closed(error);
        }
        if let Some((written, _slot)) = outgoing.written {
            let _ = written.send(());
        }
    }
    shared.closed("it was closed here")
}

async fn read_answers(shared: &Shared, mut read: impl AsyncRead + Unpin) -> ConnectionError {
    let mut buffer = BytesMut::new();
    loop {
        loop {
            match split_frame(&mut buffer) {
                Ok(Some(frame)) => {
                    if let Err(error) = deliver(shared, frame) {
                        return error;
                    }
                }
                Ok(None) => break,
                Err(error) => return ConnectionError::Frame { address: shared.address.clone(), error },
            }
        }
        buffer.reserve(if buffer.is_empty() { 8 << 10 } else { READ_BYTES });
        match read.read_buf(&mut buffer).await {
            Ok(0) => return shared.closed("the broker closed it"),
            Ok(_) => {}
            Err(error) => return shared.closed(error),
        }
    }
}

fn deliver(shared: &Shared, frame: Bytes) -> Result<(), ConnectionError> {
    let correlation_id = response_correlation_id(&frame)
        .map_err(|error| ConnectionError::Frame { address: shared.address.clone(), error: error.into() })?;
    let waiting = shared.pending().waiting.remove(&correlation_id);
    match waiting {
        Some(waiting) => {
            let _ = waiting.answer.send(Ok(frame));
            Ok(())
        }
        None => Err(shared.closed(format!("it sent an answer to a request {correlation_id} that was never sent"))),
    }
}
