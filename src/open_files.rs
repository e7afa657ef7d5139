//! How many files and sockets the process may have open at once, and how many of them connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strandline_types::limits;

/// What stays for the node itself, of few and of many: the log's files, Parquet that is read and written, HTTP.
const OWN: std::ops::RangeInclusive<u64> = 256..=4_096;
/// So many connections are taken in any case.
const LEAST_CONNECTIONS: u64 = 16;

/// Raises the limit as far as the process may: the usual one, of 1,024, is for programs that could not count further.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// How many connections there is room for. Without descriptors left the log could begin no new file.
pub(crate) fn connections() -> usize {
    let open_files = getrlimit(Resource::Nofile).current;
    let connections = connections_within(open_files);
    if connections < limits::CONNECTIONS {
        // No warning: for most it is plenty all the same.
        tracing::info!(
            open_files,
            connections,
            "the process may open few files, so it takes fewer connections; raise `ulimit -Hn` (systemd: LimitNOFILE=)"
        );
    }
    connections
}

/// None is no limit.
fn connections_within(open_files: Option<u64>) -> usize {
    let Some(open_files) = open_files else { return limits::CONNECTIONS };
    let own = (open_files / 4).clamp(*OWN.start(), *OWN.end());
    let connections = open_files.saturating_sub(own).max(LEAST_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX).min(limits::CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_node_files_of_its_own() {
        let cases =
            [(64, 16), (1_024, 768), (8_192, 6_144), (20_000, 15_904), (24_095, 19_999), (24_096, 20_000), (1 << 40, 20_000)];
        for (open_files, connections) in cases {
            assert_eq!(connections_within(Some(open_files)), connections, "{open_files}");
        }
        assert_eq!(connections_within(None), limits::CONNECTIONS);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit { current: Some(before.maximum.map_or(512, |most| most.min(512))), ..before };
        setrlimit(Resource::Nofile, low).unwrap();
        raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
