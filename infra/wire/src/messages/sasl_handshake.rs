//! SaslHandshake (17): chooses a SASL mechanism. Never flexible.

api!(SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse);

wire! {
    /// The mechanism the client wants.
    SaslHandshakeRequest {
        mechanism: String [..];
    }

    /// The mechanisms the server has.
    SaslHandshakeResponse {
        error_code: i16 [..];
        mechanisms: Vec<String> [..];
    }
}
