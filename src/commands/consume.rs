//! `strandline consume`.

use super::format::Format;
use super::parse::{self, Moment};
use super::{BootstrapArgs, explain, is_broken_pipe};
use crate::output::remark;
use crate::signals::{give_up, stop_signal};
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;
use strandline_client::{Client, Consumer, ConsumerOptions, Fetched, Isolation, OffsetAt, PartitionName, StartAt};
use strandline_wire::ErrorCode;

/// Prints records.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  strandline consume orders                                New records, until Ctrl-C
  strandline consume orders --from-beginning --exit-at-end
  strandline consume orders --from-beginning --max 1
  strandline consume orders:0,3 --from-offset 1000 --format json
  strandline consume veh.events.raw --from-time 15m        What came in the last quarter of an hour
  strandline consume orders alerts --group billing         As a member of a group, committing as it goes
  strandline consume orders --template '%t/%p@%o %T %k = %v [%h]\\n'

A template's places: %t topic, %p partition, %o offset, %T timestamp (ms), %k key, %v value,
%K and %V their lengths (-1 is null), %h headers, %% a percent sign; \\n and \\t as usual.")]
pub struct ConsumeArgs {
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    /// Topics, or TOPIC:PARTITION,PARTITION
    #[arg(required = true, value_name = "TOPIC", value_parser = parse::topic_partitions)]
    topics: Vec<(String, Option<Vec<i32>>)>,
    /// From the first record; in a group only where nothing is committed
    #[arg(long, conflicts_with_all = ["from_offset", "from_time"])]
    from_beginning: bool,
    /// From this offset; negative counts from the end
    #[arg(long, value_name = "N", allow_hyphen_values = true, conflicts_with_all = ["from_time", "group"])]
    from_offset: Option<i64>,
    /// From the first record at this time or later: 2026-11-23T14:15:00Z, milliseconds since 1970, or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse::moment, conflicts_with = "group")]
    from_time: Option<Moment>,
    /// Join this group and commit what was printed
    #[arg(long, short, value_name = "GROUP")]
    group: Option<String>,
    /// End after so many records
    #[arg(long, short = 'n', value_name = "N")]
    max: Option<u64>,
    /// End at the end of what is there now
    #[arg(long, short = 'e', conflicts_with = "group")]
    exit_at_end: bool,
    /// End when nothing came for so long
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    idle: Option<Duration>,
    /// How records are printed. In text a null is printed as null; json has null for it, and {"hex": …} for bytes that are no text
    #[arg(long, value_enum, default_value = "text", conflicts_with = "template")]
    format: FormatArg,
    /// A template, see below
    #[arg(long, short, value_name = "TEXT")]
    template: Option<String>,
    /// With the text format: print the key and this before the value
    #[arg(long, short = 'k', value_name = "TEXT", conflicts_with = "template")]
    key_separator: Option<String>,
    /// Only what no transaction took back
    #[arg(long)]
    read_committed: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatArg {
    /// The value
    Text,
    /// One object a line: topic, partition, offset, timestamp_ms, key, value, headers
    Json,
}

/// Runs `strandline consume`.
///
/// # Errors
/// In plain words, with what to do.
pub async fn run(args: ConsumeArgs) -> anyhow::Result<()> {
    let client = args.bootstrap.client("consume")?;
    let format = match (&args.template, args.format) {
        (Some(template), _) => Format::template(template),
        (None, FormatArg::Json) => Format::Json,
        (None, FormatArg::Text) => Format::Text { key_separator: args.key_separator.as_deref().map(parse::unescape) },
    };
    let isolation = if args.read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let mut consumer = client.consumer(ConsumerOptions {
        group: args.group.clone(),
        isolation,
        start: if args.from_beginning { StartAt::Earliest } else { StartAt::Latest },
        ..ConsumerOptions::default()
    });
    let ends = begin(&args, &client, &mut consumer, isolation).await?;
    let work = async {
        let printed = print_all(&args, &mut consumer, &format, ends).await;
        let closed = consumer.close().await.map_err(explain);
        printed?;
        closed
    };
    tokio::select! {
        done = work => done,
        given_up = give_up(client.runtime()) => {
            given_up?;
            remark!("strandline: stopped before the group knew of it");
            std::process::exit(1);
        }
    }
}

/// Subscribes or assigns; returns where to end.
async fn begin(
    args: &ConsumeArgs,
    client: &Client,
    consumer: &mut Consumer,
    isolation: Isolation,
) -> anyhow::Result<Option<BTreeMap<PartitionName, i64>>> {
    let topics: Vec<&str> = args.topics.iter().map(|(topic, _)| topic.as_str()).collect();
    let cluster = client.topics(&topics).await.map_err(explain)?;
    if args.group.is_some() {
        if args.topics.iter().any(|(_, partitions)| partitions.is_some()) {
            bail!("a group distributes partitions itself: name topics only, or leave --group out");
        }
        consumer.subscribe(&topics).map_err(explain)?;
        return Ok(None);
    }
    let mut partitions: BTreeSet<PartitionName> = BTreeSet::new();
    for (name, wanted) in &args.topics {
        let topic = cluster.topics.get(name).with_context(|| format!("topic \"{name}\" is gone"))?;
        let all = topic.partitions.iter().map(|partition| partition.partition).collect::<Vec<_>>();
        for partition in wanted.as_ref().unwrap_or(&all) {
            topic.partition(*partition).map_err(explain)?;
            partitions.insert((name.clone(), *partition));
        }
    }
    let from_end = args.from_offset.is_some_and(|offset| offset < 0);
    let (mut firsts, mut ends) = (BTreeMap::new(), BTreeMap::new());
    if from_end {
        firsts = offsets_at(client, &partitions, OffsetAt::Earliest, isolation).await?;
    }
    if from_end || args.exit_at_end {
        ends = offsets_at(client, &partitions, OffsetAt::Latest, isolation).await?;
    }
    let start = |name: &PartitionName| match (args.from_offset, args.from_time) {
        (Some(offset), _) if offset < 0 => {
            let [first, end] = [&firsts, &ends].map(|offsets| offsets.get(name).copied().unwrap_or(0));
            StartAt::Offset(end.saturating_add(offset).max(first))
        }
        (Some(offset), _) => StartAt::Offset(offset),
        (_, Some(moment)) => StartAt::Timestamp(moment.timestamp_ms(client.runtime().clock.now_ms())),
        _ if args.from_beginning => StartAt::Earliest,
        _ => StartAt::Latest,
    };
    let assignment: Vec<(PartitionName, StartAt)> = partitions.iter().map(|name| (name.clone(), start(name))).collect();
    consumer.assign(assignment);
    Ok(args.exit_at_end.then_some(ends))
}

async fn offsets_at(
    client: &Client,
    partitions: &BTreeSet<PartitionName>,
    at: OffsetAt,
    isolation: Isolation,
) -> anyhow::Result<BTreeMap<PartitionName, i64>> {
    let wanted = partitions.iter().map(|name| (name.clone(), at)).collect();
    let listed = client.admin().list_offsets(wanted, isolation).await.map_err(explain)?;
    listed.into_iter().map(|(name, listed)| Ok((name, listed.map_err(explain)?.offset.unwrap_or(0)))).collect()
}

/// How far printing went.
#[derive(Default)]
struct Printed {
    count: u64,
    /// Per partition, the next offset behind what was printed since the last commit.
    next: BTreeMap<PartitionName, i64>,
    /// What the group knows.
    committed: BTreeMap<PartitionName, i64>,
    /// In which it knows that.
    generation: Option<i32>,
    pipe_is_gone: bool,
    /// Records of one partition cannot be read; what came of others with them is printed.
    failed: Option<anyhow::Error>,
}

async fn print_all(
    args: &ConsumeArgs,
    consumer: &mut Consumer,
    format: &Format,
    ends: Option<BTreeMap<PartitionName, i64>>,
) -> anyhow::Result<()> {
    const POLL: Duration = Duration::from_millis(500);
    let mut printed = Printed::default();
    let mut idle = Duration::ZERO;
    let mut stop = std::pin::pin!(stop_signal()?);
    loop {
        let fetched = tokio::select! {
            fetched = consumer.poll(POLL) => fetched.map_err(explain)?,
            () = &mut stop => return Ok(()),
        };
        idle = if fetched.is_empty() { idle + POLL } else { Duration::ZERO };
        print(&fetched, format, args.max, &mut printed)?;
        if printed.pipe_is_gone {
            // What came with this poll was not printed, or not all of it.
            return Ok(());
        }
        if args.group.is_some() {
            commit(consumer, &mut printed).await?;
        }
        if let Some(failed) = printed.failed.take() {
            return Err(failed);
        }
        let is_done = args.max.is_some_and(|max| printed.count >= max)
            || args.idle.is_some_and(|longest| idle >= longest)
            || ends.as_ref().is_some_and(|ends| is_at(consumer, ends));
        if is_done {
            return Ok(());
        }
    }
}

/// Tells the group what was printed, and where it began with a partition of which nothing came yet: whoever reads on goes on there. Of
/// both what is new.
async fn commit(consumer: &mut Consumer, printed: &mut Printed) -> anyhow::Result<()> {
    let next = std::mem::take(&mut printed.next);
    let generation = consumer.generation();
    if generation != printed.generation {
        // Another member may have had a partition in between.
        printed.committed.clear();
        printed.generation = generation;
    }
    if generation.is_none() {
        return Ok(());
    }
    let positions = consumer.progress().into_iter().filter_map(|(name, progress)| Some((name, progress.position?)));
    let mut offsets: BTreeMap<PartitionName, i64> = positions.collect();
    // What was printed, not what was fetched: --max may end in the middle of it.
    offsets.extend(next);
    offsets.retain(|name, offset| printed.committed.get(name) != Some(offset));
    if offsets.is_empty() {
        return Ok(());
    }
    match consumer.commit_offsets(offsets.clone()).await {
        Ok(()) => printed.committed.extend(offsets),
        // A topic was deleted just now.
        Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
            remark!("strandline: {error}");
            printed.committed.extend(offsets);
        }
        Err(error) if is_out_of_group(error.code()) => {
            remark!("strandline: {error}: the group has gone on without this member, what it printed last may be read again");
        }
        Err(error) => return Err(explain(error)),
    }
    Ok(())
}

