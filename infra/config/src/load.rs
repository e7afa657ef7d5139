//! Flags before environment before file before default.

use crate::check::check;
use crate::settings::{SETTINGS, Settings};
use crate::value::ValueError;
use std::collections::BTreeMap;
use std::path::Path;

const PREFIX: &str = "STRANDLINE_";
/// Read by the command line itself or by the test suites, not settings of a node.
const NOT_SETTINGS: [&str; 4] = ["STRANDLINE_CONFIG", "STRANDLINE_BOOTSTRAP", "STRANDLINE_BIN", "STRANDLINE_CACHE"];

/// Whether it is meant for a node. Kubernetes tells each pod where a Service is whose name begins with `strandline`, in variables of its own.
fn is_setting(variable: &str, value: &str) -> bool {
    let is_address = value.starts_with("tcp://") || value.starts_with("udp://");
    let of_service = |name: &str| {
        (name.ends_with("PORT") && is_address)
            || (name.contains("PORT_") && (name.contains("_TCP") || name.contains("_UDP")))
            || name.ends_with("SERVICE_HOST")
            || name.contains("SERVICE_PORT")
    };
    !NOT_SETTINGS.contains(&variable) && variable.strip_prefix(PREFIX).is_some_and(|name| !of_service(name))
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(String),
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A value from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag's name, without its dashes: the setting's own, or `set`.
    pub name: &'static str,
    /// Which setting.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// The settings with their origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// Where each came from, by key.
    pub origins: BTreeMap<&'static str, Origin>,
}

impl Loaded {
    /// Every value with its origin, as TOML that could be a file.
    pub fn print(&self) -> String {
        let lines = SETTINGS.iter().map(|setting| {
            let value = self.settings.get(setting.key).unwrap_or_default();
            // `064` is a text in a file, too: TOML has no such number.
            let is_number = value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
            let bare = is_number || value == "true" || value == "false";
            let value = if bare { value } else { toml::Value::from(value).to_string() };
            let origin = self.origins.get(setting.key).unwrap_or(&Origin::Default);
            let line = format!("{} = {value}", setting.key);
            format!("# {}\n{line:<60} # {origin}\n", setting.doc.trim())
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Why the settings could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {source}")]
    Read {
        /// Its path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not valid TOML: {message}")]
    Syntax {
        /// Its path.
        path: String,
        /// Where and what.
        message: String,
    },
    /// A key that no setting has.
    #[error("{origin}: there is no setting `{key}`{hint}; `strandline run --print-config` lists them all")]
    Unknown {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// A likely correction.
        hint: String,
    },
    /// A value that its setting does not take.
    #[error("{origin}: the setting `{key}`: {source}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The setting.
        key: String,
        /// What is wrong.
        source: ValueError,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Together(String),
}

/// Puts the settings together. `environment` is all of it; what does not begin with `STRANDLINE_` is passed over. A
/// later flag wins over an earlier one.
///
/// # Errors
/// The first thing that is wrong, with where it stands and what to do.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Loaded, ConfigFileError> {
    let mut loaded = Loaded { settings: Settings::default(), origins: BTreeMap::new() };
    if let Some(path) = file {
        let path_text = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigFileError::Read { path: path_text.clone(), source })?;
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigFileError::Syntax { path: path_text.clone(), message: error.to_string() })?;
        for (key, value) in table {
            let text = match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            set(&mut loaded, &key, &text, Origin::File(path_text.clone()))?;
        }
    }
    let own = environment.filter(|(name, value)| is_setting(name, value));
    for (name, value) in own.collect::<BTreeMap<_, _>>() {
        let key = name[PREFIX.len()..].to_ascii_lowercase();
        set(&mut loaded, &key, &value, Origin::Environment(name))?;
    }
    for Flag { name, key, value } in flags {
        set(&mut loaded, key, value, Origin::Flag((*name).to_owned()))?;
    }
    check(&loaded)?;
    Ok(loaded)
}

fn set(loaded: &mut Loaded, key: &str, text: &str, origin: Origin) -> Result<(), ConfigFileError> {
    match loaded.settings.set(key, text) {
        None => Err(ConfigFileError::Unknown { origin, key: key.to_owned(), hint: hint_for_setting(key) }),
        Some(Err(source)) => Err(ConfigFileError::Value { origin, key: key.to_owned(), source: source.of_setting(key) }),
        Some(Ok(())) => {
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
                loaded.origins.insert(setting.key, origin);
            }
            Ok(())
        }
    }
}

/// For messages: the setting that is spelt almost so, if there is one.
pub fn hint_for_setting(key: &str) -> String {
    let near = nearest(key, SETTINGS.iter().map(|setting| setting.key));
    near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default()
}

