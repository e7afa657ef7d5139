//! What a change of a configuration does to a list: the same as ever, and in no square of the time.

mod cell;

use cell::{ID, Player};
use proptest::prelude::*;
use std::time::Duration;
use strandline_commands::{ConfigChange, ConfigOperation, ConfigureTopic};

const NAME: &str = "leader.replication.throttled.replicas";

fn change(operation: ConfigOperation, value: &str, default: &str) -> ConfigureTopic {
    let change =
        ConfigChange { name: NAME.to_owned(), operation: operation as i32, value: value.to_owned(), default: default.to_owned() };
    ConfigureTopic { topic_id: ID.0.to_vec(), replace_all: false, changes: vec![change] }
}

fn list_of(player: &Player) -> &str {
    &player.index.topics[&ID].configs[NAME]
}

/// What becomes of a list; without one, of the default.
fn changed(list: Option<&str>, default: &str, operation: ConfigOperation, value: &str) -> String {
    let mut player = Player::new(2);
    if let Some(list) = list {
        player.done(change(ConfigOperation::Set, list, ""));
    }
    player.done(change(operation, value, default));
    list_of(&player).to_owned()
}

#[test]
fn elements_are_added_and_taken_out() {
    use ConfigOperation::{Append, Subtract};
    assert_eq!(changed(Some("b,a,,b"), "z", Append, "c,a,,c,d"), "b,a,b,c,d");
    assert_eq!(changed(Some("b,a,,b,c"), "z", Subtract, "b,,x"), "a,c");
    assert_eq!(changed(None, "z", Append, "a"), "z,a");
    assert_eq!(changed(None, "z", Subtract, "z"), "");
    assert_eq!(changed(Some(""), "z", Append, ""), "");
}

/// The rule as version 1 of the fold wrote it down, element by element.
fn as_ever(list: &str, operation: ConfigOperation, value: &str) -> String {
    let mut items: Vec<&str> = list.split(',').filter(|item| !item.is_empty()).collect();
    if operation == ConfigOperation::Append {
        for item in value.split(',').filter(|item| !item.is_empty()) {
            if !items.contains(&item) {
                items.push(item);
            }
        }
    } else {
        items.retain(|known| !value.split(',').any(|item| item == *known));
    }
    items.join(",")
}

proptest! {
    #[test]
    fn lists_become_what_they_always_became(
        list in prop::collection::vec(0_usize..5, 0..9),
        value in prop::collection::vec(0_usize..5, 0..9),
    ) {
        let element = |at: usize| ["", "a", "b", " a", "ab"][at];
        let text = |elements: Vec<usize>| elements.into_iter().map(element).collect::<Vec<_>>().join(",");
        let (list, value) = (text(list), text(value));
        for operation in [ConfigOperation::Append, ConfigOperation::Subtract] {
            prop_assert_eq!(changed(Some(&list), "", operation, &value), as_ever(&list, operation, &value));
        }
    }
}

#[test]
fn very_many_elements_take_little_time() {
    let list = (0..200_000).map(|n| format!("{n}:1")).collect::<Vec<_>>().join(",");
    let mut player = Player::new(2);
    #[allow(clippy::disallowed_methods)] // how long it takes is the question
    let began = std::time::Instant::now();
    player.done(change(ConfigOperation::Append, &list, ""));
    assert_eq!(list_of(&player), list);
    player.done(change(ConfigOperation::Append, &list, ""));
    assert_eq!(list_of(&player), list);
    player.done(change(ConfigOperation::Subtract, &list, ""));
    assert_eq!(list_of(&player), "");
    // By squares it is minutes.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
