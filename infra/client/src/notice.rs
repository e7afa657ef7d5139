//! What a person should hear while a client goes on trying, and where trying is of no use.

use crate::client::Client;
use crate::error::{ClientError, ConnectionError};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Is told, in words, of an error that is being tried again: once for each kind, since a client tries often.
#[derive(Clone)]
pub struct Notice(Arc<dyn Fn(&str) + Send + Sync>);

impl Notice {
    /// Calls this; it must not block.
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(say))
    }
}

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notice")
    }
}

/// What is over sooner needs no word.
const SOON: Duration = Duration::from_secs(1);
/// An address that a broker names and that is not reached for so long is not going to be.
const UNREACHABLE: Duration = Duration::from_secs(3);

/// No wait between two tries of one outage is as long, unless the options say otherwise; how long a try takes comes on top.
const OVER: Duration = Duration::from_secs(10);

/// The kinds of error that were tried again.
#[derive(Debug, Default)]
pub(crate) struct Tried(BTreeMap<String, Outage>);

/// One kind of error, from when it came up after all was well.
#[derive(Debug, Clone, Copy)]
struct Outage {
    first: Duration,
    last: Duration,
    said: bool,
}

impl Client {
    /// Notes an error that is going to be tried again; returns since how long its kind comes up, in this outage.
    pub(crate) fn retried(&self, error: &ClientError) -> Duration {
        let error = self.explained(error.clone());
        let now = self.now();
        let over = self.over_after(&error);
        let (since, say) = {
            let mut tried = self.tried().lock().unwrap_or_else(PoisonError::into_inner);
            let begun = Outage { first: now, last: now, said: false };
            let outage = tried.0.entry(kind(&error)).or_insert(begun);
            if now.saturating_sub(outage.last) > over {
                *outage = begun;
            }
            outage.last = now;
            let since = now.saturating_sub(outage.first);
            // A timeout was long in coming.
            let is_late = since >= SOON || matches!(error, ClientError::Connection(ConnectionError::TimedOut { .. }));
            let say = is_late && !outage.said;
            outage.said |= is_late;
            (since, say)
        };
        if say {
            self.tell(&format!("{error}; trying again"));
        }
        since
    }

    /// An outage is over if its kind of error did not come up for so long. Longer than two tries of one are ever apart, or one
    /// whose tries take long would begin anew with each, and never be said.
    fn over_after(&self, error: &ClientError) -> Duration {
        let options = self.options();
        let longest_try = match error {
            ClientError::Connection(ConnectionError::TimedOut { after, .. }) => *after,
            // One address after the other, of each a connection and its versions.
            ClientError::NoBroker { addresses, .. } => {
                let steps = addresses.split(", ").count().saturating_mul(2);
                options.connect_timeout.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
            }
            _ => Duration::ZERO,
        };
        let longest_wait = options.backoff_longest.saturating_mul(2);
        OVER.max(longest_wait).saturating_add(longest_try.max(options.request_timeout))
    }

    /// As [`Self::retried`]; false where trying is of no use: the error is what to say.
    pub(crate) fn may_try_again(&self, error: &ClientError) -> bool {
        let since = self.retried(error);
        !(since >= UNREACHABLE && matches!(error, ClientError::Advertised { .. }))
    }

    /// Says something that a person would want to know.
    pub(crate) fn tell(&self, line: &str) {
        if let Some(Notice(notice)) = &self.options().notice {
            notice(line);
        }
    }

    /// Where a broker answers and names an address that was never reached: that, instead of a failed connection.
    pub(crate) fn explained(&self, error: ClientError) -> ClientError {
        let ClientError::Connection(ConnectionError::Connect { address, reason }) = &error else { return error };
        let reached = self.reached();
        let is_given = self.options().bootstrap.iter().any(|given| given == address);
        // One that is down is soon nobody's leader where others can be reached.
        let others = self.known();
        let is_lost = !others.brokers.values().any(|broker| reached.contains(&format!("{}:{}", broker.host, broker.port)));
        match reached.first() {
            Some(answers) if is_lost && !is_given && !reached.contains(address) => {
                ClientError::Advertised { answers: answers.clone(), advertised: address.clone(), reason: reason.clone() }
            }
            _ => error,
        }
    }
}

/// Bounded: by what errors there are, and by the brokers' addresses.
fn kind(error: &ClientError) -> String {
    match error {
        ClientError::Broker { code, .. } => code.name().to_string(),
        ClientError::Connection(ConnectionError::Connect { address, .. }) => format!("connect {address}"),
        ClientError::Connection(ConnectionError::Closed { address, .. }) => format!("closed {address}"),
        ClientError::Connection(ConnectionError::TimedOut { address, .. }) => format!("late {address}"),
        ClientError::Advertised { advertised, .. } => format!("advertised {advertised}"),
        ClientError::NoBroker { .. } => "no broker".to_owned(),
        ClientError::NoLeader { .. } => "no leader".to_owned(),
        _ => "other".to_owned(),
    }
}
