"""Produce as fast as it goes: throughput, and bytes per CPU-second of the server."""

from contextlib import ExitStack

from harness.load import create_topic, delete_topic, load, settle
from harness.registry import bench, say
from harness.report import ratio
from harness.servers import Kafka, Strandline
from harness.warm import until_stable

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
        run = load("saturate", node, topic="load", seconds=seconds, bytes=node.room_bytes(), **options)
        run["cpu_s"] = run["server_cpu_seconds"]
        if not paused:
            run["behind_s"] = node.wait_converted()
            # What could go on for ever: nothing that was taken in is left over. The wait has the timer of the last records in it.
            run["sustained_mb_per_second"] = run["record_bytes"] / 1e6 / (run["seconds"] + run["behind_s"])
            run["converted_cpu_s"] = node.cpu_s() - before_s
            node.seal()
            run["cpu_s"] = node.cpu_s() - before_s
        run["peak_rss_mib"] = node.memory_mib("VmHWM")
        return run


def once(server: Kafka, options: dict, partitions: int, seconds: float) -> dict:
    create_topic(server, "load", partitions)
    try:
        return load("saturate", server, topic="load", seconds=seconds, bytes=server.room_bytes(), **options)
    finally:
        delete_topic(server, "load")


def measure_kafka(server: Kafka, options: dict, partitions: int, seconds: float) -> dict:
    # With the very options that are measured: other codecs and sizes are other code.
    warm_s = min(seconds / 4, 5)
    warm = until_stable(lambda: once(server, options, partitions, warm_s)["mb_per_cpu_second"] or 0)
    settle()
    run = once(server, options, partitions, seconds)
    run["warm"] = warm
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
    rows, bars_cpu, bars_speed, raw, unstable, short = [], [], [], [], [], []
    with ExitStack() as stack:
        kafka = stack.enter_context(Kafka())
        fsync = stack.enter_context(Kafka("Kafka, fsync", fsync=True))
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
                        if run["seconds"] < seconds * 0.95:
                            short.append(f"{record_bytes} B, {codec}, {partitions}p, {NAMES[variant]} ({run['seconds']:.0f} s, {run['record_bytes'] / 1e9:.0f} GB)")
                        say(f"  {record_bytes} B, {codec}, {partitions} partitions, {NAMES[variant]}: "
                            f"{run['mb_per_second']:.0f} MB/s, {run['mb_per_cpu']:.0f} MB per CPU-second, p50 {run['ack']['p50_ms']:.1f} ms, "
                            f"generator {run['generator_cpu_seconds']:.1f} CPU-s, peak {run['peak_rss_mib']:.0f} MiB"
                            + (f", converted {run['behind_s']:.1f} s later: {run['sustained_mb_per_second']:.0f} MB/s sustained" if variant == "bronze" else "")
                            + ("" if run.get("warm", True) else ", not stable when it was measured"))
                    label = f"{record_bytes} B, {codec}, {partitions}p"
                    rows.append([label, *(f"{runs[v]['mb_per_second']:.0f}" for v in VARIANTS),
                                 *(f"{runs[v]['mb_per_cpu']:.0f}" for v in VARIANTS),
                                 ratio(runs["ingest"]["mb_per_cpu"], runs["kafka"]["mb_per_cpu"], 4),
                                 ratio(runs["bronze"]["mb_per_cpu"], runs["kafka"]["mb_per_cpu"], 1.5),
                                 ratio(runs["bronze"]["mb_per_second"], runs["kafka"]["mb_per_second"], 1),
                                 f"{runs['bronze']['behind_s']:.1f}", f"{runs['bronze']['sustained_mb_per_second']:.0f}",
                                 ratio(runs["bronze"]["sustained_mb_per_second"], runs["kafka"]["mb_per_second"], 1),
                                 f"{runs['bronze']['peak_rss_mib']:.0f}"])
                    if not all(runs[variant]["warm"] for variant in ("kafka", "fsync")):
                        unstable.append(label)
                    bars_cpu.append({"label": label, "values": [[NAMES[v], runs[v]["mb_per_cpu"]] for v in VARIANTS]})
                    bars_speed.append({"label": label, "values": [[NAMES[v], runs[v]["mb_per_second"]] for v in VARIANTS]})
                    raw.append({"label": label, "runs": {v: slim(runs[v]) for v in VARIANTS}})
    return {
        "tables": [{
            "title": f"Produce in batches of {batch_bytes >> 10} KiB, acks=all, {seconds} s each: MB/s and MB per server CPU-second",
            "columns": ["records", *(f"{short} MB/s" for short in ("ingest", "bronze", "Kafka", "fsync")),
                        *(f"{short} MB/CPU-s" for short in ("ingest", "bronze", "Kafka", "fsync")),
                        "ingest : Kafka, CPU (aim 4)", "bronze : Kafka, CPU (aim 1.5)", "bronze : Kafka, MB/s (aim 1)",
                        "converted after s", "sustained MB/s", "sustained : Kafka, MB/s (aim 1)", "bronze peak RSS MiB"],
            "rows": rows,
        }],
        "notes": ["*ingest*: conversion paused. *bronze*: conversion on; its CPU counts until every record is sealed Parquet. *Kafka*: its "
                  "defaults, no fsync. *fsync*: Kafka with `flush.messages=1`. Strandline syncs before each acknowledgement in both.",
                  "*bronze MB/s* is what was taken in while the run lasted, with conversion behind by *converted after*: that long until every "
                  "record was Parquet, of which up to 5 s are the wait of the last records for more. *Sustained* is all bytes over both "
                  "times, with that wait in it, so that it is a little too low, and the more so the shorter the run is.",
                  "Each Kafka was warmed with the options of its row until two rounds were no better than the best before"
                  + (f", but within eight rounds that did not come to pass with {'; '.join(unstable)}." if unstable else "."),
                  *([f"Runs that ended when two fifths of the disk's free space were written: {'; '.join(short)}."] if short else [])],
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
