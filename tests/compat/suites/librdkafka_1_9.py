"""librdkafka 1.9.2, as confluent-kafka-go 1.9.2 carries it, with a program of ours (librdkafka19/)."""

import os
import shutil
from typing import Iterator

from driver.lines import results
from driver.suite import Result, checked, installed

ABOUT = "librdkafka 1.9.2 through confluent-kafka-go 1.9.2 (Go)"
SETTINGS = {"group_initial_rebalance_delay_ms": 0}
SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "librdkafka19")


def install() -> str:
    def fill(folder: str) -> None:
        project = os.path.join(folder, "project")
        shutil.copytree(SOURCE, project)
        checked(["go", "mod", "tidy"], cwd=project)
        checked(["go", "build", "-o", os.path.join(folder, "librdkafka19"), "."], cwd=project)

    sources = []
    for name in sorted(os.listdir(SOURCE)):
        with open(os.path.join(SOURCE, name)) as file:
            sources.append(file.read())
    return installed("librdkafka-1.9", "librdkafka 1.9.2\n" + "\n".join(sources), fill)


def run(broker, only: str | None, left_out: set[str]) -> Iterator[Result]:
    yield from results([os.path.join(install(), "librdkafka19"), broker.bootstrap, *([only] if only else [])], 600, without=set() if only else left_out)
