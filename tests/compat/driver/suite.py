"""What suites share: their folder in the cache, their results, and commands with a time limit."""

import os
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import Callable, Iterator

CACHE = os.path.join(os.environ["STRANDLINE_CACHE"], "compat")
PASS, FAIL, SKIP = "pass", "fail", "skip"


@dataclass(frozen=True)
class Result:
    """How one test ended. `output` is shown when it did not pass."""

    test: str
    outcome: str
    seconds: float = 0.0
    output: str = ""


def installed(name: str, stamp: str, install: Callable[[str], None]) -> str:
    """The suite's folder in the cache. `install` fills it anew unless it already holds what `stamp` names."""
    folder = os.path.join(CACHE, name)
    path = os.path.join(folder, "stamp")
    try:
        with open(path) as file:
            if file.read() == stamp:
                return folder
    except FileNotFoundError:
        pass
    print(f"installing {stamp.splitlines()[0]}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    install(folder)
    with open(path, "w") as file:
        file.write(stamp)
    return folder


def folder_of(name: str) -> str:
    return os.path.join(CACHE, name)


def checked(command: list[str], **arguments) -> str:
    """Runs a step of an installation; what it printed is shown only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, **arguments)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def debian(*packages: str) -> None:
    """Installs Debian packages that are not there."""
    missing = [name for name in packages
               if subprocess.run(["dpkg", "-s", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0]
    if missing:
        as_root = [] if os.getuid() == 0 else ["sudo"]
        install = [*as_root, "apt-get", "install", "--yes", "--no-install-recommends", *missing]
        if subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
            checked([*as_root, "apt-get", "update"])
            checked(install)


def environment(**more: str) -> dict:
    """The environment for suites: theirs, without settings of ours."""
    return {**{key: value for key, value in os.environ.items() if not key.startswith(("STRANDLINE_", "PYTHON"))}, **more}


def lines(command: list[str], limit_s: float, **arguments) -> Iterator[str]:
    """The lines that a command prints, as they come; it and all its children are killed after the limit. The last line says how it ended."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                               text=True, errors="replace", **arguments)
    late = threading.Event()

    def end() -> None:
        late.set()
        end_group(process.pid)

    timer = threading.Timer(limit_s, end)
    timer.start()
    try:
        for line in process.stdout:
            yield line.rstrip("\n")
        code = process.wait()
        yield f"ended after its limit of {limit_s:.0f} s" if late.is_set() else f"ended with {code}"
    finally:
        timer.cancel()
        end_group(process.pid)
        process.wait()


def end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
