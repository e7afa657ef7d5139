//! InitProducerId: ids for idempotent producers.

use crate::produce::Ingest;
use strandline_cell::Submission;
use strandline_commands::InitProducer;
use strandline_index::Outcome;
use strandline_types::Caller;
use strandline_wire::ErrorCode;
use strandline_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

impl Ingest {
    /// Gives out a producer id, all versions. Like Kafka it gives a new one to every idempotent producer that asks, also to
    /// one that names an id it has (KIP-360 raises epochs of transactional ids only; idempotent clients raise their own).
    /// A transactional id is INVALID_REQUEST, which no client tries again, until transactions exist.
    pub async fn init_producer_id(&self, caller: &Caller, request: InitProducerIdRequest) -> InitProducerIdResponse {
        if let Some(transactional_id) = &request.transactional_id {
            tracing::info!(client = ?caller.client_id, transactional_id, "refused a transactional producer: transactions are not supported");
            return refused(ErrorCode::InvalidRequest);
        }
        if (request.producer_id == -1) != (request.producer_epoch == -1) {
            return refused(ErrorCode::InvalidRequest);
        }
        let command = InitProducer { producer_id: -1, producer_epoch: -1 };
        let outcome = match self.cell().submit(Submission::one(command)).await {
            Ok(submitted) => submitted.outcomes.into_iter().next(),
            Err(error) => {
                tracing::warn!(%error, "no producer id could be given out");
                // The one error after which every client asks again, without looking for another coordinator first. An id
                // that was given out all the same is never used.
                return refused(ErrorCode::CoordinatorLoadInProgress);
            }
        };
        match outcome {
            Some(Outcome::Producer { producer_id, producer_epoch }) => InitProducerIdResponse {
                producer_id,
                producer_epoch: i16::try_from(producer_epoch).unwrap_or(0),
                ..InitProducerIdResponse::default()
            },
            outcome => {
                tracing::warn!(?outcome, "no producer id could be given out");
                refused(ErrorCode::UnknownServerError)
            }
        }
    }
}

fn refused(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code: error.code(), producer_id: -1, producer_epoch: -1, ..InitProducerIdResponse::default() }
}
