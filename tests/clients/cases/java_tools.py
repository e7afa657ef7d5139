"""Kafka 4.2's own console tools, on its own Java client."""

import json
import re
import subprocess
import time

from harness.confluent import create_topic, produce
from harness.java import command, java
from harness.registry import test


def expect(text: str, *parts: str) -> None:
    for part in parts:
        assert re.search(part, text), f"`{part}` is not in: {text}"


@test(limit_s=120)
def topics(case):
    node = case.node(auto_create_topics=False)
    at = ("--bootstrap-server", node.bootstrap)
    expect(java("topics", *at, "--create", "--topic", "a", "--partitions", "3", "--replication-factor", "1", "--config", "retention.ms=5000"), "Created topic a")
    expect(java("topics", *at, "--create", "--topic", "a", code=1), "already exists")
    java("topics", *at, "--create", "--topic", "a", "--if-not-exists")
    assert java("topics", *at, "--list").split() == ["a"]
    expect(java("topics", *at, "--describe", "--topic", "a"), r"Topic: a\s+TopicId: \S{22}\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: .*retention.ms=5000",
           r"Partition: 2\s+Leader: 1\s+Replicas: 1\s+Isr: 1")
    [topic_id] = re.findall(r"TopicId: (\S+)", java("topics", *at, "--describe", "--topic", "a"))
    expect(java("topics", *at, "--describe", "--topic-id", topic_id), r"Topic: a\s", "PartitionCount: 3")
    java("topics", *at, "--alter", "--topic", "a", "--partitions", "5")
    expect(java("topics", *at, "--describe", "--topic", "a"), "PartitionCount: 5")
    assert java("topics", *at, "--describe", "--under-replicated-partitions").strip() == ""
    assert java("topics", *at, "--describe", "--unavailable-partitions").strip() == ""
    expect(java("topics", *at, "--alter", "--topic", "a", "--partitions", "2", code=1), "InvalidPartitions")
    expect(java("topics", *at, "--describe", "--topic", "missing", code=1), "does not exist")
    java("topics", *at, "--delete", "--topic", "a")
    assert java("topics", *at, "--list").strip() == ""


@test(limit_s=120)
def console_producer_and_consumer(case):
    node = case.node()
    at = ("--bootstrap-server", node.bootstrap)
    java("console-producer", *at, "--topic", "t", "--property", "parse.key=true", "--property", "key.separator=:", "--property", "parse.headers=true",
         "--property", "null.marker=NULL", stdin="h1:v1,h2:v2\tk1:one\nNULL\tk2:NULL\nh1:v1\tNULL:three\n")
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        java("console-producer", *at, "--topic", "t", "--compression-codec", codec, stdin=f"{codec}\n")
    show = ("--property", "print.key=true", "--property", "print.headers=true", "--property", "print.offset=true", "--property", "print.partition=true")
    for state in ("hot", "sealed"):
        text = java("console-consumer", *at, "--topic", "t", "--from-beginning", "--max-messages", "7", "--timeout-ms", "20000", *show)
        lines = [line for line in text.splitlines() if line.startswith("Partition:")]
        assert lines == [
            "Partition:0\tOffset:0\th1:v1,h2:v2\tk1\tone",
            "Partition:0\tOffset:1\tNO_HEADERS\tk2\tnull",
            "Partition:0\tOffset:2\th1:v1\tnull\tthree",
            *[f"Partition:0\tOffset:{3 + n}\tNO_HEADERS\tnull\t{codec}" for n, codec in enumerate(("gzip", "snappy", "lz4", "zstd"))],
        ], (state, text)
        node.seal("t")
    text = java("console-consumer", *at, "--topic", "t", "--partition", "0", "--offset", "5", "--max-messages", "1", "--isolation-level", "read_committed")
    expect(text, "lz4", "Processed a total of 1 messages")


