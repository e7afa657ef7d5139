//! Heartbeat (12): a member of a group is alive.

api!(Heartbeat: HeartbeatRequest => HeartbeatResponse);

wire! {
    /// A sign of life of a member.
    HeartbeatRequest {
        group_id: String [..];
        generation_id: i32 [..];
        member_id: String [..];
        group_instance_id: Option<String> [3..];
    }

    /// Whether the member is to join again.
    HeartbeatResponse {
        throttle_time_ms: i32 [1..];
        error_code: i16 [..];
    }
}
