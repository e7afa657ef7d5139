"""confluent-kafka as its users write it, against one broker: `python cases.py BOOTSTRAP [TEST]`, with whatever version is installed.
A line for each test: `PASS SECONDS NAME` or `FAIL SECONDS NAME`, with the error below. WITHOUT names tests to leave out, one a line;
BRONZE is where Strandline says which files a topic has, empty against Kafka."""

import json
import os
import sys
import threading
import time
import traceback
import urllib.request

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

BOOTSTRAP = sys.argv[1]
BASE = {"bootstrap.servers": BOOTSTRAP}
ADMIN = AdminClient(BASE)
TESTS = []
# The version as numbers: `(2, 4, 0)`.
VERSION = tuple(int(part) for part in confluent_kafka.version()[0].split(".")[:3]) if isinstance(confluent_kafka.version(), tuple) else \
    tuple(int(part) for part in confluent_kafka.version().split("-")[0].split(".")[:3])


def test(function, since=(0, 0, 0)):
    """Registers a test; `since`: the first version that can do it."""
    if VERSION >= since:
        TESTS.append(function)
    return function


def until(what, condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}; last {value!r}"
        time.sleep(0.05)


def done(futures):
    return {key: future.result(30) for key, future in futures.items()}


def error_of(future):
    try:
        value = future.result(30)
    except KafkaException as error:
        return error.args[0].code()
    raise AssertionError(f"an error was expected, not {value!r}")


def topic(name, partitions=1, **config):
    done(ADMIN.create_topics([NewTopic(name, partitions, 1, config={key.replace("_", "."): str(value) for key, value in config.items()})]))
    return name


def send(name, records, **config):
    producer = Producer({**BASE, "linger.ms": 5, **{key.replace("_", "."): value for key, value in config.items()}})
    placed = []

    def report(error, message):
        assert error is None, error
        placed.append((message.partition(), message.offset()))

    for record in records:
        producer.produce(name, on_delivery=report, **record)
        producer.poll(0)
    assert producer.flush(30) == 0
    assert len(placed) == len(records), placed
    return placed


def consumer(group, **config):
    base = {**BASE, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    return Consumer({**base, **{key.replace("_", "."): value for key, value in config.items()}})


def consume(consumers, count, timeout_s=40.0):
    got = [[] for _ in consumers]
    deadline = time.monotonic() + timeout_s
    while sum(map(len, got)) < count:
        assert time.monotonic() < deadline, f"{sum(map(len, got))} of {count} within {timeout_s} s"
        for at, one in enumerate(consumers):
            for message in one.consume(500, 0.05):
                assert message.error() is None, message.error()
                got[at].append(message)
    return got


def read(name, count, **config):
    one = consumer(f"{name}-reader", **config)
    one.subscribe([name])
    try:
        return consume([one], count)[0]
    finally:
        one.close()


def numbered(start, end, partitions=1):
    return [{"key": str(n).encode(), "value": str(n).encode(), "partition": n % partitions} for n in range(start, end)]


def in_files(name, count):
    """Waits until so many records of a topic are rows of files behind the same offsets; Kafka has no such thing."""
    def rows():
        with urllib.request.urlopen(os.environ["BRONZE"], timeout=20) as answer:
            [found] = [entry for entry in json.load(answer) if entry["topic"] == name]
        return sum(file["rows"] for file in found["files"])

    if os.environ["BRONZE"]:
        until(f"{count} records of {name} are in files", lambda: rows() == count)


def values(messages):
    return sorted(int(message.value()) for message in messages)


@test
def metadata():
    topic("py-metadata", 3)
    listed = ADMIN.list_topics(timeout=20)
    assert len(listed.brokers) == 1 and listed.cluster_id and listed.controller_id in listed.brokers
    assert sorted(listed.topics["py-metadata"].partitions) == [0, 1, 2]
    assert all(p.leader == listed.controller_id and p.replicas == [p.leader] and p.isrs == [p.leader] for p in listed.topics["py-metadata"].partitions.values())


@test
def every_codec_and_acks():
    topic("py-codecs", 2)
    expected = 0
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        for acks in ("all", "1"):
            send("py-codecs", numbered(expected, expected + 200, 2), compression_type=codec, acks=acks)
            expected += 200
    send("py-codecs", numbered(expected, expected + 50, 2), acks="0")
    assert values(read("py-codecs", expected + 50)) == list(range(expected + 50))


@test
def keys_headers_nulls_and_times():
    topic("py-records", retention_ms=-1)
    send("py-records", [
        {"key": b"k", "value": b"v", "headers": [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b"")], "timestamp": 1_700_000_000_000},
        {"key": b"k", "value": None, "timestamp": 1_700_000_000_001}, {"key": None, "value": b"", "timestamp": 1_700_000_000_002}])
    got = read("py-records", 3)
    assert [(m.offset(), m.key(), m.value(), m.timestamp()[1]) for m in got] == [
        (0, b"k", b"v", 1_700_000_000_000), (1, b"k", None, 1_700_000_000_001), (2, None, b"", 1_700_000_000_002)]
    assert got[0].headers() == [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b"")] and not got[1].headers()


