"""Kafka's own perf tools against both: a cross-check of the generator."""

import re
import subprocess

from harness.load import create_topic, settle
from harness.registry import bench, say
from harness.report import ratio
from harness.servers import ENVIRONMENT, KAFKA, Kafka, Strandline


def tool(name: str, *arguments: str) -> str:
    done = subprocess.run(["java", "-Xmx512m", "-cp", f"{KAFKA}/*", f"org.apache.kafka.tools.{name}", *arguments],
                          capture_output=True, text=True, timeout=1_200, env=ENVIRONMENT)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def produce(server, topic: str, records: int, *properties: str) -> dict:
    before = server.cpu_s()
    text = tool("ProducerPerformance", "--topic", topic, "--num-records", str(records), "--record-size", "1024", "--throughput", "-1",
                "--producer-props", f"bootstrap.servers={server.bootstrap}", "acks=all", *properties)
    cpu_s = server.cpu_s() - before
    last = [line for line in text.splitlines() if "99th" in line][-1]
    mib = float(re.search(r"\(([\d.]+) MB/sec\)", last)[1])
    p50, p99 = (float(re.search(rf"([\d.]+) ms {which}", last)[1]) for which in ("50th", "99th"))
    return {"mb_per_second": mib * 1.048576, "mb_per_cpu": records * 1_024 / 1e6 / max(cpu_s, 0.01), "p50": p50, "p99": p99}


def consume(server, topic: str, records: int) -> dict:
    before = server.cpu_s()
    tool("ConsumerPerformance", "--topic", topic, "--num-records", str(records), "--bootstrap-server", server.bootstrap, "--timeout", "60000")
    return {"mb_per_cpu": records * 1_024 / 1e6 / max(server.cpu_s() - before, 0.01)}


@bench("tools", "Kafka's own perf tools (Java's client with its defaults, batches of 16 KiB, random values) against both")
def tools(quick: bool) -> dict:
    records = 300_000 if quick else 2_000_000
    rows = []
    with Kafka() as kafka, Strandline("Strandline, conversion paused", conversion_paused=True) as node:
        for partitions in (1, 48):
            runs = {}
            # As many records as are measured, written and read: the JVM compiles what is hot.
            create_topic(kafka, f"warm-{partitions}", partitions)
            produce(kafka, f"warm-{partitions}", records)
            consume(kafka, f"warm-{partitions}", records)
            for server in (node, kafka) if partitions == 1 else (kafka, node):
                settle()
                topic = f"perf-{partitions}"
                create_topic(server, topic, partitions)
                made = produce(server, topic, records)
                read = consume(server, topic, records)
                runs[server.name] = (made, read)
                say(f"  {partitions} partitions, {server.name}: {made['mb_per_second']:.0f} MB/s, {made['mb_per_cpu']:.0f} MB per CPU-second, "
                    f"consume {read['mb_per_cpu']:.0f}")
            (ours, ours_read), (theirs, theirs_read) = runs[node.name], runs[kafka.name]
            rows.append([f"{partitions}p", f"{ours['mb_per_second']:.0f}", f"{theirs['mb_per_second']:.0f}", f"{ours['mb_per_cpu']:.0f}",
                         f"{theirs['mb_per_cpu']:.0f}", ratio(ours["mb_per_cpu"], theirs["mb_per_cpu"], 4), f"{ours['p99']:.0f}", f"{theirs['p99']:.0f}",
                         f"{ours_read['mb_per_cpu']:.0f}", f"{theirs_read['mb_per_cpu']:.0f}", ratio(ours_read["mb_per_cpu"], theirs_read["mb_per_cpu"], 1)])
    return {"tables": [{"title": f"{records:,} records of 1 KiB, acks=all, not compressed",
                        "columns": ["partitions", "produce MB/s", "Kafka", "MB/CPU-s", "Kafka", "ratio (aim 4)", "p99 ms", "Kafka", "consume MB/CPU-s", "Kafka",
                                    "ratio (aim 1)"], "rows": rows}],
            "notes": ["Before each row Kafka was warmed with as many records, written and read once. Strandline was measured first with 1 partition, Kafka first with 48."]}
