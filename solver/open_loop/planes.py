r"""The highest plane below a table: maximise aim . x with rows . x <= limits and 0 <= x <= most, in few variables.

Dual simplex: as many constraints are active as there are variables; the one that is broken most enters, the one whose
multiplier runs out first leaves. What rounding leaves broken is taken off the first variable, so that what is returned
lies below the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_STEPS = 200
_TOLERANCE = 1e-9
_LOOKED_AT = 512
"""Rows that are looked at in every step, spread evenly; all are where these are kept, and what is broken joins them."""


def highest(rows: Floats, limits: Floats, aim: Floats, most: float) -> tuple[Floats, list[int]]:
    """Return the plane, and the rows that hold it down.

    ``rows[:, 0]`` is 1 throughout, ``limits`` and ``aim`` are not negative, so that 0 is a plane.
    """
    import numpy as np

    count, size = rows.shape[1], len(rows)
    places = np.arange(0, size, max(1, size // _LOOKED_AT))
    sides = np.vstack([np.eye(count), -np.eye(count)])
    box, right = (
        np.vstack([sides, rows[places]]),
        np.concatenate([np.full(count, most), np.zeros(count), limits[places]]),
    )
    active, multipliers = list(range(count)), aim.astype(np.float64).copy()
    found = np.full(count, most)
    for _ in range(_STEPS):
        found = np.linalg.solve(box[active], right[active])
        over = box @ found - right
        enters = int(over.argmax())
        if over[enters] <= _TOLERANCE * (1 + abs(right[enters])):
            broken = int((rows @ found - limits).argmax())
            if float(rows[broken] @ found) - limits[broken] <= _TOLERANCE * (1 + abs(limits[broken])):
                break
            enters = len(box)
            places, box = np.append(places, broken), np.vstack([box, rows[broken]])
            right = np.append(right, limits[broken])
        shares = np.linalg.solve(box[active].T, box[enters])
        ratios = [m / s if s > 1e-12 else np.inf for m, s in zip(multipliers, shares, strict=True)]
        leaves = int(np.argmin(ratios))
        if not np.isfinite(ratios[leaves]):
            break
        step = ratios[leaves]
        multipliers = multipliers - step * shares
        multipliers[leaves] = step
        active[leaves] = enters
    return _below(rows, limits, np.clip(found, 0, most)), [
        int(places[row - 2 * count]) for row in active if row >= 2 * count
    ]


def _below(rows: Floats, limits: Floats, found: Floats) -> Floats:
    """Return a plane that lies below every row: lowered where rounding asks for it, or made smaller as a whole."""
    import numpy as np

    over = float((rows @ found - limits).max())
    if over <= 0:
        return found
    lowered = found.copy()
    lowered[0] = max(0.0, lowered[0] - over)
    if float((rows @ lowered - limits).max()) <= _TOLERANCE:
        return lowered
    values = rows @ found
    above = values > 0
    shrunk: Floats = found * float(np.minimum(1.0, limits[above] / values[above]).min())
    return shrunk
