r"""How replicas share the demand, in exact fractions: a linear program solved by the simplex method on rationals.

For given replicas n_k it finds the largest multiple t of the demand that they carry together,

.. math:: \max t: \quad \sum_{k,e} \lambda_{k,e} v_{k,e,s} \ge t D_s, \qquad \sum_e \lambda_{k,e} \le n_k ,

and the weights y of the dual, with :math:`y \cdot D = 1` and :math:`\sum_k h_k(y) n_k = t`: where t < 1, the row of y
excludes these replicas. Bland's rule keeps it from going round in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from shardproof.formulations.pools.problem import Kind, Load

Line = dict[int, Fraction]


@dataclass(frozen=True)
class Split:
    """``multiple`` of the demand that is carried, each kind's part of its time per load, and the weights y."""

    multiple: Fraction
    times: tuple[tuple[Fraction, ...], ...]
    weights: tuple[int, ...]

    def carried(self, kinds: Sequence[Kind], place: int) -> tuple[Fraction, ...]:
        """What all replicas of a kind carry together."""
        loads = kinds[place].loads
        return tuple(
            sum((part * load[s] for part, load in zip(self.times[place], loads, strict=True)), Fraction(0))
            for s in range(len(loads[0]))
        )


def split(demand: Load, kinds: Sequence[Kind], counts: Sequence[Fraction | int]) -> Split:
    """Return the largest multiple of a demand (all positive) that so many replicas of each kind carry."""
    columns = [(place, load) for place, kind in enumerate(kinds) if counts[place] > 0 for load in kind.loads]
    used = sorted({place for place, _ in columns})
    program = _Program(demand, columns, used, counts)
    program.solve()
    times = program.times(len(kinds), [len(kind.loads) for kind in kinds])
    return Split(program.value, times, whole(program.weights()))


def whole(weights: Sequence[Fraction]) -> tuple[int, ...]:
    """Return the smallest integers in the same ratios."""
    scale = lcm(*(weight.denominator for weight in weights))
    found = [int(weight * scale) for weight in weights]
    common = gcd(*found) or 1
    return tuple(weight // common for weight in found)


class _Program:
    """A tableau of sparse lines; columns: t, the loads, a slack for every demand, a slack for every kind."""

    def __init__(
        self, demand: Load, columns: list[tuple[int, Load]], used: list[int], counts: Sequence[Fraction | int]
    ) -> None:
        self.columns, self.used, self.size = columns, used, len(demand)
        self.first_slack = 1 + len(columns)
        self.lines: list[Line] = []
        self.rights: list[Fraction] = []
        for s, asked in enumerate(demand):
            line = {0: Fraction(asked)}
            line |= {1 + at: Fraction(-load[s]) for at, (_, load) in enumerate(columns) if load[s]}
            self._add(line, Fraction(0))
        for place in used:
            line = {1 + at: Fraction(1) for at, (owner, _) in enumerate(columns) if owner == place}
            self._add(line, Fraction(counts[place]))
        self.basis = [self.first_slack + row for row in range(len(self.lines))]
        self.gains: Line = {0: Fraction(1)}
        self.value = Fraction(0)

    def _add(self, line: Line, right: Fraction) -> None:
        line[self.first_slack + len(self.lines)] = Fraction(1)
        self.lines.append(line)
        self.rights.append(right)

    def solve(self) -> None:
        while True:
            entering = min((column for column, gain in self.gains.items() if gain > 0), default=None)
            if entering is None:
                return
            ratios = [
                (self.rights[row] / line[entering], self.basis[row], row)
                for row, line in enumerate(self.lines)
                if line.get(entering, 0) > 0
            ]
            self._pivot(min(ratios)[2], entering)

    def _pivot(self, row: int, entering: int) -> None:
        pivot = self.lines[row][entering]
        line = self.lines[row] = {column: cell / pivot for column, cell in self.lines[row].items()}
        right = self.rights[row] = self.rights[row] / pivot
        self.basis[row] = entering
        for other, target in enumerate(self.lines):
            factor = target.get(entering)
            if other != row and factor:
                _subtract(target, line, factor)
                self.rights[other] -= factor * right
        factor = self.gains[entering]
        _subtract(self.gains, line, factor)
        self.value += factor * right

    def weights(self) -> list[Fraction]:
        """Weights of the demands: what a slack of theirs would cost."""
        return [-self.gains.get(self.first_slack + s, Fraction(0)) for s in range(self.size)]

    def times(self, kinds: int, loads: list[int]) -> tuple[tuple[Fraction, ...], ...]:
        found = dict(zip(self.basis, self.rights, strict=True))
        parts: list[list[Fraction]] = [[Fraction(0)] * loads[place] for place in range(kinds)]
        at = dict.fromkeys(self.used, 0)
        for column, (place, _) in enumerate(self.columns):
            parts[place][at[place]] = found.get(1 + column, Fraction(0))
            at[place] += 1
        return tuple(map(tuple, parts))


def _subtract(target: Line, line: Line, factor: Fraction) -> None:
    for column, cell in line.items():
        less = target.get(column, Fraction(0)) - factor * cell
        if less:
            target[column] = less
        else:
            target.pop(column, None)
