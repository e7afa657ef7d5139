//! Frames and headers: four bytes of length, a header, a body.

use crate::api::ApiKey;
use crate::messages::{Message, Request};
use crate::primitives::{DecodeError, DecodeErrorKind, Frame, Reader, Writer};
use bytes::{Bytes, BytesMut};
use strandline_types::limits;
use thiserror::Error;

/// A connection whose next bytes cannot be understood. The only answer is to close it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A frame's length is negative.
    #[error("a frame of {0} bytes; the peer does not speak Kafka's protocol")]
    NegativeLength(i32),
    /// A frame's length is above the bound.
    #[error("a frame of {0} bytes, more than the {max} allowed", max = limits::FRAME_BYTES)]
    TooLarge(usize),
    /// An API that is not spoken.
    #[error("unknown API key {api_key} in version {api_version}")]
    UnknownApi {
        /// The key on the wire.
        api_key: i16,
        /// The version on the wire.
        api_version: i16,
    },
    /// A header that does not decode.
    #[error("unreadable header: {0}")]
    Header(#[from] DecodeError),
}

/// The length of the frame whose first four bytes these are, checked against [`limits::FRAME_BYTES`]; nothing is
/// reserved before.
///
/// # Errors
/// A length that is negative or above the bound.
pub fn frame_length(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(prefix);
    let bytes = usize::try_from(length).map_err(|_| FrameError::NegativeLength(length))?;
    if bytes > limits::FRAME_BYTES { Err(FrameError::TooLarge(bytes)) } else { Ok(bytes) }
}

/// Takes the first frame, without its length, off a buffer; `None` if it is not there whole.
///
/// # Errors
/// A length that is negative or above the bound.
pub fn split_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = frame_length(*prefix)?;
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let frame = buffer.split_to(4 + length).freeze();
    Ok(Some(frame.slice(4..)))
}

/// A request's header, versions 1 and 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: ApiKey,
    /// The version of its messages; not yet checked against what is served.
    pub api_version: i16,
    /// Comes back in the answer.
    pub correlation_id: i32,
    /// Who asks, in its own words.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Reads the header and leaves the reader at the body.
    ///
    /// # Errors
    /// An unknown API or a header that does not decode: close the connection.
    pub fn decode(reader: &mut Reader) -> Result<Self, FrameError> {
        let code = reader.i16().map_err(|error| error.in_field("RequestHeader.api_key"))?;
        let api_version = reader.i16().map_err(|error| error.in_field("RequestHeader.api_version"))?;
        let api_key = ApiKey::from_code(code).ok_or(FrameError::UnknownApi { api_key: code, api_version })?;
        let correlation_id = reader.i32().map_err(|error| error.in_field("RequestHeader.correlation_id"))?;
        // The client id has a plain length even in the flexible header, so that any server can read it.
        let client_id = reader
            .string_length(false)
            .and_then(|length| length.map(|length| reader.string(length)).transpose())
            .map_err(|error| error.in_field("RequestHeader.client_id"))?;
        if api_key.range().is_flexible(api_version) {
            reader.skip_tagged_fields().map_err(|error| error.in_field("RequestHeader"))?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }

    /// Writes the header.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i16(self.api_key.code());
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        writer.string(false, self.client_id.as_deref());
        if self.api_key.range().is_flexible(self.api_version) {
            writer.no_tagged_fields();
        }
    }
}

/// A whole request, with its length.
pub fn encode_request<R: Request>(version: i16, correlation_id: i32, client_id: Option<&str>, request: &R) -> Frame {
    let mut writer = Writer::with_capacity(SMALL_FRAME_BYTES);
    writer.i32(0);
    let client_id = client_id.map(str::to_owned);
    RequestHeader { api_key: R::API_KEY, api_version: version, correlation_id, client_id }.encode(&mut writer);
    request.encode(version, &mut writer);
    writer.finish_frame()
}

/// A whole response, with its length.
pub fn encode_response<M: Message>(version: i16, correlation_id: i32, response: &M) -> Frame {
    let mut writer = Writer::with_capacity(SMALL_FRAME_BYTES);
    writer.i32(0);
    writer.i32(correlation_id);
    if M::API_KEY.range().response_header_version(version) == 1 {
        writer.no_tagged_fields();
    }
    response.encode(version, &mut writer);
    writer.finish_frame()
}

/// The correlation id that a response's frame (without its length) begins with.
///
/// # Errors
/// A frame of fewer than four bytes.
pub fn response_correlation_id(frame: &[u8]) -> Result<i32, DecodeError> {
    match frame.first_chunk::<4>() {
        Some(bytes) => Ok(i32::from_be_bytes(*bytes)),
        None => Err(DecodeError {
            kind: DecodeErrorKind::Truncated { needed: 4, remaining: frame.len() },
            position: 0,
            field: "ResponseHeader.correlation_id",
        }),
    }
}

