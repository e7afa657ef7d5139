//! Random commands, good ones and bad ones: every invariant holds after every entry, a node that starts from a snapshot
//! anywhere folds the same, and a commit counts once however often it comes.

mod player;

use bytes::Bytes;
use player::{Player, Step, step};
use proptest::prelude::*;
use strandline_index::Index;

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn whatever_comes_the_invariants_hold(version in 1..3_u32, ready in any::<bool>(), steps in prop::collection::vec(step(), 1..120)) {
        let mut player = Player::of(version, 2);
        if ready {
            // Most of what follows is not refused for want of a topic or a lease.
            player.play(Step::CreateTopic { topic: 0, partitions: 3 });
            (0..6).for_each(|kind| player.play(Step::Lease { kind, topic: 0, steal: false }));
        }
        for step in steps {
            player.play(step);
        }
    }

    #[test]
    fn no_bytes_make_the_fold_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut index = Index::default();
        let mut entry = vec![0, 1 + bytes.first().map_or(0, |byte| byte & 1)];
        entry.extend(bytes);
        let _ = index.fold(strandline_types::Seq(1), &Bytes::from(entry));
        prop_assert_eq!(index.violations(), Vec::<String>::new());
    }
}

/// The way without fresh segments is reached, too.
#[test]
fn extents_go_straight_to_sealed() {
    let mut player = Player::of(1, 2);
    player.play(Step::CreateTopic { topic: 0, partitions: 2 });
    player.play(Step::Lease { kind: 2, topic: 0, steal: false });
    for partition in [0, 1, 1] {
        player.play(Step::Produce { topic: 0, partition, producer: 1, sequence_off: 0, batches: 3, object: true });
    }
    let id = player.topic(0).unwrap();
    let plan = |partitions, wrong| Step::SealExtents { topic: 0, partitions, extents: 1, wrong };
    player.play(plan(3, false));
    assert!(player.index.topics[&id].plans.is_empty(), "version 1 has no such plan");
    player.play(Step::Raise);
    player.play(plan(3, true));
    player.play(plan(3, false));
    player.play(Step::LogStart { topic: 0, partition: 0, back: 1 });
    player.play(Step::Sealed { topic: 0, wrong: false });
    player.play(plan(2, false));
    player.play(Step::SealDone { topic: 0 });
    player.play(plan(2, false));
    player.play(Step::Sealed { topic: 0, wrong: false });
    player.play(Step::SealDone { topic: 0 });
    assert_eq!(player.sealed[&(id, 0)], [(0, 6)]);
    assert_eq!(player.sealed[&(id, 1)], [(0, 6), (6, 12)]);
    assert_eq!((player.index.extent_count, player.index.garbage.len()), (0, 3));
}

/// The whole way is reached: the steps are not all refused.
#[test]
fn a_topic_goes_all_the_way_to_sealed() {
    let mut player = Player::new();
    player.play(Step::CreateTopic { topic: 0, partitions: 2 });
    for kind in 0..3 {
        player.play(Step::Lease { kind, topic: 0, steal: false });
    }
    for partition in 0..2 {
        player.play(Step::Produce { topic: 0, partition, producer: 1, sequence_off: 0, batches: 3, object: partition == 1 });
    }
    player.play(Step::Convert { topic: 0, extents: 9, wrong: false });
    player.play(Step::Produce { topic: 0, partition: 0, producer: 1, sequence_off: 0, batches: 1, object: false });
    player.play(Step::Convert { topic: 0, extents: 9, wrong: false });
    let id = player.topic(0).unwrap();
    assert_eq!(player.index.topics[&id].fresh.len(), 2);
    player.play(Step::Merge { topic: 0, inputs: 2 });
    assert_eq!(player.index.topics[&id].fresh.len(), 1);
    player.play(Step::SealPlan { topic: 0, inputs: 1 });
    player.play(Step::Sealed { topic: 0, wrong: true });
    player.play(Step::Sealed { topic: 0, wrong: false });
    player.play(Step::SealDone { topic: 0 });
    let topic = &player.index.topics[&id];
    assert_eq!((topic.fresh.len(), topic.plans.len()), (0, 0));
    assert_eq!(
        topic
            .partitions
            .iter()
            .map(|partition| (partition.sealed_end, partition.frontier, partition.next_offset))
            .collect::<Vec<_>>(),
        vec![(8, 8, 8), (6, 6, 6)]
    );
    // Two fresh inputs of the merge, its output, and the WAL segment are garbage now.
    assert_eq!(player.index.garbage.len(), 4);
}
