"""A fleet that somebody wrote, judged: every figure that its file says, and everything that the fleet breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from shardproof.formulations.pools.build import problem_of
from shardproof.instances.fleet_plan import FleetPlan
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.audit.claim import Claim, agrees, confirmed, contradicted, inconsistent, not_checkable
from shardproof.solver.documents.statement import Statement
from shardproof.solver.pools.fleet_plans import parts_carried
from shardproof.solver.pools.held import Broken, HeldPlan, carried_by_takes, held
from shardproof.solver.pools.result import FleetResult
from shardproof.solver.pools.told import UNITS

EXACT = Fraction(1, 10**5)
PLAYED = Fraction(1, 100)
"""Figures that were played are confirmed to this part: files say rates in decimal digits."""
COUNTS = {"gpus": "GPUs", "shapes": "groups"}
FIGURES = {
    "price_per_hour": ("USD/h", "sum over offers of paid GPUs x price"),
    "watts": ("W", "sum over offers of paid GPUs x watts of one"),
    "ttft_s": ("s", "slowest group under its own requests"),
    "tpot_ms": ("ms", "slowest group under its own requests"),
    "peak_memory_bytes": ("bytes", "fullest GPU of any group"),
    "output_tokens_per_s": ("tokens/s", "sum over groups"),
}


@dataclass(frozen=True)
class FleetAudit:
    """Claims of a fleet's file with their verdicts, what the fleet breaks, and the best fleet where it was sought."""

    name: str
    question: PoolsQuestion
    plan: FleetPlan
    found: HeldPlan
    claims: tuple[Claim, ...]
    best: FleetResult | None = None

    @property
    def wrong(self) -> tuple[Claim, ...]:
        """Claims that do not hold."""
        return tuple(claim for claim in self.claims if claim.wrong)

    @property
    def violations(self) -> tuple[Broken, ...]:
        """What the fleet breaks."""
        return self.found.violations

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, 4 where a claim or a constraint fails."""
        return 4 if self.wrong or self.violations else 0


Lines = Mapping[tuple[str | int, ...], tuple[int, str]]
"""Where a value stands in the file: its path, line and text."""


def audit_fleet(
    question: PoolsQuestion, plan: FleetPlan, tree: Mapping[str, Any], lines: Lines, name: str, best: FleetResult | None
) -> FleetAudit:
    """Judge a fleet plan, and what stands beside it in its file (``tree``: all of the file)."""
    return _Judge(question, plan, tree, lines, name, best).judged()


@dataclass(frozen=True)
class _Judge:
    question: PoolsQuestion
    plan: FleetPlan
    tree: Mapping[str, Any]
    lines: Lines
    name: str
    best: FleetResult | None

    def judged(self) -> FleetAudit:
        """Judge everything."""
        found = held(self.question, self.plan, self.name)
        claims = (*self._asked(), *self._figures(found), *self._groups(), *self._spared(), *self._optimal(found))
        return FleetAudit(self.name, self.question, self.plan, found, claims, self.best)

    def _said(self, *path: str | int, unit: str = "", subject: str = "") -> Statement | None:
        """Return what the file says at a path (``None``: nothing)."""
        value: Any = self.tree
        for key in path:
            if not isinstance(value, Mapping | list) or (isinstance(value, Mapping) and key not in value):
                return None
            value = value[key]  # type: ignore[index]
        if value is None or isinstance(value, Mapping | list):
            return None
        line, text = self.lines.get(path, (0, f"{path[-1]}: {value}"))
        plain = value if isinstance(value, str | bool) else Fraction(str(value))
        return Statement(line, text, ".".join(map(str, path)), plain, unit, subject=subject)

    def _asked(self) -> Iterator[Claim]:
        """The question that the plan was made for is this one."""
        inner = ("plan",) if isinstance(self.tree.get("plan"), Mapping) else ()
        said, own = self._said(*inner, "instance_fingerprint"), self.question.fingerprint
        if said is not None and said.value:
            same = said.value == own
            yield (confirmed if same else inconsistent)(said, f"fingerprint of {self.question.name}", own)

    def _figures(self, found: HeldPlan) -> Iterator[Claim]:
        """Sums and figures of the whole fleet."""
        metrics = found.metrics.model_dump()
        for path in (("gpus",), *(("metrics", name) for name in (*COUNTS, *FIGURES))):
            unit, formula = FIGURES.get(path[-1], (COUNTS.get(path[-1], ""), "sum over groups"))
            said, now = self._said(*path, unit=unit), metrics[path[-1]]
            if said is not None and now is None:
                yield not_checkable(said, "the question does not say what it takes to compute this")
            elif said is not None:
                yield _compared(said, Fraction(str(now)), formula, EXACT if path[-1] in (*COUNTS, "watts") else PLAYED)
        said = self._said("value", unit=UNITS[self.question.objective][0])
        if said is not None and found.value is not None:
            yield _compared(said, Fraction(str(found.value)), f"{self.question.objective} of the fleet", EXACT)

    def _groups(self) -> Iterator[Claim]:
        """GPUs of each replica, by the stages that the group says."""
        inner = ("plan",) if isinstance(self.tree.get("plan"), Mapping) else ()
        for place, group in enumerate(self.plan.groups):
            said = self._said(*inner, "groups", place, "gpus_each", unit="GPUs", subject=f"group {place}")
            if said is None:
                continue
            if group.plan is None:
                known = any(gpus == group.gpus_each for _, gpus, _ in self.question.rates)
                yield (confirmed if known else contradicted)(said, "a row of the question's table of capacities")
            else:
                each = Fraction(group.plan.gpus, group.plan.replicas)
                yield _compared(said, each, "sum over the stages of one replica", Fraction(0))

    def _spared(self) -> Iterator[Claim]:
        """What is carried when something is gone: no less than the file says."""
        inner = ("plan",) if isinstance(self.tree.get("plan"), Mapping) else ()
        for place, case in enumerate(self.plan.spared):
            now = self._carried(case.replicas)
            for name in case.carried:
                path = (*inner, "spared", place, "carried", name)
                said = self._said(*path, unit="of the demand", subject=f"when {case.gone} is gone")
                if said is None:
                    continue
                if name not in now:
                    yield not_checkable(said, f"{name} is no demand of the question")
                    continue
                least = Fraction(str(now[name]))
                holds = said.number <= least * (1 + EXACT)
                yield (confirmed if holds else contradicted)(said, "sum of what replicas that are left take", least)

    def _carried(self, left: tuple[int, ...]) -> dict[str, float]:
        """Part of each scenario that the rest carries; of tables their time is split anew."""
        if not self.question.rates:
            found = dict[str, float]()
            for at, part in enumerate(carried_by_takes(self.question, self.plan, left).values()):
                title = self.question.title(at)
                found[title] = min(part, found.get(title, part))
            return found
        base = problem_of(self.question)
        offers = [stock.name for stock in self.question.offers]
        rows = {(kind.offer, kind.gpus): kind for kind in base.kinds}
        kinds = [rows.get((offers.index(group.offer), group.gpus_each)) for group in self.plan.groups]
        known = [(kind, count) for kind, count in zip(kinds, left, strict=True) if kind is not None]
        parts = parts_carried(base, [kind for kind, _ in known], [count for _, count in known])
        return dict(zip(self.question.names, parts, strict=True))

    def _optimal(self, found: HeldPlan) -> Iterator[Claim]:
        """That no fleet is better, and the bound: against the best fleet that was found here."""
        best = None if self.best is None else self.best.shown(self.best.value)
        bound = None if self.best is None else self.best.shown(self.best.bound)
        most, unit = self.question.objective == "load", UNITS[self.question.objective][0]
        said = self._said("status")
        if said is not None and said.value == "optimal" and found.value is not None:
            yield _bounded(said, found.value, best, bound, most=most)
        said = self._said("bound", unit=unit)
        if said is not None:
            yield _bounded(said, float(said.number), best, bound, most=most)


def _bounded(said: Statement, value: float, best: float | None, bound: float | None, *, most: bool) -> Claim:
    """Judge that no fleet is better than a value."""
    sign = -1 if most else 1
    if best is not None and sign * (value - best) > 1e-9 * abs(value):
        return contradicted(said, "a better fleet was found", best)
    if bound is not None and sign * (value - bound) <= 1e-9 * abs(value):
        return confirmed(said, "no fleet is better than the bound that was found", bound)
    return not_checkable(said, "no bound that was found says so", bound)


def _compared(said: Statement, now: Fraction, formula: str, tolerance: Fraction) -> Claim:
    if not isinstance(said.value, Fraction):
        return not_checkable(said, "is no number")
    return (confirmed if agrees(said, now, tolerance=tolerance) else contradicted)(said, formula, now)


def positions(text: str) -> dict[tuple[str | int, ...], tuple[int, str]]:
    """Return where the values of a YAML or JSON text stand, by their paths: line and text."""
    import yaml

    rows, found = text.splitlines(), dict[tuple[str | int, ...], tuple[int, str]]()
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), yaml.compose(text, Loader=yaml.SafeLoader))]
    while todo:
        path, node = todo.pop()
        if isinstance(node, yaml.MappingNode):
            todo += [((*path, str(key.value)), value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            todo += [((*path, at), value) for at, value in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode):
            line = node.start_mark.line
            found[path] = line + 1, rows[line].strip()
    return found
