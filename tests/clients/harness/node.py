"""A node under test, and the case that owns nodes and temporary files."""

import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

BINARY = os.environ.get("STRANDLINE_BIN", "")
# The binary takes STRANDLINE_… as settings and refuses those that it does not know; ours are not for it.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("STRANDLINE_")}


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
    raise AssertionError("no free port")


def wait_until(what: str, condition, timeout_s: float = 20, every_s: float = 0.1):
    """Waits until `condition()` is true and gives its value back; fails with `what` after the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}; last {value!r}")
        time.sleep(every_s)


class Node:
    """One `strandline run` on a folder. The ports stay the same over restarts."""

    def __init__(self, data: str, log: str, settings: dict):
        self.data = data
        self.log = log
        self.settings = {"group_initial_rebalance_delay_ms": 0, **settings}
        self.port = free_port()
        self.http_port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.http = f"127.0.0.1:{self.http_port}"
        self.process = None
        # What the binary is started with: a program that starts it.
        self.wrapper: list[str] = []
        self.serving_after_s = 0.0

    def start(self, *arguments: str, timeout_s: float = 20) -> "Node":
        """Starts it and waits until it serves; `serving_after_s` says how long that took."""
        command = [*self.wrapper, BINARY, "run", "--data", self.data, "--listen", self.bootstrap, "--http", self.http, *arguments]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
        began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
        while not self.answers(self.port):
            assert self.process.poll() is None, f"the node ended with {self.process.returncode}: {self.log_text()[-2000:]}"
            assert time.monotonic() - began < timeout_s, f"the node does not serve within {timeout_s} s"
            time.sleep(0.005)
        self.serving_after_s = time.monotonic() - began
        wait_until("the HTTP port is open", lambda: self.answers(self.http_port), 5, 0.005)
        return self

    def answers(self, port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return True
        except OSError:
            return False

    def stop(self, timeout_s: float = 25) -> float:
        """SIGTERM; gives the seconds that it took, and fails unless it ends with 0."""
        self.check_runs()
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout_s)
        assert code == 0, f"after SIGTERM the node ended with {code}: {self.log_text()[-2000:]}"
        self.process = None
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL, to this process alone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def check_runs(self) -> None:
        """Fails if it has ended by itself, which ending it and starting it again would hide."""
        assert self.process is not None, "the node is not started"
        assert self.is_alive(), f"the node ended with {self.process.returncode}: {self.log_text()[-3000:]}"

    def rss_mib(self) -> float:
        with open(f"/proc/{self.process.pid}/status") as status:
            [line] = [line for line in status if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024

    def peak_rss_mib(self) -> float:
        with open(f"/proc/{self.process.pid}/status") as status:
            [line] = [line for line in status if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024

    def get(self, path: str, method: str = "GET", timeout_s: float = 60) -> tuple[int, str, dict]:
        request = urllib.request.Request(f"http://{self.http}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return response.status, response.read().decode(), dict(response.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    def metrics(self) -> dict[str, float]:
        """Every series of `/metrics`, by its name with its labels."""
        lines = [line.rsplit(" ", 1) for line in self.get("/metrics")[1].splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, value in lines}

    def status(self) -> dict:
        return json.loads(self.get("/status")[1])

    def command(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess:
        """`strandline ARGUMENTS --http …`, as an operator would."""
        return subprocess.run([BINARY, *arguments, "--http", self.http], capture_output=True, text=True, timeout=timeout_s,
                              env=ENVIRONMENT)

    def seal(self, *topic: str) -> None:
        done = self.command("bronze", "seal", *topic)
        assert done.returncode == 0, f"bronze seal: {done.stdout}{done.stderr}"

    def files(self, topic: str) -> list[dict]:
        """What `bronze list` knows of a topic's files."""
        [found] = [entry for entry in json.loads(self.get("/bronze")[1]) if entry["topic"] == topic]
        return found["files"]

    def records_not_in_files(self, topic: str) -> int:
        [found] = [entry for entry in json.loads(self.get("/bronze")[1]) if entry["topic"] == topic]
        return found["records_in_wal"]

    def verify(self) -> None:
        done = self.command("bronze", "verify")
        assert done.returncode == 0, f"bronze verify: {done.stdout}{done.stderr}"
        inspected = self.command("index", "inspect")
        assert inspected.returncode == 0, f"index inspect: {inspected.stdout}{inspected.stderr}"

    def log_text(self) -> str:
        try:
            with open(self.log, errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""


class Case:
    """What a test is handed: its folder, the client's age, and nodes that end with it."""

    def __init__(self, folder: str, environment: str):
        self.folder = folder
        self.environment = environment
        self.nodes: list[Node] = []
        self.processes: list[subprocess.Popen] = []

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def node(self, start: bool = True, data: str | None = None, **settings) -> Node:
        name = f"node{len(self.nodes)}"
        node = Node(data or self.path(name), self.path(f"{name}.log"), settings)
        self.nodes.append(node)
        return node.start() if start else node

    def spawn(self, command: list[str], **arguments) -> subprocess.Popen:
        """A process that ends with the test, at the latest."""
        process = subprocess.Popen(command, **arguments)
        self.processes.append(process)
        return process

    def end(self) -> None:
        """After a test that passed: nodes that still run must not have failed or panicked on the way."""
        self.end_processes()
        for node in self.nodes:
            if node.process is not None:
                node.check_runs()
            log = node.log_text()
            assert "panicked" not in log, "the node panicked: " + log[max(0, log.index("panicked") - 500):][:3000]
        self.kill()

    def end_processes(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def kill(self) -> None:
        self.end_processes()
        for node in self.nodes:
            node.kill()

    def print_logs(self) -> None:
        for node in self.nodes:
            state = "not running" if node.process is None else ("running" if node.is_alive() else f"ended with {node.process.returncode}")
            print(f"--- {node.log} ({state}), its last lines")
            print("\n".join(node.log_text().splitlines()[-25:]))
