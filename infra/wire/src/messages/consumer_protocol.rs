//! What consumers put into JoinGroup's metadata and SyncGroup's assignment (protocol type `consumer`): opaque to Kafka's
//! protocol, read by the coordinator for `OffsetDelete` and written by our own client. Never flexible.

use crate::codec::{Context, Wire};
use crate::primitives::{DecodeError, DecodeErrorKind, Reader, Writer};
use bytes::Bytes;

/// The highest version that is known; higher ones are read as this one, since they only add fields at the end.
pub const CONSUMER_PROTOCOL_VERSION: i16 = 3;

wire! {
    /// What a member wants to read, and what it had.
    ConsumerProtocolSubscription {
        topics: Vec<String> [..];
        user_data: Option<Bytes> [..];
        owned_partitions: Vec<ConsumerProtocolTopicPartitions> [1..];
        generation_id: i32 [2..] = -1;
        rack_id: Option<String> [3..];
    }

    /// Partitions of one topic.
    ConsumerProtocolTopicPartitions {
        topic: String [..];
        partitions: Vec<i32> [..];
    }

    /// What a member is to read.
    ConsumerProtocolAssignment {
        assigned_partitions: Vec<ConsumerProtocolTopicPartitions> [..];
        user_data: Option<Bytes> [..];
    }
}

macro_rules! versioned {
    ($name:ident) => {
        impl $name {
            /// The bytes in `version`, which they begin with.
            pub fn to_bytes(&self, version: i16) -> Bytes {
                let mut writer = Writer::new();
                writer.i16(version);
                self.encode(context(version), &mut writer);
                writer.finish().into_bytes()
            }

            /// Reads the version and what follows it.
            ///
            /// # Errors
            /// Bytes that are something else; other protocol types than `consumer` have their own.
            pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(bytes);
                let version = reader.i16()?;
                if version < 0 {
                    return Err(reader.error(DecodeErrorKind::Version(version)));
                }
                <Self as Wire>::decode(context(version), &mut reader)
            }
        }
    };
}

versioned!(ConsumerProtocolSubscription);
versioned!(ConsumerProtocolAssignment);

fn context(version: i16) -> Context {
    Context { version: version.min(CONSUMER_PROTOCOL_VERSION), flexible: false, nullable: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::sample::{Entropy, Sample};
    use bytes::BytesMut;
    use kafka_protocol::messages as theirs;
    use kafka_protocol::protocol::{Decodable, Encodable};

    #[test]
    fn subscriptions_and_assignments_agree_with_the_oracle() {
        for version in 0..=CONSUMER_PROTOCOL_VERSION {
            for seed in 0..50 {
                let subscription = ConsumerProtocolSubscription::sample(context(version), &mut Entropy::new(seed));
                let bytes = subscription.to_bytes(version);
                assert_eq!(ConsumerProtocolSubscription::from_bytes(bytes.clone()), Ok(subscription));
                let mut again = BytesMut::from(&version.to_be_bytes()[..]);
                let their = theirs::ConsumerProtocolSubscription::decode(&mut bytes.slice(2..), version).unwrap();
                their.encode(&mut again, version).unwrap();
                assert_eq!(again, bytes);

                let assignment = ConsumerProtocolAssignment::sample(context(version), &mut Entropy::new(seed));
                let bytes = assignment.to_bytes(version);
                assert_eq!(ConsumerProtocolAssignment::from_bytes(bytes.clone()), Ok(assignment));
                let mut again = BytesMut::from(&version.to_be_bytes()[..]);
                let their = theirs::ConsumerProtocolAssignment::decode(&mut bytes.slice(2..), version).unwrap();
                their.encode(&mut again, version).unwrap();
                assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn versions_to_come_are_read_and_nonsense_is_not() {
        let subscription = ConsumerProtocolSubscription { topics: vec!["t".into()], ..Default::default() };
        let mut bytes = subscription.to_bytes(9).to_vec();
        bytes.extend_from_slice(b"more");
        assert_eq!(ConsumerProtocolSubscription::from_bytes(bytes.into()), Ok(subscription));
        for bytes in [&b""[..], b"\xff\xff", b"\0\0\x7f\xff\xff\xff"] {
            assert!(ConsumerProtocolSubscription::from_bytes(Bytes::from_static(bytes)).is_err());
        }
    }
}
