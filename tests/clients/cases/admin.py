"""confluent-kafka's AdminClient, newest and 2.4.0: topics, partitions, configs, groups, offsets, records, cluster."""

from harness.confluent import admin, consume_all, consumer, create_topic, error_of, produce, results
from harness.node import wait_until
from harness.registry import NEWEST, OLD, test

BOTH = (NEWEST, OLD)


@test(ages=BOTH)
def creates_and_deletes_topics(case):
    from confluent_kafka.admin import NewTopic

    node = case.node(auto_create_topics=False)
    client = admin(node)
    made = client.create_topics([NewTopic("a", 3, 1), NewTopic("b", 1, 3, config={"retention.ms": "1000"}), NewTopic("c", -1, -1)])
    results(made)
    listed = client.list_topics(timeout=10).topics
    assert {name: len(topic.partitions) for name, topic in listed.items()} == {"a": 3, "b": 1, "c": 1}
    assert error_of(client.create_topics([NewTopic("a", 1, 1)])["a"]) == "TOPIC_ALREADY_EXISTS"
    assert error_of(client.create_topics([NewTopic("bad name", 1, 1)])["bad name"]) == "TOPIC_EXCEPTION"
    assert error_of(client.create_topics([NewTopic("__consumer_offsets", 1, 1)])["__consumer_offsets"]) in ("TOPIC_EXCEPTION", "INVALID_REQUEST")
    assert error_of(client.create_topics([NewTopic("d", 0, 1)])["d"]) == "INVALID_PARTITIONS"
    assert error_of(client.create_topics([NewTopic("d", 1, 0)])["d"]) == "INVALID_REPLICATION_FACTOR"
    assert error_of(client.create_topics([NewTopic("d", 1, 1, config={"no.such": "1"})])["d"]) == "INVALID_CONFIG"
    assert error_of(client.create_topics([NewTopic("d", 1, 1, config={"retention.ms": "soon"})])["d"]) == "INVALID_CONFIG"
    results(client.create_topics([NewTopic("dry", 1, 1)], validate_only=True))
    assert "dry" not in client.list_topics(timeout=10).topics
    results(client.delete_topics(["a"]))
    assert "a" not in client.list_topics(timeout=10).topics
    assert error_of(client.delete_topics(["a"])["a"]) == "UNKNOWN_TOPIC_OR_PART"
    # A topic of the same name is a new one.
    produce(node, "b", [{"value": b"old"}])
    results(client.delete_topics(["b"]))
    create_topic(node, "b", 1)
    assert produce(node, "b", [{"value": b"new"}]) == [(0, 0)]


@test(ages=BOTH)
def adds_partitions(case):
    from confluent_kafka.admin import NewPartitions

    node = case.node()
    client = admin(node)
    create_topic(node, "t", 2)
    results(client.create_partitions([NewPartitions("t", 5)]))
    wait_until("five partitions", lambda: len(client.list_topics("t", timeout=10).topics["t"].partitions) == 5)
    assert error_of(client.create_partitions([NewPartitions("t", 3)])["t"]) == "INVALID_PARTITIONS"
    assert error_of(client.create_partitions([NewPartitions("missing", 3)])["missing"]) == "UNKNOWN_TOPIC_OR_PART"
    assert produce(node, "t", [{"value": b"x", "partition": 4}]) == [(4, 0)]


