"""franz-go's tests of its client package, `pkg/kgo`, with fewer records than its default. It asks ApiVersions what a broker can, and
skips what it cannot; transactions are not asked about: those tests fail here until transactions exist."""

import os
import re
import shutil
from typing import Iterator

from driver.suite import FAIL, PASS, SKIP, Result, checked, environment, folder_of, installed, lines

ABOUT = "franz-go 1.22.2, its client's own tests (Go)"
VERSION = "v1.22.2"
RECORDS = "50000"


def install() -> None:
    def fill(folder: str) -> None:
        module = os.path.join(folder, "fetch")
        os.makedirs(module)
        with open(os.path.join(module, "go.mod"), "w") as file:
            file.write("module fetch\n\ngo 1.25\n")
        checked(["go", "mod", "download", f"github.com/twmb/franz-go@{VERSION}"], cwd=module)
        cached = checked(["go", "env", "GOMODCACHE"]).strip()
        source = os.path.join(folder, "franz-go")
        shutil.copytree(os.path.join(cached, "github.com", "twmb", f"franz-go@{VERSION}"), source)
        checked(["chmod", "-R", "u+w", source])
        checked(["go", "test", "-c", "-o", os.path.join(folder, "kgo.test"), "./pkg/kgo"], cwd=source)

    installed("franz-go", f"franz-go {VERSION}", fill)


# These wait for ever, and hold up others, where there are no transactions: they run by themselves, last. Seconds against each.
TRANSACTIONS = {"TestTxnEtl": {"kafka": 300, "strandline": 30}}


def run(broker, only: str | None, left_out: set[str]) -> Iterator[Result]:
    if only not in TRANSACTIONS:
        skipped = "^(" + "|".join(sorted({*TRANSACTIONS, *left_out})) + ")$"
        yield from tests(broker, 600, f"-test.skip={skipped}", *(["-test.run=^" + only + "$"] if only else []))
    for name, limits in TRANSACTIONS.items():
        if name == only or only is None and name not in left_out:
            yield from tests(broker, limits[broker.name], f"-test.run=^{name}$")


def tests(broker, limit_s: float, *arguments: str) -> Iterator[Result]:
    folder = folder_of("franz-go")
    command = [os.path.join(folder, "kgo.test"), "-test.v", f"-test.timeout={limit_s}s", *arguments]
    settings = environment(KGO_SEEDS=broker.bootstrap, KGO_TEST_RF="1", KGO_TEST_RECORDS=RECORDS)
    output: list[str] = []
    running: set[str] = set()
    for line in lines(command, limit_s + 20, env=settings, cwd=os.path.join(folder, "franz-go", "pkg", "kgo")):
        output.append(line)
        if started := re.match(r"=== RUN\s+([^/\s]+)$", line):
            running.add(started[1])
        if ended := re.match(r"--- (PASS|FAIL|SKIP): (\S+) \((\S+)s\)", line):
            outcome = {"PASS": PASS, "FAIL": FAIL, "SKIP": SKIP}[ended[1]]
            running.discard(ended[2])
            said = [text for text in output if not text.startswith(("=== ", "--- PASS", "--- SKIP"))]
            output = []
            yield Result(ended[2], outcome, float(ended[3]), "\n".join(said[-60:]))
    for test in sorted(running):
        yield Result(test, FAIL, limit_s, "it did not end; the last lines: " + "\n".join(output[-60:]))
