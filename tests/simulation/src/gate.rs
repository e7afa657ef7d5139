//! Whether a node's requests leave it: not while it is paused, never again once it is dead.

use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Paused,
    Dead,
}

/// A node's way out. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<watch::Sender<State>>);

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::Open)))
    }

    pub fn set_paused(&self, paused: bool) {
        self.0.send_if_modified(|state| {
            let wanted = if paused { State::Paused } else { State::Open };
            let changes = *state != State::Dead && *state != wanted;
            if changes {
                *state = wanted;
            }
            changes
        });
    }

    pub fn kill(&self) {
        self.0.send_replace(State::Dead);
    }

    pub fn is_dead(&self) -> bool {
        *self.0.borrow() == State::Dead
    }

    pub fn is_open(&self) -> bool {
        *self.0.borrow() == State::Open
    }

    /// Returns when the node runs; never for a dead one.
    pub async fn pass(&self) {
        let _ = self.0.subscribe().wait_for(|state| *state == State::Open).await;
    }

    /// Returns when the node is dead.
    pub async fn death(&self) {
        let _ = self.0.subscribe().wait_for(|state| *state == State::Dead).await;
    }
}
