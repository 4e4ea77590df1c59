"""Check a certificate of pools: ``python pools.py cert.json`` (standard library, files beside; docs/pools.md)."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import combinations_with_replacement
from math import ceil, gcd
from pathlib import Path
from typing import Any


def _beside() -> Any:
    """Load the problem of such a certificate, the file beside this one."""
    spec = importlib.util.spec_from_file_location("pools_problem_beside", Path(__file__).with_name("pools_problem.py"))
    module: Any = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


base = _beside()
arriving, single, dot = base.arriving, base.single, base.dot
need, shaped = single.need, single.shaped
CheckError: type[Exception] = single.CheckError
VERSION, FORMAT, MAX_BYTES = "3", "shardproof pools 3", 256 * 2**20
NODES = {"split": (str, int, int), "leaf": (str, int, [(int, int)])}


def complete(problem: Any, kinds: list[Any], demand: list[int]) -> None:
    """Refuse unless every replica that there may be is one of the kinds, or does no better than one."""
    need(all(map(problem.sort, kinds)), "malformed: a kind is none")
    for at, (pool, program) in enumerate(zip(problem.pools, problem.programs, strict=True)):
        own = [kind for kind in kinds if kind["pool"] == at]
        full = tuple(demand[s] * (serves > 0) for s, serves in zip(pool["scenarios"], pool["serves"], strict=True))
        left = () if program is None else unrefuted(program, pool["walls"], full)
        for width, top in left if pool["rates"] is None else sustained(pool["rates"], full):
            known = ([kind["loads"][0][s] for s in pool["scenarios"]] for kind in own if kind["gpus"] <= width)
            found = not any(top) or any(all(a <= b for a, b in zip(top, v, strict=True)) for v in known)
            need(found, "missing case: a kind")


def unrefuted(program: Any, refused: list[Any], full: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield widths with the most that replicas of them carry: what the walls, whose trees are walked, leave of it."""
    tops = (row["limit"] and row["limit"] // max(1, row["microbatches"]) for row in program.rows)
    rows = [row | {"lo": -1, "top": top} for row, top in zip(program.rows, tops, strict=True)]
    walls = []
    for wall in refused:
        share = program.shares[wall["share"]]
        need(any(x["max_gpus"] >= wall["gpus"] for x in share["layouts"]), "missing case: a width")
        for layout, tree in zip(share["layouts"], wall["trees"], strict=True):
            program.refute(layout, tree, min(wall["gpus"], layout["max_gpus"]), rows)
        walls.append((wall["gpus"], share["load"]))
    for width in sorted({1, *(wide + 1 for wide, _ in walls)}):
        most = {full}
        for load in (load for wide, load in walls if wide >= width):
            over = {v for v in most if all(a >= b for a, b in zip(v, load, strict=True))}
            most = most - over | {(*v[:s], w - 1, *v[s + 1 :]) for v in over for s, w in enumerate(load) if w}
        yield from ((width, top) for top in most if width <= program.most)


def sustained(facts: dict[str, Any], full: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the same of requests that come by themselves: rates that no replica of a shape passes, in millionths."""
    need(bool(facts["premises"]) and facts["listed_below"] > 0, "malformed: no premise is named, or no shape listed")
    for width, rates in arriving.rates(facts):
        yield width, tuple(min(want, ceil(rate)) for want, rate in zip(full, rates, strict=True))
    if facts["listed_below"] <= facts["max_gpus"]:
        yield facts["listed_below"], full


def prove(problem: Any, claim: dict[str, Any], kinds: list[Any], demand: list[int], top: int | None) -> None:
    """Walk the tree: each leaf's rows, times its factors, add up to what nothing in its case keeps."""
    complete(problem, kinds, demand)
    costs, rows = problem.costs(kinds), dict[Any, Any]()
    stack = [[(0, most) for most in problem.tops(kinds)]]
    for node in claim["tree"]:
        need(bool(stack) and shaped(node, NODES[node[0]], "node"), "malformed: a tree has nodes to spare")
        box = stack.pop()
        if node[0] == "split":
            (low, high), x, at = box[node[1]], node[1], node[2]
            need(low <= at < high, "malformed: a split of nothing")
            stack += [[*box[:x], (at + 1, high), *box[x + 1 :]], [*box[:x], (low, at), *box[x + 1 :]]]
            continue
        need(top is not None or node[1] == 0, "no cost is claimed")
        terms, least = {x: -node[1] * cost for x, cost in costs.items()}, -node[1] * (top or 0)
        for place, factor in node[2]:
            _, _, lost, _, gone = claim["rows"][place]
            there = len(dict(gone)) == len(gone) and sum(n for _, n in gone) <= bool(lost) * problem.gone
            there &= lost == "node" or all(box[k][0] >= n for k, n in gone)
            need(there, "nobody is there to be lost")
            key = place, lost == "node" and tuple(high for _, high in box[len(kinds) :])
            rows[key] = rows.get(key) or problem.row(claim["rows"][place], kinds, demand, box)
            least += factor * rows[key][1]
            for x, term in rows[key][0].items():
                terms[x] = terms.get(x, 0) + factor * term
        need(sum(term * box[x][term > 0] for x, term in terms.items()) < least, "a case of the tree is not refuted")
    need(not stack, "missing case: the tree ends too early")


def carries(problem: Any, group: dict[str, Any], tables: list[Any], size: int) -> None:
    """Refuse a group that is no row of the table, or does not carry what its chain does; what was played is taken."""
    kind, chain = group["kind"], group["chain"]
    program = problem.programs[kind["pool"]]
    if program is None:
        played = problem.pools[kind["pool"]]["rates"] is not None
        known = len(kind["loads"]) == 1 if played else kind in tables
        need(known and chain is None, "a group is no row of the table")
        return
    program.demand = (0,) * len(program.demand)
    width = program.measure([chain | {"replicas": 1}])[0]
    need(width == kind["gpus"], "a group is not as wide as its chain")
    found = zip(problem.counts[kind["pool"]], program.shares[chain["share"]]["load"], strict=True)
    carried = {at: load for places, load in found for at in places}
    loads = [[carried.get(s, 0) for s in range(size)]]
    need(kind["loads"] == loads, "a group does not carry what its chain does")


def measure(problem: Any, plan: dict[str, Any], tables: list[Any], demand: list[int]) -> int:
    """Cost of the plan; refused when it breaks a limit, does not fit, or does not carry the demand."""
    kinds, counts = [group["kind"] for group in plan["groups"]], [group["replicas"] for group in plan["groups"]]
    need(all(map(problem.sort, kinds)) and all(counts) and bool(counts), "malformed: a group is none")
    for group in plan["groups"]:
        carries(problem, group, tables, len(demand))
    values = counts + seated(problem, plan["nodes"], kinds, counts)
    for limit in problem.limits:
        rates = problem.paid(kinds, limit["rates"])
        need(sum(rate * values[x] for x, rate in rates.items()) <= limit["top"], f"the plan breaks {limit['name']}")
    for case, (unit, shares) in zip(left(problem, counts, plan["nodes"]), plan["shares"], strict=True):
        parts = zip(shares, kinds, case, strict=True)
        need(unit > 0 and all(sum(part) <= unit * n for part, _, n in parts), "a share is more than a replica has")
        pairs = [pair for part, x in zip(shares, kinds, strict=True) for pair in zip(part, x["loads"], strict=True)]
        sums = (sum(time * load[s] for time, load in pairs) for s in range(len(demand)))
        enough = all(have >= unit * want for have, want in zip(sums, demand, strict=True))
        need(enough, "the plan does not carry the demand")
    return sum(cost * values[x] for x, cost in problem.costs(kinds).items())


def left(problem: Any, counts: list[int], nodes: list[Any]) -> list[Any]:
    """Replicas that are left: all, and those of every choice of as many replicas or nodes as may be gone."""
    parts: list[tuple[int, ...]] = [tuple(node[2]) for node in nodes if problem.spare == "node"]
    if problem.spare == "replica":
        parts = [tuple(int(at == k) for k in range(len(counts))) for at, n in enumerate(counts) for _ in range(n)]
    there, cases, number = Counter(parts), set[tuple[int, ...]](), min(problem.gone, len(parts))
    for lost in combinations_with_replacement(sorted(there), number):
        if all(lost.count(part) <= there[part] for part in lost):
            cases.add(tuple(max(0, n - sum(part[k] for part in lost)) for k, n in enumerate(counts)))
    return [counts, *(sorted(cases) if problem.spare else ())]


def seated(problem: Any, nodes: list[Any], kinds: list[Any], counts: list[int]) -> list[int]:
    """Nodes in use of every offer; refused when replicas do not stand in nodes that there are."""
    used, seats = [dict[int, int]() for _ in problem.supplies], [0] * len(kinds)
    for offer, gpus, held, wide in nodes:
        supply, widths = problem.supplies[offer], [kind["gpus"] for kind in kinds]
        need(all(kinds[k]["offer"] == offer for k, n in enumerate(held) if n), "a replica stands on another offer")
        fits = dot(held, widths) <= gpus and (sum(held) == 1 or not problem.whole)
        if wide:
            fits = sum(held) == 1 and gpus == supply["node"] and dot(held, widths) > gpus
        need(fits and gpus <= supply["node"], "a node does not hold its replicas")
        used[offer][gpus] = used[offer].get(gpus, 0) + 1
        seats = [a + b for a, b in zip(seats, held, strict=True)]
    need(seats == [n * problem.touched(kind) for n, kind in zip(counts, kinds, strict=True)], "a replica has no node")
    for supply, taken in zip(problem.supplies, used, strict=True):
        there = dict[int, int]()
        for gpus, number in supply["nodes"] or ():
            there[gpus] = there.get(gpus, 0) + number
        fits = all(n <= there.get(gpus, 0) for gpus, n in taken.items())
        fits = fits if supply["nodes"] is not None else set(taken) <= {supply["node"]}
        need(fits, f"{supply['name']} has no such nodes")
    return [sum(taken.values()) * supply["by_node"] for taken, supply in zip(used, problem.supplies, strict=True)]


def judge(document: Any) -> str:
    """Say what the document proves, in one line."""
    need(shaped(document, base.SHAPE, "certificate") and document["format"] == FORMAT, f"the format is not {FORMAT!r}")
    problem, claim, kinds, plan = base.Problem(document), document["claim"], document["kinds"], document["plan"]
    value, bound, certified, sense = claim["value"], claim["bound"], claim["by"] == "certified", document["sense"]
    need(certified or claim["by"].startswith("claimed by "), f"by {claim['by']}")
    need((plan is None) == (value is None) and bool(certified or plan), "the claim is about more than the file holds")
    if plan is not None:
        cost = measure(problem, plan, kinds, problem.demand(value))
        need(sense == "most" or cost == value, f"the plan costs {cost}, not {value}")
        crossed = bound is None or (bound < value if sense == "most" else bound > value)
        need(not crossed, "bound and value are crossed")
    if certified and sense == "most":
        need(bound is not None, "malformed: no bound")
        prove(problem, claim, kinds, problem.demand(bound + 1), None)
    elif certified and bound != 0:
        step = gcd(*problem.costs(kinds).values()) or 1
        top = None if bound is None else (bound - 1) // step * step
        prove(problem, claim, kinds, problem.demand(0), top)
    played = [pool["rates"]["premises"] for pool in problem.pools if pool["rates"] is not None]
    kind = "infeasible" if bound is None else "bound" if played or not plan else "optimal" if bound == value else "gap"
    said = f"{f'certified-{kind}' if certified else 'solver-claimed'}: {'load' if sense == 'most' else 'objective'}"
    said += f" {value} with a bound of {bound} ({claim['by']}); any fleet of {len(problem.pools)} pools"
    if played:
        named = len({premise for premises in played for premise in premises})
        said += f", whose replicas' rates were played (not checked here), {named} premises named in the file"
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
