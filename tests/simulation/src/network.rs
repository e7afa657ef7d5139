//! The network between clients and nodes: bytes take time, connections are cut at any byte, and what a paused node has to say
//! does not leave it.

use crate::dice::Dice;
use crate::happenings::Happening;
use crate::node::Node;
use crate::world::World;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use strandline_client::{ClientOptions, Connect, Connection, Stream};
use strandline_wire::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};

/// In a buffer of the network at once; less than many requests and answers have.
const BUFFER_BYTES: usize = 4 << 10;
/// How long a client waits for an answer; in a script as long as it takes.
pub(crate) fn patience(world: &World) -> Duration {
    Duration::from_secs(if world.shape.directed { 3_600 } else { 40 })
}

/// A client's connections, one to each node that it talked to.
pub(crate) struct Link {
    world: Arc<World>,
    dice: Dice,
    options: ClientOptions,
    open: tokio::sync::Mutex<BTreeMap<(usize, u64), Arc<Connection>>>,
}

impl Link {
    /// Of a client that has this number in the run.
    pub fn new(world: &Arc<World>, client: u64) -> Self {
        let options = ClientOptions {
            client_id: "simulation".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: patience(world),
            ..ClientOptions::new("")
        };
        Self { world: world.clone(), dice: Dice::new(world.seed, 10_000 + client), options, open: Default::default() }
    }

    /// The connection to this run of a node; none if it cannot be reached.
    pub async fn to(&self, node: &Arc<Node>) -> Option<Arc<Connection>> {
        let mut open = self.open.lock().await;
        open.retain(|_, connection| connection.is_open());
        if let Some(connection) = open.get(&(node.slot, node.run)) {
            return Some(connection.clone());
        }
        let line = Line { world: self.world.clone(), node: node.clone(), dice: Dice::new(self.dice.below(u64::MAX), 0) };
        let port = 9_092 + node.slot as u16;
        let connection = Connection::open(&self.world.core.runtime, &line, &self.options, "127.0.0.1", port).await.ok()?;
        open.insert((node.slot, node.run), connection.clone());
        Some(connection)
    }

    /// One request and its answer, in a version up to this one; none if the connection is lost before the answer, or takes too long.
    pub async fn call<R: Request>(&self, node: &Arc<Node>, version: i16, request: &R) -> Option<R::Response> {
        self.to(node).await?.call_capped(version, patience(&self.world), request).await.ok()
    }
}

/// One way to one node.
struct Line {
    world: Arc<World>,
    node: Arc<Node>,
    dice: Dice,
}

impl Connect for Line {
    fn connect(&self, _: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (node, world) = (self.node.clone(), self.world.clone());
        let dice = |part| Dice::new(self.dice.below(u64::MAX), part);
        let (there, back) = (dice(0), dice(1));
        async move {
            let (client, mut near) = duplex(BUFFER_BYTES);
            let (far, server): (DuplexStream, DuplexStream) = duplex(BUFFER_BYTES);
            let (read, write) = split(server);
            let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if node.gate.is_dead() || node.cell.is_stopped() || !node.server.serve(read, write, peer) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let carried = world.clone();
            world.core.runtime.spawner.spawn("network", async move {
                let (mut from_node, mut to_node) = split(far);
                let (mut from_client, mut to_client) = split(&mut near);
                // Whichever ends, the connection is over, and what is on its way is lost.
                tokio::select! {
                    biased;
                    () = node.gate.death() => {}
                    () = carry(&carried, &node, &there, &mut from_client, &mut to_node, Happening::CutRequests) => {}
                    () = carry(&carried, &node, &back, &mut from_node, &mut to_client, Happening::CutAnswers) => {}
                }
            });
            Ok(Box::new(client) as Box<dyn Stream>)
        }
        .boxed()
    }
}

/// Until one side ends, or `cut` happens.
async fn carry(
    world: &World,
    node: &Node,
    dice: &Dice,
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    cut: Happening,
) {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let read = match read.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let mut bytes = &buffer[..read];
        let mut is_cut = false;
        if world.is_calm() || world.shape.directed {
            world.core.runtime.sleep(dice.millis(0, 2)).await;
        } else {
            // As a rule a few milliseconds, now and then a second.
            let wait = if dice.chance(2) { dice.millis(100, 2_000) } else { dice.millis(0, 12) };
            world.core.runtime.sleep(wait).await;
            is_cut = dice.below(1_000) < CUTS_PER_THOUSAND;
            if is_cut {
                world.core.count(cut);
                bytes = &bytes[..dice.below(read as u64 + 1) as usize];
            }
        }
        node.gate.pass().await;
        if write.write_all(bytes).await.is_err() || is_cut {
            return;
        }
    }
}

/// Of pieces that are carried.
const CUTS_PER_THOUSAND: u64 = 5;
