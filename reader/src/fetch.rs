//! Fetch (KIP-74, KIP-227, KIP-516): plan, wait, read, answer.

use crate::answer::{PartitionAnswer, hold, refused, response};
use crate::error::ServeError;
use crate::plan::{Isolation, Plan, Source, plan};
use crate::reader::{Reader, Shared};
use crate::resolve::{resolve, topic_label};
use crate::rope::Rope;
use crate::serve::Want;
use crate::session::{ConnectionId, Wanted};
use std::time::Duration;
use strandline_extents::Pieces;
use strandline_index::{Extent, Index};
use strandline_types::{Caller, TopicPartition, limits};
use strandline_wire::messages::fetch::{FetchRequest, FetchResponse};

/// An answer that has something takes no more of history after this time: files of a record each could keep it until its client has given
/// up and asks for all of it again.
const HISTORY_TIME: Duration = Duration::from_secs(1);

/// From this version on a client reads zstd (KIP-110).
const ZSTD_FROM_VERSION: i16 = 10;

/// One partition of a request, planned.
struct Item {
    wanted: Wanted,
    planned: Result<(TopicPartition, Plan), ServeError>,
    /// What its plan may bring.
    limit: usize,
}

/// A whole request, planned from one view.
struct Round {
    items: Vec<Item>,
    /// Bytes that are surely there, within the limits.
    bytes: u64,
    /// Bytes that the answer may take: extents are read whole.
    read: u64,
    /// What history may take beyond that: what was rebuilt together goes whole.
    beyond: u64,
    /// Bytes of the first source that has something: a first batch goes whole.
    least: u64,
    /// Some partition is refused, and the view may be older than the request.
    doubtful: bool,
    failed: bool,
}

/// Where history goes on behind an answer.
#[derive(Default)]
struct Ahead {
    /// What there was no room for: clients ask for it first next time (in a session it has moved to the front), so it is worth more
    /// than what follows what they have just got. That may be asked for only after so much else that it would be gone again.
    passed_over: Vec<(TopicPartition, i64)>,
    served: Vec<(TopicPartition, i64)>,
}

/// What a request asks for beside its partitions.
#[derive(Clone, Copy)]
struct Terms {
    isolation: Isolation,
    max_bytes: usize,
    min_bytes: u64,
    zstd: bool,
    /// When it is answered, whatever there is.
    deadline: Duration,
    /// When no more of history is begun; known once it is read.
    history_until: Duration,
}

impl Reader {
    /// Answers a fetch of any version from 4 to 18. `connection` owns the sessions that it makes; tell
    /// [`Reader::connection_closed`] when it ends. Waits for records at most as long as the request says, and up to
    /// [`limits::REQUEST_WAIT`] more for room for the answer; reads storage only for bytes that it
    /// answers with. The answer's bytes count against [`limits::FETCH_ANSWERS_BYTES`] until they are dropped.
    pub async fn fetch(&self, caller: &Caller, version: i16, request: FetchRequest, connection: ConnectionId) -> FetchResponse {
        let shared = &self.shared;
        let clock = &shared.cell.runtime().clock;
        let began = clock.monotonic();
        metrics::counter!("strandline_fetch_requests_total").increment(1);
        let opened = match shared.sessions.open(&request, version, connection) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(principal = caller.principal, client_id = caller.client_id, %error, "a fetch session was refused");
                return refused(error);
            }
        };
        let wait = Duration::from_millis(request.max_wait_ms.max(0).unsigned_abs().into()).min(shared.options.longest_wait);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(1).clamp(1, shared.options.answer_bytes);
        let terms = Terms {
            isolation: Isolation::from_wire(request.isolation_level),
            max_bytes,
            // More than the answer may hold would be waited for in vain.
            min_bytes: u64::try_from(request.min_bytes).unwrap_or(0).min(max_bytes as u64),
            zstd: version >= ZSTD_FROM_VERSION,
            deadline: began + wait,
            history_until: Duration::MAX,
        };
        // It may be large, and what it asks for is known.
        drop(request);
        let round = shared.wait_for_data(&opened.wanted, terms).await;
        let waited = clock.monotonic();
        let mut answers = shared.answer(self, &opened.wanted, round, terms).await;
        let session_id = shared.sessions.close(opened, version, connection, &mut answers);
        metrics::histogram!("strandline_fetch_wait_seconds").record(waited.saturating_sub(began).as_secs_f64());
        metrics::histogram!("strandline_fetch_seconds").record(clock.monotonic().saturating_sub(waited).as_secs_f64());
        response(session_id, answers)
    }
}

