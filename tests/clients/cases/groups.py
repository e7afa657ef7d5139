"""Consumer groups with confluent-kafka: assignors, rebalances, static members, committed offsets."""

import signal
import subprocess
import sys
import time

from harness.confluent import consume_all, consumer, create_topic, poll_for, produce
from harness.registry import NEWEST, OLD, test

BOTH = (NEWEST, OLD)


def fill(node, topic: str, partitions: int, count: int) -> None:
    create_topic(node, topic, partitions)
    produce(node, topic, [{"value": b"%d" % n, "partition": n % partitions} for n in range(count)])


def assigned(one) -> set:
    return {(p.topic, p.partition) for p in one.assignment()}


def close(*consumers) -> None:
    for one in consumers:
        one.close()


def leave_and_close(*consumers) -> None:
    """Nothing is on its way to a member when it closes: librdkafka's close() may wait for ever for a rebalance callback that
    was queued before it (confluentinc/librdkafka#4884), and one member's leaving is the next one's rebalance."""
    for one in consumers:
        one.unsubscribe()
        poll_for(list(consumers), lambda one=one: not assigned(one), "a member that left has nothing")
    close(*consumers)


def assignor_shares_and_rebalances(case, strategy: str) -> None:
    node = case.node()
    fill(node, "t", 6, 600)
    config = {"partition_assignment_strategy": strategy, "session_timeout_ms": 6_000, "heartbeat_interval_ms": 500}
    everything = {("t", p) for p in range(6)}
    one, two = consumer(node, **config), consumer(node, **config)
    one.subscribe(["t"])
    poll_for([one], lambda: assigned(one) == everything, "one member has all")
    two.subscribe(["t"])
    both = [one, two]
    poll_for(both, lambda: len(assigned(one)) == 3 and assigned(one) | assigned(two) == everything, "two members share")
    two.close()
    poll_for([one], lambda: assigned(one) == everything, "after the other left, one has all again")
    close(one)


@test(ages=BOTH)
def range_assignor(case):
    assignor_shares_and_rebalances(case, "range")


@test(ages=BOTH)
def roundrobin_assignor(case):
    assignor_shares_and_rebalances(case, "roundrobin")


@test(ages=BOTH)
def cooperative_sticky_assignor(case):
    assignor_shares_and_rebalances(case, "cooperative-sticky")


@test(ages=BOTH)
def a_cooperative_rebalance_leaves_what_stays(case):
    node = case.node()
    fill(node, "t", 4, 40)
    revoked: list = []
    config = {"partition_assignment_strategy": "cooperative-sticky", "heartbeat_interval_ms": 300}
    one, two = consumer(node, **config), consumer(node, **config)
    one.subscribe(["t"], on_revoke=lambda _, partitions: revoked.extend(p.partition for p in partitions))
    poll_for([one], lambda: len(assigned(one)) == 4, "one member has all")
    two.subscribe(["t"])
    poll_for([one, two], lambda: len(assigned(one)) == 2 and len(assigned(two)) == 2, "two members share")
    assert len(revoked) == 2, f"only what moves is revoked, not {revoked}"
    leave_and_close(one, two)


@test(ages=BOTH)
def a_group_goes_on_from_its_commits(case):
    node = case.node()
    fill(node, "t", 3, 300)
    first = consumer(node, "g")
    first.subscribe(["t"])
    [got] = consume_all([first], 120)
    first.commit(asynchronous=False)
    done = {(m.partition(), m.offset()) for m in got}
    close(first)
    second = consumer(node, "g")
    second.subscribe(["t"])
    [rest] = consume_all([second], 300 - len(done))
    seen = {(m.partition(), m.offset()) for m in rest}
    assert not done & seen and len(done | seen) == 300
    # Without a commit nothing moved.
    close(second)
    third = consumer(node, "g")
    third.subscribe(["t"])
    [again] = consume_all([third], 300 - len(done))
    assert {(m.partition(), m.offset()) for m in again} == seen
    close(third)


@test(ages=BOTH)
def auto_commit_at_close(case):
    node = case.node()
    fill(node, "t", 1, 50)
    one = consumer(node, "g", enable_auto_commit=True, auto_commit_interval_ms=60_000)
    one.subscribe(["t"])
    consume_all([one], 50)
    close(one)
    from confluent_kafka import TopicPartition

    two = consumer(node, "g")
    assert two.committed([TopicPartition("t", 0)], timeout=10)[0].offset == 50
    close(two)


