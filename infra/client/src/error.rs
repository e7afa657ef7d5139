//! What can go wrong, and whether trying again helps.

use std::time::Duration;
use strandline_wire::{ApiKey, DecodeError, ErrorCode, FrameError};
use thiserror::Error;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails again.
    Never,
    /// The same request may succeed after a wait.
    Wait,
    /// The same request may succeed at another broker: ask for metadata, or the coordinator, first.
    Elsewhere,
}

/// A connection, or a request on it, that failed. What the broker did with the request is unknown unless the variant
/// says that it was not sent.
#[derive(Debug, Clone, Error)]
pub enum ConnectionError {
    /// No connection came about; nothing was sent.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// The broker.
        address: String,
        /// What the network says.
        reason: String,
    },
    /// The connection ended before the answer came.
    #[error("the connection to {address} ended: {reason}")]
    Closed {
        /// The broker.
        address: String,
        /// What ended it.
        reason: String,
    },
    /// No answer in time; the connection is closed, as answers come in order.
    #[error("{address} did not answer {api} within {after:?}")]
    TimedOut {
        /// The broker.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// How long was waited.
        after: Duration,
    },
    /// Bytes that are no Kafka frame.
    #[error("{address} sent {error}")]
    Frame {
        /// The broker.
        address: String,
        /// What is wrong.
        error: FrameError,
    },
    /// An answer that does not decode.
    #[error("{address} sent an answer to {api} that cannot be read: {error}")]
    Decode {
        /// The broker.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// What is wrong.
        error: DecodeError,
    },
    /// The broker speaks no version of an API that this client speaks; nothing was sent.
    #[error("{address} does not speak {api} in a version that this client knows (it has {theirs})")]
    Unsupported {
        /// The broker.
        address: String,
        /// The API.
        api: ApiKey,
        /// The versions that the broker has.
        theirs: String,
    },
    /// As many requests as allowed are unanswered on this connection; nothing was sent.
    #[error("{0} has too many unanswered requests on this connection")]
    Busy(String),
}

impl ConnectionError {
    /// Whether trying again helps.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Connect { .. } | Self::Closed { .. } | Self::TimedOut { .. } => Retry::Elsewhere,
            Self::Busy(_) => Retry::Wait,
            Self::Frame { .. } | Self::Decode { .. } | Self::Unsupported { .. } => Retry::Never,
        }
    }
}

/// An operation of the client that failed.
#[derive(Debug, Clone, Error)]
pub enum ClientError {
    /// The network, or what came over it.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A broker refused.
    #[error("{what}: {} ({}){}", .code.description(), .code.name(), detail(.message.as_deref()))]
    Broker {
        /// What was asked, in words: `topic "a"`, `partition a-3`, `group "g"`.
        what: String,
        /// Kafka's code.
        code: ErrorCode,
        /// What the broker says beside it.
        message: Option<String>,
    },
    /// None of the brokers to begin with could be reached.
    #[error("no broker answers at {addresses}: {last}; is the broker running, and is this its address?")]
    NoBroker {
        /// All that were tried.
        addresses: String,
        /// The last failure.
        last: Box<ClientError>,
    },
    /// A broker answers, and names an address that cannot be reached.
    #[error(
        "{answers} answers, but tells clients to connect to {advertised}, which cannot be reached ({reason}); see --advertise"
    )]
    Advertised {
        /// The broker.
        answers: String,
        /// What it, or another, is said to be at.
        advertised: String,
        /// What the network says.
        reason: String,
    },
    /// An address that is none.
    #[error("`{0}` is no address; write HOST:PORT, such as 127.0.0.1:9092 (--bootstrap, or STRANDLINE_BOOTSTRAP)")]
    Address(String),
    /// A partition that the topic does not have.
    #[error("topic \"{topic}\" has {partitions} partitions, there is no partition {partition}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// How many there are.
        partitions: usize,
    },
    /// A partition without a leader at the moment.
    #[error("partition {topic}-{partition} has no leader at the moment")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// An answer that leaves out what was asked.
    #[error("the broker's answer says nothing of {0}")]
    Missing(String),
    /// A record or batch that cannot be built or read.
    #[error("{what}: {error}")]
    Batch {
        /// Where.
        what: String,
        /// What is wrong.
        error: strandline_wire::records::BatchError,
    },
    /// A record that is larger than the producer's whole buffer.
    #[error("a record of {bytes} bytes does not fit into the producer's buffer of {max}")]
    RecordTooLarge {
        /// Bytes of the record.
        bytes: usize,
        /// Bytes of the buffer.
        max: usize,
    },
    /// Not done in the time that it may take.
    #[error("{what} was not done within {after:?}{}", detail(.last.as_ref().map(ToString::to_string).as_deref()))]
    TimedOut {
        /// What.
        what: String,
        /// How long was tried.
        after: Duration,
        /// The last failure, if there was one.
        last: Option<Box<ClientError>>,
    },
    /// The producer or consumer is closed.
    #[error("{0} is closed")]
    Closed(&'static str),
    /// A consumer without a committed offset, or with one that is gone, and no rule for that.
    #[error("partition {topic}-{partition} has no valid offset to begin with and no start is configured")]
    NoOffset {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A request that makes no sense.
    #[error("{0}")]
    Invalid(String),
}

fn detail(message: Option<&str>) -> String {
    message.map(|message| format!(": {message}")).unwrap_or_default()
}

impl ClientError {
    pub(crate) fn broker(what: impl Into<String>, code: ErrorCode, message: Option<String>) -> Self {
        Self::Broker { what: what.into(), code, message: message.filter(|message| !message.is_empty()) }
    }

    /// The broker's code, if it was the broker who refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            Self::TimedOut { last: Some(last), .. } => last.code(),
            _ => None,
        }
    }

    /// Whether trying again helps.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Connection(error) => error.retry(),
            Self::Broker { code, .. } => retry_of(*code),
            Self::NoBroker { last, .. } => last.retry(),
            Self::NoLeader { .. } | Self::Advertised { .. } => Retry::Elsewhere,
            _ => Retry::Never,
        }
    }
}

/// Whether a code is worth another try.
pub(crate) const fn retry_of(code: ErrorCode) -> Retry {
    match code {
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::InconsistentTopicId
        | ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotController
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownLeaderEpoch
        | ErrorCode::ReplicaNotAvailable
        | ErrorCode::KafkaStorageError => Retry::Elsewhere,
        code if code.is_retriable() => Retry::Wait,
        _ => Retry::Never,
    }
}

/// `Ok` for no error.
pub(crate) fn check(code: i16, what: impl FnOnce() -> String, message: Option<String>) -> Result<(), ClientError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::broker(what(), code, message)),
    }
}
