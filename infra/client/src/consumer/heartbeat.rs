//! Signs of life of a member, in a task of their own: they go on while the application works.

use super::ConsumerOptions;
use crate::client::Client;
use crate::connection::Connection;
use crate::error::{ClientError, Retry, check};
use crate::pool::Pool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strandline_wire::ErrorCode;
use strandline_wire::messages::HeartbeatRequest;
use tokio::sync::Notify;

/// Why a membership does not go on as it is.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// The group rebalances: join again as who we are.
    Rebalance,
    /// The group knows us no more: join as somebody new.
    Lost,
    /// It will not be ours again.
    Fatal(ClientError),
}

impl Change {
    /// What the group's answer to a member says of its membership; nothing where it says nothing.
    pub(super) fn of(error: &ClientError) -> Option<Self> {
        match error.code()? {
            ErrorCode::RebalanceInProgress => Some(Self::Rebalance),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => Some(Self::Lost),
            _ => None,
        }
    }
}

/// What the heartbeats found, for the consumer to see.
#[derive(Default)]
pub(super) struct Pulse {
    change: Mutex<Option<Change>>,
    pub(super) notify: Notify,
    /// When the application last polled, in milliseconds of the monotonic clock.
    last_poll_ms: AtomicU64,
}

impl Pulse {
    pub(super) fn report(&self, change: Change) {
        self.change.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(change);
        self.notify.notify_one();
    }

    pub(super) fn take(&self) -> Option<Change> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn polled(&self, now: Duration) {
        self.last_poll_ms.store(now.as_millis() as u64, Ordering::Relaxed);
    }
}

/// One member in one generation.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) group: String,
    pub(super) member_id: String,
    pub(super) group_instance_id: Option<String>,
    pub(super) generation: i32,
}

/// Sends heartbeats until the membership changes.
pub(super) async fn beat(
    client: Client,
    pool: Arc<Pool>,
    options: Arc<ConsumerOptions>,
    member: Member,
    mut connection: Arc<Connection>,
    pulse: Arc<Pulse>,
) {
    let request = HeartbeatRequest {
        group_id: member.group.clone(),
        generation_id: member.generation,
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
    };
    let runtime = client.runtime().clone();
    loop {
        runtime.sleep(options.heartbeat_interval).await;
        let silent = client.now().saturating_sub(Duration::from_millis(pulse.last_poll_ms.load(Ordering::Relaxed)));
        if silent > options.rebalance_timeout {
            tracing::warn!(group = member.group, "no poll for {silent:?}: this member gives up its partitions");
            return pulse.report(Change::Lost);
        }
        if !connection.is_open() {
            match coordinator(&client, &pool, &member.group).await {
                Ok(found) => connection = found,
                Err(error) => {
                    tracing::debug!(group = member.group, %error, "no coordinator at the moment");
                    continue;
                }
            }
        }
        let answer = connection.call_capped(i16::MAX, options.session_timeout, &request).await;
        let answer = answer.map_err(ClientError::from);
        let result = answer.and_then(|answer| check(answer.error_code, || format!("group \"{}\"", member.group), None));
        let Err(error) = result else { continue };
        if let Some(change) = Change::of(&error) {
            return pulse.report(change);
        }
        match error.code() {
            Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) => {
                if let Ok(found) = coordinator(&client, &pool, &member.group).await {
                    connection = found;
                }
            }
            _ if error.retry() == Retry::Never => return pulse.report(Change::Fatal(error)),
            _ => tracing::debug!(group = member.group, %error, "heartbeat again later"),
        }
    }
}

/// A connection of this member's own to its coordinator.
pub(super) async fn coordinator(client: &Client, pool: &Pool, group: &str) -> Result<Arc<Connection>, ClientError> {
    let broker = client.find_coordinator(group).await?;
    Ok(pool.get(&broker.address()).await?)
}
