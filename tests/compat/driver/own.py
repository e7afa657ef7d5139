"""Suites of our own making around tools of others: tests are functions, in order, each under a time limit."""

import re
import signal
import time
import traceback
from typing import Callable, Iterator

from driver.suite import FAIL, PASS, Result


class Late(BaseException):
    """A test took longer than its limit. Not an `Exception`, so that no test swallows it."""


class Cases:
    """The tests of a suite."""

    def __init__(self) -> None:
        self.tests: list[tuple[str, Callable, int]] = []

    def case(self, limit_s: int = 150, name: str | None = None) -> Callable:
        def add(function: Callable) -> Callable:
            self.tests.append((name or function.__name__, function, limit_s))
            return function

        return add

    def run(self, only: str | None, left_out: set[str], *arguments) -> Iterator[Result]:
        """Runs all tests but those left out, or one; each is called with `arguments`."""
        for name, function, limit_s in self.tests:
            if name == only or only is None and name not in left_out:
                yield one(name, function, limit_s, *arguments)


def one(name: str, function: Callable, limit_s: int, *arguments) -> Result:
    def end(_signal, _frame):
        raise Late(f"{name} took longer than its limit of {limit_s} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(limit_s)
    began = time.monotonic()
    try:
        function(*arguments)
        return Result(name, PASS, time.monotonic() - began)
    except (Exception, Late):
        return Result(name, FAIL, time.monotonic() - began, traceback.format_exc())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def expect(text: str, *patterns: str) -> None:
    """Every pattern is found in the text."""
    for pattern in patterns:
        assert re.search(pattern, text), f"`{pattern}` is not in: {text}"


def until(what: str, condition: Callable, timeout_s: float = 30, every_s: float = 0.3):
    """Waits until `condition()` is true and gives its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}; last {value!r}"
        time.sleep(every_s)


def kill_running(broker) -> None:
    """SIGKILL to a broker that has not ended by itself before, which killing and starting it would hide."""
    trouble = broker.trouble()
    assert trouble is None, trouble
    broker.kill()
