"""Consume: the tail in memory, the log, and sealed Parquet."""

import time

from harness.load import create_topic, load, settle
from harness.registry import bench, say
from harness.report import at_least, ratio
from harness.servers import Kafka, Strandline

MIB = 1 << 20
CASES = [("none", 1), ("none", 48), ("lz4", 1), ("lz4", 48)]


def fill(server, topic: str, codec: str, partitions: int, megabytes: int) -> dict:
    create_topic(server, topic, partitions)
    return load("saturate", server, topic=topic, seconds=600, bytes=megabytes * MIB, codec=codec, record_bytes=1_024)


def read(server, topic: str, written: dict, read_mib: int, times: int) -> dict:
    options = {"topic": topic, "records": written["records"], "record_bytes": written["record_bytes"] / written["records"]}
    # The first round fills caches, and on Kafka compiles.
    load("consume", server, **options, repeat=max(1, times // 4))
    return load("consume", server, **options, repeat=times)


def line(what: str, server: str, run: dict) -> None:
    say(f"  {what}, {server}: {run['mb_per_second']:.0f} MB/s, {run['mb_per_cpu_second']:.0f} MB per CPU-second")


@bench("consume", "hot tail, log and sealed Parquet, 1 KiB: throughput and bytes per server CPU-second")
def consume(quick: bool) -> dict:
    tail_mib, log_mib, times = (24, 256, 40) if quick else (24, 1_024, 200)
    rounds = 2 if quick else 4
    hot, sealed = [], []
    with Kafka() as kafka:
        for codec, partitions in CASES:
            name = f"{codec}, {partitions}p"
            tail, log = f"tail-{codec}-{partitions}", f"log-{codec}-{partitions}"
            kafka_tail = read(kafka, tail, fill(kafka, tail, codec, partitions, tail_mib), tail_mib, times)
            line(f"tail, {name}", "Kafka", kafka_tail)
            written = fill(kafka, log, codec, partitions, log_mib)
            settle()
            kafka_log = read(kafka, log, written, log_mib, rounds)
            line(f"log, {name}", "Kafka", kafka_log)
            with Strandline(conversion_paused=True) as node:
                written = fill(node, log, codec, partitions, log_mib)
                settle()
                ours_log = read(node, log, written, log_mib, rounds)
                line(f"log, {name}", "Strandline", ours_log)
            with Strandline(conversion_paused=True) as node:
                ours_tail = read(node, tail, fill(node, tail, codec, partitions, tail_mib), tail_mib, times)
                line(f"tail, {name}", "Strandline", ours_tail)
            with Strandline() as node:
                written = fill(node, log, codec, partitions, log_mib)
                node.wait_converted()
                node.seal()
                node.stop()
                node.start()
                # Written at the end of the first run: none of it is in memory any more.
                began_s = node.cpu_s()
                first = load("consume", node, topic=log, records=written["records"],
                             record_bytes=written["record_bytes"] / written["records"])
                first_cpu_s = node.cpu_s() - began_s
                ours_sealed = read(node, log, written, log_mib, rounds)
                line(f"sealed, {name}", "Strandline", ours_sealed)
                peak = node.memory_mib("VmHWM")
            hot.append([name, *(f"{run['mb_per_second']:.0f}" for run in (ours_tail, kafka_tail, ours_log, kafka_log)),
                        *(f"{run['mb_per_cpu_second']:.0f}" for run in (ours_tail, kafka_tail)),
                        ratio(ours_tail["mb_per_cpu_second"], kafka_tail["mb_per_cpu_second"], 1),
                        *(f"{run['mb_per_cpu_second']:.0f}" for run in (ours_log, kafka_log)),
                        ratio(ours_log["mb_per_cpu_second"], kafka_log["mb_per_cpu_second"], 1)])
            sealed.append([name, f"{ours_sealed['mb_per_second']:.0f}",
                           at_least(written["record_bytes"] / 1e6 / max(first_cpu_s, 0.01), 300),
                           at_least(ours_sealed["mb_per_cpu_second"], 300), f"{peak:.0f}"])
            time.sleep(1)
    return {
        "tables": [
            {"title": f"Hot: a tail of {tail_mib} MiB that both hold in memory, read {times} times; {log_mib} MiB of log, read {rounds} times",
             "columns": ["records", "tail MB/s", "Kafka", "log MB/s", "Kafka", "tail MB/CPU-s", "Kafka", "ratio (aim 1)", "log MB/CPU-s", "Kafka",
                         "ratio (aim 1)"], "rows": hot},
            {"title": f"Replay of {log_mib} MiB from sealed Parquet, after a restart",
             "columns": ["records", "MB/s", "MB/CPU-s, first time (aim 300)", "MB/CPU-s, again (aim 300)", "peak RSS MiB"], "rows": sealed},
        ],
        "notes": ["Record bytes throughout. Kafka's consumer side is sendfile from the page cache in all of them."],
    }
