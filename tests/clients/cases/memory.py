"""The memory of a node that takes all it can get."""

import time

from harness.confluent import create_topic, producer
from harness.node import wait_until
from harness.registry import test

MIB = 1 << 20
BUDGET_MIB = 384
RECORDS = 500_000
KEPT_AT_HAND = ("strandline_recent_payload_bytes", "strandline_log_recent_row_bytes", "strandline_idle_frame_bytes")


@test(limit_s=180)
def a_node_at_rest_keeps_nothing_only_to_have_it_at_hand(case):
    node = case.node()
    create_topic(node, "t", 2)
    sending = producer(node, batch_size=128 << 10, linger_ms=50)
    for at in range(60_000):
        sending.produce("t", b"%d" % at * 200, partition=at % 2)
        sending.poll(0)
    assert sending.flush(30) == 0

    def kept() -> float:
        metrics = node.metrics()
        return sum(metrics[name] for name in KEPT_AT_HAND)

    assert kept() > MIB, kept()
    wait_until("all of it is let go", lambda: kept() == 0, 150, 2)


@test(limit_s=150, alone=True)
def full_load_stays_within_the_budget_and_memory_goes_back(case):
    node = case.node()
    create_topic(node, "load", 48)
    sending = producer(node, batch_size=128 << 10, queue_buffering_max_kbytes=64 << 10)
    errors: list = []
    # Halves of it compress, so that Parquet's writer has to work and has something to hold.
    values = [(b'{"vehicle": %07d, "battery": %d}' % (at, at % 101)) * 16 + at.to_bytes(8, "big") * 64 for at in range(1_000)]
    for at in range(RECORDS):
        while True:
            try:
                sending.produce("load", values[at % 1_000], partition=at % 48, on_delivery=lambda error, _: errors.append(error) if error else None)
                break
            except BufferError:
                sending.poll(0.05)
        if at % 1_000 == 0:
            sending.poll(0)
    assert sending.flush(60) == 0 and not errors, errors[:3]
    wait_until("all are rows", lambda: node.status()["wal_records"] == 0, 60)
    node.seal("load")
    assert sum(file["rows"] for file in node.files("load")) == RECORDS
    print(f"{RECORDS * len(values[0]) // MIB} MiB taken, converted and sealed: at most {node.peak_rss_mib():.0f} MiB of memory")
    assert node.peak_rss_mib() < BUDGET_MIB, node.peak_rss_mib()
    time.sleep(8)
    assert node.rss_mib() < BUDGET_MIB / 2, node.rss_mib()
