//! Names of `wal/` and `fresh/` objects: `<seq>-<incarnation>-<n>`, where seq is what the writer had folded
//! when the PUT began and n counts the objects of that incarnation, so that no name is used twice (I8).

use crate::{Incarnation, Seq};
use std::fmt;

/// The part of an object's name that decides about orphans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// What the writer had folded when the PUT began; the fold refuses names below its horizon.
    pub seq: Seq,
    /// The writer.
    pub incarnation: Incarnation,
    /// The writer's own counter of objects, never a commit's n.
    pub n: u64,
}

/// A name that is not `<seq>-<incarnation>-<n>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name of the form SEQ-INCARNATION-N")]
pub struct ObjectNameError(pub String);

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padded, so that a listing is in the order of seq.
        write!(f, "{:020}-{}-{}", self.seq.0, self.incarnation.0, self.n)
    }
}

impl std::str::FromStr for ObjectName {
    type Err = ObjectNameError;

    /// Takes the last path component, with or without `.parquet`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let error = || ObjectNameError(name.to_owned());
        let last = name.rsplit('/').next().unwrap_or(name);
        let stem = last.strip_suffix(".parquet").unwrap_or(last);
        let mut parts = stem.split('-').map(str::parse::<u64>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(seq)), Some(Ok(incarnation)), Some(Ok(n)), None) => {
                Ok(Self { seq: Seq(seq), incarnation: Incarnation(incarnation), n })
            }
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sort_by_seq() {
        let name = ObjectName { seq: Seq(12), incarnation: Incarnation(3), n: 4 };
        assert_eq!(format!("wal/{name}").parse(), Ok(name));
        assert_eq!(format!("fresh/a/b/{name}.parquet").parse(), Ok(name));
        assert!("wal/12-3".parse::<ObjectName>().is_err());
        assert!("wal/12-3-4-5".parse::<ObjectName>().is_err());
        let later = ObjectName { seq: Seq(100), ..name };
        assert!(name.to_string() < later.to_string());
    }
}