impl Shared {
    /// Plans until there is enough, or something to refuse, or no time left. Woken by the index.
    async fn wait_for_data(&self, wanted: &[Wanted], terms: Terms) -> Round {
        let clock = &self.cell.runtime().clock;
        let mut watch = None;
        let mut certain = false;
        loop {
            let mut round = self.plan_all(wanted, terms);
            if round.doubtful && !certain {
                // Who is told 'no' is told so from a view that is not older than the request.
                if let Err(error) = self.barrier().await {
                    round.refuse_doubtful(&error);
                    return round;
                }
                certain = true;
                continue;
            }
            let now = clock.monotonic();
            let enough = round.failed || round.bytes >= terms.min_bytes || now >= terms.deadline;
            if enough || wanted.is_empty() || self.cell.is_stopped() {
                return round;
            }
            match &mut watch {
                // The watch is there before the index is looked at again, so that no change is missed.
                None => watch = Some(self.cell.watch(round.partitions())),
                Some(watch) => {
                    tokio::select! {
                        biased;
                        () = watch.changed() => {}
                        () = clock.sleep(terms.deadline - now) => {}
                    }
                }
            }
        }
    }

    /// Records that are in the log lie there in the order in which they came, those of all partitions side by side. So where there is more
    /// than an answer holds, each partition gives its share, and few large pieces are read, instead of many small ones time and again.
    fn plan_all(&self, wanted: &[Wanted], terms: Terms) -> Round {
        let index = self.cell.view();
        let mut left = terms.max_bytes;
        // At least a byte, so that the first batch of somebody goes.
        let share = (terms.max_bytes / wanted.len().max(1)).max(1);
        let mut items = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let item = Item::plan(&index, wanted.clone(), terms, left, share);
            left = left.saturating_sub(item.read());
            items.push(item);
        }
        // What others leave of theirs goes to those that have more: alike, then to the first that can take it.
        for alike in [true, false] {
            let cut: Vec<usize> = (0..items.len()).filter(|at| items[*at].is_cut(terms)).collect();
            for (number, at) in cut.iter().copied().enumerate() {
                let more = if alike { left / (cut.len() - number) } else { left };
                if more == 0 {
                    continue;
                }
                let before = items[at].read();
                let item =
                    Item::plan(&index, items[at].wanted.clone(), terms, before.saturating_add(left), before.saturating_add(more));
                left = left.saturating_sub(item.read().saturating_sub(before));
                items[at] = item;
            }
        }
        Round::of(items, terms)
    }

    /// The answers, with room for what is in them.
    async fn answer(&self, reader: &Reader, wanted: &[Wanted], mut round: Round, terms: Terms) -> Vec<PartitionAnswer> {
        let mut least = 0;
        for attempt in 1.. {
            if round.least == 0 {
                break;
            }
            let (read, at_least) = (to_usize(round.read), to_usize(round.least).max(least));
            let Some(mut room) = self.answers.take(read, at_least, limits::REQUEST_WAIT).await else {
                return round.items.into_iter().map(|item| self.failed(item.wanted, &ServeError::NoRoom)).collect();
            };
            let is_less = room.bytes() < read;
            if !is_less && !self.answers.is_short() {
                self.answers.grow(&mut room, to_usize(round.read + round.beyond).min(terms.max_bytes));
            }
            let terms = Terms { max_bytes: terms.max_bytes.min(room.bytes()), ..terms };
            if is_less {
                round = self.plan_certainly(wanted, terms).await;
            }
            let mut answers = self.fill(reader, round, terms).await;
            let bytes = answers.iter().map(|answer| answer.records.len()).sum();
            // More than was thought, since a first batch goes whole: again, with room for it, unless there is some right now.
            if self.answers.grow(&mut room, bytes) || attempt >= limits::FETCH_PLANS {
                hold(&mut answers, room);
                return answers;
            }
            least = bytes;
            drop((answers, room));
            round = self.plan_certainly(wanted, terms).await;
        }
        self.fill(reader, round, terms).await
    }

    /// A plan whose refusals come from no view that is older than this call.
    async fn plan_certainly(&self, wanted: &[Wanted], terms: Terms) -> Round {
        let mut round = self.plan_all(wanted, terms);
        if round.doubtful {
            match self.barrier().await {
                Ok(()) => round = self.plan_all(wanted, terms),
                Err(error) => round.refuse_doubtful(&error),
            }
        }
        round
    }

    async fn fill(&self, reader: &Reader, round: Round, terms: Terms) -> Vec<PartitionAnswer> {
        let mut hot = self.read_hot(&round.items).await;
        let clock = &self.cell.runtime().clock;
        let terms = Terms { history_until: clock.monotonic() + HISTORY_TIME, ..terms };
        let at_hand = self.read_histories(&round.items, terms.history_until).await;
        let mut left = terms.max_bytes;
        // What partitions behind this one have read from the log already.
        let mut behind: usize = round.items.iter().map(Item::read_hot).sum();
        let mut any = false;
        let mut histories = 0;
        let mut answers = Vec::with_capacity(round.items.len());
        let mut ahead = Ahead::default();
        for (number, item) in round.items.into_iter().enumerate() {
            let bytes = hot.as_mut().and_then(|hot| hot.get_mut(number)).and_then(Option::take);
            // The first batch of an answer is whole whatever the limits; of later partitions it is if the answer has room.
            let first_limit = if any { left } else { usize::MAX };
            // What an earlier partition left unused of its plan is there for this one.
            let limit = partition_limit(&item.wanted, terms).min(left);
            behind = behind.saturating_sub(item.read_hot());
            let room = left.saturating_sub(behind).max(limit);
            let rope = Rope::new(limit, first_limit, terms.zstd).within(room, partition_limit(&item.wanted, terms));
            // Where one batch found no room, the next one will not either: to rebuild it would be for nothing.
            let no_room = left == 0 || item.history().is_some_and(|_| !ahead.passed_over.is_empty());
            histories += usize::from(item.wants_history());
            let is_at_hand = item.wants_history() && histories <= at_hand;
            let is_late = item.history().is_some() && !is_at_hand && clock.monotonic() >= terms.history_until;
            let passed_over = any && (no_room || is_late);
            let answer = self.answer_one(item, terms, bytes, rope, passed_over, &mut ahead).await;
            let bytes = answer.records.len();
            any |= bytes > 0;
            left = left.saturating_sub(bytes);
            answers.push(answer);
        }
        for (at, offset) in ahead.passed_over.into_iter().chain(ahead.served) {
            if !reader.read_ahead(at, offset, terms.isolation) {
                break;
            }
        }
        answers
    }

    async fn answer_one(
        &self,
        item: Item,
        terms: Terms,
        bytes: Option<Vec<Pieces>>,
        rope: Rope,
        passed_over: bool,
        ahead: &mut Ahead,
    ) -> PartitionAnswer {
        let Item { wanted, planned, .. } = item;
        let (at, plan) = match planned {
            Ok(planned) => planned,
            Err(error) => return self.failed(wanted, &error),
        };
        if passed_over && plan.is_history() {
            ahead.passed_over.push((at, wanted.offset));
        }
        if passed_over || plan.source == Source::Nothing {
            return PartitionAnswer::served(wanted.key, plan.watermarks, terms.isolation, Vec::new(), rope.finish());
        }
        let want = Want { at, offset: wanted.offset, isolation: terms.isolation, until: Some(terms.history_until) };
        match self.serve(&want, plan, bytes, rope).await {
            Ok(served) => {
                if served.more_history {
                    let list = if served.rope.bytes() == 0 { &mut ahead.passed_over } else { &mut ahead.served };
                    list.push((at, served.ahead));
                }
                PartitionAnswer::served(wanted.key, served.watermarks, terms.isolation, served.aborted, served.rope.finish())
            }
            Err(error) => self.failed(wanted, &error),
        }
    }

    fn failed(&self, wanted: Wanted, error: &ServeError) -> PartitionAnswer {
        self.reports.report(error, &topic_label(&wanted.key), wanted.key.partition, wanted.offset);
        PartitionAnswer::refused(wanted.key, error.code())
    }

    /// The bytes of all extents of a request in as few reads as there are neighbours. None if a read failed: then each partition
    /// reads its own, and fails alone.
    async fn read_hot(&self, items: &[Item]) -> Option<Vec<Option<Vec<Pieces>>>> {
        let extents: Vec<Extent> = items.iter().filter_map(Item::extents).flatten().copied().collect();
        if extents.is_empty() {
            return None;
        }
        let mut bytes = self.extents.pieces_of(&extents).await.ok()?.into_iter();
        Some(items.iter().map(|item| item.extents().map(|extents| bytes.by_ref().take(extents.len()).collect())).collect())
    }

    /// Where several partitions read history, their first chunks are rebuilt side by side; none is begun after `until`. The first so many
    /// of them are at hand then.
    async fn read_histories(&self, items: &[Item], until: Duration) -> usize {
        let histories: Vec<_> = items.iter().filter(|item| item.wants_history()).filter_map(Item::history).collect();
        let mut begun = 0;
        if histories.len() > 1 {
            use futures::stream::{self, StreamExt};
            let clock = &self.cell.runtime().clock;
            let late = clock.sleep(until.saturating_sub(clock.monotonic()));
            // A failure here is met again, and answered, where the partition itself is read.
            let warm = |(at, offset, plan): (TopicPartition, i64, &'_ Plan)| {
                begun += 1;
                let plan = plan.clone();
                async move { drop(self.first_chunk(at, offset, &plan).await) }
            };
            stream::iter(histories).take_until(late).map(warm).buffer_unordered(limits::READ_AHEAD).collect::<()>().await;
        }
        begun
    }
}