@test(limit_s=90, ages=BOTH)
def a_static_member_comes_back_without_a_rebalance(case):
    node = case.node()
    fill(node, "t", 4, 40)
    moved: list = []
    config = {"session_timeout_ms": 30_000, "heartbeat_interval_ms": 300}
    stays = consumer(node, group_instance_id="a", **config)
    stays.subscribe(["t"], on_revoke=lambda _, partitions: moved.append(partitions))
    goes = consumer(node, group_instance_id="b", **config)
    goes.subscribe(["t"])
    poll_for([stays, goes], lambda: len(assigned(stays)) == 2 and len(assigned(goes)) == 2, "both have two")
    moved.clear()
    had = assigned(goes)
    close(goes)  # A static member does not leave.
    back = consumer(node, group_instance_id="b", **config)
    back.subscribe(["t"])
    poll_for([stays, back], lambda: len(assigned(back)) == 2, "it comes back")
    assert assigned(back) == had and moved == [], "a static member that came back caused a rebalance"
    # A second one of the same name fences the first.
    other = consumer(node, group_instance_id="b", **config)
    other.subscribe(["t"])
    poll_for([stays, other], lambda: len(assigned(other)) == 2, "the newcomer takes its place")
    fenced = None
    deadline = time.monotonic() + 15
    while fenced is None and time.monotonic() < deadline:
        message = back.poll(0.2)
        if message is not None and message.error() is not None:
            fenced = message.error()
    assert fenced is not None and fenced.name() in ("_FATAL", "FENCED_INSTANCE_ID"), fenced
    close(stays, other)


@test(ages=BOTH)
def a_member_that_dies_is_replaced_after_its_session(case):
    node = case.node()
    fill(node, "t", 2, 20)
    script = f"""
from confluent_kafka import Consumer
one = Consumer({{"bootstrap.servers": {node.bootstrap!r}, "group.id": "g", "session.timeout.ms": 6000, "auto.offset.reset": "earliest"}})
one.subscribe(["t"])
while True:
    one.poll(0.1)
    if one.assignment():
        print("assigned", flush=True)
"""
    child = case.spawn([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"assigned\n"
    child.send_signal(signal.SIGKILL)
    one = consumer(node, session_timeout_ms=6_000, heartbeat_interval_ms=500)
    one.subscribe(["t"])
    began = time.monotonic()
    poll_for([one], lambda: len(assigned(one)) == 2, "the survivor has all", 30)
    assert time.monotonic() - began < 15
    close(one)


@test(ages=BOTH)
def a_pattern_finds_topics_made_later(case):
    node = case.node()
    fill(node, "veh.a", 1, 5)
    one = consumer(node, topic_metadata_refresh_interval_ms=300, metadata_max_age_ms=300)
    one.subscribe(["^veh\\..*"])
    consume_all([one], 5)
    fill(node, "veh.b", 1, 5)
    consume_all([one], 5)
    assert assigned(one) == {("veh.a", 0), ("veh.b", 0)}
    close(one)


@test(ages=BOTH)
def many_members_share_and_read_everything_once(case):
    node = case.node()
    fill(node, "t", 12, 2_400)
    members = [consumer(node, enable_auto_commit=False, heartbeat_interval_ms=300) for _ in range(6)]
    for member in members:
        member.subscribe(["t"])
    poll_for_assignment(members, 12)
    produce(node, "t", [{"value": b"new %d" % n, "partition": n % 12} for n in range(1_200)])
    got: dict = {}
    deadline = time.monotonic() + 30
    while len(got) < 1_200 and time.monotonic() < deadline:
        for at, member in enumerate(members):
            for message in member.consume(200, 0.05):
                assert message.error() is None, message.error()
                if message.value().startswith(b"new"):
                    place = (message.partition(), message.offset())
                    assert place not in got, f"{place} came to members {got[place]} and {at}"
                    got[place] = at
    assert len(got) == 1_200 and len(set(got.values())) == 6
    close(*members)


def poll_for_assignment(members: list, partitions: int) -> None:
    def settled() -> bool:
        sets = [assigned(member) for member in members]
        return all(sets) and sum(map(len, sets)) == partitions and len(set().union(*sets)) == partitions

    poll_for(members, settled, "every member has its share")
