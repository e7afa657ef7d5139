//! Where a group's machine lives while it is at work, with the requests that wait for it.

use crate::group::{ClassicGroup, Effects, State, Ticket};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strandline_types::Seq;
use strandline_wire::messages::{JoinGroupResponse, SyncGroupResponse};
use tokio::sync::{OwnedMutexGuard, oneshot};

/// One group's place. Its lock is held across a commit of the group, so that the machine takes one input at a time.
pub(crate) struct Slot {
    pub(crate) name: String,
    contents: Arc<tokio::sync::Mutex<Contents>>,
    /// For ListGroups, which must not wait for a commit.
    summary: Mutex<Option<Summary>>,
}

/// What ListGroups shows of a group.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) state: State,
    pub(crate) protocol_type: String,
}

/// A slot's contents.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) loaded: Option<Loaded>,
    parked: BTreeMap<Ticket, Parked>,
    next_ticket: u64,
    /// The slot was taken out of the map: look the group up again.
    pub(crate) closed: bool,
    /// The entry in the timers.
    pub(crate) scheduled: Option<Duration>,
    /// What this group adds to the gauge of members.
    pub(crate) counted_members: usize,
    /// What it adds to the bytes of all groups.
    pub(crate) counted_bytes: usize,
}

/// A machine and the claim under which it was loaded.
pub(crate) struct Loaded {
    pub(crate) claim: Seq,
    /// The group's, as it was loaded: younger ones were made since the claim.
    pub(crate) generation: i32,
    pub(crate) group: ClassicGroup,
}

enum Parked {
    Join(oneshot::Sender<JoinGroupResponse>),
    Sync(oneshot::Sender<SyncGroupResponse>),
}

/// A locked slot.
pub(crate) struct Held {
    pub(crate) slot: Arc<Slot>,
    pub(crate) contents: OwnedMutexGuard<Contents>,
}

impl Slot {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), contents: Arc::default(), summary: Mutex::default() }
    }

    pub(crate) async fn lock(self: &Arc<Self>) -> Held {
        Held { slot: self.clone(), contents: self.contents.clone().lock_owned().await }
    }

    pub(crate) fn try_lock(self: &Arc<Self>) -> Option<Held> {
        Some(Held { slot: self.clone(), contents: self.contents.clone().try_lock_owned().ok()? })
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn summarize(&self, group: Option<&ClassicGroup>) {
        let summary = group.map(|group| Summary { state: group.state(), protocol_type: group.protocol_type().to_owned() });
        *self.summary.lock().unwrap_or_else(PoisonError::into_inner) = summary;
    }
}

impl Contents {
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    pub(crate) fn park_join(&mut self) -> (Ticket, oneshot::Receiver<JoinGroupResponse>) {
        let (sender, receiver) = oneshot::channel();
        (self.park(Parked::Join(sender)), receiver)
    }

    pub(crate) fn park_sync(&mut self) -> (Ticket, oneshot::Receiver<SyncGroupResponse>) {
        let (sender, receiver) = oneshot::channel();
        (self.park(Parked::Sync(sender)), receiver)
    }

    fn park(&mut self, parked: Parked) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.parked.insert(ticket, parked);
        ticket
    }

    /// Answers parked requests. Whoever has gone meanwhile is not missed.
    pub(crate) fn deliver(&mut self, effects: Effects) {
        for (ticket, answer) in effects.joins {
            if let Some(Parked::Join(sender)) = self.parked.remove(&ticket) {
                let _ = sender.send(answer);
            }
        }
        for (ticket, answer) in effects.syncs {
            if let Some(Parked::Sync(sender)) = self.parked.remove(&ticket) {
                let _ = sender.send(answer);
            }
        }
    }
}
