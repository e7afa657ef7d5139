"""DuckDB, Polars and PyArrow on the Parquet, against what a consumer saw."""

import contextlib
import glob
import io
import json
import os
import re

from cases.records import odd_records
from harness.confluent import create_topic, produce, read_partition, shape
from harness.node import wait_until
from harness.registry import test

# Where docs/readers.md has the node's folder, and the topic that it is about.
PAGE_STORE, PAGE_TOPIC = "strandline-data/store", "rides"
CLOUD_EVENT = [("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_source", b"/fleet"), ("ce_type", b"veh.moved"), ("ce_subject", b"car 7"),
               ("ce_time", b"2026-11-24T07:00:00.123456Z"), ("content-type", b"application/json"), ("ce_dataschema", b"urn:x"), ("ce_type", b"veh.stopped")]


def manifest_files(node, topic: str) -> list[str]:
    """As docs/readers.md says, by hand: every day's file list under the topic's newest folder."""
    store = os.path.join(node.data, "store")
    files = []
    for day in glob.glob(f"{store}/manifest/{topic}/*/*.json"):
        with open(day) as file:
            files += [os.path.join(store, entry["path"]) for entry in json.load(file)["files"]]
    return sorted(files)


def of_the_page(language: str, count: int, node, topic: str) -> list[str]:
    """The blocks of docs/readers.md in a language, word for word but for folder and topic. `count`: as many as the tests know of."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "docs", "readers.md")) as file:
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", file.read(), re.M | re.S)
    assert len(blocks) == count, f"docs/readers.md has {len(blocks)} blocks of {language}, the tests know of {count}"
    for block in blocks:
        assert "getvariable('root')" in block or PAGE_STORE in block, f"neither the root nor {PAGE_STORE} is in: {block}"
        assert PAGE_TOPIC in block, f"{PAGE_TOPIC} is not in: {block}"
    return [block.replace(PAGE_TOPIC, topic).replace(PAGE_STORE, os.path.join(node.data, "store")) for block in blocks]


def queries_of_the_page(node, topic: str) -> list[str]:
    """By the manifest, the same without rows below the log start, by a glob."""
    return of_the_page("sql", 3, node, topic)


def duckdb_manifest(node, topic: str):
    """A connection with the page's variables, and what the page then reads from."""
    import duckdb

    exact = queries_of_the_page(node, topic)[0]
    variables = re.findall(r"^SET VARIABLE .*?;$", exact, re.M | re.S)
    [source] = re.findall(r"^FROM (read_parquet\(.*\))$", exact, re.M)
    assert variables and "getvariable('files')" in source, exact
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    for statement in variables:
        connection.execute(statement)
    return connection, source


def row_of(message) -> tuple:
    """A consumed record as (partition, offset, timestamp in ms, key, value, headers)."""
    partition, offset, (_, time_ms), key, value, headers = shape(message)
    return (partition, offset, time_ms, key, value, headers)


def row_of_columns(row: dict) -> tuple:
    """The same of a row of Parquet: text or bytes, never both."""
    for name in ("kafka_key", "kafka_value"):
        assert row[name] is None or row[f"{name}_text"] is None, row

    def either(name: str):
        text = row[f"{name}_text"]
        return row[name] if text is None else text.encode()

    key, value = either("kafka_key"), either("kafka_value")
    expected = {"null": value is None, "text": row["kafka_value_text"] is not None, "raw": row["kafka_value"] is not None}
    assert expected[row["kafka_value_encoding"]], row
    headers = tuple((header["key"], header["value"]) for header in row["kafka_headers"])
    return (row["kafka_partition"], row["kafka_offset"], row["time_ms"], key, value, headers)


def consumed(node, topic: str, partitions: int) -> list[tuple]:
    return [row_of(message) for partition in range(partitions) for message in read_partition(node, topic, partition)]


def fill(node) -> list[tuple]:
    create_topic(node, "t", 3)
    produce(node, "t", odd_records(11, 3_000), compression_type="zstd")
    produce(node, "t", [{"value": b'{"km": 12.5}', "key": b"car 7", "headers": CLOUD_EVENT, "partition": 1, "timestamp": 1_700_000_000_000}])
    return consumed(node, "t", 3)


