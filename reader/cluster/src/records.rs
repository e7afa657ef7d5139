//! DeleteRecords.

use crate::Cluster;
use crate::cluster::Refused;
use strandline_commands::MoveLogStart;
use strandline_index::{Index, Outcome};
use strandline_topic_config::TopicConfig;
use strandline_types::{Caller, TopicId};
use strandline_wire::ErrorCode;
use strandline_wire::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

impl Cluster {
    /// DeleteRecords (21): moves log starts up, by command.
    pub async fn delete_records(&self, _caller: &Caller, _version: i16, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
        let fresh = self.cell.barrier().await.map_err(|error| Refused::of(&error));
        let mut commands = Vec::new();
        let mut places = Vec::new();
        let mut topics = Vec::new();
        {
            let view = self.cell.view();
            for (at, topic) in request.topics.into_iter().enumerate() {
                let mut partitions = Vec::new();
                for (number, partition) in topic.partitions.into_iter().enumerate() {
                    let checked =
                        fresh.clone().and_then(|()| may_delete(&view, &topic.name, partition.partition_index, partition.offset));
                    let error = match checked {
                        Ok(id) => {
                            let command = MoveLogStart {
                                topic_id: id.0.to_vec(),
                                partition: partition.partition_index,
                                to: partition.offset,
                            };
                            commands.push(command.into());
                            places.push((at, number));
                            ErrorCode::None
                        }
                        Err(refused) => refused.code,
                    };
                    partitions.push(DeleteRecordsPartitionResult {
                        partition_index: partition.partition_index,
                        low_watermark: -1,
                        error_code: error.code(),
                    });
                }
                topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
            }
        }
        for ((at, number), outcome) in places.into_iter().zip(self.commit(commands).await) {
            let Some(result) = topics.get_mut(at).and_then(|topic| topic.partitions.get_mut(number)) else { continue };
            match outcome {
                Ok(Outcome::LogStart(start)) => result.low_watermark = start,
                Ok(_) => {}
                Err(refused) => result.error_code = refused.code.code(),
            }
        }
        DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
    }
}

fn may_delete(index: &Index, name: &str, partition: i32, offset: i64) -> Result<TopicId, Refused> {
    let topic = index.topic_by_name(name).ok_or_else(Refused::unknown_topic)?;
    if topic.partition(partition).is_none() {
        return Err(Refused::unknown_topic());
    }
    if offset < -1 {
        return Err(Refused::new(ErrorCode::OffsetOutOfRange, "The offset is out of range."));
    }
    let cleanup = TopicConfig::of(&topic.configs).cleanup;
    if cleanup.compact && !cleanup.delete {
        return Err(Refused::new(ErrorCode::PolicyViolation, "Records of a topic that is only compacted cannot be deleted."));
    }
    Ok(topic.id)
}
