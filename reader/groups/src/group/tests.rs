//! The machine alone: Kafka's rules one by one, then random inputs against what must always hold.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use strandline_commands::MemberProtocol;

const SECOND: Duration = Duration::from_secs(1);

/// A machine with a clock, a store and the answers that came out.
struct Harness {
    group: ClassicGroup,
    stored: strandline_index::Group,
    stores: usize,
    now: Duration,
    tickets: u64,
    joins: BTreeMap<Ticket, JoinGroupResponse>,
    syncs: BTreeMap<Ticket, SyncGroupResponse>,
    settings: Settings,
}

fn settings() -> Settings {
    Settings { initial_rebalance_delay: 3 * SECOND, new_member_join_timeout: 300 * SECOND, max_members: 100, max_bytes: 1 << 20 }
}

/// A JoinGroup as a modern dynamic consumer sends it.
fn consumer(member_id: &str) -> JoinInput {
    JoinInput {
        member_id: member_id.to_owned(),
        group_instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: 10 * SECOND,
        rebalance_timeout: 60 * SECOND,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        new_member_id: String::new(),
        demands_member_id: true,
        skips_assignment: true,
    }
}

fn static_consumer(instance: &str, new_member_id: &str) -> JoinInput {
    JoinInput { group_instance_id: Some(instance.to_owned()), new_member_id: new_member_id.to_owned(), ..consumer("") }
}

fn protocols(names: &[&str]) -> Vec<MemberProtocol> {
    names
        .iter()
        .map(|name| MemberProtocol { name: (*name).to_owned(), metadata: Bytes::copy_from_slice(name.as_bytes()) })
        .collect()
}

