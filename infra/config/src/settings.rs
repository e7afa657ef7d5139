//! The settings, once: name, type, default, meaning.

use crate::value::{Value, ValueError};
use std::path::PathBuf;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Value for LogFormat {
    const EXPECTED: &'static str = "`text` or `json`";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

/// What is known of a setting beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingInfo {
    /// Its key in the file; in the environment it is `STRANDLINE_` and the key in capitals.
    pub key: &'static str,
    /// What it means.
    pub doc: &'static str,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr;)*) => {
        /// A node's settings.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $key: $type,)*
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        /// Every setting, in the order of the file.
        pub const SETTINGS: &[SettingInfo] = &[$(SettingInfo { key: stringify!($key), doc: concat!($($doc),+) },)*];

        impl Settings {
            /// Sets one value from text. `None`: there is no such setting.
            pub(crate) fn set(&mut self, key: &str, text: &str) -> Option<Result<(), ValueError>> {
                match key {
                    $(stringify!($key) => Some(<$type as Value>::read(text).map(|value| self.$key = value)),)*
                    _ => None,
                }
            }

            /// The value as text.
            pub fn get(&self, key: &str) -> Option<String> {
                match key {
                    $(stringify!($key) => Some(self.$key.show()),)*
                    _ => None,
                }
            }
        }
    };
}

settings! {
    /// The folder that holds everything.
    data: PathBuf = PathBuf::from("./strandline-data");
    /// Where Kafka clients connect.
    listen: String = "127.0.0.1:9092".to_owned();
    /// What Kafka clients are told to connect to. Defaults to `listen`; required where that is 0.0.0.0 or [::].
    advertise: Option<String> = None;
    /// Where metrics, health and the operator's commands are served; empty for nowhere.
    http: Option<String> = Some("127.0.0.1:9644".to_owned());
    /// The node's zone, reported to clients as its rack.
    zone: String = String::new();
    /// Asking for an unknown topic creates it, as Kafka's `auto.create.topics.enable`.
    auto_create_topics: bool = true;
    /// Partitions of a topic that is created without a number, as Kafka's `num.partitions`.
    default_partitions: i32 = 1;
    /// The replication factor that CreateTopics answers if none was asked for. Nothing is replicated: there is one copy, on this node's disk.
    default_replication_factor: i16 = 1;
    /// How long the first rebalance of an empty group waits for more members, as Kafka's `group.initial.rebalance.delay.ms`.
    group_initial_rebalance_delay_ms: u64 = 3_000;
    /// Below this much free disk Produce is refused with KAFKA_STORAGE_ERROR, while deletes, conversion and group commits go on.
    min_free_bytes: u64 = strandline_types::limits::FREE_DISK_BYTES;
    /// Memory for copies of what readers read.
    cache_bytes: u64 = strandline_types::limits::CACHE_BYTES as u64;
    /// Start although the machine's clock is behind the last entry of the log.
    accept_clock: bool = false;
    /// Do not convert to Parquet. For benchmarks of ingest alone: the log grows until it is unset.
    conversion_paused: bool = false;
    /// Which log lines are written: a level (error, warn, info, debug, trace, off), or PART=LEVEL, with commas between, such as `info,strandline=debug`.
    log: String = "info".to_owned();
    /// How log lines are written: `text` or `json`.
    log_format: LogFormat = LogFormat::Text;
}
