//! What AlterConfigs may do to a list (KIP-339).

use crate::definition::ConfigType;
use crate::error::ConfigError;
use crate::table::definition;
use crate::value::split;

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
/// An unknown name, or one that is not a list. The result is not validated yet.
pub fn append(name: &str, current: &str, added: &str) -> Result<String, ConfigError> {
    check_list(name)?;
    let mut elements = split(current);
    for element in split(added) {
        if !elements.contains(&element) {
            elements.push(element);
        }
    }
    Ok(elements.join(","))
}

/// The list without the elements of `removed`.
///
/// # Errors
/// As [`append`].
pub fn subtract(name: &str, current: &str, removed: &str) -> Result<String, ConfigError> {
    check_list(name)?;
    let removed = split(removed);
    Ok(split(current).into_iter().filter(|element| !removed.contains(element)).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
