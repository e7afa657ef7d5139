"""What no client would send: each gets Kafka's own error or a closed connection, and nothing else is disturbed."""

import gzip
import os
import random
import struct
import threading
import time
import zlib

from harness.confluent import create_topic, produce, read_partition
from harness.registry import test
from harness.wire import (API_VERSIONS, FETCH, LIST_OFFSETS, METADATA, PRODUCE, Connection, batch, frame, header, produce as produce_by_hand, produce_error,
                          produce_request, record, string, varint)

CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION, INVALID_RECORD, UNSUPPORTED_VERSION, MESSAGE_TOO_LARGE, INVALID_TIMESTAMP = 2, 3, 87, 35, 10, 32
INVALID_REQUIRED_ACKS = 21


class Bystander(threading.Thread):
    """A well-behaved client that must not notice anything: one connection, one question after another."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.running = True
        self.answers = 0
        self.slowest_s = 0.0
        self.failure = None
        self.start()

    def run(self) -> None:
        try:
            with Connection(self.node) as connection:
                while self.running:
                    began = time.monotonic()
                    answer = connection.ask(produce_request("bystander", 0, batch(record(0, b"x"), 1)))
                    assert produce_error(answer) == 0, produce_error(answer)
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                    self.answers += 1
                    time.sleep(0.01)
        except Exception as error:
            self.failure = error

    def check(self, slowest_s: float = 5) -> None:
        self.running = False
        self.join(20)
        assert not self.is_alive() and self.failure is None, f"another connection was disturbed: {self.failure or 'no answer'}"
        assert self.answers > 0 and self.slowest_s < slowest_s, f"another connection waited {self.slowest_s} s"


def start(case, **settings):
    node = case.node(**settings)
    create_topic(node, "t", 1)
    create_topic(node, "bystander", 1)
    return node, Bystander(node)


def is_closed(connection: Connection) -> bool:
    """Whether the node closes the connection without an answer."""
    return connection.receive() is None


@test()
def frames_that_lie_about_their_length(case):
    node, bystander = start(case)
    before = node.rss_mib()
    for announced in (0x7FFFFFFF, -1, -(2**31), 200 * 1024 * 1024, 0, 1, 3):
        with Connection(node) as connection:
            connection.send(struct.pack(">i", announced) + b"\0" * max(0, min(announced, 64)))
            if announced > 1 << 20 or announced <= 0 or announced < 8:
                assert is_closed(connection), announced
    # Cut off in the middle.
    for _ in range(20):
        with Connection(node) as connection:
            connection.send(struct.pack(">i", 50_000_000) + b"\0" * 1_000)
    assert node.peak_rss_mib() - before < 40, f"{before} MiB became {node.peak_rss_mib()}"
    bystander.check()


@test(limit_s=90)
def a_large_frame_that_never_comes_holds_up_nobody(case):
    """Slow or silent senders of large frames must not take all the room there is for requests."""
    node, bystander = start(case)
    silent = []
    for _ in range(4):
        connection = Connection(node)
        connection.send(struct.pack(">i", 60 * 1024 * 1024) + header(PRODUCE, 3))
        silent.append(connection)
    time.sleep(1)
    produced = produce(node, "t", [{"value": b"through"}], message_timeout_ms=8_000)
    assert produced == [(0, 0)]
    bystander.check()
    for connection in silent:
        connection.socket.close()


@test()
def garbage(case):
    node, bystander = start(case)
    chance = random.Random(3)
    before = node.rss_mib()
    for n in range(300):
        with Connection(node) as connection:
            connection.socket.settimeout(10)
            junk = chance.randbytes(chance.randrange(1, 300))
            try:
                connection.send(frame(junk) if n % 2 else junk)
                if n % 3 == 0:
                    connection.send(frame(header(chance.randrange(0, 80), chance.randrange(0, 14)) + junk))
                connection.socket.shutdown(1)
                while connection.receive() is not None:
                    pass
            except (BrokenPipeError, ConnectionResetError, OSError):
                pass
    with Connection(node) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert is_closed(connection)
    with Connection(node) as connection:
        connection.send(bytes.fromhex("16030100a5010000a10303") + os.urandom(160))
        assert is_closed(connection)
    assert node.peak_rss_mib() - before < 60, f"{before} MiB became {node.peak_rss_mib()}"
    bystander.check()


@test()
def arrays_of_a_billion_and_truncated_bodies(case):
    node, bystander = start(case)
    before = node.rss_mib()
    billion = struct.pack(">i", 1_000_000_000)
    bodies = [
        header(METADATA, 1) + billion,
        header(METADATA, 1) + billion + string("t") * 3,
        header(PRODUCE, 3) + string(None) + struct.pack(">hi", -1, 1000) + billion,
        header(FETCH, 4) + struct.pack(">iiiib", -1, 100, 1, 1 << 20, 0) + billion,
        header(LIST_OFFSETS, 1) + struct.pack(">i", -1) + billion,
        # Compact arrays and strings: an unsigned varint of almost 2^32.
        header(METADATA, 12) + b"\0" + b"\xff\xff\xff\xff\x0f",
        header(PRODUCE, 9) + b"\0" + b"\0" + struct.pack(">hi", -1, 1000) + b"\xff\xff\xff\xff\x07",
        header(API_VERSIONS, 3) + b"\0" + b"\xff\xff\xff\xff\x0f",
        # Tagged fields without end.
        header(METADATA, 12) + b"\xff\xff\xff\xff\x0f",
        header(METADATA, 12) + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        header(METADATA, 1) + struct.pack(">i", -5),
        header(METADATA, 1) + struct.pack(">ih", 1, 30_000) + b"t",
        header(METADATA, 1) + struct.pack(">ih", 1, 2) + b"\xff\xfe",
        header(PRODUCE, 3),
        header(FETCH, 4) + b"\0" * 7,
    ]
    for body in bodies:
        with Connection(node) as connection:
            # Closed, or answered with an error: never left without either.
            connection.ask(body)
    assert node.peak_rss_mib() - before < 40, f"{before} MiB became {node.peak_rss_mib()}"
    bystander.check()


@test()
def unknown_apis_and_versions(case):
    node, bystander = start(case)
    with Connection(node) as connection:
        # ApiVersions in a version that does not exist: answered in version 0 with the range (KIP-511), and the connection goes on.
        answer = connection.ask(header(API_VERSIONS, 99, 7) + b"\0")
        correlation, error, count, api, low, high = struct.unpack_from(">ihihhh", answer)
        assert (correlation, error, api, low) == (7, UNSUPPORTED_VERSION, API_VERSIONS, 0) and count >= 1 and high >= 4, (error, count, api, low, high)
        answer = connection.ask(header(API_VERSIONS, 0, 8))
        correlation, error, count = struct.unpack_from(">ihi", answer)
        assert (correlation, error) == (8, 0) and count > 20
    for api, version in ((METADATA, 99), (FETCH, 3), (FETCH, 19), (1_000, 0), (-1, 0), (4, 0), (24, 0), (68, 0)):
        with Connection(node) as connection:
            assert connection.ask(header(api, version) + b"\0" * 20) is None, (api, version)
    bystander.check()


@test()
def corrupt_batches(case):
    node, bystander = start(case)
    good = batch(record(0, b"good") + record(1, b"better"), 2)
    assert produce_by_hand(node, "t", good) == 0
    flipped = bytearray(good)
    flipped[-3] ^= 1
    big = os.urandom(2_000_000)
    # What Kafka 4.2 answers; where it answers UNKNOWN_SERVER_ERROR, any other error will do.
    cases = [
        ("a bit flipped", bytes(flipped), CORRUPT_MESSAGE),
        ("a wrong CRC", batch(record(0, b"x"), 1, crc=1), CORRUPT_MESSAGE),
        ("shorter than it says", good[:-4], INVALID_RECORD),
        ("cut in the header", good[:40], INVALID_RECORD),
        ("longer than it is", batch(record(0, b"x"), 1, length=1_000), INVALID_RECORD),
        ("a negative length", batch(record(0, b"x"), 1, length=-5), CORRUPT_MESSAGE),
        ("magic 1", batch(record(0, b"x"), 1, magic=1), None),
        ("magic 9", batch(record(0, b"x"), 1, magic=9), None),
        ("more records than there are", batch(record(0, b"x"), 2), INVALID_RECORD),
        ("a billion records", batch(record(0, b"x"), 1_000_000_000), INVALID_RECORD),
        ("fewer records than there are", batch(record(0, b"x") + record(1, b"y"), 1), INVALID_RECORD),
        ("no record", batch(b"", 0), INVALID_RECORD),
        ("a negative count", batch(record(0, b"x"), -1), INVALID_RECORD),
        ("offsets that jump", batch(record(0, b"x") + record(5, b"y"), 2, last_delta=5), INVALID_RECORD),
        ("a last offset that lies", batch(record(0, b"x"), 1, last_delta=70), INVALID_RECORD),
        ("a record longer than the batch", batch(varint(1 << 40) + b"\0" * 10, 1), INVALID_RECORD),
        ("an unknown codec", batch(record(0, b"x"), 1, codec=6), None),
        ("gzip that is none", batch(os.urandom(50), 1, codec=1), None),
        ("snappy that is none", batch(os.urandom(50), 1, codec=2), None),
        ("lz4 that is none", batch(os.urandom(50), 1, codec=3), None),
        ("zstd that is none", batch(os.urandom(50), 1, codec=4), None),
        ("compressed and lying", batch(gzip.compress(record(0, b"x")), 3, codec=1), INVALID_RECORD),
        ("a control batch", batch(record(0, b"x"), 1, attributes=0x20), INVALID_RECORD),
        ("two batches", good + good, INVALID_RECORD),
        ("a time in microseconds", batch(record(0, b"x"), 1, time_ms=1_700_000_000_000_000_000), INVALID_TIMESTAMP),
        ("too large for the topic", batch(record(0, big), 1), MESSAGE_TOO_LARGE),
    ]
    wrong = []
    for what, records, expected in cases:
        error = produce_by_hand(node, "t", records)
        if error in (0, None, -1) or (expected is not None and error != expected):
            wrong.append(f"{what}: {error}, expected {expected or 'an error'}")
    assert not wrong, "; ".join(wrong)
    assert produce_by_hand(node, "t", None) not in (0, None)
    assert produce_by_hand(node, "missing_partition", good) in (0, UNKNOWN_TOPIC_OR_PARTITION)
    assert produce_by_hand(node, "t", good, partition=7) == UNKNOWN_TOPIC_OR_PARTITION
    assert produce_by_hand(node, "t", good, partition=-1) == UNKNOWN_TOPIC_OR_PARTITION
    assert produce_by_hand(node, "t", good, acks=7) == INVALID_REQUIRED_ACKS
    # None of it is there, and the topic is well.
    assert produce_by_hand(node, "t", good) == 0
    assert [message.value() for message in read_partition(node, "t", 0)] == [b"good", b"better"] * 2
    node.seal()
    node.verify()
    bystander.check()


@test()
def an_error_with_acks_0_closes_the_connection(case):
    node, bystander = start(case)
    with Connection(node) as connection:
        connection.send(frame(produce_request("t", 0, batch(record(0, b"x"), 1, crc=1), acks=0)))
        assert is_closed(connection)
    with Connection(node) as connection:
        connection.send(frame(produce_request("t", 0, batch(record(0, b"x"), 1), acks=0)))
        # No answer to that one: the next answer is the next question's.
        answer = connection.ask(header(API_VERSIONS, 0, 42))
        assert struct.unpack_from(">i", answer)[0] == 42
    bystander.check()


def gzip_zeros(gib: int) -> bytes:
    """A gzip stream of zeros, made by repeating full-flushed blocks: quick to make whatever its size."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(b"\0" * (64 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + block * (16 * gib) + end + b"\0" * 8


