//! DescribeGroups (15): state and members of groups.

use bytes::Bytes;

api!(DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse);

wire! {
    /// Groups to describe.
    DescribeGroupsRequest {
        groups: Vec<String> [..];
        include_authorized_operations: bool [3..];
    }

    /// State, members and assignments of each group.
    DescribeGroupsResponse {
        throttle_time_ms: i32 [1..];
        groups: Vec<DescribedGroup> [..];
    }

    /// One of `groups` of [`DescribeGroupsResponse`].
    DescribedGroup {
        error_code: i16 [..];
        error_message: Option<String> [6..];
        group_id: String [..];
        group_state: String [..];
        protocol_type: String [..];
        protocol_data: String [..];
        members: Vec<DescribedGroupMember> [..];
        authorized_operations: i32 [3..] = i32::MIN;
    }

    /// One of `members` of [`DescribedGroup`].
    DescribedGroupMember {
        member_id: String [..];
        group_instance_id: Option<String> [4..];
        client_id: String [..];
        client_host: String [..];
        member_metadata: Bytes [..];
        member_assignment: Bytes [..];
    }
}
