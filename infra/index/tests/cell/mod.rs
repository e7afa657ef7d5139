//! A cell of one node for tests, command by command.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)] // each test file uses its part of it

use bytes::Bytes;
use strandline_commands::*;
use strandline_index::{Index, Outcome, digest};
use strandline_types::{ChainHash, Incarnation, TopicId};

pub const ID: TopicId = TopicId([7; 16]);

/// A cell of one node (others may join), command by command.
#[derive(Clone)]
pub struct Player {
    pub index: Index,
    incarnation: u64,
    n: u64,
    /// The time of the next entries.
    pub time_ms: i64,
    /// Invariants are looked at after each entry.
    pub checked: bool,
}

/// Where the first run's n-th fresh segment lies.
pub fn fresh_path(n: u64) -> String {
    format!("fresh/t/{}/{:020}-1-{n}.parquet", ID.id8(), 1)
}

impl Player {
    /// Of that fold version, with a topic of two partitions.
    pub fn new(fold_version: u32) -> Self {
        let mut player = Self { index: Index::default(), incarnation: 1, n: 0, time_ms: 1_790_000_000_000, checked: true };
        let cell = CreateCell { cluster_id: "c".repeat(22), fold_version };
        let join = Join { nonce: vec![1], fold_version_supported: 2, ..Join::default() };
        player.append(Commit { commands: vec![cell.into(), join.into()], ..Commit::default() });
        player.done(CreateTopic {
            topic_id: ID.0.to_vec(),
            name: "t".into(),
            partitions: 2,
            replication_factor: 1,
            configs: Vec::new(),
        });
        player
    }

    pub fn append(&mut self, commit: Commit) -> Vec<Outcome> {
        self.try_append(commit).unwrap()
    }

    /// None if the commit itself was refused.
    fn try_append(&mut self, commit: Commit) -> Option<Vec<Outcome>> {
        let ChainHash(hash) = self.index.cell.hash;
        let payload_length = commit.payload_length;
        let body = EntryBody {
            time_ms: self.time_ms,
            hash_before: hash.to_vec(),
            cell_epoch: self.index.cell.cell_epoch.max(1),
            payload_length,
            commits: vec![commit],
            ..EntryBody::default()
        };
        let bytes: Bytes = encode(&body).unwrap();
        let folded = self.index.fold(self.index.cell.seq.next(), &bytes).unwrap();
        if self.checked {
            assert_eq!(self.index.violations(), Vec::<String>::new());
        }
        folded.commits[0].outcomes.clone()
    }

    pub fn play(&mut self, command: impl Into<Command>) -> Outcome {
        self.play_with(command, Vec::new())
    }

    /// The same, with new objects.
    pub fn play_with(&mut self, command: impl Into<Command>, objects: Vec<NewObject>) -> Outcome {
        self.commit(vec![command.into()], 10, objects).remove(0)
    }

    /// Several in one entry, with so many bytes of payload.
    pub fn play_all(&mut self, commands: Vec<Command>, payload_length: u64) -> Vec<Outcome> {
        self.commit(commands, payload_length, Vec::new())
    }

    fn commit(&mut self, commands: Vec<Command>, payload_length: u64, objects: Vec<NewObject>) -> Vec<Outcome> {
        self.n += 1;
        let (incarnation, n) = (self.incarnation, self.n);
        self.append(Commit { incarnation, n, payload_length, commands, objects, ..Commit::default() })
    }

    /// The same, where the commit itself may be refused: none, then.
    pub fn try_play(&mut self, commands: Vec<Command>) -> Option<Vec<Outcome>> {
        self.n += 1;
        let (incarnation, n) = (self.incarnation, self.n);
        self.try_append(Commit { incarnation, n, commands, ..Commit::default() })
    }

    /// Another node joins; its run.
    pub fn join(&mut self) -> u64 {
        let join = Join { nonce: vec![2], fold_version_supported: 2, ..Join::default() };
        assert!(matches!(self.nobody(join), Outcome::Joined { .. }));
        self.index.cell.seq.0
    }

    /// The commits that follow are of that run, which is alive.
    pub fn act_as(&mut self, incarnation: u64) {
        (self.incarnation, self.n) = (incarnation, self.index.nodes[&Incarnation(incarnation)].last_n);
    }

