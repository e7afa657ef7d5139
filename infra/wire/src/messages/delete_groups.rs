//! DeleteGroups (42): deletes empty groups.

api!(DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse);

wire! {
    /// Groups to delete.
    DeleteGroupsRequest {
        groups_names: Vec<String> [..];
    }

    /// What became of each group.
    DeleteGroupsResponse {
        throttle_time_ms: i32 [..];
        results: Vec<DeletableGroupResult> [..];
    }

    /// One of `results` of [`DeleteGroupsResponse`].
    DeletableGroupResult {
        group_id: String [..];
        error_code: i16 [..];
    }
}
