//! What an idempotent producer writes to one partition: batches in flight, their sequences, and what became of them.

use super::send::Told;
use crate::dice::Dice;
use crate::ledger::RecordId;
use crate::record::{Sender, batch};
use crate::world::{TopicInfo, World};
use bytes::Bytes;
use std::collections::VecDeque;
use strandline_types::TopicPartition;
use strandline_wire::ErrorCode;

struct InFlight {
    ids: Vec<RecordId>,
    base_sequence: i32,
    acked: bool,
}

/// One partition of a producer.
pub(super) struct Lane {
    pub topic: TopicInfo,
    pub at: TopicPartition,
    producer: u32,
    producer_id: i64,
    /// It rises partition by partition.
    epoch: i16,
    window: VecDeque<InFlight>,
    next_sequence: i32,
    last_offset: i64,
}

impl Lane {
    pub fn new(producer: u32, producer_id: i64, epoch: i16, topic: TopicInfo, at: TopicPartition) -> Self {
        Self { topic, at, producer, producer_id, epoch, window: VecDeque::new(), next_sequence: 0, last_offset: -1 }
    }

    /// Batches that are not acknowledged yet, or stand behind one that is not.
    pub fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// These records are to be sent, as one batch.
    pub fn push(&mut self, world: &World, ids: Vec<RecordId>) {
        ids.iter().for_each(|id| world.core.ledger().tried(self.at, *id, true));
        let base_sequence = self.next_sequence;
        self.next_sequence += ids.len() as i32;
        self.window.push_back(InFlight { ids, base_sequence, acked: false });
    }

    /// What is not acknowledged, in order.
    pub fn open(&self) -> Vec<usize> {
        (0..self.window.len()).filter(|at| !self.window[*at].acked).collect()
    }

    /// One of these as it is sent.
    pub fn batch(&self, at: usize, start_ms: i64, dice: &Dice) -> (Vec<RecordId>, Bytes) {
        let InFlight { ids, base_sequence, .. } = &self.window[at];
        let sender = Sender { producer_id: self.producer_id, producer_epoch: self.epoch, base_sequence: *base_sequence };
        (ids.clone(), batch(ids, start_ms, super::producer::compression(dice), Some(sender)))
    }

    /// What those that were open were told, in order. False when the topic is gone.
    pub fn hear(&mut self, world: &World, through: &str, open: &[usize], told: &[Told]) -> bool {
        let text: Vec<String> = told.iter().map(Told::to_string).collect();
        world.core.trace(format!(
            "producer {} {through} {}-{} from {}: {}",
            self.producer,
            self.topic.name,
            self.at.partition,
            self.window.iter().find(|batch| !batch.acked).map_or(-1, |batch| batch.base_sequence),
            text.join(", ")
        ));
        let mut fenced = None;
        for (at, told) in open.iter().zip(told) {
            match told {
                Told::Acked(_) => self.window[*at].acked = true,
                Told::Error(ErrorCode::UnknownTopicId) => return false,
                Told::Error(
                    code @ (ErrorCode::InvalidProducerEpoch
                    | ErrorCode::InvalidProducerIdMapping
                    | ErrorCode::CorruptMessage
                    | ErrorCode::InvalidRequest),
                ) => {
                    fenced = Some(*code);
                }
                Told::Error(_) | Told::Nothing => {}
            }
        }
        if let Some(code) = fenced {
            world.core.fail(format!("producer {} was told {code}, which nothing explains", self.producer));
        }
        self.begin_anew_if_overtaken(world, open, told);
        // Their order in the log is that of their sequences.
        while self.window.front().is_some_and(|batch| batch.acked) {
            let Some(done) = self.window.pop_front() else { break };
            let acked = world.core.ledger().place_of(self.at, done.ids[0]);
            if let Some(offset) = acked {
                if offset <= self.last_offset {
                    world.core.fail(format!(
                        "producer {}: sequence {} is at {offset}, the one before at {}",
                        self.producer, done.base_sequence, self.last_offset
                    ));
                }
                self.last_offset = offset;
            }
        }
        true
    }

    /// The very first batch was lost on its way, and a later one got in first through another node: without state any sequence
    /// is accepted, as in Kafka. What the Java client does then: a new epoch, and what is not acknowledged once more from 0.
    fn begin_anew_if_overtaken(&mut self, world: &World, open: &[usize], told: &[Told]) {
        let refused = matches!(told.first(), Some(Told::Error(ErrorCode::OutOfOrderSequenceNumber)));
        let is_first = open.first().is_some_and(|at| self.window[*at].base_sequence == 0);
        // As the Java client: not before all that was sent behind it is resolved. What has no answer may be in the log, and sent again
        // in a new epoch it would be there twice.
        let out_of_order = |told: &Told| matches!(told, Told::Error(ErrorCode::OutOfOrderSequenceNumber));
        let is_resolved = open.iter().zip(told).all(|(at, told)| self.window[*at].acked || out_of_order(told));
        if !refused || !is_first || !is_resolved || !self.window.iter().any(|batch| batch.acked) {
            return;
        }
        self.epoch += 1;
        self.next_sequence = 0;
        self.last_offset = -1;
        self.window.retain(|batch| !batch.acked);
        for batch in &mut self.window {
            batch.base_sequence = self.next_sequence;
            self.next_sequence += batch.ids.len() as i32;
        }
        world.core.trace(format!("producer {} was overtaken by itself, and begins epoch {}", self.producer, self.epoch));
    }
}
