"""Check a certificate of pools: ``python pools.py cert.json`` (standard library and certificate.py; docs/pools.md)."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from itertools import combinations_with_replacement
from math import comb, gcd, prod
from pathlib import Path
from typing import Any


def _beside() -> Any:
    """Load the checker of single certificates, the file beside this one."""
    spec = importlib.util.spec_from_file_location("certificate_beside", Path(__file__).with_name("certificate.py"))
    module: Any = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


single = _beside()
VERSION, FORMAT, MAX_BYTES = "2", "shardproof pools 2", 256 * 2**20
need, shaped, CheckError = single.need, single.shaped, single.CheckError
SUPPLY = {"name": str, "node": int, "nodes": ("?", [(int, int)]), "cost": int, "by_node": int}
KIND = {"offer": int, "pool": int, "gpus": int, "loads": [[int]]}
WALL = {"gpus": int, "share": int, "trees": [[[object]]]}
POOL = {"name": str, "offer": int, "scenarios": [int], "serves": [int], "program": ("?", single.PROGRAM)}
POOL |= {"also": [[int]], "walls": [WALL]}
GROUP = {"kind": KIND, "replicas": int, "chain": ("?", single.GROUP)}
PLAN = {"groups": [GROUP], "nodes": [(int, int, [int], int)], "shares": [(int, [[int]])]}
ROW = (
    str,
    [int],
    str,
    int,
    [(int, int)],
)  # what, weights, what is lost, offer or limit, how many of which kinds
CLAIM = {"value": ("?", int), "bound": ("?", int), "by": str, "rows": [ROW], "tree": [[object]]}
SHAPE = {"format": str, "instance": str, "sense": str, "asked": [int], "resolution": int, "supplies": [SUPPLY]}
SHAPE |= {"limits": [{"name": str, "rates": [int], "top": int}], "placement": str, "spare": ("?", str), "pools": [POOL]}
SHAPE |= {"gone": int, "kinds": [KIND], "plan": ("?", PLAN), "claim": CLAIM}
NODES = {"split": (str, int, int), "leaf": (str, int, [(int, int)])}
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

    def complete(self, kinds: list[Any], demand: list[int]) -> None:
        """Refuse unless every replica that the walls leave is one of the kinds, or does no better than one."""
        need(all(map(self.sort, kinds)), "malformed: a kind is none")
        for at, (pool, program) in enumerate(zip(self.pools, self.programs, strict=True)):
            own = [kind for kind in kinds if kind["pool"] == at]
            if program is None:
                continue
            tops = (row["limit"] and row["limit"] // max(1, row["microbatches"]) for row in program.rows)
            rows = [row | {"lo": -1, "top": top} for row, top in zip(program.rows, tops, strict=True)]
            walls = []
            for wall in pool["walls"]:
                share = program.shares[wall["share"]]
                need(any(x["max_gpus"] >= wall["gpus"] for x in share["layouts"]), "missing case: a width")
                for layout, tree in zip(share["layouts"], wall["trees"], strict=True):
                    program.refute(layout, tree, min(wall["gpus"], layout["max_gpus"]), rows)
                walls.append((wall["gpus"], share["load"]))
            full = tuple(demand[s] * (serves > 0) for s, serves in zip(pool["scenarios"], pool["serves"], strict=True))
            for width in sorted({1, *(wide + 1 for wide, _ in walls)}):
                most = {full}
                for load in (load for wide, load in walls if wide >= width):
                    over = {v for v in most if all(a >= b for a, b in zip(v, load, strict=True))}
                    most = most - over | {(*v[:s], w - 1, *v[s + 1 :]) for v in over for s, w in enumerate(load) if w}
                for top in (v for v in most if any(v) and width <= program.most):
                    known = ([kind["loads"][0][s] for s in pool["scenarios"]] for kind in own if kind["gpus"] <= width)
                    need(any(all(a <= b for a, b in zip(top, v, strict=True)) for v in known), "missing case: a kind")

    def prove(self, claim: dict[str, Any], kinds: list[Any], demand: list[int], top: int | None) -> None:
        """Walk the tree: each leaf's rows, times its factors, add up to what nothing in its case keeps."""
        self.complete(kinds, demand)
        objective = ({x: -cost for x, cost in self.costs(kinds).items()}, -(top or 0))
        stack, rows = [[(0, most) for most in self.tops(kinds)]], dict[Any, Row]()
        for node in claim["tree"]:
            need(bool(stack) and shaped(node, NODES[node[0]], "node"), "malformed: a tree has nodes to spare")
            box = stack.pop()
            if node[0] == "split":
                (low, high), x, at = box[node[1]], node[1], node[2]
                need(low <= at < high, "malformed: a split of nothing")
                stack += [[*box[:x], (at + 1, high), *box[x + 1 :]], [*box[:x], (low, at), *box[x + 1 :]]]
                continue
            need(top is not None or node[1] == 0, "no cost is claimed")
            terms, least = {x: node[1] * cost for x, cost in objective[0].items()}, node[1] * objective[1]
            for place, factor in node[2]:
                _, _, lost, _, gone = claim["rows"][place]
                there = len(dict(gone)) == len(gone) and sum(n for _, n in gone) <= bool(lost) * self.gone
                there &= lost == "node" or all(box[k][0] >= n for k, n in gone)
                need(there, "nobody is there to be lost")
                key = place, lost == "node" and tuple(high for _, high in box[len(kinds) :])
                rows[key] = rows.get(key) or self.row(claim["rows"][place], kinds, demand, box)
                least += factor * rows[key][1]
                for x, term in rows[key][0].items():
                    terms[x] = terms.get(x, 0) + factor * term
            need(sum(term * box[x][term > 0] for x, term in terms.items()) < least, "a case of the tree is not refuted")
        need(not stack, "missing case: the tree ends too early")

    def measure(self, plan: dict[str, Any], tables: list[Any], demand: list[int]) -> int:
        """Cost of the plan; refused when it breaks a limit, does not fit, or does not carry the demand."""
        kinds, counts = [group["kind"] for group in plan["groups"]], [group["replicas"] for group in plan["groups"]]
        need(all(map(self.sort, kinds)) and all(counts) and bool(counts), "malformed: a group is none")
        for kind, group in zip(kinds, plan["groups"], strict=True):
            program = self.programs[kind["pool"]]
            if program is None:
                need(kind in tables and group["chain"] is None, "a group is no row of the table")
                continue
            chain = group["chain"] | {"replicas": 1}
            program.demand = (0,) * len(program.demand)
            need(program.measure([chain])[0] == kind["gpus"], "a group is not as wide as its chain")
            found = zip(self.counts[kind["pool"]], program.shares[chain["share"]]["load"], strict=True)
            carried = {at: load for places, load in found for at in places}
            loads = [[carried.get(s, 0) for s in range(len(demand))]]
            need(kind["loads"] == loads, "a group does not carry what its chain does")
        values = counts + self.seated(plan["nodes"], kinds, counts)
        for limit in self.limits:
            rates = self.paid(kinds, limit["rates"])
            need(sum(rate * values[x] for x, rate in rates.items()) <= limit["top"], f"the plan breaks {limit['name']}")
        for case, (unit, shares) in zip(self.left(counts, plan["nodes"]), plan["shares"], strict=True):
            parts = zip(shares, kinds, case, strict=True)
            need(unit > 0 and all(sum(part) <= unit * n for part, _, n in parts), "a share is more than a replica has")
            pairs = [pair for part, x in zip(shares, kinds, strict=True) for pair in zip(part, x["loads"], strict=True)]
            sums = (sum(time * load[s] for time, load in pairs) for s in range(len(demand)))
            enough = all(have >= unit * want for have, want in zip(sums, demand, strict=True))
            need(enough, "the plan does not carry the demand")
        return sum(cost * values[x] for x, cost in self.costs(kinds).items())

    def left(self, counts: list[int], nodes: list[Any]) -> list[Any]:
        """Replicas that are left: all, and those of every choice of as many replicas or nodes as may be gone."""
        parts: list[tuple[int, ...]] = [tuple(node[2]) for node in nodes if self.spare == "node"]
        if self.spare == "replica":
            parts = [tuple(int(at == k) for k in range(len(counts))) for at, n in enumerate(counts) for _ in range(n)]
        there, cases, number = Counter(parts), set[tuple[int, ...]](), min(self.gone, len(parts))
        for lost in combinations_with_replacement(sorted(there), number):
            if all(lost.count(part) <= there[part] for part in lost):
                cases.add(tuple(max(0, n - sum(part[k] for part in lost)) for k, n in enumerate(counts)))
        return [counts, *(sorted(cases) if self.spare else ())]

    def seated(self, nodes: list[Any], kinds: list[Any], counts: list[int]) -> list[int]:
        """Nodes in use of every offer; refused when replicas do not stand in nodes that there are."""
        used, seats = [dict[int, int]() for _ in self.supplies], [0] * len(kinds)
        for offer, gpus, held, wide in nodes:
            supply, widths = self.supplies[offer], [kind["gpus"] for kind in kinds]
            need(all(kinds[k]["offer"] == offer for k, n in enumerate(held) if n), "a replica stands on another offer")
            fits = dot(held, widths) <= gpus and (sum(held) == 1 or not self.whole)
            if wide:
                fits = sum(held) == 1 and gpus == supply["node"] and dot(held, widths) > gpus
            need(fits and gpus <= supply["node"], "a node does not hold its replicas")
            used[offer][gpus] = used[offer].get(gpus, 0) + 1
            seats = [a + b for a, b in zip(seats, held, strict=True)]
        need(seats == [n * self.touched(kind) for n, kind in zip(counts, kinds, strict=True)], "a replica has no node")
        for supply, taken in zip(self.supplies, used, strict=True):
            there = dict[int, int]()
            for gpus, number in supply["nodes"] or ():
                there[gpus] = there.get(gpus, 0) + number
            fits = all(n <= there.get(gpus, 0) for gpus, n in taken.items())
            fits = fits if supply["nodes"] is not None else set(taken) <= {supply["node"]}
            need(fits, f"{supply['name']} has no such nodes")
        return [sum(taken.values()) * supply["by_node"] for taken, supply in zip(used, self.supplies, strict=True)]


