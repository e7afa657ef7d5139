//! What traffic promises.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use strandline_traffic::*;

fn events(options: TrafficOptions, count: usize) -> Vec<Event> {
    Traffic::new(options).take(count).collect()
}

fn header<'a>(event: &'a Event, name: &str) -> &'a str {
    let index = HEADERS.iter().position(|header| *header == name).unwrap();
    std::str::from_utf8(&event.headers[index]).unwrap()
}

#[test]
fn every_event_is_a_cloud_event_with_json_that_agrees_with_it() {
    for event in events(TrafficOptions { vehicles: 500, ..Default::default() }, 20_000) {
        let data: Value = serde_json::from_slice(&event.value).unwrap();
        let key = std::str::from_utf8(&event.key).unwrap();
        assert_eq!(header(&event, "ce_specversion"), "1.0");
        assert_eq!(header(&event, "ce_subject"), key);
        assert_eq!(header(&event, "content-type"), "application/json");
        assert!(header(&event, "ce_source").starts_with("/mobilitycorps/eu/"));
        let field = if event.topic == DOMAIN { "booking_id" } else { "vehicle_id" };
        assert_eq!(data[field], key, "{}", event.topic);
        if event.topic == ALERTS {
            assert!(header(&event, "ce_type").ends_with(data["alert"].as_str().unwrap()));
        }
    }
}

#[test]
fn vehicles_stay_near_their_city_and_their_numbers_are_possible() {
    let mut odometers: BTreeMap<String, f64> = BTreeMap::new();
    for event in events(TrafficOptions { vehicles: 100, events_per_second: 50.0, ..Default::default() }, 50_000) {
        if event.topic != TELEMETRY {
            continue;
        }
        let data: Value = serde_json::from_slice(&event.value).unwrap();
        let (latitude, longitude) = (data["position"]["lat"].as_f64().unwrap(), data["position"]["lon"].as_f64().unwrap());
        assert!((38.0..60.0).contains(&latitude) && (-10.0..22.0).contains(&longitude), "{latitude} {longitude}");
        assert!((0.0..=62.0).contains(&data["speed_kmh"].as_f64().unwrap()));
        assert!((0.0..=100.0).contains(&data["battery_pct"].as_f64().unwrap()));
        let odometer = data["odometer_km"].as_f64().unwrap();
        let before = odometers.insert(data["vehicle_id"].as_str().unwrap().into(), odometer).unwrap_or(odometer);
        assert!((0.0..2.0).contains(&(odometer - before)), "{before} to {odometer}");
    }
}

#[test]
fn bookings_payments_and_returns_follow_one_another() {
    let options = TrafficOptions { vehicles: 400, events_per_second: 100.0, ..Default::default() };
    let start_ms = options.start_ms;
    let mut stories: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut status: BTreeMap<String, String> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for event in events(options, 200_000) {
        let kind = header(&event, "ce_type").rsplit('.').next().unwrap().to_owned();
        *kinds.entry(kind.clone()).or_default() += 1;
        let data: Value = serde_json::from_slice(&event.value).unwrap();
        match event.topic {
            DOMAIN => stories.entry(data["booking_id"].as_str().unwrap().into()).or_default().push(kind),
            INVENTORY => {
                let now = data["status"].as_str().unwrap().to_owned();
                let before = status.insert(data["vehicle_id"].as_str().unwrap().into(), now.clone());
                let allowed: &[&str] = match before.as_deref() {
                    None => continue,
                    Some("available") => &["reserved"],
                    Some("reserved") => &["in_use"],
                    Some("in_use") => &["available", "charging"],
                    _ => &["available"],
                };
                assert!(allowed.contains(&now.as_str()), "{before:?} to {now}");
            }
            _ => assert!(event.timestamp_ms >= start_ms),
        }
    }
    let whole = ["booking_created", "payment_authorized", "return_completed"];
    let mut complete = 0;
    for story in stories.values() {
        // Trips that began before the first event have their return alone.
        let fits =
            whole.starts_with(&story.iter().map(String::as_str).collect::<Vec<_>>()[..]) || story[..] == ["return_completed"];
        assert!(fits, "{story:?}");
        complete += usize::from(story.len() == 3);
    }
    assert!(complete > 50, "{complete}");
    for kind in ["telemetry", "inventory_updated", "low_battery_alert", "geofence_violation"] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 0), "{kind}: {kinds:?}");
    }
    assert!(kinds["telemetry"] > 180_000);
}

#[test]
fn an_event_has_about_five_hundred_bytes() {
    let events = events(TrafficOptions::default(), 10_000);
    let mean = events.iter().map(Event::bytes).sum::<usize>() / events.len();
    assert!((450..600).contains(&mean), "{mean}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn the_same_seed_gives_the_same_events_in_order_of_time(seed in any::<u64>(), peaks in any::<bool>(), rate in 1.0_f64..1e6) {
        let options = TrafficOptions { seed, commuter_peaks: peaks, events_per_second: rate, vehicles: 50, ..Default::default() };
        let one = events(options.clone(), 500);
        prop_assert_eq!(&one, &events(options.clone(), 500));
        prop_assert!(one.windows(2).all(|pair| pair[0].timestamp_ms <= pair[1].timestamp_ms));
        prop_assert_ne!(one, events(TrafficOptions { seed: seed.wrapping_add(1), ..options }, 500));
    }

    #[test]
    fn values_are_as_large_as_asked_and_still_json(bytes in 0_usize..4_000) {
        let natural = events(TrafficOptions { vehicles: 50, ..Default::default() }, 1)[0].value.len();
        for event in events(TrafficOptions { vehicles: 50, value_bytes: Some(bytes), ..Default::default() }, 50) {
            serde_json::from_slice::<Value>(&event.value).unwrap();
            if bytes > natural + 200 {
                prop_assert_eq!(event.value.len(), bytes);
            }
        }
    }
}
