//! OffsetDelete (47) 0, KIP-496.

use crate::answers;
use crate::coordinator::{Groups, Shared};
use crate::group::State;
use crate::old_connection::{NO_GENERATION, NotDone, OldConnection};
use std::collections::BTreeMap;
use strandline_commands::{DeleteOffsets, GroupPartition};
use strandline_index::Outcome;
use strandline_types::{Caller, TopicId};
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_delete::{
    OffsetDeleteRequestTopic, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use strandline_wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

impl Groups {
    /// Deletes committed offsets of topics that the group is not subscribed to.
    ///
    /// # Errors
    /// The connection is older than it may be: see [`OldConnection`].
    pub async fn offset_delete(
        &self,
        caller: &Caller,
        _: i16,
        request: OffsetDeleteRequest,
    ) -> Result<OffsetDeleteResponse, OldConnection> {
        match self.shared.delete_offsets(caller, &request).await {
            Ok(topics) => Ok(OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() }),
            Err(NotDone::Code(error)) => Ok(OffsetDeleteResponse { error_code: error.code(), ..OffsetDeleteResponse::default() }),
            Err(NotDone::OldConnection) => Err(OldConnection),
        }
    }
}

impl Shared {
    async fn delete_offsets(
        &self,
        caller: &Caller,
        request: &OffsetDeleteRequest,
    ) -> Result<Vec<OffsetDeleteResponseTopic>, NotDone> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId.into());
        }
        self.demand_coordinator(&request.group_id)?;
        self.barrier().await?;
        let known = self.known_partitions(&request.topics);
        let used = self.find_to_use(&request.group_id).await?;
        let Some(loaded) = &used.held.contents.loaded else { return Err(ErrorCode::CoordinatorNotAvailable.into()) };
        self.demand_sent_since(loaded, caller, NO_GENERATION)?;
        let (claim, has_members) = (loaded.claim.0, loaded.group.state() != State::Empty);
        if has_members && !loaded.group.uses_consumer_protocol() {
            drop(used);
            return Err(self.confirm_no(&request.group_id, ErrorCode::NonEmptyGroup).await.into());
        }
        let subscribed = loaded.group.subscribed_topics();
        let is_subscribed = |topic: &str| match &subscribed {
            Some(topics) => topics.contains(topic),
            None => true,
        };
        let mut partitions = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut answers = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let partition = asked.partition_index;
                let error = match known.get(&(topic.name.as_str(), partition)) {
                    None => ErrorCode::UnknownTopicOrPartition,
                    Some(_) if is_subscribed(&topic.name) => ErrorCode::GroupSubscribedToTopic,
                    Some(topic_id) => {
                        partitions.push(GroupPartition { topic_id: topic_id.0.to_vec(), partition });
                        ErrorCode::None
                    }
                };
                answers.push(OffsetDeleteResponsePartition { partition_index: partition, error_code: error.code() });
            }
            topics.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions: answers });
        }
        let outcome = if partitions.is_empty() {
            Ok(Outcome::Done)
        } else {
            self.submit(DeleteOffsets { group: request.group_id.clone(), claim, partitions }).await
        };
        drop(used);
        match outcome? {
            // An offset that was not there is deleted all the same.
            Outcome::Offsets { .. } | Outcome::Done => Ok(topics),
            Outcome::Refused(refusal) => Err(answers::of_refusal(&refusal).into()),
            _ => Err(ErrorCode::UnknownServerError.into()),
        }
    }

    /// Those of the partitions that exist, with their topics' ids.
    fn known_partitions<'a>(&self, topics: &'a [OffsetDeleteRequestTopic]) -> BTreeMap<(&'a str, i32), TopicId> {
        let index = self.cell.view();
        let mut known = BTreeMap::new();
        for asked in topics {
            let Some(topic) = index.topic_by_name(&asked.name) else { continue };
            for partition in &asked.partitions {
                if topic.partition(partition.partition_index).is_some() {
                    known.insert((asked.name.as_str(), partition.partition_index), topic.id);
                }
            }
        }
        known
    }
}
