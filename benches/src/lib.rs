//! A load generator for any Kafka address: how much, how quickly and at what cost a broker serves.
//!
//! What it must never do:
//! - measure itself: in the open loop latency counts from the moment when a record was meant to be sent, so a generator
//!   or a broker that stalls shows in the numbers (no coordinated omission), and what could not be sent is counted;
//! - buffer without bound: what is on its way has a bound in bytes;
//! - treat one broker better than another: the same bytes, the same requests, the same way of counting.
//!
//! Every command prints one JSON object. `benches/run` runs them side by side and makes tables and plots.

pub mod connections;
pub mod consume;
pub mod count;
pub mod freshness;
pub mod latency;
pub mod load;
pub mod node_http;
pub mod one_at_a_time;
pub mod open_loop;
pub mod payload;
pub mod plot;
pub mod process;
pub mod saturate;
pub mod schedule;
pub mod template;
