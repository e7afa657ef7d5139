//! Requests and responses of every API and version: what decodes is written and read back the same.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline_fuzz::{decoding, within};
use strandline_wire::messages::consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use strandline_wire::messages::{RequestBody, ResponseBody};
use strandline_wire::{ApiKey, Reader, Writer};

fuzz_target!(|data: &[u8]| {
    let [api, version, body @ ..] = data else { return };
    let body = Bytes::copy_from_slice(body);
    let Some(key) = ApiKey::from_code(i16::from(*api)) else { return };
    let (range, version) = (key.range(), i16::from(*version));
    if !range.is_served(version) {
        return;
    }
    within(decoding(data, 512), || {
        if let Ok(request) = RequestBody::decode(range.key, version, &mut Reader::new(body.clone())) {
            let mut writer = Writer::new();
            request.encode(version, &mut writer);
            let bytes = writer.finish().into_bytes();
            let mut reader = Reader::new(bytes.clone());
            let again = RequestBody::decode(range.key, version, &mut reader).unwrap();
            reader.finish().unwrap();
            let mut writer = Writer::new();
            again.encode(version, &mut writer);
            // Bytes and not values: a NaN is not equal to itself.
            assert_eq!(writer.finish().into_bytes(), bytes);
        }
        if let Ok(response) = ResponseBody::decode(range.key, version, &mut Reader::new(body.clone())) {
            let mut writer = Writer::new();
            response.encode(version, &mut writer);
            let bytes = writer.finish().into_bytes();
            let mut reader = Reader::new(bytes.clone());
            let again = ResponseBody::decode(range.key, version, &mut reader).unwrap();
            reader.finish().unwrap();
            let mut writer = Writer::new();
            again.encode(version, &mut writer);
            assert_eq!(writer.finish().into_bytes(), bytes);
        }
        let _ = ConsumerProtocolSubscription::from_bytes(body.clone());
        let _ = ConsumerProtocolAssignment::from_bytes(body);
    });
});