def judge(document: Any) -> str:
    """Say what the document proves, in one line."""
    need(shaped(document, SHAPE, "certificate") and document["format"] == FORMAT, f"the format is not {FORMAT!r}")
    problem, claim, kinds, plan = Problem(document), document["claim"], document["kinds"], document["plan"]
    value, bound, certified, sense = claim["value"], claim["bound"], claim["by"] == "certified", document["sense"]
    need(certified or claim["by"].startswith("claimed by "), f"by {claim['by']}")
    need((plan is None) == (value is None) and bool(certified or plan), "the claim is about more than the file holds")
    if plan is not None:
        cost = problem.measure(plan, kinds, problem.demand(value))
        need(sense == "most" or cost == value, f"the plan costs {cost}, not {value}")
        crossed = bound is None or (bound < value if sense == "most" else bound > value)
        need(not crossed, "bound and value are crossed")
    if certified and sense == "most":
        need(bound is not None, "malformed: no bound")
        problem.prove(claim, kinds, problem.demand(bound + 1), None)
    elif certified and bound != 0:
        step = gcd(*problem.costs(kinds).values()) or 1
        top = None if bound is None else (bound - 1) // step * step
        problem.prove(claim, kinds, problem.demand(0), top)
    kind = "infeasible" if bound is None else "optimal" if bound == value else "gap" if plan else "bound"
    said = f"{f'certified-{kind}' if certified else 'solver-claimed'}: {'load' if sense == 'most' else 'objective'}"
    said += f" {value} with a bound of {bound} ({claim['by']}); any fleet of {len(problem.pools)} pools"
    return f"{said}, in exact integer arithmetic, verified by checker {VERSION} of pools, {single.SCOPE}"


def check(raw: bytes) -> str:
    """Say what a certificate proves, in one line; `CheckError` when anything is malformed, missing or wrong."""
    try:
        return judge(single.parse(raw.decode())) if need(len(raw) <= MAX_BYTES, f"more than {MAX_BYTES} bytes") else ""
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise CheckError(f"malformed: {error!r:.200}") from None


if __name__ == "__main__":
    try:
        with open(sys.argv[1], "rb") as file:
            sys.stdout.write(f"accepted: {check(file.read(MAX_BYTES + 1))}\n")
    except (CheckError, OSError) as error:
        sys.stdout.write(f"refused: {error}\n")
        sys.exit(4)
