//! ApiVersions (18): which APIs and versions are spoken.

api!(ApiVersions: ApiVersionsRequest => ApiVersionsResponse);

wire! {
    /// Sent first on a connection.
    ApiVersionsRequest {
        client_software_name: String [3..];
        client_software_version: String [3..];
    }

    /// The APIs and versions that this node speaks; its header is always version 0 (KIP-511).
    ApiVersionsResponse {
        error_code: i16 [..];
        api_keys: Vec<ApiVersion> [..];
        throttle_time_ms: i32 [1..];
        supported_features: Vec<SupportedFeatureKey> [3..] tag(0);
        finalized_features_epoch: i64 [3..] tag(1) = -1;
        finalized_features: Vec<FinalizedFeatureKey> [3..] tag(2);
        zk_migration_ready: bool [3..] tag(3);
    }

    /// One of `api_keys` of [`ApiVersionsResponse`].
    ApiVersion {
        api_key: i16 [..];
        min_version: i16 [..];
        max_version: i16 [..];
    }

    /// One of `supported_features` of [`ApiVersionsResponse`].
    SupportedFeatureKey {
        name: String [3..];
        min_version: i16 [3..];
        max_version: i16 [3..];
    }

    /// One of `finalized_features` of [`ApiVersionsResponse`].
    FinalizedFeatureKey {
        name: String [3..];
        max_version_level: i16 [3..];
        min_version_level: i16 [3..];
    }
}
