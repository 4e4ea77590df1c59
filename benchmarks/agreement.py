"""Random programs: solve, verify and brute force agree.

``python -m benchmarks.agreement --count 20000`` (about 8 minutes on one core) solves every program by the exact
search, has the checker judge the certificate, and compares both with brute force. Programs have at most 12
layers; every second one has tables rounded up, where bounds are judged on the floor tables. ``--fleets 5000``
(about 7 minutes) does the same for questions about fleets, whose every fleet brute force tries.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from tests.oracles.agreement import disagreement, program_of
from tests.oracles.fleet_agreement import fleet_disagreement
from tests.oracles.random_fleets import random_family


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare many programs; 0 when all agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--fleets", type=int, default=0, help="Questions about fleets instead of programs.")
    chosen = parser.parse_args(arguments)
    counts: Counter[str] = Counter()
    count = chosen.fleets or chosen.count
    for seed in range(chosen.first, chosen.first + count):
        if chosen.fleets:
            reason = fleet_disagreement(random_family(seed, slack=seed % 2 == 1))
        else:
            reason = disagreement(program_of(seed))
        counts["agree" if reason is None else "disagree"] += 1
        if reason is not None:
            sys.stdout.write(f"seed {seed}: {reason}\n")
    sys.stdout.write(
        f"{count} {'fleets' if chosen.fleets else 'programs'}: {counts['agree']} agree, {counts['disagree']} do not\n"
    )
    return 1 if counts["disagree"] else 0


if __name__ == "__main__":
    sys.exit(main())
