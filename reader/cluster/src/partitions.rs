//! CreatePartitions.

use crate::Cluster;
use crate::cluster::{Refused, take_doubled};
use strandline_commands::GrowTopic;
use strandline_types::{Caller, TopicId, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

impl Cluster {
    /// CreatePartitions (37): the new total of each topic.
    pub async fn create_partitions(
        &self,
        _caller: &Caller,
        _version: i16,
        mut request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let doubled = take_doubled(&mut request.topics, |topic| topic.name.clone());
        let twice = |name| result(name, Some(Refused::new(ErrorCode::InvalidRequest, "Duplicate topic name.")));
        let mut results: Vec<_> = doubled.into_iter().map(twice).collect();
        let stale = self.cell.barrier().await.err().map(|error| Refused::of(&error));
        let (mut names, mut commands) = (Vec::new(), Vec::new());
        let mut added = 0;
        for topic in request.topics {
            let checked = match &stale {
                Some(refused) => Err(refused.clone()),
                None => self.may_grow(&topic, added),
            };
            match checked {
                Ok((id, more)) => {
                    added += more;
                    names.push(topic.name);
                    commands.push(GrowTopic { topic_id: id.0.to_vec(), partitions: topic.count }.into());
                }
                Err(refused) => results.push(result(topic.name, Some(refused))),
            }
        }
        let outcomes = if request.validate_only {
            names.iter().map(|_| Ok(strandline_index::Outcome::Done)).collect()
        } else {
            self.commit(commands).await
        };
        results.extend(names.into_iter().zip(outcomes).map(|(name, outcome)| result(name, outcome.err())));
        CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
    }

    /// The topic, and how many partitions more it is to have. Others of the request are to have `added` more.
    fn may_grow(&self, asked: &CreatePartitionsTopic, added: u64) -> Result<(TopicId, u64), Refused> {
        let topic = self.topic(&asked.name).ok_or_else(Refused::unknown_topic)?;
        let current = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let wrong = |message: String| Err(Refused::new(ErrorCode::InvalidPartitions, message));
        if asked.count == current {
            return wrong(format!("Topic already has {current} partition(s)."));
        }
        if asked.count < current {
            return wrong(format!(
                "The topic {} currently has {current} partition(s); {} would not be an increase.",
                asked.name, asked.count
            ));
        }
        if asked.count > limits::PARTITIONS_PER_TOPIC {
            return wrong(format!("A topic has at most {} partitions.", limits::PARTITIONS_PER_TOPIC));
        }
        let more = u64::from(asked.count.abs_diff(current));
        if let Some(assignments) = &asked.assignments
            && assignments.len() as u64 != more
        {
            let message = format!(
                "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refused::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        self.room_for_partitions(added + more)?;
        Ok((topic.id, more))
    }
}

fn result(name: String, refused: Option<Refused>) -> CreatePartitionsTopicResult {
    match refused {
        None => CreatePartitionsTopicResult { name, ..CreatePartitionsTopicResult::default() },
        Some(refused) => {
            CreatePartitionsTopicResult { name, error_code: refused.code.code(), error_message: Some(refused.message) }
        }
    }
}
