//! JoinGroup (11): a member joins a group of the classic protocol.

use bytes::Bytes;

api!(JoinGroup: JoinGroupRequest => JoinGroupResponse);

wire! {
    /// A member that joins, or joins again.
    JoinGroupRequest {
        group_id: String [..];
        session_timeout_ms: i32 [..];
        rebalance_timeout_ms: i32 [1..] = -1;
        member_id: String [..];
        group_instance_id: Option<String> [5..];
        protocol_type: String [..];
        protocols: Vec<JoinGroupRequestProtocol> [..];
        reason: Option<String> [8..];
    }

    /// One of `protocols` of [`JoinGroupRequest`].
    JoinGroupRequestProtocol {
        name: String [..];
        metadata: Bytes [..];
    }

    /// The new generation; the leader also gets all members.
    JoinGroupResponse {
        throttle_time_ms: i32 [2..];
        error_code: i16 [..];
        generation_id: i32 [..] = -1;
        protocol_type: Option<String> [7..];
        protocol_name: Option<String> [..] nullable[7..];
        leader: String [..];
        skip_assignment: bool [9..];
        member_id: String [..];
        members: Vec<JoinGroupResponseMember> [..];
    }

    /// One of `members` of [`JoinGroupResponse`].
    JoinGroupResponseMember {
        member_id: String [..];
        group_instance_id: Option<String> [5..];
        metadata: Bytes [..];
    }
}
