//! The coordinator: finds a group's slot, claims and loads the group, commits what its machine decides.

use crate::answers;
use crate::group::{ClassicGroup, Settings};
use crate::options::GroupsOptions;
use crate::placement::coordinator_of;
use crate::slot::{Contents, Held, Loaded, Slot};
use crate::timers::Timers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strandline_cell::{Cell, Submission, SubmitError};
use strandline_commands::{ClaimGroup, Command, StoreGroup};
use strandline_index::{Index, Outcome, Refusal};
use strandline_types::{Seq, limits};
use strandline_wire::ErrorCode;
use tokio::sync::oneshot;

/// How often a claim is tried again when another node was faster.
const CLAIM_TRIES: usize = 4;

/// The group coordinator of one node. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) cell: Cell,
    pub(crate) options: GroupsOptions,
    pub(crate) settings: Settings,
    pub(crate) slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    pub(crate) timers: Timers,
    /// Groups with parked requests: these are told at once when their claim moves.
    pub(crate) parked: Mutex<BTreeSet<String>>,
    /// When the last successful read of the log's tail began.
    confirmed: Mutex<Option<Duration>>,
    confirming: tokio::sync::Mutex<()>,
    pub(crate) members: AtomicUsize,
    /// What the members of all groups take that are loaded.
    pub(crate) bytes: AtomicUsize,
    /// Groups with commits of offsets that are on their way into the log, and how many: nothing of these groups expires meanwhile.
    committing: Mutex<BTreeMap<String, usize>>,
    stopping: AtomicBool,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Groups {
    /// A coordinator on this node's cell. Starts its timers and its housekeeping, unless they are not wanted; they end with the cell.
    pub fn new(options: GroupsOptions, cell: Cell) -> Self {
        let settings = Settings {
            initial_rebalance_delay: options.initial_rebalance_delay,
            new_member_join_timeout: options.new_member_join_timeout,
            max_members: options.max_members.min(limits::GROUP_MEMBERS),
            max_bytes: limits::GROUP_STATE_BYTES,
        };
        let shared = Arc::new(Shared {
            cell,
            options,
            settings,
            slots: Mutex::default(),
            timers: Timers::default(),
            parked: Mutex::default(),
            confirmed: Mutex::default(),
            confirming: tokio::sync::Mutex::default(),
            members: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            committing: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        if shared.options.housekeeping {
            crate::housekeeping::start(&shared);
        }
        Self { shared }
    }

    /// Answers every parked request and every later one with COORDINATOR_NOT_AVAILABLE, so that a graceful stop of the node
    /// does not wait for them. Membership stays as it is committed: the group goes on when the node is back.
    pub async fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // A group whose commit hangs answers when that ends; the node does not wait for it.
        let _ = tokio::time::timeout(limits::SHUTDOWN / 4, self.shared.give_up_all(ErrorCode::CoordinatorNotAvailable)).await;
    }
}

/// A slot whose machine is being loaded; finished when that ends in any way but with the machine.
struct Loading<'a> {
    shared: &'a Shared,
    held: Option<Held>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if let Some(held) = &mut self.held {
            self.shared.finish(held);
        }
    }
}

/// A commit of a group's offsets on its way into the log, until it is dropped.
pub(crate) struct Committing<'a> {
    shared: &'a Shared,
    group: &'a str,
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        let mut committing = locked(&self.shared.committing);
        if let Some(count) = committing.get_mut(self.group) {
            *count -= 1;
            if *count == 0 {
                committing.remove(self.group);
            }
        }
    }
}

/// A slot in use, finished also if whoever asked goes away in the midst of it.
pub(crate) struct InUse<'a> {
    shared: &'a Shared,
    pub(crate) held: Held,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.shared.finish(&mut self.held);
    }
}

