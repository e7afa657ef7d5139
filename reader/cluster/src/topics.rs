//! DeleteTopics.

use crate::Cluster;
use crate::cluster::{Refused, take_doubled};
use strandline_commands::DeleteTopic;
use strandline_index::Index;
use strandline_types::{Caller, TopicId, limits};
use strandline_wire::ErrorCode;
use strandline_wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

/// Topics that one entry deletes.
const DELETED_AT_ONCE: usize = 100;

impl Cluster {
    /// DeleteTopics (20), by name or by id.
    pub async fn delete_topics(&self, _caller: &Caller, version: i16, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        let asked: Vec<DeleteTopicState> = if version >= 6 {
            request.topics
        } else {
            let by_name = |name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() };
            request.topic_names.into_iter().map(by_name).collect()
        };
        // A name may be another topic's by now.
        let is_known =
            |index: &Index, topic: &DeleteTopicState| topic.name.is_none() && index.topics.contains_key(&topic.topic_id);
        let fresh = self.fresh_unless(&asked, is_known).await;
        let look_up = |topic: DeleteTopicState| match fresh.clone().and_then(|()| self.named(&topic)) {
            Ok((name, id)) => (Some(name), id, None),
            Err(refused) => (topic.name, topic.topic_id, Some(refused)),
        };
        let mut topics: Vec<(Option<String>, TopicId, Option<Refused>)> = asked.into_iter().map(look_up).collect();
        // By then a topic's name and its id are the same.
        let doubled = take_doubled(&mut topics, |(name, id, _)| (name.clone(), *id));
        let twice = |(name, id)| {
            let refused = Refused::new(ErrorCode::InvalidRequest, "The topic is named more than once.");
            result(name, id, Some(refused))
        };
        let mut responses: Vec<_> = doubled.into_iter().map(twice).collect();
        let mut commands = Vec::new();
        let mut deleted = Vec::new();
        for (name, id, refused) in topics {
            if refused.is_none() {
                commands.push(DeleteTopic { topic_id: id.0.to_vec() }.into());
                deleted.push((name, id));
            } else {
                responses.push(result(name, id, refused));
            }
        }
        let mut outcomes = Vec::with_capacity(deleted.len());
        let clock = self.cell.runtime().clock.clone();
        let until = clock.monotonic() + limits::REQUEST_WAIT;
        // Each goes through all groups: between the pieces others see the index.
        while !commands.is_empty() {
            if clock.monotonic() > until {
                let refused = Refused::new(ErrorCode::RequestTimedOut, "There was no time for this one.");
                outcomes.extend(commands.drain(..).map(|_| Err(refused.clone())));
                break;
            }
            let piece = commands.drain(..commands.len().min(DELETED_AT_ONCE)).collect();
            outcomes.extend(self.commit(piece).await);
        }
        for ((name, id), outcome) in deleted.into_iter().zip(outcomes) {
            responses.push(result(name, id, outcome.err()));
        }
        DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
    }

    fn named(&self, topic: &DeleteTopicState) -> Result<(String, TopicId), Refused> {
        let view = self.cell.view();
        let found = match &topic.name {
            Some(_) if topic.topic_id != TopicId::ZERO => {
                return Err(Refused::new(ErrorCode::InvalidRequest, "A topic is named by its name or by its id, not by both."));
            }
            Some(name) => view.topic_by_name(name),
            None if topic.topic_id == TopicId::ZERO => {
                return Err(Refused::new(ErrorCode::InvalidRequest, "Neither topic name nor id were specified."));
            }
            None => view.topics.get(&topic.topic_id),
        };
        match found {
            Some(found) => Ok((found.name.clone(), found.id)),
            None if topic.name.is_some() => Err(Refused::unknown_topic()),
            None => Err(Refused::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")),
        }
    }
}

fn result(name: Option<String>, topic_id: TopicId, refused: Option<Refused>) -> DeletableTopicResult {
    let (code, error_message) = match refused {
        None => (ErrorCode::None, None),
        Some(refused) => (refused.code, Some(refused.message)),
    };
    DeletableTopicResult { name, topic_id, error_code: code.code(), error_message }
}
