"""The command line: which suite, against which brokers, and the verdict."""

import argparse
import importlib
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time

from driver import brokers, expected, page


def names() -> list[str]:
    import suites

    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(suites.__path__) if not module.name.startswith("_"))


def load(name: str):
    if name not in names():
        sys.exit(f"no suite is named {name}; --list shows them all")
    return importlib.import_module(f"suites.{name.replace('-', '_')}")


def run(name: str, suite, against: str, only: str | None, quick: bool, outcome: dict[str, str]) -> str | None:
    """Runs a suite, or one test of it, against a new broker and notes what became of each test; gives why the run must not count."""
    folder = tempfile.mkdtemp(prefix="strandline-compat-")
    broker = None
    known = expected.read(name)
    left_out = {test for test, row in known.items() if quick and row.outcome[against] in ("fail", "varies")}
    try:
        broker = brokers.make(against, os.path.join(folder, "broker"), suite)
        broker.start()
        for result in suite.run(broker, only, left_out):
            outcome[result.test] = result.outcome
            print(f"{against} {result.outcome.upper()} {result.test} {result.seconds:.1f}", flush=True)
            before = known.get(result.test)
            if result.outcome == "fail" and (before is None or before.outcome[against] in ("pass", "-") or only):
                print("    " + "\n    ".join(result.output.rstrip().splitlines()[-60:]), flush=True)
        return broker.trouble()
    finally:
        if broker is not None:
            broker.kill()
            keep = os.environ.get("COMPAT_LOGS")
            if keep:
                os.makedirs(keep, exist_ok=True)
                shutil.copy(os.path.join(folder, "broker", "broker.log"), os.path.join(keep, f"{name}.{against}.log"))
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/compat/run")
    parser.add_argument("suite", nargs="?")
    parser.add_argument("tests", nargs="*")
    parser.add_argument("--against", choices=["strandline", "kafka", "both"], default="both")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--install", action="store_true")
    chosen = parser.parse_args()
    if chosen.page:
        page.write()
        return
    if chosen.suite is None:
        for name in names():
            print(f"{name:20} {load(name).ABOUT}")
        return
    # Ended from outside, it ends its broker, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    suite = load(chosen.suite)
    rows = expected.read(chosen.suite)
    if chosen.list:
        print("\n".join(rows))
        return
    if chosen.install:
        suite.install()
        return

    bad: list[str] = []
    passed = failed = skipped = 0
    for against in ["kafka", "strandline"] if chosen.against == "both" else [chosen.against]:
        began = time.monotonic()
        outcome: dict[str, str] = {}
        try:
            for only in chosen.tests or [None]:
                if trouble := run(chosen.suite, suite, against, only, chosen.quick, outcome):
                    bad.append(f"{against}: {trouble}")
        except SystemExit:
            # Ended half way: what is known by then is kept.
            if chosen.write:
                expected.learn(rows, against, outcome)
                expected.write(chosen.suite, rows)
            raise
        if not outcome:
            bad.append(f"{against}: no test ran")
        bad += [f"{against}: no test named {test} ran" for test in chosen.tests if test not in outcome]
        bad += [f"{against}: {test} passed before and does not now" for test in expected.lost(rows, against, outcome, not chosen.tests)]
        new = [test for test in outcome if test not in rows]
        if new and not chosen.write:
            print(f"not on record yet: {', '.join(new[:5])}{' and others' if len(new) > 5 else ''}, {len(new)} in all")
        expected.learn(rows, against, outcome)
        sums = {kind: sum(value == kind for value in outcome.values()) for kind in ("pass", "fail", "skip")}
        print(f"{against}: {sums['pass']} pass, {sums['fail']} fail, {sums['skip']} skip in {time.monotonic() - began:.0f} s", flush=True)
        passed, failed, skipped = passed + sums["pass"], failed + sums["fail"], skipped + sums["skip"]
    if chosen.write:
        expected.write(chosen.suite, rows)
        page.write()
    else:
        bad += ["docs/compatibility.md does not say what the lists say; `tests/compat/run --page` mends it"] if page.stale() else []
        bad += [f"{test} fails and its note in expected/{chosen.suite}.tsv says nothing" for test, row in rows.items()
                if "fail" in row.outcome.values() and not row.note and not chosen.tests]
    for line in bad:
        print(f"failed: {line}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
