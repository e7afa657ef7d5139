"""The table of what does not pass, in docs/compatibility.md between two marks: made from the lists, a line for each reason."""

import os

from driver import expected

PAGE = os.path.join(expected.FOLDER, "..", "..", "..", "docs", "compatibility.md")
BEGIN, END = "<!-- compat: begin -->\n", "<!-- compat: end -->\n"


def table() -> str:
    """Numbers for each suite, then tests that do not pass against Strandline or Kafka, by the note that says why."""
    suites = sorted(name[:-4] for name in os.listdir(expected.FOLDER) if name.endswith(".tsv"))
    lines = ["| suite | passes against Kafka | passes against Strandline | does not pass |", "| --- | --- | --- | --- |"]
    reasons: dict[tuple[str, str], dict[str, list[str]]] = {}
    for suite in suites:
        rows = expected.read(suite)
        sums = {against: sum(row.outcome[against] == "pass" for row in rows.values()) for against in ("kafka", "strandline")}
        run = {against: sum(row.outcome[against] != "-" for row in rows.values()) for against in ("kafka", "strandline")}
        kafka = f"{sums['kafka']} of {run['kafka']}" if run["kafka"] else "not run yet"
        lines.append(f"| `{suite}` | {kafka} | {sums['strandline']} of {run['strandline']} | {run['strandline'] - sums['strandline']} |")
        for test, row in rows.items():
            bad = [f"{against} {outcome}" for against, outcome in row.outcome.items() if outcome not in ("pass", "-")]
            if bad:
                reasons.setdefault((row.note, ", ".join(bad)), {}).setdefault(suite, []).append(test)
    lines += ["", "| why | how it ends | tests |", "| --- | --- | --- |"]
    for (note, ends), tests in sorted(reasons.items()):
        named = "; ".join(f"`{suite}`: {', '.join(found)}" for suite, found in tests.items())
        lines.append(f"| {note} | {ends} | {named} |")
    return "\n".join(lines) + "\n"


def write() -> None:
    """Puts the table into the page."""
    path = os.path.normpath(PAGE)
    with open(path) as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    with open(path, "w") as file:
        file.write(f"{before}{BEGIN}\n{table()}\n{END}{after}")


def stale() -> bool:
    """Whether the page's table is not what the lists say."""
    with open(os.path.normpath(PAGE)) as file:
        return table() not in file.read()
