//! CloudEvents in Kafka's binary mode: attributes are headers named `ce_<attribute>`, and `content-type` (CloudEvents
//! Kafka protocol binding 1.0, section 3.2). Of a repeated header the last wins; the headers column keeps all.

use crate::calendar::rfc3339_us;
use crate::format::as_text;
use strandline_types::HeaderRef;

/// How many attributes have a text column.
pub const TEXT_ATTRIBUTES: usize = 7;

/// The attributes of one record.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// specversion, id, source, type, subject, datacontenttype, dataschema, in the order of their columns; what is not text is left out.
    pub text: [Option<&'a str>; TEXT_ATTRIBUTES],
    /// time, in microseconds; what does not fit is left out.
    pub time_us: Option<i64>,
}

/// What a header is to CloudEvents.
enum Attribute {
    Text(usize),
    Time,
}

fn attribute(key: &str) -> Option<Attribute> {
    let text = match key.strip_prefix("ce_") {
        Some("specversion") => 0,
        Some("id") => 1,
        Some("source") => 2,
        Some("type") => 3,
        Some("subject") => 4,
        Some("time") => return Some(Attribute::Time),
        Some("dataschema") => 6,
        None if key == "content-type" => 5,
        _ => return None,
    };
    Some(Attribute::Text(text))
}

/// The attributes in these headers. None if no header is one, so that most topics pay nothing.
pub fn attributes<'a>(headers: &[HeaderRef<'a>]) -> Option<Attributes<'a>> {
    let mut found = None;
    for header in headers {
        let Some(attribute) = attribute(header.key) else { continue };
        let attributes: &mut Attributes<'a> = found.get_or_insert_default();
        let text = header.value.and_then(as_text);
        match attribute {
            Attribute::Text(at) => attributes.text[at] = text,
            Attribute::Time => attributes.time_us = text.and_then(rfc3339_us),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(key: &'a str, value: Option<&'a [u8]>) -> HeaderRef<'a> {
        HeaderRef { key, value }
    }

    #[test]
    fn the_last_of_a_repeated_header_wins() {
        let headers = [
            header("ce_id", Some(b"1")),
            header("ce_source", Some(b"/vehicles")),
            header("ce_id", Some(b"2")),
            header("ce_time", Some(b"1970-01-01T00:00:01Z")),
            header("content-type", Some(b"application/json")),
            header("ce_datacontenttype", Some(b"not an attribute's header")),
            header("ce_type", Some(b"\xff")),
            header("ce_subject", None),
        ];
        let found = attributes(&headers).unwrap();
        assert_eq!(found.text, [None, Some("2"), Some("/vehicles"), None, None, Some("application/json"), None]);
        assert_eq!(found.time_us, Some(1_000_000));
        let later = [header("ce_time", Some(b"1970-01-01T00:00:01Z")), header("ce_time", Some(b"yesterday"))];
        assert_eq!(attributes(&later).unwrap().time_us, None);
        assert_eq!(attributes(&[header("traceparent", None)]), None);
    }
}
