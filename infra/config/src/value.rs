//! How one value is written and read.

use std::path::PathBuf;

/// A value that is not what its setting takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Something else altogether.
    #[error("`{value}` is not {expected}")]
    Other {
        /// What was given.
        value: String,
        /// What is taken.
        expected: &'static str,
    },
    /// A number that is too large, or too small.
    #[error("`{value}` is out of range: it takes {expected}")]
    OutOfRange {
        /// What was given.
        value: String,
        /// What is taken.
        expected: &'static str,
    },
}

impl ValueError {
    /// The same in the words of its setting, where that takes less than its type.
    pub(crate) fn of_setting(self, key: &str) -> Self {
        let expected = match key {
            "default_partitions" => "a whole number from 1 to 100000",
            _ if key.ends_with("_bytes") => "a whole number of bytes, such as 2147483648 for 2 GiB",
            _ => return self,
        };
        match self {
            Self::Other { value, .. } => Self::Other { value, expected },
            Self::OutOfRange { value, .. } => Self::OutOfRange { value, expected },
        }
    }
}

/// A type that a setting can have.
pub(crate) trait Value: Sized {
    /// What people are told it takes.
    const EXPECTED: &'static str;
    const IS_NUMBER: bool = false;

    fn parse(text: &str) -> Option<Self>;
    fn show(&self) -> String;

    fn read(text: &str) -> Result<Self, ValueError> {
        Self::parse(text).ok_or_else(|| {
            let (value, expected) = (text.to_owned(), Self::EXPECTED);
            let digits = text.trim().trim_start_matches(['-', '+']);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_number && Self::IS_NUMBER {
                ValueError::OutOfRange { value, expected }
            } else {
                ValueError::Other { value, expected }
            }
        })
    }
}

macro_rules! plain {
    ($($type:ty: $is_number:literal, $expected:literal;)*) => {
        $(impl Value for $type {
            const EXPECTED: &'static str = $expected;
            const IS_NUMBER: bool = $is_number;

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
    bool: false, "true or false";
    u16: true, "a whole number from 0 to 65535";
    i16: true, "a whole number up to 32767";
    i32: true, "a whole number up to 2147483647";
    u64: true, "a whole number, not negative";
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
