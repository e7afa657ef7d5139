//! Connections by address, opened when they are wanted, opened again with a wait that grows.
//!
//! A broker answers one connection's requests in order, so what may wait long has a pool of its own: every producer's requests, every
//! consumer's fetches, every membership's joins do.

use crate::connect::Connect;
use crate::connection::Connection;
use crate::error::ConnectionError;
use crate::options::ClientOptions;
use crate::wait::Backoff;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strandline_runtime::Runtime;

/// An address: host and port.
pub(crate) type Address = (String, u16);

/// One user's connections.
pub(crate) struct Pool {
    runtime: Runtime,
    connector: Arc<dyn Connect>,
    options: Arc<ClientOptions>,
    slots: Mutex<BTreeMap<Address, Arc<tokio::sync::Mutex<Slot>>>>,
    /// Every address to which there was a connection, as `host:port`; shared with siblings.
    reached: Arc<Mutex<BTreeSet<String>>>,
}

struct Slot {
    connection: Option<Arc<Connection>>,
    backoff: Backoff,
    not_before: Duration,
}

impl Pool {
    pub(crate) fn new(runtime: Runtime, connector: Arc<dyn Connect>, options: Arc<ClientOptions>) -> Self {
        Self { runtime, connector, options, slots: Mutex::default(), reached: Arc::default() }
    }

    /// Another pool of the same kind, empty.
    pub(crate) fn sibling(&self) -> Self {
        let sibling = Self::new(self.runtime.clone(), self.connector.clone(), self.options.clone());
        Self { reached: self.reached.clone(), ..sibling }
    }

    pub(crate) fn reached(&self) -> BTreeSet<String> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The open connection to `address`, or a new one. However many ask, one connection is opened.
    pub(crate) async fn get(&self, address: &Address) -> Result<Arc<Connection>, ConnectionError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(address.clone()).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(self.slot()))).clone()
        };
        let mut slot = slot.lock().await;
        if let Some(connection) = &slot.connection
            && connection.is_open()
        {
            return Ok(connection.clone());
        }
        slot.connection = None;
        let wait = slot.not_before.saturating_sub(self.runtime.clock.monotonic());
        if !wait.is_zero() {
            self.runtime.sleep(wait).await;
        }
        // Set before the try, so that a caller who gives up in the middle leaves the wait behind too.
        let pause = slot.backoff.next(&self.runtime);
        slot.not_before = self.runtime.clock.monotonic() + pause;
        let connection = Connection::open(&self.runtime, self.connector.as_ref(), &self.options, &address.0, address.1).await?;
        slot.backoff.reset();
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{}:{}", address.0, address.1));
        slot.connection = Some(connection.clone());
        Ok(connection)
    }

    fn slot(&self) -> Slot {
        Slot {
            connection: None,
            backoff: Backoff::new(self.options.backoff, self.options.backoff_longest),
            not_before: Duration::ZERO,
        }
    }
}
