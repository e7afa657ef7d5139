//! How a node joins its cell: it reads the log to its end, appends its coming, and looks what the log says.

use super::{Driver, READ_BYTES};
use crate::api::{Cell, CellOptions, Shared, StartError};
use crate::awaited::Awaited;
use crate::beside::{Beside, Load};
use crate::recent::Recent;
use crate::watch::Watchers;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use strandline_commands::{Commit, CreateCell, EntryBody, Join, encode};
use strandline_commit_log::{AppendError, CommitLog, Entry, Payload, ReadError, Tail};
use strandline_index::Index;
use strandline_runtime::Runtime;
use strandline_types::mutations::{Rule, holds};
use strandline_types::{Incarnation, limits};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

impl Driver {
    pub(crate) async fn start(
        runtime: Runtime,
        log: Arc<dyn CommitLog>,
        mut index: Index,
        options: CellOptions,
        fold_version: u32,
    ) -> Result<Cell, StartError> {
        let mut last_read = runtime.clock.monotonic();
        replay(&*log, &mut index).await?;
        let clock_ms = runtime.clock.now_ms();
        let behind_ms = index.cell.now_ms.saturating_sub(clock_ms);
        if behind_ms > i64::try_from(limits::CLOCK_SKEW.as_millis()).unwrap_or(i64::MAX) && !options.accept_clock {
            return Err(StartError::Clock { behind_ms });
        }
        let nonce = runtime.random.id().to_vec();
        let began = runtime.clock.monotonic();
        let mut tries = 0_u32;
        let mut n = 0;
        let incarnation = loop {
            if let Some((earlier, last_n)) = earlier_run(&index, &options).filter(|_| !holds(Rule::A7)) {
                n = last_n;
                break earlier;
            }
            let entry = join_entry(&runtime, &index, &options, &nonce, fold_version)?;
            let at = index.cell.seq.next();
            let appended = log.append(at, entry).await;
            let is_ours = appended.is_ok();
            match appended {
                // The index holds more than the log: it has lost its end.
                Err(AppendError::Gap { next, .. }) if next < at => return Err(StartError::Cut { next, index: index.cell.seq }),
                Ok(()) | Err(AppendError::Conflict { .. } | AppendError::Gap { .. }) => {}
                Err(error @ (AppendError::Ambiguous { .. } | AppendError::Unavailable { .. })) => {
                    let waited = runtime.clock.monotonic().saturating_sub(began);
                    if waited > limits::REQUEST_WAIT {
                        return Err(error.into());
                    }
                    tracing::warn!(%error, "the node cannot join its cell yet");
                }
                Err(error) => return Err(error.into()),
            }
            // Whatever happened, what the log holds says whether this node has joined.
            last_read = last_read.max(runtime.clock.monotonic());
            match replay(&*log, &mut index).await {
                Ok(()) | Err(StartError::Read(ReadError::Unavailable { .. })) => {}
                Err(error) => return Err(error),
            }
            let joined = index.nodes.iter().find(|(_, run)| run.nonce == nonce).map(|(incarnation, _)| *incarnation);
            match joined {
                Some(incarnation) => break incarnation,
                None if index.cell.seq >= at && index.cell.fold_version > fold_version => {
                    return Err(StartError::Refused { reason: "the cell's fold version is newer than this build".to_owned() });
                }
                // Another node may have put it out at once, or a place may come free; not for ever.
                None if is_ours
                    && index.cell.seq >= at
                    && runtime.clock.monotonic().saturating_sub(began) > limits::REQUEST_WAIT =>
                {
                    let reason = "the fold does not take it; are there too many nodes, or is its host's or zone's name too long?";
                    return Err(StartError::Refused { reason: reason.to_owned() });
                }
                None => {
                    tries = tries.saturating_add(1);
                    let wait = 1 + runtime.random.below(20_u64 << tries.min(6));
                    runtime.sleep(Duration::from_millis(wait)).await;
                }
            }
        };
        let node_id = index.nodes.get(&incarnation).map_or(-1, |run| run.node_id);
        let (sender, requests) = mpsc::channel(limits::COMMIT_QUEUE_REQUESTS);
        let shared = Arc::new(Shared {
            runtime: runtime.clone(),
            log,
            index: RwLock::new(index),
            watchers: Arc::new(Watchers::default()),
            requests: sender,
            queue: Arc::new(Semaphore::new(limits::COMMIT_QUEUE_BYTES)),
            incarnation,
            node_id,
            objects_named: AtomicU64::new(0),
            stopped: CancellationToken::new(),
            no_room: AtomicBool::new(false),
            awaited: Awaited::default(),
            sole: options.join.sole,
            recent: Recent::default(),
            beside: Arc::new(Beside::default()),
        });
        let driver = Self {
            shared: shared.clone(),
            requests,
            queue: VecDeque::new(),
            barriers: Vec::new(),
            stops: Vec::new(),
            n,
            unresolved: None,
            fold_version,
            last_read,
            appended_at: Some(runtime.clock.monotonic()),
            poll: options.poll,
            load: Load::default(),
        };
        // It appends, folds and appends again: on a thread of its own a log on this machine's disk is written without any other being
        // woken, and what came in the meantime is the next commit.
        let beside = runtime.spawner.spawn_thread("cell driver", driver.run()).map_err(|error| StartError::Thread { error })?;
        if let Some(spawner) = beside {
            shared.beside.open(spawner);
        }
        Ok(Cell { shared })
    }
}

