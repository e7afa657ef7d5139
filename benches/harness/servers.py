"""The servers under test: each on loopback, in a folder of its own that goes with it."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

BINARY = os.environ.get("STRANDLINE_BIN", "")
KAFKA = os.path.join(os.environ.get("STRANDLINE_CACHE", ""), "clients", "kafka")
# The binary takes STRANDLINE_… as settings and refuses those that it does not know; ours are not for it.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("STRANDLINE_")}
# What Kafka's own start script gives the JVM.
JVM = ["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
       "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true", "-Xmx1G", "-Xms1G"]


# One that was given away is not bound yet perhaps.
GIVEN: set[int] = set()


def free_port() -> int:
    """A port that is free now and that nobody here was given before, outside the range from which the system takes ports for outgoing connections."""
    for _ in range(200):
        port = random.randrange(12_000, 32_000)
        if port in GIVEN:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                GIVEN.add(port)
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


def is_open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


class Server:
    """A process that serves Kafka's protocol."""

    name = ""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="strandline-bench-", dir=os.environ.get("STRANDLINE_BENCH_DIR") or None)
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None
        self.serving_after_s = 0.0

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_):
        self.remove()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def spawn(self, command: list[str], timeout_s: float) -> None:
        began = time.monotonic()
        with open(os.path.join(self.folder, "server.log"), "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
        while not is_open(self.port):
            if self.process.poll() is not None or time.monotonic() - began > timeout_s:
                raise RuntimeError(f"{self.name} does not serve: {self.log_text()[-2000:]}")
            time.sleep(0.002)
        self.serving_after_s = time.monotonic() - began

    def log_text(self) -> str:
        with open(os.path.join(self.folder, "server.log"), errors="replace") as log:
            return log.read()

    def stop(self, timeout_s: float = 60) -> float:
        """SIGTERM; gives the seconds that it took."""
        began = time.monotonic()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout_s)
            self.process = None
        return time.monotonic() - began

    def remove(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu_s(self) -> float:
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def room_bytes(self) -> int:
        """What a run may write: with conversion records are there twice for a while."""
        return shutil.disk_usage(self.folder).free * 2 // 5

    def memory_mib(self, field: str = "VmRSS") -> float:
        with open(f"/proc/{self.pid}/status") as status:
            [line] = [line for line in status if line.startswith(field + ":")]
        return int(line.split()[1]) / 1024


    def read_mib(self) -> float:
        """What it has had read from the disk."""
        with open(f"/proc/{self.pid}/io") as counts:
            [line] = [line for line in counts if line.startswith("read_bytes:")]
        return int(line.split()[1]) / (1 << 20)

    def forget_files(self) -> None:
        """The system's cache gives up the pages of all files of the server; what is read next comes from the disk."""
        os.sync()
        for folder, _, names in os.walk(self.folder):
            for name in names:
                file = os.open(os.path.join(folder, name), os.O_RDONLY)
                try:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(file)


class Strandline(Server):
    """`strandline run`."""

    def __init__(self, name: str = "Strandline", **settings):
        super().__init__()
        self.name = name
        self.settings = {"group_initial_rebalance_delay_ms": 0, "log": "warn", **settings}
        self.http_port = free_port()
        self.http = f"127.0.0.1:{self.http_port}"

    def start(self) -> "Strandline":
        command = [BINARY, "run", "--data", os.path.join(self.folder, "data"), "--listen", self.bootstrap, "--http", self.http]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
        self.spawn(command, 60)
        while not is_open(self.http_port):
            time.sleep(0.002)
        return self

    def get(self, path: str, method: str = "GET") -> str:
        request = urllib.request.Request(f"http://{self.http}{path}", method=method)
        with urllib.request.urlopen(request, timeout=1_800) as response:
            return response.read().decode()

    def status(self) -> dict:
        return json.loads(self.get("/status"))

    def metrics(self, prefix: str) -> dict[str, float]:
        """Metrics whose line begins with this, by name with labels."""
        lines = [line.rsplit(" ", 1) for line in self.get("/metrics").splitlines() if line.startswith(prefix)]
        return {name: float(value) for name, value in lines}

    def wait_converted(self, timeout_s: float = 1_200) -> float:
        """Waits until every record is a row; gives the seconds."""
        began = time.monotonic()
        while self.status()["wal_records"] > 0:
            if time.monotonic() - began > timeout_s:
                raise RuntimeError(f"not converted within {timeout_s} s: {self.status()}")
            time.sleep(0.2)
        return time.monotonic() - began

    def seal(self) -> None:
        try:
            self.get("/bronze/seal", "POST")
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"seal: {error.read().decode()}") from error


class Kafka(Server):
    """Apache Kafka, one node that is broker and controller. Its properties are its defaults but for addresses and what one
    node cannot replicate; `fsync` flushes before each acknowledgement."""

    def __init__(self, name: str = "Kafka", fsync: bool = False):
        super().__init__()
        self.name = name
        self.fsync = fsync

    def start(self) -> "Kafka":
        controller = free_port()
        properties = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": os.path.join(self.folder, "data"),
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # Only how soon the files of deleted topics go, so that runs do not fill the disk.
            "log.segment.delete.delay.ms": 1000,
        }
        if self.fsync:
            properties["log.flush.interval.messages"] = 1
        path = os.path.join(self.folder, "server.properties")
        if not os.path.exists(path):
            with open(path, "w") as file:
                file.writelines(f"{key}={value}\n" for key, value in properties.items())
            command = ["java", "-Xmx256m", "-cp", f"{KAFKA}/*", "kafka.tools.StorageTool", "format", "--standalone",
                       "-t", str(uuid.uuid4()), "-c", path]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
            if done.returncode != 0:
                raise RuntimeError(f"{self.name} cannot be formatted: {done.stdout}{done.stderr}")
        self.spawn(["java", *JVM, "-cp", f"{KAFKA}/*", "kafka.Kafka", path], 120)
        return self
