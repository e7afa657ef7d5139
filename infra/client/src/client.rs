//! The client: bootstrap, metadata, connections to leaders.

use crate::admin::Admin;
use crate::cluster::{Broker, Cluster, Topic, unknown_topic};
use crate::connect::{Connect, TcpConnect};
use crate::connection::Connection;
use crate::consumer::{Consumer, ConsumerOptions};
use crate::error::{ClientError, Retry, check};
use crate::notice::Tried;
use crate::options::ClientOptions;
use crate::pool::{Address, Pool};
use crate::producer::{Producer, ProducerOptions};
use crate::wait::Backoff;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strandline_runtime::Runtime;
use strandline_wire::ErrorCode;
use strandline_wire::messages::MetadataRequest;
use strandline_wire::messages::metadata::MetadataRequestTopic;

/// A client of one cluster; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    options: Arc<ClientOptions>,
    bootstrap: Vec<Address>,
    pool: Pool,
    known: Mutex<Known>,
    tried: Mutex<Tried>,
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    cluster: Arc<Cluster>,
    /// When each topic was last asked for.
    asked: BTreeMap<String, Duration>,
}

impl Client {
    /// A client over TCP. It connects when it is first used.
    ///
    /// # Errors
    /// A bootstrap address that is none.
    pub fn tcp(runtime: Runtime, options: ClientOptions) -> Result<Self, ClientError> {
        Self::new(runtime, Arc::new(TcpConnect), options)
    }

    /// A client over any network.
    ///
    /// # Errors
    /// A bootstrap address that is none.
    pub fn new(runtime: Runtime, connector: Arc<dyn Connect>, options: ClientOptions) -> Result<Self, ClientError> {
        let bootstrap = options.bootstrap.iter().map(|address| parse_address(address)).collect::<Result<Vec<_>, _>>()?;
        if bootstrap.is_empty() {
            return Err(ClientError::Address(String::new()));
        }
        let options = Arc::new(options);
        let pool = Pool::new(runtime.clone(), connector, options.clone());
        let (known, tried) = (Mutex::default(), Mutex::default());
        let inner = Inner { runtime, options, bootstrap, pool, known, tried, refreshing: Default::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Changes and questions about topics, configs and groups.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// A producer. Close it, or flush it, before it is dropped: what waits in it is lost otherwise.
    pub fn producer(&self, options: ProducerOptions) -> Producer {
        Producer::new(self.clone(), options)
    }

    /// A consumer, without partitions as yet.
    pub fn consumer(&self, options: ConsumerOptions) -> Consumer {
        Consumer::new(self.clone(), options)
    }

    /// The seams it runs on.
    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// Its settings.
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// What is known of the cluster now, without asking.
    pub fn known(&self) -> Arc<Cluster> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner).cluster.clone()
    }

