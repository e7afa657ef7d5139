//! The decorator that fails to order: for tests and simulations.

use crate::purpose::Operation;
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strandline_runtime::{Random, Runtime};

/// What a fault does to the request that it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The request is lost: nothing happens, the caller sees an error.
    Before,
    /// The reply is lost: it takes effect, the caller sees an error.
    After,
    /// The caller sees an error now, and the request takes effect this much later: the delayed put of a
    /// zombie. Listings and gets are just lost.
    Late(Duration),
    /// It takes this much longer.
    Delay(Duration),
    /// The disk is full: nothing happens, the caller is told so.
    Full,
}

/// A fault to order: it lets `skip` matching requests through and meets the next `times`.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Only requests of this kind; `None` is any.
    pub operation: Option<Operation>,
    /// Only objects whose path begins so; empty is any.
    pub path_prefix: String,
    /// Matching requests that are let through first.
    pub skip: u64,
    /// Requests that it meets then; `u64::MAX` is all.
    pub times: u64,
    /// What happens to them.
    pub effect: Effect,
}

impl Fault {
    /// Meets the n-th matching request from now, counted from 1, and no other.
    pub fn nth(operation: Operation, n: u64, effect: Effect) -> Self {
        let skip = n.saturating_sub(1);
        Self { operation: Some(operation), path_prefix: String::new(), skip, times: 1, effect }
    }

    /// Meets every request of a kind until the plan is cleared.
    pub fn every(operation: Operation, effect: Effect) -> Self {
        Self { times: u64::MAX, ..Self::nth(operation, 1, effect) }
    }

    /// Only for objects whose path begins with `prefix`.
    #[must_use]
    pub fn below(mut self, prefix: impl Into<String>) -> Self {
        self.path_prefix = prefix.into();
        self
    }
}

/// Faults by chance, per thousand requests of any kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultRates {
    /// Of [`Effect::Before`].
    pub before: u64,
    /// Of [`Effect::After`].
    pub after: u64,
    /// Of [`Effect::Late`].
    pub late: u64,
    /// Of [`Effect::Delay`].
    pub delay: u64,
    /// Of [`Effect::Full`].
    pub full: u64,
    /// The longest delay and lateness.
    pub longest: Duration,
}

/// The faults to come; shared between a test and its stores.
#[derive(Clone, Default)]
pub struct FaultPlan(Arc<Mutex<Plan>>);

#[derive(Default)]
struct Plan {
    faults: Vec<Fault>,
    rates: Option<(FaultRates, Arc<dyn Random>)>,
    calls: BTreeMap<Operation, u64>,
}

impl FaultPlan {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Orders a fault. Of several that match a request, the first one ordered meets it.
    pub fn add(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Adds faults by chance; the same `random` gives the same ones.
    pub fn set_rates(&self, rates: FaultRates, random: Arc<dyn Random>) {
        self.lock().rates = Some((rates, random));
    }

    /// Everything works from now on; what is late is still to come.
    pub fn clear(&self) {
        let mut plan = self.lock();
        plan.faults.clear();
        plan.rates = None;
    }

    /// Requests of a kind so far, met by a fault or not.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().calls.get(&operation).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, operation: Operation, path: &str) -> Option<Effect> {
        let mut plan = self.lock();
        *plan.calls.entry(operation).or_default() += 1;
        for fault in &mut plan.faults {
            let matches = fault.operation.is_none_or(|wanted| wanted == operation);
            if !matches || !path.starts_with(&fault.path_prefix) || fault.times == 0 {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.times != u64::MAX {
                fault.times -= 1;
            }
            return Some(fault.effect);
        }
        let (rates, random) = plan.rates.as_ref()?;
        let longest = u64::try_from(rates.longest.as_micros()).unwrap_or(u64::MAX).max(1);
        let (mut roll, time) = (random.below(1_000), Duration::from_micros(random.below(longest)));
        for (rate, effect) in [
            (rates.before, Effect::Before),
            (rates.after, Effect::After),
            (rates.late, Effect::Late(time)),
            (rates.delay, Effect::Delay(time)),
            (rates.full, Effect::Full),
        ] {
            if roll < rate {
                return Some(effect);
            }
            roll -= rate;
        }
        None
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultPlan").field("faults", &self.lock().faults).finish_non_exhaustive()
    }
}

/// Meets requests with the faults of a plan.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<dyn ObjectStore>,
    plan: FaultPlan,
    runtime: Runtime,
}

