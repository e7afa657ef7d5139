"""KafkaJS 2.2.4 with a script of ours (kafkajs/cases.js): its own tests are in no registry."""

import os
import shutil
from typing import Iterator

from driver.lines import results
from driver.suite import Result, checked, installed

ABOUT = "KafkaJS 2.2.4: records, groups, admin (JavaScript)"
SETTINGS = {"group_initial_rebalance_delay_ms": 0}
SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kafkajs")


def install() -> str:
    def fill(folder: str) -> None:
        shutil.copy(os.path.join(SOURCE, "package.json"), folder)
        checked(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)

    with open(os.path.join(SOURCE, "package.json")) as file:
        return installed("kafkajs", "KafkaJS 2.2.4\n" + file.read(), fill)


def run(broker, only: str | None, left_out: set[str]) -> Iterator[Result]:
    command = ["node", os.path.join(SOURCE, "cases.js"), broker.bootstrap, *([only] if only else [])]
    yield from results(command, 900, without=set() if only else left_out, NODE_PATH=os.path.join(install(), "node_modules"),
                       KAFKAJS_NO_PARTITIONER_WARNING="1", BRONZE=broker.bronze)
