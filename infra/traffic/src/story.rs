//! What is said: one function an event type, writing its JSON.

use crate::fleet::{Booking, Vehicle};
use crate::json::{fixed, number, padded, time};
use crate::seed::Seeded;

macro_rules! json {
    ($buffer:expr, $($part:expr),* $(,)?) => { $( $part.write($buffer); )* };
}

/// A part of a JSON text.
pub(crate) trait Part {
    fn write(self, buffer: &mut Vec<u8>);
}

impl Part for &str {
    fn write(self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(self.as_bytes());
    }
}

impl Part for i64 {
    fn write(self, buffer: &mut Vec<u8>) {
        number(buffer, self);
    }
}

/// A number and its decimals.
impl Part for (i64, usize) {
    fn write(self, buffer: &mut Vec<u8>) {
        fixed(buffer, self.0, self.1);
    }
}

impl Part for &Vehicle {
    fn write(self, buffer: &mut Vec<u8>) {
        self.write_id(buffer);
    }
}

impl Part for &Booking {
    fn write(self, buffer: &mut Vec<u8>) {
        write_booking_id(buffer, self.number);
    }
}

struct Time(i64);

impl Part for Time {
    fn write(self, buffer: &mut Vec<u8>) {
        time(buffer, self.0);
    }
}

/// A booking's id, such as `bk-000000000042`.
pub(crate) fn write_booking_id(buffer: &mut Vec<u8>, booking: u64) {
    buffer.extend_from_slice(b"bk-");
    padded(buffer, booking, 12);
}

pub(crate) fn telemetry(buffer: &mut Vec<u8>, vehicle: &Vehicle, seed: &mut Seeded) {
    json!(
        buffer,
        "{\"vehicle_id\":\"",
        vehicle,
        "\",\"vehicle_type\":\"",
        vehicle.kind.name(),
        "\",\"position\":{\"lat\":",
        (vehicle.latitude, 6),
        ",\"lon\":",
        (vehicle.longitude, 6),
        "},\"speed_kmh\":",
        (vehicle.speed, 1),
        ",\"heading_deg\":",
        vehicle.heading,
        ",\"battery_pct\":",
        (vehicle.battery, 2),
        ",\"odometer_km\":",
        (vehicle.odometer_m, 3),
        ",\"status\":\"",
        vehicle.status.name(),
        "\",\"range_km\":",
        vehicle.kind.range_km() * vehicle.battery / 10_000,
        ",\"motor_temp_c\":",
        (180 + vehicle.speed / 2 + seed.between(0, 30), 1),
        ",\"signal_dbm\":",
        seed.between(-110, -50),
        ",\"message_no\":",
        vehicle.messages,
    );
    if let Some(booking) = &vehicle.booking {
        json!(buffer, ",\"booking_id\":\"", booking, "\"");
    }
    buffer.push(b'}');
}

pub(crate) fn booking_created(buffer: &mut Vec<u8>, vehicle: &Vehicle, booking: &Booking) {
    json!(
        buffer,
        "{\"booking_id\":\"",
        booking,
        "\",\"user_id\":\"u-",
        booking.user as i64,
        "\",\"vehicle_id\":\"",
        vehicle,
        "\",\"vehicle_type\":\"",
        vehicle.kind.name(),
        "\",\"pickup\":{\"lat\":",
        (vehicle.latitude, 6),
        ",\"lon\":",
        (vehicle.longitude, 6),
        "},\"price_per_minute\":{\"amount\":",
        (vehicle.kind.price_cents(), 2),
        ",\"currency\":\"EUR\"},\"booked_at\":\"",
        Time(booking.since_ms),
        "\"}",
    );
}

pub(crate) fn payment_authorized(buffer: &mut Vec<u8>, vehicle: &Vehicle, booking: &Booking, seed: &mut Seeded) {
    const METHODS: [&str; 4] = ["card", "sepa", "paypal", "apple_pay"];
    json!(
        buffer,
        "{\"payment_id\":\"pay-",
        booking.number as i64,
        "\",\"booking_id\":\"",
        booking,
        "\",\"user_id\":\"u-",
        booking.user as i64,
        "\",\"amount\":{\"amount\":",
        (vehicle.kind.price_cents() * 60, 2),
        ",\"currency\":\"EUR\"},\"method\":\"",
        METHODS[seed.below(4) as usize],
        "\",\"risk_score\":",
        (seed.between(0, 400), 3),
        ",\"status\":\"authorized\"}",
    );
}

