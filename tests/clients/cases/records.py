"""confluent-kafka, newest and 2.4.0: producing, consuming, offsets; and I6, the same record hot, fresh and sealed."""

import os
import random
import time

from harness.confluent import admin, consumer, create_topic, produce, producer, read_partition, results, shape
from harness.node import wait_until
from harness.registry import NEWEST, OLD, test

BOTH = (NEWEST, OLD)


def odd_records(seed: int, count: int) -> list[dict]:
    """Records of every shape: null and empty keys and values, binary, text, repeated, null and empty headers, CloudEvents."""
    chance = random.Random(seed)
    start = 1_700_000_000_000
    records = []
    for n in range(count):
        value = chance.choice([None, b"", b"text %d" % n, chance.randbytes(chance.randrange(1, 2_000)), "día \U0001f40b".encode(), b"\x00", b"a\x00b",
                               b'{"id": %d}' % n])
        key = chance.choice([None, b"", b"k%d" % chance.randrange(10), chance.randbytes(8)])
        headers = chance.choice([
            [],
            [("a", b"1"), ("b", b"2"), ("a", b"3")],
            [("null", None), ("empty", b""), ("", b"no name")],
            [("binary", chance.randbytes(20)), ("größe", "größe".encode())],
            [("ce_specversion", b"1.0"), ("ce_id", b"%d" % n), ("ce_source", b"/test"), ("ce_type", b"odd"), ("ce_time", b"2026-11-24T07:00:00.123Z"),
             ("content-type", b"application/json")],
        ])
        records.append({"value": value, "key": key, "headers": headers, "timestamp": start + chance.randrange(10_000_000), "partition": n % 3})
    return records


def read_all(node, topic: str, partitions: int) -> list[tuple]:
    return [shape(message) for partition in range(partitions) for message in read_partition(node, topic, partition)]


@test(limit_s=120, ages=BOTH)
def records_are_the_same_hot_fresh_and_sealed(case):
    node = case.node(conversion_paused=True)
    create_topic(node, "t", 3)
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    sent: list[tuple] = []
    for at, codec in enumerate(codecs):
        records = odd_records(at, 600)
        for record, (partition, offset) in zip(records, produce(node, "t", records, compression_type=codec)):
            sent.append((partition, offset, (1, record["timestamp"]), record["key"], record["value"], tuple(record["headers"])))
    sent.sort(key=lambda record: record[:2])
    hot = read_all(node, "t", 3)
    assert hot == sent, first_difference(sent, hot)
    assert node.files("t") == []

    node.stop()
    node.settings["conversion_paused"] = False
    node.start()
    wait_until("all is in fresh Parquet", lambda: node.records_not_in_files("t") == 0, 30)
    assert node.files("t") and not any(file["sealed"] for file in node.files("t")), node.files("t")
    fresh = read_all(node, "t", 3)
    assert fresh == sent, first_difference(sent, fresh)

    node.seal("t")
    assert node.files("t") and all(file["sealed"] for file in node.files("t")), node.files("t")
    sealed = read_all(node, "t", 3)
    assert sealed == sent, first_difference(sent, sealed)
    # And after a restart, when nothing is in any cache.
    node.stop()
    node.start()
    again = read_all(node, "t", 3)
    assert again == sent, first_difference(sent, again)
    node.verify()


def first_difference(expected: list, got: list) -> str:
    for at, (one, other) in enumerate(zip(expected, got)):
        if one != other:
            return f"record {at} of {len(expected)}: expected {one!r}, got {other!r}"
    return f"{len(expected)} records expected, {len(got)} came"


@test(ages=BOTH)
def idempotent_producers_keep_order(case):
    node = case.node()
    create_topic(node, "t", 4)
    records = [{"value": b"%d" % n, "partition": n % 4} for n in range(20_000)]
    placed = produce(node, "t", records, enable_idempotence=True, linger_ms=1)
    for partition in range(4):
        offsets = [offset for place, offset in placed if place == partition]
        assert offsets == list(range(5_000)), "acknowledged out of order"
        values = [int(message.value()) for message in read_partition(node, "t", partition)]
        assert values == list(range(partition, 20_000, 4))


@test(ages=BOTH)
def big_records_are_taken_up_to_the_topics_limit(case):
    node = case.node()
    create_topic(node, "big", 1, **{"max.message.bytes": 20_000_000})
    value = os.urandom(10_000_000)
    produce(node, "big", [{"value": value}, {"value": b"small"}], message_max_bytes=19_000_000)
    for state in ("hot", "sealed"):
        # The limits of the consumer are lower: the first batch comes whole all the same (KIP-74).
        read = read_partition(node, "big", 0, fetch_message_max_bytes=1_000_000, fetch_max_bytes=2_000_000, message_max_bytes=1_500_000)
        assert [message.value() for message in read] == [value, b"small"], state
        node.seal("big")

    create_topic(node, "small", 1, **{"max.message.bytes": 1_000})
    errors = []
    sending = producer(node)
    sending.produce("small", os.urandom(5_000), on_delivery=lambda error, _: errors.append(error.name()))
    sending.produce("small", b"fits", partition=0, on_delivery=lambda error, _: errors.append(error))
    assert sending.flush(20) == 0
    assert "MSG_SIZE_TOO_LARGE" in errors, errors


