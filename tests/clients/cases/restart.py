"""SIGTERM and start again: groups go on without a rebalance, nothing is lost, and it serves again at once."""

import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from harness.confluent import consumer, create_topic, poll_for, produce, producer, read_partition
from harness.java import command, java
from harness.node import wait_until
from harness.registry import NEWEST, OLD, test

BOTH = (NEWEST, OLD)


@test(limit_s=90, ages=BOTH, alone=True)
def a_group_goes_on_without_a_rebalance(case):
    node = case.node()
    create_topic(node, "t", 4)
    config = {"session_timeout_ms": 30_000, "heartbeat_interval_ms": 500, "reconnect_backoff_max_ms": 500, "enable_auto_commit": True,
              "auto_commit_interval_ms": 200}
    changes: list = []
    members = [consumer(node, "g", **config) for _ in range(2)]
    for at, member in enumerate(members):
        member.subscribe(["t"], on_assign=lambda _, partitions, at=at: changes.append(("assigned", at)),
                         on_revoke=lambda _, partitions, at=at: changes.append(("revoked", at)), on_lost=lambda _, partitions, at=at: changes.append(("lost", at)))
    sending = producer(node, enable_idempotence=True, reconnect_backoff_max_ms=500)
    sent, acknowledged, errors = 0, [], []
    got: dict = {}

    def step(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            sending.produce("t", b"%d" % sent, partition=sent % 4,
                            on_delivery=lambda error, message: errors.append(error) if error else acknowledged.append(int(message.value())))
            sent += 1
        sending.poll(0)
        for member in members:
            for message in member.consume(1_000, 0.02):
                assert message.error() is None, message.error()
                place = (message.partition(), message.offset())
                assert place not in got, f"{place} came twice"
                got[place] = int(message.value())

    deadline = time.monotonic() + 20
    while not all(len(member.assignment()) == 2 for member in members):
        assert time.monotonic() < deadline
        step(20)
    generations = [generation(member) for member in members]
    changes.clear()
    for round in range(3):
        step(2_000)
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(node.stop)
            while not stopping.done():
                step(20)
        # Raises what went wrong with the stop, which the start would hide.
        stopping.result()
        node.start()
        print(f"round {round}: serving after {node.serving_after_s:.3f} s")
        assert node.serving_after_s < 1, f"serving again took {node.serving_after_s} s"
        until = time.monotonic() + 3
        while time.monotonic() < until:
            step(20)
    assert sending.flush(30) == 0 and not errors, errors[:3]
    deadline = time.monotonic() + 20
    while len(got) < sent:
        assert time.monotonic() < deadline, f"{len(got)} of {sent} consumed"
        step(0)
    assert changes == [], f"the group was rebalanced: {changes}"
    assert [generation(member) for member in members] == generations
    assert sorted(got.values()) == list(range(sent)) and sorted(acknowledged) == list(range(sent))
    for member in members:
        member.close()
    node.verify()


def generation(member) -> str:
    """A member id is its for as long as it was not thrown out."""
    return member.memberid()


@test(limit_s=120, alone=True)
def a_java_group_goes_on_without_a_rebalance(case):
    node = case.node()
    create_topic(node, "t", 3)
    at = ("--bootstrap-server", node.bootstrap)
    out = case.path("consumed")
    # By default a client whose only broker is away forgets what topics there are, and a leading member that polls just then finds
    # them changed and joins anew, whatever broker it is.
    with open(case.path("recovery"), "w") as file:
        file.write("metadata.recovery.strategy=none\n")
    with open(out, "w") as file:
        case.spawn(command("verifiable-consumer", *at, "--topic", "t", "--group-id", "g", "--verbose", "--reset-policy", "earliest", "--session-timeout", "30000",
                           "--command-config", case.path("recovery")),
                   stdout=file, stderr=subprocess.DEVNULL)
    sent_file = case.path("sent")
    # Without this the tool never tries again, and what it sends into a socket that is just being closed is an error.
    with open(case.path("retries"), "w") as file:
        file.write("retries=2147483647\nenable.idempotence=true\n")
    with open(sent_file, "w") as file:
        sending = case.spawn(command("verifiable-producer", *at, "--topic", "t", "--max-messages", "9000", "--throughput", "1000", "--acks", "-1", "--command-config", case.path("retries")),
                             stdout=file, stderr=subprocess.DEVNULL)

    def events(path: str, name: str) -> list[dict]:
        with open(path) as file:
            lines = [line for line in file if line.startswith("{") and line.endswith("}\n")]
        return [event for event in map(json.loads, lines) if event["name"] == name]

    wait_until("records are consumed", lambda: len(events(out, "record_data")) > 500, 30)
    for _ in range(2):
        node.stop()
        node.start()
        time.sleep(2)
    assert sending.wait(40) == 0
    assert len(events(sent_file, "producer_send_success")) == 9_000, events(sent_file, "producer_send_error")[:3]
    wait_until("all is consumed", lambda: len(events(out, "record_data")) >= 9_000, 30)
    values = [int(event["value"]) for event in events(out, "record_data")]
    assert len(values) == 9_000 and sorted(values) == list(range(9_000)), "a record came twice or not at all"
    assert len(events(out, "partitions_assigned")) == 1 and not events(out, "partitions_revoked"), \
        f"the group was rebalanced: {events(out, 'partitions_assigned')} {events(out, 'partitions_revoked')}"
    assert re.search(r"Stable\s+1", java("groups", *at, "--describe", "--group", "g", "--state"))


@test(alone=True)
def it_serves_at_once_after_a_stop(case):
    node = case.node()
    first = node.serving_after_s
    create_topic(node, "t", 12)
    produce(node, "t", [{"value": b"x" * 500, "partition": n % 12} for n in range(50_000)])
    took = node.stop()
    node.start()
    print(f"new folder {first:.3f} s, stop {took:.3f} s, again {node.serving_after_s:.3f} s")
    assert node.serving_after_s < 0.5, node.serving_after_s
    assert took < 10, took
    assert sum(len(read_partition(node, "t", p)) for p in range(12)) == 50_000
    node.kill()
    node.start()
    print(f"after a kill {node.serving_after_s:.3f} s")
    assert node.serving_after_s < 2.5, node.serving_after_s
    assert sum(len(read_partition(node, "t", p)) for p in range(12)) == 50_000


@test()
def a_stop_while_consumers_wait_is_quick(case):
    node = case.node()
    create_topic(node, "t", 1)
    waiting = [consumer(node, f"g{n}", fetch_wait_max_ms=20_000) for n in range(5)]
    for one in waiting:
        one.subscribe(["t"])
    poll_for(waiting, lambda: all(one.assignment() for one in waiting), "every consumer has the partition")

    def fetches_that_wait() -> float:
        metrics = node.metrics()
        return metrics.get("strandline_fetch_requests_total", 0) - metrics.get("strandline_fetch_wait_seconds_count", 0)

    wait_until("every consumer's fetch waits", lambda: fetches_that_wait() >= len(waiting))
    took = node.stop()
    assert took < 5, f"SIGTERM took {took} s while consumers waited"
