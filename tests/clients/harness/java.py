"""Apache Kafka's own console tools, called by their classes."""

import os
import subprocess

LIBRARIES = os.path.join(os.environ.get("STRANDLINE_CACHE", ""), "clients", "kafka")
TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "all-groups": "org.apache.kafka.tools.GroupsCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "producer-perf": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf": "org.apache.kafka.tools.ConsumerPerformance",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "cluster": "org.apache.kafka.tools.ClusterTool",
    "end-to-end-latency": "org.apache.kafka.tools.EndToEndLatency",
    "acls": "org.apache.kafka.tools.AclCommand",
    "reassign": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "features": "org.apache.kafka.tools.FeatureCommand",
}


def command(tool: str, *arguments: str) -> list[str]:
    # One small heap, the cheap collector and no late compiler: these tools live for seconds.
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{LIBRARIES}/*",
            "-Dlog4j2.level=WARN", TOOLS[tool], *arguments]


def java(tool: str, *arguments: str, stdin: str = "", code: int | None = 0, timeout_s: float = 60) -> str:
    """Runs a tool and checks its exit code; gives what it printed to both streams."""
    done = subprocess.run(command(tool, *arguments), input=stdin, capture_output=True, text=True, timeout=timeout_s)
    text = done.stdout + done.stderr
    assert code is None or done.returncode == code, f"{tool} {' '.join(arguments)} ended with {done.returncode}: {text}"
    assert "NullPointerException" not in text and "SchemaException" not in text and "BufferUnderflow" not in text, text
    return text