@test
def idempotent_producer():
    topic("py-idempotent", 3)
    placed = send("py-idempotent", numbered(0, 5_000, 3), enable_idempotence=True, batch_num_messages=50)
    assert len(set(placed)) == 5_000
    assert values(read("py-idempotent", 5_000)) == list(range(5_000))


@test
def large_records():
    topic("py-large", 1, max_message_bytes=6_000_000)
    body = bytes(range(256)) * 20_000
    send("py-large", [{"key": b"big", "value": body}], message_max_bytes=6_000_000)
    assert read("py-large", 1, fetch_message_max_bytes=1_000)[0].value() == body
    topic("py-small", 1, max_message_bytes=1_000)
    refused = []
    producer = Producer(BASE)
    producer.produce("py-small", b"x" * 5_000, on_delivery=lambda error, _: refused.append(error.code()))
    producer.flush(20)
    assert refused == [KafkaError.MSG_SIZE_TOO_LARGE], refused


@test
def a_group_goes_on():
    topic("py-resume", 3)
    send("py-resume", numbered(0, 300, 3))
    one = consumer("py-resume")
    one.subscribe(["py-resume"])
    consume([one], 300)
    one.commit(asynchronous=False)
    one.close()
    send("py-resume", numbered(300, 400, 3))
    two = consumer("py-resume")
    two.subscribe(["py-resume"])
    assert values(consume([two], 100)[0]) == list(range(300, 400))
    two.close()


def share(strategy, group):
    """Two members share six partitions, one leaves, and nothing is read twice or missed."""
    topic(group, 6)
    owned = [set(), set()]
    lost = []

    def member(at):
        def assigned(_, partitions):
            owned[at] = owned[at] | {p.partition for p in partitions} if "cooperative" in strategy else {p.partition for p in partitions}

        def revoked(_, partitions):
            owned[at] -= {p.partition for p in partitions}

        one = consumer(group, partition_assignment_strategy=strategy, session_timeout_ms=10_000, heartbeat_interval_ms=500)
        one.subscribe([group], on_assign=assigned, on_revoke=revoked, on_lost=lambda *_: lost.append(at))
        return one

    members = [member(0), member(1)]

    def spread():
        for one in members:
            message = one.poll(0.05)
            assert message is None or message.error() is None, message.error()
        return sorted(map(len, owned)) == [3, 3]

    until("each has three", spread, 40)
    send(group, numbered(0, 600, 6))
    got = consume(members, 600)
    assert values(got[0] + got[1]) == list(range(600))
    for one in members:
        one.commit(asynchronous=False)
    members[1].close()
    until("the other has all", lambda: members[0].poll(0.05) or len(owned[0]) == 6, 40)
    send(group, numbered(600, 700, 6))
    assert values(consume(members[:1], 100)[0]) == list(range(600, 700))
    members[0].close()
    assert not lost


@test
def range_assignor():
    share("range", "py-range")


@test
def roundrobin_assignor():
    share("roundrobin", "py-roundrobin")


@test
def cooperative_sticky_assignor():
    share("cooperative-sticky", "py-cooperative")


