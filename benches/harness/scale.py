"""100,000 partitions of which 100 are active, and 10,000 connections."""

import os
import subprocess
import time

from harness.load import command, create_topic, load, settle
from harness.registry import bench, say
from harness.report import at_most
from harness.servers import Kafka, Server, Strandline

# Of the inactive partitions so many have records, all of them in sealed files.
HOLDING, RECORDS_EACH = 10_000, 4
ACTIVE = {"phases": "1000:20", "warm_up_seconds": 5, "record_bytes": 500, "connections": 2}


def idle_cores(server: Server, seconds: float) -> float:
    before = server.cpu_s()
    time.sleep(seconds)
    return (server.cpu_s() - before) / seconds


def active(server: Server, topic: str) -> dict:
    return load("open-loop", server, topic=topic, **ACTIVE)


def cells(run: dict) -> list[str]:
    return [f"{run['ack']['p50_ms']:.1f}", f"{run['ack']['p99_ms']:.1f}", f"{run['server_cores']:.3f}"]


def times_the_cores(run: dict, alone: dict) -> str:
    """CPU time in parts of what the same load takes with no inactive partitions: nothing may grow with them."""
    return at_most(run["server_cores"] / alone["server_cores"], 1, 2)


def fill_few(node: Strandline) -> int:
    """A few records for each of many partitions, sealed; how many partitions have some."""
    create_topic(node, "holding", HOLDING)
    # A batch for each partition in turn.
    load("saturate", node, topic="holding", seconds=300, bytes=HOLDING * RECORDS_EACH * 500, record_bytes=500, batch_bytes=RECORDS_EACH * 500,
         connections=1)
    node.wait_converted()
    node.seal()
    return load("count", node, topic="holding", read=False)["partitions"]


@bench("scale", "100,000 partitions with 100 of them active, and 10,000 connections")
def scale(quick: bool) -> dict:
    hold_s = 10 if quick else 60
    partitions, connections = [], []
    alone: list[dict] = []
    for inactive in (0, 99_900):
        settle()
        with Strandline() as node:
            create_topic(node, "active", 100)
            created_s, holding = 0.0, 0
            if inactive:
                began = time.monotonic()
                create_topic(node, "inactive", inactive - HOLDING)
                created_s = time.monotonic() - began
                holding = fill_few(node)
            run = active(node, "active")
            node.wait_converted()
            idle, rss = idle_cores(node, hold_s), node.memory_mib()
            stopped_s = node.stop()
            node.start()
            started_s = node.serving_after_s
            again = active(node, "active")
            runs = [run, again]
            alone = alone or runs
            ratios = [times_the_cores(*pair) for pair in zip(runs, alone)]
            say(f"  {inactive + 100} partitions, {holding} inactive ones with records: start {started_s:.2f} s, RSS {rss:.0f} MiB, idle {idle:.3f} cores, p99 {run['ack']['p99_ms']:.1f} ms, "
                f"{run['server_cores']:.3f} and, after the start, {again['server_cores']:.3f} cores: {' and '.join(ratios)} times those of 100 partitions")
            partitions.append([f"{inactive + 100:,}", f"{holding:,}", f"{created_s:.1f}", f"{rss:.0f}", f"{node.memory_mib('VmHWM'):.0f}", f"{idle:.3f}", *cells(run), ratios[0],
                               f"{stopped_s:.2f}", at_most(started_s, 10, 2), *cells(again), ratios[1]])
    for server_class in (Strandline, Kafka):
        settle()
        with server_class() as server:
            create_topic(server, "active", 100)
            if server_class is Kafka:
                active(server, "active")
            before = active(server, "active")
            ready = os.path.join(server.folder, "ready")
            holder = subprocess.Popen(command("connections", server, count=10_000, hold_seconds=hold_s + 40, ready_file=ready),
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                rss_before, began = server.memory_mib(), time.monotonic()
                while not os.path.exists(ready) and holder.poll() is None and time.monotonic() - began < 120:
                    time.sleep(0.05)
                opened_s = time.monotonic() - began
                idle = idle_cores(server, min(hold_s, 10))
                rss = server.memory_mib()
                during = active(server, "active")
                _, errors = holder.communicate(timeout=300)
            finally:
                holder.kill()
                holder.wait()
            if holder.returncode != 0:
                raise RuntimeError(f"connections on {server.name}: {errors[-1000:]}")
            say(f"  10,000 connections, {server.name}: opened in {opened_s:.1f} s, {rss_before:.0f} to {rss:.0f} MiB, idle {idle:.3f} cores, "
                f"p99 {before['ack']['p99_ms']:.1f} without and {during['ack']['p99_ms']:.1f} ms with them")
            connections.append([server.name, f"{opened_s:.1f}", f"{rss_before:.0f}", f"{rss:.0f}", f"{(rss - rss_before) * 1024 / 10_000:.1f}",
                                f"{idle:.3f}", *cells(before), *cells(during)])
    return {
        "tables": [
            {"title": "Partitions: 1,000 records/s of 500 B to 100 of them, before and after a stop and start",
             "columns": ["partitions", "inactive ones with records", "created in s", "RSS MiB", "peak", "idle cores", "ack p50 ms", "p99", "cores",
                         "times the cores with 100 (aim 1)", "stopped in s", "started in s (aim 10)", "ack p50 ms", "p99", "cores",
                         "times the cores with 100 (aim 1)"], "rows": partitions},
            {"title": "10,000 connections: 1,000 records/s of 500 B without and with them",
             "columns": ["server", "opened in s", "RSS MiB before", "with them", "KiB each", "idle cores", "ack p50 ms without", "p99", "cores", "ack p50 ms with",
                         "p99", "cores"], "rows": connections},
        ],
        "notes": [f"Of 99,900 inactive partitions {HOLDING:,} were given {RECORDS_EACH} records each or a few more, converted and sealed before anything was "
                  "measured; the others never had a record. *created in s* is the time for those others, of one topic.",
                  "Apache Kafka is left out of the first table: each partition is a folder with open files there."],
    }
