"""What the numbers were taken on."""

import os
import platform
import subprocess
import time

from harness.servers import BINARY, ENVIRONMENT

BINARIES = {"strandline": BINARY, "speed": os.environ.get("STRANDLINE_SPEED_BIN", "")}
# Those that benches/run did not build, and the sources of the others when it did.
GIVEN = os.environ.get("STRANDLINE_BENCH_GIVEN", "").split()
SOURCES = os.environ.get("STRANDLINE_BENCH_SOURCES", "an unknown commit")
# What somebody says about those that were given.
SAID = os.environ.get("STRANDLINE_BENCH_COMMIT", "")


def build(binary: str) -> str:
    """Which build was measured, as far as that is known: the tree here tells nothing about a binary from elsewhere."""
    if binary not in GIVEN:
        return SOURCES
    path = BINARIES[binary]
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout[:12]
    # The example has no version.
    version = subprocess.run([path, "--version"], capture_output=True, text=True, env=ENVIRONMENT).stdout.strip() if binary == "strandline" else ""
    return ("a binary that was given from outside" + (f", {version} by its own word" if version else "") + f" (SHA-256 {digest}…)"
            + (f", said to be commit {SAID}" if SAID else ""))


def describe(binary: str) -> dict:
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    with open("/proc/meminfo") as info:
        memory_gib = int(next(info).split()[1]) / (1 << 20)
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "build": build(binary),
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
