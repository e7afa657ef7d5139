"""A Kafka Streams application (streams/, 4.2.0): a repartition topic, a key-value and a window store with changelogs and standbys.
It is killed, restarted with and without its state, and run beside a second instance; the broker is killed, too."""

import os
import re
import shutil
import subprocess
import tempfile
import time

from driver.own import Cases, kill_running, until
from driver.suite import checked, environment, folder_of, installed
from suites.java_tools import Tools

ABOUT = "a Kafka Streams 4.2.0 application, at least once, killed and restarted (Java)"
SETTINGS = {"group_initial_rebalance_delay_ms": 0}
SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "streams")
CASES = Cases()
case = CASES.case
PARTITIONS = 4


def install() -> None:
    sources = []
    for folder, _, files in sorted(os.walk(SOURCE)):
        for name in sorted(files):
            with open(os.path.join(folder, name)) as file:
                sources.append(file.read())

    def fill(folder: str) -> None:
        project = os.path.join(folder, "project")
        shutil.copytree(SOURCE, project)
        checked(["mvn", "--quiet", "--batch-mode", "compile", "dependency:copy-dependencies", f"-DoutputDirectory={folder}/libs", "-DincludeScope=runtime"], cwd=project)

    installed("streams", "Kafka Streams 4.2.0\n" + "\n".join(sources), fill)


def run(broker, only, left_out):
    with tempfile.TemporaryDirectory(prefix="strandline-compat-streams-") as folder:
        yield from CASES.run(only, left_out, Counting(broker, folder))


def command(*arguments: str) -> list[str]:
    folder = folder_of("streams")
    return ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
            f"{folder}/project/target/classes:{folder}/libs/*", "strandline.WordCounts", *arguments]


class Instance:
    """One running instance, with a state folder."""

    def __init__(self, broker, application: str, state: str, *more: str):
        self.log = tempfile.NamedTemporaryFile(prefix="strandline-compat-", suffix=".log")
        self.process = subprocess.Popen(command("run", broker.bootstrap, application, state, *more), stdout=self.log, stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL, env=environment())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.log.close()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def text(self) -> str:
        with open(self.log.name, errors="replace") as file:
            return file.read()

    def runs(self) -> bool:
        assert self.process.poll() is None, self.text()[-3000:]
        states = re.findall(r"^state (\S+)$", self.text(), re.M)
        return bool(states) and states[-1] == "RUNNING"


class Counting:
    """The application's topics, made anew for every test, and what it should have counted."""

    def __init__(self, broker, folder: str):
        self.broker = broker
        self.folder = folder
        self.tools = Tools(broker, folder)

    def topics(self) -> None:
        present = set(self.tools("topics", "--list").split())
        for name in sorted(present):
            if not name.startswith("_"):
                self.tools("topics", "--delete", "--topic", name)
        until("no topic is left", lambda: not [name for name in self.tools("topics", "--list").split() if not name.startswith("_")])
        self.tools.topic("words", PARTITIONS)
        self.tools.topic("word-counts", PARTITIONS, cleanup_policy="compact")
        self.tools.topic("word-windows", PARTITIONS)

    def state(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def instance(self, application: str, state: str, *more: str) -> Instance:
        return Instance(self.broker, application, self.state(state), *more)

    def fill(self, start: int, end: int) -> subprocess.Popen:
        return subprocess.Popen(command("fill", self.broker.bootstrap, str(start), str(end)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())

    def counts(self) -> tuple[dict[str, int], int]:
        done = subprocess.run(command("read", self.broker.bootstrap), capture_output=True, text=True, timeout=60, env=environment())
        assert done.returncode == 0, done.stdout + done.stderr
        words = {word: int(count) for word, count in re.findall(r"^count (\S+) (\d+)$", done.stdout, re.M)}
        return words, int(re.search(r"^windows (\d+)$", done.stdout, re.M)[1])

    def counted(self, total: int, timeout_s: float = 60) -> None:
        """Waits until every word's count is right; the windows count each record at least once."""
        expected = {f"word{n}": len(range(n, total, 50)) for n in range(50)}
        until(f"{total} records are counted", lambda: self.counts()[0] == expected, timeout_s, 1)
        assert self.counts()[1] >= total, "the windows lost some"


@case(240)
def counts_after_kill_and_restart(counting):
    counting.topics()
    with counting.instance("restarted", "kept") as one:
        until("it runs", one.runs, 60)
        filling = counting.fill(0, 20_000)
        time.sleep(3)
        one.kill()
        assert filling.wait(60) == 0
    with counting.instance("restarted", "kept") as one:
        until("it runs", one.runs, 60)
        counting.counted(20_000)
        one.kill()
    # A new machine: the state comes back from the changelog topics alone.
    shutil.rmtree(counting.state("kept"))
    with counting.instance("restarted", "kept") as one:
        filling = counting.fill(20_000, 24_000)
        until("it runs", one.runs, 60)
        assert filling.wait(60) == 0
        counting.counted(24_000)


@case(120)
def its_topics_have_its_configurations(counting):
    """Streams sets many and takes them for true; the internal topics of the test before."""
    names = counting.tools("topics", "--list").split()
    changelogs = sorted(name for name in names if name.endswith("-changelog"))
    assert changelogs == ["restarted-seen-changelog", "restarted-windows-changelog"], names
    [repartition] = [name for name in names if name.endswith("-repartition")]
    described = counting.tools("topics", "--describe", "--topic", repartition)
    assert f"PartitionCount: {PARTITIONS}" in described, described

    def config(topic: str) -> str:
        return counting.tools("configs", "--topic", topic, "--describe")

    assert "cleanup.policy=compact " in config("restarted-seen-changelog"), config("restarted-seen-changelog")
    assert "cleanup.policy=compact,delete " in config("restarted-windows-changelog"), config("restarted-windows-changelog")
    text = config(repartition)
    assert "cleanup.policy=delete " in text and "retention.ms=-1 " in text and "message.timestamp.type=CreateTime" in text, text
    # What was processed is purged with DeleteRecords.
    starts = counting.tools.ends(repartition, "--time", "earliest")
    assert sum(starts.values()) > 0, starts


@case(240)
def two_instances_and_one_dies(counting):
    counting.topics()
    with counting.instance("pair", "first") as one, counting.instance("pair", "second") as two:
        until("both run", lambda: one.runs() and two.runs(), 90)
        filling = counting.fill(0, 12_000)
        time.sleep(2)
        one.kill()
        assert filling.wait(60) == 0
        counting.counted(12_000, 90)
        with counting.instance("pair", "first") as one:
            until("both run again", lambda: one.runs() and two.runs(), 90)
            assert counting.fill(12_000, 15_000).wait(60) == 0
            counting.counted(15_000)


@case(240)
def the_broker_is_killed(counting):
    counting.topics()
    with counting.instance("survivor", "survivor") as one:
        until("it runs", one.runs, 60)
        filling = counting.fill(0, 15_000)
        for _ in range(2):
            time.sleep(3)
            kill_running(counting.broker)
            time.sleep(1)
            counting.broker.start()
        assert filling.wait(90) == 0
        counting.counted(15_000, 90)


@case(120)
def exactly_once(counting):
    counting.topics()
    with counting.instance("exactly", "exactly", "exactly_once_v2") as one:
        until("it runs", one.runs, 40)
        assert counting.fill(0, 2_000).wait(60) == 0
        counting.counted(2_000)