@test
def static_members():
    topic("py-static", 2)
    send("py-static", numbered(0, 20, 2))
    first = consumer("py-static", group_instance_id="one", session_timeout_ms=20_000)
    first.subscribe(["py-static"])
    consume([first], 20)
    first.commit(asynchronous=False)
    first.close()
    send("py-static", numbered(20, 40, 2))
    began = time.monotonic()
    second = consumer("py-static", group_instance_id="one", session_timeout_ms=20_000)
    second.subscribe(["py-static"])
    assert values(consume([second], 20)[0]) == list(range(20, 40))
    assert time.monotonic() - began < 15, "it waited for its own session to end"
    second.close()


@test
def offsets_times_and_watermarks():
    topic("py-times", retention_ms=-1)
    send("py-times", [{"value": b"%d" % n, "timestamp": 1_700_000_000_000 + n * 1_000} for n in range(50)])
    one = consumer("py-times")
    assert one.get_watermark_offsets(TopicPartition("py-times", 0), timeout=20) == (0, 50)
    [found] = one.offsets_for_times([TopicPartition("py-times", 0, 1_700_000_020_500)], timeout=20)
    assert found.offset == 21, found
    one.assign([TopicPartition("py-times", 0, 45)])
    assert values(consume([one], 5)[0]) == [45, 46, 47, 48, 49]
    one.seek(TopicPartition("py-times", 0, 10))
    assert values(consume([one], 40)[0]) == list(range(10, 50))
    one.pause([TopicPartition("py-times", 0)])
    one.seek(TopicPartition("py-times", 0, 0))
    assert one.poll(1) is None
    one.resume([TopicPartition("py-times", 0)])
    consume([one], 1)
    one.commit(offsets=[TopicPartition("py-times", 0, 33, "note") if VERSION >= (2, 2, 0) else TopicPartition("py-times", 0, 33)], asynchronous=False)
    [committed] = one.committed([TopicPartition("py-times", 0)], timeout=20)
    assert committed.offset == 33
    one.close()


@test
def topics_by_admin():
    topic("py-admin", 2, retention_ms=70_000)
    assert error_of(ADMIN.create_topics([NewTopic("py-admin", 1, 1)])["py-admin"]) == KafkaError.TOPIC_ALREADY_EXISTS
    assert error_of(ADMIN.create_topics([NewTopic("py bad", 1, 1)])["py bad"]) == KafkaError.TOPIC_EXCEPTION
    assert error_of(ADMIN.create_topics([NewTopic("py-config", 1, 1, config={"no.such": "1"})])["py-config"]) == KafkaError.INVALID_CONFIG
    done(ADMIN.create_topics([NewTopic("py-only-asked", 1, 1)], validate_only=True))
    assert "py-only-asked" not in ADMIN.list_topics(timeout=20).topics
    done(ADMIN.create_partitions([NewPartitions("py-admin", 4)]))
    until("four partitions", lambda: len(ADMIN.list_topics("py-admin", timeout=20).topics["py-admin"].partitions) == 4)
    done(ADMIN.delete_topics(["py-admin"]))
    until("it is gone", lambda: "py-admin" not in ADMIN.list_topics(timeout=20).topics)
    assert error_of(ADMIN.delete_topics(["py-admin"])["py-admin"]) == KafkaError.UNKNOWN_TOPIC_OR_PART


@test
def configurations_by_admin():
    topic("py-configured", 1)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "py-configured", set_config={"retention.ms": "80000"})
    done(ADMIN.alter_configs([resource]))
    [found] = done(ADMIN.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "py-configured")])).values()
    assert found["retention.ms"].value == "80000" and found["cleanup.policy"].value == "delete"
    [broker] = ADMIN.list_topics(timeout=20).brokers
    [node] = done(ADMIN.describe_configs([ConfigResource(ConfigResource.Type.BROKER, str(broker))])).values()
    assert "log.retention.ms" in node or "num.partitions" in node


