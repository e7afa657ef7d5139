"""kcat, librdkafka 2.0.2 in Debian: listing, producing, consuming, by offset and by time."""

import json
import subprocess
import time

from harness.registry import test


def kcat(node, *arguments: str, stdin: bytes = b"", timeout_s: float = 30, code: int = 0) -> bytes:
    done = subprocess.run(["kcat", "-b", node.bootstrap, *arguments], input=stdin, capture_output=True, timeout=timeout_s)
    assert done.returncode == code, f"kcat {' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode()}"
    return done.stdout


def read(node, topic: str, *arguments: str) -> list[dict]:
    lines = kcat(node, "-C", "-t", topic, "-e", "-q", "-J", *arguments).splitlines()
    return [json.loads(line) for line in lines]


def lines(*values: str) -> bytes:
    return "".join(f"{value}\n" for value in values).encode()


@test()
def lists_brokers_and_topics(case):
    node = case.node(default_partitions=3)
    kcat(node, "-P", "-t", "orders", stdin=lines("a"))
    listed = json.loads(kcat(node, "-L", "-J"))
    assert listed["brokers"] == [{"id": 1, "name": node.bootstrap}], listed
    assert listed["controllerid"] == 1, listed
    [topic] = listed["topics"]
    assert topic["topic"] == "orders"
    assert [p["partition"] for p in topic["partitions"]] == [0, 1, 2]
    assert all(p["leader"] == 1 and p["replicas"] == [{"id": 1}] and p["isrs"] == [{"id": 1}] for p in topic["partitions"])
    text = kcat(node, "-L", "-t", "orders").decode()
    assert '1 topics:' in text and 'topic "orders" with 3 partitions' in text, text


@test()
def produces_and_consumes_keys_headers_and_nulls(case):
    node = case.node()
    kcat(node, "-P", "-t", "t", "-K", ":", "-Z", "-H", "h=1", "-H", "h=2", "-H", "empty=", stdin=b"k1:v1\nk2:\n:v3\n")
    kcat(node, "-P", "-t", "t", stdin=b"no key\n")
    records = read(node, "t")
    assert [(r["key"], r["payload"], r["offset"]) for r in records] == [
        ("k1", "v1", 0),
        ("k2", None, 1),
        (None, "v3", 2),
        (None, "no key", 3),
    ], records
    assert records[0]["headers"] == ["h", "1", "h", "2", "empty", ""], records[0]
    assert "headers" not in records[3], records[3]
    assert all(abs(r["ts"] - time.time() * 1000) < 60_000 and r["tstype"] == "create" for r in records)
    formatted = kcat(node, "-C", "-t", "t", "-e", "-q", "-o", "beginning", "-c", "2", "-f", r"%o|%k|%S|%s|%h\n").decode()
    assert formatted == "0|k1|2|v1|h=1,h=2,empty=\n1|k2|-1||h=1,h=2,empty=\n", formatted


@test()
def consumes_by_offset_and_count(case):
    node = case.node()
    kcat(node, "-P", "-t", "t", stdin=lines(*[str(n) for n in range(100)]))
    assert [r["offset"] for r in read(node, "t", "-o", "40", "-c", "5")] == [40, 41, 42, 43, 44]
    assert [r["payload"] for r in read(node, "t", "-o", "-3")] == ["97", "98", "99"]
    assert read(node, "t", "-o", "end") == []
    assert len(read(node, "t", "-o", "beginning")) == 100


@test()
def consumes_by_time(case):
    node = case.node()
    times = []
    for n in range(3):
        times.append(int(time.time() * 1000))
        kcat(node, "-P", "-t", "t", stdin=lines(f"{n}a", f"{n}b"))
        time.sleep(0.05)
    end = int(time.time() * 1000)
    # Hot, from a fresh file, and sealed: the same answers.
    for state in ("hot", "sealed"):
        assert [r["payload"] for r in read(node, "t", "-o", f"s@{times[1]}")] == ["1a", "1b", "2a", "2b"], state
        assert [r["payload"] for r in read(node, "t", "-o", f"s@{times[1]}", "-o", f"e@{times[2]}")] == ["1a", "1b"], state
        # Later than all: the end.
        assert read(node, "t", "-o", f"s@{end + 60_000}") == [], state
        queried = kcat(node, "-Q", "-t", f"t:0:{times[2]}").decode()
        assert queried.strip() == "t [0] offset 4", queried
        if state == "hot":
            node.seal("t")


@test()
def compresses_with_every_codec(case):
    node = case.node()
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        sent = [f"{codec} {n} " + "x" * 200 for n in range(500)]
        kcat(node, "-P", "-t", codec, "-z", codec, stdin=lines(*sent))
        assert [r["payload"] for r in read(node, codec)] == sent, codec
    node.seal()
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        assert [r["payload"] for r in read(node, codec)] == [f"{codec} {n} " + "x" * 200 for n in range(500)], codec


@test()
def takes_every_kind_of_acks(case):
    node = case.node()
    for acks in ("0", "1", "all"):
        sent = [f"{acks} {n}" for n in range(200)]
        kcat(node, "-P", "-t", f"acks-{acks}", "-X", f"acks={acks}", stdin=lines(*sent))
    deadline = time.monotonic() + 10
    while len(read(node, "acks-0")) < 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    for acks in ("0", "1", "all"):
        assert [r["payload"] for r in read(node, f"acks-{acks}")] == [f"{acks} {n}" for n in range(200)], acks


@test()
def consumes_as_a_group_and_goes_on_where_it_stopped(case):
    node = case.node(default_partitions=4)

    def group(count: int) -> list[str]:
        out = kcat(node, "-G", "g", "-q", "-c", str(count), "-X", "auto.offset.reset=earliest", "t")
        return out.decode().splitlines()

    for partition in range(4):
        kcat(node, "-P", "-t", "t", "-p", str(partition), stdin=lines(*[f"{partition}-{n}" for n in range(25)]))
    first = group(60)
    second = group(40)
    assert sorted(first + second) == sorted(f"{p}-{n}" for p in range(4) for n in range(25))


@test()
def unknown_topics_and_partitions_are_said_to_be_unknown(case):
    node = case.node(auto_create_topics=False)
    done = subprocess.run(["kcat", "-b", node.bootstrap, "-P", "-t", "missing", "-X", "topic.metadata.propagation.max.ms=500"],
                          input="a\n", capture_output=True, text=True, timeout=30)
    assert "Unknown topic or partition" in done.stderr, done
    listed = json.loads(kcat(node, "-L", "-J", "-t", "missing"))
    assert listed["topics"][0]["error"] == "Broker: Unknown topic or partition", listed
    done = subprocess.run(["kcat", "-b", node.bootstrap, "-C", "-t", "missing", "-e"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "Unknown topic or partition" in done.stderr, done


@test()
def transactions_are_refused_and_do_not_hang(case):
    node = case.node()
    done = subprocess.run(["kcat", "-b", node.bootstrap, "-P", "-t", "t", "-X", "transactional.id=x"],
                          input="a\n", capture_output=True, text=True, timeout=40)
    assert done.returncode != 0, done
    assert "init_transactions()" in done.stderr, done
    # It was the refusal that ended it: the node goes on, and nothing was written.
    kcat(node, "-P", "-t", "t", stdin=lines("b"))
    assert [(r["offset"], r["payload"]) for r in read(node, "t")] == [(0, "b")]