impl Item {
    /// Planned with what is left of the answer, and no more than its share from the log.
    fn plan(index: &Index, wanted: Wanted, terms: Terms, left: usize, share: usize) -> Self {
        let limit = partition_limit(&wanted, terms).min(left);
        let planned = plan_one(index, &wanted, terms.isolation, limit.min(share));
        let is_hot = matches!(&planned, Ok((_, Plan { source: Source::Hot(_), .. })));
        Self { wanted, planned, limit: if is_hot { limit.min(share) } else { limit } }
    }

    /// Bytes that its answer may take. Extents are read whole, however little of them is wanted: what is read is what is bounded.
    fn read(&self) -> usize {
        match &self.planned {
            Ok((_, plan)) if self.limit > 0 => match plan.source {
                Source::Hot(_) => to_usize(plan.available),
                _ => to_usize(plan.available).min(self.limit),
            },
            _ => 0,
        }
    }

    /// The same, of what it takes from the log.
    fn read_hot(&self) -> usize {
        if self.extents().is_some() { self.read() } else { 0 }
    }

    /// Whether it has more in the log than its share, and could take it.
    fn is_cut(&self, terms: Terms) -> bool {
        let is_short = |plan: &Plan| to_usize(plan.available) < partition_limit(&self.wanted, terms);
        self.has_more(terms) && self.planned.as_ref().is_ok_and(|(_, plan)| is_short(plan))
    }

