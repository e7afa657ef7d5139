//! Typed topic configurations, kept from request to request.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use strandline_index::Topic;
use strandline_topic_config::TopicConfig;
use strandline_types::{FixedHashMap, TopicId, limits};

/// Made anew when a topic's values differ from those it was made of.
#[derive(Default)]
pub(crate) struct ConfigCache(RwLock<FixedHashMap<TopicId, Kept>>);

struct Kept {
    configs: BTreeMap<String, String>,
    typed: TopicConfig,
}

impl ConfigCache {
    pub(crate) fn of(&self, topic: &Topic) -> TopicConfig {
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&topic.id)
            && found.configs == topic.configs
        {
            return found.typed;
        }
        let typed = TopicConfig::of(&topic.configs);
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= limits::TOPIC_CONFIGS_KEPT {
            kept.clear();
        }
        kept.insert(topic.id, Kept { configs: topic.configs.clone(), typed });
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_topic_is_seen_at_once() {
        let cache = ConfigCache::default();
        let mut topic = Topic { id: TopicId([1; 16]), ..Topic::default() };
        assert_eq!(cache.of(&topic).max_message_bytes, 1_048_588);
        topic.configs.insert("max.message.bytes".to_owned(), "5".to_owned());
        assert_eq!(cache.of(&topic).max_message_bytes, 5);
        assert_eq!(cache.of(&topic).max_message_bytes, 5);
    }
}
