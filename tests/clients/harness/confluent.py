"""Short ways to say what tests with confluent-kafka say often."""

import time


def producer(node, **config):
    from confluent_kafka import Producer

    return Producer({"bootstrap.servers": node.bootstrap, "linger.ms": 5, **named_as_librdkafka_does(config)})


def named_as_librdkafka_does(config: dict) -> dict:
    return {key if key.endswith("_cb") else key.replace("_", "."): value for key, value in config.items()}


def consumer(node, group: str = "g", **config):
    from confluent_kafka import Consumer

    base = {"bootstrap.servers": node.bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    return Consumer({**base, **named_as_librdkafka_does(config)})


def admin(node):
    """One for each node: its answers are lost when it is collected."""
    from confluent_kafka.admin import AdminClient

    if node.port not in ADMINS:
        ADMINS[node.port] = AdminClient({"bootstrap.servers": node.bootstrap})
    return ADMINS[node.port]


ADMINS: dict = {}


def results(futures: dict, timeout_s: float = 30) -> dict:
    """The result of each future; the first that failed raises."""
    return {key: future.result(timeout_s) for key, future in futures.items()}


def error_of(future, timeout_s: float = 30) -> str:
    """The name of the error with which a future ends."""
    from confluent_kafka import KafkaException

    try:
        value = future.result(timeout_s)
    except KafkaException as error:
        return error.args[0].name()
    raise AssertionError(f"an error was expected, not {value!r}")


def create_topic(node, name: str, partitions: int = 1, **config) -> None:
    from confluent_kafka.admin import NewTopic

    results(admin(node).create_topics([NewTopic(name, partitions, 1, config={key: str(value) for key, value in config.items()})]))


def produce(node, topic: str, records: list[dict], **config) -> list[tuple[int, int]]:
    """Sends records (arguments of `Producer.produce`), waits for all, gives (partition, offset) of each in the order given."""
    placed: list = [None] * len(records)
    sending = producer(node, **config)

    def delivered(at):
        def report(error, message):
            assert error is None, f"record {at}: {error}"
            placed[at] = (message.partition(), message.offset())

        return report

    for at, record in enumerate(records):
        while True:
            try:
                sending.produce(topic, on_delivery=delivered(at), **record)
                break
            except BufferError:
                sending.poll(0.1)
        sending.poll(0)
    assert sending.flush(60) == 0, "not everything was delivered within a minute"
    assert all(place is not None for place in placed), "a record was neither delivered nor refused"
    return placed


def shape(message) -> tuple:
    """All that I6 promises of a record."""
    headers = tuple((key, value) for key, value in (message.headers() or []))
    return (message.partition(), message.offset(), message.timestamp(), message.key(), message.value(), headers)


def read_partition(node, topic: str, partition: int, start: int = 0, end: int | None = None, timeout_s: float = 60, **config) -> list:
    """Every record of `[start, end)`, by assignment, without a group's offsets; `end` is the high watermark unless given."""
    from confluent_kafka import TopicPartition

    reading = consumer(node, "reader", enable_partition_eof=True, **config)
    try:
        if end is None:
            end = reading.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)[1]
        reading.assign([TopicPartition(topic, partition, start)])
        messages: list = []
        deadline = time.monotonic() + timeout_s
        position = start
        while position < end:
            assert time.monotonic() < deadline, f"{topic}-{partition}: only up to {position} of {end} within {timeout_s} s"
            for message in reading.consume(2_000, 0.2):
                error = message.error()
                if error is None:
                    messages.append(message)
                    position = message.offset() + 1
                else:
                    assert error.name() == "_PARTITION_EOF", str(error)
                    position = max(position, message.offset())
        return [message for message in messages if message.offset() < end]
    finally:
        reading.close()


def consume_all(consumers: list, count: int, timeout_s: float = 40) -> list[list]:
    """Polls consumers in turn until they have `count` records together; the records of each."""
    got: list[list] = [[] for _ in consumers]
    deadline = time.monotonic() + timeout_s
    while sum(map(len, got)) < count:
        assert time.monotonic() < deadline, f"{sum(map(len, got))} of {count} records within {timeout_s} s"
        for at, one in enumerate(consumers):
            for message in one.consume(500, 0.05):
                assert message.error() is None, message.error()
                got[at].append(message)
    return got


def poll_for(consumers: list, condition, what: str, timeout_s: float = 30) -> None:
    """Polls consumers in turn, throwing records away, until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        for one in consumers:
            message = one.poll(0.05)
            assert message is None or message.error() is None, message.error()
