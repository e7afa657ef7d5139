//! SaslAuthenticate (36): one exchange of SASL messages.

use bytes::Bytes;

api!(SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse);

wire! {
    /// The client's SASL message.
    SaslAuthenticateRequest {
        auth_bytes: Bytes [..];
    }

    /// The server's SASL message.
    SaslAuthenticateResponse {
        error_code: i16 [..];
        error_message: Option<String> [..];
        auth_bytes: Bytes [..];
        session_lifetime_ms: i64 [1..];
    }
}
