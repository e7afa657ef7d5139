//! OffsetCommit (8) 2 to 10.

use crate::answers;
use crate::coordinator::{Groups, Shared};
use crate::old_connection::{NotDone, OldConnection};
use std::collections::BTreeSet;
use strandline_commands::{CommitOffsets, CommittedOffset};
use strandline_index::{Index, Outcome, Refusal};
use strandline_types::{Caller, TopicId, TopicPartition, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::offset_commit::{
    OffsetCommitRequestTopic, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use strandline_wire::messages::{OffsetCommitRequest, OffsetCommitResponse};

/// A commit is tried again once when its group has been let go, or taken over and back, under it.
const TRIES: usize = 2;

impl Groups {
    /// Commits offsets: folded, and thereby durable, before the answer. Counts as a sign of life of the member.
    ///
    /// # Errors
    /// The connection is older than it may be: see [`OldConnection`].
    pub async fn offset_commit(
        &self,
        caller: &Caller,
        version: i16,
        request: OffsetCommitRequest,
    ) -> Result<OffsetCommitResponse, OldConnection> {
        let shared = &self.shared;
        let mut answer = match shared.resolve(version, &request.topics).await {
            Ok(answer) => answer,
            Err(error) => return Ok(failed(&request, error)),
        };
        if answer.offsets.is_empty() {
            return Ok(answer.into_response());
        }
        let places: Vec<TopicPartition> = answer.offsets.iter().map(|(place, _)| *place).collect();
        let offsets = std::mem::take(&mut answer.offsets).into_iter().map(|(_, offset)| offset).collect();
        match shared.commit_offsets(caller, version, &request, offsets).await {
            Ok(unknown) => {
                answer.settle(&places, |place| if unknown.contains(place) { unknown_topic(version) } else { ErrorCode::None })
            }
            Err(NotDone::OldConnection) => return Err(OldConnection),
            Err(NotDone::Code(error)) => answer.settle(&places, |_| error),
        }
        Ok(answer.into_response())
    }
}

/// The answer as far as it is known.
struct Answer {
    topics: Vec<OffsetCommitResponseTopic>,
    /// What is to be committed; its partitions' codes come later, in the order of the answer.
    offsets: Vec<(TopicPartition, CommittedOffset)>,
    /// Where in `topics` they stand.
    open: Vec<(usize, usize)>,
}

impl Answer {
    fn settle(&mut self, places: &[TopicPartition], code: impl Fn(&TopicPartition) -> ErrorCode) {
        for ((topic, partition), place) in self.open.iter().zip(places) {
            if let Some(answer) = self.topics.get_mut(*topic).and_then(|topic| topic.partitions.get_mut(*partition)) {
                answer.error_code = code(place).code();
            }
        }
    }

    fn into_response(self) -> OffsetCommitResponse {
        OffsetCommitResponse { topics: self.topics, ..OffsetCommitResponse::default() }
    }
}

fn unknown_topic(version: i16) -> ErrorCode {
    if version >= 10 { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition }
}

/// The same error for every partition.
fn failed(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

impl Shared {
    /// Names become ids; what does not exist is answered so only after a barrier.
    async fn resolve(&self, version: i16, topics: &[OffsetCommitRequestTopic]) -> Result<Answer, ErrorCode> {
        let (answer, complete) = resolve_in(&self.cell.view(), version, topics);
        if complete {
            return Ok(answer);
        }
        self.barrier().await?;
        Ok(resolve_in(&self.cell.view(), version, topics).0)
    }

    /// Commits; gives back the partitions that had gone by then.
    async fn commit_offsets(
        &self,
        caller: &Caller,
        version: i16,
        request: &OffsetCommitRequest,
        offsets: Vec<CommittedOffset>,
    ) -> Result<BTreeSet<TopicPartition>, NotDone> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId.into());
        }
        let generation = request.generation_id_or_member_epoch;
        let mut command = CommitOffsets {
            group: request.group_id.clone(),
            claim: 0,
            generation,
            member_id: request.member_id.clone(),
            group_instance_id: request.group_instance_id.clone(),
            offsets,
        };
        if strandline_commands::command_bytes(&command.clone().into()) > limits::OFFSET_COMMIT_BYTES {
            return Err(ErrorCode::InvalidCommitOffsetSize.into());
        }
        for attempt in 1..=TRIES {
            // Only a consumer that assigns itself makes its group by committing.
            let held =
                if generation < 0 { self.acquire(&request.group_id, true).await? } else { self.find(&request.group_id).await? };
            let Some(mut held) = held else {
                return Err(if version >= 9 { ErrorCode::GroupIdNotFound } else { ErrorCode::IllegalGeneration }.into());
            };
            let now = self.now();
            let checked = held.contents.loaded.as_mut().map(|loaded| {
                self.demand_sent_since(loaded, caller, generation)?;
                let instance = request.group_instance_id.as_deref();
                let allowed = loaded.group.check_commit(now, &request.member_id, instance, generation);
                Ok::<_, OldConnection>((loaded.claim, allowed, loaded.group.commit_begins(&request.member_id)))
            });
            let _committing = self.commit_begins(&request.group_id);
            self.finish(&mut held);
            drop(held);
            let (claim, allowed, _in_flight) = checked.transpose()?.ok_or(ErrorCode::CoordinatorNotAvailable)?;
            command.claim = claim.0;
            match allowed {
                Err(ErrorCode::RebalanceInProgress) => return Err(ErrorCode::RebalanceInProgress.into()),
                Err(no) => return Err(self.confirm_no(&request.group_id, no).await.into()),
                // It assigns itself.
                Ok(true) => {
                    command.generation = -1;
                    command.member_id.clear();
                    command.group_instance_id = None;
                }
                Ok(false) => {}
            }
            match self.submit(command.clone()).await? {
                Outcome::Offsets { unknown } => {
                    metrics::counter!("strandline_group_offsets_committed_total").increment(command.offsets.len() as u64);
                    return Ok(unknown.into_iter().collect());
                }
                Outcome::Refused(Refusal::NotCoordinator | Refusal::UnknownGroup) if attempt < TRIES => {}
                Outcome::Refused(refusal) => return Err(answers::of_refusal(&refusal).into()),
                _ => return Err(ErrorCode::UnknownServerError.into()),
            }
        }
        Err(ErrorCode::NotCoordinator.into())
    }
}

