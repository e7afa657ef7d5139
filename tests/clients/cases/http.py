"""The HTTP side: metrics that Prometheus parses, health, status."""

import contextlib
import json
import math
import os
import re
import socket

from harness.confluent import create_topic, produce, read_partition
from harness.registry import test

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"^({NAME})(?:\{{((?:{NAME}=\"(?:[^\"\\]|\\.)*\",?)*)\}})? (\S+)(?: (-?\d+))?$")


def parse(text: str) -> dict:
    """Prometheus' text format 0.0.4, strictly; samples as {name: [(labels, value)]}."""
    kinds: dict = {}
    samples: dict = {}
    assert text.endswith("\n"), "the last line has no end"
    for line in text.splitlines():
        if not line:
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            assert name not in kinds, f"{name} has two types"
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            kinds[name] = kind
        elif not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, f"this is no sample: {line}"
            name, labels, value, _ = match.groups()
            number = float(value)
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in kinds or kinds.get(family) in ("histogram", "summary"), f"{name} has no type"
            key = (name, labels)
            assert key not in samples, f"twice: {key}"
            samples[key] = number
            assert not (kinds.get(name) == "counter" and (number < 0 or math.isnan(number))), line
    by_name: dict = {}
    for (name, labels), number in samples.items():
        by_name.setdefault(name, []).append((labels or "", number))
    return by_name


@test()
def metrics_are_prometheus_text(case):
    node = case.node()
    create_topic(node, "t", 3)
    produce(node, "t", [{"value": b"x" * 100, "partition": n % 3} for n in range(1_000)])
    read_partition(node, "t", 0)
    node.seal("t")
    code, text, headers = node.get("/metrics")
    assert code == 200 and headers.get("content-type", headers.get("Content-Type", "")).startswith("text/plain"), headers
    metrics = parse(text)
    assert len(metrics) > 20, sorted(metrics)
    assert all(name.startswith(("strandline_", "process_")) for name in metrics), [name for name in metrics if not name.startswith(("strandline_", "process_"))]
    requests = {labels: number for labels, number in metrics["strandline_requests_total"]}
    assert any("Produce" in labels and number > 0 for labels, number in requests.items()), requests
    # Counters only rise.
    produce(node, "t", [{"value": b"x"}])
    later = {labels: number for labels, number in parse(node.get("/metrics")[1])["strandline_requests_total"]}
    assert all(later[labels] >= number for labels, number in requests.items())


@test()
def health_and_readiness(case):
    node = case.node()
    assert node.get("/healthz")[0] == 200
    assert node.get("/readyz")[0] == 200
    assert node.get("/no-such-page")[0] == 404
    assert node.get("/healthz", method="POST")[0] == 405
    assert node.get("/bronze/missing/manifest")[0] == 404


@test()
def status_says_what_is_there(case):
    node = case.node()
    create_topic(node, "t", 3)
    produce(node, "t", [{"value": b"x" * 100, "partition": n % 3} for n in range(999)])
    status = node.status()
    assert (status["topics"], status["partitions"]) == (1, 3), status
    assert status["wal_records"] + status["bronze_rows"] == 999, status
    node.seal("t")
    status = node.status()
    assert status["bronze_rows"] == 999 and status["wal_records"] == 0 and status["sealed_segments"] >= 1 and status["fresh_segments"] == 0, status


@test()
def the_operators_commands(case):
    node = case.node()
    create_topic(node, "t", 2)
    produce(node, "t", [{"value": b'{"n": %d}' % n, "key": b"k", "partition": n % 2} for n in range(100)])
    node.seal()

    def said(*arguments: str) -> str:
        done = node.command(*arguments)
        assert done.returncode == 0, done
        return done.stdout

    assert "100 rows" in said("bronze", "list") and "sealed" in said("bronze", "list", "t")
    assert "kafka_value_text" in said("bronze", "schema", "t")
    rows = [json.loads(line) for line in said("bronze", "head", "t", "--rows", "5").splitlines()]
    assert len(rows) == 5 and rows[0]["key"] == "k" and rows[0]["value"].startswith("{"), rows
    manifest = json.loads(said("bronze", "manifest", "t"))
    assert sum(file["rows"] for day in manifest["days"] for file in day["files"]) == 100
    assert "0 of the files damaged" in said("bronze", "verify")
    said("index", "inspect")
    said("index", "snapshot")
    done = node.command("bronze", "list", "missing")
    assert done.returncode == 1 and "there is no topic `missing`" in done.stderr, done
    # A damaged file is found.
    [path] = [file["path"] for file in node.files("t")][:1]
    with open(f"{node.data}/store/{path}", "r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 1]))
    done = node.command("bronze", "verify")
    assert done.returncode == 1 and path in done.stdout, done


@test()
def http_can_be_left_out(case):
    node = case.node()
    assert listening(node) == {node.port, node.http_port}, listening(node)
    node.stop()
    node.http = ""
    node.http_port = node.port
    node.start()
    create_topic(node, "t", 1)
    assert produce(node, "t", [{"value": b"x"}]) == [(0, 0)]
    assert listening(node) == {node.port}, listening(node)


def listening(node) -> set[int]:
    """The ports on which its process listens."""
    process = f"/proc/{node.process.pid}"
    sockets, ports = set(), set()
    for name in os.listdir(f"{process}/fd"):
        # One that was just closed leads nowhere.
        with contextlib.suppress(FileNotFoundError):
            sockets.add(os.readlink(f"{process}/fd/{name}"))
    for table in ("tcp", "tcp6"):
        # A machine without IPv6 has no table of it.
        with contextlib.suppress(FileNotFoundError), open(f"{process}/net/{table}") as file:
            for row in [line.split() for line in file][1:]:
                # 0A: it listens.
                if row[3] == "0A" and f"socket:[{row[9]}]" in sockets:
                    ports.add(int(row[1].rsplit(":", 1)[1], 16))
    return ports


@test()
def slow_and_broken_http_clients_disturb_nobody(case):
    node = case.node()
    open_sockets = []
    for _ in range(100):
        one = socket.create_connection(("127.0.0.1", node.http_port))
        one.sendall(b"GET /metr")
        open_sockets.append(one)
    assert node.get("/healthz", timeout_s=5)[0] == 200
    for one in open_sockets:
        one.close()
