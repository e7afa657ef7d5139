//! Produce: batches are checked, made durable, committed, and answered.
//!
//! [`Ingest::accept`] is called by a connection in the order of its requests. It checks every batch as Kafka does and puts
//! those that are good on their way; a bad one is refused and touches nothing else. [`PendingProduce::answer`] then waits for
//! what the fold made of them. Where the log takes payloads of any size the batches ride inline, as slices of the frame they
//! came in; else they wait for others in a buffer of their latency class (`wal`) and go into a WAL segment.
//!
//! What it must never do:
//! - acknowledge, or commit, a batch whose bytes are not durable (I1): a WAL segment is PUT before it is committed;
//! - decide about offsets, duplicates or producer epochs: that is the fold's alone (I2, I9);
//! - let a batch overtake an earlier one of its partition: commits keep the order of intake, and when a segment fails for
//!   good, every later batch of its partitions that was taken in fails with it; what an idempotent producer sent over the same
//!   connection behind a batch that was refused for want of room or time is refused until that batch comes again or has been given up,
//!   where the partition knows nothing of the producer (but not what comes in the moment between the refusal and its answer);
//! - change records (I6; a codec that the topic asks for changes how they are written down, not what they are); wait or buffer without a bound (I11).

mod checks;
mod config_cache;
mod connection;
mod door;
mod failure;
mod instruments;
mod options;
mod pending;
mod produce;
mod producer_id;
mod refused;
mod resolve;
mod sequences;
mod throttle;
mod wal;

pub use connection::ProduceConnection;
pub use options::IngestOptions;
pub use pending::{PendingProduce, ProduceAnswer};
pub use produce::Ingest;