@test(ages=BOTH)
def describes_and_alters_configs(case):
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    node = case.node()
    client = admin(node)
    create_topic(node, "t", 1, **{"retention.ms": 123_456, "cleanup.policy": "delete"})
    topic = ConfigResource(ResourceType.TOPIC, "t")

    def described() -> dict:
        return client.describe_configs([topic])[topic].result(20)

    entries = described()
    assert entries["retention.ms"].value == "123456" and not entries["retention.ms"].is_default
    assert entries["segment.bytes"].value == "1073741824" and entries["segment.bytes"].is_default
    assert len(entries) >= 30, sorted(entries)

    def change(name: str, operation, value=None) -> ConfigResource:
        return ConfigResource(ResourceType.TOPIC, "t", incremental_configs=[ConfigEntry(name, value, incremental_operation=operation)])

    results(client.incremental_alter_configs([change("max.message.bytes", AlterConfigOpType.SET, "5000")]))
    results(client.incremental_alter_configs([change("cleanup.policy", AlterConfigOpType.APPEND, "compact")]))
    results(client.incremental_alter_configs([change("retention.ms", AlterConfigOpType.DELETE)]))
    entries = described()
    assert entries["max.message.bytes"].value == "5000"
    assert sorted(entries["cleanup.policy"].value.split(",")) == ["compact", "delete"]
    assert entries["retention.ms"].value == "604800000" and entries["retention.ms"].is_default
    results(client.incremental_alter_configs([change("cleanup.policy", AlterConfigOpType.SUBTRACT, "compact")]))
    assert described()["cleanup.policy"].value == "delete"
    bad = change("max.message.bytes", AlterConfigOpType.SET, "-7")
    assert error_of(client.incremental_alter_configs([bad])[bad]) == "INVALID_CONFIG"
    # The old kind replaces everything.
    results(client.alter_configs([ConfigResource(ResourceType.TOPIC, "t", set_config={"segment.ms": "60000"})]))
    entries = described()
    assert entries["segment.ms"].value == "60000" and entries["max.message.bytes"].is_default
    missing = ConfigResource(ResourceType.TOPIC, "missing")
    assert error_of(client.describe_configs([missing])[missing]) == "UNKNOWN_TOPIC_OR_PART"
    broker = ConfigResource(ResourceType.BROKER, "1")
    assert "advertised.listeners" in client.describe_configs([broker])[broker].result(20)


@test(ages=BOTH)
def lists_describes_and_deletes_groups(case):
    node = case.node()
    client = admin(node)
    create_topic(node, "t", 2)
    produce(node, "t", [{"value": b"%d" % n, "partition": n % 2} for n in range(10)])
    reading = consumer(node, "busy", client_id="reader-7")
    reading.subscribe(["t"])
    consume_all([reading], 10)
    reading.commit(asynchronous=False)
    listed = client.list_consumer_groups().result(20)
    assert [(group.group_id, group.state.name, group.is_simple_consumer_group) for group in listed.valid] == [("busy", "STABLE", False)], listed.valid
    assert listed.errors == []
    described = results(client.describe_consumer_groups(["busy", "unknown"]) if case.environment == OLD else client.describe_consumer_groups(["busy"]))["busy"]
    assert described.state.name == "STABLE" and described.partition_assignor == "range", described
    assert described.coordinator.id == 1 and described.coordinator.port == node.port
    [member] = described.members
    assert member.client_id == "reader-7" and member.host.lstrip("/") == "127.0.0.1", (member.client_id, member.host)
    assert sorted((p.topic, p.partition) for p in member.assignment.topic_partitions) == [("t", 0), ("t", 1)]
    assert error_of(client.delete_consumer_groups(["busy"])["busy"]) == "NON_EMPTY_GROUP"
    reading.close()
    assert results(client.describe_consumer_groups(["busy"]))["busy"].state.name == "EMPTY"
    results(client.delete_consumer_groups(["busy"]))
    assert client.list_consumer_groups().result(20).valid == []
    assert error_of(client.delete_consumer_groups(["busy"])["busy"]) == "GROUP_ID_NOT_FOUND"


