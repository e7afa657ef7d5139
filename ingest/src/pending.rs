//! The answer to a Produce request, before its outcomes are known.

use crate::connection::Unanswered;
use crate::door::{Place, Taken};
use crate::failure::Failure;
use crate::instruments::Instruments;
use crate::refused::Refused;
use crate::sequences::OnItsWay;
use crate::throttle::InFlightBytes;
use std::sync::Arc;
use std::time::Duration;
use strandline_cell::{Sequence, SubmitError, Submitted};
use strandline_index::{BatchOutcome, Outcome, Refusal};
use strandline_runtime::Clock;
use strandline_wire::ErrorCode;
use strandline_wire::messages::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use tokio::sync::oneshot;

/// What a Produce request is answered.
#[derive(Debug)]
pub struct ProduceAnswer {
    /// The body. Not to be sent with acks=0.
    pub response: ProduceResponse,
    /// As asked for.
    pub acks: i16,
    /// Some batch was refused, or its outcome is in doubt. With acks=0 the connection has to be closed: the client has no
    /// other way to hear of it.
    pub had_error: bool,
}

/// Batches whose outcome comes with one submission, one command each.
pub(crate) struct Committing {
    pub(crate) reply: oneshot::Receiver<Result<Submitted, SubmitError>>,
    pub(crate) batches: Vec<Sent>,
}

/// A batch that was put on its way.
pub(crate) struct Sent {
    pub(crate) place: Place,
    pub(crate) log_append_time: bool,
    pub(crate) sequence: Option<Sequence>,
}

impl Sent {
    pub(crate) fn of(taken: &Taken) -> Self {
        let sequence = Sequence::of(&taken.batch);
        Self { place: taken.place, log_append_time: taken.log_append_time(), sequence }
    }
}

/// A batch on its way through a buffer.
pub(crate) struct Buffered {
    pub(crate) reply: oneshot::Receiver<Result<BatchOutcome, Failure>>,
    pub(crate) sent: Sent,
}

/// A Produce request that was taken in. Dropping it takes nothing back.
pub struct PendingProduce {
    pub(crate) acks: i16,
    pub(crate) by_id: bool,
    pub(crate) response: ProduceResponse,
    /// Memory that the request's records keep.
    pub(crate) held_bytes: usize,
    pub(crate) committing: Vec<Committing>,
    pub(crate) buffered: Vec<Buffered>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started: Duration,
    pub(crate) deadline: Duration,
    pub(crate) instruments: Instruments,
    pub(crate) in_flight: Vec<InFlightBytes>,
    pub(crate) unanswered: Option<Unanswered>,
    pub(crate) on_their_way: Vec<OnItsWay>,
    pub(crate) refused: Arc<Refused>,
}

/// An answer that has a place for every partition of the request, none of them filled.
pub(crate) fn skeleton(request: &ProduceRequest) -> ProduceResponse {
    let responses = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|partition| PartitionProduceResponse {
                index: partition.index,
                base_offset: -1,
                ..PartitionProduceResponse::default()
            })
            .collect(),
    });
    ProduceResponse { responses: responses.collect(), ..ProduceResponse::default() }
}

fn slot(response: &mut ProduceResponse, place: Place) -> Option<&mut PartitionProduceResponse> {
    response.responses.get_mut(place.0)?.partition_responses.get_mut(place.1)
}

pub(crate) fn fail(response: &mut ProduceResponse, place: Place, failure: &Failure) {
    if let Some(partition) = slot(response, place) {
        Instruments::refused(failure.code.name());
        tracing::debug!(partition = partition.index, error = failure.code.name(), message = %failure.message, "produce refused");
        partition.error_code = failure.code.code();
        partition.record_errors = failure.record_errors();
        partition.error_message = Some(failure.message.clone().into_owned());
    }
}

/// Fails every partition of the request.
pub(crate) fn fail_all(response: &mut ProduceResponse, failure: &Failure) {
    for topic in 0..response.responses.len() {
        for partition in 0..response.responses[topic].partition_responses.len() {
            fail(response, (topic, partition), failure);
        }
    }
}

