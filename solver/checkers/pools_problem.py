"""The problem of a certificate of pools: costs, nodes, and rows that every fleet keeps (docs/pools.md).

Standard library only; ``pools.py`` beside this file is what a sceptic runs.
"""

from __future__ import annotations

import importlib.util
from math import comb, prod
from pathlib import Path
from typing import Any


def _beside() -> Any:
    """Load the checker of requests that come by themselves, the file beside this one."""
    spec = importlib.util.spec_from_file_location("open_loop_beside", Path(__file__).with_name("open_loop.py"))
    module: Any = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


arriving = _beside()
single = arriving.single
need = single.need
SUPPLY = {"name": str, "node": int, "nodes": ("?", [(int, int)]), "cost": int, "by_node": int}
KIND = {"offer": int, "pool": int, "gpus": int, "loads": [[int]]}
WALL = {"gpus": int, "share": int, "trees": [[[object]]]}
POOL = {"name": str, "offer": int, "scenarios": [int], "serves": [int], "program": ("?", single.PROGRAM)}
POOL |= {"also": [[int]], "walls": [WALL], "rates": ("?", arriving.FACTS)}
GROUP = {"kind": KIND, "replicas": int, "chain": ("?", single.GROUP)}
PLAN = {"groups": [GROUP], "nodes": [(int, int, [int], int)], "shares": [(int, [[int]])]}
ROW = (str, [int], str, int, [(int, int)])  # what, weights, what is lost, offer or limit, how many of which kinds
CLAIM = {"value": ("?", int), "bound": ("?", int), "by": str, "rows": [ROW], "tree": [[object]]}
SHAPE = {"format": str, "instance": str, "sense": str, "asked": [int], "resolution": int, "supplies": [SUPPLY]}
SHAPE |= {"limits": [{"name": str, "rates": [int], "top": int}], "placement": str, "spare": ("?", str), "pools": [POOL]}
SHAPE |= {"gone": int, "kinds": [KIND], "plan": ("?", PLAN), "claim": CLAIM}
Row = tuple[dict[int, int], int]  # terms by variable, and what their sum is at least


def dot(one: Any, two: Any) -> int:
    """Sum of products."""
    return sum(a * b for a, b in zip(one, two, strict=True))


