//! Requests of a node that a script holds back, at a place of its choice.

use crate::core::locked;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Where a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Append,
    Read,
    Floor,
    RaiseFloor,
    /// Before the store has the object.
    Put,
    /// The store has it, and its writer has not heard yet.
    PutDone,
    List,
    Rows,
    /// Rows were listed, and who asked has not heard yet.
    Listed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Armed,
    Reached,
    Released,
}

struct Held {
    place: Place,
    path: &'static str,
    state: State,
}

/// A node's places. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Stops(Arc<(Mutex<Vec<Held>>, Notify)>);

/// One request that is held, or will be.
pub(crate) struct Hold {
    stops: Stops,
    number: usize,
}

impl std::fmt::Debug for Stops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stops")
    }
}

impl Stops {
    /// Holds the next request that comes to this place, of an object whose path begins so (of the log: empty).
    pub fn next(&self, place: Place, path: &'static str) -> Hold {
        let mut held = locked(&self.0.0);
        held.push(Held { place, path, state: State::Armed });
        Hold { stops: self.clone(), number: held.len() - 1 }
    }

    /// A request comes by.
    pub async fn pass(&self, place: Place, path: &str) {
        let number = {
            let mut held = locked(&self.0.0);
            let is_meant = |held: &Held| held.state == State::Armed && held.place == place && path.starts_with(held.path);
            let Some(number) = held.iter().position(is_meant) else { return };
            held[number].state = State::Reached;
            number
        };
        self.0.1.notify_waiters();
        self.until(number, State::Released).await;
    }

    async fn until(&self, number: usize, wanted: State) {
        loop {
            let mut changed = std::pin::pin!(self.0.1.notified());
            changed.as_mut().enable();
            if locked(&self.0.0)[number].state == wanted {
                return;
            }
            changed.await;
        }
    }

    fn release(&self, number: usize) {
        locked(&self.0.0)[number].state = State::Released;
        self.0.1.notify_waiters();
    }
}

impl Hold {
    /// Returns when the request is there.
    pub async fn reached(&self) {
        self.stops.until(self.number, State::Reached).await;
    }

    /// It goes on; or nothing is held any more.
    pub fn release(self) {
        self.stops.release(self.number);
    }
}
