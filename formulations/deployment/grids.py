"""Times of stages for every usual share of a scenario's requests at once, under all options.

Microbatches of one length of prompt, or of one chunk, differ in their requests alone. What a layer does depends on the
requests of one attention replica, which are a usual share themselves: so parts of layers are timed for all shares, and
the cells of all microbatches are picked from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import LinkName
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.layer_times import LayerTimes
from shardproof.formulations.deployment.lazy import Ints, Rows
from shardproof.formulations.scaling import within_reason
from shardproof.instances.option import Option

WORD = 1 << 61
"""Picoseconds from which on sums of two may leave 64 bits; Python's integers stand in for them."""

Kind = tuple[str, str]
"""A kind of layer, and its name in the model."""


class Grid:
    """Times of one step in all its sizes; `layers` and `ends` have options, sizes, and kinds or ends of a stage."""

    def __init__(self, times: LayerTimes, kinds: Sequence[Kind], options: Sequence[Option], step: Step) -> None:
        """Take kinds of layers and options; of the step all but its requests counts."""
        self._times, self._kinds, self._options, self._step = times, kinds, options, step
        self._sizes = times.sizes
        self.place = {size: place for place, size in enumerate(self._sizes)}
        self.layers = Rows(len(options), self._layers)
        self._ends: dict[LinkName, Rows] = {}
        self._picked: dict[int, Ints] = {}
        self._parts: dict[tuple[object, ...], Ints] = {}

    def ends(self, link: LinkName) -> Rows:
        """Hand-over over a link, embedding and head of all sizes, ns."""
        if link not in self._ends:
            self._ends[link] = Rows(len(self._options), lambda start, stop: self._ends_of(link, start, stop))
        return self._ends[link]

    def _layers(self, start: int, stop: int) -> Ints:
        options = self._options[start:stop]
        columns = {kind: self._layer(kind, options) for kind in dict.fromkeys(self._kinds)}
        return np.stack([columns[kind] for kind in self._kinds], axis=2)

    def _layer(self, kind: Kind, options: Sequence[Option]) -> Ints:
        """Times of one layer, ns, rounded up: a row for each option, a column for each size."""
        rows = []
        for option in options:
            shares = self._shares(option)
            row = self._own(kind[1], option)[shares]
            experts = self._experts(kind, option)
            rows.append(row if experts is None else row + experts[shares])
        found = -(-np.array(rows) // 1000)
        within_reason(int(found.max(initial=0)))
        return found.astype(np.int64)

    def _shares(self, option: Option) -> Ints:
        """Places of what each attention replica has of every size."""
        replicas = option.attn_dp
        if replicas not in self._picked:
            self._picked[replicas] = np.array([self.place[divide_up(size, replicas)] for size in self._sizes])
        return self._picked[replicas]

    def _own(self, base: str, option: Option) -> Ints:
        key = "own", base, option.attn_tp
        if key not in self._parts:
            self._parts[key] = _picoseconds(self._times.own_times(base, option, self._step))
        return self._parts[key]

    def _experts(self, kind: Kind, option: Option) -> Ints | None:
        if not self._times.is_routed(kind[1]):
            return None
        key = "experts", kind, option.moe_tp, option.moe_ep, option.extra_slots, option.attn_dp
        if key not in self._parts:
            self._parts[key] = _picoseconds(self._times.expert_times(*kind, option, self._step))
        return self._parts[key]

    def _ends_of(self, link: LinkName, start: int, stop: int) -> Ints:
        rows = []
        for option in self._options[start:stop]:
            key = "ends", link, option.attn_tp
            if key not in self._parts:
                step, alone = replace(self._step, requests=self._sizes[0]), replace(option, attn_dp=1)
                found = self._times.ends(alone, step, link)
                self._parts[key] = np.array([found[size] for size in self._sizes], dtype=np.int64)
            rows.append(self._parts[key][self._shares(option)])
        return np.array(rows)


def _picoseconds(times: Sequence[int]) -> Ints:
    return cast(Ints, np.array(times, dtype=np.int64 if max(times) < WORD else object))
