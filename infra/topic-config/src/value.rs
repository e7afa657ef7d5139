//! One value: parsed as Kafka's `ConfigDef` parses it, checked, and written as Kafka reports it.

use crate::definition::{ConfigDefinition, ConfigType, Rule};
use crate::error::ConfigError;
use crate::table::definition;
use strandline_types::limits::CONFIG_VALUE_BYTES;

const DAY_MS: i64 = 86_400_000;

/// Checks one value by its own type and rule. Values together: [`crate::validate_all`].
///
/// # Errors
/// An unknown name, or a value that breaks the rule.
pub fn validate(name: &str, value: &str) -> Result<(), ConfigError> {
    normalize(name, value).map(drop)
}

/// Checks one value and gives the text that Kafka would report of it (` 5 ` is `5`, `delete , compact` is `delete,compact`).
///
/// # Errors
/// As [`validate`].
pub fn normalize(name: &str, value: &str) -> Result<String, ConfigError> {
    let definition = definition(name).ok_or_else(|| ConfigError::Unknown { name: name.to_owned() })?;
    check_length(name, value)?;
    let trimmed = trim(value);
    match definition.kind {
        ConfigType::Boolean => match trimmed {
            text if text.eq_ignore_ascii_case("true") => Ok("true".to_owned()),
            text if text.eq_ignore_ascii_case("false") => Ok("false".to_owned()),
            _ => Err(ConfigError::invalid(name, value, "Expected value to be either true or false")),
        },
        ConfigType::Int => number(definition, value, trimmed.parse::<i32>().ok().map(i64::from)),
        ConfigType::Short => number(definition, value, trimmed.parse::<i16>().ok().map(i64::from)),
        ConfigType::Long => number(definition, value, trimmed.parse::<i64>().ok()),
        ConfigType::Double => double(definition, value, trimmed),
        ConfigType::List => list(definition, trimmed),
        ConfigType::String | ConfigType::Class | ConfigType::Password => {
            one_of(definition, trimmed)?;
            Ok(trimmed.to_owned())
        }
    }
}

/// Whether a value is short enough to be looked into.
pub(crate) fn check_length(name: &str, value: &str) -> Result<(), ConfigError> {
    if value.len() > CONFIG_VALUE_BYTES {
        Err(ConfigError::TooLong { name: name.to_owned(), bytes: value.len() })
    } else {
        Ok(())
    }
}

/// The elements of a list, as Kafka splits it.
pub(crate) fn split(value: &str) -> Vec<&str> {
    let value = trim(value);
    if value.is_empty() { Vec::new() } else { value.split(',').map(trim).collect() }
}

/// Java's `trim`: everything up to the space.
fn trim(value: &str) -> &str {
    value.trim_matches(|character| character <= ' ')
}

fn not_a_number(definition: &ConfigDefinition, value: &str) -> ConfigError {
    ConfigError::invalid(definition.name, value, format!("Not a number of type {}", definition.kind.as_str()))
}

fn number(definition: &ConfigDefinition, value: &str, parsed: Option<i64>) -> Result<String, ConfigError> {
    let number = parsed.ok_or_else(|| not_a_number(definition, value))?;
    let broken = match definition.rule {
        Rule::AtLeast(least) | Rule::Between(least, _) if number < least => Some(format!("Value must be at least {least}")),
        Rule::Between(_, most) if number > most => Some(format!("Value must be no more than {most}")),
        Rule::BetweenOr(least, most, or) if number != or && !(least..=most).contains(&number) => {
            Some(format!("Value must be between {least} and {most} or equal to {or}"))
        }
        Rule::DividesDayOrAuto(least) if number != -1 && (number < least || DAY_MS % number != 0) => {
            Some(format!("Value must be -1, or at least {least} and divide a day ({DAY_MS}) without a remainder"))
        }
        _ => None,
    };
    match broken {
        Some(reason) => Err(ConfigError::invalid(definition.name, number.to_string(), reason)),
        None => Ok(number.to_string()),
    }
}

fn double(definition: &ConfigDefinition, value: &str, trimmed: &str) -> Result<String, ConfigError> {
    // Java takes a suffix for the type; it also takes NaN, which no rule can mean.
    let digits = trimmed.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(trimmed);
    let number = digits
        .parse::<f64>()
        .ok()
        .filter(|number| !number.is_nan() && digits.starts_with(|first: char| !first.is_ascii_alphabetic()));
    let number = number.ok_or_else(|| not_a_number(definition, value))?;
    if let Rule::Between(least, most) = definition.rule {
        if number < least as f64 {
            return Err(ConfigError::invalid(definition.name, format!("{number:?}"), format!("Value must be at least {least}")));
        }
        if number > most as f64 {
            return Err(ConfigError::invalid(
                definition.name,
                format!("{number:?}"),
                format!("Value must be no more than {most}"),
            ));
        }
    }
    Ok(format!("{number:?}"))
}

fn one_of(definition: &ConfigDefinition, value: &str) -> Result<(), ConfigError> {
    match definition.rule {
        Rule::OneOf(allowed) if !allowed.contains(&value) => {
            Err(ConfigError::invalid(definition.name, value, format!("String must be one of: {}", allowed.join(", "))))
        }
        _ => Ok(()),
    }
}

fn list(definition: &ConfigDefinition, value: &str) -> Result<String, ConfigError> {
    let elements = split(value);
    if definition.rule == Rule::ThrottledReplicas {
        if elements != ["*"] && !elements.iter().all(|element| is_throttled_replica(element)) {
            let reason = format!(
                "{} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                definition.name
            );
            return Err(ConfigError::invalid(definition.name, format!("[{}]", elements.join(", ")), reason));
        }
        return Ok(elements.join(","));
    }
    if elements.contains(&"") {
        return Err(ConfigError::EmptyElement { name: definition.name.to_owned() });
    }
    let mut unique: Vec<&str> = Vec::with_capacity(elements.len());
    for element in elements {
        one_of(definition, element)?;
        if !unique.contains(&element) {
            unique.push(element);
        }
    }
    Ok(unique.join(","))
}

fn is_throttled_replica(element: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    element.is_empty() || element.split_once(':').is_some_and(|(partition, node)| digits(partition) && digits(node))
}
