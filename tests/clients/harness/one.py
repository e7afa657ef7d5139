"""One test in this process: a temporary folder, the test, then the end of every node it started."""

import faulthandler
import shutil
import signal
import sys
import tempfile
import traceback

from harness.node import Case
from harness.registry import load


class Ended(Exception):
    pass


def end(_signal, _frame):
    faulthandler.dump_traceback(all_threads=True)
    raise Ended("ended from outside")


def main() -> int:
    name = sys.argv[1]
    [found] = [test for test in load(name.split(".")[0]) if test.name == name]
    signal.signal(signal.SIGTERM, end)
    folder = tempfile.mkdtemp(prefix="strandline-clients-")
    case = Case(folder, found.environment)
    try:
        found.function(case)
        case.end()
        return 0
    except BaseException:
        traceback.print_exc()
        case.print_logs()
        case.kill()
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Clients' own threads are not waited for.
    import os

    os._exit(code)
