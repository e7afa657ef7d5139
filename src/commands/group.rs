//! `strandline group`.

use super::parse::{self, Moment};
use super::{BootstrapArgs, explain, table};
use crate::output::{counted, say};
use anyhow::bail;
use clap::Subcommand;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strandline_client::{Admin, DescribedGroup, OffsetAt, PartitionName, ResetTo};
use strandline_wire::ErrorCode;

/// Lists, describes, deletes and resets consumer groups.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  strandline group list
  strandline group describe billing                        How far it is, partition by partition
  strandline group describe billing --members
  strandline group reset billing --topic orders --to-earliest
  strandline group reset billing --topic orders:0,1 --shift-by -100 --dry-run
  strandline group reset billing --all-topics --to-time 2h
  strandline group delete billing

A group can be reset and deleted while it has no members.")]
pub struct GroupArgs {
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    #[command(subcommand)]
    command: GroupCommand,
}

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Lists groups and their states
    List,
    /// Shows committed offsets and lag
    Describe {
        /// Groups
        #[arg(required = true)]
        groups: Vec<String>,
        /// Members and what each reads, instead
        #[arg(long)]
        members: bool,
    },
    /// Deletes groups with their offsets
    Delete {
        /// Groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Sets where a group goes on reading
    Reset(ResetArgs),
}

/// `strandline group reset`.
#[derive(Debug, clap::Args)]
pub struct ResetArgs {
    /// The group
    group: String,
    /// A topic, or TOPIC:PARTITION,PARTITION; may be repeated; this or --all-topics is needed
    #[arg(long = "topic", short, value_name = "TOPIC", value_parser = parse::topic_partitions, required_unless_present = "all_topics")]
    topics: Vec<(String, Option<Vec<i32>>)>,
    /// Every topic of which it has committed offsets
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    #[command(flatten)]
    to: ResetTarget,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct ResetTarget {
    /// To the first record
    #[arg(long)]
    to_earliest: bool,
    /// To the end
    #[arg(long)]
    to_latest: bool,
    /// To this offset, or the nearest there is
    #[arg(long, value_name = "N")]
    to_offset: Option<i64>,
    /// To the first record at this time or later: 2026-11-23T14:15:00Z, milliseconds since 1970, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse::moment)]
    to_time: Option<Moment>,
    /// To the first record of the last 90s, 15m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    by_duration: Option<Duration>,
    /// So many offsets on, or back when negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
}

impl ResetTarget {
    fn target(&self, now_ms: i64) -> ResetTo {
        match (self.to_offset, self.to_time, self.by_duration, self.shift_by) {
            (Some(offset), ..) => ResetTo::Offset(offset),
            (_, Some(moment), ..) => ResetTo::Timestamp(moment.timestamp_ms(now_ms)),
            (_, _, Some(duration), _) => ResetTo::Timestamp(Moment::Ago(duration).timestamp_ms(now_ms)),
            (_, _, _, Some(by)) => ResetTo::Shift(by),
            _ if self.to_latest => ResetTo::Latest,
            _ => ResetTo::Earliest,
        }
    }
}

/// Runs `strandline group`.
///
/// # Errors
/// In plain words, with what to do.
pub async fn run(args: GroupArgs) -> anyhow::Result<()> {
    let admin = args.bootstrap.client("group")?.admin();
    match args.command {
        GroupCommand::List => list(&admin).await,
        GroupCommand::Describe { groups, members } => {
            for (index, group) in groups.iter().enumerate() {
                if index > 0 {
                    say!()?;
                }
                describe(&admin, group, members).await?;
            }
            Ok(())
        }
        GroupCommand::Delete { groups } => {
            for group in groups {
                admin.delete_group(&group).await.map_err(explain)?;
                say!("deleted {group}")?;
            }
            Ok(())
        }
        GroupCommand::Reset(reset) => run_reset(&admin, reset).await,
    }
}

async fn list(admin: &Admin) -> anyhow::Result<()> {
    let groups = admin.list_groups().await.map_err(explain)?;
    if groups.is_empty() {
        say!("no groups")?;
        return Ok(());
    }
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let row = |group: strandline_client::ListedGroup| vec![group.group, or_dash(group.state), or_dash(group.protocol_type)];
    table::print(&["GROUP", "STATE", "TYPE"], &groups.into_iter().map(row).collect::<Vec<_>>())
}

async fn describe(admin: &Admin, group: &str, members: bool) -> anyhow::Result<()> {
    let described = admin.describe_group(group).await.map_err(explain)?;
    let members_in_all = counted(described.members.len() as u64, "member");
    let assignor = if described.protocol.is_empty() { String::new() } else { format!(", assignor {}", described.protocol) };
    say!("{group}  {}, {members_in_all}{assignor}", described.state)?;
    if members {
        return print_members(&described);
    }
    let committed = admin.group_offsets(group, None).await.map_err(explain)?;
    let readers: BTreeMap<&PartitionName, (&str, &str)> = described
        .members
        .iter()
        .flat_map(|member| member.assignment.iter().map(move |name| (name, (member.client_id.as_str(), member.host.as_str()))))
        .collect();
    let partitions: BTreeSet<PartitionName> = committed.keys().chain(readers.keys().copied()).cloned().collect();
    if partitions.is_empty() {
        say!("nothing is committed")?;
        return Ok(());
    }
    let wanted = partitions.iter().map(|name| (name.clone(), OffsetAt::Latest)).collect();
    let ends = admin.list_offsets(wanted, strandline_client::Isolation::ReadUncommitted).await.map_err(explain)?;
    let show = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mut total = None;
    let mut rows = Vec::new();
    for name in &partitions {
        let current = committed.get(name).map(|committed| committed.offset);
        let end = ends.get(name).and_then(|listed| listed.as_ref().ok()).and_then(|listed| listed.offset);
        let lag = current.zip(end).map(|(current, end)| (end - current).max(0));
        total = lag.map(|lag| lag + total.unwrap_or(0)).or(total);
        let (client, host) = readers.get(name).copied().unwrap_or(("-", "-"));
        rows.push(vec![
            name.0.clone(),
            name.1.to_string(),
            show(current),
            show(end),
            show(lag),
            client.to_owned(),
            host.to_owned(),
        ]);
    }
    table::print(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "CLIENT", "HOST"], &rows)?;
    say!("lag in all: {}", show(total))
}

