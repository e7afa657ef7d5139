"""librdkafka's own suite at the version that Debian 12 ships (2.0.2, kcat's), its tests that need a broker, one process a number: a test
that ends late would take the runner with it."""

import os
import re
import tempfile
import time
from typing import Iterator

from harness.java import LIBRARIES, TOOLS

from driver.suite import FAIL, PASS, SKIP, Result, checked, debian, environment, folder_of, installed, lines

ABOUT = "librdkafka 2.0.2, its own broker tests (C, C++)"
VERSION = "2.0.2"
ARCHIVE = f"librdkafka_{VERSION}.orig.tar.gz"
# A broker of tests, as the suite's own set-up has it: several partitions for topics that are created by asking for them, and a wait in
# which two members that come together join one generation (its tests count assignments).
SETTINGS = {"group_initial_rebalance_delay_ms": 100, "default_partitions": 4}
PROPERTIES = {"group.initial.rebalance.delay.ms": "100", "num.partitions": "4"}
LIMIT_S = 180
# What no broker is asked for: certificates, an OAuth server, an authorizer, several brokers, a JMX port.
NOT_FOR_ONE_PLAIN_BROKER = ("0097_ssl_verify", "0101_fetch_from_follower", "0115_producer_auth", "0119_consumer_auth", "0126_oauthbearer_oidc")

# Tests of many, function by function, each in a process of its own: what one asks for, or dies of, is no matter of the others.
PARTS = {
    "0081_admin": [f"do_test_{part}" for part in (
        "CreateTopics", "DeleteTopics", "DeleteRecords", "CreatePartitions", "AlterConfigs", "DescribeConfigs", "DeleteGroups",
        "ListConsumerGroups", "DescribeConsumerGroups", "DeleteConsumerGroupOffsets", "AlterConsumerGroupOffsets",
        "ListConsumerGroupOffsets", "CreateAcls", "DescribeAcls", "DeleteAcls")],
    "0113_cooperative_rebalance": [
        "a_assign_tests", "b_subscribe_with_cb_test", "c_subscribe_no_cb_test", "d_change_subscription_add_topic",
        "e_change_subscription_remove_topic", "f_assign_call_cooperative", "g_incremental_assign_call_eager", "h_delete_topic",
        "i_delete_topic_2", "j_delete_topic_no_rb_callback", "k_add_partition", "l_unsubscribe", "m_unsubscribe_2", "n_wildcard",
        "s_subscribe_when_rebalancing", "t_max_poll_interval_exceeded", "u_multiple_subscription_changes", "v_commit_during_rebalance",
        "x_incremental_rebalances"],
    "0045_subscribe_update_topic_remove": ["do_test_topic_remove"],
    "0045_subscribe_update_non_exist_and_partchange": ["do_test_non_exist_and_partchange"],
}
# Six variations of half a minute and more.
SLOW = {"s_subscribe_when_rebalancing", "u_multiple_subscription_changes"}


def install() -> None:
    def fill(folder: str) -> None:
        debian("build-essential", "zlib1g-dev", "libssl-dev")
        # Sources need lists of their own: the machine's stay as they are.
        lists = os.path.join(folder, "lists")
        os.makedirs(os.path.join(lists, "partial"))
        with open(os.path.join(folder, "sources"), "w") as file:
            file.write("deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n")
        options = ["-o", f"Dir::Etc::sourcelist={folder}/sources", "-o", "Dir::Etc::sourceparts=-", "-o", f"Dir::State::lists={lists}", "-o", "APT::Sandbox::User=root"]
        checked(["apt-get", *options, "update"], cwd=folder)
        checked(["apt-get", *options, "source", "--download-only", f"librdkafka={VERSION}-1"], cwd=folder)
        source = os.path.join(folder, "source")
        os.makedirs(source)
        checked(["tar", "xzf", os.path.join(folder, ARCHIVE), "-C", source, "--strip-components=1"])
        checked(["./configure", "--disable-curl", "--disable-gssapi", "--disable-syslog"], cwd=source)
        checked(["make", f"-j{os.cpu_count()}", "libs"], cwd=source)
        checked(["make", "-C", "tests", "build"], cwd=source)

    installed("librdkafka", f"librdkafka {VERSION} (source from Debian)", fill)