class Problem:
    """The integer problem of the file."""

    def __init__(self, document: dict[str, Any]):
        self.pools, self.supplies, self.limits = document["pools"], document["supplies"], document["limits"]
        self.whole, self.spare, self.gone = document["placement"] == "whole-nodes", document["spare"], document["gone"]
        self.asked, self.most, self.resolution = document["asked"], document["sense"] == "most", document["resolution"]
        sound = document["placement"] in ("packed", "whole-nodes") and self.spare in (None, "replica", "node")
        sound &= self.gone > 0 and document["sense"] in ("least", "most") and self.resolution > 0 and all(self.asked)
        sound &= all(s["node"] > 0 and s["by_node"] < 2 for s in self.supplies) and len(self.asked) > 0
        sizes = ((gpus, s["node"], s["by_node"]) for s in self.supplies for gpus, _ in s["nodes"] or ())
        sound &= all(gpus <= node and (gpus == node or not by_node) for gpus, node, by_node in sizes)
        sound &= all(len(limit["rates"]) == len(self.supplies) for limit in self.limits)
        sound &= all(len(p["scenarios"]) == len(p["serves"]) and p["offer"] < len(self.supplies) for p in self.pools)
        self.counts = [[(at, *more) for at, more in zip(p["scenarios"], p["also"], strict=True)] for p in self.pools]
        every = [[place for places in counts for place in places] for counts in self.counts]
        sound &= all(len(set(one)) == len(one) > 0 and max(one) < len(self.asked) for one in every)
        same = (self.asked[at] == self.asked[places[0]] for counts in self.counts for places in counts for at in places)
        sound &= all(same)
        need(sound, "malformed: a supply, a limit or a pool is none")
        self.programs = [p["program"] and single.Problem(p["program"]) for p in self.pools]

    def demand(self, multiple: int) -> list[int]:
        """What is to be carried: as asked, or a multiple of it."""
        return [-(-asked * multiple // self.resolution) for asked in self.asked] if self.most else self.asked

    def sort(self, kind: dict[str, Any]) -> bool:
        """Whether a kind is one: offer and pool agree, loads are of what the pool serves, alike where it counts."""
        pool, counts = self.pools[kind["pool"]], self.counts[kind["pool"]]
        served = {at for places, serves in zip(counts, pool["serves"], strict=True) if serves for at in places}
        whole = kind["offer"] == pool["offer"] and all(len(v) == len(self.asked) for v in kind["loads"])
        if pool["program"] is not None:
            whole &= all(v[at] == v[places[0]] for v in kind["loads"] for places in counts for at in places)
        loads = (s in served or not load for v in kind["loads"] for s, load in enumerate(v))
        return whole and kind["gpus"] > 0 and all(loads)

    def paid(self, kinds: list[Any], rates: list[int]) -> dict[int, int]:
        """Terms of a sum over the GPUs that are paid."""
        by_node = [supply["by_node"] for supply in self.supplies]
        terms = {k: rates[x["offer"]] * x["gpus"] for k, x in enumerate(kinds) if not by_node[x["offer"]]}
        return terms | {len(kinds) + o: rates[o] * s["node"] for o, s in enumerate(self.supplies) if by_node[o]}

    def costs(self, kinds: list[Any]) -> dict[int, int]:
        """Terms of the objective."""
        return self.paid(kinds, [supply["cost"] for supply in self.supplies])

    def touched(self, kind: dict[str, Any]) -> int:
        """Nodes that a replica touches."""
        return int(-(-kind["gpus"] // self.supplies[kind["offer"]]["node"]))

    def held(self, weights: list[int], gpus: int) -> int:
        """Most that replicas in one node weigh."""
        best = [0] * (gpus + 1)
        for room in range(1, gpus + 1):
            for width in range(1, min(room, len(weights) - 1) + 1):
                best[room] = max(best[room], best[room - 1], weights[width] + (0 if self.whole else best[room - width]))
        return best[gpus]

    def row(self, spec: list[Any], kinds: list[Any], demand: list[int], box: list[Any]) -> Row:
        """Write a row that every fleet in the box keeps (one about a lost replica: where there is one)."""
        (what, weights, lost, at, gone), count = spec, len(kinds)
        if what == "limit":
            return {x: -rate for x, rate in self.paid(kinds, self.limits[at]["rates"]).items()}, -self.limits[at]["top"]
        if what == "cover":
            need(lost in ("", self.spare) or (lost == "replica" and self.spare is not None), "nothing is lost here")
            worth = [max((dot(weights, load) for load in kind["loads"]), default=0) for kind in kinds]
            nodes = zip(self.supplies, self.rooms(kinds), strict=True)
            rooms = [box[count + o][1] if supply["by_node"] else there for o, (supply, there) in enumerate(nodes)]
            need(lost != "node" or all(rooms[o] is not None for o, _ in gone), "there is no number of nodes")
            less, stays = {o: min(n, rooms[o]) for o, n in gone if lost == "node"}, [1] * count
            for k, kind in enumerate(kinds):
                parts = (comb(max(0, rooms[o] - self.touched(kind) * (kind["offer"] == o)), n) for o, n in less.items())
                stays[k] = prod(parts)
            least = prod(comb(rooms[o], n) for o, n in less.items()) * dot(weights, demand)
            least += sum(worth[k] * n for k, n in gone if lost == "replica")
            return {k: some * value for k, (value, some) in enumerate(zip(worth, stays, strict=True))}, least
        supply = self.supplies[at]
        node, whole = supply["node"], self.held(weights, supply["node"])
        need(what == "pack" and len(weights) == node + 1, "malformed: a row")
        own = {k: kind for k, kind in enumerate(kinds) if kind["offer"] == at}
        terms = {k: -(weights[x["gpus"]] if x["gpus"] <= node else whole * self.touched(x)) for k, x in own.items()}
        if supply["by_node"]:
            return terms | {count + at: whole}, 0
        need(supply["nodes"] is not None, "there is no number of nodes")
        return terms, -sum(number * self.held(weights, gpus) for gpus, number in supply["nodes"])

    def rooms(self, kinds: list[Any]) -> list[Any]:
        """Most nodes of every offer that there are or can be paid."""
        limits = [(limit["top"], self.paid(kinds, limit["rates"])) for limit in self.limits]
        stocks = [[] if s["nodes"] is None else [sum(number for _, number in s["nodes"])] for s in self.supplies]
        for o, tops in enumerate(stocks, start=len(kinds)):
            tops += [top // rates[o] for top, rates in limits if rates.get(o)]
        return [min(tops, default=None) for tops in stocks]

    def tops(self, kinds: list[Any]) -> list[int]:
        """Largest value of every variable, by limits and supplies alone."""
        nodes, limits = self.rooms(kinds), [(x["top"], self.paid(kinds, x["rates"])) for x in self.limits]
        found = []
        for k, kind in enumerate(kinds):
            node, room = self.supplies[kind["offer"]]["node"], nodes[kind["offer"]]
            tops = [top // rates[k] for top, rates in limits if rates.get(k)]
            if room is not None:
                tops.append(room // self.touched(kind) if kind["gpus"] > node else room * (node // kind["gpus"]))
            need(bool(tops), "nothing bounds the replicas of a kind")
            found.append(min(tops))
        return found + [(room or 0) * supply["by_node"] for room, supply in zip(nodes, self.supplies, strict=True)]
