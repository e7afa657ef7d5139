//! `docs/topic-configs.md` and the table agree. `STRANDLINE_BLESS=1` writes the page anew.

use std::path::Path;
use strandline_topic_config::{ConfigDefinition, DEFINITIONS};

const HEAD: &str = "\
# Topic configurations

Every topic configuration of Kafka 4.2 is accepted, validated by Kafka's rules, kept, and reported exactly. Those in the
first table change what Strandline does; those in the second are kept for the tools that set them and read them back
(Streams, Connect, MirrorMaker, Schema Registry). An unknown name is refused with INVALID_CONFIG.

Defaults are constants, the same on every node. A value can be set when a topic is created and changed at any time; a change
of the latency class, of limits and of retention takes effect at once, one of a format only before the topic's first
conversion.

";

fn rows(page: &mut String, definitions: impl Iterator<Item = &'static ConfigDefinition>) {
    page.push_str("| name | type | default | what it does |\n| --- | --- | --- | --- |\n");
    for definition in definitions {
        let default = match definition.default {
            None => "null".to_owned(),
            Some("") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let kind = definition.kind.as_str().to_lowercase();
        page.push_str(&format!("| `{}` | {kind} | {default} | {} |\n", definition.name, definition.doc));
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## Those that act\n\n");
    rows(&mut page, DEFINITIONS.iter().filter(|definition| definition.acts));
    page.push_str("\n## Those that are kept\n\n");
    rows(&mut page, DEFINITIONS.iter().filter(|definition| !definition.acts && !definition.internal));
    page
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/topic-configs.md");
    if std::env::var_os("STRANDLINE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "docs/topic-configs.md differs from the table: run this test with STRANDLINE_BLESS=1");
}