    /// The digest of all but the chain's hash, in which two logs always differ.
    pub fn digest_without_hash(&self) -> [u8; 32] {
        let mut index = self.index.clone();
        index.cell.hash = ChainHash::default();
        digest(&index)
    }

    /// What a command would do now: its outcome, and whether anything would be other than after a commit without it.
    pub fn effect(&self, command: Command) -> (Outcome, bool) {
        let (mut with, mut without) = (self.clone(), self.clone());
        without.play_all(Vec::new(), 10);
        let outcome = with.play(command);
        (outcome, with.digest_without_hash() != without.digest_without_hash())
    }

    /// As a rebuild and a node that joins do it: a command of nobody.
    pub fn nobody(&mut self, command: impl Into<Command>) -> Outcome {
        self.append(Commit { commands: vec![command.into()], ..Commit::default() }).remove(0)
    }

    /// The node begins anew.
    pub fn rejoin(&mut self) {
        let join = Join { nonce: vec![9], fold_version_supported: 2, sole: true, ..Join::default() };
        assert!(matches!(self.nobody(join), Outcome::Joined { .. }));
        (self.incarnation, self.n) = (self.index.cell.seq.0, 0);
    }

    pub fn done(&mut self, command: impl Into<Command>) {
        assert_eq!(self.play(command), Outcome::Done);
    }

    pub fn lease(&mut self, kind: LeaseKind) -> u64 {
        self.take_lease(kind, ID.0.to_vec(), 0)
    }

    /// A lease that is the cell's.
    pub fn cell_lease(&mut self, kind: LeaseKind) -> u64 {
        self.take_lease(kind, Vec::new(), 0)
    }

    /// A lease in place of the one with that number; 0 for none.
    pub fn take_lease(&mut self, kind: LeaseKind, scope: Vec<u8>, replaces: u64) -> u64 {
        match self.play(TakeLease { kind: kind as i32, scope, replaces }) {
            Outcome::Leased(number) => number.0,
            other => panic!("{other:?}"),
        }
    }

    /// Ten offsets.
    pub fn produce(&mut self) {
        self.produce_to(0);
    }

    /// Ten offsets of that partition.
    pub fn produce_to(&mut self, partition: i32) {
        let batch = Batch {
            length: 10,
            last_offset_delta: 9,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            ..Batch::default()
        };
        let produce = Produce { topic_id: ID.0.to_vec(), partition, object: 0, position: 0, batches: vec![batch] };
        assert!(matches!(self.play(produce), Outcome::Produced(_)));
    }

    /// Ten more offsets into a fresh segment.
    pub fn convert(&mut self, lease: u64, n: u64) -> String {
        self.produce();
        let end = self.index.partition(ID, 0).unwrap().frontier + 10;
        self.convert_to(lease, n, 0, end)
    }

    /// What is above the frontier into a fresh segment.
    pub fn convert_to(&mut self, lease: u64, n: u64, partition: i32, end: i64) -> String {
        assert_eq!(self.try_convert(lease, n, partition, end), Outcome::Done);
        fresh_path(n)
    }

    pub fn try_convert(&mut self, lease: u64, n: u64, partition: i32, end: i64) -> Outcome {
        let start = self.index.partition(ID, partition).unwrap().frontier;
        let path = fresh_path(n);
        let ranges = vec![FileRange { partition, start, end, ..FileRange::default() }];
        let file = NewFile { path, size: 1, ranges, ..NewFile::default() };
        self.play(Convert { lease, topic_id: ID.0.to_vec(), file: Some(file), ..Convert::default() })
    }

    pub fn seal(&mut self, lease: u64, inputs: Vec<String>) -> (String, Vec<FileRange>) {
        match self.play(SealPlan { lease, topic_id: ID.0.to_vec(), inputs }) {
            Outcome::Planned { path, ranges } => (path, ranges),
            other => panic!("{other:?}"),
        }
    }

    pub fn complete(&mut self, lease: u64, (path, ranges): (String, Vec<FileRange>), ingest_day: i32) {
        let file = NewFile { path: path.clone(), size: 1, ranges, ingest_day, ..NewFile::default() };
        self.done(Sealed { lease, topic_id: ID.0.to_vec(), file: Some(file) });
        self.done(SealDone { lease, topic_id: ID.0.to_vec(), path });
    }
}