@test
def groups_by_admin():
    topic("py-groups", 2)
    send("py-groups", numbered(0, 10, 2))
    one = consumer("py-groups")
    one.subscribe(["py-groups"])
    consume([one], 10)
    one.commit(asynchronous=False)
    [old] = ADMIN.list_groups("py-groups", timeout=20)
    assert old.state == "Stable" and len(old.members) == 1
    listed = ADMIN.list_consumer_groups().result(30)
    assert "py-groups" in [group.group_id for group in listed.valid] and not listed.errors
    described = ADMIN.describe_consumer_groups(["py-groups"])["py-groups"].result(30)
    [member] = described.members
    assert sorted(p.partition for p in member.assignment.topic_partitions) == [0, 1]
    assert error_of(ADMIN.delete_consumer_groups(["py-groups"])["py-groups"]) == KafkaError.NON_EMPTY_GROUP
    one.close()
    request = confluent_kafka.ConsumerGroupTopicPartitions("py-groups")
    offsets = ADMIN.list_consumer_group_offsets([request])["py-groups"].result(30)
    assert sorted((p.partition, p.offset) for p in offsets.topic_partitions) == [(0, 5), (1, 5)]
    moved = confluent_kafka.ConsumerGroupTopicPartitions("py-groups", [TopicPartition("py-groups", 0, 2)])
    until("it is empty", lambda: ADMIN.list_groups("py-groups", timeout=20)[0].state == "Empty")
    ADMIN.alter_consumer_group_offsets([moved])["py-groups"].result(30)
    offsets = ADMIN.list_consumer_group_offsets([request])["py-groups"].result(30)
    assert sorted((p.partition, p.offset) for p in offsets.topic_partitions) == [(0, 2), (1, 5)]
    done(ADMIN.delete_consumer_groups(["py-groups"]))


def newer_admin():
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, OffsetSpec

    topic("py-newer", 2)
    send("py-newer", numbered(0, 20, 2))
    [described] = done(ADMIN.describe_topics(TopicCollection(["py-newer"]))).values()
    assert len(described.partitions) == 2 and str(described.topic_id)
    cluster = ADMIN.describe_cluster().result(30)
    assert len(cluster.nodes) == 1 and cluster.cluster_id
    ends = done(ADMIN.list_offsets({TopicPartition("py-newer", 0): OffsetSpec.latest(), TopicPartition("py-newer", 1): OffsetSpec.earliest()}))
    assert {p.partition: result.offset for p, result in ends.items()} == {0: 10, 1: 0}
    resource = ConfigResource(ConfigResource.Type.TOPIC, "py-newer", incremental_configs=[ConfigEntry("retention.ms", "90000", incremental_operation=AlterConfigOpType.SET)])
    done(ADMIN.incremental_alter_configs([resource]))
    [found] = done(ADMIN.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "py-newer")])).values()
    assert found["retention.ms"].value == "90000"


test(newer_admin, (2, 4, 0))


def deleting_records():
    topic("py-deleting", 1)
    send("py-deleting", numbered(0, 20))
    deleted = done(ADMIN.delete_records([TopicPartition("py-deleting", 0, 12)]))
    assert [result.low_watermark for result in deleted.values()] == [12]
    assert values(read("py-deleting", 8)) == list(range(12, 20))


test(deleting_records, (2, 6, 0))


@test
def history_from_files():
    topic("py-history", 2)
    send("py-history", numbered(0, 4_000, 2), compression_type="lz4")
    in_files("py-history", 4_000)
    got = read("py-history", 4_000)
    assert values(got) == list(range(4_000)) and all(m.key() == m.value() for m in got)


@test
def transactions():
    topic("py-transactions")
    producer = Producer({**BASE, "transactional.id": "py-transactions"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce("py-transactions", b"x")
    producer.commit_transaction(20)


def consumer_protocol_of_848():
    topic("py-848", 2)
    send("py-848", numbered(0, 10, 2))
    one = Consumer({**BASE, "group.id": "py-848", "auto.offset.reset": "earliest", "group.protocol": "consumer"})
    one.subscribe(["py-848"])
    try:
        consume([one], 10, 20)
    finally:
        one.close()


test(consumer_protocol_of_848, (2, 12, 0))


def main():
    without = os.environ.get("WITHOUT", "").split("\n")
    for function in TESTS:
        if function.__name__ in without or sys.argv[2:] and function.__name__ != sys.argv[2]:
            continue
        began = time.monotonic()
        trouble = []

        def run(function=function, trouble=trouble):
            try:
                function()
            except BaseException:
                trouble.append(traceback.format_exc())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(90)
        if thread.is_alive():
            trouble.append("it took longer than 90 s")
        print(f"{'FAIL' if trouble else 'PASS'} {time.monotonic() - began:.1f} {function.__name__}", flush=True)
        print("".join(trouble), end="", flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
