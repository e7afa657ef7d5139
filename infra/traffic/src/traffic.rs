//! The iterator: one fleet, one clock, one story.

use crate::event::Event;
use crate::fleet::{Booking, LOW_BATTERY, Status, Vehicle};
use crate::json::{time, uuid};
use crate::seed::Seeded;
use crate::{ALERTS, DOMAIN, INVENTORY, TELEMETRY, shape, story};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What the traffic is like.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficOptions {
    /// The same seed, the same events.
    pub seed: u64,
    /// The first event's time, in milliseconds since 1970, UTC.
    pub start_ms: i64,
    /// Events a second of the fleet's own time: the mean over a day.
    pub events_per_second: f64,
    /// Whether the rate follows the day, with commuter peaks; else it is even.
    pub commuter_peaks: bool,
    /// Vehicles in the fleet.
    pub vehicles: u32,
    /// Values have at least so many bytes; `None` leaves them as they are, so that an event has about 500 with headers.
    pub value_bytes: Option<usize>,
}

impl Default for TrafficOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            start_ms: 1_790_000_000_000,
            events_per_second: 10_000.0,
            commuter_peaks: true,
            vehicles: 30_000,
            value_bytes: None,
        }
    }
}

/// One booking begins in so many events.
const EVENTS_PER_BOOKING: u64 = 200;
/// Of a hundred vehicles so many are on a trip at the beginning.
const IN_USE_PERCENT: u64 = 35;
/// A trip's shortest and longest time.
const TRIP_MS: (i64, i64) = (60_000, 390_000);

/// What is to happen to a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Pay,
    Unlock,
    Return,
    Charged,
}

/// Events without end.
pub struct Traffic {
    options: TrafficOptions,
    seed: Seeded,
    /// The fleet's time, in microseconds, so that many events a millisecond are spaced as well.
    now_us: i64,
    fleet: Vec<Vehicle>,
    available: Vec<u32>,
    in_use: Vec<u32>,
    due: BinaryHeap<Reverse<(i64, u64, u32, Step)>>,
    steps: u64,
    bookings: u64,
    ready: VecDeque<Event>,
    buffer: Vec<u8>,
    /// How long until the next event, and the minute for which that holds.
    interval_us: i64,
    interval_minute: i64,
}

impl Traffic {
    /// A fleet that is about its day.
    pub fn new(options: TrafficOptions) -> Self {
        let mut seed = Seeded::new(options.seed);
        let start_ms = options.start_ms;
        let fleet = (0..options.vehicles.max(1)).map(|number| Vehicle::new(number, start_ms, &mut seed)).collect();
        let mut traffic = Self {
            now_us: start_ms.saturating_mul(1_000),
            seed,
            fleet,
            available: Vec::new(),
            in_use: Vec::new(),
            due: BinaryHeap::new(),
            steps: 0,
            bookings: 0,
            ready: VecDeque::new(),
            buffer: Vec::with_capacity(1_024),
            interval_us: 0,
            interval_minute: i64::MIN,
            options,
        };
        traffic.people_are_on_their_way();
        traffic
    }

    /// Trips that began before the first event.
    fn people_are_on_their_way(&mut self) {
        let now_ms = self.now_ms();
        for number in 0..self.fleet.len() as u32 {
            if self.seed.below(100) >= IN_USE_PERCENT {
                self.available.push(number);
                continue;
            }
            let trip_ms = self.seed.between(TRIP_MS.0, TRIP_MS.1);
            let since_ms = now_ms - self.seed.between(0, trip_ms);
            self.book(number, since_ms);
            let vehicle = &mut self.fleet[number as usize];
            vehicle.status = Status::InUse;
            self.in_use.push(number);
            self.later(since_ms + trip_ms, number, Step::Return);
        }
    }

    fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1_000)
    }

    fn later(&mut self, at_ms: i64, vehicle: u32, step: Step) {
        self.steps += 1;
        self.due.push(Reverse((at_ms, self.steps, vehicle, step)));
    }

    /// Lets the time pass to the next event.
    fn tick(&mut self) {
        const MINUTE_US: i64 = 60_000_000;
        let minute = self.now_us.div_euclid(MINUTE_US);
        if minute != self.interval_minute {
            self.interval_minute = minute;
            let factor = if self.options.commuter_peaks { shape::rate_factor(self.now_ms()) } else { 1.0 };
            let rate = (self.options.events_per_second * factor).clamp(0.001, 1_000_000.0);
            self.interval_us = ((1_000_000.0 / rate) as i64).max(1);
        }
        self.now_us += self.interval_us;
    }

    fn fill(&mut self) {
        self.tick();
        let now_ms = self.now_ms();
        if let Some(Reverse((at_ms, ..))) = self.due.peek()
            && *at_ms <= now_ms
            && let Some(Reverse((_, _, vehicle, step))) = self.due.pop()
        {
            return self.step(vehicle, step, now_ms);
        }
        if self.seed.once_in(EVENTS_PER_BOOKING) && !self.available.is_empty() {
            return self.booking(now_ms);
        }
        self.telemetry(now_ms);
    }

    fn telemetry(&mut self, now_ms: i64) {
        // Those that drive speak most.
        let driving = !self.in_use.is_empty() && self.seed.below(100) < 85;
        let number = if driving {
            self.in_use[self.seed.below(self.in_use.len() as u64) as usize]
        } else {
            self.seed.below(self.fleet.len() as u64) as u32
        };
        let vehicle = &mut self.fleet[number as usize];
        vehicle.advance(now_ms, &mut self.seed);
        let low = vehicle.battery < LOW_BATTERY && !vehicle.warned_battery;
        let outside = vehicle.is_outside() && !vehicle.warned_area;
        vehicle.warned_battery |= low;
        vehicle.warned_area |= outside;
        self.say(number, TELEMETRY, "com.mobilitycorps.vehicle.telemetry", story::telemetry);
        if low {
            self.say(number, ALERTS, "com.mobilitycorps.vehicle.low_battery_alert", |buffer, vehicle, _| {
                story::low_battery(buffer, vehicle);
            });
        }
        if outside {
            self.say(number, ALERTS, "com.mobilitycorps.vehicle.geofence_violation", |buffer, vehicle, _| {
                story::geofence_violation(buffer, vehicle);
            });
        }
    }

    fn book(&mut self, number: u32, since_ms: i64) {
        self.bookings += 1;
        let vehicle = &mut self.fleet[number as usize];
        vehicle.booking = Some(Booking {
            number: self.bookings,
            user: 100_000 + self.seed.below(2_000_000),
            since_ms,
            from_odometer_m: vehicle.odometer_m,
        });
    }

    fn booking(&mut self, now_ms: i64) {
        let chosen = self.seed.below(self.available.len() as u64) as usize;
        let number = self.available.swap_remove(chosen);
        self.book(number, now_ms);
        self.fleet[number as usize].status = Status::Reserved;
        self.say_booking(number, "com.mobilitycorps.booking.booking_created", |buffer, vehicle, booking, _| {
            story::booking_created(buffer, vehicle, booking);
        });
        self.say_inventory(number, now_ms);
        let pay_ms = now_ms + self.seed.between(300, 4_000);
        self.later(pay_ms, number, Step::Pay);
    }

    fn step(&mut self, number: u32, step: Step, now_ms: i64) {
        match step {
            Step::Pay => {
                self.say_booking(number, "com.mobilitycorps.payment.payment_authorized", story::payment_authorized);
                let unlock_ms = now_ms + self.seed.between(2_000, 90_000);
                self.later(unlock_ms, number, Step::Unlock);
            }
            Step::Unlock => {
                self.fleet[number as usize].status = Status::InUse;
                self.in_use.push(number);
                self.say_inventory(number, now_ms);
                let return_ms = now_ms + self.seed.between(TRIP_MS.0, TRIP_MS.1);
                self.later(return_ms, number, Step::Return);
            }
            Step::Return => self.return_vehicle(number, now_ms),
            Step::Charged => {
                let vehicle = &mut self.fleet[number as usize];
                vehicle.battery = 10_000;
                vehicle.status = Status::Available;
                vehicle.warned_battery = false;
                self.available.push(number);
                self.say_inventory(number, now_ms);
            }
        }
    }

    fn return_vehicle(&mut self, number: u32, now_ms: i64) {
        if let Some(place) = self.in_use.iter().position(|one| *one == number) {
            self.in_use.swap_remove(place);
        }
        let vehicle = &mut self.fleet[number as usize];
        vehicle.advance(now_ms, &mut self.seed);
        vehicle.speed = 0;
        vehicle.come_back();
        let charge = vehicle.battery < LOW_BATTERY;
        vehicle.status = if charge { Status::Charging } else { Status::Available };
        self.say_booking(number, "com.mobilitycorps.booking.return_completed", move |buffer, vehicle, booking, _| {
            story::return_completed(buffer, vehicle, booking, now_ms);
        });
        self.fleet[number as usize].booking = None;
        self.say_inventory(number, now_ms);
        if charge {
            let charged_ms = now_ms + self.seed.between(600_000, 2_400_000);
            self.later(charged_ms, number, Step::Charged);
        } else {
            self.available.push(number);
        }
    }

    fn say_inventory(&mut self, number: u32, now_ms: i64) {
        self.say(number, INVENTORY, "com.mobilitycorps.vehicle.inventory_updated", move |buffer, vehicle, _| {
            story::inventory(buffer, vehicle, now_ms);
        });
    }

    fn say_booking(&mut self, number: u32, kind: &'static str, data: impl FnOnce(&mut Vec<u8>, &Vehicle, &Booking, &mut Seeded)) {
        let Some(booking) = self.fleet[number as usize].booking.clone() else { return };
        self.buffer.clear();
        story::write_booking_id(&mut self.buffer, booking.number);
        self.finish(number, DOMAIN, kind, move |buffer, vehicle, seed| data(buffer, vehicle, &booking, seed));
    }

    fn say(
        &mut self,
        number: u32,
        topic: &'static str,
        kind: &'static str,
        data: impl FnOnce(&mut Vec<u8>, &Vehicle, &mut Seeded),
    ) {
        self.buffer.clear();
        self.fleet[number as usize].write_id(&mut self.buffer);
        self.finish(number, topic, kind, data);
    }

    /// Makes the event whose key is in the buffer. All that is new in it is one piece of memory.
    fn finish(
        &mut self,
        number: u32,
        topic: &'static str,
        kind: &'static str,
        data: impl FnOnce(&mut Vec<u8>, &Vehicle, &mut Seeded),
    ) {
        let timestamp_ms = self.now_ms();
        let vehicle = &self.fleet[number as usize];
        let buffer = &mut self.buffer;
        let key_end = buffer.len();
        uuid(buffer, &mut self.seed);
        let id_end = buffer.len();
        time(buffer, timestamp_ms);
        let time_end = buffer.len();
        data(buffer, vehicle, &mut self.seed);
        if let Some(bytes) = self.options.value_bytes {
            story::pad(buffer, time_end, bytes, &mut self.seed);
        }
        let all = Bytes::copy_from_slice(buffer);
        let key = all.slice(..key_end);
        self.ready.push_back(Event {
            topic,
            value: all.slice(time_end..),
            headers: [
                Bytes::from_static(b"1.0"),
                all.slice(key_end..id_end),
                Bytes::from_static(vehicle.city.source.as_bytes()),
                Bytes::from_static(kind.as_bytes()),
                all.slice(id_end..time_end),
                key.clone(),
                Bytes::from_static(b"application/json"),
            ],
            key,
            timestamp_ms,
        });
    }
}

impl Iterator for Traffic {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.fill();
        }
    }
}
