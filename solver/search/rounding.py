"""A program read in one direction of rounding: what walks and the prover share while they search it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shardproof.formulations.deployment.tables import Cap, Program
from shardproof.solver.search.query import ObjectiveValues
from shardproof.solver.search.view import Bounded, Costs, View


@dataclass
class RoundedProgram(ObjectiveValues):
    """One program on its ceiling or floor tables, with the arrays already read from them.

    ``check_stop`` is called often and raises `shardproof.solver.search.query.Interrupted` to end the search.
    """

    program: Program
    floor: bool
    check_stop: Callable[[], None] = lambda: None
    _costs: dict[tuple[int, ...], dict[int, Costs]] = field(default_factory=dict, repr=False)
    _kept: list[object] = field(default_factory=list, repr=False)

    def share(self, other: RoundedProgram) -> None:
        """Use (and add to) the arrays of a program with the same kinds and options."""
        self._costs, self._kept = other._costs, other._kept

    def view(
        self, *, caps: Sequence[tuple[Cap, int]], paths: Sequence[Bounded], options: tuple[int, ...], budget: int
    ) -> View:
        """Return the view of a context; arrays already read for the same options are shared."""
        made = View(self.program, caps=caps, paths=paths, options=options, budget=budget, floor=self.floor)
        made.share(self._costs.setdefault(tuple(made.options), {}))
        self._kept.append((caps, paths))
        return made