def names(source: str, scenario: str) -> list[str]:
    """The tests that need a broker and belong to a scenario, in the order of the suite."""
    with open(os.path.join(source, "tests", "test.c")) as file:
        table = re.search(r"struct test tests\[\] = \{(.*?)\{NULL\}", file.read(), re.S)[1]
    found = re.findall(r"_TEST\((\w+),(.*?)(?=_TEST\(|$)", table, re.S)
    scenarios = {name: said[1].split(",") if (said := re.search(r'\.scenario = "([^"]*)"', more)) else ["default"] for name, more in found}
    return [name for name, more in found if scenario in scenarios[name] and "TEST_F_LOCAL" not in more and "TEST_F_MANUAL" not in more
            and name not in NOT_FOR_ONE_PLAIN_BROKER]


def called(name: str, part: str) -> str:
    """A test's name on record: with its part, if there are several."""
    return f"{name} {part.removeprefix('do_test_')}" if len(PARTS.get(name, ())) > 1 else name


def kafka_path(folder: str) -> str:
    """A folder with the few scripts of Kafka's distribution that tests call, as the suite expects it at KAFKA_PATH."""
    os.makedirs(os.path.join(folder, "kafka", "bin"))
    for script, tool in (("kafka-topics.sh", "topics"), ("kafka-configs.sh", "configs"), ("kafka-acls.sh", "acls")):
        path = os.path.join(folder, "kafka", "bin", script)
        with open(path, "w") as file:
            file.write(f"#!/bin/sh\nexec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '{LIBRARIES}/*' {TOOLS[tool]} \"$@\"\n")
        os.chmod(path, 0o755)
    return os.path.join(folder, "kafka")


def run(broker, only: str | None, left_out: set[str], scenario: str = "default") -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="strandline-compat-librdkafka-") as folder:
        yield from tests(broker, folder, only, left_out, scenario)


def tests(broker, folder: str, only: str | None, left_out: set[str], scenario: str) -> Iterator[Result]:
    source = os.path.join(folder_of("librdkafka"), "source")
    configuration = os.path.join(folder, "test.conf")
    with open(configuration, "w") as file:
        file.write(f"metadata.broker.list={broker.bootstrap}\ntest.topic.random=true\ntest.timeout.multiplier=2\n")
    settings = environment(RDKAFKA_TEST_CONF=configuration, TEST_KAFKA_VERSION="4.2.0", TEST_SCENARIO=scenario, BROKERS=broker.bootstrap,
                           KAFKA_PATH=kafka_path(folder), LD_LIBRARY_PATH=f"{source}/src:{source}/src-cpp")
    # A process for each number, or for each part of a test: its arguments, and the results that it gives.
    runs: dict[tuple, list[str]] = {}
    for name in names(source, scenario):
        for part in PARTS.get(name, ("",)):
            runs.setdefault((name[:4], part), []).append(called(name, part))
    for (number, part), of in runs.items():
        wanted = [name for name in of if name == only or only is None and name not in left_out]
        if not wanted:
            continue
        began = time.monotonic()
        said: list[str] = []
        outcome: dict[str, str] = {}
        more = {"TESTS": number, **({"SUBTESTS": part} if part else {})}
        limit_s = LIMIT_S * (3 if part in SLOW else len(of))
        for line in lines(["./test-runner", "-p1"], limit_s, cwd=os.path.join(source, "tests"), env={**settings, **more}):
            said.append(line)
            row = re.search(r"\|\s*(\w+)\s*\|\s*([A-Z ]+?)\s*\|", re.sub(r"\x1b\[[0-9;]*m|\x1b\(B", "", line))
            if row:
                outcome[called(row[1], part)] = {"PASSED": PASS, "SKIPPED": SKIP}.get(row[2], FAIL)
        for name in wanted:
            yield Result(name, outcome.get(name, FAIL), time.monotonic() - began, "\n".join(said[-60:]))
