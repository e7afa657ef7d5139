//! What the coordinator does unasked: timers, telling parked members that their group has moved, taking groups over, and
//! letting go of what is expired. Three tasks for a node, whatever the number of groups.

use crate::coordinator::{Shared, locked};
use crate::placement::serving_nodes;
use crate::slot::{Held, Slot};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strandline_cell::Submission;
use strandline_commands::ExpireGroup;
use strandline_index::{Group, Index};
use strandline_types::{NodeId, Seq};
use strandline_wire::ErrorCode;

/// How often the nodes are looked at and the gauges are set.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often groups with members that are not loaded are looked for, though no node came or went.
const ADOPTION: Duration = Duration::from_secs(60);
/// Groups taken over in one go; the rest follow after [`UPKEEP`].
const ADOPTED_AT_ONCE: usize = 1_000;
/// Groups that one look proposes to expire.
const EXPIRED_AT_ONCE: usize = 1_000;
/// Commands of one submission.
const EXPIRED_PER_COMMIT: usize = 100;
/// The shortest time between two looks at the parked groups.
const MOVES_DEBOUNCE: Duration = Duration::from_millis(50);

pub(crate) fn start(shared: &Arc<Shared>) {
    let runtime = shared.cell.runtime();
    runtime.spawn_lasting(&runtime.spawner, "group-timers", shared, |shared| async move {
        shared.while_it_serves(shared.run_timers()).await;
        shared.give_up_all(ErrorCode::CoordinatorNotAvailable).await;
    });
    runtime.spawn_lasting(&runtime.spawner, "group-moves", shared, |shared| async move {
        shared.while_it_serves(shared.watch_moves()).await;
    });
    runtime.spawn_lasting(&runtime.spawner, "group-upkeep", shared, |shared| async move {
        shared.while_it_serves(shared.keep_up()).await;
    });
}

