//! The consumer: partitions assigned by hand or by a group, fetched from their leaders.
//!
//! Everything it waits for is kept in it, so a `poll` that is dropped half-way loses nothing.

mod assignor;
mod commit;
mod fetch;
mod fetched;
mod group;
mod heartbeat;
mod join;
mod position;
mod resolve;
mod sticky;

pub use assignor::{Assignor, MemberSubscription, assign};
pub use fetched::{ConsumedRecord, Fetched, FetchedPartition};
pub use position::Progress;

use crate::admin::{Isolation, PartitionName};
use crate::client::Client;
use crate::error::ClientError;
use crate::pool::Pool;
use crate::wait::Backoff;
use fetch::{Failed, FetchDone, Node};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use group::Group;
use position::Position;
use resolve::Resolved;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_types::limits;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// At the first record.
    #[default]
    Earliest,
    /// At the end: only what is written from now on.
    Latest,
    /// At this offset.
    Offset(i64),
    /// At the first record of this time or later, in milliseconds since 1970; at the end if there is none.
    Timestamp(i64),
    /// Nowhere: it is an error.
    Fail,
}

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// The group, for `subscribe` and for commits.
    pub group: Option<String>,
    /// A name that outlives restarts (a static member, KIP-345).
    pub group_instance_id: Option<String>,
    /// Which records are seen.
    pub isolation: Isolation,
    /// Where a partition begins that has no committed offset, or whose offset is gone.
    pub start: StartAt,
    /// A fetch waits until there is so much.
    pub min_bytes: i32,
    /// Bytes of one fetch.
    pub max_bytes: i32,
    /// Bytes of one partition in a fetch.
    pub partition_bytes: i32,
    /// How long a fetch waits for [`Self::min_bytes`].
    pub max_wait: Duration,
    /// Whether checksums of batches are checked.
    pub check_crcs: bool,
    /// A member that is not heard of for so long is out of its group.
    pub session_timeout: Duration,
    /// How often a member is heard of.
    pub heartbeat_interval: Duration,
    /// How long a rebalance waits for a member; one that does not poll for so long gives up its membership.
    pub rebalance_timeout: Duration,
    /// How the group's leader may distribute partitions, the most wanted first. With [`Assignor::CooperativeSticky`]
    /// alone, members keep reading what stays theirs during a rebalance.
    pub assignors: Vec<Assignor>,
    /// How often positions are committed without being asked; `None` is never.
    pub auto_commit: Option<Duration>,
    /// The rack, or zone, to read in (KIP-392).
    pub rack: String,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            group: None,
            group_instance_id: None,
            isolation: Isolation::ReadUncommitted,
            start: StartAt::Earliest,
            min_bytes: 1,
            max_bytes: limits::CLIENT_FETCH_BYTES,
            partition_bytes: limits::CLIENT_FETCH_PARTITION_BYTES,
            max_wait: Duration::from_millis(500),
            check_crcs: true,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            auto_commit: None,
            rack: String::new(),
        }
    }
}

/// A consumer. Used from one task; [`Self::close`] it to leave its group at once.
pub struct Consumer {
    client: Client,
    options: Arc<ConsumerOptions>,
    /// Connections for fetches.
    pool: Arc<Pool>,
    /// Connections to the group's coordinator: records are read on while a JoinGroup waits for the other members there.
    group_pool: Arc<Pool>,
    positions: BTreeMap<PartitionName, Position>,
    /// Counts assignments and seeks, so that answers to what was asked before them are recognised.
    epoch: u64,
    nodes: BTreeMap<i32, Node>,
    failed: Option<Failed>,
    running: FuturesUnordered<BoxFuture<'static, Event>>,
    resolving: bool,
    resolve_not_before: Duration,
    refreshing: bool,
    refresh_wanted: bool,
    refresh_not_before: Duration,
    last_refresh: Duration,
    backoff: Backoff,
    group: Option<Group>,
    commits: commit::Turns,
    committing: bool,
    last_commit: Duration,
}

enum Event {
    Fetched(FetchDone),
    Resolved(Result<Vec<Resolved>, ClientError>),
    Refreshed(Result<(), ClientError>),
    Committed(Result<(), ClientError>),
}

impl Consumer {
    pub(crate) fn new(client: Client, options: ConsumerOptions) -> Self {
        Self {
            pool: Arc::new(client.new_pool()),
            group_pool: Arc::new(client.new_pool()),
            options: Arc::new(options),
            positions: BTreeMap::new(),
            epoch: 0,
            nodes: BTreeMap::new(),
            failed: None,
            running: FuturesUnordered::new(),
            resolving: false,
            resolve_not_before: Duration::ZERO,
            refreshing: false,
            refresh_wanted: false,
            refresh_not_before: Duration::ZERO,
            last_refresh: client.now(),
            backoff: client.backoff(),
            group: None,
            commits: commit::Turns::default(),
            committing: false,
            last_commit: client.now(),
            client,
        }
    }

