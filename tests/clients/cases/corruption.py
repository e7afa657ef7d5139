"""A changed byte or a cut file under the real binary: refused in one line, or read right, or a client is told. Never a wrong record, never
one twice or out of its order, never a silent gap. (Every byte of every format, in one process, is the work of tests/corruption.) Seed:
CORRUPTION_SEED."""

import os
import random
import shutil
import subprocess
import time

from harness.confluent import consumer, create_topic, produce, read_partition, shape
from harness.node import BINARY, ENVIRONMENT, wait_until
from harness.registry import test

EACH = int(os.environ.get("CORRUPTION_EACH", "3"))


def files_of(folder: str) -> list[str]:
    found = []
    for at, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(at, name), folder) for name in names]
    return sorted(name for name in found if not name.endswith("/reserve"))


def read_what_is_there(node, topic: str, records: int, timeout_s: float) -> list:
    """The records that come within some seconds; a partition that cannot be read gives none."""
    from confluent_kafka import TopicPartition

    reading = consumer(node, "reader", fetch_error_backoff_ms=100)
    reading.assign([TopicPartition(topic, 0, 0)])
    found, until = [], time.monotonic() + timeout_s
    while len(found) < records and time.monotonic() < until:
        found += [shape(message) for message in reading.consume(records, 0.2) if message.error() is None]
    reading.close()
    return found


def alarms(node) -> list[str]:
    """The lines of its log that say that something is wrong."""
    return [line for line in node.log_text().splitlines() if " WARN " in line or " ERROR " in line]


def check_is_part(found: list, right: list, what: str) -> None:
    """What a partition gave is a part of what it holds: every record as it was, at its offset, in their order, none twice."""
    rest = iter(right)
    for record in found:
        # Looks only behind the one before.
        assert record in rest, f"{what}: {record} is wrong, or comes again, or behind one that follows it"


def check_end(node, what: str) -> None:
    """It has ended by itself, and says why in one plain line."""
    log = node.log_text()
    said = [line for line in log.splitlines() if line.startswith("strandline: ")]
    ended = node.process.poll()
    assert ended is not None and ended > 0 and len(said) == 1 and "panicked" not in log, f"{what}: ended with {ended}: {log[-3000:]}"


def serves(node) -> bool:
    try:
        return node.get("/readyz", timeout_s=10)[0] == 200
    except OSError:
        return False


def verify(folder: str) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, "bronze", "verify", "--data", folder], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)


def check_undamaged(case, folder: str, truth: dict) -> None:
    """Nothing is missing and nothing is said to be wrong: else a line that every start writes would excuse every gap."""
    outcome, said = look(case, folder, truth, "undamaged")
    assert (outcome, said) == ("right", []), f"undamaged: {outcome}, said {said}"
    done = verify(folder)
    assert done.returncode == 0, f"undamaged: verify said {done}"


@test(limit_s=170)
def a_damaged_file(case):
    seed = int(os.environ.get("CORRUPTION_SEED", "5"))
    print(f"CORRUPTION_SEED={seed} CORRUPTION_EACH={EACH}")
    dice = random.Random(seed)
    node = case.node()
    truth = {}
    for topic, config in (("sealed", {}), ("fresh", {"strandline.bronze.freshness.ms": 500}), ("hot", {"strandline.bronze.freshness.ms": 3_600_000})):
        create_topic(node, topic, 1, **config)
        produce(node, topic, [{"key": b"k%d" % at, "value": b"%s %d" % (topic.encode(), at), "headers": [("ce_id", b"%d" % at)]} for at in range(30)])
        if topic == "sealed":
            node.seal(topic)
            assert node.command("index", "snapshot").returncode == 0
        if topic == "fresh":
            wait_until("it is in a file", lambda: node.records_not_in_files("fresh") == 0)
        truth[topic] = [shape(message) for message in read_partition(node, topic, 0)]
        assert [message[1] for message in truth[topic]] == list(range(30)), truth[topic]
    wait_until("the manifest is there", lambda: any("manifest/fresh" in name for name in files_of(node.data)))
    # Inputs of a seal are still there, and answer for nothing.
    answering = {f"store/{file['path']}" for topic in truth for file in node.files(topic)}
    assert len(answering) >= 2
    node.stop()
    undamaged = case.path("undamaged")
    shutil.copytree(node.data, undamaged)
    check_undamaged(case, undamaged, truth)
    shutil.rmtree(undamaged)
    found_by: dict = {}
    for file in files_of(node.data):
        with open(os.path.join(node.data, file), "rb") as original:
            sound = original.read()
        for turn in range(EACH if sound else 0):
            damaged = bytearray(sound)
            at = dice.randrange(len(sound))
            if turn == EACH - 1:
                del damaged[at:]
            else:
                damaged[at] ^= dice.choice([1, 0x80, 0xFF])
            what = f"seed {seed}: {file}, {'cut to' if turn == EACH - 1 else 'byte'} {at}"
            folder = case.path("damaged")
            shutil.copytree(node.data, folder)
            with open(os.path.join(folder, file), "wb") as out:
                out.write(damaged)
            outcome, _ = look(case, folder, truth, what)
            if file in answering:
                done = verify(folder)
                assert done.returncode != 0 and os.path.basename(file) in done.stdout + done.stderr, f"{what}: verify said {done}"
            found_by.setdefault(file.split("/")[0] + "/" + "/".join(file.split("/")[1:2]), []).append(outcome)
            shutil.rmtree(folder)
    for kind, outcomes in found_by.items():
        print(kind, {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))})


def look(case, folder: str, truth: dict, what: str) -> tuple[str, list[str]]:
    """What became of the folder, and what the node said to be wrong."""
    node = case.node(start=False, data=folder, conversion_paused=True)
    open(node.log, "w").close()
    try:
        node.start()
    except AssertionError as error:
        check_end(node, f"{what}: {error}")
        case.nodes.remove(node)
        return "refused", []
    try:
        def missing_of(topic: str, timeout_s: float) -> int:
            right = truth[topic]
            found = read_what_is_there(node, topic, len(right), timeout_s)
            check_is_part(found, right, f"{what}: {topic}")
            return len(right) - len(found)

        missing = {topic: missing_of(topic, 4) for topic in truth}
        if any(missing.values()) and not alarms(node) and node.is_alive():
            # What nobody complains of may only be slow, on a machine that has other things to do.
            missing = {topic: missing_of(topic, 20) for topic, count in missing.items() if count}
        wait_until(f"{what}: the node serves, or has ended", lambda: not node.is_alive() or serves(node))
        said = alarms(node)
        if not node.is_alive():
            check_end(node, what)
            return "ended", said
        # A panic of the Parquet library that is caught is an error like any other, and is said as one.
        if any(missing.values()):
            assert said, f"{what}: {missing} records are missing, and the log says nothing: {node.log_text()[-1500:]}"
            return "an error", said
        return "right", said
    finally:
        node.kill()
        case.nodes.remove(node)
