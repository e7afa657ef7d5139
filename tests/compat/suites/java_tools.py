"""Kafka's own tools (4.2.0), what tests/clients does not try: more of their options, several members, hard ends of members, refusals."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import tempfile
import time

from driver.own import Cases, expect, kill_running, until
from harness.java import LIBRARIES, TOOLS

ABOUT = "Apache Kafka 4.2.0's console, admin, performance and verifiable tools"
CASES = Cases()
case = CASES.case
CLASSES = {
    **TOOLS,
    "client-compatibility": "org.apache.kafka.tools.ClientCompatibilityTest",
    "client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "delegation-tokens": "org.apache.kafka.tools.DelegationTokenCommand",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "share-console-consumer": "org.apache.kafka.tools.consumer.ConsoleShareConsumer",
    "share-groups": "org.apache.kafka.tools.consumer.group.ShareGroupCommand",
    "replica-verification": "org.apache.kafka.tools.ReplicaVerificationTool",
    "streams-groups": "org.apache.kafka.tools.streams.StreamsGroupCommand",
    "streams-reset": "org.apache.kafka.tools.StreamsResetter",
    "transactional-copier": "org.apache.kafka.tools.TransactionalMessageCopier",
}


def install() -> None:
    """They are those of tests/clients."""


def run(broker, only, left_out):
    with tempfile.TemporaryDirectory(prefix="strandline-compat-tools-") as folder:
        yield from CASES.run(only, left_out, Tools(broker, folder))


class Tools:
    """The tools of one broker, and files for them."""

    def __init__(self, broker, folder: str):
        self.broker = broker
        self.folder = folder
        self.at = ("--bootstrap-server", broker.bootstrap)

    def file(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def command(self, tool: str, *arguments: str) -> list[str]:
        return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dlog4j2.level=WARN", "-cp",
                f"{LIBRARIES}/*", CLASSES[tool], *arguments]

    def __call__(self, tool: str, *arguments: str, stdin: str = "", code: int | None = 0, timeout_s: float = 60, at: bool = True) -> str:
        """Runs a tool, checks how it ended (`None`: whatever that was) and gives what it printed."""
        given = self.at if at else ()
        done = subprocess.run(self.command(tool, *given, *arguments), input=stdin, capture_output=True, text=True, timeout=timeout_s)
        text = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{tool} {' '.join(arguments)} ended with {done.returncode}: {text}"
        assert "NullPointerException" not in text and "SchemaException" not in text and "BufferUnderflow" not in text, text
        return text

    def spawn(self, tool: str, *arguments: str) -> "Running":
        return Running(self.command(tool, *self.at, *arguments))

    def topic(self, name: str, partitions: int = 1, **config: str) -> str:
        configs = [part for key, value in config.items() for part in ("--config", f"{key.replace('_', '.')}={value}")]
        self("topics", "--create", "--topic", name, "--partitions", str(partitions), *configs)
        return name

    def fill(self, topic: str, count: int, *more: str) -> None:
        # Keys, so that every partition gets some.
        self("verifiable-producer", "--topic", topic, "--max-messages", str(count), "--repeating-keys", "20", *more)

    def ends(self, topic: str, *more: str) -> dict[int, int]:
        text = self("get-offsets", "--topic", topic, *more)
        return {int(partition): int(offset) for partition, offset in re.findall(rf"^{re.escape(topic)}:(\d+):(-?\d+)$", text, re.M)}


class Running:
    """A tool in the background whose standard output is JSON lines or text in a file."""

    def __init__(self, command: list[str]):
        self.output = tempfile.NamedTemporaryFile(mode="w+", prefix="strandline-compat-", suffix=".out")
        self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.output.close()

    def text(self) -> str:
        with open(self.output.name) as file:
            return file.read()

    def events(self, name: str) -> list[dict]:
        found = []
        for line in self.text().splitlines():
            if line.startswith("{"):
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the last line, half written
                if event["name"] == name:
                    found.append(event)
        return found

    def signal(self, which: int, timeout_s: float = 20) -> None:
        self.process.send_signal(which)
        self.process.wait(timeout_s)


def values_of(running: list[Running]) -> list[int]:
    return sorted(int(event["value"].split(".")[-1]) for one in running for event in one.events("record_data"))


# Topics.

@case()
def topics_describe_filters(tools):
    tools.topic("filters-a", 2, retention_ms="1000000")
    tools.topic("filters-b", 1)
    expect(tools("topics", "--describe", "--topics-with-overrides"), r"Topic: filters-a\s.*retention.ms=1000000")
    listed = tools("topics", "--list", "--topic", "filters-.*").split()
    assert sorted(listed) == ["filters-a", "filters-b"], listed
    [found] = re.findall(r"TopicId: (\S+)", tools("topics", "--describe", "--topic", "filters-b"))
    expect(tools("topics", "--describe", "--topic-id", found), "Topic: filters-b")
    for which in ("--under-min-isr-partitions", "--at-min-isr-partitions", "--under-replicated-partitions", "--unavailable-partitions"):
        text = tools("topics", "--describe", which)
        assert which == "--at-min-isr-partitions" or "Topic:" not in text, text
    tools("topics", "--describe", "--topic", "filters-missing", "--if-exists")
    expect(tools("topics", "--describe", "--partition-size-limit-per-response", "1"), "filters-a", "filters-b")


@case()
def topics_with_a_replica_assignment(tools):
    tools("topics", "--create", "--topic", "assigned", "--replica-assignment", "1,1,1")
    expect(tools("topics", "--describe", "--topic", "assigned"), "PartitionCount: 3", "ReplicationFactor: 1")
    tools("topics", "--alter", "--topic", "assigned", "--partitions", "4", "--replica-assignment", "1,1,1,1")
    expect(tools("topics", "--describe", "--topic", "assigned"), "PartitionCount: 4")


@case()
def topics_that_cannot_be(tools):
    for arguments, said in ((("bad/name", "--partitions", "1"), "Invalid|illegal"), (("zero", "--partitions", "0"), "partitions must be|greater than 0|Number of partitions"),
                            (("x" * 250, "--partitions", "1"), "Invalid|too long|longer than"),
                            (("badly", "--config", "retention.ms=soon"), "[Ii]nvalid value"), (("unknown", "--config", "no.such.thing=1"), "Unknown topic config name")):
        expect(tools("topics", "--create", "--topic", *arguments, code=1), said)
    listed = tools("topics", "--list").split()
    assert not {"zero", "badly", "unknown"} & set(listed), listed


@case()
def topics_deleted_by_pattern(tools):
    for name in ("gone-1", "gone-2", "stays-1"):
        tools.topic(name)
    tools("topics", "--delete", "--topic", "gone-.*")
    until("the topics are gone", lambda: not [name for name in tools("topics", "--list").split() if name.startswith("gone-")])
    expect(tools("topics", "--list"), "stays-1")
    expect(tools("topics", "--delete", "--topic", "gone-1", code=1), "does not exist")
    tools("topics", "--delete", "--topic", "gone-1", "--if-exists")


# Console.

@case()
def console_producer_options(tools):
    tools.topic("console", 2)
    tools("console-producer", "--topic", "console", "--sync", "--request-required-acks", "1", "--command-property", "client.id=me", "--batch-size", "1",
          "--timeout", "5", "--max-block-ms", "20000", stdin="sync\n")
    tools("console-producer", "--topic", "console", "--request-required-acks", "0", stdin="unacknowledged\n")
    tools("console-producer", "--topic", "console", "--reader-property", "parse.key=true", "--reader-property", "ignore.error=true", stdin="k\tkeyed\nno key\n")
    text = tools("console-consumer", "--topic", "console", "--from-beginning", "--max-messages", "4", "--timeout-ms", "20000")
    assert sorted(line for line in text.splitlines() if "Processed" not in line) == ["keyed", "no key", "sync", "unacknowledged"], text


@case()
def console_consumer_formatters(tools):
    tools.topic("formats")
    tools("console-producer", "--topic", "formats", "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
          stdin="h:1\tkey\tvalue\n")
    show = [part for name in ("timestamp", "key", "offset", "partition", "headers", "epoch", "delivery") for part in ("--formatter-property", f"print.{name}=true")]
    base = ("--topic", "formats", "--from-beginning", "--max-messages", "1", "--timeout-ms", "20000")
    expect(tools("console-consumer", *base, *show), r"CreateTime:\d{13}\t", r"Partition:0\tOffset:0\t", r"h:1\tkey\tvalue")
    expect(tools("console-consumer", *base, "--formatter-property", "print.key=true", "--formatter-property", "key.separator=|",
                 "--formatter-property", "key.deserializer=org.apache.kafka.common.serialization.StringDeserializer"), r"key\|value")
    expect(tools("console-consumer", *base, "--formatter", "org.apache.kafka.tools.consumer.LoggingMessageFormatter"), "value|Processed a total of 1")
    expect(tools("console-consumer", *base, "--formatter", "org.apache.kafka.tools.consumer.NoOpMessageFormatter"), "Processed a total of 1 messages")


@case()
def console_consumer_by_pattern_and_offset(tools):
    for name in ("pattern-1", "pattern-2"):
        tools.topic(name)
        tools("console-producer", "--topic", name, stdin="".join(f"{name}-{n}\n" for n in range(5)))
    text = tools("console-consumer", "--include", "pattern-.*", "--from-beginning", "--max-messages", "10", "--timeout-ms", "20000")
    assert sorted(re.findall(r"^pattern-\d-\d$", text, re.M)) == [f"pattern-{t}-{n}" for t in (1, 2) for n in range(5)], text
    for offset, said in (("earliest", "pattern-1-0"), ("3", "pattern-1-3")):
        text = tools("console-consumer", "--topic", "pattern-1", "--partition", "0", "--offset", offset, "--max-messages", "1", "--timeout-ms", "20000")
        assert text.splitlines()[0] == said, text
    text = tools("console-consumer", "--topic", "pattern-1", "--partition", "0", "--offset", "latest", "--max-messages", "1", "--timeout-ms", "3000", code=None)
    assert "pattern-1-" not in text, text


@case(90)
def console_consumer_group_goes_on(tools):
    tools.topic("resume", 3)
    tools("console-producer", "--topic", "resume", stdin="".join(f"{n}\n" for n in range(40)))
    base = ("--topic", "resume", "--group", "resuming", "--from-beginning", "--timeout-ms", "20000")
    first = re.findall(r"^\d+$", tools("console-consumer", *base, "--max-messages", "15", "--consumer-property", "max.poll.records=5"), re.M)
    second = re.findall(r"^\d+$", tools("console-consumer", *base, "--max-messages", "25"), re.M)
    assert sorted(map(int, first + second)) == list(range(40)), (first, second)
    text = tools("groups", "--describe", "--group", "resuming")
    assert sum(int(lag) for lag in re.findall(r"resuming\s+resume\s+\d+\s+\d+\s+\d+\s+(\d+)", text)) == 0, text


@case(90)
def console_consumer_static_member_and_assignors(tools):
    tools.topic("assignors", 4)
    tools.fill("assignors", 20)
    for assignor in ("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor"):
        text = tools("console-consumer", "--topic", "assignors", "--group", f"with-{assignor}", "--from-beginning", "--max-messages", "20", "--timeout-ms", "20000",
                     "--command-property", f"partition.assignment.strategy=org.apache.kafka.clients.consumer.{assignor}",
                     "--command-property", f"group.instance.id={assignor}")
        expect(text, "Processed a total of 20 messages")


# Groups and offsets.

@case(120)
def groups_reset_every_way(tools):
    for name in ("reset-a", "reset-b"):
        tools.topic(name, 2)
        tools.fill(name, 40)
    tools("console-consumer", "--include", "reset-[ab]", "--group", "resets", "--from-beginning", "--max-messages", "80", "--timeout-ms", "20000")

    def reset(*how: str) -> set:
        text = tools("groups", "--group", "resets", "--reset-offsets", *how)
        return {(topic, int(partition), int(offset)) for topic, partition, offset in re.findall(r"resets\s+(reset-[ab])\s+(\d)\s+(\d+)", text)}

    everywhere = {(topic, partition, 0) for topic in ("reset-a", "reset-b") for partition in (0, 1)}
    assert reset("--all-topics", "--to-earliest", "--execute") == everywhere
    assert reset("--topic", "reset-a", "--topic", "reset-b", "--shift-by", "7", "--execute") == {(t, p, 7) for t, p, _ in everywhere}
    assert reset("--topic", "reset-a:1", "--to-offset", "3", "--execute") == {("reset-a", 1, 3)}
    assert {offset for _, _, offset in reset("--all-topics", "--by-duration", "PT1H", "--execute")} == {0}
    assert len(reset("--all-topics", "--to-current", "--dry-run")) == 4
    text = tools("groups", "--group", "resets", "--reset-offsets", "--all-topics", "--to-offset", "5", "--dry-run", "--export")
    plan = [row for row in csv.reader(io.StringIO(text)) if len(row) == 3 and row[0].startswith("reset-")]
    assert len(plan) == 4, text
    path = tools.file("plan.csv", "".join(f"{topic},{partition},{offset}\n" for topic, partition, offset in plan))
    assert reset("--from-file", path, "--execute") == {(t, p, 5) for t, p, _ in everywhere}


@case(120)
def groups_deleting_offsets_and_many(tools):
    tools.topic("several", 2)
    tools.fill("several", 20)
    for group in ("several-1", "several-2"):
        tools("console-consumer", "--topic", "several", "--group", group, "--from-beginning", "--max-messages", "20", "--timeout-ms", "20000")
    text = tools("groups", "--describe", "--all-groups", "--offsets")
    expect(text, r"several-1\s+several\s+0", r"several-2\s+several\s+1")
    expect(tools("groups", "--describe", "--group", "several-1", "--group", "several-2", "--state"), r"several-1 .*Empty", r"several-2 .*Empty")
    expect(tools("groups", "--list", "--state", "Empty,Stable"), r"several-1\s+Empty", r"several-2\s+Empty")
    expect(tools("groups", "--list", "--type", "classic"), r"several-1\s+Classic", r"several-2\s+Classic")
    expect(tools("groups", "--delete-offsets", "--group", "several-1", "--topic", "several:1"), r"several\s+1\s+Successful")
    text = tools("groups", "--describe", "--group", "several-1")
    assert re.search(r"several\s+0\s", text) and not re.search(r"several\s+1\s", text), text
    expect(tools("groups", "--delete", "--group", "several-1", "--group", "several-2"), "was successful")
    expect(tools("groups", "--describe", "--group", "several-1", code=None), "does not exist|GroupIdNotFound|not found")
    expect(tools("groups", "--delete", "--group", "never-there", code=None), "GroupIdNotFound|does not exist|could not be found|not found")


@case(90)
def groups_in_use_refuse(tools):
    tools.topic("in-use", 1)
    tools.fill("in-use", 5)
    with tools.spawn("verifiable-consumer", "--topic", "in-use", "--group-id", "busy", "--reset-policy", "earliest") as member:
        until("the member has read", lambda: member.events("records_consumed"))
        expect(tools("groups", "--delete", "--group", "busy", code=None), "GroupNotEmptyException|not empty")
        expect(tools("groups", "--delete-offsets", "--group", "busy", "--topic", "in-use", code=None), "GroupSubscribedToTopic|subscribed")
        expect(tools("groups", "--describe", "--group", "busy", "--members", "--verbose"), r"busy\s+consumer-busy-1-\S+\s+/127.0.0.1\s+consumer-busy-1\s+1\s+\S*\s*in-use[:(]0")


@case(90)
def get_offsets_every_way(tools):
    tools.topic("offsets-a", 3)
    tools.topic("offsets-b", 1)
    tools.fill("offsets-a", 30, "--message-create-time", "1700000000000")
    ends = tools.ends("offsets-a")
    assert len(ends) == 3 and sum(ends.values()) == 30, ends
    text = tools("get-offsets", "--topic-partitions", "offsets-a:0-1,offsets-b:0")
    assert re.findall(r"^(\S+):\d+$", text, re.M) == ["offsets-a:0", "offsets-b:0"], text
    assert list(tools.ends("offsets-a", "--partitions", "1,2")) == [1, 2]
    assert set(tools.ends("offsets-a", "--time", "-2").values()) == {0}
    assert set(tools.ends("offsets-a", "--time", "1600000000000").values()) == {0}
    # A partition without records has no newest one.
    newest = tools.ends("offsets-a", "--time", "-3")
    assert set(newest) == {partition for partition, end in ends.items() if end > 0}, (newest, ends)
    assert all(0 <= offset < ends[partition] for partition, offset in newest.items()), (newest, ends)
    # What has no offset is left out, and so is, with a word, what was refused.
    for nowhere in ("1900000000000", "latest-tiered"):
        text = tools("get-offsets", "--topic", "offsets-a", "--time", nowhere)
        assert "Skip getting offsets" not in text and not re.search(r"^offsets-a:\d:", text, re.M), text
    text = tools("get-offsets", "--topic", "offsets-.*", "--exclude-internal-topics")
    assert len(re.findall(r"^offsets-[ab]:\d:\d+$", text, re.M)) == 4, text
    for time_ in ("earliest-local", "-4"):
        assert set(tools.ends("offsets-a", "--time", time_).values()) == {0}
    tools("get-offsets", "--topic", "offsets-missing", code=1)


@case()
def delete_records_of_several(tools):
    tools.topic("cut", 3)
    tools.fill("cut", 60)
    cut = {"version": 1, "partitions": [{"topic": "cut", "partition": p, "offset": offset} for p, offset in ((0, 5), (1, -1))]}
    expect(tools("delete-records", "--offset-json-file", tools.file("cut.json", json.dumps(cut))), r"partition: cut-0\s+low_watermark: 5")
    starts, ends = tools.ends("cut", "--time", "earliest"), tools.ends("cut")
    assert starts == {0: 5, 1: ends[1], 2: 0}, (starts, ends)
    text = tools("console-consumer", "--topic", "cut", "--from-beginning", "--max-messages", str(sum(ends.values()) - 5 - ends[1]), "--timeout-ms", "20000")
    expect(text, "Processed a total of")
    beyond = {"version": 1, "partitions": [{"topic": "cut", "partition": 0, "offset": 100000}]}
    expect(tools("delete-records", "--offset-json-file", tools.file("beyond.json", json.dumps(beyond)), code=None), "OffsetOutOfRange|Cannot increment|not within the range|error")


@case()
def log_dirs_sizes(tools):
    tools.topic("sized", 2)
    tools.fill("sized", 200)
    [line] = [line for line in tools("log-dirs", "--describe", "--topic-list", "sized", "--broker-list", "1").splitlines() if line.startswith("{")]
    partitions = [p for d in json.loads(line)["brokers"][0]["logDirs"] for p in d["partitions"]]
    assert sorted(p["partition"] for p in partitions) == ["sized-0", "sized-1"] and sum(p["size"] for p in partitions) > 200, line
    assert all(not p["isFuture"] for p in partitions), line
    tools("log-dirs", "--describe")


# Configurations.

@case(90)
def configs_files_and_many(tools):
    for name in ("configured-1", "configured-2"):
        tools.topic(name)
    path = tools.file("more.properties", "retention.ms=60000\nmax.message.bytes=2000000\ncompression.type=lz4\n")
    tools("configs", "--entity-type", "topics", "--entity-name", "configured-1", "--alter", "--add-config-file", path)
    expect(tools("configs", "--topic", "configured-1", "--describe"), "retention.ms=60000", "max.message.bytes=2000000", "compression.type=lz4")
    text = tools("configs", "--entity-type", "topics", "--describe")
    expect(text, "configured-1", "configured-2")
    tools("configs", "--topic", "configured-1", "--alter", "--add-config", "cleanup.policy=compact", "--delete-config", "retention.ms,compression.type")
    text = tools("configs", "--topic", "configured-1", "--describe")
    assert "retention.ms" not in text and "cleanup.policy=compact" in text, text
    expect(tools("configs", "--topic", "configured-missing", "--describe", code=None), "doesn't exist|does not exist")
    tools("configs", "--topic", "configured-2", "--alter", "--delete-config", "retention.ms", code=1)
    tools("configs", "--topic", "configured-2", "--alter", "--add-config", "no.such.config=1", code=1)


@case(90)
def configs_of_brokers(tools):
    expect(tools("configs", "--broker", "1", "--describe", "--all"), "advertised.listeners", "log.retention", "num.partitions")
    tools("configs", "--broker-defaults", "--describe")


@case()
def configs_of_brokers_altered(tools):
    tools("configs", "--broker", "1", "--alter", "--add-config", "log.cleaner.threads=2")
    expect(tools("configs", "--broker", "1", "--describe"), "log.cleaner.threads=2")


@case()
def configs_of_loggers(tools):
    expect(tools("configs", "--entity-type", "broker-loggers", "--entity-name", "1", "--describe"), "=INFO|=WARN|=ERROR")


@case()
def configs_of_groups(tools):
    tools("configs", "--group", "configured", "--alter", "--add-config", "consumer.session.timeout.ms=50000")
    expect(tools("configs", "--group", "configured", "--describe"), "consumer.session.timeout.ms=50000")


@case()
def configs_of_client_quotas(tools):
    tools("configs", "--client", "greedy", "--alter", "--add-config", "producer_byte_rate=1000000")
    expect(tools("configs", "--client", "greedy", "--describe"), "producer_byte_rate=1000000")


# Performance tools.

@case(90)
def producer_performance_codecs_and_acks(tools):
    tools.topic("perf", 3)
    for codec, acks in (("none", "0"), ("gzip", "1"), ("snappy", "all"), ("lz4", "all"), ("zstd", "all")):
        text = tools("producer-perf", "--topic", "perf", "--num-records", "2000", "--record-size", "300", "--throughput", "-1", "--producer-props",
                     f"acks={acks}", f"compression.type={codec}", f"bootstrap.servers={tools.broker.bootstrap}", at=False)
        expect(text, "2000 records sent")
    until("all are there", lambda: sum(tools.ends("perf").values()) == 10_000)


@case(90)
def producer_performance_options(tools):
    tools.topic("paced", 1)
    payloads = tools.file("payloads.txt", "".join(f"line {n}\n" for n in range(50)))
    text = tools("producer-perf", "--topic", "paced", "--num-records", "600", "--payload-file", payloads, "--throughput", "200", "--warmup-records", "100",
                 "--print-metrics", "--reporting-interval", "1000", "--command-property", "linger.ms=0")
    expect(text, "600 records sent", "producer-metrics:record-send-total", "steady state|Warmup")
    tools("producer-perf", "--topic", "paced", "--num-records", "100", "--payload-monotonic", "--throughput", "-1")
    assert tools.ends("paced") == {0: 700}


@case(90)
def consumer_performance_options(tools):
    tools.topic("read-fast", 3)
    tools.fill("read-fast", 3000)
    text = tools("consumer-perf", "--topic", "read-fast", "--num-records", "3000", "--show-detailed-stats", "--reporting-interval", "500", "--timeout", "20000",
                 "--group", "fast", "--fetch-size", "4096", "--print-metrics", "--command-property", "max.poll.records=100")
    expect(text, r"consumer-fetch-manager-metrics:records-consumed-total\S*\s*: 3000")
    text = tools("consumer-perf", "--include", "read-f.*", "--num-records", "3000", "--timeout", "20000", "--hide-header", code=None)
    assert int(float([line for line in text.splitlines() if re.match(r"\d{4}-", line)][-1].split(", ")[4])) >= 3000, text


@case(90)
def end_to_end_latency_with_keys_and_headers(tools):
    text = tools("end-to-end-latency", "--topic", "there-and-back", "--num-records", "200", "--producer-acks", "1", "--record-size", "100",
                 "--record-key-size", "10", "--num-headers", "2", "--record-header-key-size", "5", "--record-header-size", "20")
    expect(text, "Avg latency", "Percentiles")


# Verifiable tools.

@case(90)
def verifiable_producer_options(tools):
    tools.topic("values", 2)
    text = tools("verifiable-producer", "--topic", "values", "--max-messages", "100", "--throughput", "500", "--acks", "1", "--value-prefix", "7",
                 "--repeating-keys", "5", "--message-create-time", "1700000000000")
    sent = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    good = [event for event in sent if event["name"] == "producer_send_success"]
    assert {event["value"] for event in good} == {f"7.{n}" for n in range(100)} and {event["key"] for event in good} == set("01234"), text[-500:]
    [summary] = [event for event in sent if event["name"] == "tool_data"]
    assert summary["acked"] == 100, summary
    text = tools("console-consumer", "--topic", "values", "--from-beginning", "--max-messages", "100", "--timeout-ms", "20000", "--formatter-property", "print.timestamp=true")
    assert len(re.findall(r"CreateTime:17000\d{8}\t7\.\d+", text)) == 100, text[-500:]


@case(120)
def verifiable_consumers_share_a_topic(tools):
    tools.topic("shared", 6)
    base = ("--topic", "shared", "--group-id", "pair", "--verbose", "--reset-policy", "earliest", "--session-timeout", "6000")
    for strategy in ("RangeAssignor", "CooperativeStickyAssignor"):
        group = [*base, "--assignment-strategy", f"org.apache.kafka.clients.consumer.{strategy}"]
        group[3] = f"pair-{strategy}"
        with tools.spawn("verifiable-consumer", *group) as one, tools.spawn("verifiable-consumer", *group) as two:
            def owned(member: Running) -> int:
                have: set = set()
                for line in member.text().splitlines():
                    if line.startswith("{") and line.endswith("}") and '"partitions_' in line:
                        event = json.loads(line)
                        partitions = {(p["topic"], p["partition"]) for p in event["partitions"]}
                        have = have | partitions if event["name"] == "partitions_assigned" else have - partitions
                return len(have)

            until("each has three partitions", lambda: (owned(one), owned(two)) == (3, 3), 40)
            tools.fill("shared", 600)
            count = sum(tools.ends("shared").values())
            until("all is read", lambda: len(values_of([one, two])) >= count, 30)
            assert len(values_of([one, two])) == count
            one.signal(signal.SIGTERM)
            assert one.events("shutdown_complete")
            until("the other has all six", lambda: owned(two) == 6, 30)


@case(120)
def a_member_is_killed(tools):
    tools.topic("killed", 4)
    tools.fill("killed", 400)
    group = ("--topic", "killed", "--group-id", "survivors", "--verbose", "--reset-policy", "earliest", "--session-timeout", "6000")
    with tools.spawn("verifiable-consumer", *group) as one:
        until("the first has read all", lambda: len(values_of([one])) >= 400, 40)
        until("and committed", lambda: one.events("offsets_committed"))
        time.sleep(1)
        one.signal(signal.SIGKILL)
        tools.fill("killed", 400, "--value-prefix", "2")
        with tools.spawn("verifiable-consumer", *group) as two:
            until("the second has read the rest", lambda: len(values_of([two])) >= 400, 60)
            assert set(values_of([two])) == set(range(400)) and len(values_of([two])) <= 800


@case(120)
def a_static_member_comes_back(tools):
    tools.topic("static", 4)
    group = ("--topic", "static", "--group-id", "statics", "--reset-policy", "earliest", "--session-timeout", "30000")
    with tools.spawn("verifiable-consumer", *group, "--group-instance-id", "b") as other:
        with tools.spawn("verifiable-consumer", *group, "--group-instance-id", "a") as member:
            until("both have partitions", lambda: member.events("partitions_assigned") and len(other.events("partitions_assigned")) >= 1
                  and sum(len(event["partitions"]) for event in other.events("partitions_assigned")[-1:] + member.events("partitions_assigned")[-1:]) == 4, 40)
            time.sleep(2)
            member.signal(signal.SIGKILL)
        before = len(other.events("partitions_revoked"))
        with tools.spawn("verifiable-consumer", *group, "--group-instance-id", "a") as member:
            until("it has its partitions again", lambda: member.events("partitions_assigned"), 25)
            assert len(other.events("partitions_revoked")) == before, other.text()


@case(120)
def a_broker_is_killed_under_the_verifiable_tools(tools):
    tools.topic("robust", 3)
    group = ("--topic", "robust", "--group-id", "robust", "--verbose", "--reset-policy", "earliest")
    retrying = tools.file("retrying.properties", "retries=1000000\n")
    with tools.spawn("verifiable-producer", "--topic", "robust", "--throughput", "300", "--max-messages", "4500", "--command-config", retrying) as producer, \
            tools.spawn("verifiable-consumer", *group) as consumer:
        until("records flow", lambda: len(consumer.events("record_data")) > 300, 40)
        kill_running(tools.broker)
        time.sleep(1)
        tools.broker.start()
        assert producer.process.wait(60) == 0, producer.text()[-2000:]
        acknowledged = {int(event["value"]) for event in producer.events("producer_send_success")}
        assert not producer.events("producer_send_error"), producer.events("producer_send_error")[:3]
        assert len(acknowledged) == 4500
        until("everything acknowledged is read", lambda: acknowledged <= set(values_of([consumer])), 40)


@case(90)
def client_compatibility_test(tools):
    tools.topic("compatible", 1)
    true = ("--offsets-for-times-supported", "--cluster-id-supported", "--create-topics-supported", "--describe-configs-supported", "--idempotent-producer-supported")
    tools("client-compatibility", "--topic", "compatible", "--num-cluster-nodes", "1", *[part for name in true for part in (name, "True")],
          "--expect-record-too-large-exception", "False", "--describe-acls-supported", "True" if tools.broker.name == "kafka" else "False")


@case()
def streams_application_reset(tools):
    for name in ("reset-input", "resetting-store-changelog"):
        tools.topic(name, 2)
    tools.fill("reset-input", 20)
    tools("console-consumer", "--topic", "reset-input", "--group", "resetting", "--from-beginning", "--max-messages", "20", "--timeout-ms", "20000")
    tools("streams-reset", "--application-id", "resetting", "--input-topics", "reset-input", "--to-earliest")
    text = tools("groups", "--describe", "--group", "resetting")
    assert re.findall(r"reset-input\s+\d\s+(\d+)", text) == ["0", "0"], text
    assert "resetting-store-changelog" not in tools("topics", "--list").split()


# What only some brokers have: each either works or is refused at once, with an error that a person understands.

@case()
def cluster_endpoints(tools):
    expect(tools("cluster", "list-endpoints", *tools.at, at=False), r"1\s+127.0.0.1|1\s+localhost")


@case(90)
def replica_verification(tools):
    tools.topic("verified", 2)
    tools.fill("verified", 50)
    command = tools.command("replica-verification", "--broker-list", tools.broker.bootstrap, "--topics-include", "verified", "--report-interval-ms", "500")
    with Running(command) as running:
        until("a report", lambda: "max lag is 0" in running.text(), 30)


@case()
def leader_election(tools):
    tools.topic("elected", 1)
    tools("leader-election", "--election-type", "preferred", "--topic", "elected", "--partition", "0")


@case()
def reassign_partitions(tools):
    tools.topic("moved", 1)
    plan = tools.file("moves.json", json.dumps({"version": 1, "partitions": [{"topic": "moved", "partition": 0, "replicas": [1]}]}))
    tools("reassign", "--reassignment-json-file", plan, "--execute")
    expect(tools("reassign", "--reassignment-json-file", plan, "--verify"), "is completed")
    tools("reassign", "--list")


@case()
def reassign_partitions_generate(tools):
    tools.topic("planned", 2)
    plan = tools.file("topics.json", json.dumps({"version": 1, "topics": [{"topic": "planned"}]}))
    expect(tools("reassign", "--topics-to-move-json-file", plan, "--broker-list", "1", "--generate"), "Proposed partition reassignment")


@case()
def metadata_quorum(tools):
    expect(tools("quorum", "describe", "--status"), "LeaderId")


@case()
def client_metrics(tools):
    tools("client-metrics", "--alter", "--name", "mine", "--metrics", "org.apache.kafka.", "--interval", "60000")
    expect(tools("client-metrics", "--describe", "--name", "mine"), "interval.ms=60000")


@case()
def features(tools):
    expect(tools("features", "describe"), "Feature: group.version|Feature: metadata.version")


@case()
def transactions_list(tools):
    tools("transactions", "list")


@case(90)
def transactional_performance(tools):
    tools.topic("transactional", 1)
    text = tools("producer-perf", "--topic", "transactional", "--num-records", "100", "--record-size", "100", "--throughput", "-1", "--transactional-id", "mine",
                 "--transaction-duration-ms", "200", timeout_s=40)
    expect(text, "100 records sent")


@case()
def share_consumer(tools):
    tools.topic("share", 1)
    tools("configs", "--group", "sharing", "--alter", "--add-config", "share.auto.offset.reset=earliest")
    tools.fill("share", 10)
    expect(tools("share-console-consumer", "--topic", "share", "--group", "sharing", "--max-messages", "10", "--timeout-ms", "20000"), "Processed a total of 10")


@case()
def consumer_protocol_of_848(tools):
    tools.topic("newer", 1)
    tools.fill("newer", 10)
    expect(tools("console-consumer", "--topic", "newer", "--group", "newer", "--from-beginning", "--max-messages", "10", "--timeout-ms", "20000",
                 "--command-property", "group.protocol=consumer"), "Processed a total of 10")


@case()
def streams_groups(tools):
    tools("streams-groups", "--list")


@case()
def acls(tools):
    expect(tools("acls", "--list", code=None), "SecurityDisabledException|No Authorizer is configured")
