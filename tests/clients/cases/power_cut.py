"""Power cuts under load: the folder as a disk may leave it that lost what was not synced, and the real binary started on it.

A run under producers, a group, conversion, seals and snapshots is recorded call by call (harness/record.c). Then, for moments
picked by a seed, the folder is made as a cut would leave it (harness/replay.py), a node starts on it, and clients compare. Seed
and number of cuts: POWER_SEED, POWER_CUTS; both are printed.
"""

import os
import random
import shutil
import subprocess
import threading
import time
import traceback

from cases.kill import Writer
from harness.bronze import rows_of_bronze
from harness.confluent import consumer, create_topic, produce, read_partition
from harness.registry import test
from harness.replay import LINK, RENAME, Disk, events

PARTITIONS = 4
RECORDED_S = float(os.environ.get("POWER_SECONDS", "9"))


class TimedWriter(Writer):
    """Keeps when an acknowledgement was in a client's hands."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.at: list = []

    def report(self, error, message) -> None:
        super().report(error, message)
        if error is None:
            self.at.append((time.monotonic(), message.partition(), message.offset(), message.value()))


class TimedReader(threading.Thread):
    """A group: what it saw and what it was told is committed, and when."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.running = True
        self.seen: list = []
        self.committed: list = []
        self.wrong: list = []

    def run(self) -> None:
        try:
            self.read()
        except Exception:
            self.wrong.append(f"the group ended early: {traceback.format_exc()}")

    def read(self) -> None:
        from confluent_kafka import KafkaException

        member = consumer(self.node, "g")
        member.subscribe(["t"])
        while self.running:
            messages = [message for message in member.consume(1_000, 0.1) if message.error() is None]
            now = time.monotonic()
            self.seen += [(now, message.partition(), message.offset(), message.value()) for message in messages]
            if messages:
                try:
                    places = member.commit(asynchronous=False)
                except KafkaException:
                    continue
                now = time.monotonic()
                self.committed += [(now, place.partition, place.offset) for place in places if place.error is None]
        member.close()


def recorder(case) -> str:
    """The recorder, compiled."""
    program = case.path("record")
    subprocess.run(["cc", "-O2", "-o", program, os.path.join(os.path.dirname(__file__), "..", "harness", "record.c")], check=True)
    return program


def operate(node, running, done: list, wrong: list) -> None:
    """Seals and snapshots, all the time; none may be refused, or the recording has less in it than it is meant to have."""
    try:
        while running():
            command = ("index", "snapshot") if len(done) % 3 == 2 else ("bronze", "seal", "t")
            result = node.command(*command, timeout_s=60)
            done.append(command)
            if result.returncode != 0:
                wrong.append(f"{' '.join(command)}: {result.returncode}: {result.stdout}{result.stderr}")
            time.sleep(0.4)
    except Exception:
        wrong.append(f"the operator ended early: {traceback.format_exc()}")


