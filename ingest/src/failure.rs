//! What a client is told about a batch that is not in the log.

use std::borrow::Cow;
use strandline_cell::SubmitError;
use strandline_errors::KafkaError;
use strandline_index::Refusal;
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::BatchIndexAndErrorMessage;
use strandline_wire::records::BatchError;

/// An error of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'static, str>,
    /// The record to blame, with a text for it.
    pub(crate) record: Option<(i32, String)>,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), record: None }
    }

    pub(crate) fn unknown_topic(by_id: bool) -> Self {
        match by_id {
            true => Self::new(ErrorCode::UnknownTopicId, "there is no topic with this id"),
            false => Self::new(ErrorCode::UnknownTopicOrPartition, "there is no such topic"),
        }
    }

    pub(crate) fn unknown_partition() -> Self {
        Self::new(ErrorCode::UnknownTopicOrPartition, "the topic has no such partition")
    }

    /// It may be in the log, or still come into it.
    pub(crate) fn in_doubt() -> Self {
        Self::new(ErrorCode::RequestTimedOut, "the outcome was not known in time; the batch may be in the log")
    }

    pub(crate) fn queue_full() -> Self {
        Self::of_submit(&SubmitError::QueueFull)
    }

    pub(crate) fn no_room() -> Self {
        Self::new(
            ErrorCode::KafkaStorageError,
            "no room: less disk is free than `min_free_bytes` asks for, or none; free some space, or lower that setting",
        )
    }

    /// An earlier batch of the partition was lost, and this one must not overtake it.
    pub(crate) fn overtakes() -> Self {
        Self::new(
            ErrorCode::KafkaStorageError,
            "an earlier batch of the partition could not be stored, so this one is refused too",
        )
    }

    /// A client sends the same batch once more after it.
    pub(crate) fn comes_again(&self) -> bool {
        self.code.is_retriable()
    }

    pub(crate) fn of_batch(error: &BatchError) -> Self {
        let record = error.record_index().map(|index| (index, error.to_string()));
        Self { code: error.error_code(), message: error.to_string().into(), record }
    }

    pub(crate) fn of_refusal(refusal: &Refusal, by_id: bool) -> Self {
        match refusal {
            Refusal::UnknownTopic => Self::unknown_topic(by_id),
            Refusal::UnknownPartition => Self::unknown_partition(),
            // Back-pressure. librdkafka takes the code for quotas for a final one and fails the message.
            pressed_back if pressed_back.is_back_pressure() => Self::new(ErrorCode::KafkaStorageError, refusal.to_string()),
            other => Self::new(other.code(), other.to_string()),
        }
    }

    pub(crate) fn of_submit(error: &SubmitError) -> Self {
        Self::new(error.code(), error.to_string())
    }

    pub(crate) fn record_errors(&self) -> Vec<BatchIndexAndErrorMessage> {
        let error = self.record.as_ref().map(|(batch_index, message)| BatchIndexAndErrorMessage {
            batch_index: *batch_index,
            batch_index_error_message: Some(message.clone()),
        });
        error.into_iter().collect()
    }
}
