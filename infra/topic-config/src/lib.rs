//! Topic-configuration.
