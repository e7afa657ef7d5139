"""10,000 events a second over 48 partitions, then spikes."""

from contextlib import ExitStack

from harness.load import create_topic, load, settle
from harness.registry import bench, say
from harness.report import at_most
from harness.servers import Kafka, Strandline

EVENTS = {"record_bytes": 0, "headers": True, "keys": True, "codec": "lz4", "connections": 4}


def back_to_normal_s(run: dict, spike_end_s: int, normal_p99_ms: float) -> int | None:
    """Seconds behind the spike's end from which on no second's p99 is above three times the normal one (20 ms at least)."""
    limit = max(3 * normal_p99_ms, 20)
    late = [second["at_seconds"] for second in run["series"] if second["at_seconds"] >= spike_end_s and second["p99_ms"] > limit]
    last = run["series"][-1]["at_seconds"] if run["series"] else 0
    if not late:
        return 0
    return None if late[-1] >= last - 1 else late[-1] + 1 - spike_end_s


@bench("steady", "10,000 events/s of about 500 B over 48 partitions, bronze on; then spikes of 3 and 10 times for a minute")
def steady(quick: bool) -> dict:
    seconds, spike_s, after_s = (60, 20, 30) if quick else (600, 60, 60)
    rows, spikes, lines, series = [], [], [], []
    notes = []
    with ExitStack() as stack:
        kafka = stack.enter_context(Kafka())
        fsync = stack.enter_context(Kafka("Kafka, fsync", fsync=True))
        for server in (kafka, fsync):
            create_topic(server, "warm", 48)
            load("open-loop", server, topic="warm", phases="10000:20", **EVENTS)
        for server in (stack.enter_context(Strandline()), kafka, fsync):
            settle()
            create_topic(server, "events", 48)
            ours = isinstance(server, Strandline)
            http = {"http": server.http} if ours else {}
            before = server.metrics("strandline_") if ours else {}
            run = load("open-loop", server, topic="events", phases=f"10000:{seconds}", warm_up_seconds=10, **EVENTS, **http)
            ack, fresh = run["ack"], run["freshness"]
            peak = run["server_peak_rss_bytes"] / (1 << 20)
            say(f"  {server.name}: ack p50 {ack['p50_ms']:.1f}, p99 {ack['p99_ms']:.1f} ms, {run['server_cores']:.2f} cores, {peak:.0f} MiB, "
                f"not sent {run['not_sent']}, failed {run['failed']}, generator {run['generator_cores']:.2f} cores"
                + (f", fresh p50 {fresh['p50_ms'] / 1e3:.1f} p99 {fresh['p99_ms'] / 1e3:.1f} s" if fresh else ""))
            rows.append([server.name, f"{run['acknowledged']} of {run['scheduled']}", run["not_sent"], sum(run["failed"].values()),
                         *(f"{ack[key]:.1f}" for key in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")),
                         f"{fresh['p50_ms'] / 1e3:.1f}" if fresh else "", at_most(fresh["p99_ms"] / 1e3, 10) if fresh else "",
                         at_most(run["server_cores"], 0.5, 2) if ours else f"{run['server_cores']:.2f}",
                         at_most(peak, 384, 0) if ours else f"{peak:.0f}"])
            lines.append({"name": server.name, "points": ack["curve"]})
            series.append({"name": f"{server.name}, p99", "points": [[s["at_seconds"], s["p99_ms"]] for s in run["series"]]})
            if ours:
                after = server.metrics("strandline_")
                seals = after.get("strandline_sealed_segments_total", 0) - before.get("strandline_sealed_segments_total", 0)
                notes.append(f"In the steady run Strandline sealed {seals:.0f} files; freshness is measured from outside, by the node's count of rows.")
            for factor in () if server is fsync else (3, 10):
                settle()
                phases = f"10000:20,{10_000 * factor}:{spike_s},10000:{after_s}"
                spike = load("open-loop", server, topic="events", phases=phases, warm_up_seconds=0, **EVENTS)
                normal = sorted(second["p99_ms"] for second in spike["series"][5:19])[7]
                during = [second for second in spike["series"] if 20 <= second["at_seconds"] < 20 + spike_s]
                back = back_to_normal_s(spike, 20 + spike_s, normal)
                peak = spike["server_peak_rss_bytes"] / (1 << 20)
                lost = spike["scheduled"] - spike["acknowledged"] - spike["not_sent"] - sum(spike["failed"].values())
                say(f"  {server.name}, spike of {factor}: p50 {max(s['p50_ms'] for s in during):.0f} ms at worst, back after {back} s, "
                    f"{peak:.0f} MiB, not sent {spike['not_sent']}, failed {spike['failed']}")
                spikes.append([f"{server.name}, {factor} times", f"{spike['acknowledged']} of {spike['scheduled']}", spike["not_sent"],
                               sum(spike["failed"].values()), lost, f"{normal:.1f}", f"{max(s['p99_ms'] for s in during):.1f}",
                               "not within the run" if back is None else at_most(back, 30, 0), f"{peak:.0f}"])
                if factor == 3:
                    series.append({"name": f"{server.name}, spike, p99", "points": [[s["at_seconds"], s["p99_ms"]] for s in spike["series"]]})
    steady_lines, spike_lines = [one for one in series if "spike" not in one["name"]], [one for one in series if "spike" in one["name"]]
    return {
        "tables": [
            {"title": f"10,000 events/s for {seconds} s, acks=all, lz4, four idempotent producers, keyed by vehicle",
             "columns": ["server", "acknowledged", "not sent", "failed", "ack p50 ms", "p90", "p99", "p99.9", "longest", "rows after p50 s",
                         "p99 s (aim 10)", "cores (aim 0.5)", "peak RSS MiB (aim 384)"], "rows": rows},
            {"title": f"Spikes: 20 s of 10,000 events/s, {spike_s} s of more, {after_s} s of 10,000",
             "columns": ["server", "acknowledged", "not sent", "failed", "unaccounted for", "p99 before ms", "worst second's p99 ms",
                         "normal after s (aim 30)", "peak RSS MiB"], "rows": spikes},
        ],
        "notes": notes + ["'Normal' is a second whose p99 is at most three times the median p99 before the spike, 20 ms at least. 'Not sent' could not be "
                          "handed to a producer within 5 s of its time: producers hold at most 32 MiB each."],
        "plots": [
            {"file": "steady-latency.svg", "title": "10,000 events/s: time to the acknowledgement", "x_label": "part of all records",
             "y_label": "ms", "log_y": True, "quantiles": True, "lines": lines},
            {"file": "steady-seconds.svg", "title": "10,000 events/s: p99 of each second", "x_label": "s", "y_label": "ms", "log_y": True,
             "lines": steady_lines},
            {"file": "spike.svg", "title": "Spike of three times: p99 of each second", "x_label": "s", "y_label": "ms", "log_y": True,
             "lines": spike_lines},
        ],
    }
