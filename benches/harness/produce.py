"""Produce as fast as it goes: throughput, and bytes per CPU-second of the server."""

from contextlib import ExitStack

from harness.load import create_topic, delete_topic, load, settle
from harness.registry import bench, say
from harness.report import ratio
from harness.servers import Kafka, Strandline

VARIANTS = ["ingest", "bronze", "kafka", "fsync"]
NAMES = {"ingest": "Strandline, conversion paused", "bronze": "Strandline, converted and sealed", "kafka": "Kafka",
         "fsync": "Kafka, fsync"}


def measure_strandline(options: dict, partitions: int, seconds: float, paused: bool) -> dict:
    settle()
    with Strandline(conversion_paused=paused) as node:
        create_topic(node, "warm", partitions)
        load("saturate", node, topic="warm", seconds=1, **options)
        create_topic(node, "load", partitions)
        if not paused:
            node.wait_converted()
            node.seal()
        before_s = node.cpu_s()
        run = load("saturate", node, topic="load", seconds=seconds, **options)
        run["cpu_s"] = run["server_cpu_seconds"]
        run["behind_s"] = 0.0
        if not paused:
            run["behind_s"] = node.wait_converted()
            run["converted_cpu_s"] = node.cpu_s() - before_s
            node.seal()
            run["cpu_s"] = node.cpu_s() - before_s
        run["peak_rss_mib"] = node.memory_mib("VmHWM")
        return run


def measure_kafka(server: Kafka, options: dict, partitions: int, seconds: float) -> dict:
    settle()
    create_topic(server, "load", partitions)
    try:
        run = load("saturate", server, topic="load", seconds=seconds, **options)
    finally:
        delete_topic(server, "load")
    run["cpu_s"] = run["server_cpu_seconds"]
    run["peak_rss_mib"] = server.memory_mib("VmHWM")
    return run


@bench("produce", "1 KiB and 200 B in batches of 16 KiB, acks=all, none and lz4, 1 and 48 partitions: throughput and bytes per server CPU-second")
def produce(quick: bool) -> dict:
    return measure(quick, 16 << 10)


@bench("produce-large", "the same in batches of 128 KiB")
def produce_large(quick: bool) -> dict:
    return measure(quick, 128 << 10)


def measure(quick: bool, batch_bytes: int) -> dict:
    seconds = 8 if quick else 60
    file = "produce" if batch_bytes == 16 << 10 else "produce-large"
    rows, bars_cpu, bars_speed, raw = [], [], [], []
    with ExitStack() as stack:
        kafka = stack.enter_context(Kafka())
        fsync = stack.enter_context(Kafka("Kafka, fsync", fsync=True))
        for server in (kafka, fsync):
            # The JVM compiles what is hot; what counts is how it is then.
            for partitions in (1, 48):
                create_topic(server, "warm", partitions)
                load("saturate", server, topic="warm", seconds=10, batch_bytes=batch_bytes)
                delete_topic(server, "warm")
        for record_bytes in (1_024, 200):
            for codec in ("none", "lz4"):
                for partitions in (1, 48):
                    options = {"record_bytes": record_bytes, "codec": codec, "batch_bytes": batch_bytes}
                    runs = {}
                    order = VARIANTS if len(raw) % 2 == 0 else VARIANTS[::-1]
                    for variant in order:
                        if variant in ("ingest", "bronze"):
                            run = measure_strandline(options, partitions, seconds, variant == "ingest")
                        else:
                            run = measure_kafka(kafka if variant == "kafka" else fsync, options, partitions, seconds)
                        run["mb_per_cpu"] = run["record_bytes"] / 1e6 / run["cpu_s"]
                        runs[variant] = run
                        say(f"  {record_bytes} B, {codec}, {partitions} partitions, {NAMES[variant]}: "
                            f"{run['mb_per_second']:.0f} MB/s, {run['mb_per_cpu']:.0f} MB per CPU-second, p50 {run['ack']['p50_ms']:.1f} ms, "
                            f"generator {run['generator_cpu_seconds']:.1f} CPU-s, peak {run['peak_rss_mib']:.0f} MiB")
                    label = f"{record_bytes} B, {codec}, {partitions}p"
                    rows.append([label, *(f"{runs[v]['mb_per_second']:.0f}" for v in VARIANTS),
                                 *(f"{runs[v]['mb_per_cpu']:.0f}" for v in VARIANTS),
                                 ratio(runs["ingest"]["mb_per_cpu"], runs["kafka"]["mb_per_cpu"], 4),
                                 ratio(runs["bronze"]["mb_per_cpu"], runs["kafka"]["mb_per_cpu"], 1.5),
                                 ratio(runs["bronze"]["mb_per_second"], runs["kafka"]["mb_per_second"], 1)])
                    bars_cpu.append({"label": label, "values": [[NAMES[v], runs[v]["mb_per_cpu"]] for v in VARIANTS]})
                    bars_speed.append({"label": label, "values": [[NAMES[v], runs[v]["mb_per_second"]] for v in VARIANTS]})
                    raw.append({"label": label, "runs": {v: slim(runs[v]) for v in VARIANTS}})
    return {
        "tables": [{
            "title": f"Produce in batches of {batch_bytes >> 10} KiB, acks=all, {seconds} s each: MB/s and MB per server CPU-second",
            "columns": ["records", *(f"{short} MB/s" for short in ("ingest", "bronze", "Kafka", "fsync")),
                        *(f"{short} MB/CPU-s" for short in ("ingest", "bronze", "Kafka", "fsync")),
                        "ingest : Kafka, CPU (aim 4)", "bronze : Kafka, CPU (aim 1.5)", "bronze : Kafka, MB/s (aim 1)"],
            "rows": rows,
        }],
        "notes": ["*ingest*: conversion paused. *bronze*: conversion on; its CPU counts until every record is sealed Parquet. *Kafka*: its "
                  "defaults, no fsync. *fsync*: Kafka with `flush.messages=1`. Strandline syncs before each acknowledgement in both."],
        "plots": [
            {"file": f"{file}-cpu.svg", "title": "Produce: MB of records per server CPU-second", "y_label": "MB", "bars": bars_cpu},
            {"file": f"{file}-speed.svg", "title": "Produce: MB of records a second", "y_label": "MB/s", "bars": bars_speed},
        ],
        "raw": raw,
    }


def slim(run: dict) -> dict:
    """Without what only plots need."""
    kept = {key: value for key, value in run.items() if key not in ("samples", "ack")}
    return {**kept, "ack": {key: value for key, value in run["ack"].items() if key != "curve"}}
