"""Kafka's wire by hand, as little as is needed to send what no client would, and to look at batches as they come."""

import socket
import struct

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS = 0, 1, 2, 3, 18


def string(text: str | None) -> bytes:
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def blob(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def varint(number: int) -> bytes:
    """Zigzag, as in records."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def header(api: int, version: int, correlation: int = 1, client: str = "by-hand") -> bytes:
    """Request header version 1."""
    return struct.pack(">hhi", api, version, correlation) + string(client)


def frame(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload


class Connection:
    """One socket to a node."""

    def __init__(self, node, timeout_s: float = 20):
        self.socket = socket.create_connection(("127.0.0.1", node.port), timeout_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes | None:
        """One answer without its length, or nothing when the node closed the connection."""
        prefix = self.exactly(4)
        return None if prefix is None else self.exactly(struct.unpack(">i", prefix)[0])

    def exactly(self, count: int) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more
        return bytes(data)

    def ask(self, payload: bytes) -> bytes | None:
        try:
            self.send(frame(payload))
        except (BrokenPipeError, ConnectionResetError):
            return None
        return self.receive()


CRC32C = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC32C.append(byte)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def record(delta: int, value: bytes | None, key: bytes | None = None) -> bytes:
    def field(data: bytes | None) -> bytes:
        return varint(-1) if data is None else varint(len(data)) + data

    body = b"\0" + varint(0) + varint(delta) + field(key) + field(value) + varint(0)
    return varint(len(body)) + body


def batch(records: bytes, count: int, *, codec: int = 0, last_delta: int | None = None, time_ms: int = 1_700_000_000_000, magic: int = 2,
          producer: tuple[int, int, int] = (-1, -1, -1), attributes: int = 0, crc: int | None = None, length: int | None = None) -> bytes:
    """A record batch; what is given by name may lie."""
    identity, epoch, sequence = producer
    body = struct.pack(">hiqqqhii", codec | attributes, count - 1 if last_delta is None else last_delta, time_ms, time_ms, identity, epoch, sequence, count) + records
    head = struct.pack(">ibI", -1, magic, crc32c(body) if crc is None else crc)
    rest = head + body
    return struct.pack(">qi", 0, len(rest) if length is None else length) + rest


def produce_request(topic: str, partition: int, records: bytes | None, *, acks: int = -1, version: int = 3, timeout_ms: int = 10_000) -> bytes:
    return (header(PRODUCE, version) + string(None) + struct.pack(">hi", acks, timeout_ms) + struct.pack(">i", 1) + string(topic)
            + struct.pack(">ii", 1, partition) + blob(records))


def produce_error(answer: bytes | None) -> int | None:
    """The error code of the one partition of a Produce answer of version 3 to 7; nothing when the connection was closed."""
    if answer is None:
        return None
    at = 4 + 4
    [length] = struct.unpack_from(">h", answer, at)
    return struct.unpack_from(">h", answer, at + 2 + length + 4 + 4)[0]


def produce(node, topic: str, records: bytes | None, partition: int = 0, **options) -> int | None:
    with Connection(node) as connection:
        return produce_error(connection.ask(produce_request(topic, partition, records, **options)))


def fetch_batches(node, topic: str, partition: int, offset: int, max_bytes: int = 1 << 20) -> list[dict]:
    """The headers of the batches that a Fetch of version 4 brings from an offset."""
    request = (header(FETCH, 4) + struct.pack(">iiiib", -1, 100, 1, max_bytes, 0) + struct.pack(">i", 1) + string(topic)
               + struct.pack(">iiqi", 1, partition, offset, max_bytes))
    with Connection(node) as connection:
        answer = connection.ask(request)
    at = 4 + 4 + 4
    [length] = struct.unpack_from(">h", answer, at)
    at += 2 + length + 4
    _, error, _, _, aborted = struct.unpack_from(">ihqqi", answer, at)
    assert error == 0, error
    at += 4 + 2 + 8 + 8 + 4 + max(aborted, 0) * 16
    [size] = struct.unpack_from(">i", answer, at)
    data = answer[at + 4:at + 4 + size]
    found, at = [], 0
    while at + 61 <= len(data):
        base, length, _, magic, _, attributes, delta, first_ms, max_ms, producer, epoch, sequence, count = struct.unpack_from(">qiibIhiqqqhii", data, at)
        found.append({"base": base, "last": base + delta, "attributes": attributes, "producer": producer, "epoch": epoch, "sequence": sequence, "count": count,
                      "bytes": length + 12, "magic": magic})
        at += 12 + length
    return found