/// The name that is spelt almost so, if there is one. A third of a name that is wrong is another name.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, near) = known.map(|known| (distance(name, known), known)).min()?;
    (distance * 3 <= near.len()).then_some(near)
}

fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (to, y) in b.bytes().enumerate() {
            let keep = if x == y { before } else { before + 1 };
            before = row[to + 1];
            row[to + 1] = keep.min(row[to] + 1).min(row[to + 1] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
    }

    fn flag(key: &'static str, value: &str) -> Flag {
        Flag { name: key, key, value: value.to_owned() }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_nearer_source_wins_and_is_named() {
        let file = file("listen = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\ndefault_partitions = 3\n");
        let loaded = load(
            Some(file.path()),
            environment(&[("STRANDLINE_HTTP", "127.0.0.1:4"), ("STRANDLINE_LISTEN", "127.0.0.1:5"), ("HOME", "/")]),
            &[flag("listen", "127.0.0.1:6"), Flag { name: "set", ..flag("auto_create_topics", "false") }],
        )
        .unwrap();
        assert_eq!(loaded.settings.listen, "127.0.0.1:6");
        assert_eq!(loaded.settings.http.as_deref(), Some("127.0.0.1:4"));
        assert_eq!(loaded.settings.default_partitions, 3);
        assert_eq!(loaded.origins["listen"].to_string(), "flag --listen");
        assert_eq!(loaded.origins["http"].to_string(), "environment STRANDLINE_HTTP");
        assert_eq!(loaded.origins["auto_create_topics"].to_string(), "flag --set");
        let printed = loaded.print();
        assert!(printed.contains("# flag --listen") && printed.contains("# default"), "{printed}");
        // What is printed is a file again.
        let again = self::file(&printed);
        assert_eq!(load(Some(again.path()), environment(&[]), &[]).unwrap().settings, loaded.settings);
    }

    #[test]
    fn texts_that_look_like_numbers_are_printed_as_texts() {
        for folder in ["064", "-0", "+7", "0x10", "1e3", "true", "12", "inf", "1979-05-27"] {
            let loaded = load(None, environment(&[]), &[flag("data", folder)]).unwrap();
            let again = file(&loaded.print());
            assert_eq!(load(Some(again.path()), environment(&[]), &[]).unwrap().settings, loaded.settings, "{folder}");
        }
    }

    #[test]
    fn what_is_misspelt_is_an_error_that_says_what_to_do() {
        let file = file("listn = \"x\"");
        let error = load(Some(file.path()), environment(&[]), &[]).unwrap_err().to_string();
        assert!(error.contains("no setting `listn`") && error.contains("did you mean `listen`?"), "{error}");
        let error = load(None, environment(&[("STRANDLINE_NONSENSE", "1")]), &[]).unwrap_err().to_string();
        assert!(error.contains("STRANDLINE_NONSENSE") && !error.contains("did you mean"), "{error}");
        assert!(!hint_for_setting("tls").contains("did you mean"));
        let of_a_service = [
            "STRANDLINE_PORT",
            "STRANDLINE_PORT_9092_TCP_ADDR",
            "STRANDLINE_SERVICE_HOST",
            "STRANDLINE_SERVICE_PORT_KAFKA",
            "STRANDLINE_HTTP_PORT",
        ];
        assert!(load(None, environment(&of_a_service.map(|name| (name, "tcp://10.0.0.1:9092"))), &[]).is_ok());
        let error = load(None, environment(&[("STRANDLINE_DEFAULT_PARTITIONS", "many")]), &[]).unwrap_err().to_string();
        assert!(error.contains("`many` is not a whole number"), "{error}");
        for (key, value, said) in [
            ("min_free_bytes", "2GiB", "a whole number of bytes"),
            ("min_free_bytes", "99999999999999999999", "out of range"),
            ("min_free_bytes", "-1", "a whole number of bytes"),
            ("default_replication_factor", "40000", "out of range"),
        ] {
            let error = load(None, environment(&[]), &[flag(key, value)]).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(&format!("flag --{key}")), "{error}");
        }
        assert!(load(None, environment(&[]), &[flag("listen", "0.0.0.0:9092")]).unwrap_err().to_string().contains("--advertise"));
        assert!(load(None, environment(&[]), &[flag("listen", "9092")]).unwrap_err().to_string().contains("HOST:PORT"));
        assert!(load(None, environment(&[]), &[flag("default_partitions", "0")]).is_err());
        let broken = self::file("listen = ");
        assert!(matches!(load(Some(broken.path()), environment(&[]), &[]), Err(ConfigFileError::Syntax { .. })));
        assert!(matches!(load(Some(Path::new("/nowhere.toml")), environment(&[]), &[]), Err(ConfigFileError::Read { .. })));
    }
}
