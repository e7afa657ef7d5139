//! ListGroups (16): the groups of a node.

api!(ListGroups: ListGroupsRequest => ListGroupsResponse);

wire! {
    /// Filters by state (version 4) and type (version 5).
    ListGroupsRequest {
        states_filter: Vec<String> [4..];
        types_filter: Vec<String> [5..];
    }

    /// The groups that this node coordinates.
    ListGroupsResponse {
        throttle_time_ms: i32 [1..];
        error_code: i16 [..];
        groups: Vec<ListedGroup> [..];
    }

    /// One of `groups` of [`ListGroupsResponse`].
    ListedGroup {
        group_id: String [..];
        protocol_type: String [..];
        group_state: String [4..];
        group_type: String [5..];
    }
}
