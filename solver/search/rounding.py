"""A program read in one direction of rounding: what walks and the prover share while they search it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shardproof.formulations.deployment.tables import Cap, Program
from shardproof.solver.search.least_sums import NEVER
from shardproof.solver.search.query import ObjectiveValues
from shardproof.solver.search.view import Bounded, Furthest, View


@dataclass
class RoundedProgram(ObjectiveValues):
    """One program on its ceiling or floor tables; the arrays read from a table stay with the table.

    ``check_stop`` is called often and raises `shardproof.solver.search.query.Interrupted` to end the search.
    """

    program: Program
    floor: bool
    check_stop: Callable[[], None] = lambda: None
    narrowest: int = field(init=False)
    """GPUs of the narrowest stage that any option makes."""
    _furthest: Furthest = field(init=False)

    def __post_init__(self) -> None:
        """Read the program's kinds once."""
        self._furthest = Furthest(self.program, floor=self.floor)
        self.narrowest = min((option.gpus for option in self.program.options), default=NEVER)

    def view(
        self,
        *,
        caps: Callable[[], Sequence[tuple[Cap, int]]],
        paths: Sequence[Bounded],
        options: tuple[int, ...],
        budget: int,
    ) -> View:
        """Return the view of a context; ``caps`` are built when they are first read."""
        return View(self.program, self._furthest, caps=caps, paths=paths, options=options, budget=budget)