    /// Whether there is more in the log than goes into its answer.
    fn has_more(&self, terms: Terms) -> bool {
        let Ok((_, Plan { source: Source::Hot(extents), watermarks, .. })) = &self.planned else { return false };
        extents.last().is_some_and(|last| last.end < watermarks.served_end(terms.isolation))
    }

    /// Extents that there is room for.
    fn extents(&self) -> Option<&[Extent]> {
        match &self.planned {
            Ok((_, Plan { source: Source::Hot(extents), .. })) if self.limit > 0 => Some(extents),
            _ => None,
        }
    }

    /// History that there is room for.
    fn wants_history(&self) -> bool {
        self.limit > 0 && self.history().is_some()
    }

    fn history(&self) -> Option<(TopicPartition, i64, &Plan)> {
        match &self.planned {
            Ok((at, plan)) if plan.is_history() => Some((*at, self.wanted.offset, plan)),
            _ => None,
        }
    }
}

impl Round {
    fn of(items: Vec<Item>, terms: Terms) -> Self {
        let mut round = Self { items, bytes: 0, read: 0, beyond: 0, least: 0, doubtful: false, failed: false };
        for item in &round.items {
            round.read += item.read() as u64;
            if item.wants_history() {
                round.beyond += item.limit.min(limits::HISTORY_CHUNK_BYTES) as u64;
            }
            match &item.planned {
                Ok((_, plan)) => {
                    // What is not taken since it would not go in whole is there all the same: nothing is to be waited for.
                    let limit = item.limit as u64;
                    let bytes = if item.has_more(terms) { plan.available.max(limit) } else { plan.available.min(limit) };
                    round.bytes += bytes;
                    if round.least == 0 {
                        round.least = match &plan.source {
                            Source::Nothing => 0,
                            Source::Hot(extents) => extents.first().map_or(1, |extent| extent.length.max(1)),
                            Source::Segment(_) | Source::SegmentIndex => bytes.clamp(1, limits::REBUILT_BATCH_BYTES as u64),
                        };
                    }
                }
                Err(error) => {
                    round.failed = true;
                    round.doubtful |= matches!(error, ServeError::Refused(_));
                }
            }
        }
        round
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        self.items.iter().filter_map(|item| item.planned.as_ref().ok().map(|(at, _)| *at)).collect()
    }

    /// Nothing is said of partitions that a newer view might know.
    fn refuse_doubtful(&mut self, error: &ServeError) {
        for item in &mut self.items {
            if matches!(item.planned, Err(ServeError::Refused(_))) {
                item.planned = Err(error.clone());
            }
        }
    }
}

fn partition_limit(wanted: &Wanted, terms: Terms) -> usize {
    usize::try_from(wanted.max_bytes).unwrap_or(1).clamp(1, terms.max_bytes)
}

fn plan_one(index: &Index, wanted: &Wanted, isolation: Isolation, limit: usize) -> Result<(TopicPartition, Plan), ServeError> {
    let at = resolve(index, &wanted.key).map_err(ServeError::Refused)?;
    let plan = plan(index, at, wanted.offset, isolation, limit as u64)?;
    Ok((at, plan))
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
