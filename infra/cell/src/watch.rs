//! Waking those who wait for a partition, a group or the metadata.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use strandline_index::Folded;
use strandline_types::{FixedHashMap, TopicPartition};
use tokio::sync::Notify;

/// Who waits for what. Only what is waited for costs anything.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<Lists>);

#[derive(Default)]
struct Lists {
    next: u64,
    partitions: FixedHashMap<TopicPartition, BTreeMap<u64, Arc<Notify>>>,
    everything: BTreeMap<u64, Arc<Notify>>,
}

impl Watchers {
    pub(crate) fn watch(self: &Arc<Self>, partitions: Vec<TopicPartition>) -> Watch {
        let notify = Arc::new(Notify::new());
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = lists.next;
        lists.next += 1;
        for partition in &partitions {
            lists.partitions.entry(*partition).or_default().insert(id, notify.clone());
        }
        Watch { watchers: self.clone(), id, partitions, everything: false, notify }
    }

    pub(crate) fn watch_everything(self: &Arc<Self>) -> Watch {
        let notify = Arc::new(Notify::new());
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = lists.next;
        lists.next += 1;
        lists.everything.insert(id, notify.clone());
        Watch { watchers: self.clone(), id, partitions: Vec::new(), everything: true, notify }
    }

    pub(crate) fn wake(&self, folded: &Folded) {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !lists.partitions.is_empty() {
            for partition in &folded.partitions {
                for notify in lists.partitions.get(partition).into_iter().flat_map(BTreeMap::values) {
                    notify.notify_one();
                }
            }
        }
        for notify in lists.everything.values() {
            notify.notify_one();
        }
    }

    pub(crate) fn wake_all(&self) {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for notify in lists.partitions.values().flat_map(BTreeMap::values).chain(lists.everything.values()) {
            notify.notify_one();
        }
    }
}

/// A wait for change. Make it, look at the index, then wait: a change in between is not missed.
pub struct Watch {
    watchers: Arc<Watchers>,
    id: u64,
    partitions: Vec<TopicPartition>,
    everything: bool,
    notify: Arc<Notify>,
}

impl Watch {
    /// Returns when something watched has changed since the watch was made or since the last return. May return
    /// without cause: look again.
    pub async fn changed(&mut self) {
        self.notify.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut lists = self.watchers.0.lock().unwrap_or_else(PoisonError::into_inner);
        for partition in &self.partitions {
            if let Some(waiters) = lists.partitions.get_mut(partition) {
                waiters.remove(&self.id);
                if waiters.is_empty() {
                    lists.partitions.remove(partition);
                }
            }
        }
        if self.everything {
            lists.everything.remove(&self.id);
        }
    }
}
