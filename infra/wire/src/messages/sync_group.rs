//! SyncGroup (14): hands out the assignments of a generation.

use bytes::Bytes;

api!(SyncGroup: SyncGroupRequest => SyncGroupResponse);

wire! {
    /// The leader's assignments; empty from the others.
    SyncGroupRequest {
        group_id: String [..];
        generation_id: i32 [..];
        member_id: String [..];
        group_instance_id: Option<String> [3..];
        protocol_type: Option<String> [5..];
        protocol_name: Option<String> [5..];
        assignments: Vec<SyncGroupRequestAssignment> [..];
    }

    /// One of `assignments` of [`SyncGroupRequest`].
    SyncGroupRequestAssignment {
        member_id: String [..];
        assignment: Bytes [..];
    }

    /// The member's assignment.
    SyncGroupResponse {
        throttle_time_ms: i32 [1..];
        error_code: i16 [..];
        protocol_type: Option<String> [5..];
        protocol_name: Option<String> [5..];
        assignment: Bytes [..];
    }
}
