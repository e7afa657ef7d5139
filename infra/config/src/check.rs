//! What no single value's type says: addresses, bounds, and values that do not go together.

use crate::load::{ConfigFileError, Loaded};
use std::net::IpAddr;
use strandline_types::limits::{NODE_HOST_BYTES, NODE_ZONE_BYTES, PARTITIONS_PER_TOPIC};

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Looks at all settings together.
pub(crate) fn check(loaded: &Loaded) -> Result<(), ConfigFileError> {
    let settings = &loaded.settings;
    let wrong = |key: &str, message: String| {
        let origin = loaded.origins.get(key).map(|origin| format!("{origin}: ")).unwrap_or_default();
        Err(ConfigFileError::Together(format!("{origin}{message}")))
    };
    let listen = &settings.listen;
    for (key, address) in [("listen", Some(listen)), ("advertise", settings.advertise.as_ref()), ("http", settings.http.as_ref())]
    {
        let Some(address) = address else { continue };
        if host_and_port(address).is_none() {
            return wrong(
                key,
                format!(
                    "the setting `{key}` is `{address}`, which is not HOST:PORT, such as broker.example.org:9092 (no `PLAINTEXT://`, no `*`)"
                ),
            );
        }
    }
    if is_any(listen) && settings.advertise.is_none() {
        return wrong(
            "listen",
            format!(
                "listening on {listen} needs --advertise HOST:PORT: clients are told to connect there, and every machine calls {listen} itself"
            ),
        );
    }
    if let Some(advertise) = &settings.advertise
        && (is_any(advertise) || host_and_port(advertise).is_some_and(|(_, port)| port == 0))
    {
        return wrong(
            "advertise",
            format!("the setting `advertise` is `{advertise}`, to which no client can connect: name this machine and its port"),
        );
    }
    let advertised = settings.advertise.as_ref().unwrap_or(listen);
    if host_and_port(advertised).is_some_and(|(host, _)| host.len() > NODE_HOST_BYTES) {
        let key = if settings.advertise.is_some() { "advertise" } else { "listen" };
        return wrong(
            key,
            format!("the setting `{key}` has a host of more than {NODE_HOST_BYTES} bytes, which no host's name has"),
        );
    }
    if settings.zone.len() > NODE_ZONE_BYTES {
        let bytes = settings.zone.len();
        return wrong("zone", format!("the setting `zone` has {bytes} bytes, and a zone's name has {NODE_ZONE_BYTES} at most"));
    }
    if let Some(http) = &settings.http
        && overlap(http, listen)
    {
        let key = if loaded.origins.contains_key("http") { "http" } else { "listen" };
        return wrong(
            key,
            format!(
                "the settings `listen` ({listen}) and `http` ({http}) name the same port: give one of them another with --listen or --http"
            ),
        );
    }
    if settings.default_partitions < 1 || settings.default_partitions > PARTITIONS_PER_TOPIC {
        return wrong(
            "default_partitions",
            format!(
                "`default_partitions` is {}; a topic has 1 to {PARTITIONS_PER_TOPIC} partitions",
                settings.default_partitions
            ),
        );
    }
    if settings.default_replication_factor < 1 {
        return wrong(
            "default_replication_factor",
            format!("`default_replication_factor` is {}, less than 1", settings.default_replication_factor),
        );
    }
    match bad_directive(&settings.log) {
        Some(part) => wrong(
            "log",
            format!(
                "the setting `log` is `{}`, and `{part}` is no level ({}) nor PART=LEVEL: try `info`, or `info,strandline=debug`",
                settings.log,
                LEVELS.join(", ")
            ),
        ),
        None => Ok(()),
    }
}

/// The two parts of an address as settings have it; none if it is none.
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(['/', '*', ' ']))?;
    // Else the end of an address of IPv6 passes for a port.
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

/// Whether it stands for every address of the machine.
fn is_any(address: &str) -> bool {
    host_and_port(address).is_some_and(|(host, _)| host_is_any(host))
}

fn host_is_any(host: &str) -> bool {
    host == "0" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}

/// Whether listening on the one takes the other, too.
fn covers(host: &str, other: &str) -> bool {
    host_is_any(host) && (host.contains(':') || !other.starts_with('['))
}

/// Whether both cannot be listened on. Names are not looked up: two for one address are found when the node starts.
fn overlap(one: &str, other: &str) -> bool {
    match (host_and_port(one), host_and_port(other)) {
        (Some((host, port)), Some((another, same))) => {
            port == same && port != 0 && (host == another || covers(host, another) || covers(another, host))
        }
        _ => false,
    }
}

