"""Fuzz every reader: ``python -m benchmarks.fuzz [--count 20000] [--only NAME] [--seed 0]``.

An input fails when its reader raises anything but a refusal, runs longer than 5 s of processor time, grows the
process by more than 1 GB, or when the message names no file or holds a control character. Failures are printed with
the seed that makes them again.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.fuzz.run import fuzz


def main() -> int:
    """Run the fuzzer and print one line per reader."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    failures = fuzz(count=asked.count, seed=asked.seed, only=asked.only, say=print)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
