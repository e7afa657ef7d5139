"""confluent-kafka for Python (librdkafka) at four versions, with one script of ours (confluent/cases.py). Its integration tests are in
none of its source distributions; librdkafka's own suite stands in for them."""

import os
import sys
from typing import Iterator

from driver.lines import results
from driver.suite import Result, checked, environment, folder_of, installed

ABOUT = "confluent-kafka 2.0.2, 2.4.0, 2.9.0, 2.16.1: records, groups, admin (Python)"
VERSIONS = ("2.0.2", "2.4.0", "2.9.0", "2.16.1")
SETTINGS = {"group_initial_rebalance_delay_ms": 0}
SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "confluent", "cases.py")


def install() -> None:
    for version in VERSIONS:
        def fill(folder: str, version: str = version) -> None:
            checked([sys.executable, "-m", "venv", os.path.join(folder, "env")])
            checked([os.path.join(folder, "env", "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:",
                     f"confluent-kafka=={version}"])

        installed(f"confluent-{version}", f"confluent-kafka {version}", fill)


def run(broker, only: str | None, left_out: set[str]) -> Iterator[Result]:
    """A test is named `VERSION TEST`; so is the one to run."""
    for at, version in enumerate(VERSIONS):
        if only and not only.startswith(f"{version} "):
            continue
        if at and not only:
            empty(broker, VERSIONS[-1])
        python = os.path.join(folder_of(f"confluent-{version}"), "env", "bin", "python")
        yield from results([python, SCRIPT, broker.bootstrap, *([only.split(" ")[1]] if only else [])], 900, f"{version} ",
                           set() if only else left_out, BRONZE=broker.bronze)


def empty(broker, version: str) -> None:
    """Deletes all topics and groups: every version finds the same names free."""
    python = os.path.join(folder_of(f"confluent-{version}"), "env", "bin", "python")
    script = """
import sys
from confluent_kafka.admin import AdminClient
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
groups = [group.group_id for group in admin.list_consumer_groups().result(30).valid]
for future in (admin.delete_consumer_groups(groups) if groups else {}).values():
    future.exception(60)
topics = [name for name in admin.list_topics(timeout=20).topics if not name.startswith("_")]
for future in admin.delete_topics(topics).values():
    future.result(30)
"""
    checked([python, "-c", script, broker.bootstrap], env=environment())
