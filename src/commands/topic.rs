//! `strandline topic`.

use super::{BootstrapArgs, explain, parse, table};
use crate::output::{counted, say};
use anyhow::bail;
use clap::Subcommand;
use std::collections::BTreeMap;
use strandline_client::{Admin, ClientError, ConfigChange, ConfigSource, NewTopic, OffsetAt, PartitionName, Resource, Topic};
use strandline_topic_config::DEFINITIONS;
use strandline_wire::ErrorCode;

/// Creates, lists, describes, changes and deletes topics.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  strandline topic create orders --partitions 6
  strandline topic create alerts --config retention.ms=-1 \\
      --config strandline.latency=express
  strandline topic list
  strandline topic describe orders --configs
  strandline topic alter orders --partitions 12 --set retention.ms=604800000 \\
      --unset cleanup.policy
  strandline topic delete orders")]
pub struct TopicArgs {
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    #[command(subcommand)]
    command: TopicCommand,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Creates a topic
    Create {
        /// Its name: letters, digits, dots, dashes and underscores
        name: String,
        /// How many partitions [default: what the broker is set to]
        #[arg(long, short, value_name = "N", default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
        partitions: i32,
        /// How many replicas; taken, and without effect: nothing is replicated [default: the broker's]
        #[arg(long, value_name = "N", default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
        replication_factor: i16,
        /// A config, such as retention.ms=-1; may be repeated
        #[arg(long = "config", short, value_name = "KEY=VALUE", value_parser = parse::pair)]
        configs: Vec<(String, String)>,
        /// A topic that exists is fine, whatever it is like
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Lists topics
    List {
        /// Those that a cluster keeps for itself, too; Strandline has none
        #[arg(long)]
        internal: bool,
    },
    /// Shows partitions with their offsets, and configs
    Describe {
        /// Topics [default: all]
        names: Vec<String>,
        /// Every config, with where its value comes from
        #[arg(long)]
        configs: bool,
    },
    /// Adds partitions, sets and unsets configs
    Alter {
        /// The topic
        name: String,
        /// How many partitions it is to have; keys move to other partitions then
        #[arg(long, short, value_name = "N")]
        partitions: Option<i32>,
        /// A config to set; may be repeated
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse::pair)]
        set: Vec<(String, String)>,
        /// A config to set back to its default; may be repeated
        #[arg(long = "unset", value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Deletes topics with all their records
    Delete {
        /// Topics
        #[arg(required = true)]
        names: Vec<String>,
        /// A topic that does not exist is fine
        #[arg(long)]
        if_exists: bool,
    },
}

/// Runs `strandline topic`.
///
/// # Errors
/// In plain words, with what to do.
pub async fn run(args: TopicArgs) -> anyhow::Result<()> {
    let admin = args.bootstrap.client("topic")?.admin();
    match args.command {
        TopicCommand::Create { name, partitions, replication_factor, configs, if_not_exists } => {
            let topic = NewTopic { name, partitions, replication_factor, configs: configs.into_iter().collect() };
            create(&admin, topic, if_not_exists).await
        }
        TopicCommand::List { internal } => list(&admin, internal).await,
        TopicCommand::Describe { names, configs } => describe(&admin, names, configs).await,
        TopicCommand::Alter { name, partitions, set, unset } => alter(&admin, &name, partitions, set, unset).await,
        TopicCommand::Delete { names, if_exists } => delete(&admin, &names, if_exists).await,
    }
}

async fn create(admin: &Admin, topic: NewTopic, if_not_exists: bool) -> anyhow::Result<()> {
    let name = topic.name.clone();
    let keys: Vec<String> = topic.configs.keys().cloned().collect();
    match admin.create_topic(topic).await {
        Ok(created) if created.partitions > 0 => {
            say!("created {name} with {}", counted(created.partitions.max(0).unsigned_abs().into(), "partition"))
        }
        Ok(_) => say!("created {name}"),
        Err(error) if if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => say!("{name} exists already"),
        Err(error) => Err(explain_configs(error, &keys)),
    }
}

/// As [`explain`], with the config that a misspelt one may be meant for.
fn explain_configs(error: ClientError, keys: &[String]) -> anyhow::Error {
    let known = || DEFINITIONS.iter().map(|definition| definition.name);
    let unknown = keys.iter().filter(|key| !known().any(|name| name == key.as_str()));
    let meant = unknown.filter_map(|key| strandline_config::nearest(key, known())).next();
    match meant.filter(|_| error.code() == Some(ErrorCode::InvalidConfig)) {
        Some(meant) => anyhow::anyhow!("{error}\n  did you mean `{meant}`?"),
        None => explain(error),
    }
}

