//! Deleted topics: their sealed objects, rows and manifests go at once, are looked for again after an hour (a delayed PUT may bring
//! one back), and then the cell forgets them.

use crate::error::WorkError;
use crate::options::millis;
use crate::shared::Shared;
use futures::TryStreamExt;
use strandline_bronze::topic_folder;
use strandline_commands::{ForgetTopic, LeaseKind};
use strandline_index::DroppedTopic;
use strandline_object_store::Purpose;
use strandline_types::{LeaseNumber, TopicId, limits};

impl Shared {
    /// Whether there is a deleted topic to empty or to forget now.
    pub fn dropped_due(&self) -> bool {
        !self.dropped_topics().is_empty()
    }

    fn dropped_topics(&self) -> Vec<(TopicId, DroppedTopic, bool)> {
        let now_ms = self.now_ms();
        let view = self.cell.view();
        let memory = self.memory();
        let topics = view.dropped.iter().filter_map(|(id, topic)| {
            let forget = now_ms.saturating_sub(topic.since_ms) >= millis(self.options.dropped_grace);
            (forget || !memory.emptied.contains_key(id)).then(|| (*id, topic.clone(), forget))
        });
        topics.collect()
    }

    /// Empties the folders of deleted topics. One topic's trouble is not another's.
    pub async fn empty_dropped_once(&self) -> Result<(), WorkError> {
        let mut first_error = None;
        for (topic_id, topic, forget) in self.dropped_topics() {
            let lease = self.lease(LeaseKind::Garbage, &[]).await?;
            if let Err(error) = self.empty_dropped(topic_id, &topic, forget, lease).await {
                tracing::warn!(%topic_id, topic = topic.name, %error, "a deleted topic could not be emptied");
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn empty_dropped(&self, id: TopicId, topic: &DroppedTopic, forget: bool, lease: LeaseNumber) -> Result<(), WorkError> {
        // Nobody looks up the rows of a topic that is gone: its objects need not wait for them.
        let rows = self.segment_index.remove_topic(id).await.map(drop).map_err(WorkError::from);
        let files = self.empty_folder(&topic_folder("bronze", &topic.name, id)).await;
        rows.and(files).and(self.delete_manifests(id, &topic.name).await)?;
        let now_ms = self.now_ms();
        {
            let mut memory = self.memory();
            memory.sealed.remove(&id);
            memory.sealed_changed.remove(&id);
            memory.dropped_marked.remove(&id);
            memory.seal_boundaries.remove(&id);
            memory.unsealed_since.remove(&id);
            memory.conversions_begun.remove(&id);
            memory.emptied.insert(id, now_ms);
        }
        if forget {
            self.commit_one(ForgetTopic { lease: lease.0, topic_id: id.0.to_vec() }).await?;
            self.memory().emptied.remove(&id);
        }
        Ok(())
    }

    /// Deletes all that lies below `folder`.
    pub async fn empty_folder(&self, folder: &str) -> Result<(), WorkError> {
        loop {
            let mut listing = self.objects.list(Purpose::Sweep, folder);
            let mut paths = Vec::new();
            while let Some(object) = listing.try_next().await? {
                paths.push(object.path);
                if paths.len() >= limits::GARBAGE_BATCH {
                    break;
                }
            }
            if paths.is_empty() {
                return Ok(());
            }
            for answer in self.objects.delete_all(Purpose::Garbage, &paths).await {
                answer?;
            }
        }
    }
}
