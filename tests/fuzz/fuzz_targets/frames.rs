//! What comes from a socket: frames, headers, and the bodies behind them.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use strandline_fuzz::{decoding, within};
use strandline_wire::frame::split_frame;
use strandline_wire::messages::RequestBody;
use strandline_wire::{Reader, RequestHeader, Writer};

fuzz_target!(|data: &[u8]| {
    within(decoding(data, 256), || {
        let mut buffer = BytesMut::from(data);
        while let Ok(Some(frame)) = split_frame(&mut buffer) {
            let mut reader = Reader::new(frame);
            let Ok(header) = RequestHeader::decode(&mut reader) else { continue };
            let mut writer = Writer::new();
            header.encode(&mut writer);
            let again = RequestHeader::decode(&mut Reader::new(writer.finish().into_bytes())).unwrap();
            assert_eq!(again, header);
            let _ = RequestBody::decode(header.api_key, header.api_version, &mut reader);
        }
    });
});