COLUMNS = "kafka_partition, kafka_offset, epoch_ms(kafka_timestamp) AS time_ms, kafka_key, kafka_key_text, kafka_value, kafka_value_text, kafka_value_encoding, kafka_headers"


def duckdb_rows(connection, source: str) -> list[tuple]:
    cursor = connection.execute(f"SELECT {COLUMNS} FROM {source} ORDER BY kafka_partition, kafka_offset")
    names = [column[0] for column in cursor.description]
    return [row_of_columns(dict(zip(names, row))) for row in cursor.fetchall()]


def check_equal(saw: list[tuple], read: list[tuple], what: str) -> None:
    assert len(read) == len(saw), f"{what}: {len(read)} rows, consumers saw {len(saw)}"
    for one, other in zip(saw, read):
        assert one == other, f"{what}: a consumer saw {one!r}, the row is {other!r}"


@test(limit_s=90)
def duckdb_by_the_manifest_and_by_a_glob(case):
    node = case.node()
    saw = fill(node)
    wait_until("all is in fresh Parquet", lambda: node.records_not_in_files("t") == 0, 30)
    wait_until("the manifest names it", lambda: manifest_rows(node, "t") == len(saw), 20)
    check_equal(saw, duckdb_rows(*duckdb_manifest(node, "t")), "fresh, by the manifest")
    # Nothing lies under bronze/ before the seal, each row once after it.
    everything = os.path.join(node.data, "store", "bronze", "t", "**", "*.parquet")
    assert glob.glob(everything, recursive=True) == []
    node.seal("t")
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    check_equal(saw, duckdb_rows(connection, f"read_parquet('{everything}')"), "sealed, by a bare glob")
    wait_until("the manifest names sealed files", lambda: all("/bronze/" in path for path in manifest_files(node, "t")), 20)
    check_equal(saw, duckdb_rows(*duckdb_manifest(node, "t")), "sealed, by the manifest")
    # Hive partitions and JSON work as a newcomer would try them.
    [(days,)] = connection.execute(f"SELECT count(DISTINCT ingest_date) FROM read_parquet('{everything}', hive_partitioning=true)").fetchall()
    assert days in (1, 2)


def manifest_rows(node, topic: str) -> int:
    return sum(entry["rows"] for day in glob.glob(f"{node.data}/store/manifest/{topic}/*/*.json") for entry in json.load(open(day))["files"])


def log_starts(node, topic: str) -> list[int]:
    """As the root manifest has them."""
    [root] = glob.glob(f"{node.data}/store/manifest/{topic}/*.json")
    with open(root) as file:
        return [partition["log_start"] for partition in json.load(file)["partitions"]]


@test(limit_s=120)
def every_block_of_the_page(case):
    """Queries and Python of docs/readers.md as they stand there, but for the folder, on a topic such as the page is about."""
    import duckdb
    from confluent_kafka import TopicPartition

    from harness.confluent import admin, results

    node = case.node()
    create_topic(node, PAGE_TOPIC, 2)
    produce(node, PAGE_TOPIC, [{"key": b"car %d" % (n % 7), "value": b'{"speed": %d}' % n, "partition": n % 2} for n in range(60)])
    saw = [(partition, offset, key.decode(), str(json.loads(value)["speed"]))
           for partition, offset, _, key, value, _ in consumed(node, PAGE_TOPIC, 2)]
    assert len(saw) == 60
    exact, above_log_start, by_glob = queries_of_the_page(node, PAGE_TOPIC)
    [python] = of_the_page("python", 1, node, PAGE_TOPIC)

    def by_the_manifest(state: str):
        connection = duckdb.connect()
        rows = connection.execute(exact).fetchall()
        assert rows == saw, f"{state}: {len(rows)} rows, consumers saw {len(saw)}: {rows[:3]}"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(python, {})
        text = printed.getvalue()
        assert "shape: (60, 2)" in text and text.split()[-1] == str(len([row for row in saw if row[1] >= 3])), f"{state}: {text}"
        return connection

    wait_until("the manifest names all", lambda: manifest_rows(node, PAGE_TOPIC) == len(saw), 30)
    by_the_manifest("fresh")
    node.seal(PAGE_TOPIC)
    wait_until("the manifest names sealed files", lambda: all("/bronze/" in path for path in manifest_files(node, PAGE_TOPIC)), 20)
    # The page's second query uses the variables of the first. To fetch times takes a package that is not installed.
    connection = by_the_manifest("sealed")
    above = f"SELECT kafka_partition, kafka_offset FROM ({above_log_start.strip().removesuffix(';')}) ORDER BY ALL"
    assert connection.execute(above).fetchall() == [row[:2] for row in saw]
    days = connection.execute(by_glob).fetchall()
    assert len(days) in (1, 2) and sum(rows for _, rows in days) == len(saw), days
    results(admin(node).delete_records([TopicPartition(PAGE_TOPIC, 0, 5)]))
    wait_until("the root manifest has the log start", lambda: log_starts(node, PAGE_TOPIC) == [5, 0], 20)
    assert connection.execute(above).fetchall() == [row[:2] for row in saw if row[0] == 1 or row[1] >= 5]


