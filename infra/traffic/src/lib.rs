//! Traffic like that of MobilityCorps, a fleet of shared vehicles in Europe's cities: telemetry, bookings, payments,
//! returns, inventory and alerts, as CloudEvents in Kafka's binary mode with JSON data.
//!
//! What it must never do: read a clock or a random number that was not given to it. The same options give the same events,
//! byte for byte, on every machine. What happens to a vehicle or a booking is one story: positions follow speeds, a payment
//! follows its booking, a return follows both, and the inventory says the same.
//!
//! It is quick (the load generator runs on it): [`Traffic`] is an iterator without end.

mod city;
mod event;
mod fleet;
mod json;
mod seed;
mod shape;
mod story;
mod traffic;

pub use event::{Event, HEADERS};
pub use shape::rate_factor;
pub use traffic::{Traffic, TrafficOptions};

/// Telemetry, keyed by vehicle: nine events in ten.
pub const TELEMETRY: &str = "veh.events.raw";
/// Bookings, payments and returns, keyed by booking.
pub const DOMAIN: &str = "domain.events";
/// What each vehicle's state is, keyed by vehicle.
pub const INVENTORY: &str = "veh.inventory.updates";
/// Low batteries and vehicles outside of their area, keyed by vehicle.
pub const ALERTS: &str = "alerts";

/// All topics.
pub const TOPICS: [&str; 4] = [TELEMETRY, DOMAIN, INVENTORY, ALERTS];
