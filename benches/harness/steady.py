"""10,000 events a second over 48 partitions, then spikes."""

import threading
import time
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


def conversions(before: dict, after: dict) -> tuple[float, float]:
    """How many there were between two looks at the metrics, and in how many a record was older than 20 s. (The histogram's next bound is 5 s, which is how
    long conversions wait for records to come together.)"""
    def grown(name: str) -> float:
        name = f"strandline_bronze_freshness_seconds_{name}"
        if name not in after:
            raise RuntimeError(f"the node has no {name}")
        return after[name] - before.get(name, 0)

    made = grown("count")
    return made, made - grown('bucket{le="20"}')


class Backlog:
    """What is not Parquet yet, once a second while a load runs: its records, and the age of the oldest of all partitions. Counts of rows
    (`freshness` of the generator) would not show one partition that lags."""

    def __init__(self, node: Strandline):
        self.node = node
        self.seen: list[tuple[float, int, float]] = []
        self.failure: Exception | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> "Backlog":
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.thread.join()

    def watch(self) -> None:
        try:
            while not self.ended.wait(1):
                status = self.node.status()
                self.seen.append((time.monotonic() - self.began, status["wal_records"], status["freshness_ms"] / 1e3))
        except Exception as error:
            self.failure = error

    def looks(self) -> list[tuple[float, int, float]]:
        if self.failure is not None or not self.seen:
            raise RuntimeError(f"{self.node.name} did not say what it has yet to convert: {self.failure}")
        return self.seen

    def oldest_s(self) -> float:
        return max(oldest_s for _, _, oldest_s in self.looks())

    def back_to_normal_s(self, spike_at_s: float, spike_end_s: float) -> float | None:
        """Seconds behind the spike's end from which on there is at most half as much again as there ever was before the spike."""
        limit = 1.5 * max(records for at, records, _ in self.looks() if at < spike_at_s)
        late = [at for at, records, _ in self.looks() if at >= spike_end_s and records > limit]
        if not late:
            return 0.0
        return None if late[-1] >= self.looks()[-1][0] - 1.5 else late[-1] - spike_end_s


def watched(server, **options) -> tuple[dict, Backlog | None]:
    if not isinstance(server, Strandline):
        return load("open-loop", server, **options), None
    with Backlog(server) as backlog:
        return load("open-loop", server, **options), backlog


def count(server, read: bool) -> dict:
    return load("count", server, topic="events", read=read)


def nothing_else(number: int) -> str:
    """What should be 0: in bold where it is not."""
    return "0" if number == 0 else f"**{number}**"


def amiss(server, **counts: int | None) -> list[str]:
    """What must be 0 and is more, in words."""
    return [f"{server.name}: {number} {what.replace('_', ' ')}" for what, number in counts.items() if number is not None and number > 0]


