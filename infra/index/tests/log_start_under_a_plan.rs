//! A log start that moves past fresh segments while an open plan pins the first of them: what is left goes on being sealed.

mod cell;

use cell::{ID, Player};
use strandline_commands::*;
use strandline_index::Outcome;
use strandline_types::Seq;

#[test]
fn what_a_moved_log_start_leaves_behind_a_plan_is_sealed_with_what_follows() {
    let mut player = Player::new(1);
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
