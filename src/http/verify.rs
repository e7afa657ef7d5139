//! `strandline bronze verify`: every file read and checked, and what is known of it told as it goes.

use super::Failure;
use super::bronze::{TopicQuery, files, find};
use super::verify_log::Rest;
use super::verify_manifests::verify_manifests;
use super::verify_unknown::{listed, verify_gaps, verify_unknown};
use crate::node::{Parts, answering_fresh};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use futures::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::Arc;
use strandline_bronze::manifest::ManifestFile;
use strandline_object_store::Purpose;
use strandline_types::TopicId;
use tokio::sync::mpsc;

/// Lines that wait for whoever asked; then checking waits.
const LINES: usize = 64;

/// What `bronze verify` found in one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyResult {
    /// The file.
    pub path: String,
    /// Its rows, as far as they could be read.
    pub rows: u64,
    /// What is wrong; empty when all is right.
    pub problems: Vec<String>,
}

/// A line of the answer to `POST /bronze/verify`, each a JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyLine {
    /// About how many files are to be read. The first line.
    Files(u64),
    /// One was.
    Checked(VerifyResult),
    /// It is not known which files there are: nothing comes behind it.
    Failed(String),
}

/// Nobody waits for the lines any more.
struct Left;

/// Where lines go.
struct Lines(mpsc::Sender<VerifyLine>);

impl Lines {
    async fn say(&self, line: VerifyLine) -> Result<(), Left> {
        self.0.send(line).await.map_err(|_| Left)
    }

    async fn say_all(&self, results: impl IntoIterator<Item = VerifyResult>) -> Result<(), Left> {
        for result in results {
            self.say(VerifyLine::Checked(result)).await?;
        }
        Ok(())
    }
}

/// Why no more lines come.
enum Stop {
    Left,
    Failed(anyhow::Error),
}

impl From<Left> for Stop {
    fn from(_: Left) -> Self {
        Self::Left
    }
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) async fn verify(
    State(parts): State<Arc<Parts>>,
    Query(query): Query<TopicQuery>,
) -> Result<impl IntoResponse, Failure> {
    let topic = query.topic.as_deref().map(|name| find(&parts, name)).transpose()?;
    let (ending, ended) = (parts.ending.clone(), parts.ending.clone());
    let cut_off =
        async move { ended.is_cancelled().then(|| VerifyLine::Failed("the node is stopping: not all was checked".to_owned())) };
    let lines = lines(parts, topic).take_until(ending.cancelled_owned());
    let lines = lines.chain(stream::once(cut_off).filter_map(std::future::ready));
    let text = lines.map(|line| Ok::<_, Infallible>(serde_json::to_string(&line).unwrap_or_default() + "\n"));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(text)))
}

/// Checks as far as somebody takes the lines, and stops when they are dropped.
fn lines(parts: Arc<Parts>, topic: Option<TopicId>) -> impl Stream<Item = VerifyLine> {
    let (sender, mut receiver) = mpsc::channel(LINES);
    let checked = stream::poll_fn(move |context| receiver.poll_recv(context));
    let work = async move {
        let lines = Lines(sender);
        if let Err(Stop::Failed(error)) = verify_into(&parts, topic, &lines).await {
            // Behind what was found.
            let _ = lines.say(VerifyLine::Failed(format!("{error:#}"))).await;
        }
    };
    // Polled as lines are taken; nothing comes of it but them.
    stream::select(checked, stream::once(work).filter_map(|()| std::future::ready(None)))
}

/// Reads every file of a topic, or of all, and checks it, that the manifests name these files, that all offsets below the sealed
/// ends are answered for, and that nothing else lies under `bronze/`: what `bronze verify` asks for. Of all, it also checks the commit
/// log, its copies, snapshots and WAL segments.
///
/// # Errors
/// The segment index cannot be read or `bronze/` not be listed, so that it is not known which files there are.
pub async fn verify_bronze(parts: &Parts, topic: Option<TopicId>) -> anyhow::Result<Vec<VerifyResult>> {
    let (sender, mut receiver) = mpsc::channel(LINES);
    let work = async move { verify_into(parts, topic, &Lines(sender)).await };
    let collect = async {
        let mut results = Vec::new();
        while let Some(line) = receiver.recv().await {
            if let VerifyLine::Checked(result) = line {
                results.push(result);
            }
        }
        results
    };
    match tokio::join!(work, collect) {
        (Err(Stop::Failed(error)), _) => Err(error),
        (_, results) => Ok(results),
    }
}

async fn verify_into(parts: &Parts, topic: Option<TopicId>, lines: &Lines) -> Result<(), Stop> {
    let topics: Vec<TopicId> = match topic {
        Some(id) => vec![id],
        None => parts.cell.view().topics.keys().copied().collect(),
    };
    // Listed before it is looked at what is known: a plan is older than its file.
    let mut unknown = listed(parts, topic).await?;
    let fresh: usize = {
        let view = parts.cell.view();
        topics.iter().filter_map(|id| view.topics.get(id)).map(|topic| answering_fresh(topic).count()).sum()
    };
    // What is no topic's own.
    let rest = if topic.is_none() { Some(Rest::list(parts).await?) } else { None };
    lines.say(VerifyLine::Files((unknown.len() + fresh + rest.as_ref().map_or(0, Rest::count)) as u64)).await?;
    if let Some(rest) = rest {
        lines.say_all(rest.snapshots(parts).await?).await?;
        lines.say_all(rest.copies(parts).await?).await?;
        lines.say_all(rest.segments(parts).await).await?;
        lines.say(VerifyLine::Checked(rest.log(parts).await)).await?;
    }
    for id in topics {
        let files = files(parts, id).await?;
        lines.say_all(verify_manifests(parts, id, &files).await).await?;
        if verify_gaps(parts, id, &files).is_some() {
            // A seal that ended just then moves files between what is looked at first and last: only what stays so counts.
            let files = self::files(parts, id).await?;
            lines.say_all(verify_gaps(parts, id, &files)).await?;
        }
        for file in &files {
            unknown.remove(&file.path);
        }
        for file in files {
            lines.say(VerifyLine::Checked(verify_file(parts, file).await?)).await?;
        }
    }
    lines.say_all(verify_unknown(parts, unknown).await?).await?;
    Ok(())
}

async fn verify_file(parts: &Parts, file: ManifestFile) -> anyhow::Result<VerifyResult> {
    let bytes = match parts.objects.get(Purpose::Read, &file.path).await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(VerifyResult { path: file.path, rows: 0, problems: vec![error.to_string()] }),
    };
    let (path, expected) = (file.path.clone(), file.crc32c);
    let verify = move || strandline_bronze::verify(&path, &[bytes], Some(expected));
    let report = parts.runtime.spawner.blocking("verify a file", verify).await?;
    let mut problems = report.problems;
    if report.rows != file.rows {
        problems.push(format!("it has {} rows, the index says {}", report.rows, file.rows));
    }
    Ok(VerifyResult { path: file.path, rows: report.rows, problems })
}
