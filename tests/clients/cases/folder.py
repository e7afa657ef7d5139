"""The data folder and the settings: whatever is wrong with them is one clear line and an exit code, and costs no data."""

import os
import socket
import subprocess
import time

from harness.confluent import admin, consumer, create_topic, produce, producer, read_partition, results
from harness.node import BINARY, ENVIRONMENT, free_port
from harness.registry import test


def refused(node, *parts: str, arguments: tuple = (), environment: dict | None = None) -> str:
    """Starts it and expects that it ends by itself, with one line that has all these parts in it."""
    listen = () if "--listen" in arguments else ("--listen", node.bootstrap)
    command = [BINARY, "run", "--data", node.data, *listen, "--http", node.http, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env={**ENVIRONMENT, **(environment or {})})
    said = [line for line in done.stderr.splitlines() if line.startswith("strandline: ")]
    assert done.returncode != 0, f"it ended with 0: {done.stdout}{done.stderr}"
    assert len(said) == 1, f"one line was expected: {done.stdout}{done.stderr}"
    for part in parts:
        assert part in said[0], f"`{part}` is not in: {said[0]}"
    # Where a file is wrong, an excerpt of it may follow.
    assert "panicked" not in done.stderr and len(done.stderr.splitlines()) <= 8, done.stderr
    return said[0]


@test()
def held_by_another_process(case):
    node = case.node()
    create_topic(node, "t", 1)
    other = case.node(start=False, data=node.data)
    refused(other, node.data, str(node.process.pid) if str(node.process.pid) in open(f"{node.data}/lock").read() else "another")
    assert produce(node, "t", [{"value": b"x"}]) == [(0, 0)]


@test()
def of_a_newer_version(case):
    node = case.node()
    create_topic(node, "t", 1)
    produce(node, "t", [{"value": b"x"}])
    node.stop()
    before = listing(node.data)
    with open(f"{node.data}/format", "w") as file:
        file.write("99\n")
    refused(node, node.data, "99", "newer")
    with open(f"{node.data}/format", "w") as file:
        file.write("1\n")
    assert listing(node.data) == before, "a folder of a newer version was changed"
    node.start()
    assert len(read_partition(node, "t", 0)) == 1


def listing(folder: str) -> list:
    return sorted((os.path.join(at, name), os.path.getsize(os.path.join(at, name))) for at, _, names in os.walk(folder) for name in names if name != "format")


@test()
def not_a_folder_or_of_something_else(case):
    file = case.path("a-file")
    with open(file, "w") as out:
        out.write("hello")
    refused(case.node(start=False, data=file), file)
    refused(case.node(start=False, data=os.path.join(file, "below")), file)
    strange = case.path("strange")
    os.mkdir(strange)
    with open(os.path.join(strange, "format"), "w") as out:
        out.write("not a number\n")
    refused(case.node(start=False, data=strange), strange, "not a number")


@test()
def not_writable(case):
    """Root may write everywhere, so a read-only mount stands in where this runs as root."""
    folder = case.path("read-only")
    os.mkdir(folder)
    if os.getuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", folder], check=True)
    else:
        os.chmod(folder, 0o500)
    try:
        refused(case.node(start=False, data=os.path.join(folder, "data")), folder)
        refused(case.node(start=False, data=folder), folder)
    finally:
        if os.getuid() == 0:
            subprocess.run(["umount", folder], check=True)


@test()
def a_port_that_is_taken(case):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        node = case.node(start=False)
        node.port, node.bootstrap = port, f"127.0.0.1:{port}"
        refused(node, node.bootstrap)
        node = case.node(start=False)
        node.http = f"127.0.0.1:{port}"
        refused(node, node.http)


