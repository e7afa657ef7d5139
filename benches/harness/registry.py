"""The benchmarks by name."""

from dataclasses import dataclass
from typing import Callable


@dataclass
class Bench:
    name: str
    about: str
    run: Callable[[bool], dict]
    """Takes whether it is to be quick; gives a section: `tables` (title, columns, rows), `plots` (file, description), `notes`."""


BENCHES: dict[str, Bench] = {}


def bench(name: str, about: str):
    def register(run):
        BENCHES[name] = Bench(name, about, run)
        return run
    return register


def say(text: str) -> None:
    print(text, flush=True)
