//! A least-recently-used cache, bounded in bytes: no threads, no hashing by chance, the same every time.

use crate::key::CacheKey;
use bytes::Bytes;
use std::collections::BTreeMap;

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    weight: usize,
    used: u64,
}

/// Entries by key, and keys by their last use.
#[derive(Debug)]
pub(crate) struct SimpleCache {
    capacity: usize,
    usage: usize,
    uses: u64,
    entries: BTreeMap<CacheKey, Entry>,
    by_use: BTreeMap<u64, CacheKey>,
}

impl SimpleCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, usage: 0, uses: 0, entries: BTreeMap::new(), by_use: BTreeMap::new() }
    }

    pub(crate) fn usage(&self) -> usize {
        self.usage
    }

    pub(crate) fn get(&mut self, key: &CacheKey) -> Option<Bytes> {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        let key = self.by_use.remove(&entry.used)?;
        entry.used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(entry.bytes.clone())
    }

    pub(crate) fn insert(&mut self, key: CacheKey, bytes: Bytes, weight: usize) {
        self.remove(&key);
        if weight > self.capacity {
            return;
        }
        while self.usage + weight > self.capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.usage -= entry.weight;
            }
        }
        self.uses += 1;
        self.usage += weight;
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { bytes, weight, used: self.uses });
    }

    pub(crate) fn remove(&mut self, key: &CacheKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.usage -= entry.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: u8) -> CacheKey {
        CacheKey::Inline { seq: id.into() }
    }

    #[derive(Debug, Clone)]
    enum Action {
        Insert(u8, usize),
        Get(u8),
        Remove(u8),
    }

    fn actions() -> impl Strategy<Value = Action> {
        prop_oneof![
            (0..12_u8, 0..60_usize).prop_map(|(id, length)| Action::Insert(id, length)),
            (0..12_u8).prop_map(Action::Get),
            (0..12_u8).prop_map(Action::Remove),
        ]
    }

    proptest! {
        /// The model keeps the whole order of use in a list, the last used one last.
        #[test]
        fn it_keeps_what_was_used_last_within_its_bound(actions in proptest::collection::vec(actions(), 1..120)) {
            let (mut cache, mut model) = (SimpleCache::new(100), Vec::<(u8, usize)>::new());
            for action in actions {
                match action {
                    Action::Insert(id, length) => {
                        model.retain(|(other, _)| *other != id);
                        while model.iter().map(|(_, length)| length).sum::<usize>() + length > 100 {
                            model.remove(0);
                        }
                        model.push((id, length));
                        cache.insert(key(id), Bytes::from(vec![id; length]), length);
                    }
                    Action::Get(id) => {
                        let place = model.iter().position(|(other, _)| *other == id);
                        let wanted = place.map(|place| {
                            let entry = model.remove(place);
                            model.push(entry);
                            Bytes::from(vec![id; entry.1])
                        });
                        prop_assert_eq!(cache.get(&key(id)), wanted);
                    }
                    Action::Remove(id) => {
                        model.retain(|(other, _)| *other != id);
                        cache.remove(&key(id));
                    }
                }
                prop_assert_eq!(cache.usage(), model.iter().map(|(_, length)| length).sum::<usize>());
                prop_assert_eq!(cache.entries.len(), cache.by_use.len());
            }
        }
    }

    #[test]
    fn what_is_larger_than_the_whole_cache_is_not_kept_and_drives_nothing_out() {
        let mut cache = SimpleCache::new(100);
        cache.insert(key(1), Bytes::from(vec![1; 50]), 50);
        cache.insert(key(2), Bytes::from(vec![2; 101]), 101);
        assert!(cache.get(&key(1)).is_some() && cache.get(&key(2)).is_none());
    }
}
