//! DeleteTopics (20): deletes topics.

use strandline_types::TopicId;

api!(DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse);

wire! {
    /// Topics to delete, by name, or from version 6 by name or id.
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6..];
        topic_names: Vec<String> [..=5];
        timeout_ms: i32 [..];
    }

    /// One of `topics` of [`DeleteTopicsRequest`].
    DeleteTopicState {
        name: Option<String> [6..];
        topic_id: TopicId [6..];
    }

    /// What became of each topic.
    DeleteTopicsResponse {
        throttle_time_ms: i32 [..];
        responses: Vec<DeletableTopicResult> [..];
    }

    /// One of `responses` of [`DeleteTopicsResponse`].
    DeletableTopicResult {
        name: Option<String> [..] nullable[6..];
        topic_id: TopicId [6..];
        error_code: i16 [..];
        error_message: Option<String> [5..];
    }
}
