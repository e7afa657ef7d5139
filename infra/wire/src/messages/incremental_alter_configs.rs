//! IncrementalAlterConfigs (44): changes configs one by one (KIP-339).

api!(IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse);

wire! {
    /// Resources and the changes to their configs.
    IncrementalAlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [..];
        validate_only: bool [..];
    }

    /// One of `resources` of [`IncrementalAlterConfigsRequest`].
    AlterConfigsResource {
        resource_type: i8 [..];
        resource_name: String [..];
        configs: Vec<AlterableConfig> [..];
    }

    /// One of `configs` of [`AlterConfigsResource`].
    AlterableConfig {
        name: String [..];
        config_operation: i8 [..];
        value: Option<String> [..];
    }

    /// What became of each resource.
    IncrementalAlterConfigsResponse {
        throttle_time_ms: i32 [..];
        responses: Vec<AlterConfigsResourceResponse> [..];
    }

    /// One of `responses` of [`IncrementalAlterConfigsResponse`].
    AlterConfigsResourceResponse {
        error_code: i16 [..];
        error_message: Option<String> [..];
        resource_type: i8 [..];
        resource_name: String [..];
    }
}