pub(crate) fn return_completed(buffer: &mut Vec<u8>, vehicle: &Vehicle, booking: &Booking, now_ms: i64) {
    let minutes = (now_ms - booking.since_ms).max(0) / 60_000 + 1;
    json!(
        buffer,
        "{\"booking_id\":\"",
        booking,
        "\",\"user_id\":\"u-",
        booking.user as i64,
        "\",\"vehicle_id\":\"",
        vehicle,
        "\",\"booked_at\":\"",
        Time(booking.since_ms),
        "\",\"returned_at\":\"",
        Time(now_ms),
        "\",\"minutes\":",
        minutes,
        ",\"distance_km\":",
        (vehicle.odometer_m - booking.from_odometer_m, 3),
        ",\"charged\":{\"amount\":",
        (minutes * vehicle.kind.price_cents(), 2),
        ",\"currency\":\"EUR\"},\"dropoff\":{\"lat\":",
        (vehicle.latitude, 6),
        ",\"lon\":",
        (vehicle.longitude, 6),
        "},\"battery_pct\":",
        (vehicle.battery, 2),
        "}",
    );
}

pub(crate) fn inventory(buffer: &mut Vec<u8>, vehicle: &Vehicle, now_ms: i64) {
    json!(
        buffer,
        "{\"vehicle_id\":\"",
        vehicle,
        "\",\"vehicle_type\":\"",
        vehicle.kind.name(),
        "\",\"status\":\"",
        vehicle.status.name(),
        "\",\"position\":{\"lat\":",
        (vehicle.latitude, 6),
        ",\"lon\":",
        (vehicle.longitude, 6),
        "},\"battery_pct\":",
        (vehicle.battery, 2),
        ",\"range_km\":",
        vehicle.kind.range_km() * vehicle.battery / 10_000,
        ",\"since\":\"",
        Time(now_ms),
        "\"}",
    );
}

pub(crate) fn low_battery(buffer: &mut Vec<u8>, vehicle: &Vehicle) {
    json!(
        buffer,
        "{\"alert\":\"low_battery_alert\",\"severity\":\"warning\",\"vehicle_id\":\"",
        vehicle,
        "\",\"battery_pct\":",
        (vehicle.battery, 2),
        ",\"position\":{\"lat\":",
        (vehicle.latitude, 6),
        ",\"lon\":",
        (vehicle.longitude, 6),
        "}}",
    );
}

pub(crate) fn geofence_violation(buffer: &mut Vec<u8>, vehicle: &Vehicle) {
    json!(
        buffer,
        "{\"alert\":\"geofence_violation\",\"severity\":\"critical\",\"vehicle_id\":\"",
        vehicle,
        "\",\"area\":\"",
        vehicle.city.code,
        "\",\"speed_kmh\":",
        (vehicle.speed, 1),
        ",\"position\":{\"lat\":",
        (vehicle.latitude, 6),
        ",\"lon\":",
        (vehicle.longitude, 6),
        "}}",
    );
}

/// Makes a JSON object as large as wanted with readings of a motion sensor: numbers that compress about as telemetry does.
pub(crate) fn pad(buffer: &mut Vec<u8>, start: usize, bytes: usize, seed: &mut Seeded) {
    const FIELD: &str = ",\"motion\":[";
    if buffer.len() - start + FIELD.len() + 3 > bytes {
        return;
    }
    buffer.pop();
    json!(buffer, FIELD);
    let mut reading = seed.between(-500, 500);
    let mut steps = 0_u64;
    for index in 0_u32.. {
        if index.is_multiple_of(8) {
            steps = seed.next();
        }
        small(buffer, reading);
        // One byte of chance a step.
        reading = (reading + (steps & 0x7f) as i64 - 63).clamp(-999, 999);
        steps >>= 8;
        if buffer.len() - start + 7 > bytes {
            break;
        }
        buffer.push(b',');
    }
    json!(buffer, "]}");
    // What is left is white space, which JSON allows at its end.
    buffer.resize((start + bytes).max(buffer.len()), b' ');
}

/// A number of at most three digits, quickly: padding is most of a large event.
fn small(buffer: &mut Vec<u8>, value: i64) {
    let digits = value.unsigned_abs();
    let [hundreds, tens, ones] = [digits / 100, digits / 10 % 10, digits % 10].map(|digit| b'0' + digit as u8);
    let text = [b'-', hundreds, tens, ones];
    let first = if digits >= 100 {
        1
    } else if digits >= 10 {
        2
    } else {
        3
    };
    if value < 0 {
        buffer.push(text[0]);
    }
    buffer.extend_from_slice(&text[first..]);
}