impl Harness {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let stored = strandline_index::Group::default();
        let now = 1_000 * SECOND;
        Self {
            group: ClassicGroup::load(&stored, settings, now),
            stored,
            stores: 0,
            now,
            tickets: 0,
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
            settings,
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// What the owner of the machine does after each input.
    fn settle(&mut self) {
        loop {
            let effects = self.group.take_effects();
            for (ticket, answer) in effects.joins {
                assert!(self.joins.insert(ticket, answer).is_none(), "{ticket:?} was answered twice");
            }
            for (ticket, answer) in effects.syncs {
                assert!(self.syncs.insert(ticket, answer).is_none(), "{ticket:?} was answered twice");
            }
            match effects.store {
                Some(store) => {
                    assert!(self.group.is_storing());
                    assert_eq!(store.expected_generation, self.stored.generation);
                    assert!(store.generation >= self.stored.generation);
                    self.stored.generation = store.generation;
                    self.stored.protocol_type = store.protocol_type;
                    self.stored.protocol_name = store.protocol_name;
                    self.stored.leader = store.leader;
                    self.stored.members = store.members;
                    self.stored.stable = store.stable;
                    self.stores += 1;
                    self.group.stored(self.now);
                }
                None if self.group.wake_at().is_some_and(|at| at <= self.now) => self.group.catch_up(self.now),
                None => return,
            }
        }
    }

    fn join(&mut self, input: JoinInput) -> Ticket {
        let ticket = self.ticket();
        self.group.join(self.now, ticket, input);
        self.settle();
        ticket
    }

    /// A dynamic member gets its id and joins with it.
    fn join_new(&mut self, member_id: &str) -> Ticket {
        let ticket = self.join(JoinInput { new_member_id: member_id.to_owned(), ..consumer("") });
        assert_eq!(self.join_code(ticket), ErrorCode::MemberIdRequired);
        assert_eq!(self.joins[&ticket].member_id, member_id);
        self.join(consumer(member_id))
    }

    fn sync(&mut self, member_id: &str, assignments: &[(&str, &'static [u8])]) -> Ticket {
        let ticket = self.ticket();
        let input = SyncInput {
            member_id: member_id.to_owned(),
            group_instance_id: None,
            generation: self.group.generation(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: assignments.iter().map(|(id, bytes)| ((*id).to_owned(), Bytes::from_static(bytes))).collect(),
        };
        self.group.sync(self.now, ticket, input);
        self.settle();
        ticket
    }

    fn leave(&mut self, member_id: &str) -> ErrorCode {
        let codes = self.group.leave(self.now, &[Leaving { member_id, group_instance_id: None }]);
        self.settle();
        codes[0]
    }

    fn heartbeat(&mut self, member_id: &str) -> ErrorCode {
        let generation = self.group.generation();
        let code = self.group.heartbeat(self.now, member_id, None, generation);
        self.settle();
        code
    }

    /// Time passes, and timers fire when they are due.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.group.wake_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.group.catch_up(self.now);
            self.settle();
        }
        self.now = end;
    }

    fn join_code(&self, ticket: Ticket) -> ErrorCode {
        ErrorCode::from_code(self.joins[&ticket].error_code)
    }

    fn sync_code(&self, ticket: Ticket) -> ErrorCode {
        ErrorCode::from_code(self.syncs[&ticket].error_code)
    }

    /// Another coordinator takes the group over.
    fn reload(&mut self) {
        let effects = self.group.give_up(ErrorCode::NotCoordinator);
        for (ticket, answer) in effects.joins {
            assert!(self.joins.insert(ticket, answer).is_none());
        }
        for (ticket, answer) in effects.syncs {
            assert!(self.syncs.insert(ticket, answer).is_none());
        }
        self.group = ClassicGroup::load(&self.stored, self.settings, self.now);
    }

    /// Two dynamic members, `a` leads, stable.
    fn pair() -> Self {
        let mut harness = Self::new();
        let a = harness.join_new("a");
        let b = harness.join_new("b");
        assert!(!harness.joins.contains_key(&a) && !harness.joins.contains_key(&b));
        harness.wait(7 * SECOND);
        assert_eq!(harness.joins[&a].members.len(), 2);
        assert_eq!(harness.joins[&b].members.len(), 0);
        assert_eq!((harness.joins[&a].generation_id, harness.joins[&b].leader.as_str()), (1, "a"));
        let (sync_b, sync_a) = (harness.sync("b", &[]), harness.sync("a", &[("a", b"A"), ("b", b"B")]));
        assert_eq!((&harness.syncs[&sync_a].assignment[..], &harness.syncs[&sync_b].assignment[..]), (&b"A"[..], &b"B"[..]));
        assert_eq!(harness.group.state(), State::Stable);
        harness
    }
}

#[test]
fn a_rebalance_is_stored_before_anybody_is_told() {
    let mut harness = Harness::new();
    let ticket = harness.join_new("a");
    harness.now += 3 * SECOND;
    harness.group.tick(harness.now);
    let effects = harness.group.take_effects();
    assert!(effects.joins.is_empty());
    let store = effects.store.expect("a generation to store");
    assert_eq!((store.expected_generation, store.generation, store.stable, store.members.len()), (0, 1, false, 1));
    harness.group.stored(harness.now);
    assert_eq!(harness.group.take_effects().joins[0].0, ticket);
}

#[test]
fn the_first_rebalance_waits_longer_while_members_come_and_at_most_the_rebalance_timeout() {
    let mut harness = Harness::new();
    let a = harness.join_new("a");
    harness.wait(2 * SECOND);
    harness.join_new("b");
    harness.wait(2 * SECOND);
    assert!(!harness.joins.contains_key(&a));
    harness.wait(2 * SECOND);
    assert_eq!(harness.joins[&a].generation_id, 1);

    let mut harness = Harness::new();
    let a = harness.join_new("a");
    for n in 0..70 {
        harness.join_new(&format!("m{n:02}"));
        harness.wait(SECOND);
    }
    assert_eq!(harness.joins[&a].generation_id, 1);
}

#[test]
fn a_member_that_leaves_makes_the_others_join_again() {
    let mut harness = Harness::pair();
    assert_eq!(harness.leave("b"), ErrorCode::None);
    assert_eq!(harness.group.state(), State::PreparingRebalance);
    assert_eq!(harness.heartbeat("a"), ErrorCode::RebalanceInProgress);
    assert_eq!(harness.heartbeat("b"), ErrorCode::UnknownMemberId);
    let a = harness.join(consumer("a"));
    assert_eq!((harness.joins[&a].generation_id, harness.joins[&a].members.len()), (2, 1));
    assert_eq!(harness.leave("a"), ErrorCode::None);
    assert_eq!((harness.group.state(), harness.stored.generation, harness.stored.members.len()), (State::Empty, 3, 0));
    assert_eq!(harness.stored.protocol_type, "consumer");
    assert!(harness.group.is_idle());
}

#[test]
fn a_coordinator_that_stood_still_puts_nobody_out() {
    let mut harness = Harness::pair();
    harness.now += 600 * SECOND;
    assert_eq!((harness.heartbeat("a"), harness.heartbeat("b")), (ErrorCode::None, ErrorCode::None));
    // While members join: who waits, and who has not come yet.
    let a = harness.join(consumer("a"));
    assert_eq!(harness.group.state(), State::PreparingRebalance);
    harness.now += 600 * SECOND;
    assert_eq!(harness.heartbeat("b"), ErrorCode::RebalanceInProgress);
    let b = harness.join(consumer("b"));
    assert_eq!((harness.joins[&a].generation_id, harness.joins[&b].generation_id), (2, 2));
    // While the leader's assignments are awaited.
    harness.now += 600 * SECOND;
    harness.sync("a", &[("a", b"A"), ("b", b"B")]);
    let b = harness.sync("b", &[]);
    assert_eq!((&harness.syncs[&b].assignment[..], harness.group.member_count()), (&b"B"[..], 2));
    // From then on time counts again.
    harness.wait(11 * SECOND);
    assert_eq!(harness.group.member_count(), 0);
}

#[test]
fn a_member_whose_commit_is_on_its_way_is_not_out() {
    let mut harness = Harness::pair();
    let in_flight = harness.group.commit_begins("b").expect("it is a member");
    let other = harness.group.commit_begins("b");
    drop(other);
    let others = |harness: &mut Harness| {
        for _ in 0..5 {
            harness.wait(4 * SECOND);
            harness.heartbeat("a");
        }
        harness.group.member_count()
    };
    assert_eq!(others(&mut harness), 2);
    drop(in_flight);
    assert_eq!(others(&mut harness), 1);
    assert!(harness.group.commit_begins("b").is_none());
}

#[test]
fn a_member_without_heartbeats_is_out_after_its_session() {
    let mut harness = Harness::pair();
    for _ in 0..4 {
        harness.wait(4 * SECOND);
        harness.heartbeat("a");
    }
    assert_eq!(harness.group.member_count(), 1);
    assert_eq!(harness.heartbeat("a"), ErrorCode::RebalanceInProgress);
    harness.join(consumer("a"));
    harness.sync("a", &[("a", b"all")]);
    assert_eq!((harness.group.state(), harness.group.generation()), (State::Stable, 2));
    harness.wait(30 * SECOND);
    assert_eq!((harness.group.state(), harness.stored.members.len()), (State::Empty, 0));
}

#[test]
fn a_leader_that_joins_again_starts_a_rebalance_and_a_follower_does_not() {
    let mut harness = Harness::pair();
    let b = harness.join(consumer("b"));
    assert_eq!((harness.joins[&b].generation_id, harness.joins[&b].error_code), (1, 0));
    assert_eq!(harness.group.state(), State::Stable);
    let a = harness.join(consumer("a"));
    assert_eq!(harness.group.state(), State::PreparingRebalance);
    let b = harness.join(consumer("b"));
    assert_eq!((harness.joins[&a].generation_id, harness.joins[&b].generation_id), (2, 2));
    // A follower whose metadata changes does.
    let (_, _) = (harness.sync("b", &[]), harness.sync("a", &[]));
    assert_eq!(harness.group.state(), State::Stable);
    harness.join(JoinInput { protocols: protocols(&["range", "new"]), ..consumer("b") });
    assert_eq!(harness.group.state(), State::PreparingRebalance);
}

#[test]
fn members_that_do_not_join_in_time_are_left_out_and_the_leader_is_chosen_anew() {
    let mut harness = Harness::pair();
    let b = harness.join(JoinInput { protocols: protocols(&["range", "new"]), ..consumer("b") });
    for _ in 0..10 {
        harness.wait(6 * SECOND);
        harness.heartbeat("a");
    }
    assert_eq!(
        (harness.joins[&b].generation_id, harness.joins[&b].leader.as_str(), harness.joins[&b].members.len()),
        (2, "b", 1)
    );
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    let mut harness = Harness::new();
    harness.join_new("a");
    harness.join_new("b");
    harness.wait(6 * SECOND);
    let b = harness.sync("b", &[]);
    for _ in 0..12 {
        harness.wait(5 * SECOND);
        harness.heartbeat("a");
    }
    assert_eq!(harness.sync_code(b), ErrorCode::RebalanceInProgress);
    assert_eq!(harness.group.state(), State::PreparingRebalance);
    assert_eq!(harness.heartbeat("a"), ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_during_sync_sends_the_members_back_to_join() {
    let mut harness = Harness::new();
    harness.join_new("a");
    harness.join_new("b");
    harness.wait(6 * SECOND);
    let b = harness.sync("b", &[]);
    harness.join_new("c");
    assert_eq!(harness.sync_code(b), ErrorCode::RebalanceInProgress);
    let late = harness.sync("a", &[]);
    assert_eq!(harness.sync_code(late), ErrorCode::RebalanceInProgress);
}

#[test]
fn protocols_are_voted_on() {
    let mut harness = Harness::new();
    let offer = |id: &str, names: &[&str]| JoinInput {
        protocols: protocols(names),
        demands_member_id: false,
        new_member_id: id.to_owned(),
        ..consumer("")
    };
    let a = harness.join(offer("a", &["sticky", "range", "old"]));
    harness.join(offer("b", &["range", "sticky"]));
    harness.join(offer("c", &["range", "sticky"]));
    let alone = harness.join(offer("d", &["other"]));
    assert_eq!(harness.join_code(alone), ErrorCode::InconsistentGroupProtocol);
    let connect = harness.join(JoinInput { protocol_type: "connect".to_owned(), ..offer("e", &["range"]) });
    assert_eq!(harness.join_code(connect), ErrorCode::InconsistentGroupProtocol);
    harness.wait(7 * SECOND);
    assert_eq!(harness.joins[&a].protocol_name.as_deref(), Some("range"));
    let members = &harness.joins[&a].members;
    assert!(members.iter().all(|member| member.metadata == Bytes::from_static(b"range")), "{members:?}");
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_the_old_one() {
    let mut harness = Harness::new();
    harness.join(static_consumer("one", "one-1"));
    harness.join(static_consumer("two", "two-1"));
    harness.wait(6 * SECOND);
    harness.sync("two-1", &[]);
    harness.sync("one-1", &[("one-1", b"A"), ("two-1", b"B")]);
    let stores = harness.stores;

    let two = harness.join(static_consumer("two", "two-2"));
    assert_eq!((harness.joins[&two].generation_id, harness.joins[&two].member_id.as_str()), (1, "two-2"));
    assert_eq!((harness.group.state(), harness.stores), (State::Stable, stores + 1));
    assert_eq!(harness.stored.members.iter().filter(|member| member.member_id == "two-2").count(), 1);
    let sync = harness.sync("two-2", &[]);
    assert_eq!(&harness.syncs[&sync].assignment[..], b"B");
    assert_eq!(harness.group.heartbeat(harness.now, "two-1", Some("two"), 1), ErrorCode::FencedInstanceId);
    assert_eq!(harness.group.check_commit(harness.now, "two-1", Some("two"), 1), Err(ErrorCode::FencedInstanceId));
    assert_eq!(harness.group.heartbeat(harness.now, "two-2", Some("two"), 1), ErrorCode::None);

    // It hears of it, too, if that cannot be stored.
    let ticket = harness.ticket();
    harness.group.join(harness.now, ticket, static_consumer("two", "two-3"));
    assert!(harness.group.is_storing());
    harness.reload();
    assert_eq!(harness.join_code(ticket), ErrorCode::NotCoordinator);

    // The leader that comes back is told to skip the assignment, or, before version 9, that another leads.
    let one = harness.join(static_consumer("one", "one-2"));
    assert!(
        harness.joins[&one].skip_assignment && harness.joins[&one].leader == "one-2" && harness.joins[&one].members.len() == 2
    );
    let one = harness.join(JoinInput { skips_assignment: false, ..static_consumer("one", "one-3") });
    assert!(
        !harness.joins[&one].skip_assignment && harness.joins[&one].leader == "one-2" && harness.joins[&one].members.is_empty()
    );

    // Another protocol needs a rebalance.
    let two = harness.join(JoinInput { protocols: protocols(&["other", "range"]), ..static_consumer("two", "two-3") });
    assert_eq!(harness.joins[&two].generation_id, 1, "range is still the one that all offer");
    // An administrator removes it by its static id.
    let codes = harness.group.leave(harness.now, &[Leaving { member_id: "", group_instance_id: Some("two") }]);
    harness.settle();
    assert_eq!((codes[0], harness.group.state()), (ErrorCode::None, State::PreparingRebalance));
}

#[test]
fn a_rebalance_timeout_of_nothing_does_not_keep_the_machine_busy() {
    let mut harness = Harness::new();
    harness.join(static_consumer("one", "one-1"));
    harness.join(JoinInput {
        rebalance_timeout: Duration::ZERO,
        session_timeout: 60 * SECOND,
        ..static_consumer("two", "two-1")
    });
    harness.wait(7 * SECOND);
    harness.sync("two-1", &[]);
    harness.sync("one-1", &[("one-1", b"1"), ("two-1", b"2")]);
    assert_eq!(harness.group.state(), State::Stable);
    // The other one is asked to join again, and nobody is left who does.
    harness.leave("one-1");
    let mut ticks = 0;
    while let Some(at) = harness.group.wake_at().filter(|_| harness.group.member_count() > 0) {
        assert!(at > harness.now, "due in the moment in which it was set");
        (harness.now, ticks) = (at, ticks + 1);
        harness.group.tick(harness.now);
        harness.settle();
    }
    assert!(harness.group.member_count() == 0 && ticks < 100, "{ticks}");
}

#[test]
fn a_static_member_that_is_slow_to_join_keeps_its_place() {
    let mut harness = Harness::new();
    let with = |instance: &str, id: &str| JoinInput { session_timeout: 200 * SECOND, ..static_consumer(instance, id) };
    harness.join(with("one", "one-1"));
    harness.join(with("two", "two-1"));
    harness.wait(6 * SECOND);
    harness.sync("two-1", &[]);
    harness.sync("one-1", &[]);
    let one =
        harness.join(JoinInput { group_instance_id: Some("one".to_owned()), session_timeout: 200 * SECOND, ..consumer("one-1") });
    assert!(!harness.joins.contains_key(&one));
    harness.wait(61 * SECOND);
    assert_eq!((harness.joins[&one].generation_id, harness.joins[&one].members.len()), (2, 2));
}

#[test]
fn a_group_is_taken_over_without_a_rebalance() {
    let mut harness = Harness::pair();
    harness.reload();
    assert_eq!((harness.heartbeat("a"), harness.heartbeat("b")), (ErrorCode::None, ErrorCode::None));
    let sync = harness.sync("b", &[]);
    assert_eq!(&harness.syncs[&sync].assignment[..], b"B");
    // Whoever does not come back has a full session from the takeover on.
    harness.wait(9 * SECOND);
    assert_eq!(harness.group.member_count(), 2);
    harness.wait(2 * SECOND);
    assert_eq!(harness.group.member_count(), 0);
}

#[test]
fn a_generation_without_assignments_is_taken_over_as_such() {
    let mut harness = Harness::new();
    harness.join_new("a");
    harness.join_new("b");
    harness.wait(6 * SECOND);
    harness.reload();
    assert_eq!(harness.group.state(), State::CompletingRebalance);
    assert_eq!(harness.group.check_commit(harness.now, "b", None, 1), Err(ErrorCode::RebalanceInProgress));
    let b = harness.sync("b", &[]);
    let a = harness.join(consumer("a"));
    assert_eq!((harness.joins[&a].generation_id, harness.joins[&a].members.len()), (1, 2));
    harness.sync("a", &[("b", b"B")]);
    assert_eq!(&harness.syncs[&b].assignment[..], b"B");
}

#[test]
fn a_first_rebalance_waits_its_delay_out_whoever_does_not_come() {
    let mut harness = Harness::new();
    let brief = |id: &str| JoinInput { session_timeout: SECOND, ..consumer(id) };
    let a = harness.join_new("a");
    // An id that was given out and is not used.
    harness.join(JoinInput { new_member_id: "b".to_owned(), ..brief("") });
    harness.wait(2 * SECOND);
    assert!(!harness.joins.contains_key(&a));
    let c = harness.join_new("c");
    harness.wait(5 * SECOND);
    assert_eq!((harness.joins[&a].generation_id, harness.joins[&c].generation_id), (1, 1));
}

#[test]
fn a_full_group_takes_nobody() {
    let mut harness = Harness::with(Settings { max_members: 2, ..settings() });
    harness.join_new("a");
    harness.join_new("b");
    let c = harness.join(JoinInput { new_member_id: "c".to_owned(), ..consumer("") });
    assert_eq!(harness.join_code(c), ErrorCode::GroupMaxSizeReached);
    harness.wait(7 * SECOND);
    let c = harness.join(JoinInput { new_member_id: "c".to_owned(), ..consumer("") });
    assert_eq!(harness.join_code(c), ErrorCode::GroupMaxSizeReached);

    let mut harness = Harness::with(Settings { max_bytes: 400, ..settings() });
    let big = |id: &str, bytes: usize| JoinInput {
        protocols: vec![MemberProtocol { name: "range".to_owned(), metadata: Bytes::from(vec![0; bytes]) }],
        demands_member_id: false,
        new_member_id: id.to_owned(),
        ..consumer("")
    };
    let a = harness.join(big("a", 100));
    let b = harness.join(big("b", 300));
    assert_eq!(harness.join_code(b), ErrorCode::GroupMaxSizeReached);
    harness.wait(4 * SECOND);
    assert_eq!(harness.join_code(a), ErrorCode::None);
    let a = harness.sync("a", &[("a", &[0; 400])]);
    assert_eq!(harness.sync_code(a), ErrorCode::UnknownServerError);
    assert_eq!(harness.group.state(), State::PreparingRebalance);
}

#[test]
fn commits_are_checked_as_kafka_does() {
    let mut harness = Harness::new();
    let now = harness.now;
    assert_eq!(harness.group.check_commit(now, "", None, -1), Ok(true));
    let mut harness = Harness::pair();
    let now = harness.now;
    assert_eq!(harness.group.check_commit(now, "", None, -1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(harness.group.check_commit(now, "a", None, 1), Ok(false));
    assert_eq!(harness.group.check_commit(now, "a", None, 0), Err(ErrorCode::IllegalGeneration));
    assert_eq!(harness.group.check_commit(now, "a", None, -1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(harness.group.check_commit(now, "z", None, 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(harness.group.check_commit(now, "a", Some("nobody"), 1), Err(ErrorCode::UnknownMemberId));
    // It may still commit what it has read while the others join (cooperative or not).
    harness.leave("b");
    assert_eq!(harness.group.check_commit(now, "a", None, 1), Ok(false));
}

#[test]
fn ids_given_out_ahead_expire() {
    let mut harness = Harness::new();
    harness.join(JoinInput { new_member_id: "a".to_owned(), ..consumer("") });
    assert!(!harness.group.is_idle());
    harness.wait(11 * SECOND);
    assert!(harness.group.is_idle());
    let late = harness.join(consumer("a"));
    assert_eq!(harness.join_code(late), ErrorCode::UnknownMemberId);
}

#[derive(Debug, Clone)]
enum Action {
    JoinNew { instance: Option<u8>, second_protocol: bool },
    Rejoin { member: usize, second_protocol: bool },
    Sync { member: usize },
    Heartbeat { member: usize },
    Leave { member: usize },
    Wait { milliseconds: u64 },
    Reload,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        3 => (proptest::option::of(0..3_u8), any::<bool>()).prop_map(|(instance, second_protocol)| Action::JoinNew { instance, second_protocol }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(member, second_protocol)| Action::Rejoin { member, second_protocol }),
        6 => any::<usize>().prop_map(|member| Action::Sync { member }),
        4 => any::<usize>().prop_map(|member| Action::Heartbeat { member }),
        1 => any::<usize>().prop_map(|member| Action::Leave { member }),
        4 => (0..15_000_u64).prop_map(|milliseconds| Action::Wait { milliseconds }),
        1 => Just(Action::Reload),
    ];
    proptest::collection::vec(action, 1..80)
}

/// What holds after every input.
fn check(harness: &Harness, issued: &BTreeSet<Ticket>, last_generation: i32) {
    let group = &harness.group;
    assert!(!group.is_storing());
    assert!(group.generation >= last_generation, "generations never fall");
    assert_eq!(group.generation, harness.stored.generation, "a generation is stored before it is used");
    assert_eq!(group.joining, group.members.values().filter(|member| member.joining.is_some()).count());
    assert_eq!(group.bytes, group.members.iter().map(|(id, member)| member.bytes(id)).sum::<usize>());
    assert_eq!(group.pending_bytes, group.pending.keys().map(String::len).sum::<usize>());
    assert_eq!(group.leader.is_some(), !group.members.is_empty());
    assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
    let statics: BTreeMap<String, String> =
        group.members.iter().filter_map(|(id, member)| Some((member.group_instance_id.clone()?, id.clone()))).collect();
    assert_eq!(group.statics, statics);
    let mut support: BTreeMap<String, usize> = BTreeMap::new();
    for protocol in group.members.values().flat_map(|member| &member.protocols) {
        *support.entry(protocol.name.clone()).or_default() += 1;
    }
    assert_eq!(group.support, support);
    assert!(group.members.is_empty() || group.select_protocol().is_some(), "a protocol that all offer");
    assert_eq!(group.state == State::Empty, group.members.is_empty() && group.join_timer.is_none());
    assert!(group.unsynced.iter().all(|id| group.members.contains_key(id)));
    if group.state == State::Stable {
        let stored: BTreeSet<&str> = harness.stored.members.iter().map(|member| member.member_id.as_str()).collect();
        assert_eq!(stored, group.members.keys().map(String::as_str).collect(), "a stable group is as it is stored");
        assert!(harness.stored.stable);
        for member in &harness.stored.members {
            assert_eq!(member.assignment, group.members[&member.member_id].assignment);
        }
    }
    // Every request is answered, or waits with a member and a timer that will end it.
    let waiting: BTreeSet<Ticket> =
        group.members.values().flat_map(|member| [member.joining, member.syncing]).flatten().collect();
    let answered: BTreeSet<Ticket> = harness.joins.keys().chain(harness.syncs.keys()).copied().collect();
    assert!(waiting.is_disjoint(&answered));
    assert_eq!(&waiting | &answered, *issued, "no request is forgotten");
    let deadlines = group.members.values().map(|member| member.deadline).chain(group.pending.values().copied());
    let timers = [group.join_timer.map(|timer| timer.at), group.sync_deadline].into_iter().flatten();
    for deadline in deadlines.chain(timers) {
        assert!(group.wake_at().is_some_and(|at| at <= deadline), "nothing is due before the group wakes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_comes_the_group_stays_sound_and_ends_empty(actions in actions()) {
        let mut harness = Harness::with(Settings { max_members: 4, ..settings() });
        let mut ids: Vec<(String, Option<String>)> = Vec::new();
        let mut issued = BTreeSet::new();
        let mut generation = 0;
        for (n, action) in actions.into_iter().enumerate() {
            let pick = |member: usize| ids.get(member % ids.len().max(1)).cloned().unwrap_or_default();
            let offered = |second: bool| protocols(if second { &["sticky", "range"] } else { &["range"] });
            match action {
                Action::JoinNew { instance, second_protocol } => {
                    let instance = instance.map(|instance| format!("static-{instance}"));
                    let new_member_id = format!("member-{n}");
                    ids.push((new_member_id.clone(), instance.clone()));
                    let input = JoinInput { group_instance_id: instance, new_member_id, protocols: offered(second_protocol), ..consumer("") };
                    issued.insert(harness.join(input));
                }
                Action::Rejoin { member, second_protocol } => {
                    let (member_id, group_instance_id) = pick(member);
                    let input = JoinInput { group_instance_id, protocols: offered(second_protocol), new_member_id: format!("member-{n}"), ..consumer(&member_id) };
                    issued.insert(harness.join(input));
                }
                Action::Sync { member } => {
                    let (member_id, _) = pick(member);
                    let ticket = harness.ticket();
                    let assignments = ids.iter().map(|(id, _)| (id.clone(), Bytes::from(format!("{n}/{id}")))).collect();
                    let input = SyncInput {
                        member_id,
                        group_instance_id: None,
                        generation: harness.group.generation(),
                        protocol_type: None,
                        protocol_name: None,
                        assignments,
                    };
                    harness.group.sync(harness.now, ticket, input);
                    harness.settle();
                    issued.insert(ticket);
                }
                Action::Heartbeat { member } => {
                    harness.heartbeat(&pick(member).0);
                }
                Action::Leave { member } => {
                    harness.leave(&pick(member).0);
                }
                Action::Wait { milliseconds } => harness.wait(Duration::from_millis(milliseconds)),
                Action::Reload => harness.reload(),
            }
            check(&harness, &issued, generation);
            generation = harness.group.generation();
        }
        // Without a sign of life from anybody every member goes, and every request gets its answer.
        harness.wait(1_000 * SECOND);
        check(&harness, &issued, generation);
        prop_assert!(harness.group.is_idle(), "{:?}", harness.group);
        prop_assert_eq!(harness.joins.len() + harness.syncs.len(), issued.len());
        prop_assert!(harness.stored.members.is_empty());
    }
}
