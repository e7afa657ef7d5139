//! DescribeConfigs (32): reads configs.

api!(DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse);

wire! {
    /// Resources whose configs are asked for.
    DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource> [..];
        include_synonyms: bool [..];
        include_documentation: bool [3..];
    }

    /// One of `resources` of [`DescribeConfigsRequest`].
    DescribeConfigsResource {
        resource_type: i8 [..];
        resource_name: String [..];
        configuration_keys: Option<Vec<String>> [..];
    }

    /// Configs with their source and synonyms.
    DescribeConfigsResponse {
        throttle_time_ms: i32 [..];
        results: Vec<DescribeConfigsResult> [..];
    }

    /// One of `results` of [`DescribeConfigsResponse`].
    DescribeConfigsResult {
        error_code: i16 [..];
        error_message: Option<String> [..];
        resource_type: i8 [..];
        resource_name: String [..];
        configs: Vec<DescribeConfigsResourceResult> [..];
    }

    /// One of `configs` of [`DescribeConfigsResult`].
    DescribeConfigsResourceResult {
        name: String [..];
        value: Option<String> [..];
        read_only: bool [..];
        config_source: i8 [..] = -1;
        is_sensitive: bool [..];
        synonyms: Vec<DescribeConfigsSynonym> [..];
        config_type: i8 [3..];
        documentation: Option<String> [3..];
    }

    /// One of `synonyms` of [`DescribeConfigsResourceResult`].
    DescribeConfigsSynonym {
        name: String [..];
        value: Option<String> [..];
        source: i8 [..];
    }
}
