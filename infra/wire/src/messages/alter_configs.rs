//! AlterConfigs (33): replaces configs.

api!(AlterConfigs: AlterConfigsRequest => AlterConfigsResponse);

wire! {
    /// Resources and all configs that they are to have.
    AlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [..];
        validate_only: bool [..];
    }

    /// One of `resources` of [`AlterConfigsRequest`].
    AlterConfigsResource {
        resource_type: i8 [..];
        resource_name: String [..];
        configs: Vec<AlterableConfig> [..];
    }

    /// One of `configs` of [`AlterConfigsResource`].
    AlterableConfig {
        name: String [..];
        value: Option<String> [..];
    }

    /// What became of each resource.
    AlterConfigsResponse {
        throttle_time_ms: i32 [..];
        responses: Vec<AlterConfigsResourceResponse> [..];
    }

    /// One of `responses` of [`AlterConfigsResponse`].
    AlterConfigsResourceResponse {
        error_code: i16 [..];
        error_message: Option<String> [..];
        resource_type: i8 [..];
        resource_name: String [..];
    }
}