    /// The cluster with all its topics, asked for now.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn cluster(&self) -> Result<Arc<Cluster>, ClientError> {
        self.retrying("asking for the cluster's metadata", |_| async { self.ask(None).await.map(|(cluster, _)| cluster) }).await
    }

    /// Topics from what is known, those that are not known or too old asked for. A topic that does not exist is asked
    /// for again for a short while, since it may just have been created.
    ///
    /// # Errors
    /// No broker answers, or a topic does not exist.
    pub async fn topics(&self, names: &[&str]) -> Result<Arc<Cluster>, ClientError> {
        let deadline = self.now() + self.inner.options.unknown_topic_wait;
        let mut backoff = self.backoff();
        loop {
            let missing = self.stale(names);
            if missing.is_empty() {
                return Ok(self.known());
            }
            match self.refresh(&missing).await {
                Ok(()) => return Ok(self.known()),
                Err(error) if error.retry() == Retry::Never || self.now() >= deadline => return Err(error),
                Err(_) => self.inner.runtime.sleep(backoff.next(&self.inner.runtime)).await,
            }
        }
    }

    /// One topic; see [`Self::topics`].
    ///
    /// # Errors
    /// No broker answers, or the topic does not exist.
    pub async fn topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        self.topics(&[name]).await?.topics.get(name).cloned().ok_or_else(|| unknown_topic(name))
    }

    /// Asks for these topics now, once.
    ///
    /// # Errors
    /// No broker answers, or a topic has an error.
    pub async fn refresh(&self, names: &[&str]) -> Result<(), ClientError> {
        let (_, errors) = self.ask(Some(names)).await?;
        match names.iter().find_map(|name| errors.get(*name).map(|code| (*name, *code))) {
            Some((name, code)) => Err(ClientError::broker(format!("topic \"{name}\""), code, None)),
            None => Ok(()),
        }
    }

    /// Asks for these topics unless that was done since `seen` was looked up: many partitions that fail at once ask once.
    pub(crate) async fn refresh_since(&self, names: &[&str], seen: &Arc<Cluster>) -> Result<(), ClientError> {
        let _one = self.inner.refreshing.lock().await;
        if !Arc::ptr_eq(seen, &self.known()) {
            return Ok(());
        }
        self.refresh(names).await
    }

    /// The topics among `names` that are not known, or were last asked for too long ago.
    fn stale<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        let now = self.now();
        let known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |name: &str| {
            known.cluster.topics.contains_key(name)
                && known.asked.get(name).is_some_and(|asked| now.saturating_sub(*asked) < self.inner.options.metadata_age)
        };
        names.iter().copied().filter(|name| !fresh(name)).collect()
    }

    async fn ask(&self, names: Option<&[&str]>) -> Result<(Arc<Cluster>, BTreeMap<String, ErrorCode>), ClientError> {
        let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(topic).collect()),
            allow_auto_topic_creation: self.inner.options.allow_auto_topic_creation,
            ..Default::default()
        };
        let response = self.any_connection().await?.call(&request).await?;
        check(response.error_code, || "asking for metadata".into(), None)?;
        let now = self.now();
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (cluster, errors) = known.cluster.merge(response, names.is_none());
        let cluster = Arc::new(cluster);
        if names.is_none() {
            known.asked.clear();
        }
        for name in cluster.topics.keys() {
            if names.is_none_or(|names| names.contains(&name.as_str())) {
                known.asked.insert(name.clone(), now);
            }
        }
        known.cluster = cluster.clone();
        Ok((cluster, errors))
    }

    /// A connection to any broker that can be reached: those known first, in random order, then those to begin with.
    ///
    /// # Errors
    /// None can be reached.
    pub async fn any_connection(&self) -> Result<Arc<Connection>, ClientError> {
        let mut addresses: Vec<Address> = self.known().brokers.values().map(Broker::address).collect();
        for remaining in (1..addresses.len()).rev() {
            let chosen = self.inner.runtime.random.below(remaining as u64 + 1) as usize;
            addresses.swap(remaining, chosen);
        }
        for address in &self.inner.bootstrap {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let mut last = ClientError::Address(String::new());
        for address in &addresses {
            match self.inner.pool.get(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error.into(),
            }
        }
        let addresses: Vec<String> = addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        Err(ClientError::NoBroker { addresses: addresses.join(", "), last: Box::new(last) })
    }

    /// A connection to the broker that takes changes of topics, which is asked for anew where the `last` error asks for that.
    pub(crate) async fn controller(&self, last: Option<Retry>) -> Result<Arc<Connection>, ClientError> {
        let known = self.known();
        let cluster = match last {
            _ if known.brokers.is_empty() => self.ask(Some(&[])).await?.0,
            // Where nobody can be asked it may be back soon.
            Some(Retry::Elsewhere) => self.ask(Some(&[])).await.map_or(known, |(cluster, _)| cluster),
            _ => known,
        };
        match cluster.brokers.get(&cluster.controller_id) {
            Some(broker) => Ok(self.connection(broker).await?),
            None => self.any_connection().await,
        }
    }

    /// A shared connection to this broker, for requests that are answered at once.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connection(&self, broker: &Broker) -> Result<Arc<Connection>, ClientError> {
        Ok(self.inner.pool.get(&broker.address()).await?)
    }

    /// A pool for one user.
    pub(crate) fn new_pool(&self) -> Pool {
        self.inner.pool.sibling()
    }

    pub(crate) fn tried(&self) -> &Mutex<Tried> {
        &self.inner.tried
    }

    /// Addresses to which there was a connection.
    pub(crate) fn reached(&self) -> BTreeSet<String> {
        self.inner.pool.reached()
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.inner.options.backoff, self.inner.options.backoff_longest)
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.runtime.clock.monotonic()
    }

    /// Tries until it succeeds, fails for good, or `operation_timeout` is over. The attempt is told what the last error
    /// asks for.
    pub(crate) async fn retrying<T, F>(&self, what: &str, mut attempt: impl FnMut(Option<Retry>) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let after = self.inner.options.operation_timeout;
        let deadline = self.now() + after;
        let mut backoff = self.backoff();
        let mut last = None;
        loop {
            match attempt(last).await.map_err(|error| self.explained(error)) {
                Ok(value) => return Ok(value),
                Err(error) if error.retry() == Retry::Never || !is_worth_waiting(&error) => return Err(error),
                Err(error) if self.now() >= deadline => {
                    return Err(ClientError::TimedOut { what: what.to_owned(), after, last: Some(Box::new(error)) });
                }
                Err(error) => {
                    tracing::debug!(what, %error, "trying again");
                    if !self.may_try_again(&error) {
                        return Err(error);
                    }
                    last = Some(error.retry());
                    self.inner.runtime.sleep(backoff.next(&self.inner.runtime)).await;
                }
            }
        }
    }
}

/// A person waits for these: a broker that is not there and a topic that does not exist are said at once.
fn is_worth_waiting(error: &ClientError) -> bool {
    !matches!(error, ClientError::NoBroker { .. })
        && !matches!(error.code(), Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId))
}

fn parse_address(address: &str) -> Result<Address, ClientError> {
    let invalid = || ClientError::Address(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(invalid());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| invalid())?))
}
