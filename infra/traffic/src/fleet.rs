//! The vehicles, and what moves them.

use crate::city::{CITIES, City};
use crate::json::padded;
use crate::seed::Seeded;

/// What kind of vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Car,
    Van,
    Bike,
    Scooter,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Car => "car",
            Self::Van => "van",
            Self::Bike => "ebike",
            Self::Scooter => "scooter",
        }
    }

    /// Tenths of km/h.
    const fn top_speed(self) -> i64 {
        match self {
            Self::Car | Self::Van => 620,
            Self::Bike => 250,
            Self::Scooter => 220,
        }
    }

    /// Kilometres on a full battery.
    pub(crate) const fn range_km(self) -> i64 {
        match self {
            Self::Car => 310,
            Self::Van => 240,
            Self::Bike => 70,
            Self::Scooter => 45,
        }
    }

    /// Cents a minute.
    pub(crate) const fn price_cents(self) -> i64 {
        match self {
            Self::Car => 31,
            Self::Van => 39,
            Self::Bike => 17,
            Self::Scooter => 22,
        }
    }
}

/// What a vehicle does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Available,
    Reserved,
    InUse,
    Charging,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Reserved => "reserved",
            Self::InUse => "in_use",
            Self::Charging => "charging",
        }
    }
}

/// One vehicle.
#[derive(Debug)]
pub(crate) struct Vehicle {
    pub(crate) number: u32,
    pub(crate) city: &'static City,
    pub(crate) kind: Kind,
    pub(crate) status: Status,
    /// Millionths of a degree.
    pub(crate) latitude: i64,
    pub(crate) longitude: i64,
    /// Tenths of km/h.
    pub(crate) speed: i64,
    pub(crate) heading: i64,
    /// Hundredths of a percent.
    pub(crate) battery: i64,
    /// Metres.
    pub(crate) odometer_m: i64,
    /// Metres that the battery has not paid for yet.
    unpaid_m: i64,
    pub(crate) last_seen_ms: i64,
    pub(crate) messages: i64,
    pub(crate) booking: Option<Booking>,
    pub(crate) warned_battery: bool,
    pub(crate) warned_area: bool,
}

/// Who has the vehicle.
#[derive(Debug, Clone)]
pub(crate) struct Booking {
    pub(crate) number: u64,
    pub(crate) user: u64,
    pub(crate) since_ms: i64,
    pub(crate) from_odometer_m: i64,
}

/// Below this a vehicle is charged before it is offered again.
pub(crate) const LOW_BATTERY: i64 = 1_500;

impl Vehicle {
    pub(crate) fn new(number: u32, now_ms: i64, seed: &mut Seeded) -> Self {
        let city = &CITIES[number as usize % CITIES.len()];
        let kind = match seed.below(10) {
            0..=3 => Kind::Car,
            4 => Kind::Van,
            5..=6 => Kind::Bike,
            _ => Kind::Scooter,
        };
        Self {
            number,
            city,
            kind,
            status: Status::Available,
            latitude: seed.between(city.south, city.north),
            longitude: seed.between(city.west, city.east),
            speed: 0,
            heading: seed.between(0, 360),
            battery: seed.between(LOW_BATTERY, 10_000),
            odometer_m: seed.between(200_000, 80_000_000),
            unpaid_m: 0,
            last_seen_ms: now_ms,
            messages: seed.between(1_000, 900_000),
            booking: None,
            warned_battery: false,
            warned_area: false,
        }
    }

    /// Its id, such as `BER-000042`.
    pub(crate) fn write_id(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(self.city.code.as_bytes());
        buffer.push(b'-');
        padded(buffer, u64::from(self.number), 6);
    }

    /// Lets time pass until `now_ms`: it drives, or charges, or stands.
    pub(crate) fn advance(&mut self, now_ms: i64, seed: &mut Seeded) {
        // A vehicle that was silent for long did not drive on straight all the while.
        let passed_ms = (now_ms - self.last_seen_ms).clamp(0, 60_000);
        self.last_seen_ms = now_ms;
        self.messages += 1;
        match self.status {
            Status::InUse => self.drive(passed_ms, seed),
            Status::Charging => {
                self.speed = 0;
                self.battery = (self.battery + passed_ms / 60 + 2).min(10_000);
            }
            Status::Available | Status::Reserved => {
                self.speed = 0;
                self.battery = (self.battery - passed_ms / 60_000).max(0);
            }
        }
        if self.battery > 2 * LOW_BATTERY {
            self.warned_battery = false;
        }
    }

    fn drive(&mut self, passed_ms: i64, seed: &mut Seeded) {
        self.speed = (self.speed + seed.between(-90, 110)).clamp(0, self.kind.top_speed());
        self.heading = (self.heading + seed.between(-20, 21)).rem_euclid(360);
        let metres = self.speed * passed_ms / 36_000;
        self.odometer_m += metres;
        self.unpaid_m += metres;
        // A full battery, 10,000 hundredths of a percent, lasts for the range.
        let paid = self.unpaid_m * 10 / self.kind.range_km();
        self.unpaid_m -= paid * self.kind.range_km() / 10;
        self.battery = (self.battery - paid).max(0);
        let (north, east) = direction(self.heading);
        // A metre is nine millionths of a degree to the north, about fourteen to the east at these latitudes.
        self.latitude += metres * north * 9 / 1_000;
        self.longitude += metres * east * 14 / 1_000;
        if !self.city.contains(self.latitude, self.longitude) {
            // Back towards the middle.
            let (middle_latitude, middle_longitude) =
                ((self.city.south + self.city.north) / 2, (self.city.west + self.city.east) / 2);
            let north = self.latitude < middle_latitude;
            let east = self.longitude < middle_longitude;
            self.heading = match (north, east) {
                (true, true) => 45,
                (false, true) => 135,
                (false, false) => 225,
                (true, false) => 315,
            };
        }
    }

    /// Whether it stands or drives outside of its city's box.
    pub(crate) fn is_outside(&self) -> bool {
        !self.city.contains(self.latitude, self.longitude)
    }

    /// Puts it back at the border, as the one who returns it must.
    pub(crate) fn come_back(&mut self) {
        self.latitude = self.latitude.clamp(self.city.south, self.city.north);
        self.longitude = self.longitude.clamp(self.city.west, self.city.east);
        self.warned_area = false;
    }
}

/// How far north and east a step in this direction goes, in thousandths; eight directions are enough.
const fn direction(heading: i64) -> (i64, i64) {
    match (heading + 22) / 45 % 8 {
        0 => (1_000, 0),
        1 => (707, 707),
        2 => (0, 1_000),
        3 => (-707, 707),
        4 => (-1_000, 0),
        5 => (-707, -707),
        6 => (0, -1_000),
        _ => (707, -707),
    }
}
