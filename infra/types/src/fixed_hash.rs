//! Hash maps without random state: the same inserts, the same order, in every run (needed by the simulation).
#![allow(clippy::disallowed_types)] // the one place where the standard maps are named

use std::hash::{BuildHasherDefault, DefaultHasher};

/// A `HashMap` with a fixed hasher. Never iterate over it where order reaches a format or the fold.
pub type FixedHashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A `HashSet` with a fixed hasher.
pub type FixedHashSet<K> = std::collections::HashSet<K, BuildHasherDefault<DefaultHasher>>;
