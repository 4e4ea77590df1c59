r"""Lower bounds on the load of the most loaded rank, each with an argument that can be checked again.

======  ====================  =======================================================
symbol  code                  meaning
======  ====================  =======================================================
w_e     problem.loads[p][e]   load of an expert, under one profile
R       problem.ranks         ranks
S       problem.filled        replicas in all
s       problem.width         slots of a rank
======  ====================  =======================================================

* average: :math:`T \ge \sum_e w_e / R`.
* replicas: copies smaller than T take :math:`\lfloor w_e / T \rfloor + 1` slots each; if these exceed S,
  then some replica weighs T or more. (Also with a free split: an expert on c ranks loads one by w_e / c.)
* company: when all slots are filled, the rank of the heaviest replica holds s - 1 more, which weigh at
  least the s - 1 lightest replicas that S - E extra copies can make.
* crowd: with no redundant expert, any k experts of which no two fit together bring (s - 1) k others along:
  :math:`k T \ge` the k heaviest and the (s - 1) k lightest.
* prices: see `shardproof.formulations.placement.prices`.

Even split unless said otherwise; every value is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heapify, heapreplace, nlargest
from typing import Literal

from shardproof.formulations.placement.problem import LayerProblem

Argument = Literal["average", "replicas", "company", "crowd", "prices", "nodes", "searched", "cp-sat"]
"""What proves a bound. ``cp-sat`` and ``searched`` (the least over nodes, some of them by CP-SAT) are the
solver's word; a checker confirms all others."""


@dataclass(frozen=True)
class PriceList:
    """Prices of replicas by size: ``prices[k]`` for a load in ``[k, k + 1) * target / cells``."""

    cells: int
    prices: tuple[int, ...]
    slot_price: int


@dataclass(frozen=True)
class LowerBound:
    """No placement of the layer has a smaller largest rank load than ``value``; ``argument`` says why.

    ``profile`` is the row of loads that the argument uses, ``prices`` what it needs beside the problem.
    """

    value: Fraction
    argument: Argument
    profile: int = 0
    prices: PriceList | None = None


def simple_bound(problem: LayerProblem) -> LowerBound:
    """Return the best of the bounds that need no search."""
    bounds = []
    for profile, loads in enumerate(problem.loads):
        bounds.append(LowerBound(Fraction(sum(loads), problem.ranks), "average", profile))
        bounds.append(LowerBound(replica_bound(problem, loads), "replicas", profile))
        if problem.split == "even" and problem.filled == problem.ranks * problem.width:
            bounds.append(LowerBound(company_bound(problem, loads), "company", profile))
            if problem.filled == problem.experts:
                bounds.append(LowerBound(crowd_bound(problem, loads), "crowd", profile))
    return max(bounds, key=lambda bound: bound.value)


def replica_bound(problem: LayerProblem, loads: Sequence[int]) -> Fraction:
    """Return the least possible weight of the heaviest replica: extra copies go where they weigh most."""
    extra = problem.filled - problem.experts
    heaviest = nlargest(extra + 1, loads)  # no more of them get a copy, and one is left that is as heavy as any other
    heap = [(-Fraction(load), load, 1) for load in heaviest]
    heapify(heap)
    for _ in range(extra):
        _, load, copies = heap[0]
        if problem.distinct and copies == problem.ranks:
            break
        heapreplace(heap, (-Fraction(load, copies + 1), load, copies + 1))
    return -heap[0][0]


def company_bound(problem: LayerProblem, loads: Sequence[int]) -> Fraction:
    """Return the weight of the heaviest replica with the lightest company that a full rank can give it."""
    return replica_bound(problem, loads) + lightest_company(
        loads, count=problem.width - 1, extra=problem.filled - problem.experts
    )


def lightest_company(loads: Sequence[int], *, count: int, extra: int) -> Fraction:
    """Return a bound below the weight of ``count`` replicas when ``extra`` copies can be made.

    With j copies added to an expert, its replicas weigh w / (j + 1) and there are j + 1 of them. Each
    expert is allowed all extra copies at once, which can only lighten the company.
    """
    copies, total = 1 + extra, 0
    for load in sorted(loads):
        taken = min(copies, count)
        total, count = total + taken * load, count - taken
    return Fraction(total, copies)


def crowd_bound(problem: LayerProblem, loads: Sequence[int]) -> Fraction:
    """Return the best bound from k heaviest experts that cannot share ranks (no redundant experts).

    If the k-th and (k - 1)-th heaviest share a rank, that rank alone weighs their sum and its company;
    otherwise k ranks hold the k heaviest and at least the (s - 1) k lightest others.
    """
    weights = sorted(loads, reverse=True)
    spare, best = problem.width - 1, Fraction(0)
    shared = sum(weights[-spare + 1 :]) if spare > 1 else 0
    for k in range(1, min(problem.ranks, problem.experts) + 1):
        apart = Fraction(sum(weights[:k]) + (sum(weights[-spare * k :]) if spare else 0), k)
        together = weights[k - 1] + weights[k - 2] + shared if k > 1 and spare else None
        best = max(best, apart if together is None else min(apart, Fraction(together)))
    return best
