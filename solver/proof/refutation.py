r"""Why no plan exists: the tree that the prover grows, the certificate carries and the checker walks.

A `Refutation` says: no chain satisfies the program with at most ``gpus`` GPUs in total, its TTFT rows lowered to
``ttft`` and its memory rows to ``memory`` (``None``: as they are). It holds one tree per layout. Every number is
judged on the *floor* tables, so that what is refuted is impossible in exact arithmetic.

On the way down a tree a context narrows:

* the budget of one replica, :math:`b = gpus / replicas` rounded down, and no more than the layout's own;
* the choice picked on some axes. Rows and options of an axis not yet picked bind nothing (a relaxation);
* per path row in force an interval :math:`lo < \max_s c_s \le hi` of its slowest stage. It starts at
  :math:`(-1, limit / microbatches]` (the slowest stage is passed ``microbatches`` times), or unbounded above
  where the row has no limit.

Options of more than ``b`` GPUs are out. A leaf claims a contradiction in its context; docs/certificate.md
states each leaf's rule and why it is sound.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardproof.formulations.deployment.tables import Layout


@dataclass(frozen=True)
class SplitAxis:
    """One child per choice of ``axis`` (an index into the layout's axes), in order, none left out."""

    axis: int
    children: tuple[Node, ...]


@dataclass(frozen=True)
class SplitMax:
    """The slowest stage of a path costs at most ``at`` (``low``) or at least ``at + 1`` (``high``)."""

    path: str
    at: int
    low: Node
    high: Node


@dataclass(frozen=True)
class Empty:
    """No option is left in the budget, or some interval of a slowest stage is empty."""


@dataclass(frozen=True)
class Volume:
    """All work of ``row`` (a cap or a path), in unit-GPUs, is more than ``b`` GPUs do at the stage limit.

    The stage limit is a cap's ``limit`` and a path's ``hi``. Refuted when
    ``sum over layers of min_o gpus_o * layer_o + min_o gpus_o * first_o + min_o gpus_o * last_o
    + min_o gpus_o * base_o > b * stage limit``, each minimum over the options left.
    """

    row: str


@dataclass(frozen=True)
class Sum:
    """The cheapest conceivable chain of path ``row`` is over its limit.

    ``sum over layers of min_o layer_o + min_o first_o + min_o last_o + min_o base_o
    + (microbatches - 1) * (lo + 1) > limit``, each minimum over the options left.
    """

    row: str


@dataclass(frozen=True)
class Reach:
    """``layers[g]``: no chain of stages of ``g`` GPUs in total covers more layers (0: no such chain matters).

    Every stage obeys all caps and the ``hi`` of all paths. ``layers`` has ``b + 1`` entries, ``layers[0] == 0``,
    none reaches the last layer, and each extension from ``layers[g]`` (and from 0 at ``g = 0``) by an option
    of ``k`` GPUs stays within ``layers[g + k]``.
    """

    layers: tuple[int, ...]


@dataclass(frozen=True)
class Frontier:
    """The same with time: labels ``(layer, value per row of weights)`` that dominate every viable chain.

    ``weights`` holds one or more surrogate rows, each a sum of path rows with weights >= 1. A label is
    ``(layer, v_1, ..., v_n)``, n the number of surrogate rows; ``labels`` has ``b + 1`` entries and
    ``labels[0] == ((0, 0, ..., 0),)``; labels of ``g >= 1`` have ``1 <= layer < L``. A label of ``g`` GPUs
    dominates whatever has at least ``g`` GPUs, at most ``layer`` layers, and at least ``v_k`` in every row.
    Every extension of a label by an option of ``k`` GPUs, ``g + k <= b``, to any layer is over a stage limit
    (caps, ``hi``), or hopeless, or dominated by a label of at most ``g + k``. Hopeless: in some surrogate row its value
    plus the rest (``min_o`` of each layer to come, and ``min_o last_o``, ``min_o (base_o + entry_o)`` unless
    at the last layer) exceeds ``sum_p weight_p * (limit_p - (microbatches_p - 1) * (lo_p + 1))``.
    """

    weights: tuple[tuple[tuple[str, int], ...], ...]
    labels: tuple[tuple[tuple[int, ...], ...], ...]


Node = SplitAxis | SplitMax | Empty | Volume | Sum | Reach | Frontier


@dataclass(frozen=True)
class Refutation:
    """No chain within ``gpus`` GPUs, ``ttft`` ns and ``memory`` bytes: one tree per layout, in order."""

    gpus: int
    trees: tuple[Node, ...]
    ttft: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class CapacityClaim:
    """No replica of at most ``gpus`` GPUs carries ``load``: one tree per layout of such a replica, in order.

    ``trees`` is ``None`` where a solver says so and no tree does.
    """

    gpus: int
    load: tuple[int, ...]
    layouts: tuple[Layout, ...]
    trees: tuple[Node, ...] | None
