//! What holds at every moment.

use crate::alarms::Listening;
use crate::world::World;
use strandline_index::digest;

/// Holds every node against the log, and takes in what was cried.
pub(crate) fn check_now(world: &World) {
    take_cries(world);
    if let Some(what) = world.core.gauges.beyond_bounds() {
        world.core.fail(what);
    }
    for node in world.live() {
        let (seq, own, version) = {
            let view = node.cell.view();
            (view.cell.seq, digest(&view), view.cell.fold_version)
        };
        // One that has stopped there has folded no more than that the version was raised.
        if version > node.fold_version && !node.cell.is_stopped() {
            world.core.fail(format!("{} folds by version {version}, its build knows {} (I2)", node.name(), node.fold_version));
        }
        if seq > world.core.log.head() {
            world.core.fail(format!("{} has folded {seq}, the log ends at {} (I2)", node.name(), world.core.log.head()));
        }
        let expected = world.core.oracle().digest_at(seq);
        if expected.is_some_and(|expected| expected != own) {
            world.core.fail(format!("{} at {seq} holds another index than the log says (I2)", node.name()));
        }
        if let Err(what) = node.check_bounds() {
            world.core.fail(what);
        }
    }
}

/// Errors in the log of the code under test that nothing explains, and panics.
pub(crate) fn take_cries(world: &World) {
    let (expected, unexpected) = Listening::take();
    for cry in expected {
        world.core.trace(cry);
    }
    for cry in unexpected {
        world.core.fail(format!("an error in the log that nothing explains: {cry}"));
    }
}
