r"""Answers that a worker gave before: under moved limits they often are the answer still.

If a question differs from one that was answered in tighter limits alone, every plan of it is a plan of the easier one.
So where the easier one has no plan, it has none; and where the optimal plan of the easier one keeps the tighter limits,
it is optimal, since the objective (GPUs, TTFT, peak memory) does not depend on limits. Otherwise the easier one's bound
is where the search may start. What is easier: `solver.batch.carry`, whose reasoning this is; here the plan is judged
anew instead of by its figures, so that closed loops carry over too.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field, replace

from shardproof.formulations.open_loop import is_open
from shardproof.instances.instance import Instance
from shardproof.instances.plan import plan_from_tree
from shardproof.solver.analysis.sensitivity import plan_holds
from shardproof.solver.batch.answer import Answer, Known
from shardproof.solver.batch.carry import Coordinates, coordinates

MOST_HELD = 64


@dataclass(frozen=True)
class _Given:
    """One answer, and where its question stands."""

    place: Coordinates
    answer: Answer


@dataclass
class Held:
    """The latest proven answers of one worker."""

    _given: deque[_Given] = field(default_factory=lambda: deque(maxlen=MOST_HELD))

    def implied(self, instance: Instance) -> Answer | Known:
        """Return the answer that follows from one that was given, else what is known of it."""
        if not _carries(instance):
            return Known()
        easier = [given.answer for given in self._easier(coordinates(instance))]
        for answer in easier:
            if answer.status == "infeasible" or (answer.status == "optimal" and _holds(instance, answer)):
                return _carried(instance, answer)
        return Known(floor=max((answer.bound for answer in easier if answer.bound is not None), default=None))

    def keep(self, instance: Instance, answer: Answer) -> None:
        """Keep an answer that was solved and proven."""
        if answer.status in ("optimal", "infeasible") and answer.document and _carries(instance):
            self._given.append(_Given(coordinates(instance), answer))

    def _easier(self, place: Coordinates) -> list[_Given]:
        """Return what was given to questions with looser or equal limits, the tightest of them first."""
        found = [
            given
            for given in self._given
            if (given.place.rest, given.place.device) == (place.rest, place.device)
            and all(a >= b for a, b in zip(given.place.limits, place.limits, strict=True))
        ]
        return sorted(found, key=lambda given: given.place.limits)


def _carries(instance: Instance) -> bool:
    """Whether limits alone decide between plans: under one engine, nothing played, no pools."""
    return instance.engine != "any" and instance.serving == "together" and not is_open(instance)


def _holds(instance: Instance, answer: Answer) -> bool:
    tree = json.loads(answer.document or "{}").get("plan")
    return tree is not None and plan_holds(instance, plan_from_tree(tree, where="plan"))


def _carried(instance: Instance, answer: Answer) -> Answer:
    """Return an answer as that of a tighter question; its own certificate was made for the looser one."""
    tree = json.loads(answer.document or "{}")
    tree |= {"instance_fingerprint": instance.fingerprint, "proof": "solver-claimed", "seconds": 0.0}
    if tree.get("plan"):
        tree["plan"]["instance_fingerprint"] = instance.fingerprint
    return replace(answer, document=json.dumps(tree), summary={**answer.summary, "proof": "solver-claimed"})
