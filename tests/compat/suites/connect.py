"""Kafka Connect 4.2.0 in distributed mode: its three internal topics, a file source and a file sink, workers killed and restarted."""

import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter

from driver.own import Cases, kill_running, until
from driver.suite import checked, environment, folder_of, installed
from harness.node import free_port
from suites.java_tools import Tools

ABOUT = "Kafka Connect 4.2.0, distributed, file source and sink, killed and restarted (Java)"
SETTINGS = {"group_initial_rebalance_delay_ms": 0}
POM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "connect", "pom.xml")
CASES = Cases()
case = CASES.case


def install() -> None:
    with open(POM) as file:
        pom = file.read()

    def fill(folder: str) -> None:
        checked(["mvn", "--quiet", "--batch-mode", "--file", POM, "dependency:copy-dependencies", f"-DoutputDirectory={folder}/libs", "-DincludeScope=runtime"])

    installed("connect", "Kafka Connect 4.2.0\n" + pom, fill)


def run(broker, only, left_out):
    with tempfile.TemporaryDirectory(prefix="strandline-compat-connect-") as folder:
        yield from CASES.run(only, left_out, Cluster(broker, folder))


class Worker:
    """One worker of a Connect cluster; its REST port stays the same over restarts."""

    def __init__(self, broker, folder: str, cluster: str):
        self.port = free_port()
        self.process = None
        self.log = os.path.join(folder, f"{cluster}-{self.port}.log")
        self.file = os.path.join(folder, f"{cluster}-{self.port}.properties")
        converter = "org.apache.kafka.connect.storage.StringConverter"
        values = {
            "bootstrap.servers": broker.bootstrap, "group.id": cluster, "key.converter": converter, "value.converter": converter,
            "offset.storage.topic": f"{cluster}-offsets", "config.storage.topic": f"{cluster}-configs", "status.storage.topic": f"{cluster}-status",
            "offset.storage.replication.factor": "1", "config.storage.replication.factor": "1", "status.storage.replication.factor": "1",
            "offset.flush.interval.ms": "500", "listeners": f"http://127.0.0.1:{self.port}", "rest.advertised.host.name": "127.0.0.1",
            "session.timeout.ms": "8000", "heartbeat.interval.ms": "2000", "scheduled.rebalance.max.delay.ms": "2000", "plugin.discovery": "service_load",
            "consumer.metadata.max.age.ms": "2000", "plugin.path": "",
        }
        with open(self.file, "w") as file:
            file.write("".join(f"{key}={value}\n" for key, value in values.items() if value))

    def start(self) -> "Worker":
        command = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN", "-cp", f"{folder_of('connect')}/libs/*",
                   "org.apache.kafka.connect.cli.ConnectDistributed", self.file]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment())
        until("the worker serves", lambda: self.alive() and self.ask("GET", "/connectors", fine=False) is not None, 90)
        return self

    def alive(self) -> bool:
        if self.process.poll() is not None:
            with open(self.log, errors="replace") as log:
                raise AssertionError(f"the worker ended with {self.process.returncode}: {log.read()[-3000:]}")
        return True

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, method: str, path: str, body: dict | None = None, fine: bool = True):
        """A REST call; `fine` false: nothing if it fails."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, data=json.dumps(body).encode() if body is not None else None,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                text = response.read()
                return json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if fine:
                raise AssertionError(f"{method} {path}: {error.code} {text}") from error
        except OSError:
            if fine:
                raise
        return None

    def running(self, name: str) -> bool:
        status = self.ask("GET", f"/connectors/{name}/status", fine=False)
        return bool(status) and status["connector"]["state"] == "RUNNING" and bool(status["tasks"]) and all(t["state"] == "RUNNING" for t in status["tasks"])


class Cluster:
    """Workers and files of the test that runs."""

    def __init__(self, broker, folder: str):
        self.broker = broker
        self.folder = folder
        self.tools = Tools(broker, folder)

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def append(self, name: str, start: int, end: int) -> None:
        with open(self.path(name), "a") as file:
            file.write("".join(f"line {number}\n" for number in range(start, end)))

    def lines(self, name: str) -> list[str]:
        try:
            with open(self.path(name)) as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def connect(self, worker: Worker, name: str) -> None:
        """A source from `NAME.in` into topic NAME and a sink from there to `NAME.out`."""
        # A batch that is full leaves what the source has read beyond it until the file grows again: no batch is ever full.
        worker.ask("PUT", f"/connectors/{name}-source/config", {"connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector", "tasks.max": "1",
                   "file": self.path(f"{name}.in"), "topic": name, "batch.size": "1000000"})
        worker.ask("PUT", f"/connectors/{name}-sink/config", {"connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector", "tasks.max": "1",
                   "file": self.path(f"{name}.out"), "topics": name})
        until("both connectors run", lambda: worker.running(f"{name}-source") and worker.running(f"{name}-sink"), 60)

    def committed(self, worker: Worker, name: str, total: int) -> None:
        """Connect's own offsets stand behind the first `total` lines, of the source and of the sink."""

        def behind() -> bool:
            source, sink = (worker.ask("GET", f"/connectors/{name}-{side}/offsets")["offsets"] for side in ("source", "sink"))
            position = sum(entry["offset"]["position"] for entry in source)
            return position == os.path.getsize(self.path(f"{name}.in")) and sum(entry["offset"]["kafka_offset"] for entry in sink) == total

        until(f"{total} lines are committed", behind, 30)

    def arrived(self, name: str, total: int, timeout_s: float = 60) -> None:
        """Every line has arrived, at least once. A killed worker's sink may leave one line torn in its file."""
        expected = {f"line {number}" for number in range(total)}

        def missing() -> list[str]:
            return sorted(expected - set(self.lines(f"{name}.out")), key=len)

        deadline = time.monotonic() + timeout_s
        while missing():
            assert time.monotonic() < deadline, f"{len(missing())} lines are missing: {missing()[:5]} … {missing()[-5:]}; topic: {self.tools.ends(name)}"
            time.sleep(0.3)
        assert len(set(self.lines(f"{name}.out")) - expected) <= 1


def workers(cluster: Cluster, name: str, count: int):
    return [Worker(cluster.broker, cluster.folder, name) for _ in range(count)]


class Ending:
    """Kills workers at the end of a test, whatever became of it."""

    def __init__(self, of: list[Worker]):
        self.of = of

    def __enter__(self):
        return self.of

    def __exit__(self, *_):
        for worker in self.of:
            worker.kill()


@case(240)
def a_worker_is_killed_and_restarted(cluster):
    cluster.tools.topic("alone", 2)
    with Ending(workers(cluster, "alone-cluster", 1)) as [worker]:
        worker.start()
        cluster.append("alone.in", 0, 1_000)
        cluster.connect(worker, "alone")
        cluster.arrived("alone", 1_000)
        cluster.committed(worker, "alone", 1_000)
        cluster.append("alone.in", 1_000, 20_000)
        time.sleep(1)
        worker.kill()
        cluster.append("alone.in", 20_000, 22_000)
        worker.start()
        until("the connectors came back by themselves", lambda: worker.running("alone-source") and worker.running("alone-sink"), 60)
        cluster.arrived("alone", 22_000)
        # It went on where it was: what was committed is not read again. How much was not, when it was killed, is a matter of luck.
        counts = Counter(cluster.lines("alone.out"))
        repeated = [number for number in range(1_000) if counts[f"line {number}"] != 1]
        assert not repeated, f"{len(repeated)} committed lines came again: {repeated[:5]}"
        assert sorted(worker.ask("GET", "/connectors")) == ["alone-sink", "alone-source"]
        # Everything again from the sink's side, by the offsets that Connect itself resets.
        worker.ask("PUT", "/connectors/alone-sink/stop")
        until("the sink stopped", lambda: worker.ask("GET", "/connectors/alone-sink/status")["connector"]["state"] == "STOPPED", 30)
        worker.ask("DELETE", "/connectors/alone-sink/offsets")
        os.remove(cluster.path("alone.out"))
        worker.ask("PUT", "/connectors/alone-sink/resume")
        cluster.arrived("alone", 22_000)


@case(60)
def its_internal_topics(cluster):
    """Those of the test before: Connect refuses to start on others."""
    for name, partitions in (("offsets", 25), ("configs", 1), ("status", 5)):
        text = cluster.tools("topics", "--describe", "--topic", f"alone-cluster-{name}")
        assert f"PartitionCount: {partitions}" in text and "cleanup.policy=compact" in text, text


@case(300)
def two_workers_and_one_dies(cluster):
    cluster.tools.topic("pair", 4)
    with Ending(workers(cluster, "pair-cluster", 2)) as [one, two]:
        one.start()
        two.start()
        cluster.append("pair.in", 0, 5_000)
        cluster.connect(one, "pair")
        cluster.arrived("pair", 5_000)

        def places() -> set:
            found = set()
            for name in ("pair-source", "pair-sink"):
                status = two.ask("GET", f"/connectors/{name}/status", fine=False) or {"connector": {"worker_id": ""}, "tasks": []}
                found |= {status["connector"]["worker_id"], *[task["worker_id"] for task in status["tasks"]]}
            return found

        until("both have work", lambda: len(places()) == 2, 60)
        one.kill()
        cluster.append("pair.in", 5_000, 9_000)
        until("all of it is on the second", lambda: places() == {f"127.0.0.1:{two.port}"}, 90)
        cluster.arrived("pair", 9_000)
        one.start()
        until("the first has work again", lambda: len(places()) == 2, 60)
        cluster.append("pair.in", 9_000, 10_000)
        cluster.arrived("pair", 10_000)


@case(240)
def the_broker_is_killed(cluster):
    cluster.tools.topic("robust", 2)
    with Ending(workers(cluster, "robust-cluster", 1)) as [worker]:
        worker.start()
        cluster.append("robust.in", 0, 2_000)
        cluster.connect(worker, "robust")
        cluster.append("robust.in", 2_000, 20_000)
        kill_running(cluster.broker)
        time.sleep(2)
        cluster.broker.start()
        cluster.append("robust.in", 20_000, 21_000)
        cluster.arrived("robust", 21_000, 90)


@case(180)
def exactly_once_source(cluster):
    """Needs transactions."""
    cluster.tools.topic("exact", 1)
    with Ending(workers(cluster, "exact-cluster", 1)) as [worker]:
        with open(worker.file, "a") as file:
            file.write("exactly.once.source.support=enabled\n")
        worker.start()
        cluster.append("exact.in", 0, 100)
        cluster.connect(worker, "exact")
        cluster.arrived("exact", 100)