@test(ages=BOTH)
def offsets_for_times_and_watermarks(case):
    from confluent_kafka import TopicPartition

    node = case.node()
    create_topic(node, "t", 2)
    start = 1_700_000_000_000
    produce(node, "t", [{"value": b"%d" % n, "partition": 0, "timestamp": start + 10 * n} for n in range(1_000)])
    reading = consumer(node)
    for state in ("hot", "sealed"):
        asked = [TopicPartition("t", 0, time_ms) for time_ms in (start, start + 4_995, start + 9_990, start + 9_991, 0)]
        found = []
        for one in asked:
            found += [answer.offset for answer in reading.offsets_for_times([one], timeout=10)]
        assert found == [0, 500, 999, -1, 0], (state, found)
        assert reading.offsets_for_times([TopicPartition("t", 1, 0)], timeout=10)[0].offset == -1
        assert reading.get_watermark_offsets(TopicPartition("t", 0), timeout=10) == (0, 1_000)
        assert reading.get_watermark_offsets(TopicPartition("t", 1), timeout=10) == (0, 0)
        node.seal("t")
    reading.close()


@test(ages=BOTH)
def seek_pause_and_resume(case):
    from confluent_kafka import TopicPartition

    node = case.node()
    create_topic(node, "t", 2)
    produce(node, "t", [{"value": b"%d" % n, "partition": n % 2} for n in range(2_000)])
    reading = consumer(node, enable_partition_eof=False)
    reading.assign([TopicPartition("t", 0, 0), TopicPartition("t", 1, 0)])

    def take(count: int) -> list:
        messages: list = []
        deadline = time.monotonic() + 20
        while len(messages) < count and time.monotonic() < deadline:
            messages += [message for message in reading.consume(count - len(messages), 0.5)]
        return messages

    assert len(take(2_000)) == 2_000
    reading.pause([TopicPartition("t", 1)])
    reading.seek(TopicPartition("t", 0, 990))
    assert [message.offset() for message in take(10)] == list(range(990, 1_000))
    produce(node, "t", [{"value": b"more", "partition": 1}])
    assert reading.poll(1) is None, "a paused partition was read"
    reading.resume([TopicPartition("t", 1)])
    assert [(message.partition(), message.offset()) for message in take(1)] == [(1, 1_000)]
    reading.close()


@test(ages=BOTH)
def a_long_poll_is_woken_at_once_and_waits_otherwise(case):
    from confluent_kafka import TopicPartition

    node = case.node()
    create_topic(node, "t", 1)
    reading = consumer(node, fetch_wait_max_ms=5_000, enable_partition_eof=False)
    reading.assign([TopicPartition("t", 0, 0)])
    assert reading.poll(1) is None
    sending = producer(node, linger_ms=0)
    waits = []
    for n in range(20):
        time.sleep(0.05)
        began = time.monotonic()
        sending.produce("t", b"%d" % n)
        sending.poll(0)
        message = reading.poll(4)
        assert message is not None and message.value() == b"%d" % n, message
        waits.append(time.monotonic() - began)
    waits.sort()
    print("end to end, seconds:", waits[10], waits[-1])
    assert waits[10] < 0.25, f"records wait for the poll's end: {waits}"
    # The node waits for the whole time: few requests are made while nothing comes.
    before = fetches(node)
    assert before > 0, "no Fetch is counted"
    assert reading.poll(6) is None
    assert fetches(node) - before <= 4, fetches(node) - before
    reading.close()
    sending.flush(5)


def fetches(node) -> float:
    return node.metrics()["strandline_fetch_requests_total"]


@test(ages=BOTH)
def log_append_time_is_the_brokers(case):
    node = case.node()
    create_topic(node, "t", 1, **{"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    produce(node, "t", [{"value": b"a", "timestamp": 1_000}, {"value": b"b", "timestamp": 2_000}])
    after = int(time.time() * 1000)
    for state in ("hot", "sealed"):
        messages = read_partition(node, "t", 0, check_crcs=True)
        assert [message.value() for message in messages] == [b"a", b"b"], (state, messages)
        for message in messages:
            kind, time_ms = message.timestamp()
            assert kind == 2 and before - 5 <= time_ms <= after + 5, (state, message.timestamp(), before, after)
        node.seal("t")


# The old client deletes no records.
@test()
def deleted_records_are_gone_and_offsets_go_on(case):
    from confluent_kafka import TopicPartition

    node = case.node()
    create_topic(node, "t", 1)
    produce(node, "t", [{"value": b"%d" % n} for n in range(100)])
    low = results(admin(node).delete_records([TopicPartition("t", 0, 40)]))[TopicPartition("t", 0)].low_watermark
    assert low == 40, low
    reading = consumer(node)
    assert reading.get_watermark_offsets(TopicPartition("t", 0), timeout=10) == (40, 100)
    reading.close()
    assert [m.offset() for m in read_partition(node, "t", 0, start=40)] == list(range(40, 100))
    # Below the log start the policy decides: from the earliest.
    assert [m.offset() for m in read_partition(node, "t", 0, start=3)] == list(range(40, 100))
    node.seal("t")
    assert [m.offset() for m in read_partition(node, "t", 0, start=0)] == list(range(40, 100))
    results(admin(node).delete_records([TopicPartition("t", 0, -1)]))
    reading = consumer(node)
    assert reading.get_watermark_offsets(TopicPartition("t", 0), timeout=10) == (100, 100)
    reading.close()
    assert produce(node, "t", [{"value": b"next"}]) == [(0, 100)]


@test(ages=BOTH)
def read_committed_and_checked_crcs(case):
    node = case.node()
    create_topic(node, "t", 1)
    produce(node, "t", [{"value": b"%d" % n} for n in range(5_000)], compression_type="lz4")
    for state in ("hot", "sealed"):
        for isolation in ("read_committed", "read_uncommitted"):
            read = read_partition(node, "t", 0, isolation_level=isolation, check_crcs=True)
            assert [int(message.value()) for message in read] == list(range(5_000)), (state, isolation)
        node.seal("t")
