//! A log start that moves past fresh segments while an open plan pins the first of them: what is left goes on being sealed.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

use bytes::Bytes;
use strandline_commands::*;
use strandline_index::{Index, Outcome};
use strandline_types::{ChainHash, Seq, TopicId};

const ID: TopicId = TopicId([7; 16]);

/// A cell of one node, command by command.
struct Player {
    index: Index,
    n: u64,
}

impl Player {
    fn new() -> Self {
        let mut player = Self { index: Index::default(), n: 0 };
        let cell = CreateCell { cluster_id: "c".repeat(22), fold_version: 1 };
        let join = Join { nonce: vec![1], fold_version_supported: 1, ..Join::default() };
        player.append(Commit { commands: vec![cell.into(), join.into()], ..Commit::default() });
        player.done(CreateTopic {
            topic_id: ID.0.to_vec(),
            name: "t".into(),
            partitions: 1,
            replication_factor: 1,
            configs: Vec::new(),
        });
        player
    }

    fn append(&mut self, commit: Commit) -> Vec<Outcome> {
        let ChainHash(hash) = self.index.cell.hash;
        let payload_length = commit.payload_length;
        let body = EntryBody {
            time_ms: 1_790_000_000_000,
            hash_before: hash.to_vec(),
            cell_epoch: 1,
            payload_length,
            commits: vec![commit],
            ..EntryBody::default()
        };
        let bytes: Bytes = encode(&body).unwrap();
        let folded = self.index.fold(self.index.cell.seq.next(), &bytes).unwrap();
        assert_eq!(self.index.violations(), Vec::<String>::new());
        folded.commits[0].outcomes.clone().unwrap()
    }

    fn play(&mut self, command: impl Into<Command>) -> Outcome {
        self.n += 1;
        let commit =
            Commit { incarnation: 1, n: self.n, payload_length: 10, commands: vec![command.into()], ..Commit::default() };
        self.append(commit).remove(0)
    }

    fn done(&mut self, command: impl Into<Command>) {
        assert_eq!(self.play(command), Outcome::Done);
    }

    fn lease(&mut self, kind: LeaseKind) -> u64 {
        match self.play(TakeLease { kind: kind as i32, scope: ID.0.to_vec(), replaces: 0 }) {
            Outcome::Leased(number) => number.0,
            other => panic!("{other:?}"),
        }
    }

    fn produce(&mut self) {
        let batch = Batch {
            length: 10,
            last_offset_delta: 9,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            ..Batch::default()
        };
        let produce = Produce { topic_id: ID.0.to_vec(), partition: 0, object: 0, position: 0, batches: vec![batch] };
        assert!(matches!(self.play(produce), Outcome::Produced(_)));
    }

    /// Ten more offsets into a fresh segment.
    fn convert(&mut self, lease: u64, n: u64) -> String {
        self.produce();
        let start = self.index.partition(ID, 0).unwrap().frontier;
        let path = format!("fresh/t/{}/{:020}-1-{n}.parquet", ID.id8(), 1);
        let ranges = vec![FileRange { partition: 0, start, end: start + 10, ..FileRange::default() }];
        let file = NewFile { path: path.clone(), size: 1, ranges, ..NewFile::default() };
        self.done(Convert { lease, topic_id: ID.0.to_vec(), file: Some(file), ..Convert::default() });
        path
    }

    fn seal(&mut self, lease: u64, inputs: Vec<String>) -> (String, Vec<FileRange>) {
        match self.play(SealPlan { lease, topic_id: ID.0.to_vec(), inputs }) {
            Outcome::Planned { path, ranges } => (path, ranges),
            other => panic!("{other:?}"),
        }
    }

    fn complete(&mut self, lease: u64, (path, ranges): (String, Vec<FileRange>), ingest_day: i32) {
        let file = NewFile { path: path.clone(), size: 1, ranges, ingest_day, ..NewFile::default() };
        self.done(Sealed { lease, topic_id: ID.0.to_vec(), file: Some(file) });
        self.done(SealDone { lease, topic_id: ID.0.to_vec(), path });
    }
}

#[test]
fn what_a_moved_log_start_leaves_behind_a_plan_is_sealed_with_what_follows() {
    let mut player = Player::new();
    let (convert, seal) = (player.lease(LeaseKind::Convert), player.lease(LeaseKind::Seal));
    let first = player.convert(convert, 1);
    let second = player.convert(convert, 2);
    let plan = player.seal(seal, vec![first]);
    // [20, 30) is still in the log as the log start passes it: nothing fresh will ever cover it.
    player.produce();
    assert_eq!(player.play(MoveLogStart { topic_id: ID.0.to_vec(), partition: 0, to: 30 }), Outcome::LogStart(30));
    let third = player.convert(convert, 3);
    player.complete(seal, plan, 0);
    let plan = player.seal(seal, vec![second, third]);
    assert_eq!(plan.1.iter().map(|range| (range.start, range.end)).collect::<Vec<_>>(), [(10, 40)]);
    player.complete(seal, plan, 0);
    let partition = player.index.partition(ID, 0).unwrap();
    assert_eq!((partition.sealed_end, partition.frontier, partition.fresh.len()), (40, 40, 0));
    assert!(player.index.cell.seq > Seq(10));
}
