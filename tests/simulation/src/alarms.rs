//! What the code under test cries out: errors in its log, and panics, which tasks swallow.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Once;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static CRIES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static LISTENING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Errors that are right when a node cannot go on.
const EXPECTED: [&str; 2] = ["the commit log has failed; the process must end", "the cell can no longer be served by this node"];

struct Listener;

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        cry(format!("{}: {}", event.metadata().target(), text.0.trim()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn cry(text: String) {
    CRIES.with_borrow_mut(|cries| cries.push(text));
}

/// While it lives, errors and panics of this thread are heard.
pub(crate) struct Listening(#[allow(dead_code, reason = "held")] tracing::subscriber::DefaultGuard);

impl Listening {
    pub fn start() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if LISTENING.get() {
                    cry(format!("PANIC {info}"));
                } else {
                    before(info);
                }
            }));
        });
        LISTENING.set(true);
        CRIES.take();
        Self(tracing::subscriber::set_default(Listener))
    }

    /// What was cried since the last look, in two heaps: expected, and not.
    pub fn take() -> (Vec<String>, Vec<String>) {
        CRIES.take().into_iter().partition(|cry| EXPECTED.iter().any(|expected| cry.contains(expected)))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.set(false);
    }
}