@test(ages=BOTH)
def lists_alters_and_keeps_group_offsets(case):
    from confluent_kafka import ConsumerGroupTopicPartitions as Offsets
    from confluent_kafka import TopicPartition

    node = case.node()
    client = admin(node)
    create_topic(node, "t", 2)
    produce(node, "t", [{"value": b"%d" % n, "partition": n % 2} for n in range(20)])
    reading = consumer(node, "g")
    reading.commit(offsets=[TopicPartition("t", 0, 4, "note"), TopicPartition("t", 1, 6)], asynchronous=False)

    def listed() -> dict:
        answer = results(client.list_consumer_group_offsets([Offsets("g")]))["g"]
        return {(p.topic, p.partition): (p.offset, p.metadata) for p in answer.topic_partitions}

    assert listed() == {("t", 0): (4, "note"), ("t", 1): (6, None)} or listed() == {("t", 0): (4, "note"), ("t", 1): (6, "")}, listed()
    results(client.alter_consumer_group_offsets([Offsets("g", [TopicPartition("t", 0, 9)])]))
    assert listed()[("t", 0)][0] == 9
    assert [p.offset for p in reading.committed([TopicPartition("t", 0), TopicPartition("t", 1)], timeout=10)] == [9, 6]
    node.stop()
    node.start()
    assert [p.offset for p in reading.committed([TopicPartition("t", 0), TopicPartition("t", 1)], timeout=20)] == [9, 6]
    # While it has members, its offsets are theirs.
    reading.subscribe(["t"])
    consume_all([reading], 5)
    future = client.alter_consumer_group_offsets([Offsets("g", [TopicPartition("t", 0, 1)])])["g"]
    answer = error_or_partition_error(future)
    assert answer == "UNKNOWN_MEMBER_ID", answer
    reading.close()


def error_or_partition_error(future) -> str:
    from confluent_kafka import KafkaException

    try:
        return future.result(20).topic_partitions[0].error.name()
    except KafkaException as error:
        return error.args[0].name()


@test(ages=BOTH)
def lists_offsets_of_every_kind(case):
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec

    node = case.node()
    client = admin(node)
    create_topic(node, "t", 1)
    times = [5_000, 9_000, 7_000, 9_000, 1_000]
    start = 1_700_000_000_000
    produce(node, "t", [{"value": b"%d" % n, "timestamp": start + time_ms} for n, time_ms in enumerate(times)])

    def ask(spec) -> tuple[int, int]:
        partition = TopicPartition("t", 0)
        answer = client.list_offsets({partition: spec})[partition].result(20)
        return answer.offset, answer.timestamp

    for state in ("hot", "sealed"):
        assert ask(OffsetSpec.earliest()) == (0, -1), state
        assert ask(OffsetSpec.latest()) == (5, -1), state
        # Of several records with the highest time, the first.
        assert ask(OffsetSpec.max_timestamp()) == (1, start + 9_000), (state, ask(OffsetSpec.max_timestamp()))
        assert ask(OffsetSpec.for_timestamp(start + 6_000)) == (1, start + 9_000), state
        assert ask(OffsetSpec.for_timestamp(start + 9_001))[0] == -1, state
        node.seal("t")


@test(ages=BOTH)
def describes_cluster_and_topics(case):
    from confluent_kafka import TopicCollection

    node = case.node()
    client = admin(node)
    create_topic(node, "t", 3)
    cluster = client.describe_cluster().result(20)
    assert cluster.cluster_id == node.status()["cluster_id"] and cluster.controller.id == 1
    assert [(one.id, one.host, one.port) for one in cluster.nodes] == [(1, "127.0.0.1", node.port)]
    topic = results(client.describe_topics(TopicCollection(["t"])))["t"]
    assert topic.name == "t" and not topic.is_internal and [p.id for p in topic.partitions] == [0, 1, 2]
    assert all(p.leader.id == 1 and [r.id for r in p.replicas] == [1] and [r.id for r in p.isr] == [1] for p in topic.partitions)
    assert error_of(client.describe_topics(TopicCollection(["missing"]))["missing"]) == "UNKNOWN_TOPIC_OR_PART"


@test(ages=BOTH)
def what_is_not_there_is_refused_and_does_not_hang(case):
    """ACLs and SCRAM are not announced or answered with Kafka's own refusal."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    node = case.node()
    anything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
    try:
        admin(node).describe_acls(anything, request_timeout=10).result(20)
        raise AssertionError("ACLs are described though there are none")
    except KafkaException as error:
        assert error.args[0].name() in ("SECURITY_DISABLED", "_UNSUPPORTED_FEATURE"), error