/// Others may read its partitions by now, and it joins again.
fn is_out_of_group(code: Option<ErrorCode>) -> bool {
    use ErrorCode::{GroupIdNotFound, IllegalGeneration, RebalanceInProgress, UnknownMemberId};
    matches!(code, Some(UnknownMemberId | IllegalGeneration | RebalanceInProgress | GroupIdNotFound))
}

fn is_at(consumer: &Consumer, ends: &BTreeMap<PartitionName, i64>) -> bool {
    let progress = consumer.progress();
    ends.iter()
        .all(|(name, end)| progress.get(name).and_then(|progress| progress.position).is_some_and(|position| position >= *end))
}

fn print(fetched: &Fetched, format: &Format, max: Option<u64>, printed: &mut Printed) -> anyhow::Result<()> {
    let mut output = Vec::new();
    for partition in &fetched.partitions {
        let name = (partition.topic.to_string(), partition.partition);
        let mut next = partition.next_offset;
        let visited = partition.for_each(|record| {
            if max.is_some_and(|max| printed.count >= max) {
                next = record.offset;
                return ControlFlow::Break(());
            }
            printed.count += 1;
            format.write(&partition.topic, partition.partition, record, &mut output);
            ControlFlow::Continue(())
        });
        match visited {
            Ok(()) => drop(printed.next.insert(name, next)),
            Err(error) => {
                printed.next.insert(name, partition.from_offset);
                printed.failed.get_or_insert(explain(error));
            }
        }
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&output).and_then(|()| stdout.flush()) {
        Err(error) if is_broken_pipe(&error) => printed.pipe_is_gone = true,
        result => result.context("standard output cannot be written")?,
    }
    Ok(())
}
