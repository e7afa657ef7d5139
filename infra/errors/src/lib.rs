//! The one place where our errors become Kafka's codes; `docs/errors.md` is its copy for people.
//!
//! What it must never do: answer a retriable code for what can never succeed (the client would hang), or a final code for
//! what may (the client would drop acknowledged work).

use strandline_cell::{BarrierError, SubmitError};
use strandline_index::Refusal;
use strandline_wire::ErrorCode;

/// Something that has a Kafka error code.
pub trait KafkaError {
    /// The code that the client is told.
    fn code(&self) -> ErrorCode;
}

impl KafkaError for Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Refusal::UnknownTopic | Refusal::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            Refusal::TopicExists => ErrorCode::TopicAlreadyExists,
            Refusal::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
            pressed_back if pressed_back.is_back_pressure() => ErrorCode::ThrottlingQuotaExceeded,
            Refusal::Limit { what: "bytes of offset metadata" } => ErrorCode::OffsetMetadataTooLarge,
            Refusal::Limit { what: "committed offsets" } => ErrorCode::InvalidCommitOffsetSize,
            Refusal::Limit { what: "members of one group" } => ErrorCode::GroupMaxSizeReached,
            // Clients take the other for final, and it is no fault of this group.
            Refusal::Limit { what: "members of groups" } => ErrorCode::CoordinatorNotAvailable,
            Refusal::Limit { .. } => ErrorCode::PolicyViolation,
            Refusal::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
            Refusal::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
            Refusal::UnknownProducer => ErrorCode::InvalidProducerIdMapping,
            Refusal::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
            Refusal::UnknownGroup => ErrorCode::GroupIdNotFound,
            Refusal::GroupNotEmpty => ErrorCode::NonEmptyGroup,
            Refusal::NotCoordinator => ErrorCode::NotCoordinator,
            Refusal::UnknownMember => ErrorCode::UnknownMemberId,
            Refusal::IllegalGeneration => ErrorCode::IllegalGeneration,
            Refusal::FencedInstance => ErrorCode::FencedInstanceId,
            Refusal::LeaseLost | Refusal::Superseded { .. } | Refusal::BelowHorizon => ErrorCode::RequestTimedOut,
            Refusal::Malformed { .. } => ErrorCode::InvalidRequest,
        }
    }
}

impl KafkaError for SubmitError {
    fn code(&self) -> ErrorCode {
        match self {
            SubmitError::Full { .. } => ErrorCode::KafkaStorageError,
            SubmitError::TooLarge => ErrorCode::MessageTooLarge,
            SubmitError::QueueFull | SubmitError::InDoubt | SubmitError::Stopped => ErrorCode::RequestTimedOut,
        }
    }
}

impl KafkaError for BarrierError {
    fn code(&self) -> ErrorCode {
        match self {
            BarrierError::Unavailable | BarrierError::Stopped => ErrorCode::RequestTimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_doubt_is_retriable_and_what_is_fenced_is_not() {
        assert!(SubmitError::InDoubt.code().is_retriable());
        assert!(SubmitError::Full { reason: String::new() }.code().is_retriable());
        assert!(BarrierError::Unavailable.code().is_retriable());
        assert!(!Refusal::InvalidProducerEpoch.code().is_retriable());
        assert!(!Refusal::TopicExists.code().is_retriable());
        assert!(!Refusal::Malformed { what: "" }.code().is_retriable());
    }
}
