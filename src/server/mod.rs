//! The Kafka listener: connections, frames, answers in order.
//!
//! Bounds (I11): connections, bytes of requests in flight over all of them, requests in flight on each. A frame is admitted
//! by its announced length before anything is read of it, and what is announced beyond the bound closes the connection.

mod answer;
mod connection;
mod dispatch;
mod pressure;

pub use dispatch::Services;

use pressure::Admission;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strandline_runtime::{Runtime, TaskGroup};
use strandline_types::limits;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// The listener at work.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    tasks: TaskGroup,
}

pub(crate) struct Shared {
    pub(crate) services: Services,
    pub(crate) runtime: Runtime,
    pub(crate) connections: Arc<Semaphore>,
    admission: Admission,
    pub(crate) next_connection: AtomicU64,
    pub(crate) draining: watch::Sender<bool>,
}

impl Server {
    /// Serves on a bound listener until [`Server::drain`].
    pub fn start(listener: TcpListener, services: Services, runtime: Runtime) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let spawner = runtime.spawner.new_group();
        let tasks = spawner.group().clone();
        let runtime = Runtime { spawner, ..runtime };
        let shared = Arc::new(Shared {
            services,
            runtime: runtime.clone(),
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS)),
            admission: Admission::default(),
            next_connection: AtomicU64::new(1),
            draining: watch::channel(false).0,
        });
        runtime.spawner.spawn("kafka listener", accept(shared.clone(), listener));
        Ok(Self { shared, address, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connection and no new request, answers what is in flight, and closes; at most for `patience`.
    pub async fn drain(&self, patience: Duration) {
        self.shared.draining.send_replace(true);
        let runtime = &self.shared.runtime;
        let until = runtime.clock.monotonic() + patience;
        while self.tasks.running() > 0 && runtime.clock.monotonic() < until {
            runtime.sleep(Duration::from_millis(10)).await;
        }
        self.tasks.abort_all();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut draining = shared.draining.subscribe();
    let cell = shared.services.cell.clone();
    loop {
        let permit = tokio::select! {
            permit = shared.connections.clone().acquire_owned() => permit,
            _ = draining.wait_for(|draining| *draining) => return,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|draining| *draining) => return,
            () = cell.stopped() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most often: connections that close make room again.
                tracing::warn!(%error, "a connection could not be accepted");
                shared.runtime.sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let id = shared.next_connection.fetch_add(1, Ordering::Relaxed);
        // In a box: a future that another one takes in and waits for has room in it twice, and that once more for each layer.
        let task = Box::pin(connection::serve(shared.clone(), stream, peer, id));
        shared.runtime.spawner.spawn("connection", async move {
            metrics::gauge!("strandline_connections").increment(1.0);
            task.await;
            metrics::gauge!("strandline_connections").decrement(1.0);
            drop(permit);
        });
    }
}
