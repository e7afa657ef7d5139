//! Changes of topics and configs when the controller is another than it was.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use strandline_client::{ConfigChange, NewTopic, Resource};
use support::{Cluster, simulated};

#[test]
fn changes_of_topics_find_the_new_controller() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        let admin = cluster.client().admin();
        admin.list_topics().await.unwrap();
        let moved = || {
            let mut state = cluster.state();
            state.controller = 3 - state.controller;
        };
        let topic = Resource::Topic("new".into());
        moved();
        admin.create_topic(NewTopic::new("new", 1)).await.unwrap();
        moved();
        admin.create_partitions("new", 3).await.unwrap();
        assert_eq!(cluster.state().topics["new"].1.len(), 3);
        moved();
        admin.alter_configs(&topic, &[ConfigChange::Delete("retention.ms".into())]).await.unwrap();
        moved();
        admin.describe_configs(&topic, None).await.unwrap();
        moved();
        let deleted = admin.delete_topics(&["new"]).await.unwrap();
        assert!(deleted.len() == 1 && deleted[0].1.is_ok(), "{deleted:?}");
        assert!(!cluster.state().topics.contains_key("new"));
    });
}

#[test]
fn a_controller_that_is_gone_is_not_waited_for() {
    simulated(async {
        let cluster = Cluster::new(1, 1);
        let admin = cluster.client().admin();
        admin.create_topic(NewTopic::new("first", 1)).await.unwrap();
        {
            let mut state = cluster.state();
            state.controller = 2;
            state.down.insert(1);
        }
        cluster.restart();
        admin.create_topic(NewTopic::new("second", 1)).await.unwrap();
        assert!(cluster.state().topics.contains_key("second"));
    });
}
