//! Commits: how far the group is.

use super::heartbeat::{Member, coordinator};
use super::{Consumer, Event};
use crate::admin::PartitionName;
use crate::client::Client;
use crate::error::{ClientError, Retry};
use crate::pool::Pool;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strandline_wire::ErrorCode;

/// The order in which a consumer's commits begin, for each partition. One that began later says how far the consumer is; what waits behind it
/// to be sent, for the first time or again, would take the group back.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Newest>>);

#[derive(Debug, Default)]
struct Newest {
    last: u64,
    of: BTreeMap<PartitionName, u64>,
}

/// The turn of one commit.
pub(super) struct Turn {
    all: Turns,
    own: u64,
}

impl Turns {
    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of a commit of these offsets that begins now.
    pub(super) fn next(&self, offsets: &BTreeMap<PartitionName, i64>) -> Turn {
        let mut newest = self.newest();
        newest.last += 1;
        let own = newest.last;
        newest.of.extend(offsets.keys().map(|name| (name.clone(), own)));
        Turn { all: self.clone(), own }
    }
}

impl Turn {
    /// Takes out what a later commit names.
    fn retain(&self, offsets: &mut BTreeMap<PartitionName, i64>) {
        let newest = self.all.newest();
        offsets.retain(|name, _| newest.of.get(name).is_none_or(|of| *of <= self.own));
    }
}

/// One commit; it runs on its own. Of what a later one names nothing is sent any more.
pub(super) struct Commit {
    pub(super) turn: Turn,
    pub(super) client: Client,
    pub(super) pool: Arc<Pool>,
    pub(super) member: Member,
    pub(super) offsets: BTreeMap<PartitionName, i64>,
}

impl Commit {
    pub(super) async fn run(mut self) -> Result<(), ClientError> {
        let Member { group, member_id, group_instance_id, generation } = &self.member;
        let timeout = self.client.options().request_timeout;
        let deadline = self.client.now() + timeout;
        let mut backoff = self.client.backoff();
        let mut is_second = false;
        loop {
            let connection = coordinator(&self.client, &self.pool, group).await;
            self.turn.retain(&mut self.offsets);
            if self.offsets.is_empty() {
                return Ok(());
            }
            let result = match connection {
                Ok(connection) => {
                    let instance = group_instance_id.as_deref();
                    let request = crate::admin::commit_request(group, *generation, member_id, instance, &self.offsets);
                    crate::admin::commit_offsets(&connection, timeout, &request).await
                }
                Err(error) => Err(error),
            };
            match result {
                // Everything that waits for it would wait for a topic that is deleted.
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) && is_second => return Err(error),
                Err(error) if error.retry() != Retry::Never && self.client.now() < deadline => {
                    is_second = true;
                    tracing::debug!(group, %error, "committing again");
                    self.client.retried(&error);
                    self.client.runtime().sleep(backoff.next(self.client.runtime())).await;
                }
                result => return result,
            }
        }
    }
}

impl Consumer {
    /// Commits the positions: everything that `poll` returned counts as done.
    ///
    /// # Errors
    /// No group is set, or the member is out of it (ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS): those
    /// records may be read again by others.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let offsets = self.known_positions();
        self.commit_offsets(offsets).await
    }

    /// Commits these offsets: of each partition the next one to read.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_offsets(&mut self, offsets: BTreeMap<PartitionName, i64>) -> Result<(), ClientError> {
        let result = self.commit_of(offsets)?.run().await;
        if let (Err(error), Some(group)) = (&result, &self.group) {
            group.heard(error);
        }
        result
    }

    fn commit_of(&self, offsets: BTreeMap<PartitionName, i64>) -> Result<Commit, ClientError> {
        let Some(group) = &self.options.group else {
            return Err(ClientError::Invalid("to commit, a consumer needs a group".into()));
        };
        // While it joins, nobody knows whose the partitions are.
        if self.group.as_ref().is_some_and(|group| group.member().is_none()) {
            return Err(ClientError::broker(format!("group \"{group}\""), ErrorCode::RebalanceInProgress, None));
        }
        // Without a membership the group takes commits as long as it has no members.
        let outside = || Member { group: group.clone(), member_id: String::new(), group_instance_id: None, generation: -1 };
        let member = self.group.as_ref().and_then(|group| group.member()).cloned();
        let (client, pool) = (self.client.clone(), self.group_pool.clone());
        Ok(Commit { turn: self.commits.next(&offsets), client, pool, member: member.unwrap_or_else(outside), offsets })
    }

    /// Starts a commit when it is time; what was returned by the last poll counts as done.
    pub(super) fn auto_commit(&mut self) {
        let now = self.client.now();
        let Some(interval) = self.options.auto_commit else { return };
        if self.committing || now.saturating_sub(self.last_commit) < interval {
            return;
        }
        self.last_commit = now;
        let offsets = self.known_positions();
        let joined = self.group.as_ref().is_none_or(|group| group.member().is_some());
        if offsets.is_empty() || !joined {
            return;
        }
        if let Ok(commit) = self.commit_of(offsets) {
            self.committing = true;
            self.running.push(Box::pin(async move { Event::Committed(commit.run().await) }));
        }
    }
}
