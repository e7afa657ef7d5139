//! CreatePartitions.

use crate::Cluster;
use crate::cluster::Refused;
use std::collections::BTreeSet;
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
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let stale = self.cell.barrier().await.err().map(|error| Refused::of(&error));
        let mut seen = BTreeSet::new();
        let mut results = Vec::new();
        let (mut names, mut commands) = (Vec::new(), Vec::new());
        for topic in request.topics {
            let checked = match &stale {
                Some(refused) => Err(refused.clone()),
                None if !seen.insert(topic.name.clone()) => Err(Refused::new(ErrorCode::InvalidRequest, "Duplicate topic name.")),
                None => self.may_grow(&topic),
            };
            match checked {
                Ok(id) => {
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

    fn may_grow(&self, asked: &CreatePartitionsTopic) -> Result<TopicId, Refused> {
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
        if let Some(assignments) = &asked.assignments {
            let added = usize::try_from(asked.count - current).unwrap_or(0);
            if assignments.len() != added {
                let message = format!(
                    "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                );
                return Err(Refused::new(ErrorCode::InvalidReplicaAssignment, message));
            }
        }
        Ok(topic.id)
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
