//! DescribeTopicPartitions goes through topics page by page, and looks at no more of the index than the page takes: nothing is folded
//! while it looks.
#![allow(clippy::unwrap_used)] // a test that fails says so by panicking

mod support;

use std::task::{Context, Poll, Waker};
use strandline_counting_allocator::allocated;
use strandline_wire::ErrorCode;
use strandline_wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use support::{Node, caller, code, topic};

async fn page(node: &Node, names: &[&str], limit: i32, cursor: Option<Cursor>) -> DescribeTopicPartitionsResponse {
    let topics = names.iter().map(|name| TopicRequest { name: (*name).to_owned() }).collect();
    let request = DescribeTopicPartitionsRequest { topics, response_partition_limit: limit, cursor };
    node.cluster.describe_topic_partitions(&caller(), 0, request).await.unwrap()
}

/// Every page: names with what became of them and how many partitions were described.
async fn pages(node: &Node, names: &[&str], limit: i32, mut cursor: Option<Cursor>) -> Vec<Vec<(String, ErrorCode, usize)>> {
    let mut pages = Vec::new();
    loop {
        let answer = page(node, names, limit, cursor).await;
        let described = answer.topics.into_iter().map(|topic| {
            let name = topic.name.unwrap_or_default();
            (name, code(topic.error_code), topic.partitions.len())
        });
        pages.push(described.collect());
        match answer.next_cursor {
            Some(next) => cursor = Some(next),
            None => return pages,
        }
    }
}

/// The same without the codes.
fn of(pages: &[Vec<(String, ErrorCode, usize)>]) -> Vec<Vec<(&str, usize)>> {
    pages.iter().map(|page| page.iter().map(|(name, _, count)| (name.as_str(), *count)).collect()).collect()
}

fn from(topic: &str, partition: i32) -> Option<Cursor> {
    Some(Cursor { topic_name: topic.to_owned(), partition_index: partition })
}

#[tokio::test(start_paused = true)]
async fn pages_follow_one_another_without_a_gap() {
    let node = Node::alone().await;
    let created = node.ask_to_create(7, vec![topic("a", 1), topic("b", 5), topic("c", 1), topic("d", 2)], false).await;
    assert!(created.iter().all(|topic| topic.error_code == 0));
    let whole = vec![vec![("a", 1), ("b", 5), ("c", 1), ("d", 2)]];
    assert_eq!(of(&pages(&node, &[], 9, None).await), whole);
    assert_eq!(of(&pages(&node, &[], 3, None).await), [vec![("a", 1), ("b", 2)], vec![("b", 3)], vec![("c", 1), ("d", 2)]]);
    let one_by_one = pages(&node, &[], 1, None).await;
    assert_eq!(one_by_one.len(), 9);
    // Nothing is left of the topic that the cursor names: its page goes on with what is behind.
    let behind = pages(&node, &[], 1, from("b", 5)).await;
    assert_eq!(of(&behind), [vec![("b", 0), ("c", 1)], vec![("d", 1)], vec![("d", 1)]]);
    assert_eq!(of(&pages(&node, &[], 9, from("bb", 0)).await), [vec![("c", 1), ("d", 2)]], "it was deleted meanwhile");
    let named = pages(&node, &["d", "none", "b", "d", "a b"], 9, None).await;
    assert_eq!(of(&named), [vec![("a b", 0), ("b", 5), ("d", 2), ("none", 0)]]);
    let codes: Vec<ErrorCode> = named[0].iter().map(|(_, code, _)| *code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(codes, [ErrorCode::InvalidTopicException, ErrorCode::None, ErrorCode::None, unknown]);
}

#[tokio::test(start_paused = true)]
async fn names_of_several_views_are_all_answered() {
    let node = Node::alone().await;
    let names: Vec<String> = (0..3_000).map(|number| format!("t{number:04}")).collect();
    node.create(names.iter().cloned()).await;
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    for asked in [&asked[..], &[]] {
        let pages = pages(&node, asked, 2_000, None).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2_000, 1_000]);
        assert!(pages.iter().flatten().map(|(name, ..)| name).eq(&names));
        assert!(pages.iter().flatten().all(|(_, code, count)| (*code, *count) == (ErrorCode::None, 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_page_of_many_topics_takes_little() {
    let node = Node::alone().await;
    node.create((0..10_000).map(|number| format!("t{number:04}"))).await;
    let mut page = std::pin::pin!(page(&node, &[], 1, None));
    // A node by itself waits for nothing.
    let (answer, bytes) = allocated(|| page.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    let Poll::Ready(answer) = answer else { panic!("it waits") };
    assert_eq!(answer.topics.len(), 1);
    assert!(bytes < 64 << 10, "{bytes}");
}