def zstd_zeros(gib: int) -> bytes:
    """One zstd frame of run-length blocks: 128 KiB of zeros in four bytes each."""
    head = bytes.fromhex("28b52ffd") + b"\x00" + b"\x58"  # A window of 2 MiB, no content size.
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", (128 << 10) << 3 | 1 << 1 | 1)[:3] + b"\0"
    return head + block * (gib * 8_192 - 1) + last


@test(limit_s=90)
def decompression_bombs(case):
    node, bystander = start(case)
    before = node.rss_mib()
    # A record that says it is as long as the zeros are: what a decoder that trusts would allocate.
    bombs = {"gzip": (1, gzip_zeros(2)), "zstd": (4, zstd_zeros(4))}
    for name, (codec, data) in bombs.items():
        for count in (1, 1_000_000):
            began = time.monotonic()
            error = produce_by_hand(node, "t", batch(data, count, codec=codec), version=7)
            assert error in (CORRUPT_MESSAGE, INVALID_RECORD, MESSAGE_TOO_LARGE), (name, count, error)
            assert time.monotonic() - began < 10, f"{name}: {time.monotonic() - began} s"
    grown = node.peak_rss_mib() - before
    assert grown < 320, f"{before} MiB grew by {grown}"
    bystander.check()


@test(limit_s=90)
def a_batch_of_many_tiny_records_does_not_grow_in_memory(case):
    node, bystander = start(case)
    before = node.rss_mib()
    assert produce_by_hand(node, "t", batch(b"".join(record(n, None) for n in range(90_000)), 90_000)) == 0
    node.seal("t")
    assert node.peak_rss_mib() - before < 250, node.peak_rss_mib()
    assert len(read_partition(node, "t", 0)) == 90_000
    bystander.check()


@test(limit_s=90)
def many_connections_and_slow_readers(case):
    node, bystander = start(case)
    produce(node, "t", [{"value": os.urandom(10_000)} for _ in range(2_000)])
    before = node.rss_mib()
    idle = [Connection(node) for _ in range(500)]
    # Asks for much and reads nothing.
    request = (header(FETCH, 4) + struct.pack(">iiiib", -1, 100, 1, 50 << 20, 0) + struct.pack(">i", 1) + string("t") + struct.pack(">iiqi", 1, 0, 0, 50 << 20))
    for connection in idle[:40]:
        connection.socket.settimeout(2)
        try:
            for _ in range(20):
                connection.send(frame(request))
        except (TimeoutError, OSError):
            pass
    time.sleep(2)
    grown = node.peak_rss_mib() - before
    assert grown < 300, f"{before} MiB grew by {grown}"
    assert len(read_partition(node, "t", 0)) == 2_000, "slow readers keep others from reading"
    bystander.check()
    for connection in idle:
        connection.socket.close()