@test(limit_s=90)
def cloud_events_and_columns(case):
    import duckdb

    node = case.node()
    fill(node)
    node.seal("t")
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    source = f"read_parquet('{node.data}/store/bronze/t/**/*.parquet')"
    row = connection.execute(f"SELECT ce_specversion, ce_id, ce_source, ce_type, ce_subject, epoch_us(ce_time), ce_datacontenttype, ce_dataschema FROM {source} WHERE ce_id = 'e-1'").fetchall()
    # Of a repeated header the last wins.
    assert row == [("1.0", "e-1", "/fleet", "veh.stopped", "car 7", 1_795_503_600_123_456, "application/json", "urn:x")], row
    names = [name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    assert names[:14] == ["kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_timestamp_type", "ingest_timestamp", "kafka_key", "kafka_key_text",
                          "kafka_value", "kafka_value_text", "kafka_value_encoding", "kafka_value_schema_id", "kafka_value_error", "kafka_headers"], names
    assert names[14:22] == ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_datacontenttype", "ce_dataschema"], names
    [(topics, nulls)] = connection.execute(f"SELECT count(DISTINCT kafka_topic), count(*) FILTER (kafka_headers IS NULL OR ingest_timestamp IS NULL) FROM {source}").fetchall()
    assert (topics, nulls) == (1, 0)
    # Empty is not null, for keys and values.
    [(tombstones, empties)] = connection.execute(
        f"SELECT count(*) FILTER (kafka_value_encoding = 'null'), count(*) FILTER (kafka_value_text = '' OR octet_length(kafka_value) = 0) FROM {source}").fetchall()
    assert tombstones > 100 and empties > 100, (tombstones, empties)


@test(limit_s=90)
def text_is_text_and_what_is_set_as_binary_stays_bytes(case):
    import duckdb

    node = case.node()
    create_topic(node, "json", 1)
    create_topic(node, "bytes", 1, **{"strandline.key.format": "binary", "strandline.value.format": "binary"})
    for topic in ("json", "bytes"):
        produce(node, topic, [{"value": b'{"id": %d, "km": 12.5}' % n, "key": b"car %d" % n} for n in range(100)])
    # What the first conversion finds decides for the topic; what comes later and is no text stays bytes.
    node.seal()
    for topic in ("json", "bytes"):
        produce(node, topic, [{"value": b"\xff\x00", "key": b"\xfe"}])
    node.seal()
    connection = duckdb.connect()
    store = f"{node.data}/store/bronze"
    found = connection.execute(f"SELECT kafka_value_text->>'$.km', kafka_key_text FROM read_parquet('{store}/json/**/*.parquet') WHERE (kafka_value_text->>'$.id') = '7'").fetchall()
    assert found == [("12.5", "car 7")], found
    for topic, text in (("json", 100), ("bytes", 0)):
        found = connection.execute(f"SELECT count(kafka_value_text), count(kafka_value), count(kafka_key_text), count(kafka_key) FROM read_parquet('{store}/{topic}/**/*.parquet')").fetchall()
        assert found == [(text, 101 - text, text, 101 - text)], (topic, found)


@test(limit_s=90)
def polars_by_the_manifest_and_by_a_glob(case):
    import polars

    node = case.node()
    saw = fill(node)

    def rows(files) -> list[tuple]:
        frame = polars.read_parquet(files, hive_partitioning=False).with_columns(polars.col("kafka_timestamp").dt.epoch("ms").alias("time_ms"))
        return [row_of_columns(row) for row in frame.sort("kafka_partition", "kafka_offset").to_dicts()]

    wait_until("the manifest names it", lambda: manifest_rows(node, "t") == len(saw), 30)
    check_equal(saw, rows(manifest_files(node, "t")), "fresh, by the manifest")
    node.seal("t")
    check_equal(saw, rows(f"{node.data}/store/bronze/t/**/*.parquet"), "sealed, by a bare glob")
    lazy = polars.scan_parquet(f"{node.data}/store/bronze/t/**/*.parquet", hive_partitioning=True)
    counted = lazy.filter((polars.col("kafka_partition") == 1) & (polars.col("kafka_offset") >= 500)).select(polars.len()).collect().item()
    assert counted == len([row for row in saw if row[0] == 1 and row[1] >= 500])


@test(limit_s=90)
def pyarrow_by_the_manifest_and_as_a_dataset(case):
    import pyarrow.compute
    import pyarrow.dataset
    import pyarrow.parquet

    node = case.node()
    saw = fill(node)

    def rows(table) -> list[tuple]:
        found = []
        for row in table.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")]).to_pylist():
            row["time_ms"] = round(row["kafka_timestamp"].timestamp() * 1000)
            found.append(row_of_columns(row))
        return found

    wait_until("the manifest names it", lambda: manifest_rows(node, "t") == len(saw), 30)
    tables = [pyarrow.parquet.ParquetFile(path).read() for path in manifest_files(node, "t")]
    check_equal(saw, rows(pyarrow.concat_tables(tables)), "fresh, by the manifest")
    node.seal("t")
    dataset = pyarrow.dataset.dataset(f"{node.data}/store/bronze/t", format="parquet", partitioning="hive")
    check_equal(saw, rows(dataset.to_table()), "sealed, as a dataset")
    field = dataset.schema.field("kafka_headers").type
    assert str(field.value_field.name) == "element" and not field.value_field.nullable, field
    metadata = pyarrow.parquet.ParquetFile(glob.glob(f"{node.data}/store/bronze/t/**/*.parquet", recursive=True)[0]).metadata
    assert metadata.metadata[b"strandline.format"] == b"2" and b"ARROW:schema" not in metadata.metadata


@test(limit_s=90)
def logical_types_and_log_append_time(case):
    """The broker's time is a row's time, and a deleted and re-created topic is another folder."""
    import duckdb

    from harness.confluent import admin, results

    node = case.node()
    create_topic(node, "t", 1, **{"message.timestamp.type": "LogAppendTime"})
    produce(node, "t", [{"value": b"a", "timestamp": 1}])
    saw = consumed(node, "t", 1)
    node.seal("t")
    source = f"read_parquet('{node.data}/store/bronze/t/**/*.parquet')"
    rows = duckdb.sql(f"SELECT epoch_ms(kafka_timestamp), kafka_timestamp_type, epoch_ms(ingest_timestamp) FROM {source}").fetchall()
    assert rows == [(saw[0][2], 1, saw[0][2])], (rows, saw)
    results(admin(node).delete_topics(["t"]))
    wait_until("a deleted topic's rows are gone", lambda: not glob.glob(f"{node.data}/store/bronze/t/**/*.parquet", recursive=True), 30)
    create_topic(node, "t", 1)
    produce(node, "t", [{"value": b"new"}])
    node.seal("t")
    assert duckdb.sql(f"SELECT kafka_value_text FROM {source}").fetchall() == [("new",)]
