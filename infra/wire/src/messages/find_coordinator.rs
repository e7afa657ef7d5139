//! FindCoordinator (10): which node coordinates a group or a transactional id.

api!(FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse);

wire! {
    /// Groups or transactional ids whose coordinator is asked for; many from version 4.
    FindCoordinatorRequest {
        key: String [..=3];
        key_type: i8 [1..];
        coordinator_keys: Vec<String> [4..];
    }

    /// The nodes that coordinate them.
    FindCoordinatorResponse {
        throttle_time_ms: i32 [1..];
        error_code: i16 [..=3];
        error_message: Option<String> [1..=3];
        node_id: i32 [..=3];
        host: String [..=3];
        port: i32 [..=3];
        coordinators: Vec<Coordinator> [4..];
    }

    /// One of `coordinators` of [`FindCoordinatorResponse`].
    Coordinator {
        key: String [4..];
        node_id: i32 [4..];
        host: String [4..];
        port: i32 [4..];
        error_code: i16 [4..];
        error_message: Option<String> [4..];
    }
}
