//! Values that must agree with each other.

use crate::error::ConfigError;
use crate::names;
use crate::table::definition;
use crate::value::{split, validate};
use std::collections::BTreeMap;

type Configs = BTreeMap<String, String>;

/// Checks all values of a topic: each by its own rule, then those that must agree. Hand in what the topic will have, not
/// the change alone.
///
/// # Errors
/// The first value that is wrong.
pub fn validate_all(configs: &Configs) -> Result<(), ConfigError> {
    for (name, value) in configs {
        validate(name, value)?;
    }
    compaction_lag(configs)?;
    bronze_retention(configs)?;
    remote_storage(configs)
}

fn text<'a>(configs: &'a Configs, name: &str) -> &'a str {
    match configs.get(name) {
        Some(value) => value,
        None => definition(name).and_then(|definition| definition.default).unwrap_or_default(),
    }
}

fn long(configs: &Configs, name: &str) -> i64 {
    text(configs, name).trim().parse().unwrap_or_default()
}

fn is_true(configs: &Configs, name: &str) -> bool {
    text(configs, name).trim().eq_ignore_ascii_case("true")
}

fn conflict(reason: impl Into<String>) -> ConfigError {
    ConfigError::Conflict { reason: reason.into() }
}

fn compaction_lag(configs: &Configs) -> Result<(), ConfigError> {
    let (least, most) = (long(configs, "min.compaction.lag.ms"), long(configs, "max.compaction.lag.ms"));
    if least > most {
        return Err(conflict(format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
        )));
    }
    Ok(())
}

/// A record that consumers can read must have a file: files outlive the log, never the other way round.
fn bronze_retention(configs: &Configs) -> Result<(), ConfigError> {
    let (log, bronze) = (long(configs, names::RETENTION_MS), long(configs, names::BRONZE_RETENTION_MS));
    let shorter = match (log, bronze) {
        (_, -2 | -1) => false,
        (-1, _) => true,
        (log, bronze) => bronze < log,
    };
    if shorter {
        let reason = format!("Value must not be less than retention.ms property value: {log}");
        return Err(ConfigError::invalid(names::BRONZE_RETENTION_MS, bronze.to_string(), reason));
    }
    Ok(())
}

/// Kafka's rules for a tiered topic (KIP-405, KIP-950), so that what it refuses is refused here too.
fn remote_storage(configs: &Configs) -> Result<(), ConfigError> {
    if !is_true(configs, "remote.storage.enable") {
        return Ok(());
    }
    let policy = split(text(configs, names::CLEANUP_POLICY));
    if !policy.iter().all(|element| *element == "delete") {
        return Err(conflict(
            "Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an empty list.",
        ));
    }
    for (local_name, whole_name) in
        [("local.retention.ms", names::RETENTION_MS), ("local.retention.bytes", names::RETENTION_BYTES)]
    {
        let (local, whole) = (long(configs, local_name), long(configs, whole_name));
        if local == -1 && whole != -1 {
            let reason = format!("Value must not be -1 as {whole_name} value is set as {whole}.");
            return Err(ConfigError::invalid(local_name, local.to_string(), reason));
        }
        if whole > -1 && local > whole {
            let reason = format!("Value must not be more than {whole_name} property value: {whole}");
            return Err(ConfigError::invalid(local_name, local.to_string(), reason));
        }
        if is_true(configs, "remote.log.copy.disable") && local != -2 && local != whole {
            return Err(conflict(format!(
                "When `remote.log.copy.disable` is set to true, the `{local_name}` and `{whole_name}` must be set to the identical value because there will be no more logs copied to the remote storage."
            )));
        }
    }
    Ok(())
}