impl Faults {
    /// `plan` decides about each request to `inner`; delays and late effects follow `runtime`.
    pub fn new(inner: Arc<dyn ObjectStore>, plan: FaultPlan, runtime: &Runtime) -> Self {
        Self { inner, plan, runtime: runtime.clone() }
    }

    async fn apply<T: Send + 'static>(
        &self,
        operation: Operation,
        location: &Path,
        work: impl FnOnce(Arc<dyn ObjectStore>) -> BoxFuture<'static, Result<T>>,
    ) -> Result<T> {
        let effect = self.plan.decide(operation, location.as_ref());
        let work = work(Arc::clone(&self.inner));
        match effect {
            None => work.await,
            Some(Effect::Before) => Err(lost(operation, location)),
            Some(Effect::After) => {
                let _ = work.await;
                Err(lost(operation, location))
            }
            Some(Effect::Late(time)) => {
                let clock = Arc::clone(&self.runtime.clock);
                // Spawned outside of the node's own tasks, as the network outlives the node.
                self.runtime.spawner.detached().spawn("late request", async move {
                    clock.sleep(time).await;
                    let _ = work.await;
                });
                Err(lost(operation, location))
            }
            Some(Effect::Delay(time)) => {
                self.runtime.sleep(time).await;
                work.await
            }
            Some(Effect::Full) => Err(full()),
        }
    }

    fn listed(
        &self,
        prefix: Option<&Path>,
        list: impl FnOnce() -> BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        match self.plan.decide(Operation::List, prefix.as_ref()) {
            None => list(),
            Some(Effect::Full) => stream::iter([Err(full())]).boxed(),
            Some(Effect::Delay(time)) => {
                let (clock, list) = (Arc::clone(&self.runtime.clock), list());
                stream::once(async move { clock.sleep(time).await }).flat_map(|()| stream::empty()).chain(list).boxed()
            }
            Some(_) => stream::iter([Err(lost(Operation::List, &prefix))]).boxed(),
        }
    }
}

fn lost(operation: Operation, location: &Path) -> object_store::Error {
    let source = format!("the {} of `{location}` was lost on the way (a fault to order)", operation.as_str());
    object_store::Error::Generic { store: "faults", source: source.into() }
}

fn full() -> object_store::Error {
    object_store::Error::Generic { store: "faults", source: Box::new(io::Error::from(io::ErrorKind::StorageFull)) }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("plan", &self.plan).field("inner", &self.inner).finish()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl ObjectStore for Faults {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let to = location.clone();
        let work = |inner: Arc<dyn ObjectStore>| async move { inner.put_opts(&to, payload, options).await }.boxed();
        self.apply(Operation::Put, location, work).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let to = location.clone();
        let work = |inner: Arc<dyn ObjectStore>| async move { inner.put_multipart_opts(&to, options).await }.boxed();
        self.apply(Operation::Multipart, location, work).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (from, operation) = (location.clone(), Operation::of_get(&options));
        let work = |inner: Arc<dyn ObjectStore>| async move { inner.get_opts(&from, options).await }.boxed();
        self.apply(operation, location, work).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let faults = self.clone();
        let one = move |location: Result<Path>| {
            let faults = faults.clone();
            async move {
                let location = location?;
                let gone = location.clone();
                let work = |inner: Arc<dyn ObjectStore>| async move { inner.delete(&gone).await }.boxed();
                faults.apply(Operation::Delete, &location, work).await?;
                Ok(location)
            }
        };
        locations.then(one).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, || self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, || self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (below, place) = (prefix.cloned(), prefix.cloned().unwrap_or_default());
        let work = |inner: Arc<dyn ObjectStore>| async move { inner.list_with_delimiter(below.as_ref()).await }.boxed();
        self.apply(Operation::List, &place, work).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (source, target) = (from.clone(), to.clone());
        let work = |inner: Arc<dyn ObjectStore>| async move { inner.copy_opts(&source, &target, options).await }.boxed();
        self.apply(Operation::Copy, to, work).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (source, target) = (from.clone(), to.clone());
        let work = |inner: Arc<dyn ObjectStore>| async move { inner.rename_opts(&source, &target, options).await }.boxed();
        self.apply(Operation::Copy, to, work).await
    }
}