impl PendingProduce {
    /// Fails a batch that is not in the log. With a sequence it may come again, and what its producer sent behind it does not
    /// overtake it.
    pub(crate) fn refuse(&mut self, place: Place, sequence: Option<Sequence>, failure: &Failure) {
        fail(&mut self.response, place, failure);
        let Some(sequence) = sequence else { return };
        let Some(topic) = self.response.responses.get(place.0) else { return };
        if let Some(partition) = topic.partition_responses.get(place.1) {
            let named = (topic.topic_id, topic.name.clone(), partition.index);
            self.refused.note(named, sequence, failure, self.clock.monotonic());
        }
    }

    /// As asked for: -1, 0 or 1, or something else that was refused.
    pub fn acks(&self) -> i16 {
        self.acks
    }

    /// Waits for the outcomes, at most as long as the request allows and never beyond
    /// [`REQUEST_WAIT`](strandline_types::limits::REQUEST_WAIT) from its arrival; what is in doubt then is REQUEST_TIMED_OUT. Beside the
    /// cell's driver it hears so only once the disk has answered that.
    pub async fn answer(mut self) -> ProduceAnswer {
        for committing in std::mem::take(&mut self.committing) {
            let result = self.in_time(committing.reply).await;
            let failure = match result {
                Some(Ok(submitted)) => {
                    let mut outcomes = submitted.outcomes.into_iter();
                    for sent in committing.batches {
                        self.fill(&sent, batch_outcome(outcomes.next()));
                    }
                    continue;
                }
                Some(Err(error)) => Failure::of_submit(&error),
                None => Failure::in_doubt(),
            };
            committing.batches.iter().for_each(|sent| fail(&mut self.response, sent.place, &failure));
        }
        for buffered in std::mem::take(&mut self.buffered) {
            match self.in_time(buffered.reply).await {
                Some(Ok(outcome)) => self.fill(&buffered.sent, outcome),
                Some(Err(failure)) => fail(&mut self.response, buffered.sent.place, &failure),
                None => fail(&mut self.response, buffered.sent.place, &Failure::in_doubt()),
            }
        }
        self.in_flight.clear();
        self.unanswered = None;
        self.on_their_way.clear();
        self.instruments.seconds.record(self.clock.monotonic().saturating_sub(self.started).as_secs_f64());
        let partitions = self.response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let had_error = partitions.into_iter().any(|partition| partition.error_code != ErrorCode::None.code());
        ProduceAnswer { response: self.response, acks: self.acks, had_error }
    }

    /// What came before the deadline. A sender that went away is as good as none.
    async fn in_time<T>(&self, reply: oneshot::Receiver<T>) -> Option<T> {
        let left = self.deadline.saturating_sub(self.clock.monotonic());
        tokio::time::timeout(left, reply).await.ok()?.ok()
    }

    fn fill(&mut self, sent: &Sent, outcome: BatchOutcome) {
        let (base_offset, append_time_ms, log_start) = match outcome {
            // A duplicate is told where it is, without an error: to the client it is the same as the first time.
            BatchOutcome::Appended { base_offset, append_time_ms, log_start }
            | BatchOutcome::Duplicate { base_offset, append_time_ms, log_start } => (base_offset, append_time_ms, log_start),
            BatchOutcome::Refused(refusal) => {
                // By its name the topic may come again. (Of the rest that does the cell knows.)
                let is_gone = matches!(refusal, Refusal::UnknownTopic | Refusal::UnknownPartition);
                return self.refuse(sent.place, sent.sequence.filter(|_| is_gone), &Failure::of_refusal(&refusal, self.by_id));
            }
        };
        if let Some(partition) = slot(&mut self.response, sent.place) {
            partition.base_offset = base_offset;
            partition.log_append_time_ms = if sent.log_append_time { append_time_ms } else { -1 };
            partition.log_start_offset = log_start;
        }
    }
}

/// The outcome of a command that carries one batch.
fn batch_outcome(outcome: Option<Outcome>) -> BatchOutcome {
    let missing = Refusal::Malformed { what: "a batch without an outcome" };
    match outcome {
        Some(Outcome::Produced(batches)) => batches.into_iter().next().unwrap_or(BatchOutcome::Refused(missing)),
        Some(Outcome::Refused(refusal)) => BatchOutcome::Refused(refusal),
        _ => BatchOutcome::Refused(missing),
    }
}
