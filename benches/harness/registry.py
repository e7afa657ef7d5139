"""The benchmarks by name."""

from dataclasses import dataclass
from typing import Callable


@dataclass
class Bench:
    name: str
    about: str
    run: Callable[[bool], dict]
    """Takes whether it is to be quick; gives a section: `tables` (title, columns, rows), `plots` (file, description), `notes`, and `failures`: what must
    never be and was, for which the run fails."""
    binary: str
    """What it measures."""


BENCHES: dict[str, Bench] = {}


def bench(name: str, about: str, binary: str = "strandline"):
    def register(run):
        BENCHES[name] = Bench(name, about, run, binary)
        return run
    return register


def say(text: str) -> None:
    print(text, flush=True)
