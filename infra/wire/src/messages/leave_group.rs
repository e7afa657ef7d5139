//! LeaveGroup (13): members leave a group.

api!(LeaveGroup: LeaveGroupRequest => LeaveGroupResponse);

wire! {
    /// Members that leave; many from version 3.
    LeaveGroupRequest {
        group_id: String [..];
        member_id: String [..=2];
        members: Vec<MemberIdentity> [3..];
    }

    /// One of `members` of [`LeaveGroupRequest`].
    MemberIdentity {
        member_id: String [3..];
        group_instance_id: Option<String> [3..];
        reason: Option<String> [5..];
    }

    /// What became of each member.
    LeaveGroupResponse {
        throttle_time_ms: i32 [1..];
        error_code: i16 [..];
        members: Vec<MemberResponse> [3..];
    }

    /// One of `members` of [`LeaveGroupResponse`].
    MemberResponse {
        member_id: String [3..];
        group_instance_id: Option<String> [3..];
        error_code: i16 [3..];
    }
}