fn print_members(described: &DescribedGroup) -> anyhow::Result<()> {
    let row = |member: &strandline_client::GroupMember| {
        let assignment: Vec<String> = member.assignment.iter().map(parse::show).collect();
        vec![
            member.member_id.clone(),
            member.group_instance_id.clone().unwrap_or_else(|| "-".to_owned()),
            member.client_id.clone(),
            member.host.clone(),
            assignment.join(" "),
        ]
    };
    let rows: Vec<Vec<String>> = described.members.iter().map(row).collect();
    table::print(&["MEMBER", "INSTANCE", "CLIENT", "HOST", "READS"], &rows)
}

async fn run_reset(admin: &Admin, reset: ResetArgs) -> anyhow::Result<()> {
    let partitions = partitions_to_reset(admin, &reset).await?;
    if partitions.is_empty() {
        bail!("group \"{}\" has committed nothing; name topics with --topic", reset.group);
    }
    let has_members = match admin.describe_group(&reset.group).await {
        Ok(described) => !described.members.is_empty(),
        // A group begins with its first committed offset.
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => false,
        Err(error) => return Err(explain(error)),
    };
    if has_members && !reset.dry_run {
        bail!("group \"{}\" has members: stop its consumers first, or their next commit undoes the reset", reset.group);
    }
    let target = reset.to.target(admin.client().runtime().clock.now_ms());
    let changes = admin.plan_reset(&reset.group, &partitions, target).await.map_err(explain)?;
    if !reset.dry_run {
        admin.reset_offsets(&reset.group, &changes).await.map_err(explain)?;
    }
    let row = |change: &strandline_client::OffsetChange| {
        let from = change.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        vec![change.partition.0.clone(), change.partition.1.to_string(), from, change.to.to_string()]
    };
    table::print(&["TOPIC", "PARTITION", "BEFORE", "AFTER"], &changes.iter().map(row).collect::<Vec<_>>())?;
    if reset.dry_run {
        say!("nothing was changed (--dry-run)")?;
    }
    Ok(())
}

async fn partitions_to_reset(admin: &Admin, reset: &ResetArgs) -> anyhow::Result<Vec<PartitionName>> {
    if reset.all_topics {
        return Ok(admin.group_offsets(&reset.group, None).await.map_err(explain)?.into_keys().collect());
    }
    let mut partitions = BTreeSet::new();
    for (name, wanted) in &reset.topics {
        let topic = admin.client().topic(name).await.map_err(explain)?;
        let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
        for partition in wanted.as_ref().unwrap_or(&all) {
            topic.partition(*partition).map_err(explain)?;
            partitions.insert((name.clone(), *partition));
        }
    }
    Ok(partitions.into_iter().collect())
}
