//! Why a configuration is refused.

use strandline_types::limits::CONFIG_VALUE_BYTES;

/// Why a configuration is refused: INVALID_CONFIG, with this text for the client. Never worth a retry. Texts are Kafka's
/// own where Kafka has one, for tools that show or match them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such configuration.
    #[error("Unknown topic config name: {name}")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The value breaks the configuration's rule.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid {
        /// Which.
        name: String,
        /// What was given.
        value: String,
        /// What it must be.
        reason: String,
    },
    /// More bytes than any value may have.
    #[error("The value for configuration {name} has {bytes} bytes; a value has {max} at most", max = CONFIG_VALUE_BYTES)]
    TooLong {
        /// Which.
        name: String,
        /// How many were given.
        bytes: usize,
    },
    /// A list with an empty element.
    #[error("Configuration '{name}' values must not be empty.")]
    EmptyElement {
        /// Which.
        name: String,
    },
    /// A null where a topic is created or its configuration replaced.
    #[error("Null value not supported for topic configs: {names}")]
    Null {
        /// Which, with commas between.
        names: String,
    },
    /// Values that are right one by one contradict each other.
    #[error("{reason}")]
    Conflict {
        /// How.
        reason: String,
    },
    /// Append or Subtract on something that is no list.
    #[error("Can't append to or subtract from config {name}: it is not a list")]
    NotAList {
        /// Which.
        name: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(name: &str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { name: name.to_owned(), value: value.into(), reason: reason.into() }
    }
}
