"""Tests register here by a decorator; the suite lists them, each runs in a process of its own."""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Callable

NEWEST, OLD = "newest", "old"


@dataclass(frozen=True)
class Test:
    """One test: `name` is `<module>.<function>`, with the client's age after it where it runs with several."""

    name: str
    function: Callable
    environment: str
    limit_s: int
    alone: bool


TESTS: list[Test] = []


def test(limit_s: int = 60, ages: tuple[str, ...] = (NEWEST,), alone: bool = False):
    """Marks a test. `limit_s`: it is ended and fails after that. `ages`: the confluent-kafka versions it runs with.
    `alone`: nothing else runs beside it, since it measures time or loads the machine."""

    def add(function):
        module = function.__module__.rsplit(".", 1)[-1]
        for age in ages:
            suffix = f".{age}" if len(ages) > 1 else ""
            TESTS.append(Test(f"{module}.{function.__name__}{suffix}", function, age, limit_s, alone))
        return function

    return add


def modules() -> list[str]:
    import cases

    return sorted(module.name for module in pkgutil.iter_modules(cases.__path__))


def load(only_module: str | None = None) -> list[Test]:
    """All tests, or those of one module. Importing a module must not need a client: those are imported inside tests."""
    for module in modules() if only_module is None else [only_module]:
        importlib.import_module(f"cases.{module}")
    return TESTS