impl Shared {
    /// Goes on with work that has no end until the cell is over.
    async fn while_it_serves(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = work => {}
            () = self.cell.stopped() => {}
        }
    }

    async fn run_timers(self: &Arc<Self>) {
        let clock = self.cell.runtime().clock.clone();
        loop {
            while let Some((due, name)) = self.timers.pop(self.now()) {
                let Some(slot) = locked(&self.slots).get(&name).cloned() else { continue };
                match slot.try_lock() {
                    Some(held) => self.tick(held, due),
                    None => {
                        let shared = self.clone();
                        self.cell.runtime().spawner.spawn("group-timer", async move { shared.tick(slot.lock().await, due) });
                    }
                }
            }
            match self.timers.first() {
                None => self.timers.earlier().await,
                Some(at) => {
                    let wait = at.saturating_sub(self.now());
                    tokio::select! {
                        biased;
                        () = clock.sleep(wait.max(Duration::from_millis(1))) => {}
                        () = self.timers.earlier() => {}
                    }
                }
            }
        }
    }

    /// A group's timer fired that was due at `due`.
    fn tick(self: &Arc<Self>, mut held: Held, due: Duration) {
        let now = self.now();
        if held.contents.scheduled == Some(due) {
            held.contents.scheduled = None;
        }
        if let Some(loaded) = &mut held.contents.loaded {
            // A machine that waits for a store here has lost the task that made it.
            if self.claim_in(&self.cell.view(), &held.slot.name) == Some(loaded.claim) && !loaded.group.is_storing() {
                loaded.group.catch_up(now);
            } else {
                self.give_up(&mut held, ErrorCode::NotCoordinator);
            }
        }
        // Whether a store succeeds is the business of those who wait for its answers.
        drop(self.settle(held));
    }

    /// Tells parked requests at once that their group has moved.
    async fn watch_moves(self: &Arc<Self>) {
        let mut watch = self.cell.watch_everything();
        loop {
            watch.changed().await;
            let parked: Vec<String> = locked(&self.parked).iter().cloned().collect();
            if parked.is_empty() {
                // Else each commit of a busy cell would wake this for nothing.
                self.cell.runtime().sleep(MOVES_DEBOUNCE).await;
                continue;
            }
            let moved: Vec<String> = {
                let index = self.cell.view();
                parked.into_iter().filter(|name| self.claim_in(&index, name).is_none()).collect()
            };
            for name in moved {
                let Some(slot) = locked(&self.slots).get(&name).cloned() else { continue };
                match slot.try_lock() {
                    Some(held) => self.drop_if_moved(held),
                    None => {
                        let shared = self.clone();
                        self.cell.runtime().spawner.spawn("group-move", async move { shared.drop_if_moved(slot.lock().await) });
                    }
                }
            }
            self.cell.runtime().sleep(MOVES_DEBOUNCE).await;
        }
    }

    fn drop_if_moved(&self, mut held: Held) {
        let claim = self.claim_in(&self.cell.view(), &held.slot.name);
        if held.contents.loaded.as_ref().is_some_and(|loaded| Some(loaded.claim) != claim) {
            self.give_up(&mut held, ErrorCode::NotCoordinator);
            self.finish(&mut held);
        }
    }

    async fn keep_up(self: &Arc<Self>) {
        let runtime = self.cell.runtime().clone();
        let mut nodes: Vec<NodeId> = Vec::new();
        let mut adopt_at = self.now();
        let mut expire_at = self.now() + self.jittered(self.options.offsets_retention_check);
        let (mut without_offsets, mut looked_at) = (BTreeMap::new(), None);
        loop {
            let serving: Vec<NodeId> = serving_nodes(&self.cell.view()).collect();
            if serving != nodes || self.now() >= adopt_at {
                let first = nodes.is_empty();
                nodes = serving;
                if !first {
                    self.drop_moved();
                }
                let all = self.adopt().await;
                adopt_at = self.now() + if all { ADOPTION } else { UPKEEP };
            }
            if self.now() >= expire_at {
                let now_ms = runtime.clock.now_ms();
                let retention_ms = i64::try_from(self.options.offsets_retention.as_millis()).unwrap_or(i64::MAX);
                without_offsets = self.expire(&without_offsets, now_ms, retention_ms).await;
                looked_at = self.expire_offsets(looked_at, now_ms, retention_ms).await;
                expire_at = self.now() + self.jittered(self.options.offsets_retention_check);
            }
            metrics::gauge!("strandline_groups").set(self.cell.view().groups.len() as f64);
            metrics::gauge!("strandline_groups_loaded").set(locked(&self.slots).len() as f64);
            metrics::gauge!("strandline_group_members_bytes").set(self.bytes.load(Ordering::Relaxed) as f64);
            metrics::gauge!("strandline_group_members").set(self.members.load(Ordering::Relaxed) as f64);
            runtime.sleep(self.jittered(UPKEEP)).await;
        }
    }

    /// Between 90 and 110 % of it, so that nodes do not move in step.
    fn jittered(&self, duration: Duration) -> Duration {
        let percent = 90 + self.cell.runtime().random.below(21);
        duration.mul_f64(percent as f64 / 100.0)
    }

    /// Forgets groups that have moved to another node.
    fn drop_moved(&self) {
        let slots: Vec<Arc<Slot>> = locked(&self.slots).values().cloned().collect();
        for slot in slots {
            // A slot that is in use looks for itself.
            if let Some(held) = slot.try_lock() {
                self.drop_if_moved(held);
            }
        }
    }

    /// Loads groups with members that nobody has asked for since this node began to coordinate them, so that the sessions
    /// of members that do not come back end. False if there are more.
    async fn adopt(self: &Arc<Self>) -> bool {
        let mut names: Vec<String> = {
            let index = self.cell.view();
            let slots = locked(&self.slots);
            let mine = index
                .groups
                .iter()
                .filter(|(name, group)| !group.is_empty() && !slots.contains_key(*name) && self.coordinates_in(&index, name));
            mine.take(ADOPTED_AT_ONCE + 1).map(|(name, _)| name.clone()).collect()
        };
        let all = names.len() <= ADOPTED_AT_ONCE;
        names.truncate(ADOPTED_AT_ONCE);
        for name in names {
            match self.acquire(&name, false).await {
                Ok(Some(held)) => drop(self.settle(held)),
                Ok(None) => {}
                Err(error) => tracing::debug!(group = name, error = error.name(), "a group could not be taken over yet"),
            }
        }
        all
    }

    /// Proposes the end of groups without members whose offsets are past their retention, and of those without offsets that
    /// have not changed since the last look. Returns the latter kind as they are now.
    async fn expire(&self, seen_before: &BTreeMap<String, Seen>, now_ms: i64, retention_ms: i64) -> BTreeMap<String, Seen> {
        let (mut expired, mut seen) = (Vec::new(), BTreeMap::new());
        {
            let index = self.cell.view();
            let slots = locked(&self.slots);
            for (name, group) in index.groups.iter().filter(|(name, group)| group.is_empty() && !slots.contains_key(*name)) {
                let is_over = if group.offsets.is_empty() {
                    seen_before.get(name) == Some(&Seen::of(group))
                } else {
                    group.last_changed_ms.saturating_add(retention_ms) <= now_ms
                };
                if is_over && expired.len() < EXPIRED_AT_ONCE && self.coordinates_in(&index, name) {
                    expired.push(name.clone());
                } else if group.offsets.is_empty() && seen.len() < EXPIRED_AT_ONCE {
                    seen.insert(name.clone(), Seen::of(group));
                }
            }
        }
        for names in expired.chunks(EXPIRED_PER_COMMIT) {
            let mut submission = Submission::default();
            for name in names {
                // Claims it, if another node did before.
                if let Ok(Some(held)) = self.acquire(name, false).await {
                    let mut held = held;
                    self.finish(&mut held);
                }
                if let Some(command) = self.expire_command(&self.cell.view(), name, now_ms, retention_ms) {
                    submission.commands.push(command.into());
                }
            }
            if submission.commands.is_empty() {
                continue;
            }
            let count = submission.commands.len();
            match self.cell.submit(submission).await {
                Ok(_) => tracing::info!(groups = count, "groups without members have expired"),
                Err(error) => tracing::warn!(%error, "the expiry of groups was not committed; the next look tries again"),
            }
        }
        seen
    }

    /// The command that ends the group as it is now, unless something has come in between.
    fn expire_command(&self, index: &Index, name: &str, now_ms: i64, retention_ms: i64) -> Option<ExpireGroup> {
        let group = index.groups.get(name)?;
        let claim = self.claim_in(index, name)?;
        let is_over = group.offsets.is_empty() || group.last_changed_ms.saturating_add(retention_ms) <= now_ms;
        let is_free = group.is_empty() && !locked(&self.slots).contains_key(name);
        (is_over && is_free).then(|| ExpireGroup { group: name.to_owned(), claim: claim.0, last_changed: group.last_changed.0 })
    }
}

/// A group without members and offsets as a look found it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    last_changed: Seq,
    claim: Option<Seq>,
}

impl Seen {
    fn of(group: &Group) -> Self {
        Self { last_changed: group.last_changed, claim: group.claim.map(|claim| claim.epoch) }
    }
}
