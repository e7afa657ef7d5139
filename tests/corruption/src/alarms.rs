//! What was logged as a warning or an error: how a node says that something is wrong beside its answers.

use std::fmt::Write as _;
use std::sync::{Mutex, Once, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN && event.metadata().target().starts_with("strandline") {
            let mut line = Line(format!("{} ", event.metadata().level()));
            event.record(&mut line);
            HEARD.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
        }
    }
}

/// Listens from now on, in the whole process.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Listener);
        // An error means that somebody listens already: then no alarm is heard, and tests that need one fail.
        let _ = tracing::subscriber::set_global_default(subscriber);
    });
}

/// What was heard since the last call.
pub fn take() -> Vec<String> {
    std::mem::take(&mut *HEARD.lock().unwrap_or_else(PoisonError::into_inner))
}