def row(server, run: dict, missing: int, backlog: Backlog | None, kafka_ack: dict) -> list:
    """A line of the steady run's table. Kafka's times of the same run are the aim of ours."""
    ack, fresh, peak = run["ack"], run["freshness"], run["server_peak_rss_bytes"] / (1 << 20)
    times = {key: f"{ack[key]:.1f}" for key in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")}
    begin = [server.name, f"{run['acknowledged']} of {run['scheduled']}", run["not_sent"], sum(run["failed"].values()), nothing_else(missing)]
    if backlog is None:
        return [*begin, *times.values(), "", "", "", "", f"{run['server_cores']:.2f}", f"{peak:.0f}"]
    times |= {key: at_most(ack[key], kafka_ack[key]) for key in ("p50_ms", "p99_ms")}
    return [*begin, *times.values(), f"{fresh['p50_ms'] / 1e3:.1f}", at_most(fresh["p99_ms"] / 1e3, 10), nothing_else(run["never_rows"]),
            at_most(backlog.oldest_s(), 10), at_most(run["server_cores"], 0.5, 2), at_most(peak, 384, 0)]


@bench("steady", "10,000 events/s of about 500 B over 48 partitions, bronze on; then spikes of 3 and 10 times for a minute")
def steady(quick: bool) -> dict:
    seconds, spike_s, after_s = (60, 20, 30) if quick else (600, 60, 60)
    runs, spikes, read_back, lines, series = [], [], [], [], []
    notes, failures = [], []
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
            run, backlog = watched(server, topic="events", phases=f"10000:{seconds}", warm_up_seconds=10, **EVENTS, **http)
            there = count(server, read=False)["offsets"]
            acknowledged, missing = run["acknowledged"], run["acknowledged"] - there
            ack, fresh = run["ack"], run["freshness"]
            peak = run["server_peak_rss_bytes"] / (1 << 20)
            say(f"  {server.name}: ack p50 {ack['p50_ms']:.1f}, p99 {ack['p99_ms']:.1f} ms, {run['server_cores']:.2f} cores, {peak:.0f} MiB, "
                f"not sent {run['not_sent']}, failed {run['failed']}, generator {run['generator_cores']:.2f} cores"
                + (f", fresh p50 {fresh['p50_ms'] / 1e3:.1f} p99 {fresh['p99_ms'] / 1e3:.1f} s, never rows {run['never_rows']}" if fresh else ""))
            runs.append((server, run, missing, backlog))
            failures += amiss(server, acknowledged_and_not_there=missing, acknowledged_and_never_rows=run["never_rows"])
            lines.append({"name": server.name, "points": ack["curve"]})
            series.append({"name": f"{server.name}, p99", "points": [[s["at_seconds"], s["p99_ms"]] for s in run["series"]]})
            if ours:
                after = server.metrics("strandline_")
                seals = after.get("strandline_sealed_segments_total", 0) - before.get("strandline_sealed_segments_total", 0)
                made, over_20_s = conversions(before, after)
                say(f"  {server.name}: {seals:.0f} files sealed, {made:.0f} conversions, {over_20_s:.0f} with a record older than 20 s, "
                    f"oldest not yet a row {backlog.oldest_s():.1f} s, not there {missing}")
                notes.append(f"In the steady run Strandline sealed {seals:.0f} files. *rows after* is measured from outside, by the node's count of rows: a partition "
                             "that lags behind the others does not show there. It would in *oldest not yet a row*, the greatest age of any partition's oldest "
                             f"record that is not Parquet, asked once a second, and in the node's own histogram: of {made:.0f} conversions {over_20_s:.0f} "
                             "had a record older than 20 s when they ended (`strandline_bronze_freshness_seconds`).")
            for factor in () if server is fsync else (3, 10):
                settle()
                phases = f"10000:20,{10_000 * factor}:{spike_s},10000:{after_s}"
                spike, backlog = watched(server, topic="events", phases=phases, warm_up_seconds=0, **EVENTS)
                before_it, there = there, count(server, read=False)["offsets"]
                acknowledged += spike["acknowledged"]
                missing = spike["acknowledged"] - (there - before_it)
                failures += amiss(server, acknowledged_and_not_there=missing)
                normal = sorted(second["p99_ms"] for second in spike["series"][5:19])[7]
                during = [second for second in spike["series"] if 20 <= second["at_seconds"] < 20 + spike_s]
                back = back_to_normal_s(spike, 20 + spike_s, normal)
                peak = spike["server_peak_rss_bytes"] / (1 << 20)
                converted = backlog.back_to_normal_s(20, 20 + spike_s) if backlog else None
                say(f"  {server.name}, spike of {factor}: p50 {max(s['p50_ms'] for s in during):.0f} ms at worst, back after {back} s, "
                    f"{peak:.0f} MiB, not sent {spike['not_sent']}, failed {spike['failed']}, not there {missing}"
                    + (f", backlog normal after {'-' if converted is None else f'{converted:.0f}'} s, oldest {backlog.oldest_s():.1f} s" if backlog else ""))
                spikes.append([f"{server.name}, {factor} times", f"{spike['acknowledged']} of {spike['scheduled']}", spike["not_sent"],
                               sum(spike["failed"].values()), nothing_else(missing), f"{normal:.1f}", f"{max(s['p99_ms'] for s in during):.1f}",
                               "**not within the run**" if back is None else at_most(back, 30, 0),
                               "" if backlog is None else "**not within the run**" if converted is None else at_most(converted, 30, 0),
                               at_most(backlog.oldest_s(), 10) if backlog else "", f"{peak:.0f}"])
                if factor == 3:
                    series.append({"name": f"{server.name}, spike, p99", "points": [[s["at_seconds"], s["p99_ms"]] for s in spike["series"]]})
            # Behind all that is measured: reading takes memory of its own.
            whole = count(server, read=True)
            read = whole["read"]
            say(f"  {server.name}: {acknowledged} acknowledged in all, {whole['offsets']} offsets, read {read}")
            read_back.append([server.name, acknowledged, whole["offsets"], read["records"], nothing_else(read["missing"]), nothing_else(read["repeated"])])
            failures += amiss(server, offsets_without_a_record=read["missing"], records_that_came_again=read["repeated"])
            if ours:
                # What it does by itself, such as a seal at the hour's end, would fall into Kafka's turn.
                server.stop()
    [kafka_ack] = [run["ack"] for server, run, *_ in runs if server is kafka]
    steady_lines, spike_lines = [one for one in series if "spike" not in one["name"]], [one for one in series if "spike" in one["name"]]
    return {
        "tables": [
            {"title": f"10,000 events/s for {seconds} s, acks=all, lz4, four idempotent producers, keyed by vehicle",
             "columns": ["server", "acknowledged", "not sent", "failed", "not there", "ack p50 ms (aim: Kafka's)", "p90", "p99 (aim: Kafka's)", "p99.9", "longest",
                         "rows after p50 s", "p99 s (aim 10)", "never rows (aim 0)", "oldest not yet a row s (aim 10)", "cores (aim 0.5)",
                         "peak RSS MiB (aim 384)"],
             "rows": [row(*one, kafka_ack) for one in runs]},
            {"title": f"Spikes: 20 s of 10,000 events/s, {spike_s} s of more, {after_s} s of 10,000",
             "columns": ["server", "acknowledged", "not sent", "failed", "not there", "p99 before ms", "worst second's p99 ms",
                         "normal after s (aim 30)", "backlog normal after s (aim 30)", "oldest not yet a row s (aim 10)", "peak RSS MiB"], "rows": spikes},
            {"title": "All of it read back at the end, every record with its checksum",
             "columns": ["server", "acknowledged", "offsets", "records read", "offsets without a record", "records that came again"], "rows": read_back},
        ],
        "notes": notes + ["'Normal' is a second whose p99 is at most three times the median p99 before the spike, 20 ms at least. 'Not sent' could not be "
                          "handed to a producer within 5 s of its time: producers hold at most 32 MiB each. 'Not there' is what was acknowledged less the offsets that the run has "
                          "added to the topic, below 0 if more was written than acknowledged.",
                          "'Backlog normal': from then on at most one and a half times as many records wait for conversion as ever did before the spike.",
                          "'Never rows': acknowledged, and no row a minute behind the load; in *rows after* they count with how long they had waited by then.",
                          "Strandline is measured first, while both Kafkas, warmed with 20 s of the same load, are idle beside it, and is stopped then; Kafka is next, "
                          "then Kafka with fsync, each with the other idle beside it."],
        "failures": failures,
        "plots": [
            {"file": "steady-latency.svg", "title": "10,000 events/s: time to the acknowledgement", "x_label": "part of all records",
             "y_label": "ms", "log_y": True, "quantiles": True, "lines": lines},
            {"file": "steady-seconds.svg", "title": "10,000 events/s: p99 of each second", "x_label": "s", "y_label": "ms", "log_y": True,
             "lines": steady_lines},
            {"file": "spike.svg", "title": "Spike of three times: p99 of each second", "x_label": "s", "y_label": "ms", "log_y": True,
             "lines": spike_lines},
        ],
    }
