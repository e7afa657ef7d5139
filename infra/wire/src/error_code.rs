//! Kafka's error codes (4.2), with what each means to a client.

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $name:literal, $retry:ident, $description:literal;)*) => {
        /// A Kafka error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(
                #[doc = $description]
                $variant = $code,
            )*
        }

        impl Default for ErrorCode {
            fn default() -> Self {
                Self::None
            }
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The error with this code; one that is not known is [`ErrorCode::UnknownServerError`], as Kafka's clients take it.
            pub const fn from_code(code: i16) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    _ => Self::UnknownServerError,
                }
            }

            /// Kafka's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it means, in a few words.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $description,)*
                }
            }

            /// Whether Kafka's clients try again.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => error_codes!(@$retry),)*
                }
            }
        }
    };
    (@retry) => { true };
    (@give_up) => { false };
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this is no error.
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> Self {
        error.code()
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self::from_code(code)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.description())
    }
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", give_up, "something unexpected went wrong in the server";
    None = 0, "NONE", give_up, "no error";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", give_up, "the offset lies outside of the log";
    CorruptMessage = 2, "CORRUPT_MESSAGE", retry, "the batch is damaged: its checksum, length or compressed data is wrong";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", retry, "there is no such topic or partition";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", give_up, "the fetch size is invalid";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", retry, "the partition has no leader at the moment";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", retry, "this node does not serve the partition";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", retry, "the request was not finished in time; its outcome may be unknown";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", give_up, "the broker is not available";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", retry, "the replica is not available";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", give_up, "the batch is larger than the topic allows";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", give_up, "the controller has moved";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", give_up, "the metadata string of a committed offset is too long";
    NetworkException = 13, "NETWORK_EXCEPTION", retry, "the connection ended before the answer came";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", retry, "the coordinator is still loading";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", retry, "the coordinator is not available";
    NotCoordinator = 16, "NOT_COORDINATOR", retry, "this node is not the coordinator";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", give_up, "the topic's name is not allowed";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", give_up, "the batches are larger than a segment";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", retry, "fewer replicas are in sync than required";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", retry, "written, but to fewer replicas than required";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", give_up, "acks is none of -1, 0 and 1";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", give_up, "the group is in another generation";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", give_up, "the member has no protocol in common with the group";
    InvalidGroupId = 24, "INVALID_GROUP_ID", give_up, "the group id is not allowed";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", give_up, "the group has no such member";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", give_up, "the session time-out is outside of what the server allows";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", give_up, "the group is rebalancing; join again";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", give_up, "the offset to commit is too large";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", give_up, "no access to the topic";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", give_up, "no access to the group";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", give_up, "no access to the cluster";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", give_up, "a record's timestamp is outside of what is allowed";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", give_up, "the SASL mechanism is not supported";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", give_up, "the request does not fit the state of the SASL exchange";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", give_up, "this version of the API is not supported";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", give_up, "the topic exists already";
    InvalidPartitions = 37, "INVALID_PARTITIONS", give_up, "the number of partitions is not allowed";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", give_up, "the replication factor is not allowed";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", give_up, "the assignment of replicas is not allowed";
    InvalidConfig = 40, "INVALID_CONFIG", give_up, "a config's name or value is not allowed";
    NotController = 41, "NOT_CONTROLLER", retry, "this node is not the controller";
    InvalidRequest = 42, "INVALID_REQUEST", give_up, "the request is malformed, or asks for what is not possible";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", give_up, "the message format does not support this";
    PolicyViolation = 44, "POLICY_VIOLATION", give_up, "a policy does not allow this";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", give_up, "the producer's sequence number is not the next one";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", give_up, "the producer's sequence number was seen before";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", give_up, "the producer's epoch is old";
    InvalidTxnState = 48, "INVALID_TXN_STATE", give_up, "the transaction's state does not allow this";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", give_up, "the producer id does not belong to the transactional id";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", give_up, "the transaction time-out is longer than the server allows";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", retry, "another operation on this transaction is at work";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", give_up, "another node coordinates the transaction by now";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", give_up, "no access to the transactional id";
    SecurityDisabled = 54, "SECURITY_DISABLED", give_up, "security is not enabled";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", give_up, "not attempted, since another part of the request failed";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", retry, "the storage failed";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", give_up, "there is no such log directory";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", give_up, "the credentials were refused";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", give_up, "nothing is known of the producer id";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", give_up, "the partition is being reassigned";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", give_up, "delegation tokens are not enabled";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", give_up, "there is no such delegation token";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", give_up, "the principal neither owns nor may renew the delegation token";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", give_up, "delegation tokens cannot be asked for on this connection";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", give_up, "no access to the delegation token";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", give_up, "the delegation token has expired";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", give_up, "the type of principal is not supported";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", give_up, "the group still has members";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", give_up, "there is no such group";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", retry, "there is no such fetch session";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", retry, "the fetch session is at another epoch";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", retry, "the leader has no listener like this one";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", give_up, "topics cannot be deleted here";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", retry, "the leader epoch is old";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", retry, "the leader epoch is not known yet";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", give_up, "this version does not allow the batch's compression";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", give_up, "the broker has registered anew";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", retry, "the offsets cannot be told yet";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", give_up, "join again with the member id given here";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", retry, "the preferred leader is not available";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", give_up, "the group has as many members as it may";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", give_up, "another member has this group instance id";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", retry, "no replica can be the leader";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", retry, "the partition has its leader already";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", give_up, "the partition is not being reassigned";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", give_up, "the group still reads the topic";
    InvalidRecord = 87, "INVALID_RECORD", give_up, "a record or its batch breaks a rule";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", retry, "offsets wait for the end of a transaction";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", retry, "the quota is used up";
    ProducerFenced = 90, "PRODUCER_FENCED", give_up, "a newer producer has this transactional id";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", give_up, "there is no such resource";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", give_up, "a resource is named twice";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", give_up, "the credential is not acceptable";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", give_up, "sender or receiver is not a voter";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", give_up, "the version to update to is not allowed";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", give_up, "the features could not be updated";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", give_up, "a forwarded principal could not be read";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", give_up, "there is no such snapshot";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", give_up, "the position lies outside of the snapshot";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", retry, "there is no topic with this id";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", give_up, "the broker id is taken";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", give_up, "the broker id is not registered";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", retry, "the log belongs to another topic id";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", give_up, "the request is meant for another cluster";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", give_up, "there is no such transactional id";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", retry, "the fetch session mixes topic ids and names";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", give_up, "a replica may not be in the set";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", give_up, "done, but the leader has changed";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", give_up, "the offset is in tiered storage";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", give_up, "the member's epoch is fenced; join again";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", give_up, "another member still holds the group instance id";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", give_up, "the group does not support the assignor";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", give_up, "the member's epoch is old; ask again with the new one";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", give_up, "the request came to the wrong kind of endpoint";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", give_up, "this kind of endpoint is not supported";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", give_up, "there is no such controller";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", give_up, "the telemetry subscription is unknown or old";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", give_up, "the telemetry is larger than allowed";
    InvalidRegistration = 119, "INVALID_REGISTRATION", give_up, "the registration is not valid";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", give_up, "the transaction failed; abort it and go on";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", give_up, "the record cannot be acknowledged in its state";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", retry, "there is no such share session";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", retry, "the share session is at another epoch";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", give_up, "the share group's state is at another epoch";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", give_up, "the voter's key is another";
    DuplicateVoter = 126, "DUPLICATE_VOTER", give_up, "the voter is in the set already";
    VoterNotFound = 127, "VOTER_NOT_FOUND", give_up, "the voter is not in the set";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", give_up, "the regular expression is not valid";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", give_up, "the client's metadata is too old; bootstrap again";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", give_up, "the topology is not valid";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", give_up, "the topology's epoch is not valid";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", give_up, "the topology's epoch is old";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", retry, "there are as many share sessions as allowed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_complete_and_come_back() {
        assert_eq!(ErrorCode::ALL.len(), 135);
        for (index, error) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(error.code(), index as i16 - 1);
            assert_eq!(ErrorCode::from_code(error.code()), *error);
        }
        assert_eq!(ErrorCode::from_code(9_999), ErrorCode::UnknownServerError);
        assert_eq!(ErrorCode::default(), ErrorCode::None);
    }

    #[test]
    fn retriable_are_those_of_kafkas_java_client() {
        let retriable: Vec<i16> = ErrorCode::ALL.iter().filter(|error| error.is_retriable()).map(|error| error.code()).collect();
        let kafkas = [
            2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80, 83, 84, 88, 89, 100, 103, 106, 122,
            123, 133,
        ];
        assert_eq!(retriable, kafkas);
    }

    #[test]
    fn names_are_kafkas() {
        let known = kafka_protocol::ResponseError::TransactionAbortable.code();
        for code in -1..=known {
            let ours = ErrorCode::from_code(code);
            let theirs = kafka_protocol::ResponseError::try_from_code(code);
            let Some(theirs) = theirs else { continue };
            let spelled: String = ours.name().split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect();
            assert_eq!(spelled.to_lowercase(), format!("{theirs:?}").to_lowercase(), "{code}");
        }
    }
}
