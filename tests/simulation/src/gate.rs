//! Whether a node's requests leave it: not while it is paused, never again once it is dead.
//!
//! Those who wait go on in the order in which they came. (A watch channel wakes its receivers in an order of its own, which is
//! not the seed's.)

use crate::core::locked;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Paused,
    Dead,
}

/// A way out of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<(Mutex<State>, Notify)>);

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new((Mutex::new(State::Open), Notify::new())))
    }

    fn set(&self, wanted: State) {
        let mut state = locked(&self.0.0);
        if *state != State::Dead {
            *state = wanted;
        }
        drop(state);
        self.0.1.notify_waiters();
    }

    pub fn set_paused(&self, paused: bool) {
        self.set(if paused { State::Paused } else { State::Open });
    }

    pub fn kill(&self) {
        self.set(State::Dead);
    }

    fn state(&self) -> State {
        *locked(&self.0.0)
    }

    pub fn is_dead(&self) -> bool {
        self.state() == State::Dead
    }

    pub fn is_open(&self) -> bool {
        self.state() == State::Open
    }

    async fn until(&self, wanted: State) {
        loop {
            let mut changed = std::pin::pin!(self.0.1.notified());
            changed.as_mut().enable();
            if self.state() == wanted {
                return;
            }
            changed.await;
        }
    }

    /// Returns when the node runs; never for a dead one.
    pub async fn pass(&self) {
        self.until(State::Open).await;
    }

    /// Returns when the node is dead.
    pub async fn death(&self) {
        self.until(State::Dead).await;
    }
}