@test(limit_s=int(os.environ.get("POWER_LIMIT_S", "150")), alone=True)
def what_was_acknowledged_outlives_a_power_cut(case):
    seed, cuts = int(os.environ.get("POWER_SEED", "11")), int(os.environ.get("POWER_CUTS", "12"))
    print(f"POWER_SEED={seed} POWER_CUTS={cuts}")
    dice = random.Random(seed)
    recorded = case.path("recorded")
    node = case.node(start=False)
    os.makedirs(node.data)
    node.wrapper = [recorder(case), recorded, node.data]
    node.start(timeout_s=60)
    create_topic(node, "t", PARTITIONS, **{"strandline.bronze.freshness.ms": 500})
    writers = [TimedWriter(node, "a", range(0, 3), "none"), TimedWriter(node, "b", range(1, 4), "zstd")]
    reader = TimedReader(node)
    on = True
    done, wrong = [], []
    operating = threading.Thread(target=operate, args=(node, lambda: on, done, wrong), daemon=True)
    for thread in [*writers, reader, operating]:
        thread.start()
    began = time.monotonic()
    time.sleep(RECORDED_S)
    on = reader.running = False
    for writer in writers:
        writer.finish()
    operating.join(60)
    reader.join(30)
    assert not operating.is_alive() and not reader.is_alive(), "the operator or the group still waits for the node"
    assert not wrong and not reader.wrong, (wrong + reader.wrong)[:3]
    assert {command[0] for command in done} == {"bronze", "index"}, f"not everything was asked for within {RECORDED_S:.0f} s: {done}"
    node.stop()
    acknowledged = [place for writer in writers for place in writer.at]
    everything = list(events(recorded))
    last = max(at for at, *_ in acknowledged)
    choice = [number for number, event in enumerate(everything) if began < event[1] <= last]
    print(f"{len(everything)} events, {os.path.getsize(recorded) >> 20} MiB, {len(acknowledged)} records acknowledged, {len(reader.committed)} commits of offsets")
    assert len(choice) > 1_000 and len(acknowledged) > 1_000 and reader.committed
    # Cuts are to fall into seals and snapshots, too, so these have to have left files.
    names = {name for kind, _, _, _, path, data in everything for name in ([path, data.decode()] if kind in (RENAME, LINK) else [path])}
    for kind in ("store/bronze/t/", "store/index/"):
        assert any(name.startswith(kind) and not name.endswith("/") for name in names), f"no file below {kind} in the recording"
    moments = sorted(dice.sample(choice, cuts))

    disk, played = Disk(), 0
    for moment in moments:
        for kind, _, a, b, path, data in everything[played:moment]:
            disk.play(kind, a, b, path, data)
        played = moment
        # Nothing that happened at the moment itself or later can have been acknowledged before.
        until = everything[moment - 1][1]
        folder = case.path(f"cut{moment}")
        disk.cut(random.Random(f"{seed} {moment}"), folder)
        before = [place for place in [*acknowledged, *reader.seen] if place[0] <= until]
        committed = {}
        for at, partition, offset in reader.committed:
            if at <= until:
                committed[partition] = max(offset, committed.get(partition, 0))
        try:
            after_a_cut(case, folder, before, committed)
        except AssertionError as error:
            kept = os.environ.get("POWER_KEEP")
            if kept:
                shutil.copytree(folder, os.path.join(kept, f"cut{moment}"))
            raise AssertionError(f"seed {seed}, cut before event {moment} of {len(everything)} ({everything[moment][0]}, {everything[moment][4]}): {error}") from error
        shutil.rmtree(folder)


def after_a_cut(case, folder: str, before: list, committed: dict) -> None:
    from confluent_kafka import TopicPartition

    node = case.node(start=False, data=folder)
    if not before and not os.path.exists(os.path.join(folder, "commit-log")):
        return
    node.start()
    try:
        for state in ("at once", "sealed"):
            found: dict = {}
            for partition in range(PARTITIONS):
                last: dict = {}
                for message in read_partition(node, "t", partition, check_crcs=True):
                    value = message.value()
                    assert value not in found, f"{state}: {value} is at {found[value]} and at {message.offset()}"
                    found[value] = (partition, message.offset())
                    name, number = value.split()[0], int(value.split()[2])
                    assert number > last.get(name, -1), f"{state}: partition {partition}: {value} after {last[name]}"
                    last[name] = number
            for _, partition, offset, value in before:
                assert value in found, f"{state}: {value}, at {partition}/{offset}, is gone"
                # An acknowledgement of a repeated batch may not know its offset.
                assert offset < 0 or found[value] == (partition, offset), f"{state}: {value} is at {found[value]}, not at {partition}/{offset}"
            rows = rows_of_bronze(node, "t")
            assert len(rows) == len(set(rows)), f"{state}: a glob of bronze/ shows {len(rows) - len(set(rows))} rows twice"
            if state == "at once":
                asking = consumer(node, "g")
                for place in asking.committed([TopicPartition("t", partition) for partition in committed], timeout=20):
                    assert place.offset >= committed[place.partition], f"{place} is below {committed[place.partition]}"
                asking.close()
                produce(node, "t", [{"value": b"after 0 %d" % number, "partition": number % PARTITIONS} for number in range(20)])
                node.seal("t")
        node.verify()
    finally:
        node.kill()
