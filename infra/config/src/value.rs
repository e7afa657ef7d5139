//! How one value is written and read.

use std::path::PathBuf;

/// A value that is not what its setting takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {expected}")]
pub struct ValueError {
    /// What was given.
    pub value: String,
    /// What is taken.
    pub expected: &'static str,
}

/// A type that a setting can have.
pub(crate) trait Value: Sized {
    /// What people are told it takes.
    const EXPECTED: &'static str;

    fn parse(text: &str) -> Option<Self>;
    fn show(&self) -> String;

    fn read(text: &str) -> Result<Self, ValueError> {
        Self::parse(text).ok_or_else(|| ValueError { value: text.to_owned(), expected: Self::EXPECTED })
    }
}

macro_rules! plain {
    ($($type:ty: $expected:literal;)*) => {
        $(impl Value for $type {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        })*
    };
}

plain! {
    bool: "true or false";
    u16: "a whole number from 0 to 65535";
    i16: "a whole number";
    i32: "a whole number";
    u64: "a whole number, not negative";
}

impl Value for String {
    const EXPECTED: &'static str = "text";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl<T: Value> Value for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::parse(text).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map(Value::show).unwrap_or_default()
    }
}
