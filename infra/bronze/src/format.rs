//! Text or bytes. JSON in a binary column answers `kafka_value->>'$.id'` with NULL and no error, so text lies in
//! the `_text` columns and bytes in the others, never both. A topic's preference is decided once and held in the index.

use serde::{Deserialize, Serialize};

/// A topic's setting, `strandline.key.format` and `strandline.value.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Decided from the records of the first conversion.
    #[default]
    Auto,
    /// Text where a value is text.
    Text,
    /// Always bytes.
    Binary,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// What is valid UTF-8 without NUL goes to the `_text` column, the rest stays bytes.
    Text,
    /// Everything goes to the bytes column: a binary long can be valid UTF-8 by chance.
    Binary,
}

impl Preference {
    /// `bytes` as text, if they go to the `_text` column.
    pub(crate) fn text(self, bytes: &[u8]) -> Option<&str> {
        match self {
            Preference::Text => as_text(bytes),
            Preference::Binary => None,
        }
    }
}

/// Below this the standard library's check is the faster one.
const SHORT: usize = 64;

/// `bytes` if they are UTF-8 without NUL.
pub(crate) fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = if bytes.len() < SHORT { std::str::from_utf8(bytes).ok() } else { simdutf8::basic::from_utf8(bytes).ok() };
    // Readers written in C end a string at NUL. The least byte is found by vectors, a search for one is not.
    text.filter(|text| text.bytes().fold(u8::MAX, u8::min) > 0)
}

/// Decides a topic's preference at its first conversion, from the keys or values at hand (nulls say nothing).
/// `auto` is text if every value is text. Without one value it is text, too: what is not text stays bytes anyway.
pub fn decide_format<'a>(format: Format, mut sample: impl Iterator<Item = Option<&'a [u8]>>) -> Preference {
    let text = match format {
        Format::Text => true,
        Format::Binary => false,
        Format::Auto => sample.all(|bytes| bytes.is_none_or(|bytes| as_text(bytes).is_some())),
    };
    if text { Preference::Text } else { Preference::Binary }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_decided_from_what_is_there() {
        let decide = |values: &[Option<&[u8]>]| decide_format(Format::Auto, values.iter().copied());
        assert_eq!(decide(&[Some(b"{}"), None, Some(b"")]), Preference::Text);
        assert_eq!(decide(&[]), Preference::Text);
        assert_eq!(decide(&[Some(b"{}"), Some(b"\xff")]), Preference::Binary);
        assert_eq!(decide(&[Some(b"a\0b")]), Preference::Binary);
        assert_eq!(decide_format(Format::Text, [Some(&b"\xff"[..])].into_iter()), Preference::Text);
        assert_eq!(decide_format(Format::Binary, [Some(&b"{}"[..])].into_iter()), Preference::Binary);
        assert_eq!(Preference::Text.text("größe".as_bytes()), Some("größe"));
        assert_eq!(Preference::Text.text(b"\xff"), None);
        assert_eq!(Preference::Text.text(b"\0"), None);
        assert_eq!(Preference::Binary.text(b"a"), None);
    }
}
