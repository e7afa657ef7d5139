"""What the numbers were taken on."""

import os
import platform
import subprocess
import time


def describe() -> dict:
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    commit = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    with open("/proc/meminfo") as info:
        memory_gib = int(next(info).split()[1]) / (1 << 20)
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": os.environ.get("STRANDLINE_BENCH_COMMIT", commit),
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def steal_and_idle() -> tuple[float, float, float]:
    """Seconds of all cores so far: busy, idle, stolen by the host."""
    with open("/proc/stat") as stat:
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, (idle + iowait) / ticks, steal / ticks
