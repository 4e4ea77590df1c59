"""A mixed-integer program on HiGHS (package ``highspy``), in a process of its own.

OR-Tools ships another release of the same library; both cannot be loaded into one process. The program comes as
JSON on standard input, the answer leaves as JSON: ``python -m benchmarks.solve.highs``.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardproof.formulations.deployment.peers.mixed_integer import MixedInteger

TOLERANCE = 1e-6
FEASIBILITY = 1e-9
"""Violation of a row that HiGHS may accept; its default of 1e-6 is microseconds and kilobytes here."""

WIDE = 1 << 20
"""Variables of a larger range are times or bytes."""


def solve_apart(program: MixedInteger, *, time_limit_s: float | None, workers: int) -> dict[str, Any]:
    """Solve in another process; the answer holds value, bound, proven, and seconds of the solve alone."""
    tree = asdict(program) | {"time_limit_s": time_limit_s, "workers": workers}
    tree["rows"] = [(list(terms), list(terms.values()), high) for terms, high in program.rows]
    arguments = [sys.executable, "-m", "benchmarks.solve.highs"]
    done = subprocess.run(arguments, input=json.dumps(tree), capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _solve(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the best value, the bound (integer objective: rounded up), and whether the value is proven."""
    import highspy

    highs: Any = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", tree["workers"])
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.setOptionValue("mip_feasibility_tolerance", FEASIBILITY)
    highs.setOptionValue("primal_feasibility_tolerance", FEASIBILITY)
    if tree["time_limit_s"] is not None:
        highs.setOptionValue("time_limit", float(tree["time_limit_s"]))
    highs.passModel(_model(tree))
    wall, cpu = time.perf_counter(), time.process_time()
    highs.run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    info = highs.getInfo()
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    bound = info.mip_dual_bound
    return {
        "value": round(info.objective_function_value) if found else None,
        "bound": math.ceil(bound - TOLERANCE) if math.isfinite(bound) else None,
        "proven": highs.getModelStatus() == highspy.HighsModelStatus.kOptimal,
        "wall_s": wall,
        "cpu_s": cpu,
    }


def _model(tree: dict[str, Any]) -> Any:
    """Return the program in HiGHS's row-wise form, in units that floating point can hold apart.

    Nanoseconds and bytes become fractions of their variable's range, and such variables continuous (they only
    bound integer sums from above); rows are scaled to a largest coefficient of about 1. Powers of two lose nothing.
    """
    import highspy
    import numpy as np

    made, count, rows = highspy.HighsLp(), len(tree["lower"]), tree["rows"]
    upper = np.array(tree["upper"], dtype=float)
    unit = np.where(upper > WIDE, 2.0 ** np.ceil(np.log2(np.maximum(upper, 1))), 1.0)
    made.num_col_, made.num_row_ = count, len(rows)
    made.col_cost_ = np.array([tree["cost"].get(str(index), 0) for index in range(count)], dtype=float) * unit
    made.col_lower_, made.col_upper_ = np.array(tree["lower"], dtype=float) / unit, upper / unit
    kinds = highspy.HighsVarType
    made.integrality_ = [kinds.kContinuous if wide else kinds.kInteger for wide in (upper > WIDE).tolist()]
    made.row_lower_ = np.full(len(rows), -highspy.kHighsInf)
    made.a_matrix_.num_col_, made.a_matrix_.num_row_ = count, len(rows)
    made.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    factors = [np.array(own, dtype=float) * unit[indices] for indices, own, _ in rows]
    scales = [2.0 ** -np.floor(np.log2(np.abs(own).max(initial=1.0))) for own in factors]
    made.row_upper_ = np.array([high * scale for (_, _, high), scale in zip(rows, scales, strict=True)])
    made.a_matrix_.start_ = np.array([0, *accumulate(map(len, factors))], dtype=np.int32)
    made.a_matrix_.index_ = np.array([index for indices, _, _ in rows for index in indices], dtype=np.int32)
    made.a_matrix_.value_ = np.concatenate([own * scale for own, scale in zip(factors, scales, strict=True)])
    return made


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_solve(json.load(sys.stdin))))
