"""kill -9 in a loop under load, and a process that stands still and goes on: what was acknowledged is there once and in order, groups
never went back and were handed what is there, without a gap, and at no moment, the node dead or alive, did a bare glob of `bronze/` show a
row twice."""

import random
import signal
import threading
import time
import traceback

from harness.bronze import rows_of_bronze
from harness.confluent import consumer, create_topic, producer, read_partition
from harness.registry import test
from harness.wire import fetch_batches

ROUNDS = 10
# Shorter and longer than clients wait for an answer, and than groups wait for a member.
STANDS_STILL_S = [0.3, 3, 12, 1, 5]
CLIENT_PATIENCE_MS = 2_000
PARTITIONS = 6


class Writer(threading.Thread):
    """An idempotent producer that writes numbers in order to its partitions, and keeps what was acknowledged and where."""

    def __init__(self, node, name: str, partitions: range, codec: str, **options):
        super().__init__(daemon=True)
        self.name_bytes = name.encode()
        self.partitions = partitions
        self.sending = producer(node, enable_idempotence=True, acks="all", compression_type=codec, reconnect_backoff_max_ms=200,
                                message_timeout_ms=120_000, queue_buffering_max_messages=20_000, linger_ms=2, **options)
        self.acknowledged: dict = {}
        self.errors: list = []
        self.running = True
        self.sent = dict.fromkeys(partitions, 0)

    def report(self, error, message) -> None:
        if error is None:
            self.acknowledged[message.value()] = (message.partition(), message.offset())
        else:
            self.errors.append(str(error))

    def run(self) -> None:
        try:
            self.write()
        except Exception:
            self.errors.append(f"it ended early: {traceback.format_exc()}")

    def write(self) -> None:
        while self.running:
            for partition in self.partitions:
                value = b"%s %d %d" % (self.name_bytes, partition, self.sent[partition])
                try:
                    self.sending.produce("t", value, key=b"k%d" % partition, partition=partition, on_delivery=self.report)
                    self.sent[partition] += 1
                except BufferError:
                    self.sending.poll(0.05)
            self.sending.poll(0)
            time.sleep(0.0005)

    def finish(self) -> None:
        self.running = False
        self.join()
        left = self.sending.flush(60)
        assert left == 0, f"{left} records were neither acknowledged nor refused a minute after the last start"
        assert not self.errors, f"{len(self.errors)} records were refused: {self.errors[:3]}"


class Reader(threading.Thread):
    """A group that reads and commits; what it was handed, committed offsets as they were confirmed, and whether one went back."""

    def __init__(self, node, group: str):
        super().__init__(daemon=True)
        self.node = node
        self.group = group
        self.confirmed: dict = {}
        # Where each record was that it was handed.
        self.seen: dict = {}
        self.wrong: list = []
        self.running = True

    def run(self) -> None:
        # A thread that ends early would have nothing to say against the node.
        try:
            self.read()
        except Exception:
            self.wrong.append(f"{self.group} ended early: {traceback.format_exc()}")

    def read(self) -> None:
        from confluent_kafka import KafkaException

        def assigned(member, partitions):
            # What a member starts from was read after what was confirmed: it must not be lower.
            try:
                for place in member.committed(partitions, timeout=10):
                    before = self.confirmed.get(place.partition, place.offset)
                    # No offset at all is below any that was confirmed.
                    if place.error is None and place.offset < before:
                        self.wrong.append(f"{self.group}: partition {place.partition} was committed up to {before}, then {place.offset}")
            except KafkaException:
                pass

        while self.running:
            # A new member now and then, so that offsets are really read back.
            member = consumer(self.node, self.group, session_timeout_ms=10_000, heartbeat_interval_ms=500, reconnect_backoff_max_ms=200)
            member.subscribe(["t"], on_assign=assigned)
            until = time.monotonic() + random.uniform(2, 5)
            while self.running and time.monotonic() < until:
                messages = [message for message in member.consume(2_000, 0.1) if message.error() is None]
                if not messages:
                    continue
                self.keep(messages)
                try:
                    for place in member.commit(asynchronous=False):
                        if place.error is None:
                            self.confirmed[place.partition] = max(place.offset, self.confirmed.get(place.partition, 0))
                except KafkaException:
                    pass
            member.close()

    def keep(self, messages: list) -> None:
        for message in messages:
            place = (message.partition(), message.offset())
            before = self.seen.setdefault(message.value(), place)
            if before != place:
                self.wrong.append(f"{self.group} was handed {message.value()} at {before} and at {place}")


def seals(node, running) -> None:
    import subprocess

    while running():
        try:
            node.command("bronze", "seal", "t", timeout_s=30)
        except subprocess.TimeoutExpired:
            pass
        time.sleep(0.3)


def globs(node, running, wrong: list, looks: list) -> None:
    """Reads `bronze/` as an engine does that knows nothing of Strandline."""
    while running():
        try:
            rows = rows_of_bronze(node, "t")
        except Exception:
            wrong.append(f"a file of bronze/ could not be read: {traceback.format_exc()}")
        else:
            looks.append(len(rows))
            if len(rows) != len(set(rows)):
                wrong.append(f"a glob showed {len(rows) - len(set(rows))} of {len(rows)} rows twice")
        time.sleep(0.2)


def batches_around(node, partition: int, *offsets: int) -> list[dict]:
    batches: dict = {}
    for offset in offsets:
        for batch in fetch_batches(node, "t", partition, max(0, offset - 50), 1 << 16):
            if any(batch["base"] - 100 <= offset <= batch["last"] + 100 for offset in offsets):
                batches[batch["base"]] = batch
    return list(batches.values())


