//! The records of a run, made before it so that making them costs nothing in it.

use crate::load::{RecordArgs, Values};
use anyhow::ensure;
use bytes::Bytes;
use strandline_runtime::{Random as _, SeededRandom};
use strandline_traffic::{HEADERS, Traffic, TrafficOptions};
use strandline_types::HeaderRef;

/// One record to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Bytes,
    /// The values of the events' headers, or none.
    pub headers: Option<Box<[Bytes; 7]>>,
}

impl Payload {
    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().flat_map(|headers| HEADERS.iter().zip(headers.iter()));
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + self.value.len() + headers
    }

    /// The headers as a producer wants them.
    pub fn header_refs(&self) -> Vec<HeaderRef<'_>> {
        let headers = self.headers.iter().flat_map(|headers| HEADERS.iter().zip(headers.iter()));
        headers.map(|(key, value)| HeaderRef { key, value: Some(value) }).collect()
    }
}

/// As many distinct records as fill the pool; the same for the same arguments.
///
/// # Errors
/// A size that cannot hold its key and headers.
pub fn pool(args: &RecordArgs) -> anyhow::Result<Vec<Payload>> {
    let random = SeededRandom::new(args.seed);
    let value_bytes = (args.record_bytes > 0).then_some(args.record_bytes);
    let traffic =
        Traffic::new(TrafficOptions { seed: args.seed, commuter_peaks: false, value_bytes, ..TrafficOptions::default() });
    let mut payloads = Vec::new();
    let mut bytes = 0;
    for event in traffic {
        let mut payload = Payload {
            key: args.keys.then(|| event.key.clone()),
            value: event.value.clone(),
            headers: args.headers.then(|| Box::new(event.headers.clone())),
        };
        if args.record_bytes > 0 {
            let rest = payload.bytes() - payload.value.len();
            ensure!(rest < args.record_bytes, "key and headers alone have {rest} bytes; --record-bytes has to be more");
            payload.value = sized(&payload.value, args.record_bytes - rest);
        }
        if args.values == Values::Random {
            let mut value = vec![0; payload.value.len()];
            random.fill(&mut value);
            payload.value = value.into();
        }
        bytes += payload.bytes();
        payloads.push(payload);
        if bytes >= args.pool_bytes {
            break;
        }
    }
    Ok(payloads)
}

/// Cut, or lengthened by white space, which JSON allows at its end.
fn sized(value: &Bytes, bytes: usize) -> Bytes {
    if value.len() >= bytes {
        return value.slice(..bytes);
    }
    let mut longer = value.to_vec();
    longer.resize(bytes, b' ');
    longer.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(record_bytes: usize, values: Values, headers: bool) -> RecordArgs {
        RecordArgs { record_bytes, values, keys: true, headers, seed: 7, pool_bytes: 1 << 20 }
    }

    #[test]
    fn records_have_the_size_that_was_asked_for() {
        for record_bytes in [200, 1_024, 5_000] {
            for values in [Values::Traffic, Values::Random] {
                let pool = pool(&args(record_bytes, values, false)).unwrap();
                assert!(pool.iter().all(|payload| payload.bytes() == record_bytes && payload.headers.is_none()));
                assert!(pool.len() * record_bytes >= 1 << 20 && pool[0] != pool[1]);
            }
        }
        assert!(pool(&args(200, Values::Traffic, true)).is_err());
    }

    #[test]
    fn events_as_they_are_have_about_500_bytes_and_valid_json() {
        let pool = pool(&args(0, Values::Traffic, true)).unwrap();
        let mean = pool.iter().map(Payload::bytes).sum::<usize>() / pool.len();
        assert!((400..700).contains(&mean), "{mean}");
        for payload in &pool {
            serde_json::from_slice::<serde_json::Value>(&payload.value).unwrap();
            assert_eq!(payload.header_refs().len(), 7);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_records() {
        let of = |values| pool(&args(300, values, false)).unwrap();
        assert_eq!(of(Values::Random), of(Values::Random));
        assert_eq!(of(Values::Traffic), of(Values::Traffic));
    }
}