/// A run under the same address that is not over as far as the index says, and its last n.
fn earlier_run(index: &Index, options: &CellOptions) -> Option<(Incarnation, u64)> {
    let is_ours = |host: &str, port: u32| host == options.join.host && port == u32::from(options.join.port);
    let mut ours = index.slots.values().filter(|slot| is_ours(&slot.host, slot.port)).filter_map(|slot| slot.holder);
    ours.find_map(|holder| Some((holder, index.nodes.get(&holder)?.last_n)))
}

async fn replay(log: &dyn CommitLog, index: &mut Index) -> Result<(), StartError> {
    loop {
        match log.read(index.cell.seq.next(), READ_BYTES).await? {
            Tail::Trimmed { .. } if !holds(Rule::D1) => return Ok(()),
            Tail::Trimmed { floor } => {
                return Err(StartError::Snapshot {
                    key: floor.snapshot.map(|snapshot| snapshot.key).unwrap_or_default(),
                    reason: format!("the log begins at {}, the index ends at {}", floor.seq, index.cell.seq),
                });
            }
            Tail::Rows { rows, head, .. } => {
                let done = rows.is_empty();
                for row in rows {
                    index.fold(row.seq, &row.bytes)?;
                }
                if done || index.cell.seq >= head {
                    return Ok(());
                }
            }
        }
    }
}

fn join_entry(
    runtime: &Runtime,
    index: &Index,
    options: &CellOptions,
    nonce: &[u8],
    fold_version: u32,
) -> Result<Entry, StartError> {
    let mut commands = Vec::new();
    let new_cell = index.cell.cluster_id.is_empty();
    if new_cell {
        commands.push(CreateCell { cluster_id: cluster_id(runtime.random.id()), fold_version }.into());
    }
    let join = Join {
        nonce: nonce.to_vec(),
        host: options.join.host.clone(),
        port: u32::from(options.join.port),
        zone: options.join.zone.clone(),
        roles: options.join.roles.iter().map(|role| *role as i32).collect(),
        fold_version_supported: fold_version,
        sole: options.join.sole,
    };
    commands.push(join.into());
    let body = EntryBody {
        time_ms: runtime.clock.now_ms(),
        hash_before: index.cell.hash.0.to_vec(),
        cell_epoch: if new_cell { 1 } else { index.cell.cell_epoch },
        commits: vec![Commit { commands, ..Commit::default() }],
        ..EntryBody::default()
    };
    let bytes = encode(&body).map_err(|error| StartError::Refused { reason: error.to_string() })?;
    Ok(Entry { hash_before: index.cell.hash, bytes, payload: Payload::default() })
}

/// As Kafka makes them: 16 random bytes in URL-safe base64 without padding.
fn cluster_id(id: [u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = u128::from_be_bytes(id);
    (0..22_u32)
        .map(|digit| {
            // 22 digits of six bits hold 132: the last one has four bits of padding at its low end.
            let shifted = if digit == 21 { value << 4 } else { value >> (122 - 6 * digit) };
            char::from(ALPHABET[(shifted & 63) as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_base64() {
        assert_eq!(cluster_id([0; 16]), "A".repeat(22));
        assert_eq!(cluster_id([0xff; 16]), format!("{}w", "_".repeat(21)));
        assert_eq!(cluster_id(*b"0123456789abcdef"), "MDEyMzQ1Njc4OWFiY2RlZg");
    }
}