/// Reads a response (a frame without its length): its correlation id and its body. An ApiVersions answer in version 0
/// to a higher version is the caller's to ask for: decode with `version` 0 when the error code in it is UNSUPPORTED_VERSION.
///
/// # Errors
/// Bytes that are no such response.
pub fn decode_response<M: Message>(version: i16, frame: Bytes) -> Result<(i32, M), DecodeError> {
    let mut reader = Reader::with_budget(frame, limits::FRAME_BYTES.saturating_mul(8));
    let correlation_id = reader.i32().map_err(|error| error.in_field("ResponseHeader.correlation_id"))?;
    if M::API_KEY.range().response_header_version(version) == 1 {
        reader.skip_tagged_fields().map_err(|error| error.in_field("ResponseHeader"))?;
    }
    Ok((correlation_id, M::decode(version, &mut reader)?))
}

/// Reserved for a frame at first.
const SMALL_FRAME_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};

    #[test]
    fn lengths_are_checked_before_anything_is_reserved() {
        assert_eq!(frame_length([0, 0, 1, 0]), Ok(256));
        assert_eq!(frame_length([0x7f, 0xff, 0xff, 0xff]), Err(FrameError::TooLarge(i32::MAX as usize)));
        assert_eq!(frame_length([0xff; 4]), Err(FrameError::NegativeLength(-1)));
        let mut buffer = BytesMut::from(&[0x7f, 0xff, 0xff, 0xff, 1, 2][..]);
        assert!(split_frame(&mut buffer).is_err());
    }

    #[test]
    fn frames_are_split_when_they_are_whole() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 2, 7][..]);
        assert_eq!(split_frame(&mut buffer), Ok(None));
        buffer.extend_from_slice(&[8, 0, 0]);
        assert_eq!(split_frame(&mut buffer), Ok(Some(Bytes::from_static(&[7, 8]))));
        assert_eq!(split_frame(&mut buffer), Ok(None));
        assert_eq!(&buffer[..], &[0, 0]);
    }

    #[test]
    fn a_request_comes_back_with_its_header() {
        for version in 0..=13 {
            let mut buffer =
                BytesMut::from(&encode_request(version, 77, Some("zone=a"), &MetadataRequest::default()).into_bytes()[..]);
            let frame = split_frame(&mut buffer).unwrap().unwrap();
            let mut reader = Reader::new(frame);
            let header = RequestHeader::decode(&mut reader).unwrap();
            assert_eq!(header.api_key, ApiKey::Metadata);
            assert_eq!((header.api_version, header.correlation_id), (version, 77));
            assert_eq!(header.client_id.as_deref(), Some("zone=a"));
            MetadataRequest::decode(version, &mut reader).unwrap();
            reader.finish().unwrap();
        }
    }

    #[test]
    fn the_header_of_an_unknown_api_versions_version_is_read() {
        let frame = encode_request(99, 5, None, &ApiVersionsRequest::default()).into_bytes().slice(4..);
        let header = RequestHeader::decode(&mut Reader::new(frame)).unwrap();
        assert_eq!((header.api_version, header.correlation_id), (99, 5));
        let unknown = Bytes::from_static(&[0x03, 0xe8, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
        assert_eq!(
            RequestHeader::decode(&mut Reader::new(unknown)),
            Err(FrameError::UnknownApi { api_key: 1000, api_version: 0 })
        );
    }

    /// The first frame that librdkafka sends, byte by byte.
    #[test]
    fn a_golden_frame() {
        let request = ApiVersionsRequest { client_software_name: "librdkafka".into(), client_software_version: "2.4.0".into() };
        let frame = encode_request(3, 1, Some("rdkafka"), &request).into_bytes();
        let expected = b"\0\0\0\x24\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0\x0blibrdkafka\x062.4.0\0";
        assert_eq!(&frame[..], &expected[..]);
        let response = ApiVersionsResponse { error_code: 35, ..Default::default() };
        assert_eq!(&encode_response(0, 1, &response).into_bytes()[..], b"\0\0\0\x0a\0\0\0\x01\0\x23\0\0\0\0");
    }

    #[test]
    fn a_response_comes_back() {
        for version in 0..=4 {
            let response = ApiVersionsResponse { error_code: 35, ..Default::default() };
            let frame = encode_response(version, 9, &response).into_bytes();
            assert_eq!(frame_length(*frame.first_chunk().unwrap()), Ok(frame.len() - 4));
            let body = frame.slice(4..);
            assert_eq!(response_correlation_id(&body), Ok(9));
            assert_eq!(decode_response(version, body), Ok((9, response)));
        }
    }
}
