//! What is known of one configuration.

/// Kafka's types of configurations, by their number in DescribeConfigs (KIP-569).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A fraction.
    Double = 6,
    /// Texts with commas between.
    List = 7,
    /// A class; reported only.
    Class = 8,
    /// Never shown.
    Password = 9,
}

impl ConfigType {
    /// The number in DescribeConfigs.
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// Kafka's name of it, as its messages print it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ConfigType::Boolean => "BOOLEAN",
            ConfigType::String => "STRING",
            ConfigType::Int => "INT",
            ConfigType::Short => "SHORT",
            ConfigType::Long => "LONG",
            ConfigType::Double => "DOUBLE",
            ConfigType::List => "LIST",
            ConfigType::Class => "CLASS",
            ConfigType::Password => "PASSWORD",
        }
    }
}

/// Where a described value comes from, by its number in DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set in the node's file, flags or environment.
    StaticBroker = 4,
    /// The default.
    Default = 5,
}

impl ConfigSource {
    /// The number in DescribeConfigs.
    pub const fn code(self) -> i8 {
        self as i8
    }
}

/// What a value must be, beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Anything of the type.
    Any,
    /// This or more.
    AtLeast(i64),
    /// Both included.
    Between(i64, i64),
    /// Both included, or the third.
    BetweenOr(i64, i64, i64),
    /// One of these; of a list, each element.
    OneOf(&'static [&'static str]),
    /// `*`, or `partition:node` elements.
    ThrottledReplicas,
    /// -1, or milliseconds that divide a UTC day, this or more.
    DividesDayOrAuto(i64),
}

/// One configuration.
#[derive(Debug, Clone, Copy)]
pub struct ConfigDefinition {
    /// Kafka's name, or ours.
    pub name: &'static str,
    /// Its type.
    pub kind: ConfigType,
    /// Its default as text; None is null.
    pub default: Option<&'static str>,
    /// Its rule.
    pub rule: Rule,
    /// The broker configurations that are its synonyms in Kafka, the one that wins first.
    pub synonyms: &'static [&'static str],
    /// Whether it changes what Strandline does. What does not act is kept and reported all the same.
    pub acts: bool,
    /// Kept, but never listed (Kafka's own internal ones).
    pub internal: bool,
    /// What it does, or why it does nothing; for people.
    pub doc: &'static str,
}
