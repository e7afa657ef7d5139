//! One fetch for a key, however many wait for it.
//!
//! The fetch is one future that all waiters share and any of them drives on; so it needs no task of its own,
//! a waiter that goes away takes nothing with it, and when the last one goes the fetch ends. The map holds
//! only weak references: it never keeps a fetch alive, and a fetch removes itself when it ends or is dropped.

use crate::key::CacheKey;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why the bytes could not be fetched: the one error, shared by all who waited. It is not cached.
#[derive(Clone)]
pub struct FetchError(Arc<dyn Error + Send + Sync>);

impl FetchError {
    /// The fetch's own error, if it was of this type.
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

type Fetched = Result<Bytes, FetchError>;
type Fetch = BoxFuture<'static, Fetched>;

#[derive(Default)]
struct Flights {
    by_key: BTreeMap<CacheKey, (u64, WeakShared<Fetch>)>,
    next: u64,
}

/// The fetches under way.
#[derive(Clone, Default)]
pub(crate) struct SingleFlight(Arc<Mutex<Flights>>);

/// Takes a fetch off the map when it ends, whichever way.
struct Landing {
    flights: SingleFlight,
    key: CacheKey,
    id: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if flights.by_key.get(&self.key).is_some_and(|(id, _)| *id == self.id) {
            flights.by_key.remove(&self.key);
        }
    }
}

impl SingleFlight {
    fn lock(&self) -> MutexGuard<'_, Flights> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.lock().by_key.len()
    }

    /// Joins the fetch of `key`, or begins it. `ready` is asked once more where a fetch would begin, since one
    /// may have just ended; `keep` gets the bytes before the fetch leaves the map.
    pub(crate) async fn run<E, F, Fut>(
        &self,
        key: CacheKey,
        ready: impl FnOnce() -> Option<Bytes>,
        keep: impl FnOnce(&Bytes) + Send + 'static,
        fetch: F,
    ) -> Fetched
    where
        E: Error + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        let shared = {
            let mut flights = self.lock();
            let joined = flights.by_key.get(&key).and_then(|(_, flight)| flight.upgrade());
            match joined {
                Some(flight) => flight,
                None => {
                    if let Some(bytes) = ready() {
                        return Ok(bytes);
                    }
                    flights.next += 1;
                    let id = flights.next;
                    let landing = Landing { flights: self.clone(), key: key.clone(), id };
                    let fetch = fetch();
                    let flight: Shared<Fetch> = async move {
                        let _landing = landing;
                        let bytes = fetch.await.map_err(|error| FetchError(Arc::new(error)))?;
                        keep(&bytes);
                        Ok(bytes)
                    }
                    .boxed()
                    .shared();
                    if let Some(weak) = flight.downgrade() {
                        flights.by_key.insert(key, (id, weak));
                    }
                    flight
                }
            }
        };
        shared.await
    }
}
