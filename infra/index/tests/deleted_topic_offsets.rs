//! Committed offsets belong to a topic's id, not to its name: they go with it, and whoever gets the name next has none.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests may, as tests do

mod cell;

use cell::{ID, Player};
use strandline_commands::*;
use strandline_index::{Outcome, Refusal};
use strandline_types::{Seq, TopicId, TopicPartition};

const KEPT: TopicId = TopicId([8; 16]);
const ANEW: TopicId = TopicId([9; 16]);

fn create(player: &mut Player, id: TopicId, name: &str) {
    player.done(CreateTopic { topic_id: id.0.to_vec(), name: name.into(), partitions: 2, ..CreateTopic::default() });
}

fn claim(player: &mut Player, group: &str) {
    assert!(matches!(player.play(ClaimGroup { group: group.into(), replaces: 0 }), Outcome::Claimed(_)));
}

fn place(topic_id: TopicId, partition: i32) -> TopicPartition {
    TopicPartition { topic_id, partition }
}

fn commit(player: &mut Player, group: &str, places: &[TopicPartition]) -> Outcome {
    let claim = player.index.groups[group].claim.unwrap().epoch.0;
    let offset = |place: &TopicPartition| CommittedOffset {
        topic_id: place.topic_id.0.to_vec(),
        partition: place.partition,
        offset: 5,
        leader_epoch: -1,
        metadata: "m".repeat(100),
    };
    let offsets = places.iter().map(offset).collect();
    player.play(CommitOffsets { group: group.into(), claim, generation: -1, offsets, ..CommitOffsets::default() })
}

fn committed(player: &Player, group: &str) -> Vec<TopicPartition> {
    player.index.groups[group].offsets.keys().copied().collect()
}

/// Group `both` has offsets in the topic and another, `gone` in the topic alone, `other` in the other alone.
fn groups() -> Player {
    let mut player = Player::new(2);
    create(&mut player, KEPT, "kept");
    let all = [place(ID, 0), place(ID, 1), place(KEPT, 1)];
    for (group, places) in [("both", &all[..]), ("gone", &all[..2]), ("other", &all[2..])] {
        claim(&mut player, group);
        assert_eq!(commit(&mut player, group, places), Outcome::Offsets { unknown: Vec::new() });
        assert_eq!(committed(&player, group), places);
    }
    player
}

fn delete(player: &mut Player) -> Seq {
    player.done(DeleteTopic { topic_id: ID.0.to_vec() });
    player.index.cell.seq
}

#[test]
fn they_go_with_the_topic_and_others_stay() {
    let mut player = groups();
    let before = player.index.clone();
    player.time_ms += 1_000;
    let at = delete(&mut player);
    assert_eq!(committed(&player, "both"), [place(KEPT, 1)]);
    assert_eq!(committed(&player, "gone"), []);
    assert_eq!(committed(&player, "other"), [place(KEPT, 1)]);
    let groups = &player.index.groups;
    for group in ["both", "gone"] {
        assert_eq!((groups[group].last_changed, groups[group].last_changed_ms), (at, player.time_ms), "{group} has changed");
        assert_eq!(groups[group].claim, before.groups[group].claim);
    }
    assert_eq!(groups["other"], before.groups["other"]);
    // What the four took is free: as much as the two that are left, twice.
    let mut fresh = Player::new(2);
    create(&mut fresh, KEPT, "kept");
    for group in ["both", "gone", "other"] {
        claim(&mut fresh, group);
    }
    for group in ["both", "other"] {
        assert_eq!(commit(&mut fresh, group, &[place(KEPT, 1)]), Outcome::Offsets { unknown: Vec::new() });
    }
    assert_eq!(player.index.fill.group_bytes, fresh.index.fill.group_bytes);
}

#[test]
fn a_topic_that_gets_the_name_has_none() {
    let mut player = groups();
    delete(&mut player);
    create(&mut player, ANEW, "t");
    assert_eq!(player.index.names["t"], ANEW);
    for group in ["both", "gone", "other"] {
        assert!(committed(&player, group).iter().all(|place| place.topic_id == KEPT), "{group}");
    }
    // Who still has the old topic in mind commits nothing to the new one, and is told so; what else it commits counts.
    let late = commit(&mut player, "both", &[place(ID, 0), place(KEPT, 0)]);
    assert_eq!(late, Outcome::Offsets { unknown: vec![place(ID, 0)] });
    assert_eq!(committed(&player, "both"), [place(KEPT, 0), place(KEPT, 1)]);
    // Nor does the old id come back.
    let again = CreateTopic { topic_id: ID.0.to_vec(), name: "u".into(), partitions: 2, ..CreateTopic::default() };
    assert!(matches!(player.play(again), Outcome::Refused(Refusal::Malformed { .. })));
    assert_eq!(commit(&mut player, "gone", &[place(ANEW, 1)]), Outcome::Offsets { unknown: Vec::new() });
    assert_eq!(committed(&player, "gone"), [place(ANEW, 1)]);
}

/// The deletion and the new topic in the entry of the commit that was on its way: the order inside it decides.
#[test]
fn in_one_entry_the_order_decides() {
    let mut player = groups();
    let claim = player.index.groups["gone"].claim.unwrap().epoch.0;
    let offset = CommittedOffset { topic_id: ID.0.to_vec(), partition: 0, offset: 9, ..CommittedOffset::default() };
    let commit = CommitOffsets { group: "gone".into(), claim, generation: -1, offsets: vec![offset], ..CommitOffsets::default() };
    let create = CreateTopic { topic_id: ANEW.0.to_vec(), name: "t".into(), partitions: 2, ..CreateTopic::default() };
    let delete = DeleteTopic { topic_id: ID.0.to_vec() };
    let outcomes = player.play_all(vec![commit.clone().into(), delete.into(), create.into(), commit.into()], 0);
    let unknown = Outcome::Offsets { unknown: vec![place(ID, 0)] };
    assert_eq!(outcomes, [Outcome::Offsets { unknown: Vec::new() }, Outcome::Done, Outcome::Done, unknown]);
    assert_eq!(committed(&player, "gone"), []);
}
