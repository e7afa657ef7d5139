"""Consume: the tail in memory, the log, and sealed Parquet."""

import time

from harness.load import create_topic, load, settle
from harness.registry import bench, say
from harness.report import at_least, ratio
from harness.servers import Kafka, Strandline
from harness.warm import until_stable

MIB = 1 << 20
# Of warming: a JVM's tail got better in each of eight.
MOST_ROUNDS = 20
CASES = [("none", 1), ("none", 48), ("lz4", 1), ("lz4", 48)]


def fill(server, topic: str, codec: str, partitions: int, megabytes: int) -> dict:
    create_topic(server, topic, partitions)
    return load("saturate", server, topic=topic, seconds=600, bytes=megabytes * MIB, codec=codec, record_bytes=1_024)


def read(server, topic: str, written: dict, times: int, warm_times: int) -> dict:
    options = {"topic": topic, "records": written["records"], "record_bytes": written["record_bytes"] / written["records"]}
    # Rounds with the same options fill caches, and on Kafka compile.
    warm = until_stable(lambda: load("consume", server, **options, repeat=warm_times)["mb_per_cpu_second"] or 0, MOST_ROUNDS)
    return load("consume", server, **options, repeat=times) | {"warm": warm}


def hot(server, topic: str, case: tuple, megabytes: int, times: int, warm_times: int) -> dict:
    written = fill(server, topic, *case, megabytes)
    settle()
    return read(server, topic, written, times, warm_times)


def line(what: str, server: str, run: dict) -> None:
    say(f"  {what}, {server}: {run['mb_per_second']:.0f} MB/s, {run['mb_per_cpu_second']:.0f} MB per CPU-second"
        + ("" if run["warm"] else ", not stable when it was measured"))


@bench("consume", "hot tail, log and sealed Parquet, 1 KiB: throughput and bytes per server CPU-second")
def consume(quick: bool) -> dict:
    tail_mib, log_mib, times = (24, 256, 40) if quick else (24, 1_024, 200)
    rounds = 2 if quick else 4
    rows, sealed, unstable = [], [], []
    with Kafka() as kafka:
        for number, case in enumerate(CASES):
            codec, partitions = case
            name = f"{codec}, {partitions}p"
            tail, log = f"tail-{codec}-{partitions}", f"log-{codec}-{partitions}"
            runs = {}
            for server_name in ("Kafka", "Strandline") if number % 2 == 0 else ("Strandline", "Kafka"):
                # A round of warming is as long in a quick run: how much a JVM compiles depends on it.
                for what, topic, megabytes, *reads in (("tail", tail, tail_mib, times, 100), ("log", log, log_mib, rounds, 1)):
                    if server_name == "Kafka":
                        run = hot(kafka, topic, case, megabytes, *reads)
                    else:
                        with Strandline(conversion_paused=True) as node:
                            run = hot(node, topic, case, megabytes, *reads)
                    line(f"{what}, {name}", server_name, run)
                    runs[server_name, what] = run
                    if not run["warm"]:
                        unstable.append(f"{name}, {what}, {server_name}")
            ours_tail, ours_log = runs["Strandline", "tail"], runs["Strandline", "log"]
            kafka_tail, kafka_log = runs["Kafka", "tail"], runs["Kafka", "log"]
            with Strandline() as node:
                written = fill(node, log, codec, partitions, log_mib)
                node.wait_converted()
                node.seal()
                node.stop()
                node.forget_files()
                node.start()
                began_s, began_mib = node.cpu_s(), node.read_mib()
                first = load("consume", node, topic=log, records=written["records"],
                             record_bytes=written["record_bytes"] / written["records"])
                first_cpu_s, first_mib = node.cpu_s() - began_s, node.read_mib() - began_mib
                ours_sealed = read(node, log, written, rounds, 1)
                line(f"sealed, {name}, from the disk {first['mb_per_second']:.0f} MB/s, {first_mib:.0f} MiB read; again", "Strandline", ours_sealed)
                if not ours_sealed["warm"]:
                    unstable.append(f"{name}, sealed")
                peak = node.memory_mib("VmHWM")
            rows.append([name, *(f"{run['mb_per_second']:.0f}" for run in (ours_tail, kafka_tail, ours_log, kafka_log)),
                         *(f"{run['mb_per_cpu_second']:.0f}" for run in (ours_tail, kafka_tail)),
                         ratio(ours_tail["mb_per_cpu_second"], kafka_tail["mb_per_cpu_second"], 1),
                         *(f"{run['mb_per_cpu_second']:.0f}" for run in (ours_log, kafka_log)),
                         ratio(ours_log["mb_per_cpu_second"], kafka_log["mb_per_cpu_second"], 1)])
            sealed.append([name, f"{first_mib:.0f}", f"{first['mb_per_second']:.0f}", f"{ours_sealed['mb_per_second']:.0f}",
                           at_least(written["record_bytes"] / 1e6 / max(first_cpu_s, 0.01), 300),
                           at_least(ours_sealed["mb_per_cpu_second"], 300), f"{peak:.0f}"])
            time.sleep(1)
    return {
        "tables": [
            {"title": f"Hot: a tail of {tail_mib} MiB that both hold in memory, read {times} times; {log_mib} MiB of log, read {rounds} times",
             "columns": ["records", "tail MB/s", "Kafka", "log MB/s", "Kafka", "tail MB/CPU-s", "Kafka", "ratio (aim 1)", "log MB/CPU-s", "Kafka",
                         "ratio (aim 1)"], "rows": rows},
            {"title": f"Replay of {log_mib} MiB from sealed Parquet, after a restart",
             "columns": ["records", "MiB from the disk, first time", "MB/s, first time", "MB/s, again", "MB/CPU-s, first time (aim 300)", "MB/CPU-s, again (aim 300)", "peak RSS MiB"], "rows": sealed},
        ],
        "notes": ["Record bytes throughout. Kafka's consumer side is sendfile from the page cache in all of them.",
                  "Before the first replay the system's cache was told to give up the node's files (`POSIX_FADV_DONTNEED`); later replays find in it what the "
                  "first has left there.",
                  "Who was measured first changed from row to row. All were warmed with the options of the row until two rounds were no better than the best before"
                  + (f", but within {MOST_ROUNDS} rounds that did not come to pass with {'; '.join(unstable)}." if unstable else ".")],
    }
