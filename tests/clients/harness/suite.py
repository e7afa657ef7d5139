"""The driver: runs tests, each in a process of its own, prints a line for each and the sum at the end."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness.registry import Test, load

CACHE = os.path.join(os.environ["STRANDLINE_CACHE"], "clients")


def run_one(test: Test) -> tuple[bool, float, str]:
    python = os.path.join(CACHE, test.environment, "bin", "python")
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        # A process group of its own, so that whatever the test started ends with it.
        process = subprocess.Popen([python, "-m", "harness.one", test.name], stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            code = process.wait(test.limit_s)
            late = ""
        except subprocess.TimeoutExpired:
            code, late = 1, f"\nit took longer than its limit of {test.limit_s} s"
            # The first signal lets it say where it hangs and tidy up.
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        finally:
            end_group(process.pid)
            process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace") + late
    return code == 0, time.monotonic() - started, text


def end_group(group: int) -> None:
    try:
        os.killpg(group, 9)
    except ProcessLookupError:
        pass


def select(tests: list[Test], names: list[str]) -> list[Test]:
    if not names:
        return tests
    chosen = [test for test in tests if any(name in test.name for name in names)]
    unknown = [name for name in names if not any(name in test.name for test in tests)]
    if unknown:
        sys.exit(f"no test is named {', '.join(unknown)}; --list shows them all")
    return chosen


def main() -> None:
    arguments = sys.argv[1:]
    tests = load()
    if arguments == ["--list"]:
        print("\n".join(test.name for test in tests))
        return
    tests = select(tests, arguments)
    if not tests:
        sys.exit("no test was found")
    printing = threading.Lock()
    failed = []

    def run(test: Test) -> None:
        passed, seconds, output = run_one(test)
        with printing:
            print(f"{'PASS' if passed else 'FAIL'} {test.name} {seconds:.1f}", flush=True)
            if not passed:
                failed.append(test.name)
                print("    " + "\n    ".join(output.rstrip().splitlines()[-60:]), flush=True)

    jobs = int(os.environ.get("JOBS", "2"))
    together = [test for test in tests if not test.alone]
    together.sort(key=lambda test: -test.limit_s)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, together))
    for test in tests:
        if test.alone:
            run(test)
    for name in sorted(failed):
        print(f"failed: {name}")
    print(f"{len(tests) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
