"""Programs that print `PASS SECONDS NAME` or `FAIL SECONDS NAME` for each test, and what they have to say about it below."""

import re
from typing import Iterator

from driver.suite import FAIL, PASS, Result, environment, lines


def results(command: list[str], limit_s: float, prefix: str = "", without: set[str] = frozenset(), **more: str) -> Iterator[Result]:
    """Runs such a program, `more` in its environment, and gives a result for each line; names get the prefix. It leaves out the
    tests `without`, which it finds in its environment, one a line."""
    more["WITHOUT"] = "\n".join(sorted(name.removeprefix(prefix) for name in without if name.startswith(prefix)))
    ended: tuple | None = None
    said: list[str] = []
    for line in lines(command, limit_s, env=environment(**more)):
        found = re.match(r"(PASS|FAIL) (\S+) (.+)$", line)
        if not found:
            said.append(line)
            continue
        if ended:
            yield result(ended, prefix, said)
        ended, said = found.groups(), []
    if ended:
        yield result(ended, prefix, said)


def result(ended: tuple, prefix: str, said: list[str]) -> Result:
    return Result(prefix + ended[2], PASS if ended[0] == "PASS" else FAIL, float(ended[1]), "\n".join(said))
