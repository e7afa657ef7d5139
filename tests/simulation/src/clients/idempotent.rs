//! Idempotent producers: up to five batches in flight, sent again with the same sequences until they are there, through
//! whichever node; each is there once, in order.

use super::producer::compression;
use super::send::{Told, answer, send};
use crate::dice::Dice;
use crate::ledger::{RecordId, record_id};
use crate::network::Link;
use crate::node::Node;
use crate::record::{Sender, batch};
use crate::world::{TopicInfo, World};
use futures::future::join;
use std::collections::VecDeque;
use std::sync::Arc;
use strandline_types::TopicPartition;
use strandline_wire::ErrorCode;
use strandline_wire::messages::init_producer_id::InitProducerIdRequest;

/// In flight at once, as many as a broker remembers.
const WINDOW: usize = 5;
/// Rounds without an answer before a producer counts as stuck, once there are no faults.
const PATIENCE: usize = 12;

struct InFlight {
    ids: Vec<RecordId>,
    base_sequence: i32,
    acked: bool,
}

/// One producer of one partition.
pub(crate) struct Idempotent {
    world: Arc<World>,
    producer: u32,
    /// It changes node with requests in flight.
    links: [Link; 2],
    dice: Dice,
    producer_id: i64,
    epoch: i16,
    topic: TopicInfo,
    at: TopicPartition,
    window: VecDeque<InFlight>,
    next: u32,
    next_sequence: i32,
    last_offset: i64,
}

impl Idempotent {
    /// Asks for an id until it has one. None when the run ends first.
    pub async fn start(world: Arc<World>, producer: u32) -> Option<Self> {
        let dice = Dice::new(world.seed, 200 + u64::from(producer));
        let links = [0, 1].map(|part| Link::new(&world, 2_000 + 2 * u64::from(producer) + part));
        loop {
            world.core.runtime.sleep(dice.millis(20, 2_000)).await;
            if world.is_ending() {
                return None;
            }
            let (Some(node), Some((topic, at))) = (world.any_node(&dice), world.any_partition(&dice)) else { continue };
            let request = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..InitProducerIdRequest::default() };
            let Some(answer) = links[0].call(&node, 5, &request).await else { continue };
            if answer.error_code != 0 {
                continue;
            }
            world.core.trace(format!("producer {producer} has id {} for {}-{}", answer.producer_id, topic.name, at.partition));
            return Some(Self {
                world,
                producer,
                links,
                dice,
                producer_id: answer.producer_id,
                epoch: answer.producer_epoch,
                topic,
                at,
                window: VecDeque::new(),
                next: 0,
                next_sequence: 0,
                last_offset: -1,
            });
        }
    }

    fn top_up(&mut self) {
        let wanted = self.dice.between(1, WINDOW as u64) as usize;
        while self.window.len() < wanted {
            let ids: Vec<_> =
                (0..self.dice.between(1, 4) as u32).map(|step| record_id(self.producer, self.next + step)).collect();
            self.next += ids.len() as u32;
            ids.iter().for_each(|id| self.world.core.ledger().tried(self.at, *id, true));
            let base_sequence = self.next_sequence;
            self.next_sequence += ids.len() as i32;
            self.window.push_back(InFlight { ids, base_sequence, acked: false });
        }
    }

    /// Sends until the run ends, another topic after each that is deleted.
    pub async fn run(mut self) -> Option<Self> {
        while !self.world.is_ending() {
            self.world.core.runtime.sleep(self.dice.millis(20, 1_800)).await;
            self.top_up();
            if !self.round().await {
                return None;
            }
        }
        Some(self)
    }

    /// Everything that is in flight has to get through once there are no faults.
    pub async fn finish(mut self) {
        for _ in 0..PATIENCE {
            if self.window.is_empty() || !self.round().await {
                return;
            }
            self.world.core.runtime.sleep(self.dice.millis(20, 400)).await;
        }
        self.world.core.fail(format!(
            "producer {} is stuck with {} batches in flight, without any fault",
            self.producer,
            self.window.len()
        ));
    }

    /// Sends what is not acknowledged, in order; from somewhere on through another node. False when the topic is gone.
    async fn round(&mut self) -> bool {
        let world = self.world.clone();
        let (Some(first), Some(second)) = (world.any_node(&self.dice), world.any_node(&self.dice)) else { return true };
        let open: Vec<usize> = (0..self.window.len()).filter(|at| !self.window[*at].acked).collect();
        let change = if self.dice.chance(30) { self.dice.below(open.len() as u64 + 1) as usize } else { open.len() };
        let batches: Vec<(Vec<RecordId>, bytes::Bytes)> = open
            .iter()
            .map(|at| {
                let in_flight = &self.window[*at];
                let sender =
                    Sender { producer_id: self.producer_id, producer_epoch: self.epoch, base_sequence: in_flight.base_sequence };
                (in_flight.ids.clone(), batch(&in_flight.ids, world.start_ms, compression(&self.dice), Some(sender)))
            })
            .collect();
        let (before, after) = batches.split_at(change);
        let (topic, at) = (&self.topic, self.at);
        let through = async |node: &Arc<Node>, link: &Link, batches: &[(Vec<RecordId>, bytes::Bytes)]| {
            let mut sent = Vec::new();
            for (_, bytes) in batches {
                sent.push(send(node, link, topic, at, bytes.clone(), false).await);
            }
            let mut told = Vec::new();
            for ((ids, _), sent) in batches.iter().zip(sent) {
                told.push(answer(&world, node, sent, topic, at, ids).await);
            }
            told
        };
        let [one, other] = &self.links;
        let (mut told, rest) = join(through(&first, one, before), through(&second, other, after)).await;
        told.extend(rest);
        let text: Vec<String> = told.iter().map(Told::to_string).collect();
        world.core.trace(format!(
            "producer {} {}/{} {}-{} from {}: {}",
            self.producer,
            first.name(),
            second.name(),
            self.topic.name,
            self.at.partition,
            self.window.iter().find(|batch| !batch.acked).map_or(-1, |batch| batch.base_sequence),
            text.join(", ")
        ));
        let mut fenced = None;
        for (at, told) in open.iter().zip(&told) {
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
        self.begin_anew_if_overtaken(&open, &told);
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
    fn begin_anew_if_overtaken(&mut self, open: &[usize], told: &[Told]) {
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
        self.world.core.trace(format!("producer {} was overtaken by itself, and begins epoch {}", self.producer, self.epoch));
    }
}