impl Shared {
    /// The slot of a group that exists, as [`Shared::find`] finds it, until it is dropped.
    pub(crate) async fn find_to_use(&self, group: &str) -> Result<InUse<'_>, ErrorCode> {
        let held = self.find(group).await?.ok_or(ErrorCode::GroupIdNotFound)?;
        Ok(InUse { shared: self, held })
    }

    /// A commit of the group begins. To be called with its slot held, and kept for as long as the outcome is not known.
    pub(crate) fn commit_begins<'a>(&'a self, group: &'a str) -> Committing<'a> {
        *locked(&self.committing).entry(group.to_owned()).or_default() += 1;
        Committing { shared: self, group }
    }

    pub(crate) fn is_committing(&self, group: &str) -> bool {
        locked(&self.committing).contains_key(group)
    }

    pub(crate) fn now(&self) -> Duration {
        self.cell.runtime().clock.monotonic()
    }

    pub(crate) fn coordinates_in(&self, index: &Index, group: &str) -> bool {
        coordinator_of(index, group) == Some(self.cell.node_id())
    }

    /// This node coordinates the group, as far as it has folded.
    pub(crate) fn demand_coordinator(&self, group: &str) -> Result<(), ErrorCode> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if self.coordinates_in(&self.cell.view(), group) { Ok(()) } else { Err(ErrorCode::NotCoordinator) }
    }

    /// Waits until the index holds all that was in the log when this was called.
    pub(crate) async fn barrier(&self) -> Result<(), ErrorCode> {
        let begun = self.now();
        self.cell.barrier().await.map_err(|error| answers::of_barrier_error(&error))?;
        let mut confirmed = locked(&self.confirmed);
        *confirmed = Some(confirmed.map_or(begun, |at| at.max(begun)));
        Ok(())
    }

    /// The claims in the index were confirmed by a read of the log begun within a third of the shortest session time-out.
    pub(crate) async fn confirm_claims(&self) -> Result<(), ErrorCode> {
        if self.is_confirmed() {
            return Ok(());
        }
        let _one = self.confirming.lock().await;
        if self.is_confirmed() { Ok(()) } else { self.barrier().await }
    }

    fn is_confirmed(&self) -> bool {
        let oldest = self.options.min_session_timeout / 3;
        locked(&self.confirmed).is_some_and(|at| self.now().saturating_sub(at) < oldest)
    }

    /// The claim of this group, if it is this node's.
    pub(crate) fn claim_in(&self, index: &Index, group: &str) -> Option<Seq> {
        let claim = index.groups.get(group)?.claim?;
        (claim.holder == self.cell.incarnation() && self.coordinates_in(index, group)).then_some(claim.epoch)
    }

    /// Before 'no' is said: the log's tail has been read since, and the claim under which it was decided still holds.
    pub(crate) async fn confirm_no(&self, group: &str, no: ErrorCode) -> ErrorCode {
        if let Err(error) = self.barrier().await {
            return error;
        }
        let index = self.cell.view();
        let held = index.groups.get(group).and_then(|known| known.claim);
        let elsewhere = held.is_some_and(|claim| claim.holder != self.cell.incarnation());
        if elsewhere || !self.coordinates_in(&index, group) { ErrorCode::NotCoordinator } else { no }
    }

    /// The slot of a group that exists; None only after a barrier.
    pub(crate) async fn find(&self, group: &str) -> Result<Option<Held>, ErrorCode> {
        if let Some(held) = self.acquire(group, false).await? {
            return Ok(Some(held));
        }
        self.barrier().await?;
        self.acquire(group, false).await
    }

    /// The group's slot, locked, with the group claimed and loaded. None if there is no such group and it is not to be made.
    pub(crate) async fn acquire(&self, group: &str, create: bool) -> Result<Option<Held>, ErrorCode> {
        loop {
            self.demand_coordinator(group)?;
            if !create && !self.cell.view().groups.contains_key(group) {
                return Ok(None);
            }
            let slot = locked(&self.slots).entry(group.to_owned()).or_insert_with(|| Arc::new(Slot::new(group))).clone();
            let held = slot.lock().await;
            if held.contents.closed {
                // Whoever closes a slot takes it out of the map in the same breath: the next look finds another.
                continue;
            }
            // Whoever asked may go away while the group is claimed: a slot without a machine must not stay, or the group would never expire.
            let mut loading = Loading { shared: self, held: Some(held) };
            let loaded = match &mut loading.held {
                Some(held) => self.load(held, create).await?,
                None => false,
            };
            return Ok(if loaded { loading.held.take() } else { None });
        }
    }

    /// Makes sure that the slot's machine is what the index holds under this node's claim. False if there is no such group
    /// and it is not to be made.
    async fn load(&self, held: &mut Held, create: bool) -> Result<bool, ErrorCode> {
        if self.fits(held) {
            return Ok(true);
        }
        self.give_up(held, ErrorCode::NotCoordinator);
        for _ in 0..CLAIM_TRIES {
            let replaces = {
                let index = self.cell.view();
                let known = index.groups.get(&held.slot.name);
                match (known, self.claim_in(&index, &held.slot.name)) {
                    (Some(known), Some(claim)) => {
                        let group = ClassicGroup::load(known, self.settings, self.now());
                        held.contents.loaded = Some(Loaded { claim, generation: known.generation, group });
                        return Ok(true);
                    }
                    (None, _) if !create => return Ok(false),
                    (known, _) => known.and_then(|known| known.claim).map_or(0, |claim| claim.epoch.0),
                }
            };
            self.demand_coordinator(&held.slot.name)?;
            match self.submit(ClaimGroup { group: held.slot.name.clone(), replaces }).await? {
                Outcome::Claimed(_) => {}
                Outcome::Refused(Refusal::Superseded { .. }) => self.barrier().await?,
                Outcome::Refused(refusal) => {
                    tracing::warn!(group = held.slot.name, %refusal, "a group could not be claimed");
                    return Err(answers::of_refusal(&refusal));
                }
                _ => return Err(ErrorCode::UnknownServerError),
            }
        }
        Err(ErrorCode::CoordinatorNotAvailable)
    }

    /// The machine is what the index holds under this node's claim.
    fn fits(&self, held: &Held) -> bool {
        let Some(loaded) = &held.contents.loaded else { return false };
        let index = self.cell.view();
        // A machine that waits for a store here has lost the task that made it.
        !loaded.group.is_storing()
            && Some(loaded.claim) == self.claim_in(&index, &held.slot.name)
            && index.groups.get(&held.slot.name).is_some_and(|known| known.generation == loaded.group.stored_generation())
    }

    /// Commits one command.
    pub(crate) async fn submit(&self, command: impl Into<Command>) -> Result<Outcome, ErrorCode> {
        let submitted = self.cell.submit(Submission::one(command)).await.map_err(|error| {
            if !matches!(error, SubmitError::Stopped) {
                tracing::warn!(%error, "a group command has no outcome");
            }
            answers::of_submit_error(&error)
        })?;
        submitted.outcomes.into_iter().next().ok_or(ErrorCode::UnknownServerError)
    }

    /// Does what the machine wants done after an input: answers now, or, if there is something to store, in a task of its
    /// own, so that a client that goes away does not stop it midway. The receiver tells how the store went.
    pub(crate) fn settle(self: &Arc<Self>, mut held: Held) -> Option<oneshot::Receiver<Result<(), ErrorCode>>> {
        match self.next_store(&mut held) {
            None => {
                self.finish(&mut held);
                None
            }
            Some(store) => {
                self.count(&mut held.contents);
                let (sender, receiver) = oneshot::channel();
                let shared = self.clone();
                self.cell.runtime().spawner.spawn("group-store", async move {
                    let result = shared.store_all(&mut held, store).await;
                    shared.finish(&mut held);
                    drop(held);
                    let _ = sender.send(result);
                });
                Some(receiver)
            }
        }
    }

    /// Counts the group's members among those of all groups, and what they take.
    fn count(&self, contents: &mut Contents) {
        let group = contents.loaded.as_ref().map(|loaded| &loaded.group);
        let (members, bytes) = (group.map_or(0, ClassicGroup::member_count), group.map_or(0, ClassicGroup::bytes));
        for (all, counted, now) in
            [(&self.members, &mut contents.counted_members, members), (&self.bytes, &mut contents.counted_bytes, bytes)]
        {
            if now != *counted {
                all.fetch_add(now, Ordering::Relaxed);
                all.fetch_sub(*counted, Ordering::Relaxed);
                *counted = now;
            }
        }
    }

    /// Delivers answers; what is to be stored comes back.
    fn next_store(&self, held: &mut Held) -> Option<StoreGroup> {
        loop {
            let contents = &mut *held.contents;
            let loaded = contents.loaded.as_mut()?;
            let mut effects = loaded.group.take_effects();
            let store = effects.store.take();
            contents.deliver(effects);
            let loaded = contents.loaded.as_mut()?;
            if let Some(mut store) = store {
                store.group.clone_from(&held.slot.name);
                store.claim = loaded.claim.0;
                return Some(store);
            }
            let now = self.now();
            if loaded.group.wake_at().is_none_or(|at| at > now) {
                return None;
            }
            loaded.group.catch_up(now);
        }
    }

    async fn store_all(&self, held: &mut Held, first: StoreGroup) -> Result<(), ErrorCode> {
        let mut next = Some(first);
        while let Some(store) = next.take() {
            let (members, stable) = (store.members.len(), store.stable);
            let begun = self.now();
            let outcome = self.submit(store).await;
            let error = match outcome {
                Ok(Outcome::Done) => None,
                Ok(Outcome::Refused(refusal @ Refusal::Limit { .. })) => {
                    // Another coordinator would say the same.
                    tracing::warn!(group = held.slot.name, %refusal, "a rebalance could not be stored: groups take as much as they may");
                    Some(answers::of_refusal(&refusal))
                }
                Ok(Outcome::Refused(refusal)) => {
                    tracing::info!(group = held.slot.name, %refusal, "a rebalance was not stored: the group is loaded anew");
                    // Whatever superseded it, members are to look for the coordinator and join again.
                    Some(ErrorCode::NotCoordinator)
                }
                Ok(_) => Some(ErrorCode::UnknownServerError),
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                self.give_up(held, error);
                return Err(error);
            }
            if stable || members == 0 {
                metrics::counter!("strandline_group_rebalances_total").increment(1);
            }
            let now = self.now();
            if let Some(loaded) = &mut held.contents.loaded {
                // Heartbeats waited for this commit.
                loaded.group.forgive(now.saturating_sub(begun));
                loaded.group.stored(now);
            }
            next = self.next_store(held);
        }
        Ok(())
    }

    /// Forgets the machine; its parked requests are answered with `error`.
    pub(crate) fn give_up(&self, held: &mut Held, error: ErrorCode) {
        if let Some(mut loaded) = held.contents.loaded.take() {
            let effects = loaded.group.give_up(error);
            held.contents.deliver(effects);
        }
    }

    /// After every use of a slot: timers, lists and gauges follow the machine; a slot that is not needed goes.
    pub(crate) fn finish(&self, held: &mut Held) {
        let Held { slot, contents } = held;
        if contents.loaded.as_ref().is_some_and(|loaded| loaded.group.is_idle() && !contents.has_parked()) {
            contents.loaded = None;
        }
        let group = contents.loaded.as_ref().map(|loaded| &loaded.group);
        let wake_at = group.and_then(ClassicGroup::wake_at);
        slot.summarize(group);
        self.timers.reschedule(&slot.name, contents.scheduled, wake_at);
        contents.scheduled = wake_at;
        self.count(contents);
        let mut parked = locked(&self.parked);
        if contents.has_parked() {
            if !parked.contains(&slot.name) {
                parked.insert(slot.name.clone());
            }
        } else if !parked.is_empty() {
            parked.remove(&slot.name);
        }
        drop(parked);
        if contents.loaded.is_none() && !contents.closed {
            contents.closed = true;
            let mut slots = locked(&self.slots);
            if slots.get(&slot.name).is_some_and(|there| Arc::ptr_eq(there, slot)) {
                slots.remove(&slot.name);
            }
        }
    }

    pub(crate) async fn give_up_all(&self, error: ErrorCode) {
        let slots: Vec<Arc<Slot>> = locked(&self.slots).values().cloned().collect();
        for slot in slots {
            let mut held = slot.lock().await;
            self.give_up(&mut held, error);
            self.finish(&mut held);
        }
    }
}
