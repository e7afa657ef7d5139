//! DescribeCluster (60): the cluster and its brokers (KIP-700).

api!(DescribeCluster: DescribeClusterRequest => DescribeClusterResponse);

wire! {
    /// Asks for the cluster.
    DescribeClusterRequest {
        include_cluster_authorized_operations: bool [..];
        endpoint_type: i8 [1..] = 1;
        include_fenced_brokers: bool [2..];
    }

    /// The cluster id, the controller and the brokers.
    DescribeClusterResponse {
        throttle_time_ms: i32 [..];
        error_code: i16 [..];
        error_message: Option<String> [..];
        endpoint_type: i8 [1..] = 1;
        cluster_id: String [..];
        controller_id: i32 [..] = -1;
        brokers: Vec<DescribeClusterBroker> [..];
        cluster_authorized_operations: i32 [..] = i32::MIN;
    }

    /// One of `brokers` of [`DescribeClusterResponse`].
    DescribeClusterBroker {
        broker_id: i32 [..];
        host: String [..];
        port: i32 [..];
        rack: Option<String> [..];
        is_fenced: bool [2..];
    }
}
