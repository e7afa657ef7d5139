//! The Kafka listener: connections, frames, answers in order.
//!
//! Bounds (I11): connections, bytes of requests in flight over all of them, requests in flight on each. A frame is admitted
//! by its announced length before anything is read of it, and what is announced beyond the bound closes the connection.

mod answer;
mod connection;
mod dispatch;
mod frames;
mod heavy;
mod incoming;
mod pressure;
mod whereabouts;

pub use dispatch::Services;

use connection::{Begun, Connection};
use frames::Frames;
use futures::FutureExt;
use pressure::Admission;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strandline_runtime::{Runtime, TaskGroup};
use strandline_types::{Seq, limits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use whereabouts::Whereabouts;

/// Connections at work. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    tasks: TaskGroup,
}

pub(crate) struct Shared {
    pub(crate) services: Services,
    pub(crate) runtime: Runtime,
    pub(crate) connections: Arc<Semaphore>,
    admission: Admission,
    frames: Frames,
    pub(crate) next_connection: AtomicU64,
    pub(crate) draining: CancellationToken,
    /// It is to be noted now that no connection waits to be taken.
    look_at_backlog: Notify,
}

impl Server {
    /// What is [listened for](Self::listen) or [handed in](Self::serve) is served until [`Server::drain`], so many connections at once.
    pub fn new(services: Services, runtime: Runtime, connections: usize) -> Self {
        let spawner = runtime.spawner.new_group();
        let tasks = spawner.group().clone();
        let shared = Arc::new(Shared {
            services,
            runtime: Runtime { spawner, ..runtime },
            connections: Arc::new(Semaphore::new(connections)),
            admission: Admission::default(),
            frames: Frames::default(),
            next_connection: AtomicU64::new(1),
            draining: CancellationToken::new(),
            look_at_backlog: Notify::new(),
        });
        Self { shared, tasks }
    }

    /// Cancelled once no new request is taken: the first that [`Server::drain`] does.
    pub fn draining(&self) -> &CancellationToken {
        &self.shared.draining
    }

    /// Takes connections from a bound listener. Says where it listens.
    ///
    /// # Errors
    /// The listener's address cannot be found out.
    pub fn listen(&self, listener: TcpListener) -> std::io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        self.shared.runtime.spawner.spawn("kafka listener", accept(self.clone(), listener));
        self.shared.runtime.spawner.spawn("idle frames", let_frames_go(self.shared.clone()));
        Ok(address)
    }

    /// Serves one connection, whatever carries it; false if there are too many, and it is dropped.
    pub fn serve<R, W>(&self, read: R, write: W, peer: SocketAddr) -> bool
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(permit) = self.shared.connections.clone().try_acquire_owned() else { return false };
        let connected_at = self.shared.services.cell.seq();
        let connection = Connection::new(&self.shared, read, write, self.begun(peer, connected_at), Whereabouts::fixed());
        let counted = Counted::new(permit);
        let shared = self.shared.clone();
        // In a box: a future that another one takes in and waits for has room in it twice, and that once more for each layer.
        let task = Box::pin(async move {
            connection::serve(&shared, connection).await;
            drop(counted);
        });
        self.shared.runtime.spawner.spawn("connection", task);
        true
    }

    fn begun(&self, peer: SocketAddr, connected_at: Seq) -> Begun {
        Begun { peer, connected_at, id: self.shared.next_connection.fetch_add(1, Ordering::Relaxed) }
    }

    /// Serves a connection where it is, and elsewhere once it belongs there.
    fn serve_stream(&self, connection: StreamConnection, counted: Counted) {
        let task = Box::pin(serve_here(self.clone(), connection, counted));
        self.shared.runtime.spawner.spawn("connection", task);
    }

    fn serve_elsewhere(&self, connection: StreamConnection, counted: Counted) {
        let own = &self.shared.runtime.spawner;
        let spawner = connection.whereabouts.log_thread().map_or_else(|| own.clone(), |thread| own.beside(thread));
        spawner.spawn("connection", Box::pin(serve_anew(self.clone(), connection, counted)));
    }

    /// Takes no new connection and no new request, answers what is in flight, and closes; at most for `patience`.
    pub async fn drain(&self, patience: Duration) {
        self.shared.draining.cancel();
        let runtime = &self.shared.runtime;
        let until = runtime.clock.monotonic() + patience;
        while self.tasks.running() > 0 && runtime.clock.monotonic() < until {
            runtime.sleep(Duration::from_millis(10)).await;
        }
        self.abort();
    }

    /// Ends every connection where it stands, as a crash would.
    pub fn abort(&self) {
        self.tasks.abort_all();
    }
}

/// An idle node holds no memory for frames, nor do its threads for what they freed.
async fn let_frames_go(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.runtime.sleep(limits::IDLE_FRAME_LOOK) => {
                if shared.frames.let_go_if_idle() {
                    shared.runtime.spawner.tidy_workers();
                }
            }
            () = shared.draining.cancelled() => return,
            () = shared.services.cell.stopped() => return,
        }
    }
}

type StreamConnection = Connection<OwnedReadHalf, OwnedWriteHalf>;

async fn serve_here(server: Server, connection: StreamConnection, counted: Counted) {
    if let Some(connection) = connection::serve(&server.shared, connection).await {
        server.serve_elsewhere(connection, counted);
    }
}

/// A socket is waited for by the threads with which it was registered: it is taken from those, and registered with these.
async fn serve_anew(server: Server, connection: StreamConnection, counted: Counted) {
    let registered = |read: OwnedReadHalf, write: OwnedWriteHalf| -> std::io::Result<_> {
        let stream = read.reunite(write).map_err(std::io::Error::other)?.into_std()?;
        Ok(TcpStream::from_std(stream)?.into_split())
    };
    match connection.over(registered) {
        Ok(mut connection) => {
            connection.whereabouts.arrived();
            serve_here(server, connection, counted).await;
        }
        Err(error) => tracing::warn!(%error, "a connection is lost: its socket could not be registered anew"),
    }
}

/// How often it is noted that no connection waits to be taken.
const BACKLOG_LOOK: Duration = Duration::from_secs(1);

async fn accept(server: Server, listener: TcpListener) {
    let Shared { draining, connections, runtime, services, look_at_backlog, .. } = &*server.shared;
    // Those that are there already began no earlier than when none was: while a process stands still, the system takes them for it.
    let mut none_waited_at = services.cell.seq();
    loop {
        let permit = tokio::select! {
            permit = connections.clone().acquire_owned() => permit,
            () = draining.cancelled() => return,
        };
        let Ok(permit) = permit else { return };
        let accepted = match tokio::task::unconstrained(listener.accept()).now_or_never() {
            Some(accepted) => accepted,
            None => {
                none_waited_at = services.cell.seq();
                tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = draining.cancelled() => return,
                    () = services.cell.stopped() => return,
                    // Only where others may have coordinated groups meanwhile does anybody ask.
                    () = runtime.sleep(BACKLOG_LOOK), if !services.cell.is_sole() => continue,
                    () = look_at_backlog.notified() => continue,
                }
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most often: connections that close make room again.
                tracing::warn!(%error, "a connection could not be accepted");
                runtime.sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let (read, write) = stream.into_split();
        let begun = server.begun(peer, none_waited_at);
        let connection = Connection::new(&server.shared, read, write, begun, Whereabouts::anywhere());
        server.serve_stream(connection, Counted::new(permit));
    }
}

/// One of the connections that are served.
struct Counted(#[allow(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Counted {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("strandline_connections").increment(1.0);
        Self(permit)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("strandline_connections").decrement(1.0);
    }
}
