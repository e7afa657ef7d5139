"""The driver."""

import resource
import sys
import time
import traceback

from harness import consume, idle, parquet, produce, scale, single, steady, tools  # noqa: F401  (each registers itself)
from harness import machine, report
from harness.registry import BENCHES, say


def main() -> None:
    arguments = sys.argv[1:]
    quick = "--quick" in arguments
    names = [argument for argument in arguments if not argument.startswith("--")]
    unknown = [argument for argument in arguments if argument.startswith("--") and argument not in ("--quick", "--list")]
    unknown += [name for name in names if name not in BENCHES]
    if "--list" in arguments:
        print("\n".join(f"{bench.name:14} {bench.about}" for bench in BENCHES.values()))
        return
    if unknown:
        sys.exit(f"benches/run does not know {', '.join(unknown)}; --list shows the benchmarks")
    failed = []
    for name in names or BENCHES:
        bench = BENCHES[name]
        say(f"{name}: {bench.about}")
        began, before, own_before = time.monotonic(), machine.steal_and_idle(), own_cpu_s()
        try:
            section = bench.run(quick)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        took_s = time.monotonic() - began
        busy, idle, stolen = (after - earlier for after, earlier in zip(machine.steal_and_idle(), before))
        cores_s = max(busy + idle + stolen, 0.01)
        section |= {"about": bench.about, "quick": quick, "took_s": round(took_s), "busy": busy / cores_s,
                    "own": (own_cpu_s() - own_before) / cores_s, "stolen": stolen / cores_s, "machine": machine.describe(bench.binary)}
        report.write(name, section)
        if section.get("failures"):
            say(f"{name}: failed: {'; '.join(section['failures'])}")
            failed.append(name)
        say(f"{name}: {took_s:.0f} s")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def own_cpu_s() -> float:
    """CPU time of all servers and generators that have ended, and of this process."""
    return sum(usage.ru_utime + usage.ru_stime
               for usage in (resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)))


if __name__ == "__main__":
    main()
