"""Sealed Parquet as an engine sees it that globs `bronze/` and knows nothing of Strandline."""

import glob
import os


def rows_of_bronze(node, topic: str) -> list[tuple[int, int]]:
    """Partition and offset of every row below the topic's folder."""
    import pyarrow.parquet

    rows: list = []
    for path in sorted(glob.glob(os.path.join(glob.escape(node.data), "store", "bronze", glob.escape(topic), "**", "*.parquet"), recursive=True)):
        try:
            table = pyarrow.parquet.read_table(path, columns=["kafka_partition", "kafka_offset"], partitioning=None)
        except FileNotFoundError:
            # Listed, then deleted. A file that is there has to be whole.
            if os.path.exists(path):
                raise
            continue
        rows += zip(table.column(0).to_pylist(), table.column(1).to_pylist())
    return rows
