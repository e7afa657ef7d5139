"""The tests of librdkafka's own suite that want a broker on which asking for a topic does not create it."""

from typing import Iterator

from driver.suite import Result
from suites import librdkafka

ABOUT = "librdkafka 2.0.2, its own tests of topics that are not made by asking (C, C++)"
SETTINGS = {**librdkafka.SETTINGS, "auto_create_topics": False}
PROPERTIES = {**librdkafka.PROPERTIES, "auto.create.topics.enable": "false"}
install = librdkafka.install


def run(broker, only: str | None, left_out: set[str]) -> Iterator[Result]:
    yield from librdkafka.run(broker, only, left_out, "noautocreate")
