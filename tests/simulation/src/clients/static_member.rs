//! Static members (KIP-345): one that comes back with its static id within its session has its place again, and a second client with that id
//! fences the first.

use super::member::Member;
use crate::happenings::Happening;
use strandline_wire::ErrorCode;

impl Member {
    /// Now and then it crashes, is replaced, is silent for a while, or is taken out.
    pub(super) async fn break_down_at_times(&mut self) {
        if !self.dice.chance(6) {
            return;
        }
        match self.dice.below(10) {
            0..=4 => self.crash().await,
            5..=7 => self.is_replaced().await,
            8 => {
                self.say("is silent");
                self.pause(5_000, 30_000).await;
            }
            _ => self.leave().await,
        }
    }

    /// Ends without a word, and comes back: mostly before its session ends. That it has the same partitions then, as long as the generation is
    /// the same, its team looks at.
    async fn crash(&mut self) {
        self.say("crashes");
        let generation = self.place.as_ref().map(|(generation, _)| *generation);
        *self = self.anew();
        if self.dice.chance(75) {
            self.pause(0, 5_000).await;
        } else {
            self.pause(8_000, 20_000).await;
        }
        self.find_place().await;
        let now = self.place.as_ref().map(|(generation, _)| *generation);
        if generation.is_some() && generation == now {
            self.world.core.count(Happening::StaticReturns);
        }
    }

    /// Another client comes with the same static id, and has the place. What the first one commits from then on must not count; it gives up.
    async fn is_replaced(&mut self) {
        let Some((generation, offsets)) = &self.place else { return };
        let (generation, has_partitions) = (*generation, !offsets.is_empty());
        self.say("is replaced");
        let mut other = self.anew();
        other.find_place().await;
        if other.has_place() {
            let code = self.commit().await;
            self.say(&format!("has a double, and commits of generation {generation}: {code:?}"));
            match code {
                Some(ErrorCode::None) if has_partitions => self.world.core.fail(format!(
                    "{} took a commit of generation {generation} of a member whose place another has",
                    self.team.name()
                )),
                Some(ErrorCode::FencedInstanceId) => self.world.core.count(Happening::FencedMembers),
                _ => {}
            }
        }
        *self = other;
    }
}
