"""One record at a time, end to end."""

from harness.load import create_topic, load, settle
from harness.registry import bench, say
from harness.report import at_most
from harness.servers import Kafka, Strandline
from harness.warm import until_stable


@bench("single", "one record of 100 B at a time, from the producer to a waiting consumer")
def single(quick: bool) -> dict:
    count = 1_000 if quick else 10_000
    rows, lines = [], []
    with Kafka() as kafka, Strandline() as node:
        create_topic(kafka, "warm", 1)
        warm = until_stable(lambda: 1 / load("one-at-a-time", kafka, topic="warm", record_bytes=100, keys=False, count=3_000)["server_cpu_ms_per_record"])
        # There and back, so that neither has the better turn.
        for turn, server in enumerate((node, kafka, kafka, node)):
            settle()
            topic, name = f"one-{turn}", f"{server.name}, {'first' if turn < 2 else 'second'} time"
            create_topic(server, topic, 1)
            run = load("one-at-a-time", server, topic=topic, record_bytes=100, keys=False, count=count)
            ack, end = run["ack"], run["end_to_end"]
            ours = server is node
            unstable = "" if ours or warm else ", not stable when it was measured"
            say(f"  {name}: end to end p50 {end['p50_ms']:.2f}, p99 {end['p99_ms']:.2f} ms, ack p50 {ack['p50_ms']:.2f} ms{unstable}")
            rows.append([name + unstable, f"{ack['p50_ms']:.2f}", f"{ack['p99_ms']:.2f}",
                         at_most(end["p50_ms"], 3, 2) if ours else f"{end['p50_ms']:.2f}",
                         at_most(end["p99_ms"], 12, 2) if ours else f"{end['p99_ms']:.2f}", f"{end['max_ms']:.1f}",
                         f"{run['server_cpu_ms_per_record']:.3f}"])
            lines.append({"name": name, "points": end["curve"]})
    return {
        "tables": [{"title": f"{count} records of 100 B, one after the other, acks=all",
                    "columns": ["server", "ack p50 ms", "ack p99", "end to end p50 (aim 3)", "p99 (aim 12)", "longest", "server CPU ms a record"],
                    "rows": rows}],
        "notes": ["Strandline syncs each record before it is acknowledged or served; Kafka's defaults do not. In the order of the rows, both servers running; "
                  "Kafka was warmed with 3,000 records a round until two rounds were no better than the best before"
                  + ("." if warm else ", but within eight rounds that did not come to pass.")],
        "plots": [{"file": "single.svg", "title": "One record at a time: from send to the consumer", "x_label": "part of all records",
                   "y_label": "ms", "log_y": True, "quantiles": True, "lines": lines}],
    }
