//! What AlterConfigs may do to a list (KIP-339).

use crate::definition::ConfigType;
use crate::error::ConfigError;
use crate::table::definition;
use crate::value::{check_length, split};
use std::collections::BTreeSet;

fn check_list(name: &str) -> Result<(), ConfigError> {
    let definition = definition(name).ok_or_else(|| ConfigError::Unknown { name: name.to_owned() })?;
    if definition.kind == ConfigType::List { Ok(()) } else { Err(ConfigError::NotAList { name: name.to_owned() }) }
}

/// A list with nothing around its elements, as [`append`] and [`subtract`] compare them: what goes by bytes afterwards takes it so.
pub fn elements(value: &str) -> String {
    split(value).join(",")
}

/// The list with the elements of `added` that it lacks.
///
/// # Errors
/// An unknown name, or one that is not a list, or more than a value may have. The result is not validated yet.
pub fn append(name: &str, current: &str, added: &str) -> Result<String, ConfigError> {
    check_list(name)?;
    check_length(name, added)?;
    let mut elements = split(current);
    let mut known: BTreeSet<&str> = elements.iter().copied().collect();
    elements.extend(split(added).into_iter().filter(|&element| known.insert(element)));
    Ok(elements.join(","))
}

/// The list without the elements of `removed`.
///
/// # Errors
/// As [`append`].
pub fn subtract(name: &str, current: &str, removed: &str) -> Result<String, ConfigError> {
    check_list(name)?;
    check_length(name, removed)?;
    let removed: BTreeSet<&str> = split(removed).into_iter().collect();
    Ok(split(current).into_iter().filter(|element| !removed.contains(element)).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::normalize;
    use strandline_types::limits::CONFIG_VALUE_BYTES;

    const REPLICAS: &str = "leader.replication.throttled.replicas";

    #[test]
    fn elements_are_those_that_are_checked() {
        for value in ["compact", " compact", "delete, compact ", "delete ,compact", ""] {
            assert_eq!(append("cleanup.policy", "", value), Ok(elements(value)));
        }
    }

    #[test]
    fn elements_are_added_once_and_taken_out() {
        assert_eq!(append("cleanup.policy", "delete", "compact, delete").as_deref(), Ok("delete,compact"));
        assert_eq!(append("cleanup.policy", "", "compact").as_deref(), Ok("compact"));
        assert_eq!(subtract("cleanup.policy", "delete,compact", "delete").as_deref(), Ok("compact"));
        assert_eq!(subtract("cleanup.policy", "delete", "delete").as_deref(), Ok(""));
        assert!(matches!(append("retention.ms", "1", "2"), Err(ConfigError::NotAList { .. })));
        assert!(matches!(subtract("nope", "1", "2"), Err(ConfigError::Unknown { .. })));
        assert_eq!(append(REPLICAS, "0:1,0:1", "1:1,0:1,1:1").as_deref(), Ok("0:1,0:1,1:1"), "what was there twice stays so");
        assert_eq!(subtract(REPLICAS, "0:1,1:1,0:1", "0:1").as_deref(), Ok("1:1"));
    }

    #[test]
    fn a_value_has_a_bound_given_and_as_a_result() {
        let longest = vec!["0:1"; CONFIG_VALUE_BYTES.div_ceil(4)].join(",");
        let longer = format!("{longest},");
        assert_eq!(longest.len(), CONFIG_VALUE_BYTES);
        let refused = Err(ConfigError::TooLong { name: REPLICAS.to_owned(), bytes: CONFIG_VALUE_BYTES + 1 });
        assert_eq!(append(REPLICAS, "", &longest).as_deref(), Ok("0:1"));
        assert_eq!(subtract(REPLICAS, "0:1,1:1", &longest).as_deref(), Ok("1:1"));
        assert_eq!(normalize(REPLICAS, &longest).as_ref(), Ok(&longest));
        assert_eq!(append(REPLICAS, "", &longer), refused);
        assert_eq!(subtract(REPLICAS, "", &longer), refused);
        assert_eq!(normalize(REPLICAS, &longer), refused);
        let elements = |from: usize| (from..from + 3_000).map(|n| format!("{n}:1")).collect::<Vec<_>>().join(",");
        let both = append(REPLICAS, &elements(10_000), &elements(20_000)).unwrap();
        assert!(matches!(normalize(REPLICAS, &both), Err(ConfigError::TooLong { .. })), "a value like any other");
    }
}