@test(limit_s=150)
def consumer_groups(case):
    node = case.node()
    create_topic(node, "t", 2)
    start = 1_700_000_000_000
    produce(node, "t", [{"value": b"%d" % n, "partition": n % 2, "timestamp": start + n} for n in range(100)])
    at = ("--bootstrap-server", node.bootstrap)
    reading = case.spawn(command("console-consumer", *at, "--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "100"),
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert len(reading.communicate(timeout=40)[0].split()) == 100
    expect(java("groups", *at, "--list"), "^g$")
    text = java("groups", *at, "--describe", "--group", "g")
    expect(text, "has no active members", r"g\s+t\s+0\s+50\s+50\s+0", r"g\s+t\s+1\s+50\s+50\s+0")
    expect(java("groups", *at, "--describe", "--group", "g", "--state"), r"g\s+127.0.0.1:%d\s+\(1\).*Empty\s+0" % node.port)

    def reset(*how: str) -> list[str]:
        text = java("groups", *at, "--group", "g", "--topic", "t", "--reset-offsets", "--execute", *how)
        return re.findall(r"g\s+t\s+(\d)\s+(\d+)", text)

    assert sorted(reset("--to-earliest")) == [("0", "0"), ("1", "0")]
    assert sorted(reset("--to-offset", "30")) == [("0", "30"), ("1", "30")]
    assert sorted(reset("--shift-by", "-5")) == [("0", "25"), ("1", "25")]
    assert sorted(reset("--to-datetime", "2023-11-14T22:13:20.050")) == [("0", "25"), ("1", "25")]
    assert sorted(reset("--to-latest")) == [("0", "50"), ("1", "50")]
    java("groups", *at, "--group", "g", "--topic", "t:0", "--delete-offsets")
    assert not re.search(r"t\s+0\s", java("groups", *at, "--describe", "--group", "g"))
    expect(java("groups", *at, "--delete", "--group", "g"), "was successful")
    assert java("groups", *at, "--list").strip() == ""


@test(limit_s=120)
def an_active_group_is_described(case):
    node = case.node()
    create_topic(node, "t", 2)
    produce(node, "t", [{"value": b"%d" % n, "partition": n % 2} for n in range(10)])
    at = ("--bootstrap-server", node.bootstrap)
    case.spawn(command("console-consumer", *at, "--topic", "t", "--group", "g", "--from-beginning"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 40
    while True:
        text = java("groups", *at, "--describe", "--group", "g", "--members", "--verbose", code=None)
        if re.search(r"g\s+console-consumer\S+\s+/127.0.0.1\s+console-consumer\s+2", text):
            break
        assert time.monotonic() < deadline, text
    expect(java("groups", *at, "--describe", "--group", "g", "--state"), r"range\s+Stable\s+1")
    expect(java("groups", *at, "--list", "--state"), r"g\s+Stable")
    expect(java("all-groups", *at, "--list"), r"g\s+Classic\s+consumer")
    expect(java("groups", *at, "--group", "g", "--topic", "t", "--reset-offsets", "--to-earliest", "--execute", code=None),
           "inactive|Assignments can only be reset|is not")


@test(limit_s=120)
def configs(case):
    node = case.node()
    create_topic(node, "t", 1)
    at = ("--bootstrap-server", node.bootstrap)
    expect(java("configs", *at, "--entity-type", "topics", "--entity-name", "t", "--alter", "--add-config", "retention.ms=7000,cleanup.policy=[compact,delete]"), "Completed updating")
    text = java("configs", *at, "--entity-type", "topics", "--entity-name", "t", "--describe")
    expect(text, r"retention.ms=7000 sensitive=false", r"cleanup.policy=compact,delete")
    expect(java("configs", *at, "--entity-type", "topics", "--entity-name", "t", "--describe", "--all"), "segment.bytes=1073741824", "min.insync.replicas=1")
    java("configs", *at, "--entity-type", "topics", "--entity-name", "t", "--alter", "--delete-config", "retention.ms")
    assert "retention.ms" not in java("configs", *at, "--entity-type", "topics", "--entity-name", "t", "--describe")
    expect(java("configs", *at, "--entity-type", "topics", "--entity-name", "t", "--alter", "--add-config", "retention.ms=x", code=1), "Invalid value x")
    expect(java("configs", *at, "--entity-type", "brokers", "--entity-name", "1", "--describe", "--all"), "advertised.listeners")


@test(limit_s=120)
def offsets_records_and_directories(case):
    node = case.node()
    create_topic(node, "t", 2)
    produce(node, "t", [{"value": b"%d" % n, "partition": n % 2} for n in range(100)])
    at = ("--bootstrap-server", node.bootstrap)
    assert java("get-offsets", *at, "--topic", "t").split() == ["t:0:50", "t:1:50"]
    assert java("get-offsets", *at, "--topic", "t", "--time", "earliest").split() == ["t:0:0", "t:1:0"]
    assert re.fullmatch(r"t:0:\d+\s+t:1:\d+\s*", java("get-offsets", *at, "--topic", "t", "--time", "max-timestamp"))
    plan = case.path("plan.json")
    with open(plan, "w") as file:
        json.dump({"version": 1, "partitions": [{"topic": "t", "partition": 0, "offset": 20}, {"topic": "t", "partition": 1, "offset": -1}]}, file)
    expect(java("delete-records", *at, "--offset-json-file", plan), r"partition: t-0\s+low_watermark: 20", r"partition: t-1\s+low_watermark: 50")
    assert java("get-offsets", *at, "--topic", "t", "--time", "earliest").split() == ["t:0:20", "t:1:50"]
    text = java("log-dirs", *at, "--describe", "--topic-list", "t")
    [described] = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    partitions = described["brokers"][0]["logDirs"][0]["partitions"]
    assert sorted(p["partition"] for p in partitions) == ["t-0", "t-1"] and all(p["offsetLag"] == 0 for p in partitions), described


@test(limit_s=120)
def cluster_versions_and_features(case):
    node = case.node()
    at = ("--bootstrap-server", node.bootstrap)
    expect(java("cluster", "cluster-id", *at), "Cluster ID: " + re.escape(node.status()["cluster_id"]))
    text = java("api-versions", *at)
    expect(text, r"Produce\(0\): 0 to 13 \[usable: 13\]", r"Fetch\(1\): 4 to 18 \[usable: 18\]", r"DescribeTopicPartitions\(75\): 0 \[usable: 0\]",
           r"AddPartitionsToTxn\(24\): UNSUPPORTED", r"ConsumerGroupHeartbeat\(68\): UNSUPPORTED")
    java("features", *at, "describe")


@test(limit_s=120, alone=True)
def performance_tools(case):
    node = case.node()
    create_topic(node, "t", 6)
    text = java("producer-perf", "--topic", "t", "--num-records", "100000", "--record-size", "500", "--throughput", "-1", "--producer-props",
                f"bootstrap.servers={node.bootstrap}", "acks=all", "compression.type=lz4", timeout_s=60)
    expect(text, "100000 records sent")
    print(text)
    text = java("consumer-perf", "--bootstrap-server", node.bootstrap, "--topic", "t", "--num-records", "100000", "--timeout", "30000", code=None)
    numbers = [line for line in text.splitlines() if re.match(r"\d{4}-", line)]
    assert numbers and int(float(numbers[-1].split(", ")[4])) == 100_000, text
    node.verify()


@test(limit_s=120)
def verifiable_producer_and_consumer(case):
    node = case.node()
    create_topic(node, "t", 3)
    text = java("verifiable-producer", "--bootstrap-server", node.bootstrap, "--topic", "t", "--max-messages", "3000", "--acks", "-1")
    events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert sum(event["name"] == "producer_send_success" for event in events) == 3_000
    assert not [event for event in events if event["name"] == "producer_send_error"]
    text = java("verifiable-consumer", "--bootstrap-server", node.bootstrap, "--topic", "t", "--group-id", "g", "--max-messages", "3000", "--verbose",
                "--reset-policy", "earliest", code=None)
    events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    values = sorted(int(event["value"]) for event in events if event["name"] == "record_data")
    assert values == list(range(3_000)), (len(values), text[-1500:])
    assert [event for event in events if event["name"] == "offsets_committed" and event["success"]]


@test(limit_s=120)
def end_to_end_latency(case):
    node = case.node()
    text = java("end-to-end-latency", "--bootstrap-server", node.bootstrap, "--topic", "t", "--num-records", "200", "--producer-acks", "all", "--record-size", "100", code=None)
    expect(text, "Avg latency", "Percentiles")
    print(text)


@test(limit_s=120)
def what_is_not_there_is_refused(case):
    node = case.node()
    at = ("--bootstrap-server", node.bootstrap)
    expect(java("acls", *at, "--list", code=1, timeout_s=90), "SecurityDisabled|UnsupportedVersion|No Authorizer")
    expect(java("transactions", *at, "list", code=1, timeout_s=90), "Failed to list transactions: .*does not support")
