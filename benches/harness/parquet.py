"""Rows to Parquet, one core, beside the bare writer of arrow-rs: the example `speed` of strandline-bronze."""

import os
import re
import subprocess

from harness.registry import bench, say
from harness.report import at_least
from harness.servers import ENVIRONMENT

BINARY = os.environ.get("STRANDLINE_SPEED_BIN", "")
MIB_PER_MB = 1e6 / (1 << 20)


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the example does not say {pattern!r}: {text}")
    return float(found[1])


@bench("parquet", "rows to Parquet on one core, in CPU time, beside the bare Parquet writer with its arrays at hand", binary="speed")
def parquet(quick: bool) -> dict:
    turns = 1 if quick else 3
    shapes: dict[str, list[tuple[float, float, float, float]]] = {}
    for _ in range(turns):
        done = subprocess.run([BINARY, "--write"], capture_output=True, text=True, timeout=600, env=ENVIRONMENT)
        if done.returncode != 0:
            raise RuntimeError(f"speed: {done.stderr[-2000:]}")
        for part in re.split(r"^(?=\S)", done.stdout, flags=re.MULTILINE)[1:]:
            name = re.sub(r" MB of records,.*", " MB", part.splitlines()[0])
            shapes.setdefault(name, []).append((number(r"^  write +(\d+) MB/s", part), number(r"^  bare .* (\d+) MB/s", part),
                                                number(r"ratio ([\d.]+)", part), number(r"(\d+) bytes each", part)))
    if not shapes:
        raise RuntimeError(f"the example says nothing: {done.stdout}")
    rows = []
    for name, runs in shapes.items():
        # The worst turn: the aim holds in each.
        ours, bare, made_smaller, each = min(runs, key=lambda run: run[0] / run[1])
        least = min(run[0] for run in runs)
        say(f"  {name}: {least * MIB_PER_MB:.0f} MiB/s, {ours / bare:.0%} of the bare writer")
        rows.append([name, f"{each:.0f}", f"{made_smaller:.2f}", at_least(least * MIB_PER_MB, 100), f"{bare * MIB_PER_MB:.0f}", at_least(100 * ours / bare, 80)])
    return {
        "tables": [{"title": "Keys, values and headers per second of CPU time, one core, zstd 1: the worst of "
                             + (f"{turns} turns" if turns > 1 else "one turn") + ", each the best of ten rounds",
                    "columns": ["file", "bytes a record", "times smaller", "MiB/s (aim 100)", "bare writer MiB/s", "% of the bare writer (aim 80)"], "rows": rows}],
        "notes": ["Records are the events of `infra/traffic`, in the partitions that their keys choose: as they come, with their CloudEvents headers, and, as in the other "
                  "benchmarks, key and value of 1 KiB together, without headers.",
                  "The bare writer is arrow-rs's `ArrowWriter` with the same settings and the same pages, as arrays that are there already; ours takes records one "
                  "by one and checks and divides them, too. Both write in turns, so that what else the machine does falls on both."],
    }
