//! The cache itself.

use crate::key::CacheKey;
use crate::simple::SimpleCache;
use crate::single_flight::{FetchError, SingleFlight};
use bytes::Bytes;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use strandline_types::limits;

/// Foyer splits its bytes over shards by hash, each with an order of its own. A node's cache is one: what is at hand for the
/// partitions of a file fits into it as a whole, and would not into every part. A lookup holds the lock for far less than what is
/// looked up is worth.
const SHARD_BYTES: usize = limits::CACHE_BYTES;

/// Bytes by key, bounded; cheap to clone. What is put in may be gone at any time.
///
/// Entries count with their own length. Bytes that are a slice of something larger keep all of that in
/// memory: put in whole buffers, or copies.
#[derive(Clone)]
pub struct Cache {
    store: Arc<Store>,
    flights: SingleFlight,
    capacity: usize,
    largest: usize,
}

enum Store {
    Foyer(foyer::Cache<CacheKey, Bytes>),
    Simple(Mutex<SimpleCache>),
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("capacity", &self.capacity).field("usage", &self.usage()).finish_non_exhaustive()
    }
}

fn weight(key: &CacheKey, bytes: &Bytes) -> usize {
    key.overhead() + bytes.len()
}

impl Cache {
    /// A node's cache, of so many bytes: least recently used goes first, rebuilt batches before what they were made of.
    pub fn foyer(capacity_bytes: usize) -> Self {
        let shards = (capacity_bytes / SHARD_BYTES).clamp(1, 16);
        // Not S3-FIFO: it lets go what was used once after a tenth of its bytes, and a replay's next span or batch is just that.
        let eviction = foyer::LruConfig { high_priority_pool_ratio: f64::from(limits::CACHE_SOURCES_PERCENT) / 100.0 };
        let cache = foyer::CacheBuilder::new(capacity_bytes)
            .with_name("strandline")
            .with_shards(shards)
            .with_eviction_config(eviction)
            .with_weighter(weight)
            .build();
        Self::new(Store::Foyer(cache), capacity_bytes, capacity_bytes / shards)
    }

    /// A cache that behaves the same in every run: least recently used goes first. For simulations.
    pub fn simple(capacity_bytes: usize) -> Self {
        Self::new(Store::Simple(Mutex::new(SimpleCache::new(capacity_bytes))), capacity_bytes, capacity_bytes)
    }

    fn new(store: Store, capacity: usize, largest: usize) -> Self {
        metrics::gauge!("strandline_cache_capacity_bytes").set(capacity as f64);
        Self { store: Arc::new(store), flights: SingleFlight::default(), capacity, largest }
    }

    /// The bound, in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes held now.
    pub fn usage(&self) -> usize {
        match self.store.as_ref() {
            Store::Foyer(cache) => cache.usage(),
            Store::Simple(cache) => cache.lock().unwrap_or_else(PoisonError::into_inner).usage(),
        }
    }

    /// Fetches under way.
    pub fn fetches(&self) -> usize {
        self.flights.under_way()
    }

    /// The bytes, if they are here; counted as a hit or a miss.
    pub fn get(&self, key: &CacheKey) -> Option<Bytes> {
        let found = self.peek(key);
        match found {
            Some(_) => metrics::counter!("strandline_cache_hits_total", "kind" => key.kind()).increment(1),
            None => metrics::counter!("strandline_cache_misses_total", "kind" => key.kind()).increment(1),
        }
        found
    }

    fn peek(&self, key: &CacheKey) -> Option<Bytes> {
        match self.store.as_ref() {
            Store::Foyer(cache) => cache.get(key).map(|entry| entry.value().clone()),
            Store::Simple(cache) => cache.lock().unwrap_or_else(PoisonError::into_inner).get(key),
        }
    }

    /// Keeps the bytes while there is room. What is too large for the cache is not kept.
    pub fn insert(&self, key: CacheKey, bytes: Bytes) {
        let weight = weight(&key, &bytes);
        if weight > self.largest {
            return;
        }
        match self.store.as_ref() {
            Store::Foyer(cache) => {
                let hint = if key.is_derived() { foyer::Hint::Low } else { foyer::Hint::Normal };
                drop(cache.insert_with_properties(key, bytes, foyer::CacheProperties::default().with_hint(hint)));
            }
            Store::Simple(cache) => {
                cache.lock().unwrap_or_else(PoisonError::into_inner).insert(key, bytes, weight);
            }
        }
        self.report();
    }

    /// Lets the bytes go: to make room, or since they turned out to be damaged. Nothing has to be removed for truth.
    pub fn remove(&self, key: &CacheKey) {
        match self.store.as_ref() {
            Store::Foyer(cache) => drop(cache.remove(key)),
            Store::Simple(cache) => cache.lock().unwrap_or_else(PoisonError::into_inner).remove(key),
        }
        self.report();
    }

    fn report(&self) {
        metrics::gauge!("strandline_cache_bytes").set(self.usage() as f64);
    }

    /// The bytes from the cache, or from `fetch`: called once however many wait for the key. Its error goes
    /// to all who wait and is not kept; who comes later fetches anew. A caller that stops waiting stops
    /// nobody else; when the last one stops, the fetch ends too.
    pub async fn get_or_fetch<E, F, Fut>(&self, key: CacheKey, fetch: F) -> Result<Bytes, FetchError>
    where
        E: Error + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        if let Some(bytes) = self.get(&key) {
            return Ok(bytes);
        }
        let (keeper, name) = (self.clone(), key.clone());
        let keep = move |bytes: &Bytes| keeper.insert(name, bytes.clone());
        self.flights.run(key.clone(), || self.peek(&key), keep, fetch).await
    }
}
