//! Changes of topics and configs in the mock cluster, which its controller alone takes.

use super::Cluster;
use strandline_types::TopicId;
use strandline_wire::ErrorCode;
use strandline_wire::messages::*;

impl Cluster {
    fn refusal(&self, node_id: i32) -> i16 {
        let is_controller = self.state().controller == node_id;
        let code = if is_controller { ErrorCode::None } else { ErrorCode::NotController };
        code.code()
    }

    pub(super) fn create_topics(&self, node_id: i32, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let error_code = self.refusal(node_id);
        let mut response = CreateTopicsResponse::default();
        for topic in request.topics {
            if error_code == 0 {
                let logs = vec![(1, Vec::new()); topic.num_partitions as usize];
                self.state().topics.insert(topic.name.clone(), (TopicId([9; 16]), logs));
            }
            response.topics.push(create_topics::CreatableTopicResult { name: topic.name, error_code, ..Default::default() });
        }
        response
    }

    pub(super) fn delete_topics(&self, node_id: i32, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        let error_code = self.refusal(node_id);
        let mut response = DeleteTopicsResponse::default();
        for topic in request.topics {
            if error_code == 0 {
                self.state().topics.remove(topic.name.as_deref().unwrap_or_default());
            }
            response.responses.push(delete_topics::DeletableTopicResult { name: topic.name, error_code, ..Default::default() });
        }
        response
    }

    pub(super) fn create_partitions(&self, node_id: i32, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
        let error_code = self.refusal(node_id);
        let mut response = CreatePartitionsResponse::default();
        for topic in request.topics {
            if error_code == 0 {
                self.state().topics.get_mut(&topic.name).unwrap().1.resize(topic.count as usize, (1, Vec::new()));
            }
            let name = topic.name;
            response.results.push(create_partitions::CreatePartitionsTopicResult { name, error_code, ..Default::default() });
        }
        response
    }

    pub(super) fn alter_configs(&self, node_id: i32, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
        let error_code = self.refusal(node_id);
        let mut response = IncrementalAlterConfigsResponse::default();
        for resource in request.resources {
            response.responses.push(incremental_alter_configs::AlterConfigsResourceResponse {
                error_code,
                error_message: None,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            });
        }
        response
    }

    pub(super) fn describe_configs(&self, node_id: i32, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
        let error_code = self.refusal(node_id);
        let mut response = DescribeConfigsResponse::default();
        for resource in request.resources {
            response.results.push(describe_configs::DescribeConfigsResult {
                error_code,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                ..Default::default()
            });
        }
        response
    }
}
