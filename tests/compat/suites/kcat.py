"""kcat from Debian (librdkafka 2.0.2): the cases of tests/clients, a fresh broker for each, here against both."""

import importlib
import os
import tempfile
import types
from typing import Iterator

from driver import brokers
from driver.own import one
from driver.suite import FAIL, Result, debian

ABOUT = "kcat from Debian 12 (librdkafka 2.0.2): the cases of tests/clients"
# It says that transactions are refused: no question for a broker that has them.
ONLY_OURS = ("transactions_are_refused_and_do_not_hang",)
PROPERTIES = {"auto_create_topics": "auto.create.topics.enable", "default_partitions": "num.partitions"}


def install() -> None:
    debian("kcat")


class Fresh:
    """What the cases of tests/clients are handed: `node()` starts a broker of the kind under test."""

    def __init__(self, name: str, folder: str):
        self.name = name
        self.folder = folder
        self.started: list = []

    def node(self, **settings):
        properties = {PROPERTIES[key]: str(value).lower() for key, value in settings.items()}
        wanted = types.SimpleNamespace(SETTINGS=settings, PROPERTIES=properties)
        broker = brokers.make(self.name, os.path.join(self.folder, str(len(self.started))), wanted)
        self.started.append(broker)
        broker.start()
        if self.name == "strandline":
            return broker.node
        # What is an operator's command here has no counterpart there, and changes nothing for a client.
        broker.seal = lambda *_: None
        return broker

    def trouble(self) -> str | None:
        """What is wrong with a broker of the case, although the case may have passed."""
        return next((trouble for broker in self.started if (trouble := broker.trouble())), None)

    def end(self) -> None:
        for broker in self.started:
            broker.kill()


def run(broker, only: str | None, left_out: set[str]) -> Iterator[Result]:
    import harness.registry

    importlib.import_module("cases.kcat")
    for found in harness.registry.TESTS:
        name = found.name.split(".")[1]
        if name in ONLY_OURS or not (name == only or only is None and name not in left_out):
            continue
        with tempfile.TemporaryDirectory(prefix="strandline-compat-kcat-") as folder:
            case = Fresh(broker.name, folder)
            try:
                result = one(name, found.function, 180, case)
                if trouble := case.trouble():
                    result = Result(name, FAIL, result.seconds, f"{result.output}\n{trouble}")
                yield result
            finally:
                case.end()