    /// Reads these partitions from now on, and no others. Leaves no group: do not mix with [`Self::subscribe`].
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = (PartitionName, StartAt)>) {
        self.epoch += 1;
        let epoch = self.epoch;
        let positions = partitions.into_iter().map(|(name, start)| (name, Position::new(epoch, start, false)));
        self.positions = positions.collect();
    }

    /// Reads every partition of these topics from `start` on.
    ///
    /// # Errors
    /// No broker answers, or a topic does not exist.
    pub async fn assign_topics(&mut self, topics: &[&str], start: StartAt) -> Result<(), ClientError> {
        let cluster = self.client.topics(topics).await?;
        let known = topics.iter().filter_map(|topic| cluster.topics.get(*topic));
        let partitions = known
            .flat_map(|topic| topic.partitions.iter().map(move |partition| ((topic.name.clone(), partition.partition), start)));
        self.assign(partitions.collect::<Vec<_>>());
        Ok(())
    }

    /// Joins the group and reads what it assigns. The joining itself happens in [`Self::poll`].
    ///
    /// # Errors
    /// The options name no group.
    pub fn subscribe(&mut self, topics: &[&str]) -> Result<(), ClientError> {
        let Some(id) = self.options.group.clone() else {
            return Err(ClientError::Invalid("to subscribe, a consumer needs a group".into()));
        };
        self.positions.clear();
        self.group = Some(Group::new(id, topics.iter().map(|topic| (*topic).to_owned()).collect()));
        Ok(())
    }

    /// Goes on at another place in a partition that it reads.
    ///
    /// # Errors
    /// It does not read that partition.
    pub fn seek(&mut self, partition: &PartitionName, start: StartAt) -> Result<(), ClientError> {
        self.epoch += 1;
        let epoch = self.epoch;
        let position = self.positions.get_mut(partition).ok_or_else(|| not_assigned(partition))?;
        *position = Position { paused: position.paused, ..Position::new(epoch, start, false) };
        Ok(())
    }

    /// Stops or goes on fetching a partition that it reads.
    ///
    /// # Errors
    /// It does not read that partition.
    pub fn pause(&mut self, partition: &PartitionName, paused: bool) -> Result<(), ClientError> {
        self.positions.get_mut(partition).ok_or_else(|| not_assigned(partition))?.paused = paused;
        Ok(())
    }

    /// What it reads now, and how far it is.
    pub fn progress(&self) -> BTreeMap<PartitionName, Progress> {
        self.positions.iter().map(|(name, position)| (name.clone(), position.progress())).collect()
    }

    /// The next records, from one broker; none if there are none within `timeout`. Their partitions' positions have
    /// moved behind them.
    ///
    /// # Errors
    /// What trying again does not help against: an offset that is gone with [`StartAt::Fail`], a membership that was
    /// fenced, a damaged batch. A topic that is gone brings nothing, until it is there again. The error of one partition
    /// costs the others nothing: what came with it is returned first, and the error by the next poll.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Fetched, ClientError> {
        let deadline = self.client.now() + timeout;
        self.auto_commit();
        loop {
            self.drive_group()?;
            if let Some(error) = self.take_failed() {
                return Err(error);
            }
            self.start();
            let now = self.client.now();
            let wait = deadline.saturating_sub(now).min(self.next_due(now));
            let has_running = !self.running.is_empty();
            let runtime = self.client.runtime().clone();
            tokio::select! {
                biased;
                // First: with two brokers there may always be an answer, and a join would never go on.
                () = Group::changed(self.group.as_mut()) => {}
                Some(event) = self.running.next(), if has_running => {
                    self.give_up_lost();
                    let fetched = self.handle(event)?;
                    if !fetched.is_empty() {
                        self.start();
                        return Ok(fetched);
                    }
                }
                () = runtime.sleep(wait) => {
                    if self.client.now() >= deadline {
                        self.give_up_lost();
                        return Ok(Fetched::default());
                    }
                }
            }
        }
    }

    /// Starts all that can be started now.
    fn start(&mut self) {
        let now = self.client.now();
        self.start_resolving(now);
        self.start_fetches(now);
        let old = now.saturating_sub(self.last_refresh) >= self.client.options().metadata_age;
        let due = (self.refresh_wanted || old) && now >= self.refresh_not_before;
        let names = self.topic_names();
        if due && !self.refreshing && !names.is_empty() {
            self.refreshing = true;
            self.refresh_wanted = false;
            let client = self.client.clone();
            self.running.push(Box::pin(async move {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Event::Refreshed(client.refresh(&names).await)
            }));
        }
    }

    fn topic_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.positions.keys().map(|(topic, _)| topic.clone()).collect();
        names.extend(self.group.iter().flat_map(|group| group.topics().iter().cloned()));
        names.sort();
        names.dedup();
        names
    }

    /// How long until something that was put off is due.
    fn next_due(&self, now: Duration) -> Duration {
        const LONGEST: Duration = Duration::from_secs(1);
        let nodes = self.nodes.values().map(|node| node.not_before);
        let due = nodes.chain([self.resolve_not_before, self.refresh_not_before]).filter(|at| *at > now).min();
        due.map_or(LONGEST, |due| (due - now).clamp(Duration::from_millis(1), LONGEST))
    }

    fn handle(&mut self, event: Event) -> Result<Fetched, ClientError> {
        let now = self.client.now();
        match event {
            Event::Fetched(done) => return self.fetched(done, now),
            Event::Resolved(result) => self.resolved(result, now)?,
            Event::Committed(result) => {
                self.committing = false;
                if let Err(error) = result {
                    tracing::warn!(%error, "offsets were not committed");
                }
            }
            Event::Refreshed(result) => {
                self.refreshing = false;
                self.last_refresh = now;
                if let Err(error) = result {
                    tracing::debug!(%error, "metadata again later");
                    self.client.retried(&error);
                    self.refresh_wanted = true;
                    self.refresh_not_before = now + self.backoff.next(self.client.runtime());
                } else {
                    self.backoff.reset();
                }
                self.look_for_new_partitions();
            }
        }
        Ok(Fetched::default())
    }
}

fn not_assigned(partition: &PartitionName) -> ClientError {
    ClientError::Invalid(format!("partition {}-{} is not among those that are read", partition.0, partition.1))
}