/// The answer as far as the index knows it, and whether it knew every partition.
fn resolve_in(index: &Index, version: i16, topics: &[OffsetCommitRequestTopic]) -> (Answer, bool) {
    let mut answer = Answer { topics: Vec::with_capacity(topics.len()), offsets: Vec::new(), open: Vec::new() };
    let mut complete = true;
    for (topic_at, asked) in topics.iter().enumerate() {
        let topic = if version >= 10 { index.topics.get(&asked.topic_id) } else { index.topic_by_name(&asked.name) };
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for (partition_at, asked) in asked.partitions.iter().enumerate() {
            let metadata = asked.committed_metadata.as_deref().unwrap_or_default();
            let error = match topic {
                None => unknown_topic(version),
                Some(topic) if topic.partition(asked.partition_index).is_none() => ErrorCode::UnknownTopicOrPartition,
                Some(_) if metadata.len() > limits::OFFSET_METADATA_BYTES => ErrorCode::OffsetMetadataTooLarge,
                Some(topic) => {
                    answer.open.push((topic_at, partition_at));
                    answer.offsets.push(committed(
                        topic.id,
                        asked.partition_index,
                        asked.committed_offset,
                        asked.committed_leader_epoch,
                        metadata,
                    ));
                    ErrorCode::None
                }
            };
            complete &= !matches!(error, ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition);
            partitions.push(OffsetCommitResponsePartition { partition_index: asked.partition_index, error_code: error.code() });
        }
        answer.topics.push(OffsetCommitResponseTopic { name: asked.name.clone(), topic_id: asked.topic_id, partitions });
    }
    (answer, complete)
}

fn committed(
    topic_id: TopicId,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: &str,
) -> (TopicPartition, CommittedOffset) {
    let offset =
        CommittedOffset { topic_id: topic_id.0.to_vec(), partition, offset, leader_epoch, metadata: metadata.to_owned() };
    (TopicPartition { topic_id, partition }, offset)
}
