//! What clients of group APIs are told when a command or a barrier fails.
//!
//! Where the table of all errors and Kafka's group coordinator differ. Clients know few codes in answers of group APIs, and
//! take any other for a bug: so all that passes is COORDINATOR_NOT_AVAILABLE, after which they look the coordinator up and
//! try again, as Kafka's own coordinator tells them to.

use strandline_cell::{BarrierError, SubmitError};
use strandline_errors::KafkaError;
use strandline_index::Refusal;
use strandline_wire::ErrorCode;

/// The fold said no.
pub(crate) fn of_refusal(refusal: &Refusal) -> ErrorCode {
    match refusal {
        // The group was let go or taken over in between: look for its coordinator and try again.
        Refusal::UnknownGroup | Refusal::Superseded { .. } => ErrorCode::NotCoordinator,
        Refusal::Limit { what: "groups" } => ErrorCode::GroupMaxSizeReached,
        other => other.code(),
    }
}

/// There is no outcome.
pub(crate) fn of_submit_error(error: &SubmitError) -> ErrorCode {
    match error {
        SubmitError::TooLarge => ErrorCode::UnknownServerError,
        SubmitError::QueueFull | SubmitError::Full { .. } | SubmitError::InDoubt | SubmitError::Stopped => {
            ErrorCode::CoordinatorNotAvailable
        }
    }
}

/// The log's tail could not be read.
pub(crate) fn of_barrier_error(_: &BarrierError) -> ErrorCode {
    ErrorCode::CoordinatorNotAvailable
}
