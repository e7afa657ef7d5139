//! How `consume` prints a record.

use super::parse::unescape;
use serde_json::{Value, json};
use strandline_types::{HeaderRef, RecordRef};

/// A format that was chosen on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// The value and a new line; the key before it if a separator is set.
    Text { key_separator: Option<String> },
    /// One JSON object a line, with headers.
    Json,
    /// A template with `%` places.
    Template(String),
}

impl Format {
    pub(super) fn template(text: &str) -> Self {
        Self::Template(unescape(text))
    }

    /// Appends the record.
    pub(super) fn write(&self, topic: &str, partition: i32, record: &RecordRef<'_>, output: &mut Vec<u8>) {
        match self {
            Self::Text { key_separator } => {
                if let Some(separator) = key_separator {
                    output.extend_from_slice(record.key.unwrap_or(b"null"));
                    output.extend_from_slice(separator.as_bytes());
                }
                output.extend_from_slice(record.value.unwrap_or(b"null"));
                output.push(b'\n');
            }
            Self::Json => {
                output.extend_from_slice(as_json(topic, partition, record).to_string().as_bytes());
                output.push(b'\n');
            }
            Self::Template(template) => fill(template, topic, partition, record, output),
        }
    }
}

fn as_json(topic: &str, partition: i32, record: &RecordRef<'_>) -> Value {
    json!({
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": text_or_hex(record.key),
        "value": text_or_hex(record.value),
        "headers": record.headers.iter().map(|header| json!([header.key, text_or_hex(header.value)])).collect::<Vec<_>>(),
    })
}

/// Text as a string; other bytes as `{"hex": …}`, so that the two cannot be taken for one another.
fn text_or_hex(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::from(text),
        Some((bytes, Err(_))) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

fn fill(template: &str, topic: &str, partition: i32, record: &RecordRef<'_>, output: &mut Vec<u8>) {
    let mut rest = template.chars();
    while let Some(next) = rest.next() {
        let place = if next == '%' { rest.next() } else { None };
        match place {
            None => output.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes()),
            Some('t') => output.extend_from_slice(topic.as_bytes()),
            Some('p') => output.extend_from_slice(partition.to_string().as_bytes()),
            Some('o') => output.extend_from_slice(record.offset.to_string().as_bytes()),
            Some('T') => output.extend_from_slice(record.timestamp_ms.to_string().as_bytes()),
            Some('k') => output.extend_from_slice(record.key.unwrap_or(b"null")),
            Some('v' | 's') => output.extend_from_slice(record.value.unwrap_or(b"null")),
            Some('K') => output.extend_from_slice(length(record.key).as_bytes()),
            Some('V' | 'S') => output.extend_from_slice(length(record.value).as_bytes()),
            Some('h') => headers(record.headers, output),
            Some('%') => output.push(b'%'),
            Some(other) => {
                output.push(b'%');
                output.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}

/// -1 is null, as in Kafka.
fn length(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.len().to_string())
}

fn headers(headers: &[HeaderRef<'_>], output: &mut Vec<u8>) {
    for (index, header) in headers.iter().enumerate() {
        if index > 0 {
            output.push(b',');
        }
        output.extend_from_slice(header.key.as_bytes());
        output.push(b'=');
        output.extend_from_slice(header.value.unwrap_or(b"null"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_types::TimestampType;

    fn written(format: &Format) -> String {
        let headers = [HeaderRef { key: "a", value: Some(b"1") }, HeaderRef { key: "b", value: None }];
        let record = RecordRef {
            offset: 7,
            timestamp_ms: 1_000,
            timestamp_type: TimestampType::Create,
            key: None,
            value: Some(b"v\"\n"),
            headers: &headers,
        };
        let mut output = Vec::new();
        format.write("topic", 3, &record, &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn each_format_says_what_it_should() {
        assert_eq!(written(&Format::Text { key_separator: None }), "v\"\n\n");
        assert_eq!(written(&Format::Text { key_separator: Some(":".into()) }), "null:v\"\n\n");
        let json: Value = serde_json::from_str(&written(&Format::Json)).unwrap();
        assert_eq!(json["value"], "v\"\n");
        assert_eq!(json["headers"], json!([["a", "1"], ["b", null]]));
        assert_eq!(
            written(&Format::template(r"%t/%p@%o %T %K %V [%h] %k 100%% %q\n")),
            "topic/3@7 1000 -1 3 [a=1,b=null] null 100% %q\n"
        );
        assert_eq!(text_or_hex(Some(&[0xff, 1])), json!({"hex": "ff01"}));
    }
}