def check_handed_out(state: str, reader: Reader, found: dict) -> None:
    """What a group was handed under load is what is there, where it is. And it was handed all that lies below what it was told is committed:
    a member begins there, so that nobody would ever hand it the rest."""
    assert reader.seen, f"{reader.group} was handed nothing"
    for value, place in reader.seen.items():
        assert found.get(value) == place, f"{state}: {reader.group} was handed {value} at {place}, and it is at {found.get(value)}"
    committed = {value for value, (partition, offset) in found.items() if offset < reader.confirmed.get(partition, 0)}
    passed_over = committed - reader.seen.keys()
    assert not passed_over, f"{state}: {reader.group} has committed past {len(passed_over)} records that it was not handed, such as " \
                            f"{[(value, found[value]) for value in sorted(passed_over)[:3]]}; committed: {reader.confirmed}"


@test(limit_s=200, alone=True)
def nothing_acknowledged_is_lost_or_doubled(case):
    chance = random.Random(7)
    starts = []

    def kill(node) -> None:
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.8, 3))
            node.check_runs()
            node.kill()
            node.start()
            starts.append(node.serving_after_s)

    under_load(case, kill)
    print("serving again after a kill:", " ".join(f"{seconds:.2f}" for seconds in starts))


@test(limit_s=200, alone=True)
def a_process_that_stood_still_goes_on(case):
    """Clients give up and send again on other connections, while what they sent before waits in the sockets that the node will read first."""

    def stand_still(node) -> None:
        for seconds in STANDS_STILL_S:
            time.sleep(2)
            node.process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            node.process.send_signal(signal.SIGCONT)

    gave_up = []

    def on_error(error) -> None:
        # The port takes connections all the time, so this is a client that waited for an answer in vain.
        if error.name() == "_ALL_BROKERS_DOWN":
            gave_up.append(error)

    under_load(case, stand_still, socket_timeout_ms=CLIENT_PATIENCE_MS, request_timeout_ms=CLIENT_PATIENCE_MS, error_cb=on_error)
    assert gave_up, "no client gave a request up while the process stood still"
    print(f"{len(gave_up)} times a client gave up and sent again")


def under_load(case, disturb, **producer_options) -> None:
    from confluent_kafka import TopicPartition

    node = case.node()
    create_topic(node, "t", PARTITIONS)
    writers = [Writer(node, name, partitions, codec, **producer_options) for name, partitions, codec in (
        ("a", range(0, 4), "none"), ("b", range(2, 6), "lz4"), ("c", range(0, 6), "zstd"))]
    readers = [Reader(node, "g1"), Reader(node, "g2")]
    on = True
    sealing = threading.Thread(target=seals, args=(node, lambda: on), daemon=True)
    wrong, looks = [], []
    globbing = threading.Thread(target=globs, args=(node, lambda: on, wrong, looks), daemon=True)
    for thread in [*writers, *readers, sealing, globbing]:
        thread.start()
    disturb(node)
    time.sleep(2)
    for writer in writers:
        writer.finish()
    on = False
    for reader in readers:
        reader.running = False
    for thread in [*readers, sealing, globbing]:
        thread.join(40)
        assert not thread.is_alive(), "a thread still waits for the node 40 s after its last start"
    assert not wrong, wrong[:3]
    assert looks[-1] > 0, f"nothing was sealed under load: {looks}"
    print(f"bronze/ was read {len(looks)} times, at the end {looks[-1]} rows")
    acknowledged = {value: place for writer in writers for value, place in writer.acknowledged.items()}
    print(f"{len(acknowledged)} records acknowledged")
    assert len(acknowledged) == sum(sum(writer.sent.values()) for writer in writers)

    for state in ("as it was", "sealed", "after a restart"):
        found: dict = {}
        for partition in range(PARTITIONS):
            last: dict = {}
            previous = -1
            for message in read_partition(node, "t", partition, check_crcs=True):
                value = message.value()
                assert message.offset() > previous, (state, partition, message.offset(), previous)
                previous = message.offset()
                if value in found:
                    raise AssertionError(f"{state}: {value} is at {found[value]} and at {message.offset()}, acknowledged at {acknowledged.get(value)}; "
                                         f"batches: {batches_around(node, partition, found[value][1], message.offset())}")
                found[value] = (partition, message.offset())
                name, number = value.split()[0], int(value.split()[2])
                assert number > last.get(name, -1), f"{state}: partition {partition}: {value} after {last[name]}"
                last[name] = number
        missing = [value for value in acknowledged if value not in found]
        assert not missing, f"{state}: {len(missing)} acknowledged records are gone, such as {missing[:3]}"
        # An acknowledgement that came as 'duplicate' after a kill may not know its offset; every other one is exact.
        moved = [value for value, place in acknowledged.items() if place[1] >= 0 and found[value] != place]
        assert not moved, f"{state}: {len(moved)} records are not where they were acknowledged, such as {moved[0]}: {acknowledged[moved[0]]}, {found[moved[0]]}"
        for reader in readers:
            check_handed_out(state, reader, found)
        if state == "as it was":
            node.seal("t")
        elif state == "sealed":
            node.stop()
            node.start()
    for reader in readers:
        assert not reader.wrong, reader.wrong[:3]
        asking = consumer(node, reader.group)
        partitions = [TopicPartition("t", partition) for partition in reader.confirmed]
        assert partitions, "no group committed anything"
        for place in asking.committed(partitions, timeout=20):
            assert place.offset >= reader.confirmed[place.partition], f"{reader.group}: {place} is below {reader.confirmed[place.partition]}"
        asking.close()
    node.verify()
