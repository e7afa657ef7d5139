"""The load generator, called."""

import json
import os
import subprocess
import time

from harness.servers import Server

BINARY = os.environ.get("STRANDLINE_LOAD_BIN", "")


def command(name: str, server: Server, **options) -> list[str]:
    parts = [BINARY, name, "--bootstrap", server.bootstrap]
    if name != "topic":
        parts += ["--pid", str(server.pid)]
    for key, value in options.items():
        parts += [f"--{key.replace('_', '-')}", str(value).lower() if isinstance(value, bool) else str(value)]
    return parts


def load(name: str, server: Server, timeout_s: float = 3_600, **options) -> dict:
    """Runs one command of the generator against a server; its JSON."""
    done = subprocess.run(command(name, server, **options), capture_output=True, text=True, timeout=timeout_s)
    if done.returncode != 0:
        raise RuntimeError(f"{name} on {server.name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout) if done.stdout else {}


def create_topic(server: Server, topic: str, partitions: int) -> None:
    """Creates it and waits until its partitions have their leader."""
    for last in [False] * 20 + [True]:
        try:
            load("topic", server, topic=topic, partitions=partitions)
            break
        except RuntimeError:
            # Kafka's port is open before its controller has registered it.
            if last:
                raise
            time.sleep(0.5)


def delete_topic(server: Server, topic: str) -> None:
    done = subprocess.run([*command("topic", server, topic=topic), "--delete"], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"deleting {topic} on {server.name}: {done.stderr}")


def settle() -> None:
    """What one server left to be written does not wait for the next one's run."""
    os.sync()
    time.sleep(1)
