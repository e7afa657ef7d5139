//! Changes and questions: topics, configs, records, groups and their offsets.

mod configs;
mod group_offsets;
mod groups;
mod records;
mod reset;
mod topics;

pub use configs::{ConfigChange, ConfigEntry, ConfigSource, Resource};
pub use group_offsets::CommittedOffset;
pub(crate) use group_offsets::{commit_offsets, commit_request};
pub use groups::{DescribedGroup, GroupMember, ListedGroup};
pub use records::{Isolation, ListedOffset, OffsetAt};
pub use reset::{OffsetChange, ResetTo};
pub use topics::{CreatedTopic, NewTopic};

use crate::client::Client;
use crate::cluster::Broker;
use crate::connection::Connection;
use crate::error::{ClientError, Retry};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A partition by its topic's name.
pub type PartitionName = (String, i32);

/// Administration of a cluster; cheap to clone.
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client that this belongs to.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A connection to the coordinator of a group, found anew.
    async fn coordinator(&self, group: &str) -> Result<Arc<Connection>, ClientError> {
        let broker = self.client.find_coordinator(group).await?;
        self.client.connection(&broker).await
    }

    /// Sends each partition's item to its leader, all leaders at once, and goes on with those that failed for now.
    async fn by_leader<I, T, F>(
        &self,
        what: &str,
        items: BTreeMap<PartitionName, I>,
        send: impl Fn(Arc<Connection>, Vec<(PartitionName, I)>) -> F,
    ) -> Result<BTreeMap<PartitionName, Result<T, ClientError>>, ClientError>
    where
        I: Clone,
        F: Future<Output = Result<BTreeMap<PartitionName, Result<T, ClientError>>, ClientError>>,
    {
        let after = self.client.options().operation_timeout;
        let deadline = self.client.now() + after;
        let mut backoff = self.client.backoff();
        let mut done = BTreeMap::new();
        let mut left = items;
        loop {
            let mut topics: Vec<String> = left.keys().map(|(topic, _)| topic.clone()).collect();
            topics.dedup();
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            let cluster = self.client.topics(&names).await?;
            let mut by_node: BTreeMap<i32, (Broker, Vec<(PartitionName, I)>)> = BTreeMap::new();
            let mut failed: BTreeMap<PartitionName, ClientError> = BTreeMap::new();
            for (name, item) in &left {
                match cluster.leader(&name.0, name.1) {
                    Ok(leader) => {
                        let (_, items) = by_node.entry(leader.node_id).or_insert_with(|| (leader.clone(), Vec::new()));
                        items.push((name.clone(), item.clone()));
                    }
                    Err(error) => drop(failed.insert(name.clone(), error)),
                }
            }
            let (client, send) = (&self.client, &send);
            let answers = join_all(by_node.into_values().map(|(broker, items)| async move {
                let asked: Vec<PartitionName> = items.iter().map(|(name, _)| name.clone()).collect();
                let answer = match client.connection(&broker).await {
                    Ok(connection) => send(connection, items).await,
                    Err(error) => Err(error),
                };
                (asked, answer)
            }));
            for (asked, answer) in answers.await {
                match answer {
                    Ok(mut results) => {
                        for name in asked {
                            match results.remove(&name) {
                                Some(Ok(value)) => drop(done.insert(name, Ok(value))),
                                Some(Err(error)) => drop(failed.insert(name, error)),
                                None => {
                                    let error = ClientError::Missing(format!("partition {}-{}", name.0, name.1));
                                    drop(done.insert(name, Err(error)));
                                }
                            }
                        }
                    }
                    Err(error) => failed.extend(asked.into_iter().map(|name| (name, error.clone()))),
                }
            }
            let late = self.client.now() >= deadline;
            failed = failed.into_iter().map(|(name, error)| (name, self.client.explained(error))).collect();
            let again = |error: &ClientError| error.retry() != Retry::Never && !late && self.client.may_try_again(error);
            left.retain(|name, _| failed.get(name).is_some_and(again));
            let given_up = failed.into_iter().filter(|(name, _)| !left.contains_key(name));
            done.extend(given_up.map(|(name, error)| (name, Err(error))));
            if left.is_empty() {
                return Ok(done);
            }
            tracing::debug!(what, partitions = left.len(), "trying again");
            self.client.runtime().sleep(backoff.next(self.client.runtime())).await;
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            let _ = self.client.refresh_since(&names, &cluster).await;
        }
    }
}

/// Items by topic, as most requests want them.
fn by_topic<I, T>(items: Vec<(PartitionName, I)>, make: impl Fn(i32, I) -> T) -> BTreeMap<String, Vec<T>> {
    let mut topics: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for ((topic, partition), item) in items {
        topics.entry(topic).or_default().push(make(partition, item));
    }
    topics
}
