"""Memory rows under a named engine: its own account as integer cells, one row for each group of caches.

A stage keeps the blocks of its widest group (`engine_cache`): one row for each group says so exactly, because every
layer adds its blocks to the row of its own group only. Pools without groups give one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from shardproof.formulations.costs.engine_memory import EngineAccount, Launch
from shardproof.formulations.deployment.balance import base_kind, group_of
from shardproof.formulations.deployment.lazy import Ints, Lazy, Rows, column
from shardproof.formulations.deployment.remembered import Tables
from shardproof.formulations.deployment.tables import Cap, Table
from shardproof.formulations.engines.told import budget_of, demands_of, launch_of, running, start_up_bytes
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option


@dataclass(frozen=True)
class EngineRows:
    """Builder of the rows of one layout; ``load``: requests of each scenario that one replica takes.

    ``alone``: options that the engine runs in replicas of one stage only. ``tables``: those of the same account,
    workloads and options, to read from and to add to.
    """

    instance: Instance
    account: EngineAccount
    options: Sequence[Option]
    kind_names: tuple[str, ...]
    load: tuple[int, ...]
    single_stage: bool
    alone: frozenset[Option]
    tables: Tables

    @property
    def groups(self) -> tuple[int | None, ...]:
        """Groups that have a row each (``None``: one row for all layers)."""
        return tuple(range(len(self.account.pool.groups))) if self.account.pool.is_hybrid else (None,)

    def caps(self, batched: Callable[[Option], int], name: str) -> tuple[Cap, ...]:
        """Rows of the iterations of ``batched`` tokens of one attention replica, by option."""
        asked, groups = tuple(map(batched, self.options)), self.groups
        keys = [(self.load, self.single_stage, self.alone, asked, group) for group in groups]
        if keys[0] not in self.tables:
            self.tables.update(zip(keys, self._tables_of(asked), strict=True))
        places = ("" if group is None else f", cache group {group}" for group in groups)
        limit = budget_of(self.account)
        return tuple(
            Cap(f"memory[{name}{place}]", self.tables[key], limit, memory=True)
            for key, place in zip(keys, places, strict=True)
        )

    def running(self) -> tuple[Cap, ...]:
        """Row of the requests that one attention replica may run, where the engine is told a limit."""
        told = self.instance.engine_settings.max_num_seqs
        if told is None:
            return ()
        none: Sequence[int] = (0,) * len(self.options)
        base = tuple(running(option, self.load) for option in self.options)
        layers = ((0,) * len(self.kind_names),) * len(self.options)
        return (Cap("running[max_num_seqs]", Table(base, none, none, none, layers), told),)

    def _tables_of(self, batched: tuple[int, ...]) -> list[Table]:
        """Return the table of each group; they differ in the layers that add to them."""
        count, account, limit = len(self.options), self.account, budget_of(self.account)

        told_so_far = dict[tuple[int, int], Launch]()

        def launch(place: int) -> Launch:
            option = self.options[place]
            key = option.attn_dp, batched[place]
            if key not in told_so_far:
                told_so_far[key] = launch_of(self.instance, option, load=self.load, batched=(batched[place],))
            return told_so_far[key]

        launches = Lazy(count, launch)

        def base(place: int) -> int:
            option, told = self.options[place], launches[place]
            kept = account.fixed(option) + start_up_bytes(account, option, told)
            return kept + account.activations(option, told, last=False)

        def last(place: int) -> int:
            option, told = self.options[place], launches[place]
            more = account.activations(option, told, last=True) - account.activations(option, told, last=False)
            more += account.draft_weights(option)
            return more + (0 if self.single_stage else account.head(option))

        ends = Table(
            base=column(count, base),
            entry=column(count, lambda place: limit + 1 if self._stands_alone(place) else 0),
            first=column(count, lambda place: account.embedding(self.options[place])),
            last=column(count, last),
            layer=(),
        )
        rows = zip(self.groups, self._layers(launches), strict=True)
        return [replace(ends, layer=cells, last=self._last(ends, launches, group)) for group, cells in rows]

    def _stands_alone(self, place: int) -> bool:
        """Whether a stage under an option is a replica of its own."""
        return self.single_stage or self.options[place] in self.alone

    def _last(self, ends: Table, launches: Sequence[Launch], group: int | None) -> Sequence[int]:
        """What the last stage keeps in the row of a group: of what guesses tokens ahead, the cache in it besides."""
        if self.account.draft is None:
            return ends.last

        def cell(place: int) -> int:
            demands = demands_of(self.instance, self.options[place], launches[place], load=self.load)
            return ends.last[place] + self.account.draft_cache(self.options[place], demands, group)

        return column(len(ends.last), cell)

    def _layers(self, launches: Sequence[Launch]) -> list[Rows]:
        """Return what layers add to the row of each group, by option and kind of layer."""
        account, count = self.account, len(self.options)
        names, known = tuple(map(base_kind, self.kind_names)), dict[tuple[int, int, Launch], list[int]]()

        def caches(place: int) -> list[int]:
            option, told = self.options[place], launches[place]
            key = option.attn_tp, option.attn_dp, told
            if key not in known:
                demands = demands_of(self.instance, option, told, load=self.load)
                if account.pool.is_hybrid:
                    known[key] = [account.group_bytes(option, demands)] * len(names)
                else:
                    found = {name: account.layer_cache(name, option, demands) for name in dict.fromkeys(names)}
                    known[key] = [found[name] for name in names]
            return known[key]

        graphs = column(count, lambda place: account.layer_graphs(launches[place]))
        cached = Rows(count, lambda start, stop: np.array([caches(place) for place in range(start, stop)], np.int64))

        def row(start: int, stop: int, group: int | None) -> Ints:
            own = self._weights.upto(stop)[start:stop] + graphs.upto(stop)[start:stop, None]
            adds = np.array([group in (None, group_of(name)) for name in self.kind_names])
            return np.asarray(own + np.where(adds, cached.upto(stop)[start:stop], 0))

        return [Rows(count, partial(row, group=group)) for group in self.groups]

    @property
    def _weights(self) -> Rows:
        """Weights of layers, by option and kind: the same in every row of an account."""
        if "weights" not in self.tables:
            none = (0,) * len(self.options)
            self.tables["weights"] = Table(none, none, none, none, layer=Rows(len(self.options), self._weighed))
        found = self.tables["weights"].layer
        assert isinstance(found, Rows)
        return found

    def _weighed(self, start: int, stop: int) -> Ints:
        names = tuple(map(base_kind, self.kind_names))
        found = [[self.account.layer_weights(name, option) for name in names] for option in self.options[start:stop]]
        return np.array(found, dtype=np.int64)
