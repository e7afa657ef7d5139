"""The two that suites run against, with the same handful of methods."""

import os
import shutil
import socket
import subprocess
import time
import uuid

from harness.java import LIBRARIES
from harness.node import Node, free_port


class Strandline:
    """One node on a folder of its own."""

    name = "strandline"

    def __init__(self, folder: str, port: int | None, settings: dict):
        self.node = Node(os.path.join(folder, "data"), os.path.join(folder, "broker.log"), settings)
        if port is not None:
            self.node.port = port
            self.node.bootstrap = f"localhost:{port}"
        self.port = self.node.port
        self.bootstrap = f"127.0.0.1:{self.port}"
        # Where programs can ask which files a topic has.
        self.bronze = f"http://{self.node.http}/bronze"

    def start(self) -> None:
        self.node.start()

    def kill(self) -> None:
        """SIGKILL."""
        self.node.kill()

    def trouble(self) -> str | None:
        """Why the run must not count although every test passed."""
        log = self.node.log_text()
        if not self.node.is_alive():
            return f"the node is not running: {log[-3000:]}"
        if "panicked" in log:
            return "the node panicked: " + log[max(0, log.index("panicked") - 500):][:3000]
        return None

    def log_text(self) -> str:
        return self.node.log_text()


class Kafka:
    """Apache Kafka, one node that is broker and controller."""

    name = "kafka"

    def __init__(self, folder: str, port: int | None, properties: dict):
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.bronze = ""
        self.controller_port = free_port()
        self.log = os.path.join(folder, "broker.log")
        self.file = os.path.join(folder, "server.properties")
        self.process = None
        one = ("offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
               "share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr")
        host = "localhost" if port else "127.0.0.1"
        values = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{host}:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": os.path.join(folder, "kafka-logs"),
            "group.initial.rebalance.delay.ms": "0",
            **{name: "1" for name in one},
            **properties,
        }
        with open(self.file, "w") as file:
            file.write("".join(f"{key}={value}\n" for key, value in values.items()))
        subprocess.run(["java", "-cp", f"{LIBRARIES}/*", "kafka.tools.StorageTool", "format", "--standalone", "-t", uuid.uuid4().hex[:22],
                        "-c", self.file], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self) -> None:
        began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["java", "-Xmx1g", "-Dlog4j2.level=WARN", "-cp", f"{LIBRARIES}/*", "kafka.Kafka", self.file],
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while not self.answers():
            assert self.process.poll() is None, f"Kafka ended with {self.process.returncode}: {self.log_text()[-2000:]}"
            assert time.monotonic() - began < 180, "Kafka does not serve within three minutes"
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def trouble(self) -> str | None:
        return None if self.process is not None and self.process.poll() is None else f"Kafka is not running: {self.log_text()[-3000:]}"

    def log_text(self) -> str:
        try:
            with open(self.log, errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""


def make(name: str, folder: str, suite):
    """A broker in an empty folder, as the suite wants it: `PORT` where it is fixed, `SETTINGS` and `PROPERTIES`."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    port = getattr(suite, "PORT", None)
    if name == "kafka":
        return Kafka(folder, port, getattr(suite, "PROPERTIES", {}))
    return Strandline(folder, port, getattr(suite, "SETTINGS", {}))
