"""Memory rows under a named engine: its own account as integer cells, one row for each group of caches.

A stage keeps the blocks of its widest group (`engine_cache`): one row for each group says so exactly, because every
layer adds its blocks to the row of its own group only. Pools without groups give one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shardproof.formulations.costs.engine_memory import EngineAccount, Launch
from shardproof.formulations.deployment.balance import base_kind, group_of
from shardproof.formulations.deployment.lazy import Lazy
from shardproof.formulations.deployment.tables import Cap, Table
from shardproof.formulations.engines.told import budget_of, demands_of, launch_of, running, start_up_bytes
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option


@dataclass(frozen=True)
class EngineRows:
    """Builder of the rows of one layout; ``load``: requests of each scenario that one replica takes.

    ``alone``: options that the engine runs in replicas of one stage only.
    """

    instance: Instance
    account: EngineAccount
    options: Sequence[Option]
    kind_names: tuple[str, ...]
    load: tuple[int, ...]
    single_stage: bool
    alone: frozenset[Option] = frozenset()

    @property
    def groups(self) -> tuple[int | None, ...]:
        """Groups that have a row each (``None``: one row for all layers)."""
        return tuple(range(len(self.account.pool.groups))) if self.account.pool.is_hybrid else (None,)

    def caps(self, batched: Callable[[Option], int], name: str) -> tuple[Cap, ...]:
        """Rows of the iterations of ``batched`` tokens of one attention replica, by option."""
        return tuple(self._cap(batched, name, group) for group in self.groups)

    def running(self) -> tuple[Cap, ...]:
        """Row of the requests that one attention replica may run, where the engine is told a limit."""
        told = self.instance.engine_settings.max_num_seqs
        if told is None:
            return ()
        none: Sequence[int] = (0,) * len(self.options)
        base = tuple(running(option, self.load) for option in self.options)
        layers = ((0,) * len(self.kind_names),) * len(self.options)
        return (Cap("running[max_num_seqs]", Table(base, none, none, none, layers), told),)

    def _cap(self, batched: Callable[[Option], int], name: str, group: int | None) -> Cap:
        count, account, limit = len(self.options), self.account, budget_of(self.account)

        def launch(place: int) -> Launch:
            option = self.options[place]
            return launch_of(self.instance, option, load=self.load, batched=(batched(option),))

        def base(place: int) -> int:
            option, told = self.options[place], launch(place)
            kept = account.fixed(option) + start_up_bytes(account, option, told)
            return kept + account.activations(option, told, last=False)

        def last(place: int) -> int:
            option, told = self.options[place], launch(place)
            more = account.activations(option, told, last=True) - account.activations(option, told, last=False)
            return more + (0 if self.single_stage else account.head(option))

        table = Table(
            base=Lazy(count, base),
            entry=tuple(limit + 1 if self.single_stage or option in self.alone else 0 for option in self.options),
            first=Lazy(count, lambda place: account.embedding(self.options[place])),
            last=Lazy(count, last),
            layer=Lazy(count, lambda place: self._layers(self.options[place], launch(place), group)),
        )
        place = "" if group is None else f", cache group {group}"
        return Cap(f"memory[{name}{place}]", table, limit, memory=True)

    def _layers(self, option: Option, told: Launch, group: int | None) -> tuple[int, ...]:
        account = self.account
        demands = demands_of(self.instance, option, told, load=self.load)
        blocks = 0 if group is None else account.group_bytes(option, demands)
        graphs = account.layer_graphs(told)

        def cell(name: str) -> int:
            kind = base_kind(name)
            kept = account.layer_weights(kind, option) + graphs
            if group is None:
                return kept + account.layer_cache(kind, option, demands)
            return kept + (blocks if group_of(name) == group else 0)

        return tuple(map(cell, self.kind_names))
