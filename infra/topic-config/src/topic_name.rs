//! Kafka's rules of topic names.

use strandline_types::limits;

/// Names that Kafka keeps for itself. They cannot be created here, also not by auto-creation: clients would take them
/// for the cluster's own state.
pub const FORBIDDEN: [&str; 4] = ["__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"];

/// A name that cannot be a topic's: INVALID_TOPIC_EXCEPTION. The texts of the first four are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// No name.
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    /// `.` or `..`: they mean something else in paths.
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(String),
    /// Longer than [`limits::TOPIC_NAME_BYTES`].
    #[error("Topic name is invalid: the length of '{0}' is longer than the max allowed length {max}", max = limits::TOPIC_NAME_BYTES)]
    TooLong(String),
    /// Something else than letters, digits, `.`, `_` and `-`.
    #[error("Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")]
    Characters(String),
    /// One of [`FORBIDDEN`].
    #[error("Topic name is invalid: '{0}' is reserved for Kafka's own state and cannot be created")]
    Reserved(String),
}

/// Whether a topic of this name may be created.
///
/// # Errors
/// What is wrong with it.
pub fn validate(name: &str) -> Result<(), TopicNameError> {
    let error = || name.to_owned();
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots(error()));
    }
    if name.len() > limits::TOPIC_NAME_BYTES {
        return Err(TopicNameError::TooLong(error()));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(TopicNameError::Characters(error()));
    }
    if FORBIDDEN.contains(&name) {
        return Err(TopicNameError::Reserved(error()));
    }
    Ok(())
}

/// What metrics call a topic: Kafka writes `.` as `_` there, and refuses a second topic that would be called the same with
/// INVALID_TOPIC_EXCEPTION.
pub fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for name in ["a", "a.b_c-D9", "...", "_", &"x".repeat(249), "__mine"] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
        assert_eq!(validate(""), Err(TopicNameError::Empty));
        for name in [".", ".."] {
            assert_eq!(validate(name), Err(TopicNameError::Dots(name.to_owned())));
        }
        for name in ["a/b", "a b", "ä", "a\0", "a:b"] {
            assert_eq!(validate(name), Err(TopicNameError::Characters(name.to_owned())));
        }
        assert!(matches!(validate(&"x".repeat(250)), Err(TopicNameError::TooLong(_))));
        for name in FORBIDDEN {
            assert_eq!(validate(name), Err(TopicNameError::Reserved(name.to_owned())));
        }
    }

    #[test]
    fn texts_are_kafkas() {
        assert_eq!(
            validate("a b").unwrap_err().to_string(),
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        );
        assert!(validate(&"x".repeat(250)).unwrap_err().to_string().ends_with("is longer than the max allowed length 249"));
    }

    #[test]
    fn metrics_call_names_the_same_where_only_dot_and_underscore_differ() {
        let same = |a, b| metric_name(a) == metric_name(b);
        assert!(same("a.b", "a_b") && same("a_b.c", "a.b_c") && same("a", "a"));
        assert!(!same("a.b", "a-b") && !same("a.b", "a_bc"));
    }
}