/// The first part of a filter that would silence everything else: a word that is no level is taken for a part of the
/// program, of which all lines are wanted and of others none.
fn bad_directive(filter: &str) -> Option<&str> {
    let is_number = |level: &str| level.trim().parse().is_ok_and(|level: u8| level <= 5);
    let is_level = |level: &str| LEVELS.iter().any(|known| level.trim().eq_ignore_ascii_case(known)) || is_number(level);
    // Spans and fields have commas of their own; the filter's own parser looks at them.
    if filter.contains('[') {
        return None;
    }
    if filter.trim().is_empty() {
        return Some(filter);
    }
    filter
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .find(|part| !is_level(part.rsplit_once('=').map_or(*part, |(_, level)| level)))
}

#[cfg(test)]
mod tests {
    use crate::{Flag, load};
    use strandline_types::limits::{NODE_HOST_BYTES, NODE_ZONE_BYTES, PARTITIONS_PER_TOPIC};

    fn refusal(flags: &[(&'static str, &str)]) -> Option<String> {
        let flags: Vec<Flag> = flags.iter().map(|(key, value)| Flag { name: key, key, value: (*value).to_owned() }).collect();
        load(None, std::iter::empty(), &flags).err().map(|error| error.to_string())
    }

    #[test]
    fn names_that_the_cell_would_refuse_are_refused_here() {
        for (key, most) in [("zone", NODE_ZONE_BYTES), ("advertise", NODE_HOST_BYTES)] {
            let of = |bytes: usize| match key {
                "zone" => "z".repeat(bytes),
                _ => format!("{}:9092", "h".repeat(bytes)),
            };
            assert_eq!(refusal(&[(key, of(most).as_str())]), None);
            let error = refusal(&[(key, of(most + 1).as_str())]).unwrap_or_default();
            assert!(error.starts_with(&format!("flag --{key}: ")) && error.contains(&most.to_string()), "{error}");
        }
    }

    #[test]
    fn whatever_is_wrong_with_the_number_of_partitions_the_bound_of_a_topic_is_named() {
        let most = PARTITIONS_PER_TOPIC.to_string();
        for number in ["many", "", "1.5", "-1", "0", "100001", "2147483647", "2147483648"] {
            let error = refusal(&[("default_partitions", number)]).unwrap_or_default();
            assert!(error.contains(&format!("1 to {most}")), "{number}: {error}");
            assert!(!error.replace(number, "").contains("2147483647"), "{number}: {error}");
        }
        assert_eq!(refusal(&[("default_partitions", most.as_str())]), None);
    }

    #[test]
    fn a_filter_that_would_silence_all_is_refused() {
        for log in ["bogus", "", "strandline=loud", "strandline", "info,strandline", "7"] {
            let error = refusal(&[("log", log)]).unwrap_or_default();
            assert!(error.starts_with("flag --log: ") && error.contains("info,strandline=debug"), "{log}: {error}");
        }
        for log in [
            "info",
            "WARN",
            "off",
            "info,",
            "2",
            "strandline=debug",
            "strandline=3",
            "info,strandline_ingest::wal=trace",
            "[span{field=1}]=debug",
        ] {
            assert_eq!(refusal(&[("log", log)]), None, "{log}");
        }
    }

    #[test]
    fn addresses_that_cannot_work_are_refused_and_say_which() {
        for advertise in ["0.0.0.0:9092", "[::]:9092", "example.org:0"] {
            let error = refusal(&[("advertise", advertise)]).unwrap_or_default();
            assert!(error.starts_with("flag --advertise: ") && error.contains(advertise), "{error}");
        }
        for listen in ["0:9092", "[::0]:9092"] {
            let error = refusal(&[("listen", listen)]).unwrap_or_default();
            assert!(error.starts_with("flag --listen: ") && error.contains("--advertise"), "{error}");
        }
        for address in ["PLAINTEXT://b:9092", "http://127.0.0.1:9092", "*:9092", "a b:9092", ":9092", "9092", "::1", "::1:9092"] {
            let error = refusal(&[("listen", address)]).unwrap_or_default();
            assert!(error.starts_with("flag --listen: ") && error.contains("not HOST:PORT"), "{error}");
        }
        let error = refusal(&[("http", "127.0.0.1:9092")]).unwrap_or_default();
        assert!(error.contains("`listen`") && error.contains("`http`") && error.contains("127.0.0.1:9092"), "{error}");
        let error = refusal(&[("listen", "0.0.0.0:9644"), ("advertise", "example.org:9644")]).unwrap_or_default();
        assert!(error.starts_with("flag --listen: ") && error.contains("0.0.0.0:9644"), "{error}");
        let error = refusal(&[("listen", "0:9644"), ("advertise", "example.org:9644")]).unwrap_or_default();
        assert!(error.starts_with("flag --listen: ") && error.contains("0:9644"), "{error}");
        assert_eq!(refusal(&[("listen", "127.0.0.1:0"), ("http", "127.0.0.1:0")]), None);
        assert_eq!(refusal(&[("listen", "[::1]:9092"), ("http", "0.0.0.0:9092")]), None, "of two families");
    }
}
