"""The walk through one layout: axes one by one, then intervals of the slowest stage, down to leaves.

Cheap refutations come first (volume, sum, reach), then least sums of one path row, weighted sums of all, and at
last all non-dominated vectors of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from shardproof.formulations.deployment.chains import Chain, StageChoice, path_cost, rounded, stage_cost
from shardproof.formulations.deployment.tables import Cap, Choice, Layout, Path
from shardproof.instances.errors import InternalError
from shardproof.solver.proof.refutation import Empty, Frontier, Node, SplitAxis, SplitMax, Sum
from shardproof.solver.search.costs import remaining_minimum
from shardproof.solver.search.fallen import fallen
from shardproof.solver.search.labels import Labels, TooManyLabels
from shardproof.solver.search.least_sums import NEVER
from shardproof.solver.search.query import Objective, Query, Unknown
from shardproof.solver.search.room import frontier, looseness, lowest, room, slack
from shardproof.solver.search.rounding import RoundedProgram
from shardproof.solver.search.view import Bounded, View, weighted_costs

_STEPS_BEFORE_HALVING = 6
"""Chains that a case may improve one by one before its objective is halved instead."""


_SUMS_AT_MOST = 40
"""Least sums that are taken within ever shorter stages, before a TTFT is lowered chain by chain."""

_SHARES = 1024
"""Parts that the weights of all rows are shared out in."""
_LOOSE = 1e-3
"""Share of a limit that the interval of a slowest stage may leave open before all rows are kept apart."""
_WORTH_PRUNING = 6
"""Options from which on it pays to look for dominated ones."""


@dataclass(frozen=True)
class Partial:
    """A case under construction: the choice picked on each axis so far, and the rows and options that leaves."""

    picked: tuple[int | None, ...]
    options: tuple[int, ...]
    caps: tuple[Sequence[Cap], ...] = ()
    paths: tuple[Path, ...] = ()

    @property
    def places(self) -> tuple[int, ...]:
        """Choices of a whole case."""
        return tuple(place for place in self.picked if place is not None)

    def with_choice(self, axis: int, place: int, choice: Choice) -> Partial:
        """Return the case with one choice more."""
        picked = (*self.picked[:axis], place, *self.picked[axis + 1 :])
        options = self.options
        if choice.options is not None:
            options = tuple(option for option in options if option in choice.options)
        caps = (*self.caps, choice.caps) if len(choice.caps) else self.caps
        return Partial(picked, options, caps, self.paths + choice.paths)


class StandsAtSight(Exception):
    """A case that no table of sums was asked about does not fall at sight."""


class Walk:
    """The search in one layout under one query."""

    def __init__(
        self,
        rounded_program: RoundedProgram,
        query: Query,
        index: int,
        layout: Layout,
        objective: Objective | None = None,
        *,
        at_sight: bool = False,
    ) -> None:
        """Take the layout and its place; with an objective, go on past every chain until none is better.

        ``at_sight``: what volume, sums and reach do not refute is not looked into (raises `StandsAtSight`).
        """
        self._rounded, self.query, self._index, self._layout = rounded_program, query, index, layout
        self._objective, self._at_sight = objective, at_sight
        self.best: Chain | None = None
        self._program = rounded_program.program
        budget = min(query.gpus, self._program.max_gpus) // layout.replicas
        self._budget = budget if layout.max_gpus is None else min(budget, layout.max_gpus)
        self.unknown: list[Unknown] = []
        self._promised: dict[tuple[int, int, tuple[int | None, ...]], int] = {}
        self._refuted_alone: dict[tuple[int, int, tuple[int, ...]], Node] = {}
        self._open_alone: set[tuple[int, int, tuple[int, ...], Query]] = set()

    def solve(self) -> Node | Chain:
        """Refute the layout or return a chain of it."""
        if self._budget < self._rounded.narrowest:
            return Empty()
        return self._case(self._whole())

    def _whole(self) -> Partial:
        return Partial((None,) * len(self._layout.axes), tuple(range(len(self._program.options))))

    def promise(self) -> int:
        """Return a TTFT that no chain of the layout stays below: what promises least is looked into first."""
        if self._budget < self._rounded.narrowest:
            return NEVER
        whole, axes = self._whole(), self._layout.axes
        least = (
            (self._promise(at, place, whole) for place in range(len(axis.choices))) for at, axis in enumerate(axes)
        )
        return max((min(found, default=NEVER) for found in least), default=0)

    def _promise(self, axis: int, place: int, partial: Partial) -> int:
        """Return a TTFT that no chain with a choice stays below."""
        key = axis, place, partial.picked
        if key not in self._promised:
            below = partial.with_choice(axis, place, self._layout.axes[axis].choices[place])
            view = self._view((), below.paths, below.options)
            rows = () if view is None else (view.least_value(row.path) for row in view.paths if row.path.ttft)
            self._promised[key] = NEVER if view is None else max(rows, default=0)
        return self._promised[key]

    def _order(self, axis: int, partial: Partial) -> Sequence[int]:
        """Return the choices of an axis in the order in which to work on them."""
        count = len(self._layout.axes[axis].choices)
        if self._objective != "ttft" or count == 1:
            return range(count)
        return sorted(range(count), key=lambda place: self._promise(axis, place, partial))

    def _case(self, partial: Partial) -> Node | Chain:
        """Work on a partial case; its rows are the layout's and those of the picked choices."""
        self._rounded.check_stop()
        view = self._view_of(partial)
        if view is None:
            return Empty()
        quick = fallen(view)
        if quick is not None:
            return quick
        left = [axis for axis, place in enumerate(partial.picked) if place is None]
        if not left:
            return self._leaf(view, partial.places) if self._objective is None else self._improve(partial)
        return self._split(self._first(left, partial), partial)

    def _first(self, left: list[int], partial: Partial) -> int:
        """Return the axis to split first: one that falls whole, else that of fewest choices that stand at sight.

        What follows is repeated in each of them. Under engines that run one option everywhere the options come first.
        """
        if len(left) == 1:
            return left[0]
        for axis in left:
            if not any(self._is_open(axis, place, partial) for place in range(len(self._layout.axes[axis].choices))):
                return axis
        if any(self._binds):
            return left[0]
        return min(left, key=lambda axis: self._standing(axis, partial))

    def _standing(self, axis: int, partial: Partial) -> int:
        """How many choices of an axis do not fall at sight."""
        count = 0
        for place, choice in enumerate(self._layout.axes[axis].choices):
            options = partial.with_choice(axis, place, choice).options
            if (axis, place, options) not in self._refuted_alone:
                view = self._view((self._layout.caps, choice.caps), choice.paths, options)
                found = Empty() if view is None else fallen(view)
                if found is None:
                    count += 1
                else:
                    self._refuted_alone[axis, place, options] = found
        return count

    def _split(self, axis: int, partial: Partial) -> Node | Chain:
        """One child for each choice of an axis: refuted alone where possible, else worked on."""
        children: dict[int, Node] = {}
        choices = self._layout.axes[axis].choices
        by_itself = partial.picked.count(None) == 1 and not (partial.caps or partial.paths)
        for place in self._order(axis, partial):
            below = partial.with_choice(axis, place, choices[place])
            open_ = by_itself or self._is_open(axis, place, partial)
            child = self._case(below) if open_ else self._refuted_alone[axis, place, below.options]
            if isinstance(child, Chain):
                return child
            children[place] = child
        return SplitAxis(axis, tuple(children[place] for place in range(len(choices))))

    def _is_open(self, axis: int, place: int, partial: Partial) -> bool:
        """Whether a choice stands when only its own rows and the layout's hold."""
        options = partial.with_choice(axis, place, self._layout.axes[axis].choices[place]).options
        return self._alone(axis, place, options) is None

    def _alone(self, axis: int, place: int, options: tuple[int, ...]) -> Node | None:
        """Refute one choice with the layout's rows only; it then falls whatever the other axes pick."""
        key = (axis, place, options)
        if key in self._refuted_alone or (*key, self.query) in self._open_alone:
            return self._refuted_alone.get(key)
        choice = self._layout.axes[axis].choices[place]
        view = self._view((self._layout.caps, choice.caps), choice.paths, options)
        found = Empty() if view is None else fallen(view)
        if found is None and view is not None and not self._is_bound(axis):
            found = self._refute(view)
        if found is None:
            self._open_alone.add((*key, self.query))
        else:
            self._refuted_alone[key] = found
        return found

    def _is_bound(self, axis: int) -> bool:
        """Whether another axis leaves one option in each case: such cases cost less than all their options together."""
        return any(at != axis and self._binds[at] for at in range(len(self._layout.axes)))

    @cached_property
    def _binds(self) -> tuple[bool, ...]:
        """Which axes leave one option with each of their choices."""
        return tuple(
            all(choice.options is not None and len(choice.options) == 1 for choice in axis.choices)
            for axis in self._layout.axes
        )

    def _refute(self, view: View) -> Node | None:
        limited = [row for row in view.paths if row.limit is not None]
        if not limited or self._at_sight:
            return None
        try:
            found = self._box(self._ready(view))
        except TooManyLabels:
            return None
        return None if isinstance(found, tuple) else found

    def _view(self, caps: Sequence[Sequence[Cap]], paths: Sequence[Path], options: tuple[int, ...]) -> View | None:
        bounded = []
        for path in paths:
            limit = self.query.path_limit(path)
            bounded.append(Bounded(path, limit, -1, None if limit is None else limit // path.microbatches))
        query = self.query

        def limited() -> list[tuple[Cap, int]]:
            return [(cap, query.cap_limit(cap)) for together in caps for cap in together]

        view = self._rounded.view(caps=limited, paths=bounded, options=options, budget=self._budget)
        return view if view.options else None

    def _view_of(self, partial: Partial) -> View | None:
        return self._view((self._layout.caps, *partial.caps), partial.paths, partial.options)

    def _ready(self, view: View) -> View:
        return view if len(view.options) < _WORTH_PRUNING else view.without_dominated()

    def _chain(self, picked: tuple[int, ...], stages: tuple[StageChoice, ...]) -> Chain:
        return Chain(self._index, picked, stages)

    def _improve(self, partial: Partial) -> Node:
        """Lower the objective in one case until it is refuted: chain by chain, then by halving."""
        assert self._objective is not None
        asked, steps, lowest = self.query, 0, 0
        while True:
            view = self._view_of(partial)
            found = Empty() if view is None else (fallen(view) or self._leaf(view, partial.places))
            if isinstance(found, Chain):
                if view is not None and not steps:
                    found = self._quickened(view, found)
                self.best = found
                value = self._rounded.value(self._objective, found)
                if value is None:
                    return Empty()
                asked = self._rounded.below(self.query, self._objective, found)
            elif self.query == asked:
                return found
            else:
                lowest = self._limit(self.query) + 1
            steps += 1
            self.query = asked if steps < _STEPS_BEFORE_HALVING else self._halved(asked, lowest)

    def _quickened(self, view: View, chain: Chain) -> Chain:
        """Return the quickest chain of a case whose only limited path is that of the TTFT, from a chain that is known.

        Each least sum leaves better chains a shorter slowest stage, within which the next one is taken. After some
        steps the best so far is returned.
        """
        rows = [row for row in view.paths if row.limit is not None]
        if self._objective != "ttft" or len(rows) != 1 or not rows[0].path.ttft:
            return chain
        row, further = rows[0], rows[0].path.microbatches - 1
        table, view = rounded(row.path.table, self._rounded.floor), self._ready(view)
        best, high, path = chain, row.high, replace(row.path, table=table)
        for _ in range(_SUMS_AT_MOST):
            limit = path_cost(view.program, path, best.stages) - 1
            row = replace(row, limit=limit, high=high)
            narrow = view.narrowed([row])
            if fallen(narrow) is not None:
                break
            cheapest = narrow.cheapest([(row.path.table, 1)])
            if cheapest.total > room(row):
                break
            stages = cheapest.chain()
            slowest = max(self._costs(view, row, stages))
            if cheapest.total + further * slowest <= limit:
                best, limit = replace(chain, stages=stages), cheapest.total + further * slowest - 1
            if not further:
                break
            high = min(slowest - 1, (limit - cheapest.total) // further)
        return best

    def _limit(self, query: Query) -> int:
        found = query.ttft if self._objective == "ttft" else query.memory
        assert found is not None
        return found

    def _halved(self, asked: Query, lowest: int) -> Query:
        most = self._limit(asked)
        middle = most if lowest >= most else (lowest + most) // 2
        return replace(asked, ttft=middle) if self._objective == "ttft" else replace(asked, memory=middle)

    def _leaf(self, view: View, picked: tuple[int, ...]) -> Node | Chain:
        """Decide a full case."""
        if self._at_sight:
            raise StandsAtSight
        view = self._ready(view)
        limited = [row for row in view.paths if row.limit is not None]
        if not limited:
            return self._chain(picked, view.reach_chain(view.reach()))
        try:
            found = self._box(view)
        except TooManyLabels:
            self.unknown.append(Unknown(self._index, picked))
            return Empty()
        return found if not isinstance(found, tuple) else self._chain(picked, found)

    def _box(self, view: View) -> Node | tuple[StageChoice, ...]:
        """Decide one box of intervals; a chain is returned as its stages."""
        self._rounded.check_stop()
        quick = fallen(view)
        if quick is not None:
            return quick
        rows = [row for row in view.paths if row.limit is not None]
        for row in sorted(rows, key=lambda row: slack(view, row)):
            found = self._one_row(view, row, rows)
            if found is not None:
                return found
        if len(rows) == 1:
            raise InternalError("a single path row is always decided")
        return self._all_rows(view, rows)

    def _one_row(self, view: View, row: Bounded, rows: list[Bounded]) -> Node | tuple[StageChoice, ...] | None:
        """Use the least sum of one path row: a chain that fits, a refutation, a cut, or nothing."""
        assert row.limit is not None
        path, further = row.path, row.path.microbatches - 1
        slowest = (row.limit - view.least_sum(path.table)) // further if further else None
        if slowest is not None and (row.high is None or slowest < row.high):
            # A slower stage falls by the sum alone; what is left has shorter stages, and often needs no table of sums.
            below = self._box(view.with_row(replace(row, high=slowest)))
            return below if isinstance(below, tuple) else SplitMax(path.name, slowest, below, Sum(path.name))
        cheapest = view.cheapest([(path.table, 1)])
        least = cheapest.total
        if least > room(row):
            return frontier(view, cheapest, row)
        stages = cheapest.chain()
        if all(self._holds(view, other, stages) for other in rows):
            return stages
        if not further:
            return None
        most = (row.limit - least) // further
        if row.high is not None and most >= row.high:
            return None
        beyond = replace(row, low=most)
        high = view.with_row(beyond)
        refuted = fallen(high) or frontier(high, cheapest, beyond)
        below = self._box(view.with_row(replace(row, high=most)))
        return below if isinstance(below, tuple) else SplitMax(path.name, most, below, refuted)

    def _holds(self, view: View, row: Bounded, stages: tuple[StageChoice, ...]) -> bool:
        assert row.limit is not None
        table = rounded(row.path.table, self._rounded.floor)
        return path_cost(view.program, replace(row.path, table=table), stages) <= row.limit

    def _weighted(self, view: View, rows: list[Bounded], shares: Sequence[int]) -> Node | tuple[StageChoice, ...]:
        """Use the least weighted sum of all rows: a refutation, or a cheapest chain, which may break rows.

        Rows weigh as their shares say, each in proportion to the room that it leaves.
        """
        rooms = [max(1, room(row)) for row in rows]
        most = max(rooms)
        weights = [max(1, share * most // room) for share, room in zip(shares, rooms, strict=True)]
        tables = [(row.path.table, weight) for row, weight in zip(rows, weights, strict=True)]
        cheapest = view.cheapest(tables)
        limit = sum(weight * room(row) for row, weight in zip(rows, weights, strict=True))
        if cheapest.total <= limit:
            return cheapest.chain()
        named = tuple((row.path.name, weight) for row, weight in zip(rows, weights, strict=True))
        rest = remaining_minimum(weighted_costs(view, tables))
        return Frontier((named,), cheapest.label_rows(rest, limit))

    def _weighed(self, view: View, rows: list[Bounded]) -> Node | tuple[StageChoice, ...] | None:
        """Shift weight, by steps that halve, to rows that cheapest chains break, until one fits or all fall."""
        rooms = [max(1, room(row)) for row in rows]
        if _SHARES * len(rows) * max(rooms) ** 2 // min(rooms) >= NEVER // 4:
            return None
        shares, step = [_SHARES // len(rows)] * len(rows), _SHARES // 4
        while step:
            stages = self._weighted(view, rows, shares)
            if not isinstance(stages, tuple) or all(self._holds(view, row, stages) for row in rows):
                return stages
            over = [sum(self._costs(view, row, stages)) / room - 1 for row, room in zip(rows, rooms, strict=True)]
            if max(over) <= 0:
                return None
            worst = over.index(max(over))
            shares = [max(1, share - step // (len(rows) - 1)) for share in shares]
            shares[worst] += step + step // (len(rows) - 1)
            step //= 2
        return None

    def _costs(self, view: View, row: Bounded, stages: tuple[StageChoice, ...]) -> list[int]:
        table = rounded(row.path.table, self._rounded.floor)
        return [stage_cost(view.program, table, stage) for stage in stages]

    def _all_rows(self, view: View, rows: list[Bounded]) -> Node | tuple[StageChoice, ...]:
        """Decide by weighted sums; halve intervals that leave much open; else keep all non-dominated vectors."""
        found = self._weighed(view, rows)
        if found is not None:
            return found
        wide = max(rows, key=lambda row: looseness(view, row))
        if looseness(view, wide) > _LOOSE:
            low = lowest(view, wide)
            assert wide.high is not None
            return self._halves(view, wide, (low + wide.high) // 2)
        limits = [room(row) for row in rows]
        labels = Labels(view, [row.path.table for row in rows], limits, self._rounded.check_stop)
        if labels.complete is None:
            weights = tuple(((row.path.name, 1),) for row in rows)
            return Frontier(weights, labels.rows)
        stages = labels.chain()
        if all(self._holds(view, row, stages) for row in rows):
            return stages
        broken = next(row for row in rows if not self._holds(view, row, stages))
        slowest = max(self._costs(view, broken, stages))
        return self._halves(view, broken, max(broken.low + 1, min((broken.low + slowest) // 2, slowest - 1)))

    def _halves(self, view: View, row: Bounded, at: int) -> Node | tuple[StageChoice, ...]:
        """Decide both sides of a cut through the interval of a row's slowest stage."""
        children = []
        for half in (replace(row, high=at), replace(row, low=at)):
            child = self._box(view.with_row(half))
            if isinstance(child, tuple):
                return child
            children.append(child)
        return SplitMax(row.path.name, at, children[0], children[1])
