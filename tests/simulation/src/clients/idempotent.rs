//! Idempotent producers: up to five batches in flight a partition, sent again with the same sequences until they are there, through
//! whichever node; each is there once, in order. Some write to several partitions, and put batches of each into one request.

use super::lane::Lane;
use super::send::{Part, Told, answer_parts, send_parts, some_partitions};
use crate::dice::Dice;
use crate::ledger::record_id;
use crate::network::Link;
use crate::node::Node;
use crate::world::World;
use futures::future::join;
use std::sync::Arc;
use strandline_wire::messages::init_producer_id::InitProducerIdRequest;

/// In flight at once, as many as a broker remembers of a partition.
const WINDOW: u64 = 5;
/// Rounds without an answer before a producer counts as stuck, once there are no faults.
const PATIENCE: usize = 12;
/// Partitions of a producer, where it has several.
const PARTITIONS: u64 = 3;

/// One producer.
pub(crate) struct Idempotent {
    world: Arc<World>,
    producer: u32,
    /// It changes node with requests in flight.
    links: [Link; 2],
    dice: Dice,
    /// Of partitions that are there, as far as it knows.
    lanes: Vec<Lane>,
    next: u32,
}

/// A request: the batches, and whose they are.
struct Request {
    lanes: Vec<usize>,
    parts: Vec<Part>,
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
            let most = if dice.chance(50) { PARTITIONS } else { 1 };
            let places = some_partitions(&world, &dice, most);
            let Some(node) = world.any_node(&dice).filter(|_| !places.is_empty()) else { continue };
            let request = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..InitProducerIdRequest::default() };
            let Some(answer) = links[0].call(&node, 5, &request).await else { continue };
            if answer.error_code != 0 {
                continue;
            }
            let names: Vec<String> = places.iter().map(|(topic, at)| format!("{}-{}", topic.name, at.partition)).collect();
            world.core.trace(format!("producer {producer} has id {} for {}", answer.producer_id, names.join(", ")));
            let lane = |(topic, at)| Lane::new(producer, answer.producer_id, answer.producer_epoch, topic, at);
            let lanes = places.into_iter().map(lane).collect();
            return Some(Self { world, producer, links, dice, lanes, next: 0 });
        }
    }

    fn top_up(&mut self) {
        // About as many records, however many partitions.
        let (most, records) = if self.lanes.len() > 1 { (3, 2) } else { (WINDOW, 4) };
        for lane in &mut self.lanes {
            let wanted = self.dice.between(1, most) as usize;
            while lane.in_flight() < wanted {
                let count = self.dice.between(1, records) as u32;
                let ids: Vec<_> = (0..count).map(|step| record_id(self.producer, self.next + step)).collect();
                self.next += count;
                lane.push(&self.world, ids);
            }
        }
    }

    /// Sends until the run ends, to other topics once all of its own are deleted.
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

    fn in_flight(&self) -> usize {
        self.lanes.iter().map(Lane::in_flight).sum()
    }

    /// Everything that is in flight has to get through once there are no faults.
    pub async fn finish(mut self) {
        for _ in 0..PATIENCE {
            if self.in_flight() == 0 || !self.round().await {
                return;
            }
            self.world.core.runtime.sleep(self.dice.millis(20, 400)).await;
        }
        self.world.core.fail(format!(
            "producer {} is stuck with {} batches in flight, without any fault",
            self.producer,
            self.in_flight()
        ));
    }

    fn part(&self, lane: usize, at: usize) -> Part {
        let own = &self.lanes[lane];
        let (ids, records) = own.batch(at, self.world.start_ms, &self.dice);
        Part { topic: own.topic.clone(), at: own.at, ids, records }
    }

    /// What is open, in order: of each partition one batch a request, or each in a request of its own.
    fn requests(&self, open: &[Vec<usize>]) -> Vec<Request> {
        let longest = open.iter().map(Vec::len).max().unwrap_or(0);
        let together = self.dice.chance(75);
        let mut requests = Vec::new();
        for step in 0..longest {
            let batches = open.iter().enumerate().filter_map(|(lane, open)| Some((lane, *open.get(step)?)));
            let batches: Vec<(usize, Part)> = batches.map(|(lane, at)| (lane, self.part(lane, at))).collect();
            if together {
                let (lanes, parts) = batches.into_iter().unzip();
                requests.push(Request { lanes, parts });
            } else {
                requests.extend(batches.into_iter().map(|(lane, part)| Request { lanes: vec![lane], parts: vec![part] }));
            }
        }
        requests
    }

    /// Sends what is not acknowledged, in order; from somewhere on through another node. False when all topics are gone.
    async fn round(&mut self) -> bool {
        let world = self.world.clone();
        let (Some(first), Some(second)) = (world.any_node(&self.dice), world.any_node(&self.dice)) else { return true };
        let open: Vec<Vec<usize>> = self.lanes.iter().map(Lane::open).collect();
        let requests = self.requests(&open);
        let count = requests.len();
        let change = if self.dice.chance(30) { self.dice.below(count as u64 + 1) as usize } else { count };
        let (before, after) = requests.split_at(change);
        let [one, other] = &self.links;
        let (mut told, rest) = join(through(&world, &first, one, before), through(&world, &second, other, after)).await;
        told.extend(rest);
        let mut heard: Vec<Vec<Told>> = vec![Vec::new(); self.lanes.len()];
        for (request, told) in requests.iter().zip(told) {
            request.lanes.iter().zip(told).for_each(|(lane, told)| heard[*lane].push(told));
        }
        let names = format!("{}/{}", first.name(), second.name());
        let lanes = std::mem::take(&mut self.lanes).into_iter().zip(open).zip(heard);
        for ((mut lane, open), told) in lanes {
            if lane.hear(&world, &names, &open, &told) {
                self.lanes.push(lane);
            }
        }
        !self.lanes.is_empty()
    }
}

/// One request after the other, without waiting for answers; what each batch was told.
async fn through(world: &World, node: &Arc<Node>, link: &Link, requests: &[Request]) -> Vec<Vec<Told>> {
    let mut sent = Vec::new();
    for request in requests {
        sent.push(send_parts(node, link, &request.parts, false).await);
    }
    let mut told = Vec::new();
    for (request, sent) in requests.iter().zip(sent) {
        told.push(answer_parts(world, node, sent, &request.parts).await);
    }
    told
}