async fn list(admin: &Admin, internal: bool) -> anyhow::Result<()> {
    let topics = admin.list_topics().await.map_err(explain)?;
    let shown = topics.iter().filter(|topic| internal || !topic.is_internal);
    let rows: Vec<Vec<String>> = shown
        .map(|topic| vec![topic.name.clone(), topic.partitions.len().to_string(), replicas(topic), topic.topic_id.to_string()])
        .collect();
    if rows.is_empty() {
        return say!("no topics; `strandline topic create NAME` makes one");
    }
    table::print(&["TOPIC", "PARTITIONS", "REPLICAS", "ID"], &rows)
}

fn replicas(topic: &Topic) -> String {
    topic.partitions.first().map_or(0, |partition| partition.replicas.len()).to_string()
}

async fn describe(admin: &Admin, names: Vec<String>, configs: bool) -> anyhow::Result<()> {
    let topics = if names.is_empty() {
        admin.list_topics().await.map_err(explain)?.into_iter().filter(|topic| !topic.is_internal).collect()
    } else {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        admin.describe_topics(&names).await.map_err(explain)?
    };
    for (index, topic) in topics.iter().enumerate() {
        if index > 0 {
            say!()?;
        }
        describe_one(admin, topic, configs).await?;
    }
    Ok(())
}

async fn describe_one(admin: &Admin, topic: &Topic, all_configs: bool) -> anyhow::Result<()> {
    let partitions: Vec<PartitionName> =
        topic.partitions.iter().map(|partition| (topic.name.clone(), partition.partition)).collect();
    let start = admin.offsets_at(&partitions, OffsetAt::Earliest).await.map_err(explain)?;
    let end = admin.offsets_at(&partitions, OffsetAt::Latest).await.map_err(explain)?;
    let offset = |offsets: &BTreeMap<PartitionName, Option<i64>>, partition: i32| {
        offsets.get(&(topic.name.clone(), partition)).copied().flatten()
    };
    let records = |partition: i32| Some(offset(&end, partition)? - offset(&start, partition)?);
    let total: i64 = topic.partitions.iter().filter_map(|partition| records(partition.partition)).sum();
    let partitions = counted(topic.partitions.len() as u64, "partition");
    say!("{}  {partitions}, {total} offsets, id {}", topic.name, topic.topic_id)?;
    let ids = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let show = |offset: Option<i64>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
    let row = |partition: &strandline_client::Partition| {
        let number = partition.partition;
        vec![
            number.to_string(),
            partition.leader.to_string(),
            ids(&partition.replicas),
            ids(&partition.in_sync),
            show(offset(&start, number)),
            show(offset(&end, number)),
        ]
    };
    let rows: Vec<Vec<String>> = topic.partitions.iter().map(row).collect();
    table::print(&["PARTITION", "LEADER", "REPLICAS", "IN SYNC", "START", "END"], &rows)?;
    let configs = admin.describe_configs(&Resource::Topic(topic.name.clone()), None).await.map_err(explain)?;
    let shown: Vec<_> = configs.iter().filter(|config| all_configs || config.source == ConfigSource::Topic).collect();
    if !shown.is_empty() {
        say!()?;
        let rows: Vec<Vec<String>> = shown
            .iter()
            .map(|config| {
                let value = config.value.clone().unwrap_or_else(|| "(hidden)".to_owned());
                vec![config.name.clone(), value, source(config.source).to_owned()]
            })
            .collect();
        table::print(&["CONFIG", "VALUE", "SET BY"], &rows)?;
    }
    Ok(())
}

const fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "topic",
        ConfigSource::Broker => "broker",
        ConfigSource::Default => "default",
        ConfigSource::Other(_) => "other",
    }
}

async fn alter(
    admin: &Admin,
    name: &str,
    partitions: Option<i32>,
    set: Vec<(String, String)>,
    unset: Vec<String>,
) -> anyhow::Result<()> {
    if partitions.is_none() && set.is_empty() && unset.is_empty() {
        bail!("nothing to change; name --partitions, --set or --unset");
    }
    let keys: Vec<String> = set.iter().map(|(key, _)| key).chain(&unset).cloned().collect();
    let set = set.into_iter().map(|(key, value)| ConfigChange::Set(key, value));
    let changes: Vec<ConfigChange> = set.chain(unset.into_iter().map(ConfigChange::Delete)).collect();
    if !changes.is_empty() {
        let altered = admin.alter_configs(&Resource::Topic(name.to_owned()), &changes).await;
        altered.map_err(|error| explain_configs(error, &keys))?;
        say!("changed {} of {name}", counted(changes.len() as u64, "config"))?;
    }
    if let Some(count) = partitions {
        admin.create_partitions(name, count).await.map_err(explain)?;
        say!("{name} has {} now", counted(count.max(0).unsigned_abs().into(), "partition"))?;
    }
    Ok(())
}

async fn delete(admin: &Admin, names: &[String], if_exists: bool) -> anyhow::Result<()> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut failed = None;
    for (name, result) in admin.delete_topics(&names).await.map_err(explain)? {
        match result {
            Ok(()) => say!("deleted {name}")?,
            Err(error) if if_exists && error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                say!("{name} does not exist")?;
            }
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), |error| Err(explain(error)))
}