@test()
def bad_settings(case):
    node = case.node(start=False)
    config = case.path("config.toml")

    def with_file(text: str, *parts: str) -> None:
        with open(config, "w") as file:
            file.write(text)
        refused(node, *parts, arguments=("--config", config))

    with_file("default_partitions = 'many'\n", "default_partitions", config)
    with_file("default_partition = 3\n", "default_partition", "default_partitions")
    with_file("default_partitions = 0\n", "default_partitions")
    with_file("= broken\n", config)
    refused(node, "no-such-file", arguments=("--config", case.path("no-such-file")))
    refused(node, "no_such", arguments=("--set", "no_such=1"))
    refused(node, "KEY=VALUE", arguments=("--set", "auto_create_topics"))
    refused(node, "auto_create_topics", "perhaps", arguments=("--set", "auto_create_topics=perhaps"))
    refused(node, "STRANDLINE_MIN_FREE_BYTES", environment={"STRANDLINE_MIN_FREE_BYTES": "-1"})
    refused(node, "nowhere", arguments=("--listen", "nowhere"))
    refused(node, "advertise", arguments=("--listen", f"0.0.0.0:{free_port()}"))
    assert not os.path.exists(node.data), "a bad setting must not leave a folder behind"
    done = subprocess.run([BINARY, "run", "--no-such-flag"], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 2 and "--no-such-flag" in done.stderr


@test()
def settings_and_where_they_come_from(case):
    config = case.path("config.toml")
    with open(config, "w") as file:
        file.write("default_partitions = 4\nlog = 'warn'\n")
    done = subprocess.run([BINARY, "run", "--print-config", "--config", config, "--set", "cache_bytes=1000000"], capture_output=True, text=True,
                          env={**ENVIRONMENT, "STRANDLINE_DEFAULT_PARTITIONS": "5"})
    assert done.returncode == 0, done
    lines = {line.split(" = ")[0]: line for line in done.stdout.splitlines() if " = " in line and not line.startswith("#")}
    assert " 5 " in lines["default_partitions"] and "STRANDLINE_DEFAULT_PARTITIONS" in lines["default_partitions"], lines["default_partitions"]
    assert config in lines["log"] and "flag" in lines["cache_bytes"] and "default" in lines["zone"], lines
    # What it prints is a file that it takes.
    with open(config, "w") as file:
        file.write(done.stdout)
    again = subprocess.run([BINARY, "run", "--print-config", "--config", config], capture_output=True, text=True, env=ENVIRONMENT)
    assert again.returncode == 0, again


@test(limit_s=150)
def a_full_disk(case):
    """On a file system of 192 MiB: refused while full, nothing acknowledged lost, goes on by itself once there is room."""
    from confluent_kafka import TopicPartition

    disk = case.path("disk")
    os.mkdir(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", disk], check=True)
    try:
        node = case.node(data=os.path.join(disk, "data"), min_free_bytes=0)
        create_topic(node, "t", 1)
        create_topic(node, "victim", 1)
        produce(node, "victim", [{"value": os.urandom(100_000)} for _ in range(200)])
        acknowledged, errors = [], []

        def report(error, message):
            if error is None:
                acknowledged.append((message.offset(), message.value()[:16]))
            else:
                errors.append(error)

        sending = producer(node, message_timeout_ms=4_000, retries=2, retry_backoff_ms=100, linger_ms=5)
        deadline = time.monotonic() + 90
        sent = 0
        while not errors:
            assert time.monotonic() < deadline, f"the disk is not full after {sent} records"
            sending.produce("t", b"%016d" % sent + os.urandom(100_000), on_delivery=report)
            sent += 1
            sending.poll(0)
            if sent % 20 == 0:
                sending.flush(20)
        sending.flush(20)
        assert {error.name() for error in errors} <= {"KAFKA_STORAGE_ERROR", "_MSG_TIMED_OUT"}, errors[:3]
        assert node.is_alive(), "the node ended when the disk was full"
        # Reading goes on, groups commit, and nothing acknowledged is lost.
        check_acknowledged(node, acknowledged)
        reading = consumer(node, "g")
        reading.subscribe(["t"])
        until = time.monotonic() + 20
        message = None
        while message is None and time.monotonic() < until:
            message = reading.poll(1)
        assert message is not None and message.error() is None, message and message.error()
        reading.commit(message=message, asynchronous=False)
        [place] = reading.committed([TopicPartition("t", 0)], timeout=10)
        assert place.offset == message.offset() + 1, place
        reading.close()
        # Room: a topic is deleted. The producer goes on by itself.
        results(admin(node).delete_topics(["victim"]))
        node.settings["min_free_bytes"] = 0
        subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
        produce(node, "t", [{"value": b"%016d" % (sent + n)} for n in range(10)], message_timeout_ms=30_000)
        check_acknowledged(node, acknowledged)
        node.kill()
        node.start()
        check_acknowledged(node, acknowledged)
        node.verify()
        node.kill()
    finally:
        case.kill()
        subprocess.run(["umount", disk], check=True)


def check_acknowledged(node, acknowledged: list) -> None:
    found = {message.offset(): message.value()[:16] for message in read_partition(node, "t", 0)}
    lost = [(offset, value) for offset, value in acknowledged if found.get(offset) != value]
    assert acknowledged and not lost, f"{len(lost)} of {len(acknowledged)} acknowledged records are lost, such as {lost[:2]}"


@test(limit_s=60)
def too_little_free_space(case):
    """Below `min_free_bytes` Produce is refused with Kafka's own error; groups and reading go on."""
    from harness.wire import batch, produce as produce_by_hand, record

    node = case.node()
    create_topic(node, "t", 1)
    produce(node, "t", [{"value": b"x"}])
    node.stop()
    node.settings["min_free_bytes"] = 1 << 50
    node.start()
    time.sleep(1)
    errors = {produce_by_hand(node, "t", batch(record(0, b"y"), 1)) for _ in range(3)}
    assert errors == {56}, f"KAFKA_STORAGE_ERROR (56) was expected, not {errors}"
    assert len(read_partition(node, "t", 0)) == 1
    reading = consumer(node, "g")
    from confluent_kafka import TopicPartition

    reading.commit(offsets=[TopicPartition("t", 0, 1)], asynchronous=False)
    assert reading.committed([TopicPartition("t", 0)], timeout=10)[0].offset == 1
    reading.close()
    node.stop()
    node.settings["min_free_bytes"] = 0
    node.start()
    assert produce(node, "t", [{"value": b"z"}]) == [(0, 1)]
