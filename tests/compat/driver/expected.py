"""The list of what passes, one file a suite: `test, kafka, strandline, note`, separated by tabs.

Outcomes: `pass`, `fail`, `skip`, `-` (not run yet), and `varies`, which is only ever written by hand, for a test that passes on some
runs and fails on others for a reason that the note gives; it never fails a run.
"""

import os
from dataclasses import dataclass, field

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "expected")
HEAD = "test\tkafka\tstrandline\tnote"


@dataclass
class Row:
    outcome: dict = field(default_factory=lambda: {"kafka": "-", "strandline": "-"})
    note: str = ""


def read(suite: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    try:
        with open(os.path.join(FOLDER, f"{suite}.tsv")) as file:
            text = file.read().splitlines()
    except FileNotFoundError:
        return rows
    assert text[0] == HEAD, f"{suite}.tsv begins with {text[0]!r}"
    for line in text[1:]:
        test, kafka, strandline, note = line.split("\t")
        rows[test] = Row({"kafka": kafka, "strandline": strandline}, note)
    return rows


def write(suite: str, rows: dict[str, Row]) -> None:
    os.makedirs(FOLDER, exist_ok=True)
    body = [f"{test}\t{row.outcome['kafka']}\t{row.outcome['strandline']}\t{row.note}" for test, row in sorted(rows.items())]
    with open(os.path.join(FOLDER, f"{suite}.tsv"), "w") as file:
        file.write("\n".join([HEAD, *body]) + "\n")


def learn(rows: dict[str, Row], against: str, outcome: dict[str, str]) -> None:
    """Takes in a run. What passed stays `pass` and what varies stays so: only a person takes those away."""
    for test, now in outcome.items():
        row = rows.setdefault(test, Row())
        if row.outcome[against] not in ("pass", "varies"):
            row.outcome[against] = now
        if set(row.outcome.values()) == {"pass"}:
            row.note = ""


def lost(rows: dict[str, Row], against: str, outcome: dict[str, str], whole: bool) -> list[str]:
    """Tests on record as passed that did not pass now; in a whole run also those that did not run."""
    passed = [test for test, row in rows.items() if row.outcome[against] == "pass"]
    return [test for test in passed if (outcome.get(test, "missing" if whole else "pass")) != "pass"]
